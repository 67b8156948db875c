//! `--amp`: runs of PyTorch within `torch.autocast` go on within it: `tests/fixtures/amp_runs`.

use std::path::Path;
use std::process::Output;

use rekindle::{Checkpoint, Value};
use rekindle_testing::fixtures::{self, floats, lines};
use serde_json::Value as Json;

use crate::resume::resume;

fn run(name: &str, case: &Json, more: &[&str], folder: &Path) -> Output {
    let file = |argument: &Json| {
        let argument = argument.as_str().unwrap();
        let path = fixtures::path("amp_runs").join(argument);
        if path.is_file() { path.display().to_string() } else { argument.to_owned() }
    };
    let mut all: Vec<String> = case["arguments"].as_array().unwrap().iter().map(file).collect();
    all.extend(["--optimizer", more[0], "--log", "log.jsonl", "--save", "out.pt", "--overwrite"].map(str::to_owned));
    all.extend(more[1..].iter().copied().map(str::to_owned));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    resume(&fixtures::path("amp_runs").join(format!("{name}.pt")), &all, folder)
}

fn optimizer(name: &str) -> &'static str {
    if name == "mlp_overflow" || name == "program_float16" { "SGD" } else { "AdamW" }
}

/// How far apart the losses of the log are from PyTorch's.
fn apart(folder: &Path, case: &Json) -> f64 {
    let (log, losses) = (lines(&folder.join("log.jsonl")), floats(&case["losses"]));
    assert_eq!(log.len(), losses.len());
    let apart = log.iter().zip(&losses).map(|(line, loss)| (line["loss"].as_f64().unwrap() - loss).abs() / loss.abs());
    apart.fold(0.0, f64::max)
}

#[test]
fn runs_within_autocast_go_on_within_it() {
    let cases = fixtures::json("amp_runs/cases.json");
    for (name, case) in cases.as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(name, case, &[optimizer(name)], folder.path());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let (noise, single) = (case["noise"].as_f64().unwrap(), case["single"].as_f64().unwrap());
        let found = apart(folder.path(), case);
        println!(
            "{name}: losses {found:.1e} apart; PyTorch with and without oneDNN {noise:.1e}, without autocast {single:.1e}"
        );
        assert!(found <= (10.0 * noise).max(1e-6), "{name}: {found:.1e} apart, PyTorch itself {noise:.1e}");
        if single > 10.0 * noise {
            assert!(found < single, "{name}: no nearer than without autocast: {found:.1e}, {single:.1e}");
        }
        // The scaler has come as far as PyTorch's.
        let end = Checkpoint::open(folder.path().join("out.pt")).unwrap();
        let expected = case["scaler"].as_object().unwrap();
        assert_eq!(end.value("scaler_state_dict").is_ok(), !expected.is_empty(), "{name}");
        for (key, number) in expected {
            let found = end.value(&format!("scaler_state_dict.{key}")).unwrap();
            #[allow(clippy::cast_precision_loss)] // small numbers
            let found = match found {
                Value::Float(float) => float,
                Value::Int(int) => int as f64,
                other => panic!("{name}: {key} is {other:?}"),
            };
            assert_eq!(Some(found), number.as_f64(), "{name}: {key}");
        }
        // Weights stay as they are.
        let weight = if name.starts_with("mlp") { "model_state_dict.0.weight" } else { "model_state_dict.head.weight" };
        assert_eq!(end.value(weight).unwrap().as_tensor().unwrap().dtype().to_string(), "float32", "{name}");
    }
}

#[test]
fn the_plan_says_that_it_computes_within_autocast_or_what_told_that_pytorch_did() {
    let cases = fixtures::json("amp_runs/cases.json");
    let folder = tempfile::tempdir().unwrap();
    let mut case = cases["mlp_float16"].clone();
    let said = String::from_utf8(run("mlp_float16", &case, &["AdamW", "--plan"], folder.path()).stdout).unwrap();
    assert!(said.contains("computed as within torch.autocast in float16, by --amp"), "{said}");
    assert!(!said.contains("not scaled"), "{said}");
    let said = String::from_utf8(run("mlp_bfloat16", &case, &["AdamW", "--plan"], folder.path()).stdout).unwrap();
    assert!(said.contains("gradients are not scaled, as there is no GradScaler in the file"), "{said}");
    let arguments = case["arguments"].as_array_mut().unwrap();
    arguments.truncate(arguments.len() - 2);
    let said = String::from_utf8(run("mlp_float16", &case, &["AdamW", "--plan"], folder.path()).stdout).unwrap();
    assert!(said.contains("--amp f16 goes on with it"), "{said}");
}
