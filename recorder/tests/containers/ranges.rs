//! Files that are read part by part are what they are when they are read whole.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::io::Ranges;
use rekindle_recorder::{Checkpoint, IoResultExt as _, Result, StateDict, Tensor};
use rekindle_testing::fixtures::{files, path};

/// A file in memory that remembers which parts were asked for.
#[derive(Debug)]
struct Parts {
    bytes: Bytes,
    asked: Mutex<Vec<Range<u64>>>,
    fails: bool,
}

impl Parts {
    fn of(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Parts { bytes: bytes.into(), asked: Mutex::default(), fails: false })
    }

    fn read_bytes(&self) -> u64 {
        self.asked.lock().unwrap().iter().map(|range| range.end - range.start).sum()
    }
}

impl Ranges for Parts {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.asked.lock().unwrap().push(range.clone());
        if self.fails {
            return Err(std::io::Error::other("the store is closed")).doing("cannot read the store");
        }
        // What lies outside of the file is a mistake of whoever asks.
        Ok(self.bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()))
    }
}

fn open(name: &Path, parts: &Arc<Parts>) -> Result<Checkpoint> {
    Checkpoint::open_ranges(name, Arc::clone(parts) as Arc<dyn Ranges>, &OpenOptions::default())
}

#[test]
fn every_fixture_is_the_same_whether_it_is_read_whole_or_by_parts() {
    let (mut opened, mut refused) = (0, 0);
    for file in files(&path("")) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let parts = Parts::of(bytes.clone());
        // From memory, too: an index has its shards beside it only where it is a file.
        match (Checkpoint::from_bytes(bytes), open(&file, &parts)) {
            (Ok(whole), Ok(by_parts)) => {
                assert_eq!((whole.format(), whole.bytes()), (by_parts.format(), by_parts.bytes()), "{file:?}");
                assert_eq!((whole.globals(), whole.notes()), (by_parts.globals(), by_parts.notes()), "{file:?}");
                match compare(&whole, &by_parts, Tolerance::default()) {
                    Ok(differences) => assert!(differences.is_empty(), "{file:?}: {differences:?}"),
                    // Damage in a tensor.
                    Err(error) => assert!(compare(&whole, &whole, Tolerance::default()).is_err(), "{file:?}: {error}"),
                }
                opened += 1;
            }
            (Err(_), Err(error)) => {
                assert!(error.to_string().starts_with(&*file.to_string_lossy()), "{error}");
                refused += 1;
            }
            (whole, by_parts) => panic!("{file:?}: {whole:?}, {by_parts:?}"),
        }
    }
    assert!(opened > 300 && refused > 10, "{opened} opened, {refused} refused");
}

#[test]
fn opening_reads_the_directory_and_the_pickle_and_a_tensor_itself_once() {
    let tensor = |value: f32| Tensor::from_vec(&[1 << 18], vec![value; 1 << 18]).unwrap();
    let names: Vec<String> = (0_u8..8).map(|i| format!("layer{i}.weight")).collect();
    let dict: StateDict = (0_u8..8).map(|i| (names[usize::from(i)].clone(), tensor(f32::from(i)))).collect();
    for name in ["net.pt", "net.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        Checkpoint::from(dict.clone()).save(&file).unwrap();
        let parts = Parts::of(std::fs::read(&file).unwrap());
        let checkpoint = open(Path::new(name), &parts).unwrap();
        assert!(parts.read_bytes() < 200_000, "{name}: {}", parts.read_bytes());
        let before = parts.read_bytes();
        let tensor =
            checkpoint.get::<Tensor>("layer5.weight").or_else(|_| checkpoint.get("['layer5.weight']")).unwrap();
        assert_eq!(tensor.to_vec::<f32>().unwrap(), vec![5.0; 1 << 18]);
        let moved = parts.read_bytes() - before;
        assert!((1 << 20..(1 << 20) + 4096).contains(&moved), "{name}: {moved}");
        tensor.to_vec::<f32>().unwrap();
        assert_eq!(parts.read_bytes() - before, moved, "{name}: it is kept");
    }
}

#[test]
fn parts_that_cannot_be_had_are_an_error_of_the_file() {
    let dict = StateDict::from_iter([("w", Tensor::from_vec(&[2], vec![0.5_f32, 1.0]).unwrap())]);
    let bytes = Checkpoint::from(dict).to_bytes().unwrap();
    let fails = Arc::new(Parts { bytes: bytes.into(), asked: Mutex::default(), fails: true });
    let error = open(Path::new("store/net.pt"), &fails).unwrap_err().to_string();
    assert!(error.starts_with("store/net.pt: ") && error.contains("the store is closed"), "{error}");
}
