//! The schedulers of other packages, PyTorch's on tensors and added groups, formulas by name, and what a state is recognised
//! as: `tests/fixtures/schedulers_more/`.

use crate::common::settings::{Scalars, Sequence, one_group, scalars, two_groups};
use rekindle_recorder::{Dict, Tensor, Value};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::lr_scheduler::{
    CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, LRMultiplier, LRScheduler, LambdaLR, MultiplicativeLR,
    NanoGpt, OneCycleLR, ParamScheduler, PerGroup, Recognition, ReduceLROnPlateau, SWALR, Schedule, SchedulerKind,
    StepLR, SteppedBy, timm,
};
use rekindle_train::optim::{AdamOptions, Optimizer, SgdOptions};
use serde_json::Value as Json;

const HALF: usize = 15;

/// The two groups of a setting, on a model of its own.
fn optimizer_of(setting: &Json) -> Optimizer {
    let model: Scalars = scalars();
    let builder = match setting["adam"].as_bool() {
        Some(true) => Optimizer::builder(AdamOptions::default().lr(0.1)),
        _ => Optimizer::builder(SgdOptions::default().lr(0.1).momentum(0.9)),
    };
    let mut optimizer = builder.group("a", [("lr", 0.1)]).group("b", [("lr", 0.003)]).build(&model).unwrap();
    if let Some(scale) = setting["lr_scale"].as_f64() {
        optimizer.param_groups_mut()[1].set("lr_scale", scale);
    }
    optimizer
}

fn multiplier(name: &str) -> Schedule {
    let warmed_up = |scheduler, factor, length, linear, rescaled| {
        ParamScheduler::warmup(scheduler, factor, length, linear, rescaled).unwrap()
    };
    let scheduler = match name {
        "multiplier_cosine_warmed_up" => {
            warmed_up(ParamScheduler::Cosine { start_value: 1.0, end_value: 0.0 }, 0.001, 0.2, true, false)
        }
        "multiplier_steps_warmed_up_constant" => {
            let (values, milestones) = (vec![1.0, 0.1, 0.01], vec![20, 35]);
            let steps = ParamScheduler::MultiStep { values, num_updates: 50, milestones };
            warmed_up(steps, 0.1, 0.1, false, false)
        }
        "multiplier_linear_rescaled" => {
            warmed_up(ParamScheduler::Linear { start_value: 1.0, end_value: 0.1 }, 0.01, 0.25, true, true)
        }
        "multiplier_polynomial" => ParamScheduler::PolynomialDecay { base_value: 1.0, power: 0.9 },
        "multiplier_exponential" => ParamScheduler::Exponential { start_value: 1.0, decay: 0.02 },
        "multiplier_step" => ParamScheduler::Step { values: vec![1.0, 0.5, 0.2, 0.1] },
        "multiplier_constant" => ParamScheduler::Constant(0.7),
        other => panic!("{other}"),
    };
    LRMultiplier::new(scheduler, 50).into()
}

fn schedules(name: &str, setting: &Json) -> Vec<Schedule> {
    let parse = |call: &Json| call.as_str().unwrap().parse().unwrap();
    match (&setting["chained"], &setting["call"]) {
        (Json::Array(calls), _) => calls.iter().map(parse).collect(),
        (_, Json::Null) => vec![multiplier(name)],
        (_, call) => vec![parse(call)],
    }
}

/// A state dict without the function that mmengine keeps.
fn spelled(state: &Value) -> String {
    let without = state.as_dict().unwrap().entries().into_iter().filter(|(key, _)| key.as_str() != Some("anneal_func"));
    spell(&without.collect::<Dict>().into(), true)
}

