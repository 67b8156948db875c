//! Files that PyTorch wrote (`tests/fixtures/legacy`), and what PyTorch says is in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions};
use rekindle_recorder::container::{Format, Opened, legacy, pickle, tar};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::tensor::Quantizer;
use rekindle_recorder::{Error, Result, Tensor, Value};
use rekindle_testing::fixtures::{self, sha256, sizes};
use serde_json::Value as Json;

/// The streams that the real PyTorch wrote.
pub(crate) const STREAMS: [&str; 8] =
    ["tutorial.pt", "tied.pt", "dtypes.pt", "shared.pt", "module.pt", "protocol4.pt", "untyped.pt", "old113.pt"];

pub(crate) fn path(name: &str) -> PathBuf {
    fixtures::path("legacy").join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(path(name)).unwrap()
}

/// Opens bytes as a file of this name, by its content.
pub(crate) fn open_bytes(bytes: &[u8], options: &OpenOptions) -> Result<Checkpoint> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("copy.pt");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open_with(&path, options)
}

/// Reads bytes that are never a file, as one of the formats tested here: for the tests that do so thousands of times.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<Checkpoint> {
    type Way = (fn(&FileBytes) -> bool, fn(&FileBytes, &OpenOptions) -> Result<Opened>);
    let formats: [Way; 3] = [(legacy::detect, legacy::read), (tar::detect, tar::read), (pickle::detect, pickle::read)];
    let file = FileBytes::from_vec("copy.pt", bytes.to_vec());
    match formats.iter().find(|(detect, _)| detect(&file)) {
        Some((_, read)) => read(&file, &OpenOptions::default())
            .map(|opened| opened.value.into())
            .map_err(|error| error.in_file("copy.pt")),
        None => Err(Error::not_a_checkpoint("it is of none of these formats")),
    }
}

/// Whatever is changed in the bytes, reading them is an error or gives tensors, and no panic.
pub(crate) fn read_with_flipped_bits(whole: &[u8], places: impl IntoIterator<Item = usize>) {
    let mut changed = whole.to_vec();
    for at in places {
        for flip in [0x01, 0x10, 0x20, 0x80, 0xff] {
            changed[at] = whole[at] ^ flip;
            if let Ok(tensors) = read_bytes(&changed).and_then(|checkpoint| checkpoint.tensors()) {
                tensors.iter().for_each(|(_, tensor)| drop(tensor.to_le_bytes()));
            }
        }
        changed[at] = whole[at];
    }
}

pub(crate) fn truth(file: &str) -> Json {
    let all: Json = serde_json::from_slice(&bytes("truth.json")).unwrap();
    assert!(all[file].is_object(), "truth.json knows {file}");
    all[file].clone()
}

/// The tensors are those that PyTorch found, by name; gives how many have been compared.
pub(crate) fn assert_tensors(checkpoint: &Checkpoint, file: &str) -> usize {
    let tensors: BTreeMap<String, Tensor> = checkpoint.tensors().unwrap().into_iter().collect();
    let truth = truth(file);
    let expected = truth["tensors"].as_array().unwrap();
    for expected in expected {
        let name = expected["name"].as_str().unwrap();
        let tensor = tensors.get(name).unwrap_or_else(|| panic!("{file} has no {name}"));
        assert_eq!(tensor.dtype().name(), expected["dtype"], "{file} {name}");
        assert_eq!(tensor.shape(), sizes(&expected["shape"]), "{file} {name}");
        assert_eq!(tensor.stride().unwrap(), sizes(&expected["stride"]), "{file} {name}");
        assert_eq!(tensor.requires_grad(), expected["requires_grad"], "{file} {name}");
        assert_eq!(tensor.is_parameter(), expected["class"] == "torch.nn.parameter.Parameter", "{file} {name}");
        assert_eq!(tensor.device(), expected["device"], "{file} {name}");
        assert_eq!(sha256(&tensor.to_le_bytes().unwrap()), expected["sha256"], "{file} {name}");
        if let Some(storage) = expected["storage"].as_str() {
            assert_eq!(tensor.storage().unwrap().name(), Some(storage), "{file} {name}");
            assert_eq!(tensor.offset() as u64, expected["offset"], "{file} {name}");
        }
        if let Some(other) = expected["same_object"].as_str() {
            assert!(tensor.same(&tensors[other]), "{file} {name} is {other}");
        }
    }
    expected.len()
}

