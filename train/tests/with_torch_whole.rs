//! A real PyTorch goes on where Rust left off: 5 steps there, 25 here, 25 there again. `REKINDLE_TORCH` names a Python that
//! has torch; without it the test says that it was skipped.

use std::path::Path;
use std::process::Command;

use common::runs::{Run, WHOLE_RUNS};
use serde_json::Value as Json;

mod common;

#[test]
fn pytorch_goes_on_after_25_steps_as_if_it_had_not_moved() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folder = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for &(name, weights_limit, state_limit) in WHOLE_RUNS {
        let path = folder.path().join(name).with_extension("pt");
        Run::named(name).go_on(25).checkpoint.save(&path).unwrap();
        let script = Command::new(&python)
            .arg(tests.join("with_torch/whole.py"))
            .args([Path::new(name), &path])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("the Python of REKINDLE_TORCH starts");
        assert!(script.status.success(), "{name}\n{}", String::from_utf8_lossy(&script.stderr));
        let found: Json = serde_json::from_slice(&script.stdout).unwrap();
        println!("{name}: {found}");
        let apart = |what: &str| found[what].as_f64().unwrap();
        if apart("losses") > 1e-6 || apart("weights") > weights_limit || apart("state") > state_limit {
            failed.push(format!("{name}: {found}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
