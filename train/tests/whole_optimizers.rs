//! The optimizers that see more than an element at a time: Adafactor, Muon, `SparseAdam` and LBFGS, against PyTorch's
//! steps, runs and state dicts (`tests/fixtures/optim`).

use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Tensor};
use rekindle_recorder::burn::ModuleStateDict as _;
use rekindle_recorder::{DType, Tensor as TorchTensor, Value};
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerBuilder, OptimizerKind, Select};
use whole::{RUNS, Run, apart, at, burn, dict, differ, entry, from_the_end, json, open, tensor};

mod common;
mod whole;

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

/// The dense gradient of a step of `SparseAdam`, and its rows.
fn sparse(given: &Value, name: &str, step: usize) -> (TorchTensor, Vec<usize>) {
    let shape = tensor(&entry(given, "start"), name).shape().to_vec();
    let row: usize = shape[1..].iter().product();
    let rows = entry(&entry(given, "rows"), name).items().unwrap()[step].items().unwrap();
    let rows: Vec<usize> = rows.iter().map(|row| usize::try_from(row.as_i64().unwrap()).unwrap()).collect();
    let values = entry(&entry(given, "values"), name).items().unwrap()[step].as_tensor().unwrap().to_f64_vec().unwrap();
    // At most two values meet: their sum is exact, and rounded to the parameter's type later.
    let mut dense = vec![0.0; shape.iter().product()];
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
        names
            .map(|(place, name)| (name.clone(), weights.get(name).unwrap().clone(), state(place).unwrap_or_default()))
            .collect()
    }
}

/// The distance of two tensors, element by element, in units in the last place of the largest magnitude on the way.
#[derive(Default)]
struct Units(HashMap<String, Vec<f64>>);

impl Units {
    fn apart(&mut self, name: &str, found: &TorchTensor, expected: &TorchTensor) -> f64 {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{name}");
        let double = found.dtype() == DType::Float64;
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

const RULES: [&str; 3] = ["Adafactor", "Muon", "SparseAdam"];

/// How far a parameter and its state may be from PyTorch's after any of 12 steps, in units in the last place. Adafactor divides
/// by norms. Where PyTorch sums them in double precision it is as far from itself as we are from it: 3 units, and 34.4 in
/// `beta2_decay_eps_d`, whose steps are as large as the parameters; its foreach path is 1 and 4 units away.
fn tolerance(optimizer: &str, set: &str) -> f64 {
    match (optimizer, set) {
        ("Adafactor", "beta2_decay_eps_d") => 64.0,
        ("Adafactor", _) => 8.0,
        _ => 2.0,
    }
}

#[test]
fn a_rule_given_pytorch_s_gradients_computes_what_pytorch_does() {
    let given = open("given.pt").root().clone();
    let mut failed = Vec::new();
    for optimizer in RULES {
        for (set, case) in dict(open(&format!("rules/{}.pt", optimizer.to_lowercase())).root()) {
            let (mut rehearsal, mut units) = (Rehearsal::new(&given, optimizer, &case, false), Units::default());
            let (mut of_params, mut of_state) = (0.0_f64, 0.0_f64);
            for step in 0..STEPS {
                rehearsal.step(step);
                for (name, param, state) in rehearsal.found() {
                    of_params =
                        of_params.max(units.apart(&name, &param, &at(&tensor(&entry(&case, "params"), &name), step)));
                    let expected = entry(&entry(&case, "state"), &name);
                    assert_eq!(state.len(), dict(&expected).len());
                    for (key, found) in state {
                        let expected = at(&tensor(&expected, &key), step);
                        match found {
                            Value::Int(count) => assert_eq!(vec![count], expected.to_vec::<i64>().unwrap()),
                            found => {
                                let apart =
                                    units.apart(&format!("{name}.{key}"), found.as_tensor().unwrap(), &expected);
                                of_state = of_state.max(apart);
                            }
                        }
                    }
                }
            }
            println!("{optimizer} {set}: {of_params} units, state {of_state}");
            if of_params.max(of_state) > tolerance(optimizer, &set) {
                failed.push(format!("{optimizer} {set}: {of_params}, {of_state}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn doubles_are_updated_as_in_pytorch() {
    let given = open("given.pt").root().clone();
    for optimizer in RULES {
        for (set, case) in dict(open(&format!("rules/{}.pt", optimizer.to_lowercase())).root()) {
            let mut rehearsal = Rehearsal::new(&given, optimizer, &case, true);
            let mut largest = HashMap::<String, f64>::new();
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
                    // Muon rounds what it sums in float32 to bfloat16, where little is left of a sum as well.
                    worst = worst.max((a - b).abs() / unit(largest[&name], optimizer != "Muon"));
                }
            }
            println!("{optimizer} {set}: {worst} units");
            assert!(worst <= 2.0, "{optimizer} {set}: {worst} units");
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
        let matrix = (self.matrix.val() * flat.clone().narrow(0, 0, 35).reshape([7, 5])).sum();
        (matrix + (self.vector.val() * flat.narrow(0, 35, 11)).sum()).backward()
    }
}

/// Given PyTorch's losses and gradients, we ask for them where it asked, and go where it went. With dot products that are
/// summed in double precision PyTorch itself asks up to 3.4e-7 away, and its state differs by up to 2.3e-4 (where little is left
/// of a difference); the searches of `strong_wolfe_long_steps` are 2.2e-6 away in the first step, and take another turn later,
/// so that only the first can be compared.
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
        let far = if set == "strong_wolfe_long_steps" { 3e-6 } else { 1e-6 };
        assert!(places < far && states < 2.3e-3, "{set}: {places:e}, {states:e}");
        assert!(count == losses.numel() || set == "strong_wolfe_long_steps", "{set}: {count}");
    }
}

// Runs ---------------------------------------------------------------------------------------------------------------------

#[test]
fn runs_go_on_as_in_pytorch() {
    let (cases, batches) = (json("runs.json"), open("batches.pt").root().clone());
    let mut failed = Vec::new();
    for &(name, weights_limit, state_limit) in RUNS {
        let json = &cases[name];
        let mut run = Run::resume(json, &open(&format!("runs/{name}.pt")));
        let mut losses = 0.0_f64;
        for (step, expected) in (5..).zip(json["losses"].as_array().unwrap()) {
            let loss;
            (run, loss) = run.step(&batches, step);
            let expected = expected.as_f64().unwrap();
            losses = losses.max((loss - expected).abs() / expected.abs());
        }
        let (weights, state) = from_the_end(name, json, &run);
        println!("{name}: losses {losses:.1e}, weights {weights:.1e}, state {state:.1e}");
        if losses > 1e-6 || weights > weights_limit || state > state_limit {
            failed.push(format!("{name}: {losses:e}, {weights:e}, {state:e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
