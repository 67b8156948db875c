//! ignite's and `BasicSR`'s schedulers and transformers' `GreedyLR`, with rates that the packages themselves computed: `tests/fixtures/schedulers_more/events.json`.

use crate::common::settings::{Scalars, Sequence, scalars, two_groups};
use rekindle_recorder::{Dict, Value};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::lr_scheduler::ignite::{CosineAnnealingScheduler, LinearCyclicalScheduler, PiecewiseLinear};
use rekindle_train::lr_scheduler::{LRScheduler, MultiStepRestartLR, Recognition, Schedule, SchedulerKind, StepLR};
use rekindle_train::optim::{Optimizer, SgdOptions};
use serde_json::Value as Json;

const HALF: usize = 15;

fn optimizer() -> Optimizer {
    let model: Scalars = scalars();
    let builder = Optimizer::builder(SgdOptions::default().lr(0.1).momentum(0.9));
    builder.group("a", [("lr", 0.1)]).group("b", [("lr", 0.003)]).build(&model).unwrap()
}

fn settings() -> Vec<(String, Json)> {
    let json = fixtures::json("schedulers_more/events.json");
    json.as_object().unwrap().iter().map(|(name, setting)| (name.clone(), setting.clone())).collect()
}

fn state_of(setting: &Json, place: usize) -> Value {
    value(&setting["states"][place][0])
}

/// Steps as the package does: with the metric, where it goes by one.
fn step(scheduler: &mut LRScheduler, setting: &Json, step: usize, optimizer: &mut Optimizer) {
    match setting["metrics"].get(step - 1) {
        Some(metric) => scheduler.step_with_metric(fixtures::hex(metric.as_str().unwrap()), optimizer).unwrap(),
        None => scheduler.step(optimizer).unwrap(),
    }
}

/// The schedulers of a setting as constructed here, where words say it.
fn constructed(setting: &Json, optimizer: &mut Optimizer) -> Option<LRScheduler> {
    let schedule: Schedule = setting["call"].as_str()?.parse().unwrap();
    Some(LRScheduler::new(schedule, optimizer).unwrap())
}

#[test]
fn ignite_s_and_basicsr_s_schedulers_give_their_rates_to_the_last_bit() {
    assert!(settings().len() >= 29);
    for (name, setting) in settings() {
        let (expected, mut optimizer) = (Sequence::of(&setting), optimizer());
        let Some(mut scheduler) = constructed(&setting, &mut optimizer) else { continue };
        for step in 0..expected.lrs.len() {
            if step > 0 {
                self::step(&mut scheduler, &setting, step, &mut optimizer);
            }
            expected.assert(step, &optimizer, &name);
        }
    }
}

#[test]
fn they_go_on_from_the_states_that_the_packages_wrote_and_write_the_same() {
    for (name, setting) in settings() {
        let (expected, mut optimizer) = (Sequence::of(&setting), optimizer());
        // Puts what is no part of a scheduler's state where it was.
        drop(constructed(&setting, &mut optimizer));
        for (place, group) in optimizer.param_groups_mut().iter_mut().enumerate() {
            let initial = if place == 0 { 0.1 } else { 0.003 };
            group.set_default("initial_lr", initial);
            group.set_lr(f64::from_bits(expected.lrs[HALF][place]));
            if let Some(momenta) = &expected.momenta {
                group.set("momentum", f64::from_bits(momenta[HALF][place]));
            }
        }
        let mut scheduler = LRScheduler::from_state_dict(&state_of(&setting, 1), &optimizer)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let grows = name.ends_with("_longer");
        assert_eq!(scheduler.position(), (!grows).then_some(15), "{name}");
        assert_eq!(spell(&scheduler.state_dict(), true), spell(&state_of(&setting, 1), true), "{name}");
        for step in HALF + 1..expected.lrs.len() {
            self::step(&mut scheduler, &setting, step, &mut optimizer);
            expected.assert(step, &optimizer, &format!("{name}, resumed"));
        }
        assert_eq!(spell(&scheduler.state_dict(), true), spell(&state_of(&setting, 2), true), "{name}, at its end");
    }
}

#[test]
fn they_are_recognised_by_their_keys_and_cycles_that_keep_the_same_by_the_rates() {
    use SchedulerKind::{CosineAnnealingRestartLR as Restart, IgniteLRScheduler, LinearCyclicalScheduler as Linear};
    let cycles = Recognition::Several(vec![Linear, SchedulerKind::CosineAnnealingScheduler]);
    for (name, setting) in settings() {
        let recognition = SchedulerKind::recognise(&state_of(&setting, 1)).unwrap();
        let expected = match &*name {
            "ignite_momentum" => cycles.clone(),
            name if name.starts_with("ignite_linear_lr") => Recognition::Known(IgniteLRScheduler),
            name if name.starts_with("ignite_linear") => cycles.clone(),
            "ignite_cosine_lr" => Recognition::Known(IgniteLRScheduler),
            name if name.starts_with("ignite_cosine") => cycles.clone(),
            name if name.ends_with("_lr") && !name.contains("warmed") => Recognition::Known(IgniteLRScheduler),
            name if name.starts_with("ignite_piecewise") => Recognition::Known(SchedulerKind::PiecewiseLinear),
            "ignite_groups" => Recognition::Known(SchedulerKind::ParamGroupScheduler),
            name if name.starts_with("greedy") => Recognition::Known(SchedulerKind::GreedyLR),
            name if name.starts_with("basicsr_cosine") => Recognition::Known(Restart),
            name if name.starts_with("basicsr") => Recognition::Known(SchedulerKind::MultiStepRestartLR),
            _ => Recognition::Known(SchedulerKind::ConcatScheduler),
        };
        assert_eq!(recognition, expected, "{name}");
    }
    // Before its first event nothing tells which it is.
    let mut optimizer = two_groups();
    let fresh = LRScheduler::new(CosineAnnealingScheduler::new("lr", 0.1, 0.01, 8), &mut optimizer).unwrap();
    let error = LRScheduler::from_state_dict(&fresh.state_dict(), &optimizer).unwrap_err().to_string();
    assert!(error.contains("LinearCyclicalScheduler or CosineAnnealingScheduler, which keep the same"), "{error}");
    let linear = LinearCyclicalScheduler::new("lr", 0.1, 0.01, 8).monotonic(true);
    let mut monotonic = LRScheduler::resume(linear, &fresh.state_dict(), &optimizer).unwrap();
    (0..5).for_each(|_| monotonic.step(&mut optimizer).unwrap());
    assert_eq!(optimizer.lr().unwrap(), [0.055, 0.055]);
    assert!(monotonic.state_dict().as_dict().unwrap().get("monotonic").is_none());
}

