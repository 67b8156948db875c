//! Schedules that no file has: a scheduler whose state was not saved, and rates that a program sets by hand. They are asked about, and one that is
//! named goes on where it was.

use std::path::{Path, PathBuf};

use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::questions::{changed, plan};

const MLP: [&str; 4] = ["--model", "mlp", "--config", "sizes=20,32,16,10"];

/// The schedule that Fabric's run had, stepped twelve times.
const WAS: [&str; 4] = ["--scheduler", "StepLR(step_size=3, gamma=0.5)", "--schedule-per", "step"];

fn dict(value: Value) -> Dict {
    value.as_dict().unwrap().clone()
}

/// Fabric's run without its scheduler, whose group and settings are changed.
fn without(folder: &Path, change: impl FnOnce(&Dict, &Dict)) -> PathBuf {
    changed(fixtures::path("frameworks").join("fabric/start.pt"), folder, |root| {
        root.remove("scheduler");
        root.remove("hparams");
        let settings = Dict::new();
        let group = dict(root.get("optimizer").unwrap()).get("param_groups").unwrap().items().unwrap().remove(0);
        change(&dict(group), &settings);
        root.insert("args", settings);
    })
}

fn asked(path: &Path, answer: &[&str]) -> (bool, String) {
    plan(path, &[&MLP[..], answer].concat())
}

/// Without what a scheduler leaves in a group, at this rate.
fn by_hand(group: &Dict, lr: impl Into<Value>) {
    group.remove("initial_lr");
    group.insert("lr", lr);
}

#[test]
fn a_scheduler_that_left_initial_lr_and_no_state_is_asked_about_and_goes_on_where_it_is_said_to_stand() {
    let folder = tempfile::tempdir().unwrap();
    let whole = plan(&fixtures::path("frameworks").join("fabric/start.pt"), &MLP).1;
    let next = whole.lines().find(|line| line.trim_start().starts_with("next")).unwrap().to_owned();
    let path = without(folder.path(), |_, _| ());
    let (done, said) = asked(&path, &[]);
    assert!(!done && said.contains("the groups have the `initial_lr` that a scheduler puts there"), "{said}");
    assert!(said.contains("--scheduler none") && said.contains("--scheduler NAME(..)"), "{said}");
    let (done, said) = asked(&path, &["--scheduler", "none"]);
    assert!(done, "{said}");
    let (done, said) = asked(&path, &[&WAS[..], &["--schedule-at", "12"]].concat());
    assert!(done && said.contains("StepLR at 12, stepped per step") && said.contains(&next), "{said}\n{next}");
    assert!(said.contains("goes on where it was stepped 12 times"), "{said}");
    // Where it cannot have stood, it is said where it can.
    let (done, said) = asked(&path, &[&WAS[..], &["--schedule-at", "4"]].concat());
    assert!(!done && said.contains("are not those of this StepLR where it was stepped 4 times"), "{said}");
    assert!(said.contains("--schedule-at 12 where they are") && !said.contains("--schedule-at 15"), "{said}");
    // Anew, as before.
    let (done, said) = asked(&path, &WAS);
    assert!(done && said.contains("which begins anew"), "{said}");
    // A file that says that it has none is believed.
    let none = changed(path.clone(), folder.path(), |root| drop(root.insert("scheduler", Value::None)));
    let (done, said) = asked(&none, &[]);
    assert!(done, "{said}");
    // A rate that is given is the user's.
    let (done, said) = asked(&without(folder.path(), |_, _| ()), &["--lr", "0.01"]);
    assert!(done, "{said}");
}

#[test]
fn a_rate_that_is_not_the_setting_s_is_asked_about_and_a_schedule_goes_on_from_the_setting_s() {
    let folder = tempfile::tempdir().unwrap();
    let path = without(folder.path(), |group, settings| {
        by_hand(group, 0.003125);
        settings.insert("lr", 0.05);
    });
    let (done, said) = asked(&path, &[]);
    assert!(!done && said.contains("the learning rate is 0.003125 where a setting speaks of 0.05 (args.lr)"), "{said}");
    let (done, said) = asked(&path, &[&WAS[..], &["--schedule-at", "12"]].concat());
    assert!(done && said.contains("StepLR at 12"), "{said}");
    let (done, said) = asked(&path, &["--scheduler", "none"]);
    assert!(done, "{said}");
}

