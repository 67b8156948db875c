//! What a user can do wrong in a run: one sentence that names the file, exit status 2, nothing written, and never a panic.

use std::path::Path;
use std::process::{Command, Output};

use rekindle::prelude::{Config, ReadOptions};
use rekindle::{Checkpoint, Dict, Tensor, Value};

/// So many lines of the digits, the last column of one line changed.
fn table(folder: &Path, name: &str, change: impl Fn(usize, &str) -> String) {
    let row = |i: usize| (0..64).map(|pixel| ((pixel * 7 + i) % 17).to_string()).collect::<Vec<_>>().join(",");
    let lines: Vec<String> = (0..70).map(|i| change(i, &format!("{},{}", row(i), i % 10))).collect();
    std::fs::write(folder.join(name), lines.join("\n")).unwrap();
}

fn relabelled(at: usize, label: &'static str) -> impl Fn(usize, &str) -> String {
    move |i, line| match line.rsplit_once(',') {
        Some((row, _)) if i == at => format!("{row},{label}"),
        _ => line.to_owned(),
    }
}

fn resume(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["resume", "run.pt", "--model", "digits"])
        .args(arguments)
        .env("NO_COLOR", "1")
        .current_dir(folder)
        .output()
        .unwrap()
}

/// A folder with the digits' run, without its settings, and data sets.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(root.join("examples/digits/run.pt"), folder.path().join("run.pt")).unwrap();
    table(folder.path(), "data.csv", |_, line| line.to_owned());
    folder
}

/// What is said beside the plan, which is always printed.
fn notes(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).lines().filter(|line| line.starts_with("note: ")).collect::<Vec<_>>().join("\n")
}

fn assert_refused(folder: &Path, arguments: &[&str], expected: &str) {
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let output = resume(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.lines().count() == 1 && said.contains(expected), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}: nothing was begun");
    assert_eq!(names(), before, "{arguments:?}: nothing is written");
}

const DATA: [&str; 8] = ["--data", "data.csv", "--input-shape", "1,8,8", "--divide-by", "16", "--batch-size", "16"];

/// The flags, with another value for some of them and more at the end.
fn with(changes: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut flags = DATA.to_vec();
    for (flag, value) in changes {
        match flags.iter().position(|known| known == flag) {
            Some(at) => flags[at + 1] = value,
            None => flags.extend([flag, value]),
        }
    }
    flags
}

#[test]
fn labels_that_are_no_classes_are_known_before_the_first_step() {
    let folder = folder();
    for (label, expected) in [
        ("10", "data.csv: sample 69, counted from 0: target 10 is out of bounds: there are 10 classes, from 0 to 9"),
        ("-1", "target -1 is out of bounds"),
        ("9223372036854775807", "target 9223372036854775807 is out of bounds"),
        ("99999999999999999999", "line 70: the label '99999999999999999999' is no whole number"),
        ("1.5", "line 70: the label '1.5' is no whole number"),
        ("nan", "line 70: the label 'nan' is no whole number"),
        ("", "line 70: the label '' is no whole number"),
    ] {
        table(folder.path(), "data.csv", relabelled(69, label));
        assert_refused(folder.path(), &with(&[("--steps", "1")]), expected);
    }
}

#[test]
fn tables_and_shapes_that_do_not_fit_are_known_before_the_first_step() {
    let folder = folder();
    for (changes, expected) in [
        (&[("--data", "nowhere.csv")][..], "nowhere.csv: No such file"),
        (&[("--steps", "0")], "nothing to do in 0 steps"),
        (&[("--batch-size", "0")], "--batch-size of at least 1"),
        (&[("--held-back", "70")], "data.csv: there are no samples to train on"),
        (&[("--held-back", "71")], "data.csv: 71 samples cannot be held back of 70"),
        (&[("--input-shape", "64")], "data.csv: the network 'digits' takes inputs of [batch, 1, 8, 8], not [16, 64]"),
        (&[("--input-shape", "1,1,1,8,8")], "inputs have shape [1, 1, 1, 8, 8], and the network takes [1, 8, 8]"),
        (&[("--input-shape", "0,8")], "64 numbers before the label are no input of shape [0, 8]"),
        (&[("--divide-by", "0")], "data.csv: inputs cannot be divided by 0"),
        (&[("--loss", "mse")], "data.csv: a batch's targets have shape [16], where 2 dimensions are needed"),
        (&[("--ema", "2")], "run.pt: an average's decay must be from 0 to 1, and is 2"),
        (&[("--schedule-at", "3")], "no scheduler of the run has to be told where it stands (--schedule-at)"),
        (&[("--freeze", "nothing*")], "run.pt: no parameter of the model fits 'nothing*' (--freeze)"),
        (&[("--save", "nowhere/out.pt")], "nowhere/out.pt: cannot write here"),
        (&[("--save", "out.safetensors")], "out.safetensors: writing 'epoch'"),
        (&[("--log", "nowhere/log.jsonl")], "nowhere/log.jsonl: cannot write the log"),
        (&[("--optimizer", "SGD")], "run.pt: the state dict is Adam's or AdamW's, and the optimizer is SGD"),
    ] {
        assert_refused(folder.path(), &with(changes), expected);
    }
    for (text, expected) in [("", "bad.csv: this is not a checkpoint: it is empty"), ("\n\n", "no samples to train on")]
    {
        std::fs::write(folder.path().join("bad.csv"), text).unwrap();
        assert_refused(folder.path(), &with(&[("--data", "bad.csv")]), expected);
    }
    table(folder.path(), "bad.csv", |_, line| line.split_once(',').unwrap().1.to_owned());
    let expected = "bad.csv: line 1: 63 numbers before the label are no input of shape [1, 8, 8]";
    assert_refused(folder.path(), &with(&[("--data", "bad.csv")]), expected);
    table(folder.path(), "bad.csv", |i, line| if i == 5 { format!("{line},1") } else { line.to_owned() });
    assert_refused(folder.path(), &with(&[("--data", "bad.csv")]), "bad.csv: line 6");
}