#[test]
fn the_schedulers_of_other_packages_give_their_rates_and_states_to_the_last_bit() {
    let settings = fixtures::json("schedulers_more/others.json");
    assert!(settings.as_object().unwrap().len() >= 48);
    for (name, setting) in settings.as_object().unwrap() {
        let expected = Sequence::of(setting);
        let mut optimizer = optimizer_of(setting);
        let make = |schedule| LRScheduler::new(schedule, &mut optimizer).unwrap();
        let mut schedulers: Vec<_> = schedules(name, setting).into_iter().map(make).collect();
        let states = setting["states"].as_array().unwrap();
        let last = expected.lrs.len() - 1;
        let places = if states.len() == 3 { vec![0, HALF, last] } else { vec![last] };
        for step in 0..=last {
            if step > 0 {
                schedulers.iter_mut().for_each(|scheduler| scheduler.step(&mut optimizer).unwrap());
            }
            expected.assert(step, &optimizer, name);
            if let Some(place) = places.iter().position(|place| *place == step) {
                for (scheduler, state) in schedulers.iter().zip(states[place].as_array().unwrap()) {
                    assert_eq!(spelled(&scheduler.state_dict()), spelled(&value(state)), "{name} after {step} steps");
                }
            }
        }
    }
}

#[test]
fn the_schedulers_of_other_packages_go_on_from_their_state_as_if_they_had_not_stopped() {
    for (name, setting) in fixtures::json("schedulers_more/others.json").as_object().unwrap() {
        let expected = Sequence::of(setting);
        let mut optimizer = optimizer_of(setting);
        let make = |schedule| LRScheduler::new(schedule, &mut optimizer).unwrap();
        let mut schedulers: Vec<_> = schedules(name, setting).into_iter().map(make).collect();
        for step in 1..=HALF {
            schedulers.iter_mut().for_each(|scheduler| scheduler.step(&mut optimizer).unwrap());
            expected.assert(step, &optimizer, name);
        }
        for (scheduler, schedule) in schedulers.iter_mut().zip(schedules(name, setting)) {
            let state = scheduler.state_dict();
            let known = match SchedulerKind::recognise(&state).unwrap() {
                Recognition::Known(kind) => kind == scheduler.kind(),
                // Their keys are the same.
                Recognition::Several(_) => name.starts_with("timm_"),
                _ => false,
            };
            assert!(known, "{name}: {:?}", SchedulerKind::recognise(&state));
            let position = scheduler.position();
            *scheduler = match LRScheduler::from_state_dict(&state, &optimizer) {
                Ok(scheduler) => scheduler,
                Err(_) if name.starts_with("multiplier_") => LRScheduler::resume(schedule, &state, &optimizer).unwrap(),
                Err(error) => panic!("{name}: {error}"),
            };
            assert_eq!(scheduler.needs_position(), name.starts_with("timm_"), "{name}");
            if scheduler.needs_position() {
                let error = scheduler.step(&mut optimizer).unwrap_err().to_string();
                assert!(error.contains("does not say how far it has come"), "{error}");
                scheduler.set_position(position.unwrap());
            }
            assert_eq!(scheduler.position(), Some(i64::try_from(HALF).unwrap()), "{name}");
        }
        let ahead: Vec<_> = (HALF + 1..expected.lrs.len()).collect();
        if let [scheduler] = &schedulers[..] {
            let rates = scheduler.preview(optimizer.param_groups(), ahead.len()).unwrap();
            for (step, rates) in ahead.iter().zip(rates) {
                let bits: Vec<_> = rates.iter().map(|rate| rate.to_bits()).collect();
                assert_eq!(bits, expected.lrs[*step], "{name}, preview of step {step}");
            }
        }
        for step in ahead {
            schedulers.iter_mut().for_each(|scheduler| scheduler.step(&mut optimizer).unwrap());
            expected.assert(step, &optimizer, &format!("{name}, resumed"));
        }
    }
}

#[test]
fn a_state_of_mmengine_s_wrapper_counts_one_group_more_and_goes_on() {
    for (name, setting) in fixtures::json("schedulers_more/wrapped.json").as_object().unwrap() {
        let expected = Sequence::of(setting);
        let mut optimizer = optimizer_of(setting);
        let made = LRScheduler::new(schedules(name, setting).remove(0), &mut optimizer).unwrap();
        let state = value(&setting["states"][1][0]);
        let dict = state.as_dict().unwrap();
        assert_eq!(dict.get("base_values").unwrap().items().unwrap().len(), 3);
        if let Some(function) = made.state_dict().as_dict().unwrap().get("anneal_func") {
            dict.insert("anneal_func", function);
        }
        for (group, bits) in optimizer.param_groups_mut().iter_mut().zip(&expected.lrs[HALF]) {
            group.set_lr(f64::from_bits(*bits));
        }
        let mut scheduler = LRScheduler::from_state_dict(&state, &optimizer).unwrap();
        for step in HALF + 1..expected.lrs.len() {
            scheduler.step(&mut optimizer).unwrap();
            expected.assert(step, &optimizer, name);
        }
        // What mmengine's third, which this knows only by its value, has of the one cycle is in the wrapper alone.
        if name != "mmengine_one_cycle" {
            assert_eq!(spelled(&scheduler.state_dict()), spelled(&value(&setting["states"][2][0])), "{name}");
        }
    }
}

