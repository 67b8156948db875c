//! Runs of PyTorch that `rekindle resume` takes up, over the same batches: `tests/fixtures/command_runs`. What has to be told is
//! told, and asked for where it is not.

use std::path::Path;
use std::process::Output;

use rekindle::{Checkpoint, Dict, Value};
use rekindle_testing::compare::differ;
use rekindle_testing::fixtures::{self, floats, hex, lines};
use rekindle_testing::tagged::spell;
use serde_json::Value as Json;

use crate::resume::resume;

/// The command over a case's checkpoint, with these arguments of the case.
fn run(name: &str, arguments: &Json, folder: &Path) -> Output {
    let file = |argument: &Json| {
        let argument = argument.as_str().unwrap();
        let is_file = Path::new(argument).extension().is_some_and(|extension| extension == "pt");
        if is_file { fixtures::path("command_runs").join(argument).display().to_string() } else { argument.to_owned() }
    };
    let mut all: Vec<String> = arguments.as_array().unwrap().iter().map(file).collect();
    let common = "--model mlp --config sizes=6,8,4 --log log.jsonl --save out.pt --overwrite";
    all.extend(common.split(' ').map(str::to_owned));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    resume(&fixtures::path("command_runs").join(format!("{name}.pt")), &all, folder)
}

/// The state dicts of optimizers: one, or several in a list or a dict.
fn optimizers(value: &Value) -> Vec<Dict> {
    match value.as_dict() {
        Some(dict) if dict.get("param_groups").is_some() => vec![dict.clone()],
        Some(dict) => dict.entries().into_iter().map(|(_, value)| value.as_dict().unwrap().clone()).collect(),
        None => value.items().unwrap().iter().map(|value| value.as_dict().unwrap().clone()).collect(),
    }
}

/// What is wrong with a case, if anything is.
fn wrong(name: &str, case: &Json) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for question in case["questions"].as_array().unwrap() {
        let output = run(name, &question["arguments"], folder.path());
        let said = String::from_utf8(output.stderr).unwrap();
        let says = question["says"].as_array().unwrap().iter().map(|says| says.as_str().unwrap());
        let unsaid: Vec<_> = says.filter(|says| !said.contains(says)).collect();
        if output.status.code() != Some(2) || !unsaid.is_empty() || folder.path().join("log.jsonl").exists() {
            return Some(format!("{name} is not asked about {unsaid:?} before the first step: {said}"));
        }
    }
    let output = run(name, &case["arguments"], folder.path());
    if !output.status.success() {
        return Some(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let log = lines(&folder.path().join("log.jsonl"));
    let losses = floats(&case["losses"]);
    if log.len() != losses.len() {
        return Some(format!("{name}: {} steps of {}", log.len(), losses.len()));
    }
    let apart = log.iter().zip(&losses).map(|(line, loss)| (line["loss"].as_f64().unwrap() - loss).abs() / loss.abs());
    let loss = apart.fold(0.0, f64::max);
    for (step, (line, rates)) in log.iter().zip(case["lrs"].as_array().unwrap()).enumerate() {
        let rates: Vec<_> = rates.as_array().unwrap().iter().map(|rate| hex(rate.as_str().unwrap())).collect();
        let found = floats(&line["lr"]);
        if found != rates {
            return Some(format!("{name}, step {step}: the rates are {found:?}, and in PyTorch {rates:?}"));
        }
    }
    let end = Checkpoint::open(fixtures::path("command_runs").join(format!("{name}_end.pt"))).unwrap();
    let found = Checkpoint::open(folder.path().join("out.pt")).unwrap();
    let keys = |checkpoint: &Checkpoint| -> Vec<String> {
        let entries = checkpoint.root().as_dict().unwrap().entries().into_iter();
        entries.map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
    };
    if keys(&found) != keys(&end) {
        return Some(format!("{name}: the keys are {:?}, and in PyTorch {:?}", keys(&found), keys(&end)));
    }
    let mut far = 0.0_f64;
    for key in keys(&end) {
        let [found, expected] = [&found, &end].map(|checkpoint| checkpoint.value(&key).unwrap());
        let differs = |found: &Value, expected: &Value| {
            let [found, expected] = [found, expected].map(|value| spell(value, true));
            (found != expected).then(|| format!("{name}: {key} is {found}, and in PyTorch {expected}"))
        };
        match key.as_str() {
            key if key.starts_with("optimizer") => {
                let [found, expected] = [&found, &expected].map(optimizers);
                for (found, expected) in found.into_iter().zip(expected) {
                    let part = |name: &str| (found.get(name).unwrap(), expected.get(name).unwrap());
                    far = far.max(differ(&part("state").0, &part("state").1, name));
                    let (found, expected) = part("param_groups");
                    if let Some(differs) = differs(&found, &expected) {
                        return Some(differs);
                    }
                }
            }
            key if key.starts_with("scheduler_") => far = far.max(differ(&found, &expected, name)),
            "model_state_dict" | "scheduler" | "schedulers" | "loss" => {
                far = far.max(differ(&found, &expected, name));
            }
            _ => {
                if let Some(differs) = differs(&found, &expected) {
                    return Some(differs);
                }
            }
        }
    }
    println!("{name}: losses {loss:.1e}, weights and state {far:.1e}");
    (loss > 1e-6 || far > 1e-5).then(|| format!("{name}: losses {loss:e}, weights and state {far:e}"))
}

#[test]
fn a_run_goes_on_by_the_command_as_in_pytorch_and_is_asked_about_where_its_file_leaves_it_open() {
    let cases = fixtures::named_cases("command_runs/cases.json");
    let failed: Vec<_> = cases.iter().filter_map(|(name, case)| wrong(name, case)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
