//! Reads the fixtures that `tests/fixtures/sections/optim.py` wrote, and makes what they are of: parameters with given
//! gradients, networks to train, and optimizers with PyTorch's options.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, Relu};
use burn::tensor::{DType as BurnDType, Device, Int, Tensor};
use rekindle_recorder::burn::{ModuleStateDict as _, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{DType, Dict, Tensor as TorchTensor, Value};
use rekindle_train::loss::cross_entropy;
use rekindle_train::lr_scheduler::LRScheduler;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind, Select};
use serde_json::Value as Json;

fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// A file of `torch.save` in `tests/fixtures/optim`.
pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures().join("optim").join(name)).unwrap()
}

/// The cases of a JSON file in `tests/fixtures`, by name, of optimizers that are here.
pub(crate) fn cases(name: &str) -> serde_json::Map<String, Json> {
    let cases: serde_json::Map<String, Json> =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap();
    let here = |case: &Json| match case["optimizer"].as_str() {
        Some(name) => name.parse::<OptimizerKind>().is_ok(),
        None => true,
    };
    cases.into_iter().filter(|(_, case)| here(case)).collect()
}

pub(crate) fn dict(value: &Value) -> Vec<(String, Value)> {
    let entries = value.as_dict().unwrap().entries();
    entries.into_iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect()
}

pub(crate) fn entry(value: &Value, key: &str) -> Value {
    value.as_dict().unwrap().get(key).unwrap_or_else(|| panic!("there is no {key}"))
}

