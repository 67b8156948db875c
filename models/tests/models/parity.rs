//! Every network of the zoo against PyTorch: keys, outputs, gradients and running statistics.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor as BurnTensor};
use rekindle_burn::{ModuleStateDict, data_to_tensor};
use rekindle_models::{Batch, Config, Network};
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::sizes;
use rekindle_testing::gradients;
use serde_json::Value as Json;

use crate::support::{filled, formula, tensor, truth};

/// Norm-relative, against PyTorch's own single precision.
const FORWARD: f64 = 1e-6;
const GRADIENT: f64 = 1e-5;
const STATISTICS: f64 = 1e-6;

fn build(name: &str, device: &Device) -> Network {
    Network::build(name, &Config::new(), device).unwrap()
}

fn host(batch: Batch) -> Tensor {
    let data = match batch {
        Batch::D2(x) => x.into_data(),
        Batch::D3(x) => x.into_data(),
        Batch::D4(x) => x.into_data(),
        _ => panic!("the batch has two to four dimensions"),
    };
    data_to_tensor(data).unwrap()
}

fn near(what: &str, found: &Tensor, exact: &Tensor, tolerance: f64) {
    assert_eq!(found.shape(), exact.shape(), "{what}");
    let distance = apart(&found.to_f64_vec().unwrap(), &exact.to_f64_vec().unwrap());
    println!("{what}: {distance:.2e}");
    assert!(distance <= tolerance, "{what}: {distance:.2e} is more than {tolerance:.0e}");
}

/// The loss, as PyTorch's `cross_entropy` or `mse_loss` has it.
fn loss(output: Batch, target: &Tensor, function: &str, device: &Device) -> BurnTensor<1> {
    if function == "mse" {
        let elements: Vec<f32> = target.to_vec().unwrap();
        let target = Batch::from_vec(elements, target.shape(), device).unwrap().into_4d().unwrap();
        (output.into_4d().unwrap() - target).square().mean()
    } else {
        let output = output.into_2d().unwrap();
        let classes: Vec<i64> = target.to_vec().unwrap();
        let rows = classes.len();
        let target = BurnTensor::<1, Int>::from_data(classes.as_slice(), device).reshape([rows, 1]);
        log_softmax(output, 1).gather(1, target).mean().neg()
    }
}

fn check_gradients(truth: &Json, found: &[(String, Tensor)], checkpoint: &rekindle_recorder::checkpoint::Checkpoint) {
    let parameters = truth["parameters"].as_object().unwrap();
    assert_eq!(found.len(), parameters.len());
    for (name, gradient) in found {
        // The gradient of a bias that batch norm takes away again is 0 but for rounding: PyTorch's own is noise.
        let noise = truth["error"]["grads"][name].as_f64().unwrap() > 1.0;
        let elements = gradient.to_f64_vec().unwrap();
        let norm = elements.iter().map(|x| x * x).sum::<f64>().sqrt();
        if noise {
            let weight = name.replace("bias", "weight");
            let of_weight = &found.iter().find(|(other, _)| *other == weight).unwrap().1.to_f64_vec().unwrap();
            let of_weight = of_weight.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(norm <= GRADIENT * of_weight, "{name}: {norm:.2e} should be nothing beside {of_weight:.2e}");
            continue;
        }
        let sample = &truth["grads"][name];
        if sample.is_null() {
            near(name, gradient, &tensor(checkpoint, &format!("grads.{name}")), GRADIENT);
            continue;
        }
        let exact = sample["norm"].as_f64().unwrap();
        assert!((norm - exact).abs() <= GRADIENT * exact, "{name}: norm {norm} instead of {exact}");
        let largest = sample["largest"].as_f64().unwrap();
        for pair in sample["elements"].as_array().unwrap() {
            let (place, exact) = (usize::try_from(pair[0].as_u64().unwrap()).unwrap(), pair[1].as_f64().unwrap());
            let difference = (elements[place] - exact).abs();
            assert!(difference <= GRADIENT * largest, "{name}[{place}]: {} instead of {exact}", elements[place]);
        }
    }
}

