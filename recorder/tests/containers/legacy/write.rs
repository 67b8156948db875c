//! Streams that are written here: PyTorch's bytes, and what they cannot hold.

use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::pickle::{self, Dialect, PickleOptions};
use rekindle_recorder::{DType, Dict, ErrorKind, Result, Storage, Tensor, Value};

use super::fixtures::{STREAMS, bytes, open, path};
use rekindle_testing::conformance::{self, Keeps};

struct Legacy;

impl conformance::Format for Legacy {
    fn name(&self) -> &'static str {
        "legacy"
    }

    fn file_name(&self) -> &'static str {
        "model.pt"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        container::save(root, Format::LEGACY, path, options)
    }

    fn keeps(&self) -> Keeps {
        Keeps { order: true, ties: true, views: true, parameters: true, values: true }
    }

    fn holds(&self, dtype: DType) -> bool {
        dtype.storage_class().is_some()
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        use std::io::{Seek as _, SeekFrom, Write as _};
        // A stream of two tensors of one element, the first of which is then made large: `big` has the key 0.
        let small = |bytes: u64| {
            let count = usize::try_from(bytes).unwrap();
            let parts = rekindle_recorder::tensor::TensorParts::strided(
                DType::UInt8,
                vec![count],
                Storage::from_source(DType::UInt8, "cpu", Zeros(bytes)),
                0,
                vec![1],
            );
            let tail = Tensor::from_vec(&[1], vec![7_i32]).unwrap();
            Value::from(Dict::from_iter([("big", Tensor::new(parts).unwrap()), ("tail", tail)]))
        };
        let options = PickleOptions { dialect: Dialect::Legacy, allow_objects: false };
        let object = pickle::write(&small(bytes), &options).unwrap();
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(&head()).unwrap();
        file.write_all(&object.bytes).unwrap();
        let keys = PickleOptions { dialect: Dialect::Plain, allow_objects: false };
        file.write_all(&pickle::write(&vec!["0", "1"].into(), &keys).unwrap().bytes).unwrap();
        file.write_all(&bytes.to_le_bytes()).unwrap();
        file.seek(SeekFrom::Current(i64::try_from(bytes).unwrap())).unwrap();
        file.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]).unwrap();
        true
    }
}

/// Zeros that nobody reads.
struct Zeros(u64);

impl rekindle_recorder::Source for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self) -> Result<::bytes::Bytes> {
        panic!("only the pickle is written")
    }
}

/// The parts of a stream before the object.
fn head() -> Vec<u8> {
    let whole = bytes("tutorial.pt");
    let options = PickleOptions { dialect: Dialect::Plain, allow_objects: false };
    // Three pickles, of which the last one is the description of the machine.
    let mut end = 0;
    for _ in 0..3 {
        let limits = rekindle_recorder::Limits::default();
        end += pickle::read(&whole[end..], "a part", &limits, &mut pickle::KeepIds).unwrap().end;
    }
    assert!(pickle::write(&Value::Int(1001), &options).is_ok());
    whole[..end].to_vec()
}

#[test]
fn legacy_conforms() {
    conformance::run(&Legacy, "legacy::write::legacy_conforms");
}

fn save(checkpoint: &Checkpoint, path: &Path) -> Result<SaveReport> {
    checkpoint.save_with(path, &SaveOptions::default().format(Format::LEGACY))
}

/// Puts the keys that are written here in the place of PyTorch's addresses. They are shorter: all but the order of the
/// storages can be compared.
fn without_keys(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = stream;
    while let Some((&first, after)) = rest.split_first() {
        let number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if let [b'X', len, 0, 0, 0, after @ ..] = rest
            && let Some((text, after)) = after.split_at_checked(usize::from(*len))
            && number(text)
        {
            out.extend(b"<key>");
            rest = after;
        } else {
            out.push(first);
            rest = after;
        }
    }
    out
}

#[test]
fn the_pickles_are_to_the_byte_those_that_pytorch_writes() {
    let folder = rekindle_testing::scratch();
    for file in ["tutorial.pt", "tied.pt", "dtypes.pt", "shared.pt"] {
        let copy = folder.path().join(file);
        let report = save(&open(file), &copy).unwrap();
        assert_eq!(report.bytes, std::fs::metadata(&copy).unwrap().len());
        let (theirs, ours) = (bytes(file), std::fs::read(&copy).unwrap());
        assert!(ours.starts_with(&head()));
        let (theirs, ours) = (without_keys(&theirs), without_keys(&ours));
        assert_eq!(ours.len(), theirs.len(), "{file}");
        // Up to the storages, whose order is that of their keys.
        let storages = ours.windows(5).rposition(|window| window == b"<key>").unwrap();
        assert!(ours[..storages] == theirs[..storages], "{file}");
    }
}

#[test]
fn the_storages_stand_in_the_order_of_their_keys_as_strings() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("many.pt");
    let root: Dict = (0..12_i64).map(|i| (format!("t{i}"), Tensor::scalar(i))).collect();
    save(&Checkpoint::from(root), &path).unwrap();
    let stream = std::fs::read(&path).unwrap();
    let data: Vec<i64> = stream[stream.len() - 12 * 16..]
        .chunks(16)
        .map(|record| {
            assert_eq!(record[..8], 1_i64.to_le_bytes());
            i64::from_le_bytes(record[8..].try_into().unwrap())
        })
        .collect();
    assert_eq!(data, [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn what_a_stream_cannot_hold_is_refused_by_name() {
    let folder = rekindle_testing::scratch();
    let copy = folder.path().join("copy.pt");
    let untyped = open("untyped.pt");
    let error = save(&untyped, &copy).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("e4m3: a tensor of float8_e4m3fn") && text.contains("Save it in the format zip"), "{text}");
    assert!(!copy.exists());
    // PyTorch writes such files all the same; so does who asks for it.
    let options = SaveOptions::default().format(Format::LEGACY).allow_objects(true);
    untyped.save_with(&copy, &options).unwrap();
    let back = Checkpoint::open(&copy).unwrap();
    for (name, tensor) in untyped.tensors().unwrap() {
        let copy: Tensor = back.get(&name).unwrap();
        assert_eq!((copy.dtype(), copy.to_le_bytes().unwrap()), (tensor.dtype(), tensor.to_le_bytes().unwrap()));
    }
    let storage = Storage::from_bytes(None, vec![1, 2, 3]);
    let error = save(&Checkpoint::from(Dict::from_iter([("raw", storage)])), &copy).unwrap_err();
    assert!(error.to_string().contains("raw: a storage without an element type"), "{error}");
}

#[test]
fn a_file_may_be_saved_over_itself() {
    let folder = rekindle_testing::scratch();
    for file in STREAMS {
        let copy = folder.path().join(file);
        std::fs::copy(path(file), &copy).unwrap();
        let checkpoint = Checkpoint::open(&copy).unwrap();
        let options = SaveOptions::default().format(Format::LEGACY).allow_objects(true);
        checkpoint.save_with(&copy, &options).unwrap();
        let again = Checkpoint::open_with(&copy, &OpenOptions::default()).unwrap();
        let elements = |checkpoint: &Checkpoint| -> Vec<_> {
            let tensors = checkpoint.tensors().unwrap().into_iter();
            tensors.map(|(name, tensor)| (name, tensor.to_le_bytes().unwrap())).collect()
        };
        assert_eq!(elements(&again), elements(&checkpoint), "{file}");
    }
}
