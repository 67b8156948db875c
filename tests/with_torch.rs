//! A real PyTorch opens what Rust wrote. `REKINDLE_TORCH` names a Python that has torch; without it each test says that it
//! was skipped.

use std::path::Path;
use std::process::Command;

use rekindle::Checkpoint;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle_testing::{Torch, fixtures};

/// Reads a file, writes it again unchanged, and has PyTorch compare the two.
fn round_trip(torch: &Torch, file: &Path, plain: bool) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    let options = SaveOptions::default().allow_objects(!plain);
    Checkpoint::open(file).unwrap().save_with(&copy, &options).unwrap();
    let unsafe_flag = Path::new("--unsafe");
    let arguments = [file, &copy, unsafe_flag];
    torch.run("compare.py", &arguments[..if plain { 2 } else { 3 }]);
}

#[test]
fn run_pt_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(torch) = Torch::find() else { return };
    round_trip(&torch, &fixtures::digits("run.pt"), true);
}

#[test]
fn every_zip_fixture_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(torch) = Torch::find() else { return };
    for name in ["tutorial", "state_dict", "tied", "dtypes", "no_crc"] {
        round_trip(&torch, &fixtures::path("zip").join(name).with_extension("pt"), true);
    }
    for name in ["exotic", "values", "shared", "module"] {
        round_trip(&torch, &fixtures::path("zip").join(name).with_extension("pt"), false);
    }
}

#[test]
fn pytorch_goes_on_from_the_resumed_run_as_if_it_had_not_moved() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let resumed = folder.path().join("run-resumed.pt");
    let status = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["resume", "examples/digits/run.pt", "--save"])
        .arg(&resumed)
        .current_dir(fixtures::root())
        .status()
        .unwrap();
    assert!(status.success());
    let train = fixtures::digits("train.py");
    let truth = fixtures::path("digits/after.jsonl");
    let printed = torch.run("losses.py", [&*train, &resumed, Path::new("29"), &truth]);
    let (apart, steps) = printed.trim().split_once(' ').unwrap();
    println!("PyTorch's losses after Rust: {apart} apart over {steps} steps");
    assert!(steps.parse::<usize>().unwrap() >= 50);
    // PyTorch differs from itself by 4e-7 (another number of threads) to 1.1e-6 (without oneDNN) over the 299 steps before.
    assert!(apart.parse::<f64>().unwrap() < 5e-6, "{printed}");
}
