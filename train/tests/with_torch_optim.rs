//! A real PyTorch takes up what was trained here and ends where its own run ended: 5 steps there, 25 here, 25 there again. `REKINDLE_TORCH` names a Python that has
//! torch; without it the test says that it was skipped.

use std::path::Path;
use std::process::Command;

use common::runs::{LOSS, Run, WEIGHTS};

mod common;

#[test]
fn pytorch_goes_on_from_every_optimizer_as_if_the_run_had_not_moved() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let runs = Run::all();
    for run in &runs {
        let outcome = run.go_on(25);
        outcome.checkpoint.save(folder.path().join(format!("{}.pt", run.name))).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/with_torch/optim.py");
    let output = Command::new(python)
        .args([&*script, folder.path()])
        .args(runs.iter().map(|run| &run.name))
        .envs([("PYTHONDONTWRITEBYTECODE", "1"), ("OMP_NUM_THREADS", "1")])
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}");
    assert_eq!(printed.lines().count(), runs.len());
    for (line, run) in printed.lines().zip(&runs) {
        let numbers = line.strip_prefix(&format!("{} ", run.name)).unwrap();
        let apart: Vec<f64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let [loss, weights, state] = apart[..] else { panic!("{line}") };
        assert!(loss < LOSS && weights < WEIGHTS && state < run.state_limit(), "{line}");
    }
}
