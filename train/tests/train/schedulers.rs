//! Every scheduler against PyTorch's own: `tests/fixtures/schedulers/schedulers.json`.

use crate::common::settings::{
    HALF, Running, Sequence, has_functions, one_group, optimizer_of, real, scalars, schedule, two_groups,
};
use rekindle_recorder::{Checkpoint, Dict, Value};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::lr_scheduler::{
    ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ExponentialLR, Function, LRScheduler,
    LambdaLR, LinearLR, OneCycleLR, ReduceLROnPlateau, SWALR, Schedule, SchedulerKind, SequentialLR, StepLR,
};
use rekindle_train::optim::{AdamWOptions, Optimizer};
use serde_json::Value as Json;

fn assert_same_state(found: &Value, expected: &Json, context: &str) {
    assert_eq!(spell(found, true), spell(&value(expected), true), "{context}");
}

/// The optimizer's groups as its state dict has them, without `params`.
fn groups(optimizer: &Optimizer) -> Value {
    let groups = optimizer.param_groups().iter().map(|group| {
        let entries = group.names().map(|name| (name, group.get(name).unwrap().clone()));
        Value::from(entries.collect::<Dict>())
    });
    Value::list(groups)
}

#[test]
fn learning_rates_momenta_groups_and_state_dicts_are_pytorch_s_to_the_last_bit() {
    let settings = fixtures::json("schedulers/schedulers.json");
    assert!(settings.as_object().unwrap().len() >= 72);
    for (name, setting) in settings.as_object().unwrap() {
        let expected = Sequence::of(setting);
        let mut running = Running::new(setting);
        for step in 0..expected.lrs.len() {
            if step > 0 {
                running.step(step);
            }
            expected.assert(step, &running.optimizer, name);
            let place = [0, HALF, expected.lrs.len() - 1].iter().position(|place| *place == step);
            if let Some(place) = place {
                let context = format!("{name} after {step} steps");
                assert_same_state(&running.scheduler.state_dict(), &setting["states"][place], &context);
                assert_same_state(&groups(&running.optimizer), &setting["groups"][place], &context);
            }
        }
    }
}

#[test]
fn a_schedule_resumed_from_any_state_dict_goes_on_as_if_it_had_not_stopped() {
    let settings = fixtures::json("schedulers/schedulers.json");
    for (name, setting) in settings.as_object().unwrap() {
        assert!(setting["resumed"].is_null(), "PyTorch itself goes on differently in {name}");
        let expected = Sequence::of(setting);
        for (place, from) in [(0, 0), (1, HALF)] {
            let mut running = Running::new(setting);
            // The optimizer as its own state dict has it, before or after the scheduler.
            let first = running.first.take();
            if let Some(mut first) = first {
                (1..=from).for_each(|_| first.step(&mut running.optimizer).unwrap());
                running.first = Some(first);
            }
            let load = |optimizer: &mut Optimizer| {
                let saved = value(&setting["groups"][place]);
                for (group, saved) in optimizer.param_groups_mut().iter_mut().zip(saved.items().unwrap()) {
                    for (key, value) in saved.as_dict().unwrap().entries() {
                        group.set(key.as_str().unwrap(), value);
                    }
                }
            };
            let state = value(&setting["states"][place]);
            let resume = |optimizer: &Optimizer| {
                if has_functions(setting) {
                    LRScheduler::resume(schedule(setting), &state, optimizer).unwrap()
                } else {
                    LRScheduler::from_state_dict(&state, optimizer).unwrap()
                }
            };
            // Whichever is loaded first, the scheduler changes no learning rate.
            if place == 0 {
                load(&mut running.optimizer);
                running.scheduler = resume(&running.optimizer);
            } else {
                running.scheduler = resume(&optimizer_of(setting));
                load(&mut running.optimizer);
            }
            expected.assert(from, &running.optimizer, &format!("{name}, loaded"));
            assert_eq!(running.scheduler.kind().name(), setting["scheduler"].as_str().unwrap());
            for step in from + 1..expected.lrs.len() {
                running.step(step);
                expected.assert(step, &running.optimizer, &format!("{name}, resumed at {from}"));
            }
            assert_same_state(&running.scheduler.state_dict(), &setting["states"][2], &format!("{name} at the end"));
        }
    }
}