/// The plain values are those that PyTorch found.
pub(crate) fn assert_values(checkpoint: &Checkpoint, file: &str) {
    for (name, expected) in truth(file)["values"].as_object().unwrap() {
        let value = checkpoint.value(name).unwrap();
        match value {
            Value::Str(text) => assert_eq!(&*text, expected, "{file} {name}"),
            Value::None => assert!(expected.is_null(), "{file} {name}"),
            Value::Bool(flag) => assert_eq!(flag, *expected, "{file} {name}"),
            Value::Int(number) => assert_eq!(number, *expected, "{file} {name}"),
            Value::Float(number) => assert_eq!(number.to_bits(), expected.as_f64().unwrap().to_bits(), "{file} {name}"),
            other => panic!("{file} {name} is {other:?}"),
        }
    }
}

#[test]
fn every_tensor_and_value_of_a_stream_is_what_pytorch_says() {
    let mut compared = 0;
    for file in STREAMS {
        let checkpoint = open(file);
        assert_eq!(checkpoint.format(), Some(Format::LEGACY), "{file}");
        assert_eq!(checkpoint.bytes(), bytes(file).len() as u64);
        compared += assert_tensors(&checkpoint, file);
        assert_values(&checkpoint, file);
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn every_storage_is_as_long_as_pytorch_says() {
    for file in STREAMS {
        let mut found = BTreeMap::new();
        for (_, tensor) in open(file).tensors().unwrap() {
            let scales = match &tensor.parts().quantizer {
                Some(Quantizer::PerChannel { scales, zero_points, .. }) => vec![scales, zero_points],
                _ => Vec::new(),
            };
            for tensor in scales.into_iter().chain([&tensor]) {
                let storage = tensor.storage().unwrap();
                found.insert(storage.name().unwrap().to_owned(), storage.len());
            }
        }
        for (key, len) in truth(file)["storages"].as_object().unwrap() {
            assert_eq!(found.get(key), len.as_u64().as_ref(), "{file} {key}");
        }
    }
}

#[test]
fn the_metadata_of_a_state_dict_come_along() {
    let checkpoint = open("tutorial.pt");
    let state_dict = checkpoint.state_dict("model_state_dict").unwrap();
    for pair in truth("tutorial.pt")["metadata"]["model_state_dict"].as_array().unwrap() {
        assert_eq!(state_dict.version(pair[0].as_str().unwrap()), pair[1]["version"].as_i64());
    }
}

#[test]
fn a_stream_in_a_zip_of_its_own_is_read_as_torch_hub_does() {
    let checkpoint = open("hub.zip");
    assert_eq!(checkpoint.format(), Some(Format::LEGACY));
    assert_eq!(checkpoint.bytes(), bytes("hub.zip").len() as u64);
    assert_eq!(assert_tensors(&checkpoint, "tutorial.pt"), 24);
}

#[test]
fn what_lies_behind_the_last_storage_is_left_alone() {
    let longer = [&bytes("tutorial.pt")[..], &[0x5a; 700]].concat();
    let checkpoint = open_bytes(&longer, &OpenOptions::default()).unwrap();
    assert_eq!(assert_tensors(&checkpoint, "tutorial.pt"), 24);
}

#[test]
fn opening_reads_no_storage_and_a_large_storage_is_no_copy() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("large.pt");
    // Beyond 64 KiB a file is mapped; both reads then give the same memory.
    let large = Tensor::from_vec(&[50_000], vec![1.5_f32; 50_000]).unwrap();
    let root = rekindle_recorder::Dict::from_iter([("large", large)]);
    let options = rekindle_recorder::checkpoint::SaveOptions::default().format(Format::LEGACY);
    Checkpoint::from(root).save_with(&path, &options).unwrap();
    let [one, other] = [(), ()].map(|()| {
        let tensor: Tensor = Checkpoint::open(&path).unwrap().get("large").unwrap();
        tensor.storage().unwrap().bytes().unwrap()
    });
    assert_eq!(one, other);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let storage = checkpoint.get::<Tensor>("large").unwrap().storage().unwrap().clone();
    assert_eq!(storage.bytes().unwrap().as_ptr(), storage.bytes().unwrap().as_ptr());
}
