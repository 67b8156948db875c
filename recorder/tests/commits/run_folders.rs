//! A process killed while it writes the folder of a run, such as transformers' `checkpoint-500/`: the folder that was there is
//! whole, or the new one is, and a new one is whole or not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::{Dict, StateDict, Tensor, Value};

use crate::STARTS;

const KILLS: u64 = 20;
const TARGET: &str = "REKINDLE_TEST_RUN_FOLDER";
/// What changes from one save to the next: everything but `config.json`, a file of Python's, and a folder inside.
const CHANGING: [&str; 4] = ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"];
const KEPT: [&str; 3] = ["config.json", "training_args.bin", "runs/events"];

/// A run's folder, in which every number is this one.
fn content(number: u8) -> Value {
    let tensor = || Tensor::from_vec(&[300_000], vec![number; 300_000]).unwrap();
    let state = |key: &str| Dict::from_iter([(key, Value::from(tensor()))]);
    let model = StateDict::from_iter([("weight".to_owned(), tensor()), ("bias".to_owned(), tensor())]).to_value();
    let trainer = Dict::from_iter([("global_step", Value::from(i64::from(number))), ("log_history", Value::list([]))]);
    let scheduler = Dict::from_iter([("last_epoch", Value::from(i64::from(number)))]);
    let files: [Value; 4] = [model, state("exp_avg").into(), scheduler.into(), trainer.into()];
    CHANGING.into_iter().zip(files).collect::<Dict>().into()
}

fn first(path: &Path) {
    let options = SaveOptions::default().format(rekindle_recorder::Format::RUN_FOLDER);
    Checkpoint::from(content(0)).save_with(path, &options).unwrap();
    fs::create_dir(path.join("runs")).unwrap();
    KEPT.iter().for_each(|name| fs::write(path.join(name), "as it was").unwrap());
}

/// The number of a folder that is whole; `None` where none is there.
fn number(path: &Path, after: &str) -> Option<u8> {
    path.exists().then(|| {
        let opened = Checkpoint::open(path).unwrap_or_else(|error| panic!("{after}: {error}"));
        let tensor = |place: &str| opened.get::<Tensor>(place).unwrap().to_vec::<u8>().unwrap();
        let mut numbers: Vec<u8> = Vec::new();
        for place in ["['model.safetensors'].weight", "['model.safetensors'].bias", "['optimizer.pt'].exp_avg"] {
            numbers.extend(tensor(place));
        }
        for place in ["['scheduler.pt'].last_epoch", "['trainer_state.json'].global_step"] {
            numbers.push(u8::try_from(opened.get::<i64>(place).unwrap()).unwrap());
        }
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{after}: the folder is half of each");
        for name in KEPT {
            assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "as it was", "{after}: {name}");
        }
        numbers[0]
    })
}

/// The run that this folder holds, one number further on.
fn advance(from: &Path, to: &Path) {
    let opened = Checkpoint::open(from).unwrap();
    let next = number(from, "in the child").unwrap().wrapping_add(1);
    for (key, value) in content(next).as_dict().unwrap().entries() {
        opened.set(&format!("['{}']", key.as_str().unwrap()), value).unwrap();
    }
    opened.save_with(to, &SaveOptions::default().allow_objects(true)).unwrap();
}

fn child(test: &str, target: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(TARGET, target);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Names in a folder but for those that a save that was killed leaves until the next one.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.contains(".rekindle-")).collect();
    names.sort();
    names
}

#[test]
fn a_run_s_folder_that_is_replaced_is_whole_after_kills_at_any_moment() {
    if let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) {
        loop {
            advance(&target, &target);
        }
    }
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("checkpoint-500");
    first(&target);
    let mut replaced = 0;
    for kill in 0..KILLS {
        let before = number(&target, "before");
        let name = "run_folders::a_run_s_folder_that_is_replaced_is_whole_after_kills_at_any_moment";
        let mut child = child(name, &target);
        // Every other one is killed some time after its first save, the others at a moment of their start or of that save.
        while kill % 2 == 0 && number(&target, "meanwhile") == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        replaced += usize::from(number(&target, &format!("after kill {kill}")) != before);
        assert_eq!(names(folder.path()), ["checkpoint-500"], "after kill {kill}");
    }
    assert!(replaced >= 8, "the children saved only {replaced} times");
    advance(&target, &target);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the next save leaves nothing else");
    let mut inside = CHANGING.to_vec();
    inside.extend(["config.json", "runs", "training_args.bin"]);
    inside.sort_unstable();
    assert_eq!(names(&target), inside);
}

#[test]
fn what_a_killed_save_left_in_a_folder_is_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("checkpoint-500");
    first(&target);
    let left = target.join(".checkpoint-500.rekindle-1-abcdefgh.partial");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("optimizer.pt"), "half of it").unwrap();
    fs::write(target.join(".model.safetensors.rekindle-1-abcdefgh.tmp"), "half of it").unwrap();
    assert_eq!(number(&target, "with what was left"), Some(0));
    let opened = Checkpoint::open(&target).unwrap();
    let root = opened.root().as_dict().unwrap();
    assert!(root.entries().iter().all(|(key, _)| !key.as_str().unwrap().contains("rekindle")), "{root:?}");
}

#[test]
fn a_run_s_folder_that_is_new_is_whole_or_not_there_after_kills_at_any_moment() {
    let to = |folder: &Path, number: u8| folder.join(format!("checkpoint-{number}"));
    if let Some(folder) = std::env::var_os(TARGET).map(PathBuf::from) {
        let last = (0..=u8::MAX).rev().find(|number| to(&folder, *number).exists()).unwrap();
        for number in last..u8::MAX {
            advance(&to(&folder, number), &to(&folder, number + 1));
        }
        return;
    }
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    first(&to(folder.path(), 0));
    let mut there = 1;
    for kill in 0..KILLS {
        let name = "run_folders::a_run_s_folder_that_is_new_is_whole_or_not_there_after_kills_at_any_moment";
        let mut child = child(name, folder.path());
        while kill % 2 == 0 && names(folder.path()).len() == there && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        there = names(folder.path()).len();
        for place in 0..there {
            let place = u8::try_from(place).unwrap();
            assert_eq!(number(&to(folder.path(), place), &format!("after kill {kill}")), Some(place));
        }
    }
    assert!(there >= 8, "the children saved only {there} times");
}