/// Steps as the program does that has a metric: mmengine's runner counts first.
fn tell(scheduler: &mut LRScheduler, metric: &Json, optimizer: &mut Optimizer) {
    if scheduler.kind() == SchedulerKind::ReduceOnPlateauParamScheduler {
        scheduler.step(optimizer).unwrap();
    }
    scheduler.step_with_metric(fixtures::hex(metric.as_str().unwrap()), optimizer).unwrap();
}

#[test]
fn timm_s_and_mmengine_s_plateaus_give_their_rates_and_states_and_go_on_as_if_they_had_not_stopped() {
    for (name, setting) in fixtures::json("schedulers_more/plateaus.json").as_object().unwrap() {
        let expected = Sequence::of(setting);
        let (states, metrics) = (&setting["states"], setting["metrics"].as_array().unwrap());
        for resumed in [false, true] {
            let mut optimizer = optimizer_of(setting);
            let mut scheduler = LRScheduler::new(schedules(name, setting).remove(0), &mut optimizer).unwrap();
            if setting["wrapped"] == true {
                // What mmengine's wrapper has one more of.
                let state = value(&states[0][0]);
                scheduler = LRScheduler::from_state_dict(&state, &optimizer).unwrap();
            }
            assert_eq!(scheduler.stepped_by(), Some(SteppedBy::Metric));
            for step in 0..expected.lrs.len() {
                if step > 0 {
                    tell(&mut scheduler, &metrics[step - 1], &mut optimizer);
                }
                expected.assert(step, &optimizer, name);
                if let Some(place) = [0, HALF, expected.lrs.len() - 1].iter().position(|place| *place == step) {
                    let state = scheduler.state_dict();
                    assert_eq!(spelled(&state), spelled(&value(&states[place][0])), "{name} after {step} steps");
                    assert_eq!(
                        SchedulerKind::recognise(&state).unwrap(),
                        Recognition::Known(scheduler.kind()),
                        "{name}"
                    );
                }
                if resumed && step == HALF {
                    let state = scheduler.state_dict();
                    scheduler = match setting["bad"].as_array() {
                        None => LRScheduler::from_state_dict(&state, &optimizer).unwrap(),
                        // After noise timm itself would not go on as if it had not stopped: it forgets the rates before it.
                        Some(_) if name.contains("noise") => scheduler,
                        Some(bad) => {
                            let error = LRScheduler::from_state_dict(&state, &optimizer).unwrap_err().to_string();
                            assert!(error.contains("keeps neither its options nor"), "{error}");
                            let call = setting["call"].as_str().unwrap().trim_end_matches(')');
                            let call = format!("{call}, num_bad_epochs={}, cooldown_counter={})", bad[0], bad[1]);
                            let schedule: Schedule = call.parse().unwrap();
                            let resumed = LRScheduler::resume(schedule, &state, &optimizer).unwrap();
                            assert_eq!(resumed.position(), scheduler.position(), "{name}");
                            resumed
                        }
                    };
                }
            }
        }
    }
}

#[test]
fn timm_s_plateau_begins_to_count_anew_where_nobody_says_the_counts_as_timm_does() {
    for (name, setting) in fixtures::json("schedulers_more/plateaus.json").as_object().unwrap() {
        let Some(rates) = setting["resumed"].as_array() else { continue };
        let (before, metrics) = (Sequence::of(setting), setting["metrics"].as_array().unwrap());
        let mut optimizer = optimizer_of(setting);
        for (group, bits) in optimizer.param_groups_mut().iter_mut().zip(&before.lrs[HALF]) {
            let first = group.lr().unwrap();
            group.set("initial_lr", first);
            group.set_lr(f64::from_bits(*bits));
        }
        let state = value(&setting["states"][1][0]);
        let mut scheduler = LRScheduler::resume(schedules(name, setting).remove(0), &state, &optimizer).unwrap();
        for (place, metric) in metrics[HALF..].iter().enumerate() {
            tell(&mut scheduler, metric, &mut optimizer);
            let expected: Vec<_> =
                rates.iter().map(|group| fixtures::hex(group[place].as_str().unwrap()).to_bits()).collect();
            let found: Vec<_> = optimizer.lr().unwrap().iter().map(|lr| lr.to_bits()).collect();
            assert_eq!(found, expected, "{name}, step {place} after it went on");
        }
    }
}