/// The whole exercise of `sections/models.py`.
fn exercise(name: &str) {
    let device = Device::flex().autodiff();
    let (checkpoint, truth) = truth(name);
    let mut network = build(name, &device);
    network.load_state_dict(&formula(&truth, &network.state_dict().unwrap())).unwrap();

    let rule = &truth["input"];
    let inputs = |factor: f32, device: &Device| {
        let elements = filled(rule).into_iter().map(|x| factor * x).collect();
        Batch::from_vec(elements, &sizes(&rule["shape"]), device).unwrap()
    };
    let output = network.forward(inputs(1.0, &device)).unwrap();
    // PyTorch's own single precision is this far from its double; where that is more, each of the two may be so far from it.
    let noise = |what: &str| FORWARD.max(2.0 * truth["error"][what].as_f64().unwrap());
    near("train_output", &host(output.clone()), &tensor(&checkpoint, "train_output"), noise("train_output"));
    let function = truth["loss_function"].as_str().unwrap();
    let loss = loss(output, &tensor(&checkpoint, "target"), function, &device);
    let found = f64::from(loss.clone().into_scalar::<f32>());
    let exact = truth["loss"].as_f64().unwrap();
    assert!((found - exact).abs() <= FORWARD * exact.abs(), "the loss is {found} instead of {exact}");
    check_gradients(&truth, &gradients(&network, &loss.backward()), &checkpoint);

    if truth["keys"].as_array().unwrap().iter().any(|key| key[0].as_str().unwrap().ends_with("running_mean")) {
        network.forward(inputs(2.0, &device)).unwrap();
        network.forward(inputs(0.5, &device)).unwrap();
    }
    let evaluated = network.valid().forward(inputs(1.0, &Device::flex())).unwrap();
    near("output", &host(evaluated), &tensor(&checkpoint, "output"), noise("output"));

    let after = network.state_dict().unwrap();
    let exact = StateDict::from_value(&checkpoint.value("state_dict_after").unwrap()).unwrap();
    for (key, exact) in exact.iter() {
        let found = after.get(key).unwrap();
        if key.ends_with("running_mean") || key.ends_with("running_var") {
            near(key, found, exact, STATISTICS);
        } else {
            assert_eq!((found.dtype(), found.shape()), (exact.dtype(), exact.shape()), "{key}");
            assert_eq!(found.to_le_bytes().unwrap(), exact.to_le_bytes().unwrap(), "{key}");
        }
    }
}

#[test]
fn lenet_computes_what_pytorch_computes() {
    exercise("lenet");
}

#[test]
fn convbn_computes_what_pytorch_computes() {
    exercise("convbn");
}

#[test]
fn fullyconv_computes_what_pytorch_computes() {
    exercise("fullyconv");
}

#[test]
fn mlp_computes_what_pytorch_computes() {
    exercise("mlp");
}

#[test]
fn digits_computes_what_pytorch_computes() {
    exercise("digits");
}

#[test]
fn every_network_has_pytorchs_keys_in_pytorchs_order_with_its_metadata() {
    for name in rekindle_testing::fixtures::json("models/truth.json").as_object().unwrap().keys() {
        let (_, truth) = truth(name);
        let state_dict = build(name, &Device::flex()).state_dict().unwrap();
        let found: Vec<_> = state_dict
            .iter()
            .map(|(key, tensor)| (key.to_owned(), tensor.shape().to_vec(), tensor.dtype().name().to_owned()))
            .collect();
        let exact: Vec<_> = truth["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| (key[0].as_str().unwrap().to_owned(), sizes(&key[1]), key[2].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(found, exact, "{name}");

        let metadata = state_dict.metadata().unwrap();
        let found: Vec<_> = metadata
            .as_dict()
            .unwrap()
            .entries()
            .iter()
            .map(|(path, _)| {
                let path = path.as_str().unwrap().to_owned();
                let version = state_dict.version(&path).unwrap();
                (path, version)
            })
            .collect();
        let exact: Vec<_> = truth["metadata"]
            .as_array()
            .unwrap()
            .iter()
            .map(|module| (module[0].as_str().unwrap().to_owned(), module[1]["version"].as_i64().unwrap()))
            .collect();
        // PyTorch lists modules as they were registered, and a dict does not depend on its order.
        assert_eq!(found, exact, "{name}");

        let names: Vec<_> =
            build(name, &Device::flex()).named_parameters().unwrap().into_iter().map(|p| p.name).collect();
        let parameters = truth["parameters"].as_object().unwrap();
        assert_eq!(names.len(), parameters.len(), "{name}");
        for (number, key) in names.iter().enumerate() {
            assert_eq!(parameters[key]["number"].as_u64(), u64::try_from(number).ok(), "{name}: {key}");
        }
    }
}
