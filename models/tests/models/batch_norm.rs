//! `BatchNorm` against PyTorch: outputs, gradients, running statistics after each batch.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use rekindle_burn::ModuleStateDict;
use rekindle_models::init::Init;
use rekindle_models::nn::{BatchNorm, BatchNormConfig};
use rekindle_recorder::StateDict;
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::{self, floats, sizes};
use serde_json::{Value as Json, json};

use crate::support::{doubles, filled};

fn formula(number: u64, center: f64, bound: f64, shape: &[usize]) -> Vec<f32> {
    filled(&json!({"number": number, "center": center, "bound": bound, "shape": shape}))
}

fn near(what: &str, found: &[f64], json: &Json, tolerance: f64) {
    let distance = apart(found, &floats(json));
    assert!(distance <= tolerance, "{what}: {distance:.2e}");
}

fn layer(case: &Json, device: &Device) -> BatchNorm {
    let channels = sizes(&case["shape"])[1];
    let mut layer = BatchNormConfig::new(channels)
        .with_eps(case["eps"].as_f64().unwrap())
        .with_momentum(case["momentum"].as_f64())
        .init(&mut Init::lazy(device))
        .unwrap();
    layer.weight = Some(Param::from_data(TensorData::new(formula(0, 1.0, 0.25, &[channels]), [channels]), device));
    layer.bias = Some(Param::from_data(TensorData::new(formula(1, 0.0, 0.25, &[channels]), [channels]), device));
    layer
}

fn statistics(state_dict: &StateDict, key: &str) -> Vec<f64> {
    state_dict.get(key).unwrap().to_f64_vec().unwrap()
}

fn check<const D: usize>(name: &str, case: &Json) {
    let device = Device::flex().autodiff();
    let layer = layer(case, &device);
    let shape: [usize; D] = sizes(&case["shape"]).try_into().unwrap();
    let batch = |k: u64, factor: f32, device: &Device| {
        let elements: Vec<f32> = formula(1000 + k, 0.5, 1.0, &shape).into_iter().map(|x| factor * x).collect();
        BurnTensor::<D>::from_data(TensorData::new(elements, shape), device)
    };
    for (k, truth) in (0..3).zip(case["batches"].as_array().unwrap()) {
        #[allow(clippy::cast_precision_loss)] // at most 3
        let input = batch(k, (k + 1) as f32, &device).require_grad();
        let output = layer.forward(input.clone()).unwrap();
        near(&format!("{name}: output {k}"), &doubles(&output.to_data()), &truth["output"], 1e-6);
        if k == 0 {
            let weights = TensorData::new(formula(1010, 0.0, 1.0, &shape), shape);
            let gradients = (output * BurnTensor::<D>::from_data(weights, &device)).sum().backward();
            let found = input.grad(&gradients).unwrap().into_data();
            near(&format!("{name}: gradient of the input"), &doubles(&found), &case["gradients"]["input"], 1e-5);
            for (key, param) in [("weight", &layer.weight), ("bias", &layer.bias)] {
                let found = param.as_ref().unwrap().grad(&gradients).unwrap().into_data();
                near(&format!("{name}: gradient of {key}"), &doubles(&found), &case["gradients"][key], 1e-5);
            }
        }
        // Seen at once, in a state dict and in a record's walk alike.
        let state_dict = layer.state_dict().unwrap();
        for key in ["running_mean", "running_var"] {
            near(&format!("{name}: {key} {k}"), &statistics(&state_dict, key), &truth[key], 1e-6);
        }
        let count = state_dict.get("num_batches_tracked").unwrap();
        assert_eq!(count.to_vec::<i64>().unwrap(), [truth["num_batches_tracked"].as_i64().unwrap()], "{name}");
        assert!(count.shape().is_empty());
    }
    let evaluated = layer.valid().forward(batch(0, 1.0, &Device::flex())).unwrap();
    near(&format!("{name}: evaluated"), &doubles(&evaluated.into_data()), &case["evaluated"], 1e-6);
}

