//! `rekindle resume` on the digits run: PyTorch's own losses, step for step.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Tensor};
use rekindle_testing::fixtures::{self, digits, lines};

use crate::{command, refusal, run_pt};

pub(crate) fn resume(checkpoint: &Path, arguments: &[&str], folder: &Path) -> Output {
    let all = [Path::new("resume"), checkpoint].into_iter().chain(arguments.iter().map(Path::new));
    command(all).current_dir(folder).output().unwrap()
}

#[test]
fn the_digits_run_goes_on_as_if_it_had_not_moved() {
    let folder = tempfile::tempdir().unwrap();
    let output = resume(&run_pt(), &["--log", "log.jsonl"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let ours = lines(&folder.path().join("log.jsonl"));
    let theirs = lines(&digits("expect.jsonl"));
    assert_eq!((ours.len(), theirs.len()), (299, 299));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours["step"], theirs["step"]);
        // Learning rates are computed in double precision, in PyTorch's order: equal to the last bit.
        assert_eq!(ours["lr"], theirs["lr"], "step {}", ours["step"]);
        let (a, b) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
        // PyTorch differs from itself by 4e-7 (another number of threads) to 1.1e-6 (without oneDNN) on this run.
        assert!((a - b).abs() <= 5e-6 * b.abs(), "step {}: {a} here, {b} in PyTorch", ours["step"]);
    }

    // What it wrote goes on where PyTorch would have been: the same generator, counters and layout.
    let resumed = Checkpoint::open(folder.path().join("run-resumed.pt")).unwrap();
    let original = Checkpoint::open(run_pt()).unwrap();
    assert_eq!(resumed.get::<i64>("epoch").unwrap(), 26);
    assert_eq!(resumed.get::<i64>("scheduler_state_dict.last_epoch").unwrap(), 26);
    assert_eq!(resumed.get::<f64>("optimizer_state_dict.state[0].step").unwrap(), 598.0);
    let truth = fixtures::json("digits/batches.json");
    let rng = resumed.value("rng_state").unwrap().as_tensor().unwrap().to_le_bytes().unwrap();
    assert_eq!(
        fixtures::sha256(&rng),
        truth["rng_state_after_epoch"]["26"]["sha256"],
        "the generator stands where PyTorch's stands"
    );
    let names = |checkpoint: &Checkpoint| -> Vec<String> {
        checkpoint.tensors().unwrap().into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&resumed), names(&original));
}

/// A copy of run.pt with one thing changed, in a folder that has the settings beside it.
pub(crate) fn changed(folder: &Path, change: impl FnOnce(&Checkpoint)) -> PathBuf {
    for name in ["rekindle.toml", "digits.csv.gz", "expect.jsonl"] {
        std::fs::copy(digits(name), folder.join(name)).unwrap();
    }
    let checkpoint = Checkpoint::open(run_pt()).unwrap();
    change(&checkpoint);
    let path = folder.join("changed.pt");
    checkpoint.save_with(&path, &SaveOptions::default()).unwrap();
    path
}

#[test]
fn a_missing_key_and_a_shape_that_differs_are_one_sentence_each() {
    let folder = tempfile::tempdir().unwrap();
    let missing = changed(folder.path(), |checkpoint| {
        checkpoint.value("model_state_dict").unwrap().as_dict().unwrap().remove("fc2.bias").unwrap();
    });
    let text = refusal(&resume(&missing, &[], folder.path()));
    assert!(text.contains("fc2.bias") && text.contains("changed.pt"), "{text}");

    let other = changed(folder.path(), |checkpoint| {
        checkpoint.set("model_state_dict.fc2.bias", Tensor::from_vec(&[3], vec![0.0_f32; 3]).unwrap()).unwrap();
    });
    let text = refusal(&resume(&other, &[], folder.path()));
    assert!(text.contains("fc2.bias") && text.contains("[84]") && text.contains("[3]"), "{text}");

    let moment = changed(folder.path(), |checkpoint| {
        let wrong = Tensor::from_vec(&[3], vec![0.0_f32; 3]).unwrap();
        checkpoint.set("optimizer_state_dict.state[0].exp_avg", wrong).unwrap();
    });
    let text = refusal(&resume(&moment, &[], folder.path()));
    assert!(text.contains("conv1.weight") && text.contains("exp_avg"), "{text}");

    let headless = changed(folder.path(), |checkpoint| {
        checkpoint.root().as_dict().unwrap().remove("optimizer_state_dict").unwrap();
    });
    let text = refusal(&resume(&headless, &[], folder.path()));
    assert!(text.contains("optimizer"), "{text}");
    assert!(!folder.path().join("changed-resumed.pt").exists());
}

#[test]
fn an_existing_result_is_not_replaced_and_said_so_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run-resumed.pt"), "precious").unwrap();
    let text = refusal(&resume(&run_pt(), &[], folder.path()));
    assert!(text.contains("run-resumed.pt") && text.contains("--overwrite"), "{text}");
    assert_eq!(std::fs::read(folder.path().join("run-resumed.pt")).unwrap(), b"precious");
}

#[test]
fn flags_win_over_the_settings_beside_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = resume(&run_pt(), &["--steps", "2", "--log", "log.jsonl", "--save", "two.pt"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines(&folder.path().join("log.jsonl")).len(), 2);
    assert!(folder.path().join("two.pt").exists());
}

#[test]
fn a_device_that_is_not_built_in_names_the_feature() {
    if cfg!(feature = "cuda") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = refusal(&resume(&run_pt(), &["--device", "cuda:0"], folder.path()));
    assert!(text.contains("--features cuda"), "{text}");
}

/// A log on a full disk is what fails here after the first step.
#[cfg(target_os = "linux")]
#[test]
fn what_was_done_before_a_step_failed_is_saved_beside_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--log", "/dev/full", "--overwrite", "--save", "out.pt"];
    let output = resume(&run_pt(), &arguments, folder.path());
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains("/dev/full: cannot write the log"), "{text}");
    assert!(last.ends_with("what was done until then is in out-until-step-300.pt"), "{text}");
    assert!(!folder.path().join("out.pt").exists());
    let rescued = Checkpoint::open(folder.path().join("out-until-step-300.pt")).unwrap();
    assert_eq!(rescued.get::<f64>("optimizer_state_dict.state[0].step").unwrap(), 300.0);
}
