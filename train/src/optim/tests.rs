//! The update rules against PyTorch's own: 12 steps with given gradients, `tests/fixtures/train/updates.json`; and as tensor
//! operations against the fused pass. `tests/train/optim_rules.rs` has the rest.

use std::cmp::Ordering;

use burn::tensor::{DType as BurnDType, Device};
use rekindle_recorder::DType;
use rekindle_testing::compare::{Largest, ulps, ulps64, units};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{bytes, f32s, f64s, value};
use serde_json::Value as Json;

use super::OptimizerKind;
use super::group::ParamGroup;
use super::number::root_errors;
use super::state::{Buffer, ParamState};
use crate::attributes::Attributes;
use common::optim::{Rehearsal, Rule, STEPS};

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
    let cases = fixtures::cases("train/updates.json");
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
    let cases = fixtures::cases("train/updates.json");
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

/// The optimizers whose rule is a kernel, and how many square roots it takes of an element.
const KERNELS: &[(&str, usize)] = &[
    ("SGD", 0),
    ("Adam", 1),
    ("AdamW", 1),
    ("RMSprop", 1),
    ("Adagrad", 1),
    ("Adadelta", 2),
    ("Adamax", 0),
    ("NAdam", 1),
    ("RAdam", 1),
    ("Rprop", 0),
    ("ASGD", 0),
];

/// The rehearsal of a step that starts where PyTorch was: what one step rounds otherwise, momentum would carry on to all that
/// follow.
fn before(rule: &Rule, step: usize) -> Rehearsal<'_> {
    if step == 0 { rule.start(DType::Float32) } else { rule.after(step - 1) }
}

/// Nothing but the square root sets us apart: with each root right, a unit below or a unit above, one of the results has
/// PyTorch's very bits in every element, but for the sign of zeros, about which PyTorch's vector and scalar loops disagree.
#[test]
fn a_rule_computes_pytorch_s_bits_but_for_a_unit_of_the_square_root() {
    for &(optimizer, roots) in KERNELS {
        let (mut elements, mut off) = (0_usize, 0_usize);
        let errors = [Ordering::Equal, Ordering::Less, Ordering::Greater];
        let variants: Vec<Vec<Ordering>> = match roots {
            0 => vec![Vec::new()],
            1 => errors.iter().map(|&a| vec![a]).collect(),
            _ => errors.iter().flat_map(|&a| errors.iter().map(move |&b| vec![a, b])).collect(),
        };
        for rule in Rule::all(optimizer) {
            for step in 0..STEPS {
                let with = |errors: &Vec<Ordering>| {
                    let mut rehearsal = before(&rule, step);
                    root_errors::set(errors.clone());
                    rehearsal.step(step);
                    root_errors::set(Vec::new());
                    rehearsal.found()
                };
                let found: Vec<_> = variants.iter().map(with).collect();
                for (place, (name, expected)) in rule.expected(step).iter().enumerate() {
                    let expected = expected.to_vec::<f32>().unwrap();
                    let found: Vec<Vec<f32>> = found.iter().map(|found| found[place].1.to_vec().unwrap()).collect();
                    for (element, expected) in expected.iter().enumerate() {
                        let variant = found.iter().position(|found| found[element] == *expected);
                        let what = format!("{optimizer} {}, step {step}, {name}, element {element}", rule.set);
                        assert!(variant.is_some(), "{what}: {expected:e} and {:e}", found[0][element]);
                        elements += 1;
                        off += usize::from(variant != Some(0));
                    }
                }
            }
        }
        println!("{optimizer}: {off} of {elements} elements by another square root");
        assert!(off * 50 <= elements * roots, "{optimizer}: {off} of {elements}");
    }
}

/// A multiply-add that is rounded twice is half a unit off, and a few of them lie between a gradient and a parameter.
const OP_BY_OP: f64 = 4.0;

/// From PyTorch, two of whose square roots are in a step of Adadelta, and twice in the square of it.
fn with_roots(name: &str) -> f64 {
    if name.ends_with(".acc_delta") { OP_BY_OP + 2.0 } else { OP_BY_OP }
}

#[test]
fn a_rule_as_tensor_operations_computes_what_pytorch_and_the_fused_pass_do() {
    for &(optimizer, _) in KERNELS {
        for rule in Rule::all(optimizer) {
            let mut worst = (0.0_f64, 0.0_f64);
            for step in 0..STEPS {
                let mut largest = Largest::default();
                largest.see(&before(&rule, step).found());
                largest.see(&rule.expected(step));
                rule.cancellation(step).iter().for_each(|(name, times)| largest.grow(name, times));
                let with = |op_by_op| {
                    let mut rehearsal = before(&rule, step);
                    rehearsal.optimizer.op_by_op = op_by_op;
                    rehearsal.step(step);
                    rehearsal.found()
                };
                let (tensors, fused) = (with(true), with(false));
                let what = format!("{optimizer} {}, step {step}", rule.set);
                worst.0 = worst.0.max(largest.apart(&tensors, &rule.expected(step), with_roots, &what));
                let fused = largest.apart(&tensors, &fused, |_| OP_BY_OP, &format!("{what}, fused"));
                worst.1 = worst.1.max(fused);
            }
            println!("{optimizer} {}: {worst:?} units", rule.set);
        }
    }
}

#[test]
fn a_large_parameter_is_shared_out_without_a_change() {
    let cases = fixtures::cases("train/updates.json");
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
    let cases = fixtures::cases("train/updates.json");
    let read = Case::all(&cases, "float32").len() + Case::all(&cases, "float64").len();
    assert_eq!(read + 2, cases.len());
    assert_eq!(bytes(&fixtures::case(&cases, "sgd")["after"][0]).len(), 4 * 101);
}