#[test]
fn what_cannot_be_gone_on_with_of_ignite_s_and_basicsr_s_is_refused_by_its_name() {
    let optimizer = two_groups();
    let base = || {
        let entries: [(&str, Value); 4] = [
            ("event_index", 3.into()),
            ("param_name", "lr".into()),
            ("save_history", false.into()),
            ("param_group_index", Value::None),
        ];
        entries.into_iter().collect::<Dict>()
    };
    let refused =
        |state: &Dict| LRScheduler::from_state_dict(&state.clone().into(), &optimizer).unwrap_err().to_string();
    let plateau = base();
    plateau.insert("metric_name", "loss");
    plateau.insert("scheduler", Dict::new());
    let error = refused(&plateau);
    assert!(error.starts_with("the scheduler ignite.handlers.ReduceLROnPlateauScheduler is not supported"), "{error}");
    assert!(error.contains("make a new ReduceLROnPlateau"), "{error}");
    let restarts = base();
    restarts.insert("lr_scheduler", "an object");
    let error = refused(&restarts);
    assert!(error.contains("around CosineAnnealingWarmRestarts") && error.contains("make a new scheduler"), "{error}");
    let far = base();
    far.insert("values", vec![0.1]);
    far.insert("milestones", vec![0]);
    far.insert("_index", 0);
    far.insert("param_group_index", 2);
    assert!(refused(&far).contains("the scheduler is of group 2, and the optimizer has 2 groups"));

    let cosine: Schedule = "CosineAnnealingRestartLR([6, 8], [1, 0.5])".parse().unwrap();
    let mut groups = two_groups();
    let cosine = LRScheduler::new(cosine, &mut groups).unwrap();
    cosine.check_steps(groups.param_groups(), 14).unwrap();
    let error = cosine.check_steps(groups.param_groups(), 15).unwrap_err().to_string();
    assert!(
        error.contains("CosineAnnealingRestartLR has no learning rate at epoch 15: its periods end at 14"),
        "{error}"
    );

    let unequal: Schedule = "MultiStepRestartLR([3], restarts=[0, 5])".parse().unwrap();
    let error = LRScheduler::new(unequal, &mut two_groups()).unwrap_err().to_string();
    assert!(error.contains("MultiStepRestartLR has 2 restarts and 1 restart_weights"), "{error}");
    let of_torch: Schedule = "ConcatScheduler([StepLR(3), StepLR(4)], durations=[5])".parse().unwrap();
    let error = LRScheduler::new(of_torch, &mut two_groups()).unwrap_err().to_string();
    assert!(error.contains("takes ignite's schedulers only, and StepLR is none"), "{error}");
}

#[test]
fn schedules_of_theirs_can_be_made_in_rust_as_in_words() {
    for (made, words) in [
        (Schedule::from(MultiStepRestartLR::new([3, 5]).gamma(0.5)), "MultiStepRestartLR([3, 5], 0.5)"),
        (PiecewiseLinear::new("lr", [(2, 0.1), (6, 0.01)]).into(), "PiecewiseLinear('lr', [(2, 0.1), (6, 0.01)])"),
    ] {
        let parsed: Schedule = words.parse().unwrap();
        let [one, other] = [made, parsed].map(|schedule| LRScheduler::new(schedule, &mut two_groups()).unwrap());
        assert_eq!(spell(&one.state_dict(), true), spell(&other.state_dict(), true));
    }
    let error = "PiecewiseLinear('lr', [3, 4])".parse::<Schedule>().unwrap_err().to_string();
    assert!(error.contains("milestones_values must be a list of events with their values"), "{error}");
}

#[test]
fn counts_at_the_ends_of_64_bits_are_no_panic_in_schedulers_by_event() {
    for (_, setting) in settings() {
        for count in [i64::MIN, -1, 0, i64::MAX] {
            let mut optimizer = optimizer();
            let state = state_of(&setting, 2);
            let dict = state.as_dict().unwrap();
            let numbers = dict.entries().into_iter().filter(|(_, value)| matches!(value, Value::Int(_)));
            numbers.collect::<Vec<_>>().into_iter().for_each(|(key, _)| drop(dict.insert(key, count)));
            let said: Schedule = setting["call"].as_str().unwrap_or("StepLR(3)").parse().unwrap();
            for schedule in [said, StepLR::new(3).into()] {
                if let Ok(mut scheduler) = LRScheduler::resume(schedule, &state, &optimizer) {
                    let _ = scheduler.position();
                    drop(scheduler.step(&mut optimizer));
                    drop(scheduler.step_with_metric(0.5, &mut optimizer));
                }
            }
        }
    }
}
