//! What `tests/fixtures/models` holds: the weights' formula, what PyTorch computed, and how near ours is.
#![allow(dead_code)] // each test file uses its part

use std::collections::HashMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor as BurnTensor, TensorData};
use rekindle_burn::ModuleStateDict;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{StateDict, Tensor};
use serde_json::Value as Json;

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name)
}

/// The checkpoint of a network, and its part of `truth.json`.
pub(crate) fn truth(network: &str) -> (Checkpoint, Json) {
    let checkpoint = Checkpoint::open(fixture(&format!("{network}.pt"))).unwrap();
    let text = std::fs::read_to_string(fixture("truth.json")).unwrap();
    let all: Json = serde_json::from_str(&text).unwrap();
    (checkpoint, all[network].clone())
}

/// A tensor of a checkpoint.
pub(crate) fn tensor(checkpoint: &Checkpoint, path: &str) -> Tensor {
    checkpoint.value(path).unwrap().as_tensor().unwrap().clone()
}

pub(crate) fn number(json: &Json) -> f32 {
    #[allow(clippy::cast_possible_truncation)] // PyTorch's own numbers were single precision
    let x = json.as_f64().unwrap() as f32;
    x
}

pub(crate) fn lengths(json: &Json) -> Vec<usize> {
    json.as_array().unwrap().iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

/// The elements of the tensor with this number: the formula at the head of `sections/models.py`.
pub(crate) fn filled(rule: &Json) -> Vec<f32> {
    let count: usize = lengths(&rule["shape"]).iter().product();
    let start = u32::try_from(rule["number"].as_u64().unwrap()).unwrap().wrapping_mul(0x9E37_79B1);
    let (center, bound) = (number(&rule["center"]), number(&rule["bound"]));
    (0..u32::try_from(count).unwrap())
        .map(|i| {
            let mut x = i.wrapping_add(start);
            x ^= x >> 16;
            x = x.wrapping_mul(0x85EB_CA6B);
            x ^= x >> 13;
            x = x.wrapping_mul(0xC2B2_AE35);
            x ^= x >> 16;
            #[allow(clippy::cast_precision_loss)] // 24 bits are exact
            let unit = (x >> 8) as f32 / 8_388_608.0 - 1.0;
            center + bound * unit
        })
        .collect()
}

/// The parameters of a network by the formula, buffers as `like` has them.
pub(crate) fn formula(truth: &Json, like: &StateDict) -> StateDict {
    let mut state_dict = like.clone();
    for (key, rule) in truth["parameters"].as_object().unwrap() {
        let tensor = Tensor::from_vec(&lengths(&rule["shape"]), filled(rule)).unwrap();
        assert!(state_dict.insert(key.as_str(), tensor).is_some(), "the network has no {key}");
    }
    state_dict
}

/// How far `found` is from `exact`, relative to the norm of `exact`.
pub(crate) fn distance(found: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied())
}

pub(crate) fn doubles(data: &TensorData) -> Vec<f64> {
    data.as_slice::<f32>().unwrap().iter().copied().map(f64::from).collect()
}

/// The gradient of every parameter, by PyTorch's names and in PyTorch's shapes.
pub(crate) fn gradients<M: Module>(model: &M, gradients: &Gradients) -> Vec<(String, Tensor)> {
    struct Collect<'a> {
        gradients: &'a Gradients,
        found: HashMap<ParamId, TensorData>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                self.found.insert(param.id, gradient.into_data());
            }
        }
    }
    let mut collect = Collect { gradients, found: HashMap::new() };
    model.visit(&mut collect);
    let named = model.named_parameters().unwrap();
    let join = |parameter: &rekindle_burn::NamedParameter| {
        let pieces: Vec<_> = parameter.pieces.iter().map(|piece| collect.found[&piece.id].clone()).collect();
        (parameter.name.clone(), parameter.join(&pieces).unwrap())
    };
    named.iter().map(join).collect()
}
