//! Reads the fixtures that `tests/fixtures/sections/optim.py` wrote, and makes what they are of: optimizers with PyTorch's
//! options, the models of the state dicts, and the rules: parameters with given gradients. The runs are in `runs.rs`.

use burn::module::{Module, Param};
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use rekindle_burn::{ModuleStateDict as _, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{DType, Dict, Tensor as TorchTensor, Value};
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerBuilder, OptimizerKind, Select};

use rekindle_testing::fixtures;

/// The optimizers that see more than an element at a time; the others are elementwise.
pub(crate) const WHOLE: [&str; 9] =
    ["LBFGS", "Adafactor", "Muon", "SparseAdam", "timm.Lion", "timm.RMSpropTF", "timm.Lamb", "timm.Lars", "timm.Adan"];

/// A file of `torch.save` in `tests/fixtures/optim`.
pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("optim").join(name)).unwrap()
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

fn tensors(value: &Value) -> Vec<(String, TorchTensor)> {
    dict(value).into_iter().map(|(name, value)| (name, value.as_tensor().unwrap().clone())).collect()
}

/// What a stacked tensor has in this place.
pub(crate) fn at(stacked: &TorchTensor, place: usize) -> TorchTensor {
    let bytes = stacked.to_le_bytes().unwrap();
    let size = bytes.len() / stacked.shape()[0];
    TorchTensor::from_le_bytes(stacked.dtype(), &stacked.shape()[1..], bytes[place * size..][..size].to_vec()).unwrap()
}

/// An optimizer with options as its constructor in PyTorch takes them.
pub(crate) fn hyperparameters(optimizer: &str, options: &Value) -> Hyperparameters {
    let defaults = Hyperparameters::of(optimizer.parse().unwrap());
    let given = dict(options);
    // The one default that depends on another option.
    let max_iter = given.iter().find(|(name, _)| name == "max_iter");
    let max_eval = max_iter.map(|(_, value)| ("max_eval".to_owned(), (value.as_i64().unwrap() * 5 / 4).into()));
    let options = max_eval.into_iter().chain(given);
    options.fold(defaults, |options, (name, value)| options.with(&name, value).unwrap())
}

/// All parameters but those of these names.
pub(crate) fn others(names: Vec<String>) -> Select {
    Select::matching(move |parameter| !names.contains(&parameter.name))
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn burn<const D: usize>(tensor: &TorchTensor, dtype: DType) -> Tensor<D> {
    let (made, device) = (if dtype == DType::Float64 { BurnDType::F64 } else { BurnDType::F32 }, device());
    Tensor::from_data(tensor_to_data(tensor).unwrap().convert_dtype(made), (&device, made))
}

// State dicts --------------------------------------------------------------------------------------------------------------

/// What the state dicts are of.
#[derive(Module, Debug)]
pub(crate) struct Model {
    pub(crate) layer: Parts,
}

#[derive(Module, Debug)]
pub(crate) enum Parts {
    Usual(Usual),
    Matrices(Matrices),
}

#[derive(Module, Debug)]
pub(crate) struct Usual {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Param<Tensor<1>>,
    /// Adafactor's; others leave it out or have none.
    pub(crate) kernel: Option<Param<Tensor<4>>>,
}

/// Muon's.
#[derive(Module, Debug)]
pub(crate) struct Matrices {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Param<Tensor<2>>,
}

impl Model {
    pub(crate) fn new(optimizer: &str, with_kernel: bool) -> Self {
        let layer = if optimizer == "Muon" {
            Parts::Matrices(Matrices { weight: filled([2, 3], 0), bias: filled([3, 2], 1) })
        } else {
            let kernel = with_kernel.then(|| filled([2, 1, 2, 2], 2));
            Parts::Usual(Usual { weight: filled([2, 3], 0), bias: filled([3], 1), kernel })
        };
        Model { layer }
    }
}

fn filled<const D: usize>(shape: [usize; D], number: u32) -> Param<Tensor<D>> {
    let values = rekindle_testing::filled(shape.iter().product(), number);
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device()))
}

/// With names and groups, where a case's form has them.
pub(crate) fn in_form(builder: OptimizerBuilder, form: &str) -> OptimizerBuilder {
    let builder = if form.contains("named") { builder.named() } else { builder };
    if form.contains("groups") {
        builder.group("layer.weight", [("note", "mine")]).group("*", [("lr", 0.25)])
    } else {
        builder
    }
}

// Rules --------------------------------------------------------------------------------------------------------------------

