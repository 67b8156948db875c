//! What `tests/fixtures/models` holds: the weights' formula, and what PyTorch computed.

use burn::tensor::TensorData;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::fixtures::{self, sizes};
use serde_json::Value as Json;

/// The checkpoint of a network, and its part of `truth.json`.
pub(crate) fn truth(network: &str) -> (Checkpoint, Json) {
    let checkpoint = Checkpoint::open(fixtures::path(&format!("models/{network}.pt"))).unwrap();
    (checkpoint, fixtures::json("models/truth.json")[network].clone())
}

/// A tensor of a checkpoint.
pub(crate) fn tensor(checkpoint: &Checkpoint, path: &str) -> Tensor {
    checkpoint.value(path).unwrap().as_tensor().unwrap().clone()
}

/// The elements of the tensor with this number: the formula at the head of `sections/models.py`.
pub(crate) fn filled(rule: &Json) -> Vec<f32> {
    #[allow(clippy::cast_possible_truncation, reason = "PyTorch's own numbers were single precision")]
    let [center, bound] = ["center", "bound"].map(|key| rule[key].as_f64().unwrap() as f32);
    let number = u32::try_from(rule["number"].as_u64().unwrap()).unwrap();
    let units = rekindle_testing::filled(sizes(&rule["shape"]).iter().product(), number);
    units.into_iter().map(|unit| center + bound * unit).collect()
}

/// The parameters of a network by the formula, buffers as `like` has them.
pub(crate) fn formula(truth: &Json, like: &StateDict) -> StateDict {
    let mut state_dict = like.clone();
    for (key, rule) in truth["parameters"].as_object().unwrap() {
        let tensor = Tensor::from_vec(&sizes(&rule["shape"]), filled(rule)).unwrap();
        assert!(state_dict.insert(key.as_str(), tensor).is_some(), "the network has no {key}");
    }
    state_dict
}

pub(crate) fn doubles(data: &TensorData) -> Vec<f64> {
    data.as_slice::<f32>().unwrap().iter().copied().map(f64::from).collect()
}
