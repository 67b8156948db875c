//! First weights of networks that are too large for a fixture, the deep ones of `resnet.rs`: torchvision makes them on the spot.

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::{Config, Network};
use rekindle_random::Generator;
use rekindle_testing::{Torch, fixtures};

#[test]
fn deep_resnets_have_torchvisions_keys_and_first_weights() {
    let Some(torch) = Torch::find() else { return };
    let printed = torch.run("resnets.py", [""; 0]);
    for line in printed.lines() {
        let (name, digest) = line.split_once(' ').unwrap();
        let config = Config::new().with("num_classes", "7");
        let network = Network::build_seeded(name, &config, &Device::flex(), &mut Generator::new(5u64)).unwrap();
        let state = network.state_dict().unwrap();
        let told = state.iter().flat_map(|(key, tensor)| {
            let shape = tensor.shape().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            [format!("{key} [{shape}] ").into_bytes(), tensor.to_le_bytes().unwrap().to_vec()].concat()
        });
        assert_eq!(fixtures::sha256(&told.collect::<Vec<u8>>()), digest, "{name}");
    }
    assert_eq!(printed.lines().count(), 2, "{printed}");
}