#[test]
fn a_plateau_of_timm_s_in_its_warm_up_is_placed_by_its_rates() {
    let mut optimizer = two_groups();
    let schedule: Schedule = "PlateauLRScheduler(warmup_t=5, warmup_lr_init=0.001)".parse().unwrap();
    let mut scheduler = LRScheduler::new(schedule.clone(), &mut optimizer).unwrap();
    (0..3).for_each(|_| scheduler.step_with_metric(1.0, &mut optimizer).unwrap());
    let mut again = LRScheduler::resume(schedule, &scheduler.state_dict(), &optimizer).unwrap();
    assert!(again.needs_position());
    assert_eq!(again.standing(optimizer.param_groups(), 0..=100).collect::<Vec<_>>(), [3]);
    assert!(again.step_with_metric(1.0, &mut optimizer).unwrap_err().to_string().contains("how far it has come"));
    again.set_position(3);
    again.step_with_metric(1.0, &mut optimizer).unwrap();
    assert_eq!(again.position(), Some(4));
}

#[test]
fn formulas_by_name_are_those_of_their_packages_to_the_last_bit() {
    for (call, factors) in fixtures::json("schedulers_more/formulas.json").as_object().unwrap() {
        let mut optimizer = Optimizer::sgd(&scalars(), SgdOptions::default().lr(1.0)).unwrap();
        let schedule: Schedule = call.parse().unwrap();
        let mut scheduler = LRScheduler::new(schedule, &mut optimizer).unwrap();
        for (step, factor) in factors.as_array().unwrap().iter().enumerate() {
            if step > 0 {
                scheduler.step(&mut optimizer).unwrap();
            }
            let expected = fixtures::hex(factor.as_str().unwrap());
            assert_eq!(optimizer.lr().unwrap()[0].to_bits(), expected.to_bits(), "{call} at {step}");
        }
    }
}

#[test]
fn nanogpt_s_loop_goes_on_from_its_configuration_and_keeps_no_state() {
    let config = Value::from(Dict::from_iter([
        ("warmup_iters", Value::from(10)),
        ("lr_decay_iters", 60.into()),
        ("learning_rate", 6e-4.into()),
        ("min_lr", 6e-5.into()),
        ("decay_lr", true.into()),
        ("batch_size", 12.into()),
    ]));
    let options = NanoGpt::from_config(&config).unwrap();
    let mut optimizer = two_groups();
    let mut scheduler = LRScheduler::at(options, 25, &mut optimizer).unwrap();
    assert_eq!(optimizer.lr().unwrap(), [options.lr(25); 2]);
    scheduler.step(&mut optimizer).unwrap();
    assert_eq!(optimizer.lr().unwrap(), [options.lr(26); 2]);
    assert_eq!(scheduler.position(), Some(26));
    assert!(!scheduler.is_saved() && scheduler.state_dict().as_dict().unwrap().is_empty());
    config.as_dict().unwrap().remove("min_lr");
    assert!(NanoGpt::from_config(&config).unwrap_err().to_string().contains("config.min_lr"));
}

