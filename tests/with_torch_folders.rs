//! transformers' Trainer, accelerate and PyTorch themselves go on from the folders that the command wrote. `REKINDLE_TORCH` names a Python
//! that has torch, transformers and accelerate; without it the test says that it was skipped.

use std::path::Path;
use std::process::Command;

#[test]
fn pytorch_loads_the_distributed_checkpoints_that_the_command_wrote() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (case, told) in [("titan", Some("transformers.linear(warmup=3, total=20)")), ("groups", None), ("nested", None)]
    {
        let (folder, case) = (tempfile::tempdir().unwrap(), root.join("tests/fixtures/titan").join(case));
        let after = folder.path().join("out");
        let resumed = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args(["resume", "--model", "mlp", "--config", "sizes=5,8,3", "--batches"])
            .arg(case.join("batches.pt"))
            .arg(case.join("checkpoint"))
            .arg("--save")
            .arg(&after)
            .args(told.iter().flat_map(|schedule| ["--scheduler", schedule]))
            .output()
            .unwrap();
        assert!(resumed.status.success(), "{case:?}: {}", String::from_utf8_lossy(&resumed.stderr));
        let output = Command::new(&python)
            .arg(root.join("tests/with_torch/resume_titan.py"))
            .args([&case, &after])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{case:?}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8_lossy(&output.stdout);
        let result = printed.lines().find_map(|line| line.strip_prefix("RESULT ")).expect("a result");
        println!("{case:?}: states of the optimizer, weights apart: {result}");
        let numbers: Vec<f64> = result.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert!(matches!(numbers[..], [4.0, weights] if weights < 1e-5), "{case:?}: {result}");
    }
}

#[test]
fn the_trainer_and_accelerate_go_on_from_what_the_command_wrote() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch, transformers and accelerate");
        return;
    };
    let has = Command::new(&python).args(["-c", "import transformers, accelerate"]).output();
    if !has.expect("the Python of REKINDLE_TORCH starts").status.success() {
        eprintln!("skipped: the Python of REKINDLE_TORCH has no transformers or no accelerate");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for case in ["hf-cosine", "hf-shards", "accelerate"] {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) =
            (root.join("tests/fixtures/folders").join(case).join("checkpoint"), folder.path().join("out"));
        let batches = before.with_file_name("batches.pt");
        let resumed = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args(["resume", "--model", "mlp", "--config", "sizes=5,8,3", "--batches"])
            .args([batches.as_path(), before.as_path(), Path::new("--save"), after.as_path()])
            .output()
            .unwrap();
        assert!(resumed.status.success(), "{case}: {}", String::from_utf8_lossy(&resumed.stderr));

        let output = Command::new(&python)
            .arg(root.join("tests/with_torch/resume_folders.py"))
            .arg(case)
            .args([&before, &after])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8_lossy(&output.stdout);
        let result = printed.lines().find_map(|line| line.strip_prefix("RESULT ")).expect("a result");
        println!("{case}: steps, losses and weights apart after the framework went on: {result}");
        let numbers: Vec<f64> = result.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert!(matches!(numbers[..], [4.0, losses, weights] if losses < 1e-6 && weights < 1e-5), "{case}: {result}");
    }
}