/// An optimizer with options as its constructor in PyTorch takes them.
pub(crate) fn hyperparameters(optimizer: &str, options: &Value) -> Hyperparameters {
    let defaults = Hyperparameters::of(optimizer.parse::<OptimizerKind>().unwrap());
    dict(options).into_iter().fold(defaults, |options, (name, value)| options.with(&name, value).unwrap())
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn burn<const D: usize>(tensor: &TorchTensor, dtype: DType) -> Tensor<D> {
    let (made, device) = (if dtype == DType::Float64 { BurnDType::F64 } else { BurnDType::F32 }, device());
    Tensor::from_data(tensor_to_data(tensor).unwrap().convert_dtype(made), (&device, made))
}

// Rules --------------------------------------------------------------------------------------------------------------------

/// 12 updates of an optimizer with an option set, as PyTorch made them.
pub(crate) struct Rule {
    pub(crate) optimizer: String,
    /// The option set's name.
    pub(crate) set: String,
    options: Value,
    /// After each step: name -> `[12, ...]`.
    params: Vec<(String, TorchTensor)>,
    /// After each step: name -> key -> `[12, ...]`.
    state: Vec<(String, Vec<(String, TorchTensor)>)>,
    /// The last parameter, computed in float64 throughout.
    float64: Vec<(String, TorchTensor)>,
    /// The last parameters and state by PyTorch's code with square roots that are rounded correctly.
    rounded: Vec<(String, TorchTensor)>,
    given: Value,
}

pub(crate) const STEPS: usize = 12;

fn tensors(value: &Value) -> Vec<(String, TorchTensor)> {
    dict(value).into_iter().map(|(name, value)| (name, value.as_tensor().unwrap().clone())).collect()
}

/// What a stacked tensor has in this place.
fn at(stacked: &TorchTensor, place: usize) -> TorchTensor {
    let bytes = stacked.to_le_bytes().unwrap();
    let size = bytes.len() / stacked.shape()[0];
    TorchTensor::from_le_bytes(stacked.dtype(), &stacked.shape()[1..], bytes[place * size..][..size].to_vec()).unwrap()
}

impl Rule {
    /// All option sets of an optimizer.
    pub(crate) fn all(optimizer: &str) -> Vec<Self> {
        let given = open("given.pt").root().clone();
        let read = |(set, case): (String, Value)| Rule {
            optimizer: optimizer.to_owned(),
            set,
            options: entry(&case, "options"),
            params: tensors(&entry(&case, "params")),
            state: dict(&entry(&case, "state")).into_iter().map(|(name, state)| (name, tensors(&state))).collect(),
            float64: tensors(&entry(&case, "float64")),
            rounded: rounded(&entry(&case, "rounded")),
            given: given.clone(),
        };
        let file = open(&format!("rules/{}.pt", optimizer.to_lowercase()));
        dict(file.root()).into_iter().map(read).collect()
    }

    /// Before the first step.
    pub(crate) fn start(&self, dtype: DType) -> Rehearsal<'_> {
        let model = Given::new(&entry(&self.given, "start"), dtype);
        let names: Vec<String> = self.params.iter().map(|(name, _)| name.clone()).collect();
        let others = Select::matching(move |parameter| !names.contains(&parameter.name));
        let builder = Optimizer::builder(hyperparameters(&self.optimizer, &self.options)).exclude(others);
        let optimizer = builder.build(&model).unwrap();
        Rehearsal { rule: self, model: Some(model), optimizer, dtype }
    }

    /// As PyTorch was after a step.
    pub(crate) fn after(&self, step: usize) -> Rehearsal<'_> {
        let mut rehearsal = self.start(DType::Float32);
        let mut model = rehearsal.model.take().unwrap();
        let mut weights = model.state_dict().unwrap();
        for (name, steps) in &self.params {
            weights.insert(name.as_str(), at(steps, step));
        }
        model.load_state_dict(&weights).unwrap();
        let states = Dict::new();
        for (place, (_, state)) in self.state.iter().enumerate() {
            let state = state.iter().map(|(key, steps)| (key.as_str(), scalar_or_tensor(at(steps, step))));
            let state: Dict = state.collect();
            if !state.is_empty() {
                states.insert(place, state);
            }
        }
        let state_dict = rehearsal.optimizer.state_dict(&model).unwrap();
        state_dict.as_dict().unwrap().insert("state", states);
        rehearsal.optimizer.load_state_dict(&model, &state_dict).unwrap();
        rehearsal.model = Some(model);
        rehearsal
    }

    /// Every parameter and state tensor after a step, by name.
    pub(crate) fn expected(&self, step: usize) -> Vec<(String, TorchTensor)> {
        let params = self.params.iter().map(|(name, steps)| (name.clone(), at(steps, step)));
        let states = self
            .state
            .iter()
            .flat_map(|(name, state)| state.iter().map(move |(key, steps)| (format!("{name}.{key}"), at(steps, step))));
        params.chain(states).collect()
    }

    /// Of each parameter's elements, how many times larger the gradient and the weight's share in it are than what they come to
    /// where weights decay through the gradient: where they nearly cancel, what is left keeps the rounding of both.
    pub(crate) fn cancellation(&self, step: usize) -> Vec<(String, Vec<f64>)> {
        let option = |name| self.options.as_dict().unwrap().get(name).and_then(|value| value.as_f64()).unwrap_or(0.0);
        let through_it = option("decoupled_weight_decay") == 0.0 && self.optimizer != "AdamW";
        let weight_decay = if through_it { option("weight_decay") } else { 0.0 };
        let sign = if option("maximize") == 0.0 { 1.0 } else { -1.0 };
        let (start, gradients) = (entry(&self.given, "start"), entry(&self.given, "gradients"));
        let of = |(name, steps): &(String, TorchTensor)| {
            let before = match step {
                0 => entry(&start, name).as_tensor().unwrap().clone(),
                _ => at(steps, step - 1),
            };
            let gradient = at(entry(&gradients, name).as_tensor().unwrap(), step);
            let (before, gradient) = (before.to_f64_vec().unwrap(), gradient.to_f64_vec().unwrap());
            let times = before.iter().zip(gradient).map(|(weight, gradient)| {
                let (own, share) = (sign * gradient, weight_decay * weight);
                if own + share == 0.0 { 1.0 } else { (own.abs() + share.abs()) / (own + share).abs() }
            });
            (name.clone(), times.collect())
        };
        self.params.iter().map(of).collect()
    }

    /// As [`Rule::expected`] at the end, with square roots that are rounded correctly.
    pub(crate) fn expected_rounded(&self) -> Vec<(String, TorchTensor)> {
        self.rounded.clone()
    }

    /// The parameters at the end, computed in float64.
    pub(crate) fn expected_float64(&self) -> Vec<(String, TorchTensor)> {
        self.float64.clone()
    }
}

