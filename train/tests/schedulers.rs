//! Schedulers against PyTorch's own: `tests/fixtures/train/schedulers.json`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use common::{case, cases, size, spell, value};
use rekindle_recorder::{Dict, Value};
use rekindle_train::lr_scheduler::{CosineAnnealingLR, LRScheduler, Schedule, SchedulerKind, StepLR};
use rekindle_train::optim::{Optimizer, SgdOptions};
use serde_json::Value as Json;

mod common;

#[derive(Module, Debug)]
struct Scalars {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

/// An optimizer with a group for each learning rate.
fn optimizer(rates: &[f64]) -> Optimizer {
    let device = Device::flex().autodiff();
    let scalar = || Param::from_tensor(Tensor::zeros([1], &device));
    let model = Scalars { a: scalar(), b: scalar() };
    let builder = Optimizer::builder(SgdOptions { lr: rates[0], ..Default::default() });
    match rates {
        [_] => builder.build(&model),
        [a, b] => builder.group("a", [("lr", *a)]).group("b", [("lr", *b)]).build(&model),
        _ => unreachable!("the fixtures have one or two groups"),
    }
    .unwrap()
}

fn rates(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|lr| lr.as_f64().unwrap()).collect()
}

fn bits(rates: &[f64]) -> Vec<u64> {
    rates.iter().map(|lr| lr.to_bits()).collect()
}

fn schedule(case: &Json) -> Schedule {
    let options = value(&case["options"]);
    let option = |name: &str| options.as_dict().unwrap().get(name);
    let float = |name: &str| option(name).and_then(|value| value.as_f64());
    match case["scheduler"].as_str().unwrap() {
        "StepLR" => {
            let step_size = option("step_size").unwrap().as_i64().unwrap();
            let default = StepLR::new(step_size);
            float("gamma").map_or(default, |gamma| default.gamma(gamma)).into()
        }
        "CosineAnnealingLR" => {
            let default = CosineAnnealingLR::new(option("T_max").unwrap().as_i64().unwrap());
            float("eta_min").map_or(default, |eta_min| default.eta_min(eta_min)).into()
        }
        other => panic!("{other}"),
    }
}

fn assert_same_state(found: &Value, expected: &Json, context: &str) {
    assert_eq!(spell(found, true), spell(&value(expected), true), "{context}");
}

#[test]
fn learning_rates_and_state_dicts_are_pytorch_s_to_the_last_bit() {
    for case in &cases("schedulers.json") {
        let name = case["name"].as_str().unwrap();
        let sequence: Vec<Vec<f64>> = case["lrs"].as_array().unwrap().iter().map(rates).collect();
        let mut optimizer = optimizer(&sequence[0]);
        let mut scheduler = LRScheduler::new(schedule(case), &mut optimizer).unwrap();
        assert_eq!(bits(&optimizer.lr().unwrap()), bits(&sequence[0]), "{name}");
        assert_same_state(&scheduler.state_dict(), &case["states"][0], name);
        for (step, expected) in sequence.iter().enumerate().skip(1) {
            scheduler.step(&mut optimizer).unwrap();
            assert_eq!(bits(&optimizer.lr().unwrap()), bits(expected), "{name}, step {step}");
            if step == size(&case["half"]) {
                assert_same_state(&scheduler.state_dict(), &case["states"][1], name);
            }
        }
        assert_same_state(&scheduler.state_dict(), &case["states"][2], name);
    }
}

#[test]
fn a_resumed_schedule_goes_on_as_if_it_had_not_stopped() {
    for case in &cases("schedulers.json") {
        let sequence: Vec<Vec<f64>> = case["lrs"].as_array().unwrap().iter().map(rates).collect();
        let half = size(&case["half"]);
        let mut optimizer = optimizer(&sequence[0]);
        for (group, lr) in optimizer.param_groups_mut().iter_mut().zip(&sequence[half]) {
            group.set_lr(*lr);
        }
        let mut scheduler = LRScheduler::from_state_dict(&value(&case["states"][1]), &optimizer).unwrap();
        assert_eq!(optimizer.lr().unwrap(), sequence[half], "loading must not touch a learning rate");
        assert_eq!(scheduler.kind().name(), case["scheduler"].as_str().unwrap());
        for expected in &sequence[half + 1..] {
            scheduler.step(&mut optimizer).unwrap();
            assert_eq!(bits(&optimizer.lr().unwrap()), bits(expected), "{}", case["name"]);
        }
        assert_same_state(&scheduler.state_dict(), &case["states"][2], "at the end");
    }
}

