//! The update rules against PyTorch's own: 12 steps with given gradients, `tests/fixtures/train/updates.json`.

use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use serde_json::Value as Json;

use super::OptimizerKind;
use super::group::ParamGroup;
use super::state::{Buffer, ParamState};
use crate::attributes::Attributes;
use common::{bytes, case, cases, f32s, f64s, ulps, ulps64, units, value};

#[path = "../../tests/common/mod.rs"]
mod common;

/// What a case gives and expects.
struct Case<'a> {
    name: &'a str,
    kind: OptimizerKind,
    group: ParamGroup,
    schedule: bool,
    json: &'a Json,
}

impl<'a> Case<'a> {
    fn all(cases: &'a [Json], dtype: &str) -> Vec<Self> {
        let of_type = |case: &&Json| case["dtype"] == dtype && case.get("name").is_some();
        let read = |json: &'a Json| Case {
            name: json["name"].as_str().unwrap(),
            kind: json["optimizer"].as_str().unwrap().parse().unwrap(),
            group: ParamGroup::new(Attributes::from_value("param_groups[0].", &value(&json["group"])).unwrap(), 0..1),
            schedule: json["schedule"].as_bool().unwrap(),
            json,
        };
        cases.iter().filter(of_type).map(read).collect()
    }

    fn before_step(&mut self, step: u32) {
        if self.schedule {
            self.group.set_lr(0.1 / f64::from(step + 1));
        }
    }

    /// How far PyTorch's square root, which is not correctly rounded, may lead away.
    fn tolerance(&self) -> u8 {
        if self.kind == OptimizerKind::Sgd { 0 } else { 2 }
    }
}

fn given<'a>(cases: &'a [Json], dtype: &str) -> &'a Json {
    cases.iter().find(|case| case["dtype"] == dtype && case.get("start").is_some()).unwrap()
}

fn host_f32(case: &mut Case, start: &[f32], gradients: &[f32], mut after: impl FnMut(u32, &[f32])) -> ParamState {
    let mut param = start.to_vec();
    let mut state = ParamState::new(1);
    for (step, gradient) in (0..).zip(gradients.chunks(start.len())) {
        case.before_step(step);
        let update = case.kind.rule().prepare(&case.group, &mut state).unwrap();
        let buffers = state.buffers(update.state(), 0).unwrap();
        let buffers = buffers.into_iter().map(|buffer| buffer.f32(start.len()).unwrap()).collect();
        update.f32(&mut param, gradient, buffers).unwrap();
        after(step, &param);
    }
    state
}

#[test]
fn sgd_is_equal_to_pytorch_and_adam_differs_by_no_more_than_the_square_root() {
    let cases = cases("updates.json");
    let given = given(&cases, "float32");
    let (start, gradients) = (f32s(&given["start"]), f32s(&given["gradients"]));
    for mut case in Case::all(&cases, "float32") {
        let tolerance = case.tolerance();
        let (name, json) = (case.name, case.json);
        let mut largest = start.clone();
        let mut state = host_f32(&mut case, &start, &gradients, |step, param| {
            let expected = f32s(&json["after"][step as usize]);
            for (place, (a, b)) in param.iter().zip(expected).enumerate() {
                largest[place] = largest[place].abs().max(b.abs());
                let apart = units(*a, b, largest[place]);
                assert!(apart <= f32::from(tolerance), "{name}, step {step}, element {place}: {a:e} and {b:e}");
            }
        });
        // No square root is on the way to the moments, unless weights decay through the gradient.
        let tolerance =
            if case.group.float("weight_decay").unwrap() == 0.0 || name.starts_with("adamw") { 0 } else { tolerance };
        for entry in json["state"]["dict"].as_array().unwrap() {
            let (key, expected) = (entry[0].as_str().unwrap(), f32s(&entry[1]["data"]));
            if key == "step" {
                assert_eq!(state.number(key), Some(12.0));
                continue;
            }
            let found = state.buffers(&[key], 0).unwrap().remove(0).f32(start.len()).unwrap();
            for (a, b) in found.iter().zip(expected) {
                assert!(ulps(*a, b) <= tolerance.into(), "{name}, {key}: {a:e} and {b:e}");
            }
        }
    }
}