/// Parameters and state after a step, by name as in [`Rule::expected`].
fn rounded(value: &Value) -> Vec<(String, TorchTensor)> {
    let states = dict(&entry(value, "state")).into_iter().flat_map(|(name, state)| {
        tensors(&state).into_iter().map(move |(key, tensor)| (format!("{name}.{key}"), tensor))
    });
    tensors(&entry(value, "params")).into_iter().chain(states).collect()
}

/// `SparseAdam` counts with an `int`; the fixture has stacked it to a tensor.
fn scalar_or_tensor(tensor: TorchTensor) -> Value {
    match tensor.dtype() {
        #[allow(clippy::cast_possible_truncation)]
        DType::Int64 => (tensor.to_f64_vec().unwrap()[0] as i64).into(),
        _ => tensor.into(),
    }
}

/// A model and its optimizer between two of the steps.
pub(crate) struct Rehearsal<'a> {
    rule: &'a Rule,
    model: Option<Given>,
    pub(crate) optimizer: Optimizer,
    dtype: DType,
}

impl Rehearsal<'_> {
    /// Makes the step of this number, with PyTorch's gradients.
    pub(crate) fn step(&mut self, step: usize) {
        let model = self.model.take().unwrap();
        let gradients = entry(&self.rule.given, "gradients");
        let terms = self.rule.params.iter().map(|(name, _)| {
            let gradient = at(entry(&gradients, name).as_tensor().unwrap(), step);
            model.term(name, &gradient, self.dtype)
        });
        let loss = terms.reduce(|sum, term| sum + term).unwrap();
        self.model = Some(self.optimizer.step(model, loss.backward()).unwrap());
    }

    /// Every parameter and state tensor, by name, as [`Rule::expected`].
    pub(crate) fn found(&self) -> Vec<(String, TorchTensor)> {
        let model = self.model.as_ref().unwrap();
        let weights = model.state_dict().unwrap();
        let weight = |(name, _): &(String, TorchTensor)| (name.clone(), weights.get(name).unwrap().clone());
        let mut found: Vec<_> = self.rule.params.iter().map(weight).collect();
        let states = entry(&self.optimizer.state_dict(model).unwrap(), "state");
        for (place, (name, _)) in (0_i64..).zip(&self.rule.params) {
            let Some(state) = states.as_dict().unwrap().get_key(&place.into()) else { continue };
            found.extend(dict(&state).into_iter().map(|(key, value)| {
                let tensor = match value {
                    Value::Int(number) => TorchTensor::scalar(number),
                    other => other.as_tensor().unwrap().clone(),
                };
                (format!("{name}.{key}"), tensor)
            }));
        }
        found
    }
}

/// The parameters of the rules.
#[derive(Module, Debug)]
struct Given {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
    wide: Param<Tensor<2>>,
    cube: Param<Tensor<3>>,
}

impl Given {
    fn new(start: &Value, dtype: DType) -> Self {
        fn param<const D: usize>(start: &Value, name: &str, dtype: DType) -> Param<Tensor<D>> {
            Param::from_tensor(burn(entry(start, name).as_tensor().unwrap(), dtype))
        }
        Given {
            matrix: param(start, "matrix", dtype),
            vector: param(start, "vector", dtype),
            wide: param(start, "wide", dtype),
            cube: param(start, "cube", dtype),
        }
    }

    /// Something whose gradient, by the parameter of this name, is this one.
    fn term(&self, name: &str, gradient: &TorchTensor, dtype: DType) -> Tensor<1> {
        match name {
            "matrix" => (self.matrix.val() * burn(gradient, dtype)).sum(),
            "vector" => (self.vector.val() * burn(gradient, dtype)).sum(),
            "wide" => (self.wide.val() * burn(gradient, dtype)).sum(),
            "cube" => (self.cube.val() * burn(gradient, dtype)).sum(),
            other => panic!("{other}"),
        }
    }
}

// Runs ---------------------------------------------------------------------------------------------------------------------

/// A run of PyTorch: `runs.json` and the checkpoints after 5 and 55 steps.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) json: Json,
}

/// The networks of the runs.
#[derive(Module, Debug)]
enum Network {
    Mlp(Sequential),
    Bags(Bags),
}

impl Network {
    fn new(name: &str) -> Self {
        match name {
            "mlp" => Network::Mlp(Sequential::mlp(true)),
            "mlp_without_biases" => Network::Mlp(Sequential::mlp(false)),
            "bags" => Network::Bags(Bags::new()),
            other => panic!("{other}"),
        }
    }