#[test]
fn a_setting_that_speaks_of_a_schedule_is_asked_about_where_the_file_has_none() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value, open) in [
        ("lr_scheduler", Value::from("poly"), true),
        ("lrScheduler", "cosine".into(), true),
        ("warmup_epochs", 5_i64.into(), true),
        ("warmup_epochs", 0_i64.into(), false),
        ("scheduler", "constant".into(), false),
        ("scheduler", Value::None, false),
        ("lr", 0.003125.into(), false),
    ] {
        let path = without(folder.path(), |group, settings| {
            by_hand(group, 0.003125);
            settings.insert(key, value.clone());
        });
        let (done, said) = asked(&path, &[]);
        assert!(done != open, "{key}: {said}");
        assert!(!open || said.contains(&format!("a setting speaks of a schedule (args.{key} is")), "{said}");
    }
}

#[test]
fn a_rate_that_nobody_writes_is_asked_about_and_one_of_float32_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let single = Tensor::scalar(0.003_f32);
    for (lr, open) in [
        (Value::from(0.088_676_235_425_720_73), true),
        (0.010_000_000_000_000_002.into(), true),
        (0.003125.into(), false),
        (1e-5.into(), false),
        (f64::from(0.003_f32).into(), false),
        (single.into(), false),
    ] {
        let path = without(folder.path(), |group, _| by_hand(group, lr.clone()));
        let (done, said) = asked(&path, &[]);
        assert!(done != open, "{lr:?}: {said}");
        assert!(!open || said.contains("which nobody writes so"), "{said}");
    }
}

#[test]
fn states_under_texts_of_their_parameters_numbers_go_on_and_under_other_keys_they_are_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let keyed = |key: fn(i64) -> String| {
        changed(fixtures::path("frameworks").join("fabric/start.pt"), folder.path(), |root| {
            let optimizer = dict(root.get("optimizer").unwrap());
            let states = dict(optimizer.get("state").unwrap()).entries();
            let states: Dict = states.into_iter().map(|(id, state)| (key(id.as_i64().unwrap()), state)).collect();
            optimizer.insert("state", states);
        })
    };
    let path = keyed(|id| id.to_string());
    let (done, said) = asked(&path, &[]);
    assert!(done && said.contains("6 parameters, 6 with state"), "{said}");
    assert!(Checkpoint::open(&path).unwrap().value("optimizer.state['0']").is_ok());
    let (done, said) = asked(&keyed(|id| format!("p{id}")), &[]);
    assert!(!done && said.contains("the optimizer's state is under keys that none of its groups has, 'p0'"), "{said}");
    assert!(said.contains("--optimizer NAME(..)"), "{said}");
}

#[test]
fn numbers_of_numpy_in_a_group_and_a_scheduler_are_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let arrays = Checkpoint::open(fixtures::path("arrays").join("arrays.pt")).unwrap();
    let (scalar, number) = (arrays.value("loss").unwrap(), arrays.get::<f64>("loss").unwrap());
    assert!(scalar.as_f64().is_none(), "{scalar:?}");
    let path = changed(fixtures::path("frameworks").join("fabric/start.pt"), folder.path(), |root| {
        let group = dict(root.get("optimizer").unwrap()).get("param_groups").unwrap().items().unwrap().remove(0);
        dict(group).insert("momentum", scalar.clone());
        let scheduler = dict(root.get("scheduler").unwrap());
        scheduler.insert("gamma", scalar.clone());
    });
    let (done, said) = asked(&path, &["--scheduler", "StepLR"]);
    let next = 0.003125 * number;
    assert!(done && said.contains(&format!(", {next}")), "{next}: {said}");
}