#[test]
fn doubles_are_updated_as_in_pytorch() {
    let cases = cases("updates.json");
    let given = given(&cases, "float64");
    let (start, gradients) = (f64s(&given["start"]), f64s(&given["gradients"]));
    for mut case in Case::all(&cases, "float64") {
        let mut param = start.clone();
        let mut state = ParamState::new(1);
        for (step, gradient) in (0..).zip(gradients.chunks(start.len())) {
            case.before_step(step);
            let update = case.kind.rule().prepare(&case.group, &mut state).unwrap();
            let buffers = state.buffers(update.state(), 0).unwrap();
            let buffers = buffers.into_iter().map(|buffer| buffer.f64(start.len()).unwrap()).collect();
            update.f64(&mut param, gradient, buffers).unwrap();
            for (a, b) in param.iter().zip(f64s(&case.json["after"][step as usize])) {
                assert!(ulps64(*a, b) <= case.tolerance().into(), "{}, step {step}: {a:e} and {b:e}", case.name);
            }
        }
    }
}

/// What a GPU computes, computed here: the same rule as tensor operations, whose multiply-adds may be rounded twice.
#[test]
fn the_rule_as_tensor_operations_agrees_with_the_fused_pass() {
    let cases = cases("updates.json");
    let given = given(&cases, "float32");
    let (start, gradients) = (f32s(&given["start"]), f32s(&given["gradients"]));
    let device = Device::flex();
    let len = start.len();
    for mut case in Case::all(&cases, "float32") {
        let mut fused = Vec::new();
        host_f32(&mut case, &start, &gradients, |_, param| fused.push(param.to_vec()));
        let mut param = Tensor::<1>::from_data(TensorData::new(start.clone(), [len]), &device);
        let (mut state, mut largest) = (ParamState::new(1), start.clone());
        for (step, gradient) in (0..).zip(gradients.chunks(len)) {
            case.before_step(step);
            let update = case.kind.rule().prepare(&case.group, &mut state).unwrap();
            let mut buffers = state.buffers(update.state(), 0).unwrap();
            let taken = buffers.iter_mut().map(|buffer| buffer.take(len, BurnDType::F32, &device).unwrap()).collect();
            let gradient = Tensor::from_data(TensorData::new(gradient.to_vec(), [len]), &device);
            let (updated, after) = update.tensor(param, gradient, taken).unwrap();
            buffers.into_iter().zip(after).for_each(|(buffer, tensor)| buffer.put(tensor));
            param = updated;
            let found = param.to_data().try_to_vec::<f32>().unwrap();
            for (place, (a, b)) in found.iter().zip(&fused[step as usize]).enumerate() {
                largest[place] = largest[place].abs().max(b.abs());
                let apart = units(*a, *b, largest[place]);
                // Each step rounds anew where the fused pass rounds once, and momentum carries it on.
                let steps = f32::from(u8::try_from(step + 1).unwrap());
                assert!(apart <= 4.0 * steps, "{}, step {step}, element {place}: {a:e} and {b:e}", case.name);
            }
        }
    }
}

#[test]
fn a_large_parameter_is_shared_out_without_a_change() {
    let cases = cases("updates.json");
    let given = given(&cases, "float32");
    let (start, gradients) = (f32s(&given["start"]), f32s(&given["gradients"]));
    let mut case = Case::all(&cases, "float32").into_iter().find(|case| case.name == "adamw_amsgrad").unwrap();
    let times = 3000;
    let repeat = |values: &[f32]| values.repeat(times);
    let (large, gradient) = (repeat(&start), repeat(&gradients[..start.len()]));
    let small = std::cell::RefCell::new(Vec::new());
    host_f32(&mut case, &start, &gradients[..start.len()], |_, param| *small.borrow_mut() = param.to_vec());
    host_f32(&mut case, &large, &gradient, |_, param| assert_eq!(param, repeat(&small.borrow())));
}

#[test]
fn a_counter_stops_where_a_float32_does() {
    let mut state = ParamState::new(1);
    state.scalar("step", f64::from(1 << 24));
    assert_eq!(state.count("step").unwrap(), f64::from(1 << 24));
}

#[test]
fn state_follows_its_parameter_between_devices() {
    let mut buffer = Buffer::F32(vec![1.0, 2.0]);
    let tensor = buffer.take(2, BurnDType::F32, &Device::flex()).unwrap();
    buffer.put(tensor * 2.0);
    assert_eq!(buffer.f32(2).unwrap(), [2.0, 4.0]);
}

#[test]
fn every_optimizer_fixture_is_read() {
    let cases = cases("updates.json");
    let read = Case::all(&cases, "float32").len() + Case::all(&cases, "float64").len();
    assert_eq!(read + 2, cases.len());
    assert_eq!(bytes(&case(&cases, "sgd")["after"][0]).len(), 4 * 101);
}