    /// The loss of the batch that a step takes.
    fn loss(&self, batches: &Value, step: usize) -> Tensor<1> {
        match self {
            Network::Mlp(mlp) => mlp.loss(batches, step),
            Network::Bags(bags) => bags.loss(batches, step),
        }
    }
}

/// `batches[name][step % 11]`.
fn batch(batches: &Value, name: &str, step: usize) -> TorchTensor {
    let stacked = entry(batches, name);
    let stacked = stacked.as_tensor().unwrap();
    at(stacked, step % stacked.shape()[0])
}

fn ints<const D: usize>(batches: &Value, name: &str, step: usize) -> Tensor<D, Int> {
    Tensor::from_data(tensor_to_data(&batch(batches, name, step)).unwrap(), &device())
}

/// `nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))`.
#[derive(Module, Debug)]
struct Sequential {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
enum Layer {
    Linear(Linear),
    Relu(Relu),
}

impl Sequential {
    fn mlp(bias: bool) -> Self {
        let device = device();
        let linear = |from, to| Layer::Linear(LinearConfig::new(from, to).with_bias(bias).init(&device));
        let relu = || Layer::Relu(Relu::new());
        Sequential { layers: vec![linear(20, 32), relu(), linear(32, 16), relu(), linear(16, 10)] }
    }

    fn loss(&self, batches: &Value, step: usize) -> Tensor<1> {
        let inputs = burn::<2>(&batch(batches, "inputs", step), DType::Float32);
        let logits = self.layers.iter().fold(inputs, |x, layer| match layer {
            Layer::Linear(linear) => linear.forward(x),
            Layer::Relu(relu) => relu.forward(x),
        });
        cross_entropy(logits, ints::<1>(batches, "targets", step))
    }
}

/// Two embeddings: the mean of the tokens' rows plus the tag's row.
#[derive(Module, Debug)]
struct Bags {
    embedding: Embedding,
    tag: Embedding,
}

impl Bags {
    fn new() -> Self {
        let device = device();
        Bags { embedding: EmbeddingConfig::new(40, 10).init(&device), tag: EmbeddingConfig::new(7, 10).init(&device) }
    }

    fn loss(&self, batches: &Value, step: usize) -> Tensor<1> {
        let tokens = ints::<2>(batches, "tokens", step);
        let [rows, _] = tokens.dims();
        let tags = ints::<1>(batches, "tags", step).reshape([rows, 1]);
        let logits = self.embedding.forward(tokens.clone()).mean_dim(1) + self.tag.forward(tags);
        let classes = tokens.slice([0..rows, 0..1]).reshape([rows]).remainder_scalar(10);
        cross_entropy(logits.reshape([rows, 10]), classes)
    }
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) losses: Vec<f64>,
    /// The learning rates of all groups that each step was made with.
    pub(crate) lrs: Vec<Vec<f64>>,
    /// As PyTorch's section lays it out.
    pub(crate) checkpoint: Checkpoint,
}

impl Run {
    pub(crate) fn all() -> Vec<Self> {
        cases("optim/runs.json").into_iter().map(|(name, json)| Run { name, json }).collect()
    }

    /// The names of its optimizers.
    pub(crate) fn optimizers(&self) -> Vec<&str> {
        let optimizers = self.json["optimizers"].as_array().unwrap();
        optimizers.iter().map(|optimizer| optimizer["optimizer"].as_str().unwrap()).collect()
    }

    /// Whether all its optimizers treat each element by itself; the others are tested in `whole_optimizers.rs`.
    pub(crate) fn is_elementwise(&self) -> bool {
        self.optimizers().iter().all(|name| !["LBFGS", "Adafactor", "Muon", "SparseAdam"].contains(name))
    }