fn batches(folder: &Path, shape: &[usize], targets: Tensor) {
    let inputs = Tensor::from_vec(shape, vec![0.5_f32; shape.iter().product()]).unwrap();
    let root = Dict::from_iter([("inputs", Value::from(inputs)), ("targets", Value::from(targets))]);
    Checkpoint::from(root).save(folder.join("batches.pt")).unwrap();
}

#[test]
fn batches_made_elsewhere_are_looked_through_before_the_first_step() {
    let folder = folder();
    let classes = |shape: &[usize], last: i64| {
        let mut classes = vec![1; shape.iter().product()];
        classes.last_mut().into_iter().for_each(|class| *class = last);
        Tensor::from_vec(shape, classes).unwrap()
    };
    let images = [3, 4, 1, 8, 8];
    for (shape, targets, expected) in [
        (&images[..], classes(&[3, 4], 10), "batches.pt: sample 2, counted from 0: target 10 is out of bounds"),
        (&images, classes(&[2, 4], 1), "batches.pt: there are 3 inputs and 2 targets"),
        (&images, classes(&[3, 3], 1), "targets must have the shape of logits without dimension 1"),
        (&images, Tensor::from_vec(&[3, 4], vec![1.0_f32; 12]).unwrap(), "targets are floating-point numbers"),
        (&[3, 4, 3, 8, 8], classes(&[3, 4], 1), "takes inputs of [batch, 1, 8, 8], not [4, 3, 8, 8]"),
        (&[0, 4, 1, 8, 8], classes(&[0, 4], 1), "no samples to train on"),
        (&[3, 0, 1, 8, 8], classes(&[3, 0], 1), "no samples to train on"),
    ] {
        batches(folder.path(), shape, targets);
        assert_refused(folder.path(), &["--batches", "batches.pt"], expected);
    }
    batches(folder.path(), &images, classes(&[3, 4], -100));
    assert!(
        resume(folder.path(), &["--batches", "batches.pt"]).status.success(),
        "-100 is a target that does not count"
    );
}

#[test]
fn an_average_that_stays_as_it_is_is_said_with_the_flag_that_lets_it_go_on() {
    let folder = folder();
    let path = folder.path().join("run.pt");
    let checkpoint = Checkpoint::open(&path).unwrap();
    checkpoint.set("state_dict_ema", checkpoint.state_dict("model_state_dict").unwrap()).unwrap();
    checkpoint.save(&path).unwrap();

    let output = resume(folder.path(), &with(&[("--batch-size", "70"), ("--save", "kept.pt")]));
    let said = notes(&output.stderr);
    assert!(output.status.success() && said.starts_with("note: the checkpoint's average"), "{said}");
    assert!(said.contains("say it with --ema") && said.lines().count() == 1, "{said}");
    let output = resume(folder.path(), &with(&[("--batch-size", "70"), ("--save", "on.pt"), ("--ema", "0.5")]));
    let said = notes(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");

    let average = |name: &str| {
        let saved = Checkpoint::open(folder.path().join(name)).unwrap();
        saved.get::<Tensor>("state_dict_ema.fc3.bias").unwrap().to_f64_vec().unwrap()
    };
    let before = average("run.pt");
    assert_eq!(average("kept.pt"), before);
    assert_ne!(average("on.pt"), before);
}

#[test]
fn any_error_prints_its_sentence_and_converts_with_a_question_mark() {
    fn all(step: usize) -> rekindle::Result<()> {
        match step {
            0 => drop(Checkpoint::open("nowhere.pt")?),
            1 => drop(rekindle::random::randint(&mut rekindle::random::Generator::new(0), 3, 3, 1)?),
            2 => drop(rekindle::random::Generator::from_state(&[])?.state()),
            3 => drop(rekindle::models::Network::build("lennet", &Config::default(), &rekindle::device("cpu")?)?),
            4 => drop(rekindle::device("abacus")?),
            5 => drop(rekindle::train::log::read_log("nowhere.jsonl")?),
            6 => drop(rekindle::train::data::read_dataset("nowhere.csv", &ReadOptions::default())?),
            7 => drop("float33".parse::<rekindle::recorder::DType>()?),
            _ => drop(std::fs::read("nowhere")?),
        }
        Ok(())
    }
    for step in 0..9 {
        let error = all(step).unwrap_err();
        assert_eq!(format!("{error:?}"), error.to_string());
        let inner: Box<dyn std::error::Error> = error.into();
        assert!(!format!("{inner:?}").contains("Error("), "{inner:?}");
    }
}

#[test]
fn a_run_whose_parameters_are_all_frozen_says_so() {
    let folder = folder();
    let output = resume(folder.path(), &with(&[("--freeze", "*")]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the loss depends on no parameter that is trained"), "{said}");
}
