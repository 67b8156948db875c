//! A real PyTorch opens what Rust wrote. `REKINDLE_TORCH` names a Python that has torch; without it each test says that it
//! was skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle::Checkpoint;
use rekindle::recorder::checkpoint::SaveOptions;

/// The Python to use, or a loud word that there is none.
fn torch() -> Option<PathBuf> {
    let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
    }
    python
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of `tests/with_torch`/ and gives what it printed; a script that fails, fails the test.
fn run(python: &Path, script: &str, arguments: &[&Path]) -> String {
    let output = Command::new(python)
        .arg(root().join("tests/with_torch").join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{script} {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Reads a file, writes it again unchanged, and has PyTorch compare the two.
fn round_trip(python: &Path, file: &Path, plain: bool) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    let options = SaveOptions::default().allow_objects(!plain);
    Checkpoint::open(file).unwrap().save_with(&copy, &options).unwrap();
    let unsafe_flag = Path::new("--unsafe");
    let arguments = [file, &copy, unsafe_flag];
    run(python, "compare.py", &arguments[..if plain { 2 } else { 3 }]);
}

#[test]
fn run_pt_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(python) = torch() else { return };
    round_trip(&python, &root().join("examples/digits/run.pt"), true);
}

#[test]
fn every_zip_fixture_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(python) = torch() else { return };
    let fixtures = root().join("tests/fixtures/zip");
    for name in ["tutorial", "state_dict", "tied", "dtypes", "no_crc"] {
        round_trip(&python, &fixtures.join(name).with_extension("pt"), true);
    }
    for name in ["exotic", "values", "shared", "module"] {
        round_trip(&python, &fixtures.join(name).with_extension("pt"), false);
    }
}

#[test]
fn pytorch_goes_on_from_the_resumed_run_as_if_it_had_not_moved() {
    let Some(python) = torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let resumed = folder.path().join("run-resumed.pt");
    let status = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["resume", "examples/digits/run.pt", "--save"])
        .arg(&resumed)
        .current_dir(root())
        .status()
        .unwrap();
    assert!(status.success());
    let train = root().join("examples/digits/train.py");
    let truth = root().join("tests/fixtures/digits/after.jsonl");
    let printed = run(&python, "losses.py", &[&train, &resumed, Path::new("29"), &truth]);
    let (apart, steps) = printed.trim().split_once(' ').unwrap();
    println!("PyTorch's losses after Rust: {apart} apart over {steps} steps");
    assert!(steps.parse::<usize>().unwrap() >= 50);
    // PyTorch differs from itself by 4e-7 (another number of threads) to 1.1e-6 (without oneDNN) over the 299 steps before.
    assert!(apart.parse::<f64>().unwrap() < 5e-6, "{printed}");
}
