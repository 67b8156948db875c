//! The update rules against PyTorch's own: 12 steps of one parameter with given gradients, `tests/fixtures/train/updates.json`.

use std::cell::RefCell;

use burn::module::{Module, Param};
use burn::tensor::{Element, Tensor, TensorData};
use rekindle_recorder::Value;
use rekindle_testing::compare::{ulps, ulps64, units};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{bytes, f32s, f64s, value};
use rekindle_train::optim::{Optimizer, OptimizerKind};
use serde_json::Value as Json;

use crate::common::optim::{device, entry, hyperparameters, tensor};

/// What a case gives and expects.
struct Case<'a> {
    name: &'a str,
    group: Value,
    json: &'a Json,
}

#[derive(Module, Debug)]
struct One {
    values: Param<Tensor<1>>,
}

impl<'a> Case<'a> {
    fn all(cases: &'a [Json], dtype: &str) -> Vec<Self> {
        let of_type = |case: &&Json| case["dtype"] == dtype && case.get("name").is_some();
        let read = |json: &'a Json| Case { name: json["name"].as_str().unwrap(), group: value(&json["group"]), json };
        cases.iter().filter(of_type).map(read).collect()
    }

    /// Steps a parameter through all gradients, and gives its state.
    fn run<T: Element>(&self, start: &[T], gradients: &[T], mut after: impl FnMut(usize, &[T])) -> Value {
        let tensor = |values: &[T]| {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            Tensor::<1>::from_data(data, (&device(), T::dtype()))
        };
        let mut model = One { values: Param::from_tensor(tensor(start)) };
        let hyperparameters = hyperparameters(self.json["optimizer"].as_str().unwrap(), &self.group);
        let mut optimizer = Optimizer::builder(hyperparameters).build(&model).unwrap();
        for (step, gradient) in (0_u32..).zip(gradients.chunks(start.len())) {
            if self.json["schedule"].as_bool().unwrap() {
                optimizer.param_groups_mut()[0].set_lr(0.1 / f64::from(step + 1));
            }
            let loss = (model.values.val() * tensor(gradient)).sum();
            model = optimizer.step(model, loss.backward()).unwrap();
            after(step as usize, &model.values.val().into_data().try_into_vec::<T>().unwrap());
        }
        entry(&optimizer.state_dict(&model).unwrap(), "state")
    }

    /// How far PyTorch's square root, which is not correctly rounded, may lead away.
    fn tolerance(&self) -> u8 {
        if self.json["optimizer"] == OptimizerKind::Sgd.name() { 0 } else { 2 }
    }
}

fn given<'a>(cases: &'a [Json], dtype: &str) -> &'a Json {
    cases.iter().find(|case| case["dtype"] == dtype && case.get("start").is_some()).unwrap()
}

#[test]
fn sgd_is_equal_to_pytorch_and_adam_differs_by_no_more_than_the_square_root() {
    let cases = fixtures::cases("train/updates.json");
    let given = given(&cases, "float32");
    let (start, gradients) = (f32s(&given["start"]), f32s(&given["gradients"]));
    for case in Case::all(&cases, "float32") {
        let (name, tolerance) = (case.name, case.tolerance());
        let mut largest = start.clone();
        let states = case.run(&start, &gradients, |step, param| {
            let expected = f32s(&case.json["after"][step]);
            for (place, (a, b)) in param.iter().zip(expected).enumerate() {
                largest[place] = largest[place].abs().max(b.abs());
                let apart = units(*a, b, largest[place]);
                assert!(apart <= f32::from(tolerance), "{name}, step {step}, element {place}: {a:e} and {b:e}");
            }
        });
        // No square root is on the way to the moments, unless weights decay through the gradient.
        let undecayed = entry(&case.group, "weight_decay").as_f64() == Some(0.0) || name.starts_with("adamw");
        let tolerance = if undecayed { 0 } else { tolerance };
        let state = states.as_dict().unwrap().get_key(&0.into());
        for entry in case.json["state"]["dict"].as_array().unwrap() {
            let (key, expected) = (entry[0].as_str().unwrap(), f32s(&entry[1]["data"]));
            let found = tensor(state.as_ref().unwrap(), key).to_vec::<f32>().unwrap();
            if key == "step" {
                assert_eq!(found, [12.0]);
                continue;
            }
            for (a, b) in found.iter().zip(expected) {
                assert!(ulps(*a, b) <= tolerance.into(), "{name}, {key}: {a:e} and {b:e}");
            }
        }
    }
}

#[test]
fn doubles_are_updated_as_in_pytorch() {
    let cases = fixtures::cases("train/updates.json");
    let given = given(&cases, "float64");
    let (start, gradients) = (f64s(&given["start"]), f64s(&given["gradients"]));
    for case in Case::all(&cases, "float64") {
        case.run(&start, &gradients, |step, param| {
            for (a, b) in param.iter().zip(f64s(&case.json["after"][step])) {
                assert!(ulps64(*a, b) <= case.tolerance().into(), "{}, step {step}: {a:e} and {b:e}", case.name);
            }
        });
    }
}

#[test]
fn a_large_parameter_is_shared_out_without_a_change() {
    let cases = fixtures::cases("train/updates.json");
    let given = given(&cases, "float32");
    let (start, gradients) = (f32s(&given["start"]), f32s(&given["gradients"]));
    let case = Case::all(&cases, "float32").into_iter().find(|case| case.name == "adamw_amsgrad").unwrap();
    let gradient = &gradients[..start.len()];
    let repeat = |values: &[f32]| values.repeat(3000);
    let small = RefCell::new(Vec::new());
    case.run(&start, gradient, |_, param| *small.borrow_mut() = param.to_vec());
    case.run(&repeat(&start), &repeat(gradient), |_, param| assert_eq!(param, repeat(&small.borrow())));
}

#[test]
fn every_optimizer_fixture_is_read() {
    let cases = fixtures::cases("train/updates.json");
    let read = Case::all(&cases, "float32").len() + Case::all(&cases, "float64").len();
    assert_eq!(read + 2, cases.len());
    assert_eq!(bytes(&fixtures::case(&cases, "sgd")["after"][0]).len(), 4 * 101);
}