/// 12 updates of an optimizer with an option set, as PyTorch made them.
pub(crate) struct Rule {
    pub(crate) optimizer: String,
    /// The option set's name.
    pub(crate) set: String,
    options: Value,
    /// After each step: name -> `[12, ...]`.
    pub(crate) params: Vec<(String, TorchTensor)>,
    /// After each step: name -> key -> `[12, ...]`.
    state: Vec<(String, Vec<(String, TorchTensor)>)>,
    /// The last parameter, computed in float64 throughout.
    float64: Vec<(String, TorchTensor)>,
    /// The last parameters and state by PyTorch's code with square roots that are rounded correctly.
    rounded: Vec<(String, TorchTensor)>,
    given: Value,
}

pub(crate) const STEPS: usize = 12;

impl Rule {
    /// All option sets of an optimizer; LBFGS's are laid out otherwise.
    pub(crate) fn all(optimizer: &str) -> Vec<Self> {
        // Those of other packages are beside PyTorch's.
        Rule::within(if optimizer.contains('.') { "../optim_others/rules" } else { "rules" }, optimizer)
    }

    /// Those with tensors as hyper-parameters.
    pub(crate) fn of_tensors(optimizer: &str) -> Vec<Self> {
        Rule::within("../optim_tensors/rules", optimizer)
    }

    fn within(folder: &str, optimizer: &str) -> Vec<Self> {
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
        let file = open(&format!("{folder}/{}.pt", optimizer.to_lowercase()));
        dict(file.root()).into_iter().map(read).collect()
    }

    /// Before the first step.
    pub(crate) fn start(&self, dtype: DType) -> Rehearsal<'_> {
        let model = Given::new(&entry(&self.given, "start"), dtype);
        let others = others(self.params.iter().map(|(name, _)| name.clone()).collect());
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
            let state: Dict = state
                .iter()
                .map(|(key, steps)| {
                    let tensor = at(steps, step);
                    // What other packages count with an int, the fixture has as a tensor.
                    let count = (tensor.dtype() == DType::Int64).then(|| tensor.to_vec::<i64>().unwrap()[0]);
                    (key.as_str(), count.map_or_else(|| Value::from(tensor), Value::from))
                })
                .collect();
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
        let through_it = option("decoupled_weight_decay") == 0.0 && !self.optimizer.ends_with("AdamW");
        let weight_decay = if through_it { option("weight_decay") } else { 0.0 };
        let sign = if option("maximize") == 0.0 { 1.0 } else { -1.0 };
        let (start, gradients) = (entry(&self.given, "start"), entry(&self.given, "gradients"));
        let of = |(name, steps): &(String, TorchTensor)| {
            let before = match step {
                0 => tensor(&start, name),
                _ => at(steps, step - 1),
            };
            let gradient = at(&tensor(&gradients, name), step);
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

    /// The dense gradient of a step of `SparseAdam`, and its rows.
    fn sparse(&self, name: &str, step: usize) -> (TorchTensor, Vec<usize>) {
        let of_step = |key| entry(&entry(&self.given, key), name).items().unwrap()[step].clone();
        let shape = tensor(&entry(&self.given, "start"), name).shape().to_vec();
        let row: usize = shape[1..].iter().product();
        let rows = of_step("rows").items().unwrap();
        let rows: Vec<usize> = rows.iter().map(|row| usize::try_from(row.as_i64().unwrap()).unwrap()).collect();
        let values = of_step("values").as_tensor().unwrap().to_f64_vec().unwrap();
        // At most two values meet: their sum is exact, and rounded to the parameter's type later.
        let mut dense = vec![0.0; shape.iter().product()];
        for (row_values, &place) in values.chunks(row).zip(&rows) {
            dense[place * row..][..row].iter_mut().zip(row_values).for_each(|(sum, value)| *sum += value);
        }
        (TorchTensor::from_vec(&shape, dense).unwrap(), rows)
    }
}

/// Parameters and state after a step, by name as in [`Rule::expected`].
fn rounded(value: &Value) -> Vec<(String, TorchTensor)> {
    let states = dict(&entry(value, "state")).into_iter().flat_map(|(name, state)| {
        tensors(&state).into_iter().map(move |(key, tensor)| (format!("{name}.{key}"), tensor))
    });
    tensors(&entry(value, "params")).into_iter().chain(states).collect()
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
            let gradient = if self.optimizer.kind() == OptimizerKind::SparseAdam {
                let (gradient, rows) = self.rule.sparse(name, step);
                self.optimizer.touch(name, rows).unwrap();
                gradient
            } else {
                at(&tensor(&gradients, name), step)
            };
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
                    // SparseAdam counts with an int, which the fixture has as a tensor.
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
            Param::from_tensor(burn(&tensor(start, name), dtype))
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