/// The options of the settings whose name says that they are tensors.
fn of_tensors(name: &str, single: bool) -> Schedule {
    let tensors = |numbers: [f64; 2]| {
        #[allow(clippy::cast_possible_truncation)]
        let tensor = |number: f64| if single { Tensor::scalar(number as f32) } else { Tensor::scalar(number) };
        PerGroup::try_from(&Value::list(numbers.map(|number| Value::Tensor(tensor(number))))).unwrap()
    };
    let momenta = || (tensors([0.7, 0.8]), tensors([0.9, 0.95]));
    match name {
        "cyclic_of_tensors" => {
            let cyclic = CyclicLR::new(tensors([0.01, 0.02]), tensors([0.3, 0.1])).step_size_up(3);
            cyclic.base_momentum(momenta().0).max_momentum(momenta().1).into()
        }
        "one_cycle_of_tensors" => {
            let one_cycle = OneCycleLR::new(tensors([0.3, 0.1]), 15);
            one_cycle.base_momentum(momenta().0).max_momentum(momenta().1).into()
        }
        "swa_of_tensors" => SWALR::new(tensors([0.05, 0.01])).anneal_epochs(4).into(),
        other => panic!("{other}"),
    }
}

fn pytorch(name: &str, call: &str) -> Schedule {
    match name.split("_float").next().unwrap() {
        tensors if tensors.ends_with("_of_tensors") => of_tensors(tensors, name.ends_with("_float32")),
        "lambda" => LambdaLR::new(|e| 0.95_f64.powf(crate::common::settings::real(e))).into(),
        "multiplicative" => MultiplicativeLR::new(|_| 0.95).into(),
        _ => call.parse().unwrap(),
    }
}

fn groups(optimizer: &Optimizer) -> Value {
    Value::list(optimizer.param_groups().iter().map(|group| {
        let entries = group.names().map(|name| (name, group.get(name).unwrap().clone()));
        Value::from(entries.collect::<Dict>())
    }))
}

#[test]
fn a_tensor_as_learning_rate_is_computed_and_kept_as_pytorch_does() {
    for (name, setting) in fixtures::json("schedulers_more/tensors.json").as_object().unwrap() {
        let single = setting["dtype"] == "float32";
        let mut optimizer = optimizer_of(setting);
        for group in optimizer.param_groups_mut() {
            let lr = group.lr().unwrap();
            #[allow(clippy::cast_possible_truncation)]
            let tensor = if single { Tensor::scalar(lr as f32) } else { Tensor::scalar(lr) };
            group.set("lr", tensor);
        }
        let schedule = pytorch(name, setting["call"].as_str().unwrap());
        let mut scheduler = LRScheduler::new(schedule.clone(), &mut optimizer).unwrap();
        let same = |scheduler: &LRScheduler, optimizer: &Optimizer, expected: &Json, when: &str| {
            let found = spell(&groups(optimizer), true);
            assert_eq!(found, spell(&value(&expected["groups"]), true), "{name}, {when}");
            let found = spell(&scheduler.state_dict(), true);
            assert_eq!(found, spell(&value(&expected["state"]), true), "{name}, {when}");
        };
        same(&scheduler, &optimizer, &setting["made"], "made");
        for (step, expected) in setting["steps"].as_array().unwrap().iter().enumerate() {
            if step == 6 {
                scheduler = LRScheduler::resume(schedule.clone(), &scheduler.state_dict(), &optimizer).unwrap();
            }
            match scheduler.kind() {
                SchedulerKind::ReduceLROnPlateau => scheduler.step_with_metric(1.0, &mut optimizer),
                _ => scheduler.step(&mut optimizer),
            }
            .unwrap();
            same(&scheduler, &optimizer, expected, &format!("step {}", step + 1));
        }
    }
}

