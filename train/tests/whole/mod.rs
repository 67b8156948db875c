//! Reads the fixtures that `tests/fixtures/sections/optim.py` wrote, compares values, and takes up the runs.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, Relu};
use burn::tensor::{DType as BurnDType, Device, FloatDType, Gradients, Int, Tensor};
use rekindle_recorder::burn::{ModuleStateDict as _, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{Tensor as TorchTensor, Value};
use rekindle_train::loss::cross_entropy;
use rekindle_train::lr_scheduler::LRScheduler;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind, Select};
use serde_json::Value as Json;

use crate::common::spell;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/optim").join(name)
}

pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixture(name)).unwrap()
}

/// Names and cases, in order of the names.
pub(crate) fn json(name: &str) -> serde_json::Map<String, Json> {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

pub(crate) fn dict(value: &Value) -> Vec<(String, Value)> {
    let entries = value.as_dict().unwrap().entries();
    entries.into_iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect()
}

pub(crate) fn entry(value: &Value, key: &str) -> Value {
    value.as_dict().unwrap().get(key).unwrap_or_else(|| panic!("there is no {key}"))
}

pub(crate) fn tensor(value: &Value, key: &str) -> TorchTensor {
    entry(value, key).as_tensor().unwrap().clone()
}

/// What a stacked tensor has in this place.
pub(crate) fn at(stacked: &TorchTensor, place: usize) -> TorchTensor {
    let bytes = stacked.to_le_bytes().unwrap();
    let size = bytes.len() / stacked.shape()[0];
    TorchTensor::from_le_bytes(stacked.dtype(), &stacked.shape()[1..], bytes[place * size..][..size].to_vec()).unwrap()
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn burn<const D: usize>(tensor: &TorchTensor, double: bool) -> Tensor<D> {
    let dtype = if double { BurnDType::F64 } else { BurnDType::F32 };
    Tensor::from_data(tensor_to_data(tensor).unwrap().convert_dtype(dtype), (&device(), dtype))
}

pub(crate) fn relative(found: &TorchTensor, expected: &TorchTensor) -> f64 {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    apart(&found.to_f64_vec().unwrap(), &expected.to_f64_vec().unwrap())
}

/// How far numbers are from others, in the 2-norm, as a part of the others.
pub(crate) fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let apart: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    if apart == 0.0 { 0.0 } else { (apart / expected.iter().map(|b| b.powi(2)).sum::<f64>()).sqrt() }
}

/// The largest relative difference of two values, which must have the same keys in the same order, types and shapes.
pub(crate) fn differ(found: &Value, expected: &Value, path: &str) -> f64 {
    let pairs = |found: Vec<(String, Value)>, expected: Vec<(String, Value)>| {
        let keys = |entries: &[(String, Value)]| entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected), "{path}");
        let each = found.iter().zip(&expected);
        each.map(|((key, a), (_, b))| differ(a, b, &format!("{path}.{key}"))).fold(0.0, f64::max)
    };
    let entries = |value: &Value| {
        let entries = value.as_dict().unwrap().entries();
        entries.into_iter().map(|(key, value)| (format!("{key:?}"), value)).collect()
    };
    let items =
        |value: &Value| value.items().unwrap().into_iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect();
    match (found, expected) {
        (Value::Dict(_), Value::Dict(_)) => pairs(entries(found), entries(expected)),
        (Value::List(_), Value::List(_)) => pairs(items(found), items(expected)),
        (Value::Tensor(a), Value::Tensor(b)) => relative(a, b),
        (Value::Float(a), Value::Float(b)) if a == b => 0.0,
        (Value::Float(a), Value::Float(b)) => (a - b).abs() / b.abs(),
        _ => {
            assert_eq!(spell(found, true), spell(expected, true), "{path}");
            0.0
        }
    }
}

// Runs ---------------------------------------------------------------------------------------------------------------------

/// The networks of the runs.
#[derive(Module, Debug)]
pub(crate) enum Network {
    Mlp(Sequential),
    Bags(Bags),
}

