//! Networks by name: settings, shapes, and errors that say what there is.

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::{Batch, Config, Network};

fn build(name: &str, config: &Config) -> Result<Network, String> {
    Network::build(name, config, &Device::flex()).map_err(|error| error.to_string())
}

#[test]
fn a_network_is_found_by_its_name_and_says_it() {
    // The largest are tried at small size elsewhere.
    let large = ["resnet50", "resnet101", "resnet152", "vit_b_16"];
    for name in Network::names().filter(|name| !large.contains(name)) {
        let network = build(name, &Config::new()).unwrap();
        assert_eq!(network.name(), name);
        let shape: Vec<usize> =
            std::iter::once(2).chain(network.input_shape().into_iter().map(|n| n.unwrap_or(64))).collect();
        let count = shape.iter().product();
        let batch = Batch::from_vec(vec![0.25; count], &shape, &Device::flex()).unwrap();
        assert_eq!(network.forward(batch).unwrap().shape()[0], 2, "{name}");
    }
}

#[test]
fn unknown_names_and_settings_are_refused_with_what_there_is() {
    let error = build("lennet", &Config::new()).unwrap_err();
    assert!(
        error.starts_with("there is no network 'lennet'; there are lenet, convbn, fullyconv, mlp, digits, "),
        "{error}"
    );
    let error = build("mlp", &Config::new().with("size", "3,4")).unwrap_err();
    assert_eq!(error, "the network 'mlp' has no setting 'size'; it has sizes");
    let error = build("lenet", &Config::new().with("classes", "3")).unwrap_err();
    assert_eq!(error, "the network 'lenet' has no setting 'classes'; it has none");
    for sizes in ["20", "20,0", "20,x", ""] {
        let error = build("mlp", &Config::new().with("sizes", sizes)).unwrap_err();
        assert_eq!(error, format!("sizes={sizes}: two or more sizes such as 20,32,10 is expected"));
    }
}

#[test]
fn the_sizes_of_an_mlp_are_settings() {
    let mlp = build("mlp", &Config::from_iter([("sizes", "4,3")])).unwrap();
    assert_eq!(mlp.state_dict().unwrap().keys().collect::<Vec<_>>(), ["0.weight", "0.bias"]);
    assert_eq!(mlp.input_shape(), [Some(4)]);
    assert_eq!(Network::settings("mlp"), Some(&[("sizes", "20,32,16,10")][..]));
}

#[test]
fn a_batch_of_another_shape_is_refused() {
    let device = Device::flex();
    let batch = |shape: &[usize]| Batch::from_vec(vec![0.0; shape.iter().product()], shape, &device).unwrap();
    let lenet = build("lenet", &Config::new()).unwrap();
    let error = lenet.forward(batch(&[2, 3, 28, 28])).unwrap_err();
    assert_eq!(error.to_string(), "the network 'lenet' takes inputs of [batch, 3, 32, 32], not [2, 3, 28, 28]");
    assert!(lenet.forward(batch(&[2, 3072])).is_err());
    let tracker = build("fullyconv", &Config::new()).unwrap();
    let error = tracker.forward(batch(&[1, 3, 62, 62])).unwrap_err();
    assert!(error.to_string().contains("[batch, 3, 63 or more, 63 or more]"), "{error}");
    assert_eq!(tracker.forward(batch(&[1, 3, 63, 63])).unwrap().shape(), [1, 32, 1, 1]);
    assert!(Batch::from_vec(vec![0.0; 5], &[2, 3], &device).is_err());
    assert!(Batch::from_vec(vec![0.0; 5], &[5], &device).is_err());
    assert!(batch(&[2, 3]).into_4d().is_err() && batch(&[2, 3, 4]).into_2d().is_err());
}