#[test]
fn batch_norm_computes_what_pytorch_computes_with_the_unbiased_running_variance() {
    for (name, case) in fixtures::json("nn/batch_norm.json").as_object().unwrap() {
        match sizes(&case["shape"]).len() {
            2 => check::<2>(name, case),
            3 => check::<3>(name, case),
            _ => check::<4>(name, case),
        }
    }
}

fn made(config: &BatchNormConfig, device: &Device) -> BatchNorm {
    config.init(&mut Init::lazy(device)).unwrap()
}

fn input(device: &Device) -> BurnTensor<2> {
    BurnTensor::from_floats([[1.0], [3.0]], device)
}

#[test]
fn evaluation_and_frozen_layers_leave_the_statistics_alone() {
    let device = Device::flex().autodiff();
    let before = made(&BatchNormConfig::new(1), &device);
    let frozen = made(&BatchNormConfig::new(1), &device).freeze();
    let (evaluating, plain) = (before.valid(), made(&BatchNormConfig::new(1), &Device::flex()));
    frozen.forward(input(&device)).unwrap();
    evaluating.forward(input(&Device::flex())).unwrap();
    plain.forward(input(&Device::flex())).unwrap();
    for layer in [frozen, evaluating, plain] {
        let state_dict = layer.state_dict().unwrap();
        assert_eq!(statistics(&state_dict, "running_mean"), [0.0]);
        assert_eq!(statistics(&state_dict, "num_batches_tracked"), [0.0]);
    }
}

#[test]
fn loading_keeps_the_statistics_of_clones() {
    let device = Device::flex().autodiff();
    let mut layer = made(&BatchNormConfig::new(1).with_momentum(Some(1.0)), &device);
    let clone = layer.clone();
    layer.forward(input(&device)).unwrap();
    assert_eq!(statistics(&clone.state_dict().unwrap(), "running_mean"), [2.0], "until then they share them");
    let fresh = made(&BatchNormConfig::new(1), &device).state_dict().unwrap();
    assert!(layer.load_state_dict(&fresh).unwrap().is_exact());
    assert_eq!(statistics(&layer.state_dict().unwrap(), "running_mean"), [0.0]);
    assert_eq!(statistics(&layer.state_dict().unwrap(), "num_batches_tracked"), [0.0]);
    assert_eq!(statistics(&clone.state_dict().unwrap(), "running_mean"), [2.0]);
    assert!(layer.training.is_enabled() && layer.weight.as_ref().unwrap().is_require_grad());
    layer.forward(input(&device)).unwrap();
    assert_eq!(statistics(&layer.state_dict().unwrap(), "running_var"), [2.0]);
}

#[test]
fn a_state_dict_without_the_count_keeps_the_layers_own() {
    let device = Device::flex().autodiff();
    let mut layer = made(&BatchNormConfig::new(1), &device);
    layer.forward(input(&device)).unwrap();
    let mut old = layer.state_dict().unwrap();
    old.remove("num_batches_tracked");
    assert!(layer.load_state_dict(&old).is_ok());
    assert_eq!(statistics(&layer.state_dict().unwrap(), "num_batches_tracked"), [1.0]);
}

#[test]
fn burns_records_hold_the_statistics_too() {
    let device = Device::flex().autodiff();
    let layer = made(&BatchNormConfig::new(1), &device);
    layer.forward(input(&device)).unwrap();
    let again = made(&BatchNormConfig::new(1), &device).load_record(layer.clone().into_record());
    let (found, exact) = (again.state_dict().unwrap(), layer.state_dict().unwrap());
    for (key, tensor) in exact.iter() {
        assert_eq!(found.get(key).unwrap().to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{key}");
    }
}

#[test]
fn training_on_a_single_value_is_refused_as_in_pytorch() {
    let device = Device::flex().autodiff();
    let layer = made(&BatchNormConfig::new(1), &device);
    let refused = layer.forward(BurnTensor::<2>::from_floats([[1.0]], &device)).unwrap_err();
    assert!(refused.to_string().contains("needs more than one value per channel"), "{refused}");
    let refused = layer.forward(BurnTensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device)).unwrap_err();
    assert!(refused.to_string().contains("needs 1 channels"), "{refused}");
}