/// `nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))`.
#[derive(Module, Debug)]
pub(crate) struct Sequential {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
pub(crate) enum Layer {
    Linear(Linear),
    Relu(Relu),
}

/// Two embeddings: the mean of the tokens' rows plus the tag's row.
#[derive(Module, Debug)]
pub(crate) struct Bags {
    embedding: Embedding,
    tag: Embedding,
}

/// Makes a model's parameters doubles.
struct Doubles;

impl ModuleMapper for Doubles {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let doubles = Tensor::from_inner(tensor.inner().cast(FloatDType::F64)).set_require_grad(true);
        Param::from_mapped_value(id, doubles, mapper)
    }
}

impl Network {
    fn new(name: &str, double: bool) -> Self {
        let device = device();
        let bias = name == "mlp";
        let linear = |from, to| Layer::Linear(LinearConfig::new(from, to).with_bias(bias).init(&device));
        let relu = || Layer::Relu(Relu::new());
        let network = match name {
            "bags" => Network::Bags(Bags {
                embedding: EmbeddingConfig::new(40, 10).init(&device),
                tag: EmbeddingConfig::new(7, 10).init(&device),
            }),
            _ => Network::Mlp(Sequential {
                layers: vec![linear(20, 32), relu(), linear(32, 16), relu(), linear(16, 10)],
            }),
        };
        if double { network.map(&mut Doubles) } else { network }
    }

    /// The loss of the batch that a step takes, or of all rows with the random classes.
    fn loss(&self, batches: &Value, step: usize, whole: bool, double: bool) -> Tensor<1> {
        let batch = |name: &str| {
            let stacked = tensor(batches, name);
            let mut shape = stacked.shape()[1..].to_vec();
            if whole {
                shape[0] *= stacked.shape()[0];
                let bytes = stacked.to_le_bytes().unwrap().to_vec();
                return TorchTensor::from_le_bytes(stacked.dtype(), &shape, bytes).unwrap();
            }
            at(&stacked, step % stacked.shape()[0])
        };
        let ints = |name: &str| Tensor::<1, Int>::from_data(tensor_to_data(&batch(name)).unwrap(), &device());
        match self {
            Network::Mlp(mlp) => {
                let logits = mlp.layers.iter().fold(burn::<2>(&batch("inputs"), double), |x, layer| match layer {
                    Layer::Linear(linear) => linear.forward(x),
                    Layer::Relu(relu) => relu.forward(x),
                });
                cross_entropy(logits, ints(if whole { "random_targets" } else { "targets" }))
            }
            Network::Bags(bags) => {
                let tokens = Tensor::<2, Int>::from_data(tensor_to_data(&batch("tokens")).unwrap(), &device());
                let [rows, _] = tokens.dims();
                let tags = ints("tags").reshape([rows, 1]);
                let logits = bags.embedding.forward(tokens.clone()).mean_dim(1) + bags.tag.forward(tags);
                let classes = tokens.slice([0..rows, 0..1]).reshape([rows]).remainder_scalar(10);
                cross_entropy(logits.reshape([rows, 10]), classes)
            }
        }
    }
}

/// A run taken up after 5 steps.
pub(crate) struct Run {
    pub(crate) network: Network,
    pub(crate) optimizers: Vec<(Optimizer, LRScheduler)>,
    double: bool,
}

pub(crate) fn letters(json: &Json) -> &'static [&'static str] {
    if json["optimizers"].as_array().unwrap().len() == 1 { &[""] } else { &["A", "B"] }
}

impl Run {
    pub(crate) fn resume(json: &Json, checkpoint: &Checkpoint) -> Self {
        let double = json["dtype"] == "float64";
        let mut network = Network::new(json["network"].as_str().unwrap(), double);
        network.load_state_dict(&checkpoint.state_dict("model_state_dict").unwrap()).unwrap();
        let optimizers = letters(json).iter().zip(json["optimizers"].as_array().unwrap()).map(|(letter, json)| {
            let groups =
                json["groups"].as_array().unwrap().iter().flat_map(|group| group["params"].as_array().unwrap());
            let members: Vec<String> = groups.map(|name| name.as_str().unwrap().to_owned()).collect();
            let others = Select::matching(move |parameter| !members.contains(&parameter.name));
            // All else is in the file.
            let saved = checkpoint.value(&format!("optimizer{letter}_state_dict")).unwrap();
            let options = Hyperparameters::of(OptimizerKind::infer(&saved).unwrap());
            let mut optimizer = Optimizer::builder(options).exclude(others).build(&network).unwrap();
            optimizer.load_state_dict(&network, &saved).unwrap();
            let saved = checkpoint.value(&format!("scheduler{letter}_state_dict")).unwrap();
            let scheduler = LRScheduler::from_state_dict(&saved, &optimizer).unwrap();
            (optimizer, scheduler)
        });
        let optimizers = optimizers.collect();
        Run { network, optimizers, double }
    }

