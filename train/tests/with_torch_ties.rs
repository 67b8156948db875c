//! A real PyTorch takes a tied model's run back. `REKINDLE_TORCH` names a Python that has torch; without it the test says that
//! it was skipped.

use std::path::Path;
use std::process::Command;

use tied_gpt::{Gpt, Headless, resumed};

#[allow(dead_code)] // the rest is for the tests without PyTorch
mod tied_gpt;

#[test]
fn pytorch_goes_on_from_a_tied_run_strictly_and_with_one_tensor() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    resumed::<Gpt>().0.save(folder.path().join("head.pt")).unwrap();
    resumed::<Headless>().0.save(folder.path().join("headless.pt")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/with_torch/ties.py");
    let output = Command::new(python)
        .args([&*script, folder.path()])
        .envs([("PYTHONDONTWRITEBYTECODE", "1"), ("OMP_NUM_THREADS", "1")])
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
