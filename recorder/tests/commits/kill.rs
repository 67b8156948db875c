//! A process killed while it saves, at any moment: the checkpoint that was there is whole, or the new one is, and the next
//! save leaves nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::{StateDict, Tensor};

use crate::STARTS;

const KILLS: u64 = 50;
const TENSORS: usize = 6;
const TARGET: &str = "REKINDLE_TEST_SAVE_TARGET";

/// A checkpoint of 1.5 MB whose every element is its number.
fn checkpoint(number: u8) -> Checkpoint {
    let tensor = |i| (format!("layer.{i}"), Tensor::from_vec(&[250_000], vec![number; 250_000]).unwrap());
    Checkpoint::from(StateDict::from_iter((0..TENSORS).map(tensor)).to_value())
}

/// The number of a checkpoint that is whole.
fn number(path: &Path, after: &str) -> u8 {
    let opened = Checkpoint::open(path).unwrap_or_else(|error| panic!("{after}: {error}"));
    let state_dict = opened.state_dict("").unwrap();
    assert_eq!(state_dict.len(), TENSORS, "{after}");
    let elements: Vec<u8> = state_dict.iter().flat_map(|(_, tensor)| tensor.to_vec::<u8>().unwrap()).collect();
    assert_eq!(elements.len(), TENSORS * 250_000, "{after}");
    assert!(elements.iter().all(|element| *element == elements[0]), "{after}: it is half of each");
    elements[0]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Which files there are, in a folder or by itself: a file that takes another's place is another one.
fn files(path: &Path) -> Vec<u64> {
    let here = path.to_owned();
    let entries = fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let paths: Vec<PathBuf> = entries.unwrap_or_else(|_| vec![here]);
    paths
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.ino())
        .collect()
}

/// Whether it is no file of a checkpoint's.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') && name != ".metadata"
}

/// Saves over and over, in a child process that runs the test `name`, and kills it.
fn kill(name: &str, container: Format, shards: Option<u64>) {
    let options = SaveOptions::default().format(container).max_shard_size(shards);
    if let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) {
        // This is the child.
        let mut number = number(&target, "in the child");
        loop {
            number = number.wrapping_add(1);
            checkpoint(number).save_with(&target, &options).unwrap();
        }
    }
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("run");
    checkpoint(0).save_with(&target, &options).unwrap();
    if target.is_dir() {
        fs::write(target.join("config.json"), "{}").unwrap();
    }
    let (mut replaced, mut litter) = (0, 0);
    for kill in 0..KILLS {
        let before = number(&target, "before");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(TARGET, &target)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Every other one is killed some time after its first save, the others at a moment of their start or of that save.
        let stamp = files(&target);
        while kill % 2 == 0 && files(&target) == stamp && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = number(&target, &format!("{container}, after kill {kill}"));
        replaced += usize::from(after != before);
        let mut rest: Vec<String> = names(folder.path()).into_iter().filter(|name| name != "run").collect();
        if target.is_dir() {
            rest.extend(names(&target).into_iter().filter(|name| is_hidden(name)));
        }
        let staged = |name: &String| {
            name.starts_with(".run.rekindle-") && (name.ends_with(".tmp") || name.ends_with(".partial"))
        };
        assert!(rest.iter().all(staged), "{rest:?}");
        litter += usize::from(!rest.is_empty());
        if target.is_dir() {
            assert!(target.join("config.json").exists(), "after kill {kill} another file of the folder is gone");
        }
    }
    assert!(replaced >= 20, "{container}: the children saved only {replaced} times");
    checkpoint(7).save_with(&target, &options).unwrap();
    println!("{container}: replaced {replaced} times, after {litter} kills something was left until the next save");
    assert_eq!(number(&target, "at the end"), 7);
    assert_eq!(names(folder.path()), ["run"]);
    if target.is_dir() {
        let inside = names(&target);
        // The files of the checkpoint and somebody else's.
        let expected = match (container, shards) {
            (Format::HF, Some(_)) => TENSORS + 2,
            (Format::DCP, _) => 3,
            _ => 2,
        };
        assert!(inside.len() == expected && !inside.iter().any(|name| is_hidden(name)), "{inside:?}");
    }
}

#[test]
fn a_zip_archive_is_whole_after_fifty_kills() {
    kill("kill::a_zip_archive_is_whole_after_fifty_kills", Format::ZIP, None);
}

#[test]
fn a_stream_is_whole_after_fifty_kills() {
    kill("kill::a_stream_is_whole_after_fifty_kills", Format::LEGACY, None);
}

#[test]
fn a_folder_with_one_file_is_whole_after_fifty_kills() {
    kill("kill::a_folder_with_one_file_is_whole_after_fifty_kills", Format::HF, None);
}

#[test]
fn a_folder_of_shards_is_whole_after_fifty_kills() {
    kill("kill::a_folder_of_shards_is_whole_after_fifty_kills", Format::HF, Some(250_000));
}

#[test]
fn a_distributed_checkpoint_is_whole_after_fifty_kills() {
    kill("kill::a_distributed_checkpoint_is_whole_after_fifty_kills", Format::DCP, None);
}