#[test]
fn a_schedule_made_anew_with_last_epoch_goes_on_from_there() {
    let settings = fixtures::json("schedulers/schedulers.json");
    let mut made = 0;
    for (name, setting) in settings.as_object().unwrap() {
        if setting["anew"].is_null() {
            continue;
        }
        let mut optimizer = optimizer_of(setting);
        let saved = value(&setting["groups"][1]);
        for (group, saved) in optimizer.param_groups_mut().iter_mut().zip(saved.items().unwrap()) {
            saved
                .as_dict()
                .unwrap()
                .entries()
                .into_iter()
                .for_each(|(key, value)| group.set(key.as_str().unwrap(), value));
        }
        let last_epoch = i64::try_from(HALF).unwrap();
        let mut scheduler = LRScheduler::with_last_epoch(schedule(setting), &mut optimizer, last_epoch).unwrap();
        let expected = Sequence::of(&setting["anew"]);
        for step in 0..expected.lrs.len() {
            if step > 0 {
                scheduler.step(&mut optimizer).unwrap();
            }
            expected.assert(step, &optimizer, name);
        }
        made += 1;
    }
    assert!(made > 40, "{made}");
}

fn keys(state: &Value) -> Vec<String> {
    state.as_dict().unwrap().entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

fn saved(name: &str) -> Value {
    value(&fixtures::json("schedulers/schedulers.json")[name]["states"][1])
}

#[test]
fn an_older_release_s_state_is_taken_and_keys_that_it_never_had_are_kept_where_the_schedule_is_named() {
    let state = saved("cosine");
    let dict = state.as_dict().unwrap();
    dict.remove("_is_initial");
    dict.insert("verbose", false);
    dict.insert("mine", Value::list([1.into(), "two".into()]));
    let mut optimizer = two_groups();
    let unsure = LRScheduler::from_state_dict(&state, &optimizer).unwrap_err().to_string();
    assert!(unsure.contains("resembles CosineAnnealingLR and has mine besides"), "{unsure}");
    let mut scheduler = LRScheduler::resume(CosineAnnealingLR::new(60), &state, &optimizer).unwrap();
    scheduler.step(&mut optimizer).unwrap();
    let expected = [
        "T_max",
        "eta_min",
        "base_lrs",
        "last_epoch",
        "_step_count",
        "_get_lr_called_within_step",
        "_last_lr",
        "verbose",
        "mine",
        "_is_initial",
    ];
    assert_eq!(keys(&scheduler.state_dict()), expected);
}

#[test]
fn the_states_of_torch_1_13_go_on_as_there() {
    let file = Checkpoint::open(fixtures::path("schedulers/old113.pt")).unwrap();
    let saved = file.root().as_dict().unwrap().entries();
    assert_eq!(saved.len(), 9);
    for (name, saved) in saved {
        let saved = |key: &str| saved.as_dict().unwrap().get(key).unwrap();
        let mut optimizer = two_groups();
        let groups = saved("groups").items().unwrap();
        for (group, saved) in optimizer.param_groups_mut().iter_mut().zip(groups) {
            saved
                .as_dict()
                .unwrap()
                .entries()
                .into_iter()
                .for_each(|(key, value)| group.set(key.as_str().unwrap(), value));
        }
        let mut scheduler = LRScheduler::from_state_dict(&saved("state"), &optimizer).unwrap();
        for (step, expected) in saved("lrs").items().unwrap().iter().enumerate() {
            match scheduler.kind() {
                SchedulerKind::ReduceLROnPlateau => scheduler.step_with_metric(1.0, &mut optimizer),
                _ => scheduler.step(&mut optimizer),
            }
            .unwrap();
            let expected: Vec<f64> = expected.items().unwrap().iter().map(|lr| lr.as_f64().unwrap()).collect();
            assert_eq!(optimizer.lr().unwrap(), expected, "{name:?}, step {step}");
        }
        // A function, which plain torch.load refuses, has become the name that today's PyTorch gives it.
        let state = scheduler.state_dict();
        assert!(!keys(&state).contains(&"anneal_func".to_owned()), "{name:?}");
    }
}

#[test]
fn a_state_of_another_kind_or_another_number_of_groups_is_refused() {
    let optimizer = two_groups();
    let error = |result: rekindle_recorder::Result<LRScheduler>| result.unwrap_err().to_string();

    for name in
        ["cosine", "warm_restarts", "lambda", "multiplicative", "one_cycle", "sequential", "chained", "plateau", "swa"]
    {
        let setting = &fixtures::json("schedulers/schedulers.json")[name];
        let found = error(LRScheduler::resume(schedule(setting), &saved(name), &one_group()));
        assert_eq!(found, "the scheduler is for an optimizer of 2 groups, and this one has 1", "{name}");
    }
    let found = error(LRScheduler::from_state_dict(&saved("cyclic_triangular"), &one_group()));
    assert_eq!(found, "the scheduler is for an optimizer of 2 groups, and this one has 1");

    let found = error(LRScheduler::resume(CosineAnnealingLR::new(10), &saved("step"), &optimizer));
    assert_eq!(found, "the state dict is StepLR's, and the scheduler is CosineAnnealingLR");
    let found = error(LRScheduler::resume(StepLR::new(10), &saved("lambda"), &optimizer));
    assert_eq!(found, "the state dict is LambdaLR or MultiplicativeLR's, and the scheduler is StepLR");
    let warmup = || Schedule::from(ConstantLR::default());
    let sequence = SequentialLR::new([warmup(), warmup()], [3]);
    let found = error(LRScheduler::resume(sequence, &saved("sequential_of_three"), &optimizer));
    assert_eq!(found, "the state dict is that of 3 schedulers, and here are 2");

    let never = saved("cosine_periods");
    never.as_dict().unwrap().insert("T_max", 0);
    assert_eq!(error(LRScheduler::from_state_dict(&never, &optimizer)), "CosineAnnealingLR's T_max must not be 0");
    let torn = saved("sequential");
    torn.as_dict().unwrap().insert("_milestones", Value::list([1.into(), 2.into()]));
    let found = error(LRScheduler::from_state_dict(&torn, &optimizer));
    assert_eq!(found, "SequentialLR has 2 schedulers and 2 milestones; one less is needed than schedulers");
}

#[test]
fn counts_at_the_ends_of_64_bits_are_no_panic() {
    for (name, setting) in fixtures::json("schedulers/schedulers.json").as_object().unwrap() {
        for count in [i64::MIN, -1, i64::MAX] {
            let mut optimizer = optimizer_of(setting);
            let state = value(&setting["states"][1]);
            let dict = state.as_dict().unwrap();
            let numbers: Vec<_> =
                dict.entries().into_iter().filter(|(_, value)| matches!(value, Value::Int(_))).collect();
            for (key, _) in numbers {
                dict.insert(key, count);
            }
            // Whether it can go on is another matter.
            if let Ok(mut scheduler) = LRScheduler::resume(schedule(setting), &state, &optimizer) {
                let steps = [scheduler.step(&mut optimizer), scheduler.step_with_metric(1.0, &mut optimizer)];
                assert!(steps.iter().any(Result::is_err), "{name} is stepped with a metric or without, not both ways");
                drop(scheduler.step_to(2.5, &mut optimizer));
            }
        }
    }
}

#[test]
fn functions_that_no_file_holds_are_asked_for() {
    let optimizer = two_groups();
    let error = |state: &Value| LRScheduler::from_state_dict(state, &optimizer).unwrap_err().to_string();
    let lambda = error(&saved("lambda"));
    assert!(
        lambda.starts_with("the state dict is that of a LambdaLR or MultiplicativeLR, whose functions no file holds"),
        "{lambda}"
    );

    let by_iterations = saved("cyclic_function");
    by_iterations.as_dict().unwrap().insert("scale_mode", "iterations");
    let found = error(&by_iterations);
    assert!(found.starts_with("CyclicLR's mode 'triangular' needs a function, which no file holds"), "{found}");
    let object = saved("cyclic_function");
    object.as_dict().unwrap().insert("_scale_fn_custom", Dict::new());
    assert!(error(&object).starts_with("scheduler._scale_fn_custom is an object's"));

    // What a file says of a callable object stays in it.
    let object = saved("lambda");
    let attributes = Value::from(Dict::from_iter([("warmup", 5)]));
    object.as_dict().unwrap().insert("lr_lambdas", Value::list([attributes.clone(), Value::None]));
    let kept = LRScheduler::resume(LambdaLR::new(|_| 1.0), &object, &optimizer).unwrap().state_dict();
    let kept = kept.as_dict().unwrap().get("lr_lambdas").unwrap();
    assert_eq!(spell(&kept, true), spell(&Value::list([attributes, Value::None]), true));
}

#[test]
fn a_step_that_cannot_be_made_changes_nothing() {
    let mut optimizer = two_groups();
    let unchanged = |scheduler: &mut LRScheduler, optimizer: &mut Optimizer, metric: Option<f64>, expected: &str| {
        let before = (spell(&scheduler.state_dict(), true), spell(&groups(optimizer), true));
        let result = match metric {
            Some(metric) => scheduler.step_with_metric(metric, optimizer),
            None => scheduler.step(optimizer),
        };
        assert_eq!(result.unwrap_err().to_string(), expected);
        assert_eq!((spell(&scheduler.state_dict(), true), spell(&groups(optimizer), true)), before);
    };

    let mut one_cycle = LRScheduler::new(OneCycleLR::new(0.1, 3), &mut optimizer).unwrap();
    (0..3).for_each(|_| one_cycle.step(&mut optimizer).unwrap());
    unchanged(
        &mut one_cycle,
        &mut optimizer,
        None,
        "OneCycleLR has come to its end: step 4 was asked for, and it was made for 3 steps; make a new scheduler, or train no \
         further",
    );

    // The first of two steps before the second fails.
    let chain: [Schedule; 2] = [ExponentialLR::new(0.5).into(), OneCycleLR::new(0.1, 1).into()];
    let mut chained = LRScheduler::new(ChainedScheduler::new(chain), &mut optimizer).unwrap();
    chained.step(&mut optimizer).unwrap();
    let expected = "OneCycleLR has come to its end: step 2 was asked for, and it was made for 1 steps; make a new scheduler, or \
                    train no further";
    unchanged(&mut chained, &mut optimizer, None, expected);

    let mut constant = LRScheduler::new(ConstantLR::default().factor(0.0).total_iters(2), &mut optimizer).unwrap();
    constant.step(&mut optimizer).unwrap();
    let expected = "ConstantLR has no learning rate at epoch 2: it divides by zero";
    unchanged(&mut constant, &mut optimizer, None, expected);

    let mut step = LRScheduler::new(StepLR::new(3), &mut optimizer).unwrap();
    unchanged(&mut step, &mut optimizer, Some(0.5), "StepLR takes no metric; step it without one");
    let mut plateau = LRScheduler::new(ReduceLROnPlateau::default(), &mut optimizer).unwrap();
    let expected = "ReduceLROnPlateau goes by a metric; step it with `step_with_metric`";
    unchanged(&mut plateau, &mut optimizer, None, expected);
    let expected = "the scheduler is for an optimizer of 2 groups, and this one has 1";
    unchanged(&mut step, &mut one_group(), None, expected);
    let error = step.step_to(0.5, &mut optimizer).unwrap_err().to_string();
    assert_eq!(error, "StepLR cannot be stepped to an epoch; step it without one");
    let mut restarts = LRScheduler::new(CosineAnnealingWarmRestarts::new(3).t_mult(2), &mut optimizer).unwrap();
    for epoch in [-0.5, f64::NAN, f64::INFINITY] {
        assert!(restarts.step_to(epoch, &mut optimizer).is_err());
    }
}

#[test]
fn options_out_of_range_are_refused_and_the_optimizer_stays_as_it_was() {
    let mut optimizer = two_groups();
    let before = spell(&groups(&optimizer), true);
    let schedules: [(Schedule, &str); 12] = [
        (StepLR::new(0).into(), "StepLR's step_size must not be 0"),
        (ConstantLR::default().factor(1.5).into(), "ConstantLR's factor must be from 0 to 1, and is 1.5"),
        (
            LinearLR::default().start_factor(0.0).into(),
            "LinearLR's start_factor must be above 0 and at most 1, and is 0",
        ),
        (CosineAnnealingWarmRestarts::new(0).into(), "CosineAnnealingWarmRestarts's T_0 must be at least 1, and is 0"),
        (OneCycleLR::new(0.1, 0).into(), "OneCycleLR's total_steps must be at least 1, and is 0"),
        (
            OneCycleLR::new([0.1, 0.2, 0.3], 10).into(),
            "the optimizer has 2 groups, and max_lr has 3 values; give one, or one for each group",
        ),
        (SWALR::new(0.1).anneal_epochs(-1).into(), "SWALR's anneal_epochs must be at least 0, and is -1"),
        (ReduceLROnPlateau::default().factor(1.0).into(), "ReduceLROnPlateau's factor must be below 1, and is 1"),
        (
            ChainedScheduler::new([ReduceLROnPlateau::default().into()]).into(),
            "ChainedScheduler cannot have a ReduceLROnPlateau, which goes by a metric",
        ),
        (ChainedScheduler::new([]).into(), "ChainedScheduler needs at least one scheduler"),
        (
            SequentialLR::new([StepLR::new(1).into()], [4]).into(),
            "SequentialLR has 1 schedulers and 1 milestones; one less is needed than schedulers",
        ),
        (
            LambdaLR::each([Function::new(|_| 1.0)]).into(),
            "the optimizer has 2 groups, and lr_lambda has 1 values; give one, or one for each group",
        ),
    ];
    for (schedule, expected) in schedules {
        assert_eq!(LRScheduler::new(schedule, &mut optimizer).unwrap_err().to_string(), expected);
        assert_eq!(spell(&groups(&optimizer), true), before);
    }
    let error = LRScheduler::with_last_epoch(StepLR::new(3), &mut optimizer, 5).unwrap_err().to_string();
    assert!(error.starts_with("there is no 'param_groups[0].initial_lr'"), "{error}");
    let adamw = Optimizer::adamw(&scalars(), AdamWOptions::default());
    assert!(LRScheduler::new(OneCycleLR::new(0.1, 10), &mut adamw.unwrap()).is_ok());
}

#[test]
fn schedulers_within_schedulers_go_on_from_their_state_dict() {
    let nested = || {
        let chain: [Schedule; 2] = [ConstantLR::default().into(), LambdaLR::new(|e| 0.9_f64.powf(real(e))).into()];
        let parts: [Schedule; 2] = [ChainedScheduler::new(chain).into(), StepLR::new(2).into()];
        SequentialLR::new(parts, [4])
    };
    let (mut whole, mut halved) = (two_groups(), two_groups());
    let mut scheduler = LRScheduler::new(nested(), &mut whole).unwrap();
    let mut again = LRScheduler::new(nested(), &mut halved).unwrap();
    for step in 0..10 {
        if step % 3 == 0 {
            again = LRScheduler::resume(nested(), &again.state_dict(), &halved).unwrap();
        }
        scheduler.step(&mut whole).unwrap();
        again.step(&mut halved).unwrap();
        assert_eq!(whole.lr().unwrap(), halved.lr().unwrap());
        assert_eq!(spell(&scheduler.state_dict(), true), spell(&again.state_dict(), true));
    }
    // PyTorch raises NotImplementedError there.
    let parts: [Schedule; 2] = [StepLR::new(2).into(), ChainedScheduler::new([StepLR::new(2).into()]).into()];
    let mut scheduler = LRScheduler::new(SequentialLR::new(parts, [1]), &mut whole).unwrap();
    assert!(scheduler.step(&mut whole).unwrap_err().to_string().contains("cannot go over to a ChainedScheduler"));
}

#[test]
fn a_plateau_takes_a_group_that_is_added_unless_each_has_a_lowest_rate() {
    let mut one = one_group();
    let options = ReduceLROnPlateau::default().patience(0);
    let mut scheduler = LRScheduler::new(options.clone(), &mut one).unwrap();
    let mut two = two_groups();
    for _ in 0..2 {
        scheduler.step_with_metric(1.0, &mut two).unwrap();
    }
    assert_eq!(two.lr().unwrap(), [0.1 * 0.1, 0.02 * 0.1]);
    let each = options.min_lr([1e-3]);
    let mut scheduler = LRScheduler::new(each, &mut one).unwrap();
    assert!(scheduler.step_with_metric(1.0, &mut two).is_err());
}

#[test]
fn a_scheduler_is_known_by_its_keys() {
    for (name, setting) in fixtures::json("schedulers/schedulers.json").as_object().unwrap() {
        let kind = setting["scheduler"].as_str().unwrap();
        assert_eq!(kind.parse::<SchedulerKind>().unwrap().to_string(), kind);
        match SchedulerKind::infer(&value(&setting["states"][0])) {
            Ok(found) => assert_eq!(found.name(), kind, "{name}"),
            Err(error) => assert!(["LambdaLR", "MultiplicativeLR"].contains(&kind), "{name}: {error}"),
        }
    }
    let weights = Value::from(Dict::from_iter([("weight", 1)]));
    let error = SchedulerKind::infer(&weights).unwrap_err().to_string();
    assert_eq!(error, "no scheduler of torch.optim.lr_scheduler has a state of weight");
    assert!("NoSuchLR".parse::<SchedulerKind>().is_err());
}
