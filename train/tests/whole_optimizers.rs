//! The optimizers that see more than an element at a time: Adafactor, Muon, SparseAdam and LBFGS, against PyTorch's own
//! steps, runs and state dicts (`tests/fixtures/optim`).

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, Relu};
use burn::tensor::{DType as BurnDType, Device, FloatDType, Gradients, Int, Tensor};
use common::spell;
use rekindle_recorder::burn::{ModuleStateDict as _, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{Tensor as TorchTensor, Value};
use rekindle_train::loss::cross_entropy;
use rekindle_train::lr_scheduler::LRScheduler;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerBuilder, OptimizerKind, Select};
use serde_json::Value as Json;

mod common;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/optim").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixture(name)).unwrap()
}

/// Names and cases, in order of the names.
fn json(name: &str) -> serde_json::Map<String, Json> {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

fn dict(value: &Value) -> Vec<(String, Value)> {
    let entries = value.as_dict().unwrap().entries();
    entries.into_iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect()
}

fn entry(value: &Value, key: &str) -> Value {
    value.as_dict().unwrap().get(key).unwrap_or_else(|| panic!("there is no {key}"))
}

fn tensor(value: &Value, key: &str) -> TorchTensor {
    entry(value, key).as_tensor().unwrap().clone()
}

/// What a stacked tensor has in this place.
fn at(stacked: &TorchTensor, place: usize) -> TorchTensor {
    let bytes = stacked.to_le_bytes().unwrap();
    let size = bytes.len() / stacked.shape()[0];
    TorchTensor::from_le_bytes(stacked.dtype(), &stacked.shape()[1..], bytes[place * size..][..size].to_vec()).unwrap()
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn burn<const D: usize>(tensor: &TorchTensor, double: bool) -> Tensor<D> {
    let dtype = if double { BurnDType::F64 } else { BurnDType::F32 };
    Tensor::from_data(tensor_to_data(tensor).unwrap().convert_dtype(dtype), (&device(), dtype))
}

/// An optimizer with options as its constructor in PyTorch takes them.
fn builder(optimizer: &str, options: &Value) -> OptimizerBuilder {
    let kind: OptimizerKind = optimizer.parse().unwrap();
    let mut options = dict(options);
    let iterations = options.iter().find(|(name, _)| name == "max_iter").and_then(|(_, value)| value.as_i64());
    if let (Some(iterations), false) = (iterations, options.iter().any(|(name, _)| name == "max_eval")) {
        options.push(("max_eval".to_owned(), (iterations * 5 / 4).into()));
    }
    Optimizer::builder(Hyperparameters::of(kind)).group("*", options)
}

fn relative(found: &TorchTensor, expected: &TorchTensor) -> f64 {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    apart(&found.to_f64_vec().unwrap(), &expected.to_f64_vec().unwrap())
}

/// How far numbers are from others, in the 2-norm, as a part of the others.
fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let apart: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    if apart == 0.0 { 0.0 } else { (apart / expected.iter().map(|b| b.powi(2)).sum::<f64>()).sqrt() }
}

/// The largest relative difference of two values, which must have the same keys in the same order, types and shapes.
fn differ(found: &Value, expected: &Value, path: &str) -> f64 {
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

// Rules --------------------------------------------------------------------------------------------------------------------

const STEPS: usize = 12;

/// The parameters of the rules.
#[derive(Module, Debug)]
struct Given {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
    wide: Param<Tensor<2>>,
    cube: Param<Tensor<3>>,
}

impl Given {
    fn new(given: &Value, double: bool) -> Self {
        fn param<const D: usize>(given: &Value, name: &str, double: bool) -> Param<Tensor<D>> {
            Param::from_tensor(burn(&tensor(&entry(given, "start"), name), double))
        }
        Given {
            matrix: param(given, "matrix", double),
            vector: param(given, "vector", double),
            wide: param(given, "wide", double),
            cube: param(given, "cube", double),
        }
    }

    /// Something whose gradient by the parameter of this name is this one.
    fn term(&self, name: &str, gradient: &TorchTensor, double: bool) -> Tensor<1> {
        match name {
            "matrix" => (self.matrix.val() * burn(gradient, double)).sum(),
            "vector" => (self.vector.val() * burn(gradient, double)).sum(),
            "wide" => (self.wide.val() * burn(gradient, double)).sum(),
            "cube" => (self.cube.val() * burn(gradient, double)).sum(),
            other => panic!("{other}"),
        }
    }
}

/// The dense gradient of a step of SparseAdam, and its rows.
fn sparse(given: &Value, name: &str, step: usize) -> (TorchTensor, Vec<usize>) {
    let shape = tensor(&entry(given, "start"), name).shape().to_vec();
    let row: usize = shape[1..].iter().product();
    let rows = entry(&entry(given, "rows"), name).items().unwrap()[step].items().unwrap();
    let rows: Vec<usize> = rows.iter().map(|row| usize::try_from(row.as_i64().unwrap()).unwrap()).collect();
    let values = entry(&entry(given, "values"), name).items().unwrap()[step].as_tensor().unwrap().to_vec::<f32>().unwrap();
    let mut dense = vec![0.0_f32; shape.iter().product()];
    for (row_values, &place) in values.chunks(row).zip(&rows) {
        dense[place * row..][..row].iter_mut().zip(row_values).for_each(|(sum, value)| *sum += value);
    }
    (TorchTensor::from_vec(&shape, dense).unwrap(), rows)
}

/// A model and its optimizer between two of the steps.
struct Rehearsal<'a> {
    given: &'a Value,
    names: Vec<String>,
    model: Option<Given>,
    optimizer: Optimizer,
    double: bool,
}

impl<'a> Rehearsal<'a> {
    fn new(given: &'a Value, optimizer: &str, case: &Value, double: bool) -> Self {
        let names: Vec<String> = dict(&entry(case, "params")).into_iter().map(|(name, _)| name).collect();
        let (model, members) = (Given::new(given, double), names.clone());
        let others = Select::matching(move |parameter| !members.contains(&parameter.name));
        let optimizer = builder(optimizer, &entry(case, "options")).exclude(others).build(&model).unwrap();
        Rehearsal { given, names, model: Some(model), optimizer, double }
    }

    fn step(&mut self, step: usize) {
        let model = self.model.take().unwrap();
        let mut terms = Vec::new();
        for name in &self.names {
            let gradient = if self.optimizer.kind() == OptimizerKind::SparseAdam {
                let (gradient, rows) = sparse(self.given, name, step);
                self.optimizer.touch(name, rows).unwrap();
                gradient
            } else {
                at(&tensor(&entry(self.given, "gradients"), name), step)
            };
            terms.push(model.term(name, &gradient, self.double));
        }
        let loss = terms.into_iter().reduce(|sum, term| sum + term).unwrap();
        self.model = Some(self.optimizer.step(model, loss.backward()).unwrap());
    }

    /// Each parameter, and its state.
    fn found(&self) -> Vec<(String, TorchTensor, Vec<(String, Value)>)> {
        let model = self.model.as_ref().unwrap();
        let weights = model.state_dict().unwrap();
        let states = entry(&self.optimizer.state_dict(model).unwrap(), "state");
        let state = |place: i64| states.as_dict().unwrap().get_key(&place.into()).map(|state| dict(&state));
        let names = (0..).zip(&self.names);
        names.map(|(place, name)| (name.clone(), weights.get(name).unwrap().clone(), state(place).unwrap_or_default())).collect()
    }
}

/// The distance of two tensors, element by element, in units in the last place of the largest magnitude on the way.
#[derive(Default)]
struct Units(std::collections::HashMap<String, Vec<f64>>);

impl Units {
    fn apart(&mut self, name: &str, found: &TorchTensor, expected: &TorchTensor) -> f64 {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{name}");
        let double = found.dtype() == rekindle_recorder::DType::Float64;
        let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
        let largest = self.0.entry(name.to_owned()).or_insert_with(|| vec![0.0; expected.len()]);
        let mut worst = 0.0_f64;
        for ((a, b), largest) in found.into_iter().zip(expected).zip(largest) {
            *largest = largest.max(b.abs());
            worst = worst.max((a - b).abs() / unit(*largest, double));
        }
        worst
    }
}

fn unit(number: f64, double: bool) -> f64 {
    #[allow(clippy::cast_possible_truncation)]
    let single = (number as f32).max(f32::MIN_POSITIVE);
    let number = number.max(f64::MIN_POSITIVE);
    if double { number.next_up() - number } else { f64::from(single.next_up() - single) }
}

/// How far a parameter and its state may be from PyTorch's after any of 12 steps, in units in the last place.
const RULES: &[(&str, f64)] = &[("Adafactor", 8.0), ("Muon", 2.0), ("SparseAdam", 2.0)];

#[test]
fn a_rule_given_pytorch_s_gradients_computes_what_pytorch_does() {
    let given = open("given.pt").root().clone();
    let mut failed = Vec::new();
    for (optimizer, tolerance) in RULES {
        for (set, case) in dict(open(&format!("rules/{}.pt", optimizer.to_lowercase())).root()) {
            let (mut rehearsal, mut units) = (Rehearsal::new(&given, optimizer, &case, false), Units::default());
            let (mut of_params, mut of_state) = (0.0_f64, 0.0_f64);
            for step in 0..STEPS {
                rehearsal.step(step);
                for (name, param, state) in rehearsal.found() {
                    of_params = of_params.max(units.apart(&name, &param, &at(&tensor(&entry(&case, "params"), &name), step)));
                    let expected = entry(&entry(&case, "state"), &name);
                    assert_eq!(state.len(), dict(&expected).len());
                    for (key, found) in state {
                        let expected = at(&tensor(&expected, &key), step);
                        match found {
                            Value::Int(count) => assert_eq!(count as f64, expected.to_f64_vec().unwrap()[0]),
                            found => {
                                let apart = units.apart(&format!("{name}.{key}"), found.as_tensor().unwrap(), &expected);
                                of_state = of_state.max(apart);
                            }
                        }
                    }
                }
            }
            println!("{optimizer} {set}: {of_params} units, state {of_state}");
            if of_params.max(of_state) > *tolerance {
                failed.push(format!("{optimizer} {set}: {of_params}, {of_state}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn doubles_are_updated_as_in_pytorch() {
    let given = open("given.pt").root().clone();
    for (optimizer, tolerance) in RULES {
        for (set, case) in dict(open(&format!("rules/{}.pt", optimizer.to_lowercase())).root()) {
            let mut rehearsal = Rehearsal::new(&given, optimizer, &case, true);
            let mut largest = std::collections::HashMap::<String, f64>::new();
            for step in 0..STEPS {
                rehearsal.step(step);
                for (name, param, _) in rehearsal.found() {
                    let values = param.to_f64_vec().unwrap();
                    let most = values.into_iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                    largest.entry(name).and_modify(|known| *known = known.max(most)).or_insert(most);
                }
            }
            let mut worst = 0.0_f64;
            for (name, param, _) in rehearsal.found() {
                let expected = tensor(&entry(&case, "float64"), &name).to_f64_vec().unwrap();
                for (a, b) in param.to_f64_vec().unwrap().into_iter().zip(expected) {
                    worst = worst.max((a - b).abs() / unit(largest[&name], true));
                }
            }
            println!("{optimizer} {set}: {worst} units");
            assert!(worst <= *tolerance, "{optimizer} {set}: {worst} units");
        }
    }
}

// LBFGS --------------------------------------------------------------------------------------------------------------------

/// What LBFGS's rules are of.
#[derive(Module, Debug)]
struct Two {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

impl Two {
    fn new(matrix: &TorchTensor, vector: &TorchTensor) -> Self {
        Two { matrix: Param::from_tensor(burn(matrix, false)), vector: Param::from_tensor(burn(vector, false)) }
    }

    fn flat(&self) -> Vec<f64> {
        let state_dict = self.state_dict().unwrap();
        ["matrix", "vector"].iter().flat_map(|name| state_dict.get(name).unwrap().to_f64_vec().unwrap()).collect()
    }

    /// Gradients that are these.
    fn gradients(&self, flat: &TorchTensor) -> Gradients {
        let flat = burn::<1>(flat, false);
        let matrix = (self.matrix.val() * flat.clone().slice([0..35]).reshape([7, 5])).sum();
        (matrix + (self.vector.val() * flat.slice([35..46])).sum()).backward()
    }
}

/// Given PyTorch's losses and gradients, we ask for them where it asked, and go where it went. With dot products that are
/// summed in double precision PyTorch itself asks up to 3.4e-7 away, and its state differs by up to 2.3e-4 (the direction,
/// where it is a small difference of large numbers); with them its search in `strong_wolfe_long_steps` takes another turn,
/// at once, so that only the beginning of that one can be compared.
#[test]
fn lbfgs_asks_where_pytorch_asks_and_goes_where_it_goes() {
    let given = open("given.pt").root().clone();
    let start = entry(&given, "start");
    for (set, case) in dict(open("rules/lbfgs.pt").root()) {
        let evaluations = entry(&case, "evaluations");
        let [asked, gradients, losses] = ["params", "gradients", "losses"].map(|key| tensor(&evaluations, key));
        let mut model = Two::new(&tensor(&start, "matrix"), &tensor(&start, "vector"));
        let mut optimizer = builder("LBFGS", &entry(&case, "options")).build(&model).unwrap();
        let (mut count, mut places, mut states) = (0, 0.0_f64, 0.0_f64);
        for step in 0..STEPS {
            let first = losses.to_f64_vec().unwrap()[count];
            let closure = |model: &Two| {
                places = places.max(apart(&model.flat(), &at(&asked, count).to_f64_vec().unwrap()));
                let loss = TorchTensor::from_vec(&[1], at(&losses, count).to_vec::<f32>().unwrap()).unwrap();
                let gradients = model.gradients(&at(&gradients, count));
                count += 1;
                (burn::<1>(&loss, false), gradients)
            };
            let (stepped, loss) = optimizer.step_closure(model, closure).unwrap();
            model = stepped;
            assert_eq!(loss, first, "{set}");
            let after = ["matrix", "vector"].map(|name| at(&tensor(&entry(&case, "params"), name), step));
            let after: Vec<f64> = after.iter().flat_map(|tensor| tensor.to_f64_vec().unwrap()).collect();
            places = places.max(apart(&model.flat(), &after));
            let expected = entry(&case, "states").items().unwrap()[step].clone();
            let found = entry(&optimizer.state_dict(&model).unwrap(), "state");
            let found = found.as_dict().unwrap().get_key(&0.into()).unwrap();
            states = states.max(differ(&found, &expected, &format!("{set}, step {step}")));
            if set == "strong_wolfe_long_steps" && step == 0 {
                break;
            }
        }
        println!("LBFGS {set}: {count} evaluations, {places:.1e}, state {states:.1e}");
        assert!(places < 1e-6 && states < 2.3e-3, "{set}: {places:e}, {states:e}");
        assert!(count == losses.numel() || set == "strong_wolfe_long_steps", "{set}: {count}");
    }
}

// Runs ---------------------------------------------------------------------------------------------------------------------

/// The networks of the runs.
#[derive(Module, Debug)]
enum Network {
    Mlp(Mlp),
    Bags(Bags),
}

/// `nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))`.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
enum Layer {
    Linear(Linear),
    Relu(Relu),
}

/// Two embeddings: the mean of the tokens' rows plus the tag's row.
#[derive(Module, Debug)]
struct Bags {
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
            _ => Network::Mlp(Mlp { layers: vec![linear(20, 32), relu(), linear(32, 16), relu(), linear(16, 10)] }),
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
struct Run {
    network: Network,
    optimizers: Vec<(Optimizer, LRScheduler)>,
    double: bool,
}

fn letters(json: &Json) -> &'static [&'static str] {
    if json["optimizers"].as_array().unwrap().len() == 1 { &[""] } else { &["A", "B"] }
}

impl Run {
    fn resume(json: &Json, checkpoint: &Checkpoint) -> Self {
        let double = json["dtype"] == "float64";
        let mut network = Network::new(json["network"].as_str().unwrap(), double);
        network.load_state_dict(&checkpoint.state_dict("model_state_dict").unwrap()).unwrap();
        let optimizers = letters(json).iter().zip(json["optimizers"].as_array().unwrap()).map(|(letter, json)| {
            let groups = json["groups"].as_array().unwrap().iter().flat_map(|group| group["params"].as_array().unwrap());
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

    /// The loss before the step.
    fn step(mut self, batches: &Value, step: usize) -> (Self, f64) {
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

/// Run, and how far its losses, weights and state may be from PyTorch's. PyTorch's own noise, of `runs.json`, is beside it: the
/// largest of two threads, and rows in reverse.
const RUNS: &[(&str, f64, f64, f64)] = &[
    ("adafactor", 1e-6, 1e-5, 1e-5),           // 2.1e-7, 5.5e-8, 1.2e-7
    ("adafactor_decay", 1e-6, 1e-5, 1e-5),     // 3.1e-7, 8.2e-8, 1.3e-7
    ("muon", 1e-6, 1e-5, 1e-5),                // 2.1e-7, 0, 8.0e-8
    ("muon_not_nesterov", 1e-6, 1e-5, 1e-5),   // 2.1e-7, 2.0e-7, 1.8e-7
    ("muon_and_adamw", 1e-6, 1e-5, 1e-5),      // 2.1e-7, 2.6e-7, 1.1e-7
    ("sparse_adam", 1e-6, 1e-5, 1e-5),         // 2.2e-7, 4.1e-8, 5.8e-8
    ("sparse_adam_groups", 1e-6, 1e-5, 1e-5),  // 2.3e-7, 4.1e-8, 1.0e-7
    ("lbfgs", 3.4e-6, 1e-5, 1.6e-4),           // 3.4e-7, 5.0e-7, 1.6e-5
    ("lbfgs_iterations", 6.3e-6, 1e-5, 5.8e-4), // 6.3e-7, 8.9e-7, 5.8e-5
    ("lbfgs_strong_wolfe", 1e-6, 1e-5, 1e-5),  // doubles: 1.8e-10, 7.5e-12, 6.2e-9
];

#[test]
fn runs_go_on_as_in_pytorch() {
    let (cases, batches) = (json("runs.json"), open("batches.pt").root().clone());
    let mut failed = Vec::new();
    for &(name, loss_limit, weights_limit, state_limit) in RUNS {
        let (json, end) = (&cases[name], open(&format!("runs/{name}_end.pt")));
        let mut run = Run::resume(json, &open(&format!("runs/{name}.pt")));
        let mut losses = 0.0_f64;
        for (step, expected) in (5..).zip(json["losses"].as_array().unwrap()) {
            let loss;
            (run, loss) = run.step(&batches, step);
            let expected = expected.as_f64().unwrap();
            losses = losses.max((loss - expected).abs() / expected.abs());
        }
        let weights = differ(
            &Value::from(run.network.state_dict().unwrap().to_value()),
            &end.value("model_state_dict").unwrap(),
            name,
        );
        let mut state = 0.0_f64;
        for (letter, (optimizer, scheduler)) in letters(json).iter().zip(&run.optimizers) {
            let found = optimizer.state_dict(&run.network).unwrap();
            let expected = end.value(&format!("optimizer{letter}_state_dict")).unwrap();
            state = state.max(differ(&found, &expected, name));
            let expected = end.value(&format!("scheduler{letter}_state_dict")).unwrap();
            assert_eq!(spell(&scheduler.state_dict(), true), spell(&expected, true), "{name}");
        }
        println!("{name}: losses {losses:.1e}, weights {weights:.1e}, state {state:.1e}");
        if losses > loss_limit || weights > weights_limit || state > state_limit {
            failed.push(format!("{name}: {losses:e}, {weights:e}, {state:e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
