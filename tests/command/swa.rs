//! PyTorch's recipe of stochastic weight averaging: a scheduler that takes over from another, and an average that begins later, at an epoch
//! that no file tells.

use std::path::{Path, PathBuf};

use rekindle::{Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::questions::{changed, plan};

const MLP: [&str; 4] = ["--model", "mlp", "--config", "sizes=20,32,16,10"];

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    entries.into_iter().collect::<Dict>().into()
}

/// Fabric's run with an `SWALR` that was stepped so often, and an average that was updated so often.
fn saved(folder: &Path, stepped: i64, averaged: i64) -> PathBuf {
    changed(fixtures::path("frameworks").join("fabric/start.pt"), folder, |root| {
        let model = root.get("model").unwrap().as_dict().unwrap().clone();
        let average: Dict = model.entries().iter().fold(Dict::new(), |average, (name, value)| {
            average.insert(format!("module.{}", name.as_str().unwrap()), value.clone());
            average
        });
        average.insert("n_averaged", Tensor::scalar(averaged));
        root.insert("swa_model", average);
        let optimizer = root.get("optimizer").unwrap().as_dict().unwrap().clone();
        let group = optimizer.get("param_groups").unwrap().items().unwrap().remove(0);
        let group = group.as_dict().unwrap();
        group.insert("swa_lr", 0.02);
        // Once it has taken over, the rates are its own.
        let rate = if stepped > 0 { Value::from(0.02) } else { group.get("lr").unwrap() };
        group.insert("lr", rate.clone());
        let one = |value: Value| Value::from(vec![value]);
        let swa = dict([
            ("_anneal_strategy", "cos".into()),
            ("anneal_epochs", 1_i64.into()),
            ("base_lrs", one(0.05.into())),
            ("last_epoch", stepped.into()),
            ("_step_count", (stepped + 1).into()),
            ("_last_lr", one(rate)),
        ]);
        root.insert("swa_scheduler", swa);
        root.insert("epoch", 12_i64);
        root.remove("step");
    })
}

#[test]
fn a_scheduler_that_takes_over_from_another_is_asked_about_and_either_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 2, 2);
    let per = ["--schedule-per", "epoch", "--ema-per", "epoch"];
    let asked = |answer: &[&str]| plan(&path, &[&MLP[..], &per, answer].concat());
    let (whole, said) = asked(&[]);
    let what = "swa_scheduler is an SWALR, which takes over from another scheduler at an epoch that no file tells, and was stepped 2 times";
    assert!(!whole && said.contains(what), "{said}");
    // What is stepped is the first answer, and nothing is asked of the other.
    assert!(
        said.contains("say --scheduler-at swa_scheduler") && said.contains("or --scheduler-at scheduler"),
        "{said}"
    );
    assert!(!said.contains("by hand"), "{said}");
    let (whole, said) = asked(&["--scheduler-at", "swa_scheduler"]);
    assert!(whole && said.contains("SWALR at 2, stepped per epoch"), "{said}");
    let (whole, said) = asked(&["--scheduler-at", "scheduler", "--scheduler", "StepLR"]);
    assert!(whole && said.contains("StepLR at 12, stepped per epoch"), "{said}");
    let (whole, said) = asked(&["--scheduler", "none"]);
    assert!(whole, "{said}");
}

#[test]
fn a_scheduler_that_has_not_taken_over_yet_is_asked_about_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 0, 0);
    let (whole, said) = plan(&path, &[&MLP[..], &["--ema", "none"]].concat());
    assert!(!whole && said.contains("and was not stepped yet: say --scheduler-at scheduler"), "{said}");
    let answer = ["--ema", "none", "--scheduler-at", "scheduler", "--schedule-per", "epoch"];
    let (whole, said) = plan(&path, &[&MLP[..], &answer].concat());
    assert!(whole && said.contains("StepLR at 12"), "{said}");
}

#[test]
fn an_average_that_was_not_updated_since_the_run_began_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path(), 0, 0);
    let known = ["--scheduler-at", "scheduler", "--schedule-per", "epoch"];
    let asked = |answer: &[&str]| plan(&path, &[&MLP[..], &known, answer].concat());
    let (whole, said) = asked(&[]);
    assert!(
        !whole && said.contains("the average of the weights was not updated yet, though the run has begun"),
        "{said}"
    );
    for answer in [["--ema-per", "step"], ["--ema-per", "epoch"], ["--ema", "none"]] {
        assert!(said.contains(&answer.join(" ")), "{said}");
        let (whole, said) = asked(&answer);
        assert!(whole, "{said}");
    }
}

#[test]
fn an_average_of_fewer_updates_than_epochs_is_not_taken_for_one_of_each_step() {
    let folder = tempfile::tempdir().unwrap();
    // As often as `SWALR` was stepped, which tells nothing of steps.
    let path = saved(folder.path(), 3, 3);
    let (whole, said) =
        plan(&path, &[&MLP[..], &["--scheduler-at", "swa_scheduler", "--schedule-per", "epoch"]].concat());
    assert!(!whole && said.contains("(it was updated 3 times)") && said.contains("--ema-per epoch"), "{said}");
}

#[test]
fn a_mean_of_the_weights_whose_count_stands_beside_it_goes_on_by_that_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(fixtures::path("frameworks").join("fabric/start.pt"), folder.path(), |root| {
        let weights = root.get("model").unwrap();
        root.insert("swa_state_dict", weights);
        for (key, number) in [("swa_n", 4_i64), ("epoch", 4)] {
            root.insert(key, number);
        }
    });
    let (whole, said) = plan(&path, &MLP);
    assert!(whole && said.contains("average    goes on by its own rule: swa, after each epoch"), "{said}");
    assert!(said.contains("swa_n: an int: count of the average"), "{said}");
}