#[test]
fn a_group_that_was_added_later_is_scheduled_as_pytorch_does_or_refused_where_it_raises() {
    for (name, setting) in fixtures::json("schedulers_more/added.json").as_object().unwrap() {
        for resumed in [false, true] {
            let mut one = Optimizer::builder(SgdOptions::default().lr(0.1).momentum(0.9)).build(&scalars()).unwrap();
            let schedule = pytorch(name, setting["call"].as_str().unwrap());
            let mut scheduler = LRScheduler::new(schedule.clone(), &mut one).unwrap();
            let step = |scheduler: &mut LRScheduler, optimizer: &mut Optimizer| match scheduler.kind() {
                SchedulerKind::ReduceLROnPlateau => scheduler.step_with_metric(1.0, optimizer),
                _ => scheduler.step(optimizer),
            };
            (0..4).for_each(|_| step(&mut scheduler, &mut one).unwrap());
            let mut two = optimizer_of(&Json::Null);
            let before = one.param_groups()[0].clone();
            for key in before.names() {
                two.param_groups_mut()[0].set(key, before.get(key).unwrap().clone());
            }
            two.param_groups_mut()[1].set_lr(0.05);
            if resumed {
                match LRScheduler::resume(schedule, &scheduler.state_dict(), &two) {
                    Ok(again) => scheduler = again,
                    // Whoever cannot go on at all may say so at once.
                    Err(error) => {
                        assert!(setting["rows"][0].is_null(), "{name}: {error}");
                        continue;
                    }
                }
                // Made for two groups anew, PyTorch's has a function for each, too.
                if name == "multiplicative" {
                    step(&mut scheduler, &mut two).unwrap();
                    continue;
                }
            }
            for (count, row) in setting["rows"].as_array().unwrap().iter().enumerate() {
                let result = step(&mut scheduler, &mut two);
                let Json::Array(row) = row else {
                    assert!(result.is_err(), "{name} at step {count}, where PyTorch raises an error");
                    break;
                };
                result.unwrap();
                let expected: Vec<_> = row.iter().map(|lr| fixtures::hex(lr.as_str().unwrap()).to_bits()).collect();
                let found: Vec<_> = two.lr().unwrap().iter().map(|lr| lr.to_bits()).collect();
                assert_eq!(found, expected, "{name} at step {count}, resumed: {resumed}");
            }
        }
    }
}

/// A state dict with these entries, and those of PyTorch's base class.
fn state(entries: &[(&str, Value)]) -> Value {
    let base: [(&str, Value); 6] = [
        ("base_lrs", Value::list([Value::Float(0.1), Value::Float(0.02)])),
        ("last_epoch", 3.into()),
        ("_step_count", 4.into()),
        ("_get_lr_called_within_step", false.into()),
        ("_last_lr", Value::list([Value::Float(0.1), Value::Float(0.02)])),
        ("verbose", false.into()),
    ];
    entries.iter().cloned().chain(base).collect::<Dict>().into()
}

#[test]
fn a_key_that_no_release_of_a_class_had_tells_that_it_is_another() {
    let recognise = |state: &Value| SchedulerKind::recognise(state).unwrap();
    let milestones = || Value::list([Value::Int(3), Value::Int(9)]);
    let warm_up = state(&[
        ("milestones", milestones()),
        ("gamma", 0.1.into()),
        ("warmup_factor", 0.3.into()),
        ("warmup_iters", 5.into()),
        ("warmup_method", "linear".into()),
    ]);
    assert_eq!(recognise(&warm_up), Recognition::Known(SchedulerKind::WarmupMultiStepLR));

    // One that nobody knows.
    let custom = state(&[("milestones", milestones()), ("gamma", 0.1.into()), ("warmup_epochs", 5.into())]);
    let Recognition::Resembles { kind, foreign } = recognise(&custom) else { panic!("{:?}", recognise(&custom)) };
    assert_eq!(kind, SchedulerKind::MultiStepLR);
    assert_eq!(foreign, ["warmup_epochs", "milestones (a list, no Counter)"]);
    let error = LRScheduler::from_state_dict(&custom, &two_groups()).unwrap_err().to_string();
    assert!(error.contains("resembles MultiStepLR and has warmup_epochs, milestones (a list"), "{error}");
    assert!(error.contains("go on with that schedule"), "{error}");

    // The answer works, and what is foreign stays.
    let poly = state(&[("step_size", 5.into()), ("gamma", 0.5.into()), ("mine", "x".into())]);
    assert!(LRScheduler::from_state_dict(&poly, &two_groups()).is_err());
    let resumed = LRScheduler::resume(StepLR::new(5), &poly, &two_groups()).unwrap();
    assert!(resumed.state_dict().as_dict().unwrap().get("mine").is_some());
    let wrong = LRScheduler::resume(CosineAnnealingLR::new(5), &poly, &two_groups()).unwrap_err().to_string();
    assert_eq!(wrong, "the state dict is a class like StepLR with mine's, and the scheduler is CosineAnnealingLR");

    // The same keys, and a list where every release that kept `_last_lr` has a Counter.
    let list = state(&[("milestones", milestones()), ("gamma", 0.1.into())]);
    assert!(matches!(recognise(&list), Recognition::Resembles { kind: SchedulerKind::MultiStepLR, .. }));
    let old = list.as_dict().unwrap();
    ["_last_lr", "_get_lr_called_within_step", "verbose"].iter().for_each(|key| drop(old.remove(key)));
    assert_eq!(recognise(&list), Recognition::Known(SchedulerKind::MultiStepLR));

    // Nothing of its own: LRMultiplier keeps the base rates and the epoch, and nothing else of PyTorch's base class.
    assert!(matches!(recognise(&state(&[])), Recognition::Unknown { .. }));
    assert!(matches!(recognise(&state(&[("my_steps", 5.into())])), Recognition::Unknown { .. }));

    let weights = Value::from(Dict::from_iter([("weight", 1)]));
    assert_eq!(recognise(&weights), Recognition::Unknown { keys: vec!["weight".to_owned()] });
    let lambda = state(&[("lr_lambdas", Value::list([Value::None, Value::None]))]);
    let several = vec![SchedulerKind::LambdaLR, SchedulerKind::MultiplicativeLR];
    assert_eq!(recognise(&lambda), Recognition::Several(several));
}

