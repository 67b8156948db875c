//! Epochs of a data set that are not those of the checkpoint: asked about before the first step, with answers that work.

use std::path::{Path, PathBuf};

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::command;
use crate::went_on::text;

/// AdamW's run of four steps, with this epoch in its file.
fn saved(folder: &Path, epoch: i64) -> PathBuf {
    let lit = Checkpoint::open(fixtures::path("averages").join("lit.pt")).unwrap();
    let weights = lit.value("state_dict").unwrap().as_dict().unwrap().clone();
    let model: Dict = ["0.weight", "0.bias", "2.weight", "2.bias"]
        .into_iter()
        .map(|name| (name, weights.get(&format!("model.diffusion_model.{name}")).unwrap()))
        .collect();
    let root: Dict = [
        ("model", Value::from(model)),
        ("optimizer", lit.value("optimizer_states[0]").unwrap()),
        ("epoch", Value::from(epoch)),
    ]
    .into_iter()
    .collect();
    let path = folder.join("run.pt");
    Checkpoint::from(root).save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
    path
}

/// A data set of so many samples.
fn data(folder: &Path, samples: usize) -> PathBuf {
    let inputs = (0..7_u8).map(|i| f32::from(i) - 3.0).cycle().take(samples * 5).collect();
    let targets = (0..3_i64).cycle().take(samples).collect();
    let root: Dict = [
        ("inputs", Value::from(Tensor::from_vec::<f32>(&[samples, 5], inputs).unwrap())),
        ("targets", Value::from(Tensor::from_vec::<i64>(&[samples], targets).unwrap())),
    ]
    .into_iter()
    .collect();
    let path = folder.join("data.pt");
    Checkpoint::from(root).save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
    path
}

/// Whether it is done, what is said, and how many steps were made; `plan` must say the same.
fn epoch(folder: &Path, counted: i64, samples: usize, answer: &[&str]) -> (bool, String, usize) {
    let (path, data) = (saved(folder, counted), data(folder, samples));
    let size = ["--batch-size", "2"];
    let size = if answer.contains(&"--batch-size") { &[][..] } else { &size[..] };
    let told = ["--model", "mlp", "--config", "sizes=5,8,3", "--save", "out.pt", "--log", "log.jsonl", "--overwrite"];
    let run = |verb: &str| {
        let fixed = [Path::new(verb), &path, Path::new("--data"), &data].map(Path::to_path_buf);
        let all = fixed.into_iter().chain(told.iter().chain(size).chain(answer).map(PathBuf::from));
        command(all).current_dir(folder).output().unwrap()
    };
    let (planned, output) = (run("plan"), run("resume"));
    assert_eq!(planned.status.success(), output.status.success(), "{}", text(&planned.stdout));
    let steps = std::fs::read_to_string(folder.join("log.jsonl")).unwrap_or_default().lines().count();
    (output.status.success(), text(&output.stderr), steps)
}

#[test]
fn an_epoch_of_more_batches_than_the_optimizer_made_steps_is_asked_about_and_every_answer_works() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let (done, said, steps) = epoch(folder, 1, 32, &[]);
    let what = "the file tells of 4 steps and of epoch 1, and an epoch of these data has 16 batches";
    assert!(!done && steps == 0 && said.contains(what), "{said}");
    for (answer, made) in [(["--accumulate", "4"], 4), (["--batch-size", "8"], 4), (["--accumulate", "1"], 16)] {
        assert!(said.contains(&answer.join(" ")), "{said}");
        let (done, said, steps) = epoch(folder, 1, 32, &answer);
        assert!(done && steps == made, "{steps}: {said}");
    }
    // Two epochs of two steps.
    let (done, said, _) = epoch(folder, 2, 32, &[]);
    assert!(!done && said.contains("--accumulate 8") && said.contains("--batch-size 16"), "{said}");
    // Of batches of another size, or other data, nothing is asked that nobody could answer: it is said.
    for (counted, samples) in [(5, 32), (1, 2)] {
        let (done, said, _) = epoch(folder, counted, samples, &[]);
        assert!(done && said.contains("why an epoch of these data has"), "{said}");
    }
}

#[test]
fn a_last_batch_that_was_left_out_is_asked_about() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    // Finished epochs, and the number of the last one.
    for counted in [1, 0] {
        let (done, said, _) = epoch(folder, counted, 9, &[]);
        assert!(!done && said.contains("say --drop-last where the last batch of an epoch was left out"), "{said}");
        let (done, said, steps) = epoch(folder, counted, 9, &["--drop-last"]);
        assert!(done && steps == 4, "{said}");
    }
}

#[test]
fn epochs_that_agree_and_files_from_amid_one_are_not_asked_about() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    for (counted, samples) in [(1, 8), (0, 8), (2, 4), (1, 4), (0, 20), (1, 6)] {
        let (done, said, _) = epoch(folder, counted, samples, &[]);
        assert!(done, "epoch {counted}, {samples} samples: {said}");
    }
}