    /// Makes a step; gives the loss before it.
    pub(crate) fn step(mut self, batches: &Value, step: usize) -> (Self, f64) {
        let double = self.double;
        let loss = |network: &Network, whole| network.loss(batches, step, whole, double);
        let before = if let [(optimizer, _)] = &mut self.optimizers[..]
            && optimizer.kind() == OptimizerKind::Lbfgs
        {
            let closure = |network: &Network| {
                let loss = loss(network, true);
                let grads = loss.backward();
                (loss, grads)
            };
            let before;
            (self.network, before) = optimizer.step_closure(self.network, closure).unwrap();
            before
        } else {
            let before = loss(&self.network, false).into_scalar::<f64>();
            // Each takes gradients of its own.
            let grads: Vec<Gradients> = self.optimizers.iter().map(|_| loss(&self.network, false).backward()).collect();
            for ((optimizer, _), grads) in self.optimizers.iter_mut().zip(grads) {
                self.network = optimizer.step(self.network, grads).unwrap();
            }
            before
        };
        for (optimizer, scheduler) in &mut self.optimizers {
            scheduler.step(optimizer).unwrap();
        }
        (self, before)
    }
}

/// Run, and how far its weights and state may be from PyTorch's; its losses may be 1e-6. PyTorch's own noise (losses, weights,
/// state: the larger of two threads and of rows in reverse, as `runs.json` has it) is beside it. The state of LBFGS holds
/// differences of almost equal gradients: ten times its noise.
pub(crate) const RUNS: &[(&str, f64, f64)] = &[
    ("adafactor", 1e-5, 1e-5),          // 2.1e-7, 5.5e-8, 1.2e-7
    ("adafactor_decay", 1e-5, 1e-5),    // 3.1e-7, 8.2e-8, 1.3e-7
    ("muon", 1e-5, 1e-5),               // 2.1e-7, 0, 8.0e-8; in doubles 2.8e-7, 3.3e-6, 4.5e-6
    ("muon_not_nesterov", 1e-5, 1e-5),  // 2.1e-7, 2.0e-7, 1.8e-7
    ("muon_and_adamw", 1e-5, 1e-5),     // 2.1e-7, 2.6e-7, 1.1e-7; in doubles 1.4e-7, 1.0e-6, 1.0e-6
    ("sparse_adam", 1e-5, 1e-5),        // 2.2e-7, 4.1e-8, 5.8e-8
    ("sparse_adam_groups", 1e-5, 1e-5), // 2.3e-7, 4.1e-8, 1.0e-7
    ("lbfgs", 1e-5, 1.6e-4),            // 3.4e-7, 5.0e-7, 1.6e-5
    ("lbfgs_iterations", 1e-5, 5.8e-4), // 6.3e-7, 8.9e-7, 5.8e-5
    ("lbfgs_strong_wolfe", 1e-5, 1e-5), // doubles: 1.8e-10, 7.5e-12, 6.2e-9
];

/// How far a run is from the end of PyTorch's: weights, state.
pub(crate) fn from_the_end(name: &str, json: &Json, run: &Run) -> (f64, f64) {
    let end = open(&format!("runs/{name}_end.pt"));
    let weights = run.network.state_dict().unwrap().to_value();
    let weights = differ(&weights, &end.value("model_state_dict").unwrap(), name);
    let mut state = 0.0_f64;
    for (letter, (optimizer, scheduler)) in letters(json).iter().zip(&run.optimizers) {
        let found = optimizer.state_dict(&run.network).unwrap();
        let expected = end.value(&format!("optimizer{letter}_state_dict")).unwrap();
        state = state.max(differ(&found, &expected, name));
        let expected = end.value(&format!("scheduler{letter}_state_dict")).unwrap();
        assert_eq!(spell(&scheduler.state_dict(), true), spell(&expected, true), "{name}");
    }
    (weights, state)
}