#[test]
fn a_schedule_made_anew_with_last_epoch_goes_on_from_there() {
    for case in &cases("schedulers.json") {
        let sequence: Vec<Vec<f64>> = case["lrs"].as_array().unwrap().iter().map(rates).collect();
        let half = size(&case["half"]);
        let mut optimizer = optimizer(&sequence[0]);
        for (place, group) in optimizer.param_groups_mut().iter_mut().enumerate() {
            group.set_lr(sequence[half][place]);
            group.set("initial_lr", sequence[0][place]);
        }
        let last_epoch = i64::try_from(half).unwrap();
        let mut scheduler = LRScheduler::with_last_epoch(schedule(case), &mut optimizer, last_epoch).unwrap();
        for (place, expected) in case["anew"].as_array().unwrap().iter().enumerate() {
            if place > 0 {
                scheduler.step(&mut optimizer).unwrap();
            }
            assert_eq!(bits(&optimizer.lr().unwrap()), bits(&rates(expected)), "{}", case["name"]);
        }
    }
}

#[test]
fn an_older_release_s_state_is_taken_and_its_unknown_keys_are_kept() {
    let cases = cases("schedulers.json");
    let state = value(&case(&cases, "cosine")["states"][1]);
    let dict = state.as_dict().unwrap();
    dict.remove("_is_initial");
    dict.insert("verbose", false);
    dict.insert("mine", Value::list([1.into(), "two".into()]));
    let mut optimizer = optimizer(&[3e-3]);
    let mut scheduler = LRScheduler::from_state_dict(&state, &optimizer).unwrap();
    scheduler.step(&mut optimizer).unwrap();
    let after = scheduler.state_dict();
    let keys: Vec<String> =
        after.as_dict().unwrap().entries().iter().map(|(key, _)| key.as_str().unwrap().into()).collect();
    assert_eq!(
        keys,
        [
            "T_max",
            "eta_min",
            "base_lrs",
            "last_epoch",
            "_step_count",
            "_get_lr_called_within_step",
            "_last_lr",
            "verbose",
            "mine",
            "_is_initial"
        ]
    );
}

#[test]
fn what_cannot_go_on_is_refused_and_changes_nothing() {
    let cases = cases("schedulers.json");
    let mut two_groups = optimizer(&[0.1, 0.02]);
    let mut scheduler = LRScheduler::new(CosineAnnealingLR::new(10), &mut two_groups).unwrap();
    let before = spell(&scheduler.state_dict(), true);

    let one_group = value(&case(&cases, "cosine")["states"][1]);
    let error = scheduler.load_state_dict(&one_group).unwrap_err().to_string();
    assert_eq!(error, "the scheduler is for an optimizer of 1 groups, and this one has 2");
    let another = value(&case(&cases, "step_gamma")["states"][1]);
    let error = scheduler.load_state_dict(&another).unwrap_err().to_string();
    assert_eq!(error, "the state dict is StepLR's, and the scheduler is CosineAnnealingLR");
    let never = value(&case(&cases, "cosine_eta_min")["states"][1]);
    never.as_dict().unwrap().insert("T_max", 0);
    assert!(scheduler.load_state_dict(&never).is_err());
    assert_eq!(spell(&scheduler.state_dict(), true), before);

    assert!(LRScheduler::new(StepLR::new(0), &mut two_groups).is_err());
    assert!(LRScheduler::with_last_epoch(StepLR::new(3), &mut optimizer(&[0.1]), 5).is_err());
}

#[test]
fn a_scheduler_is_known_by_its_keys() {
    let keys = |names: &[&str]| Value::from(names.iter().map(|name| (*name, 1)).collect::<Dict>());
    assert_eq!(SchedulerKind::infer(&keys(&["T_max", "eta_min"])).unwrap(), SchedulerKind::CosineAnnealingLR);
    assert_eq!(SchedulerKind::infer(&keys(&["step_size", "gamma"])).unwrap(), SchedulerKind::StepLR);
    for (names, expected) in [
        (&["gamma", "base_lrs"][..], "the scheduler ExponentialLR is not supported"),
        (&["total_steps", "cycle_momentum", "base_lrs"], "the scheduler OneCycleLR is not supported"),
        (&["weight"], "no scheduler of torch.optim.lr_scheduler has a state of weight"),
    ] {
        let error = SchedulerKind::infer(&keys(names)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