#[test]
fn schedulers_that_cannot_be_gone_on_with_are_refused_by_name() {
    let cases: [(&[&str], &str); 2] = [
        (&["last_batch_iteration"], "deepspeed.runtime.lr_schedules"),
        (&["num_steps", "lr_decay_style", "max_lr"], "megatron.core.optimizer_param_scheduler.OptimizerParamScheduler"),
    ];
    for (keys, expected) in cases {
        let state = Value::from(keys.iter().map(|key| (*key, 1)).collect::<Dict>());
        let Recognition::Refused { name, .. } = SchedulerKind::recognise(&state).unwrap() else { panic!("{keys:?}") };
        assert_eq!(name, expected);
        let error = LRScheduler::from_state_dict(&state, &two_groups()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the scheduler {expected} is not supported; ")), "{error}");
    }
    let after = state(&[
        ("multiplier", 2.0.into()),
        ("total_epoch", 5.into()),
        ("after_scheduler", "an object".into()),
        ("finished", false.into()),
    ]);
    let error = LRScheduler::from_state_dict(&after, &two_groups()).unwrap_err().to_string();
    assert!(error.contains("GradualWarmupScheduler with an after_scheduler"), "{error}");
}

#[test]
fn counts_at_the_ends_of_64_bits_are_no_panic_in_others_schedulers() {
    for (name, setting) in fixtures::json("schedulers_more/others.json").as_object().unwrap() {
        for count in [i64::MIN, -1, 0, i64::MAX] {
            let mut optimizer = optimizer_of(setting);
            let mut schedulers = schedules(name, setting);
            let state = value(&setting["states"].as_array().unwrap().last().unwrap()[0]);
            let dict = state.as_dict().unwrap();
            let numbers = dict.entries().into_iter().filter(|(_, value)| matches!(value, Value::Int(_)));
            numbers.collect::<Vec<_>>().into_iter().for_each(|(key, _)| drop(dict.insert(key, count)));
            // Whether it can go on is another matter.
            if let Ok(mut scheduler) = LRScheduler::resume(schedulers.remove(0), &state, &optimizer) {
                for position in [count, 3] {
                    scheduler.set_position(position);
                    drop(scheduler.step(&mut optimizer));
                }
                drop(scheduler.step_to(7.0, &mut optimizer));
            }
        }
    }
}

#[test]
fn what_comes_next_can_be_asked_and_changes_nothing() {
    let mut optimizer = two_groups();
    let scheduler = LRScheduler::new(OneCycleLR::new(0.1, 5), &mut optimizer).unwrap();
    let before = (spell(&scheduler.state_dict(), true), spell(&groups(&optimizer), true));
    assert_eq!(scheduler.preview(optimizer.param_groups(), 5).unwrap().len(), 5);
    scheduler.check_steps(optimizer.param_groups(), 5).unwrap();
    let error = scheduler.check_steps(optimizer.param_groups(), 6).unwrap_err().to_string();
    assert!(error.starts_with("OneCycleLR has come to its end: step 6 was asked for"), "{error}");
    assert_eq!((spell(&scheduler.state_dict(), true), spell(&groups(&optimizer), true)), before);

    let zero: Schedule = "ConstantLR(factor=0, total_iters=4)".parse().unwrap();
    let zero = LRScheduler::new(zero, &mut optimizer).unwrap();
    zero.check_steps(optimizer.param_groups(), 3).unwrap();
    let error = zero.check_steps(optimizer.param_groups(), 4).unwrap_err().to_string();
    assert_eq!(error, "ConstantLR has no learning rate at epoch 4: it divides by zero");

    let plateau = LRScheduler::new(ReduceLROnPlateau::default(), &mut optimizer).unwrap();
    assert_eq!(plateau.stepped_by(), Some(SteppedBy::Metric));
    assert!(plateau.preview(optimizer.param_groups(), 1).unwrap_err().to_string().contains("goes by a metric"));
}

#[test]
fn a_scheduler_says_where_it_stands_and_what_it_is_stepped_by() {
    let mut optimizer = two_groups();
    let mut step = LRScheduler::new(StepLR::new(5), &mut optimizer).unwrap();
    (0..7).for_each(|_| step.step(&mut optimizer).unwrap());
    assert_eq!((step.position(), step.step_count(), step.stepped_by()), (Some(7), Some(8), None));
    assert!(!step.is_fractional());

    let mut restarts = LRScheduler::new(CosineAnnealingWarmRestarts::new(3), &mut optimizer).unwrap();
    restarts.step_to(4.0, &mut optimizer).unwrap();
    assert_eq!(restarts.fraction(), None);
    restarts.step_to(4.25, &mut optimizer).unwrap();
    let restarts = LRScheduler::from_state_dict(&restarts.state_dict(), &optimizer).unwrap();
    assert_eq!((restarts.fraction(), restarts.stepped_by()), (Some(4.25), Some(SteppedBy::Fraction)));

    let by_update = timm::CosineLRScheduler::new(100).t_in_epochs(false);
    let by_update = LRScheduler::at(by_update, 30, &mut optimizer).unwrap();
    assert_eq!((by_update.position(), by_update.stepped_by()), (Some(30), Some(SteppedBy::Step)));
    let by_epoch: Schedule = "LinearParamScheduler(end=5)".parse().unwrap();
    let by_epoch = LRScheduler::new(by_epoch, &mut optimizer).unwrap();
    assert_eq!((by_epoch.position(), by_epoch.stepped_by()), (Some(0), Some(SteppedBy::Epoch)));
}

#[test]
fn a_schedule_in_words_that_cannot_be_made_says_what_could() {
    let error = |text: &str| text.parse::<Schedule>().unwrap_err().to_string();
    let unknown = error("CosineLR(T_max=3)");
    assert!(unknown.starts_with("the schedule 'CosineLR' is not supported; there are StepLR, "), "{unknown}");
    assert!(unknown.contains("transformers.cosine") && unknown.contains("nanogpt"), "{unknown}");
    assert_eq!(error("CosineAnnealingLR(tmax=3)"), "CosineAnnealingLR needs the argument T_max");
    let found = error("CosineAnnealingLR(T_max=3, eta=1)");
    assert_eq!(found, "CosineAnnealingLR has no argument 'eta'; it takes T_max, eta_min");
    assert_eq!(error("StepLR(3, gamma=slow)"), "StepLR's gamma is 'slow', where a number is expected");
    assert_eq!(error("StepLR(3, 0.5, 7)"), "StepLR has more arguments than it takes: step_size, gamma");
    assert_eq!(error("StepLR(step_size=3, 0.5)"), "in StepLR(...) '0.5' follows a named argument; name it, too");
    assert_eq!(error("StepLR(3"), "'StepLR(3' has no closing parenthesis at its end");
    assert!(error("MultiStepLR([3, 5)").contains("leaves a bracket"));
    assert!(error("OneCycleLR(0.1, 10, anneal_strategy='cosine')").contains("'cos' or 'linear' is expected"));
    assert!(error("SequentialLR([StepLR(3), NoSuch()], milestones=[1])").contains("the schedule 'NoSuch'"));
    let one =
        LRScheduler::new("multisteplr(milestones=[3, 5], gamma=0.5)".parse::<Schedule>().unwrap(), &mut one_group());
    assert_eq!(one.unwrap().kind(), SchedulerKind::MultiStepLR);
}