    /// Goes on from PyTorch's checkpoint after 5 steps, for so many.
    pub(crate) fn go_on(&self, steps: usize) -> Outcome {
        let batches = open("batches.pt").root().clone();
        let checkpoint = open(&format!("runs/{}.pt", self.name));
        let mut network = Network::new(self.json["network"].as_str().unwrap());
        network.load_state_dict(&checkpoint.state_dict("model_state_dict").unwrap()).unwrap();
        let start: usize = checkpoint.get("step").unwrap();

        let letters = if self.optimizers().len() == 1 { &[""][..] } else { &["A", "B"] };
        let mut optimizers: Vec<(Optimizer, LRScheduler)> = letters
            .iter()
            .zip(self.json["optimizers"].as_array().unwrap())
            .map(|(letter, json)| {
                // All else is in the file.
                let saved = checkpoint.value(&format!("optimizer{letter}_state_dict")).unwrap();
                let mut builder = Optimizer::builder(Hyperparameters::of(OptimizerKind::infer(&saved).unwrap()));
                if letters.len() > 1 {
                    let members =
                        json["groups"].as_array().unwrap().iter().flat_map(|group| group["params"].as_array().unwrap());
                    let members: Vec<String> = members.map(|name| name.as_str().unwrap().to_owned()).collect();
                    builder = builder.exclude(Select::matching(move |parameter| !members.contains(&parameter.name)));
                }
                let mut optimizer = builder.build(&network).unwrap();
                optimizer.load_state_dict(&network, &saved).unwrap();
                let saved = checkpoint.value(&format!("scheduler{letter}_state_dict")).unwrap();
                let scheduler = LRScheduler::from_state_dict(&saved, &optimizer).unwrap();
                (optimizer, scheduler)
            })
            .collect();

        let (mut losses, mut lrs) = (Vec::new(), Vec::new());
        for step in start..start + steps {
            lrs.push(optimizers.iter().flat_map(|(optimizer, _)| optimizer.lr().unwrap()).collect());
            let loss = network.loss(&batches, step);
            losses.push(f64::from(loss.clone().into_scalar::<f32>()));
            let mut gradients = loss.backward();
            for (optimizer, _) in &mut optimizers {
                network = optimizer.step(network, &mut gradients).unwrap();
            }
            for (optimizer, scheduler) in &mut optimizers {
                scheduler.step(optimizer).unwrap();
            }
        }

        let (step, batches_of_an_epoch) = (start + steps, 11);
        checkpoint.set("step", step as u64).unwrap();
        checkpoint.set("epoch", (step / batches_of_an_epoch) as u64).unwrap();
        checkpoint.set("loss", losses[losses.len() - 1]).unwrap();
        checkpoint.set("model_state_dict", network.state_dict().unwrap().to_value()).unwrap();
        for (letter, (optimizer, scheduler)) in letters.iter().zip(&optimizers) {
            checkpoint.set(&format!("optimizer{letter}_state_dict"), optimizer.state_dict(&network).unwrap()).unwrap();
            checkpoint.set(&format!("scheduler{letter}_state_dict"), scheduler.state_dict()).unwrap();
        }
        Outcome { losses, lrs, checkpoint }
    }
}

/// How far a tensor is from another, in the 2-norm, as a part of the other.
pub(crate) fn relative(found: &TorchTensor, expected: &TorchTensor) -> f64 {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
    let apart: f64 = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b.powi(2)).sum();
    if apart == 0.0 { 0.0 } else { (apart / size).sqrt() }
}

/// The largest such difference of the tensors under a path of two checkpoints that hold the same.
pub(crate) fn far(found: &Checkpoint, expected: &Checkpoint, under: &str) -> f64 {
    let (found, expected) = (found.tensors().unwrap(), expected.tensors().unwrap());
    let there = |(path, _): &&(String, TorchTensor)| path.starts_with(under);
    let (found, expected): (Vec<_>, Vec<_>) =
        (found.iter().filter(there).collect(), expected.iter().filter(there).collect());
    assert!(!expected.is_empty() || under != "model", "{under}");
    assert_eq!(
        found.iter().map(|(path, _)| path).collect::<Vec<_>>(),
        expected.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    found.iter().zip(expected).map(|((_, a), (_, b))| relative(a, b)).fold(0.0, f64::max)
}

/// A learning rate as Python's `float.hex` writes it.
pub(crate) fn hex(text: &str) -> f64 {
    let (digits, exponent) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
    let places = i32::try_from(fraction.len()).unwrap() * 4;
    // A mantissa of 53 bits is exact, and so is a power of two.
    #[allow(clippy::cast_precision_loss)]
    let mantissa = mantissa as f64;
    mantissa * 2.0_f64.powi(exponent.parse::<i32>().unwrap() - places)
}
