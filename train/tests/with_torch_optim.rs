//! A real PyTorch takes up what was trained here and ends where its own run ended. `REKINDLE_TORCH` names a Python that has
//! torch; without it the test says that it was skipped.

use std::path::Path;
use std::process::Command;

use common::runs::Run;

mod common;

#[test]
fn pytorch_goes_on_from_every_elementwise_optimizer_as_if_the_run_had_not_moved() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Run> = Run::all().into_iter().filter(Run::is_elementwise).collect();
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
    for line in printed.lines() {
        let (name, apart) = line.split_once(' ').unwrap();
        let apart: Vec<f64> = apart.split(' ').map(|number| number.parse().unwrap()).collect();
        // The noise of PyTorch itself over 50 steps is a few 1e-7 (`noise` in tests/fixtures/optim/runs.json).
        assert!(apart.len() == 3 && apart.iter().all(|apart| *apart < 1e-5), "{name}: {apart:?}");
    }
}
