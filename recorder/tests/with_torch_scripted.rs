//! A real PyTorch runs the programs whose weights were replaced here, and unpickles the whole modules that were written here.
//! `REKINDLE_TORCH` names a Python that has torch; without it each test says that it was skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Container;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{StateDict, Tensor};

/// The Python to use, or a loud word that there is none.
fn torch() -> Option<PathBuf> {
    let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
    }
    python
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/scripted").join(name)
}

/// Runs a script of a folder of tests and gives what it printed; a script that fails, fails the test.
fn run(python: &Path, script: &Path, arguments: &[&Path]) -> String {
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every number a little another one: the lowest bit of every byte turned round, so that names that share memory still agree.
fn other(tensor: &Tensor) -> Tensor {
    let bytes: Vec<u8> = tensor.to_le_bytes().unwrap().iter().map(|byte| byte ^ 1).collect();
    let plain = Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), bytes).unwrap();
    let quantizer = tensor.parts().quantizer.clone();
    Tensor::new(TensorParts { quantizer, ..plain.parts().clone() }).unwrap()
}

#[test]
fn pytorch_computes_with_the_weights_that_were_put_into_an_archive() {
    let Some(python) = torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/with_torch/scripted.py");
    let mut arguments = Vec::new();
    for file in [
        "script.pt",
        "script113.pt",
        "mobile.ptl",
        "mobile113.ptl",
        "traced.pt",
        "quantised.pt",
        "quantised113.pt",
        "program.pt2",
        "views.pt2",
        "program28.pt2",
        "program_old.pt2",
    ] {
        let weights = Checkpoint::open(fixture(file)).unwrap().state_dict("").unwrap();
        let new: StateDict = weights.iter().map(|(name, tensor)| (name.to_owned(), other(tensor))).collect();
        let new = Checkpoint::from(new.to_value());
        let (replaced, state_dict) = (folder.path().join(file), folder.path().join(format!("{file}.new.pt")));
        new.save_with(&replaced, &SaveOptions::default().template(fixture(file))).unwrap();
        new.save_with(&state_dict, &SaveOptions::default().container(Container::Zip)).unwrap();
        arguments.extend([fixture(file), replaced, state_dict]);
    }
    let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
    let printed = run(&python, &script, &arguments);
    assert_eq!(printed.trim(), "11 archives compute with their new weights");
}

#[test]
fn a_whole_module_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(python) = torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    let options = SaveOptions::default().allow_objects(true);
    Checkpoint::open(fixture("whole.pt")).unwrap().save_with(&copy, &options).unwrap();
    run(&python, &root().join("tests/with_torch/compare.py"), &[&fixture("whole.pt"), &copy, Path::new("--unsafe")]);
}
