//! The files of `tests/fixtures/scripted`, and how they are held against what PyTorch found in them.

use std::collections::HashMap;
use std::path::PathBuf;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions};
use rekindle_recorder::container::{self, Opened};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::tensor::Quantizer;
use rekindle_recorder::{Result, StateDict, Tensor, Value};
use rekindle_testing::fixtures::{self, sha256, sizes};
use serde_json::Value as Json;

/// The archives of TorchScript whose state dict PyTorch recorded.
pub(crate) const SCRIPTS: [&str; 8] = [
    "script.pt",
    "script113.pt",
    "mobile.ptl",
    "mobile113.ptl",
    "traced.pt",
    "quantised.pt",
    "quantised113.pt",
    "model_json.pt",
];

/// The archives of `torch.export` with one program.
pub(crate) const PROGRAMS: [&str; 4] = ["program.pt2", "views.pt2", "program28.pt2", "program_old.pt2"];

pub(crate) fn path(name: &str) -> PathBuf {
    fixtures::path("scripted").join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

pub(crate) fn open(name: &str) -> Checkpoint {
    Checkpoint::open(path(name)).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn state_dict(name: &str) -> StateDict {
    open(name).state_dict("").unwrap()
}

/// Reads bytes that are never a file.
pub(crate) fn read(bytes: Vec<u8>) -> Result<Opened> {
    container::read(&FileBytes::from_vec("copy.pt", bytes), &OpenOptions::default())
}

pub(crate) fn truth(file: &str) -> Json {
    let all: Json = serde_json::from_slice(&bytes("truth.json")).unwrap();
    assert!(all[file].is_object(), "truth.json knows {file}");
    all[file].clone()
}

pub(crate) fn names(json: &Json) -> Vec<&str> {
    json.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Holds values against what PyTorch said of them. Storages that are one there must be one here, and the other way round.
pub(crate) struct Against {
    file: String,
    ours: HashMap<usize, u64>,
    theirs: HashMap<u64, usize>,
}

impl Against {
    pub(crate) fn new(file: &str) -> Self {
        Against { file: file.to_owned(), ours: HashMap::new(), theirs: HashMap::new() }
    }

    pub(crate) fn tensor(&mut self, tensor: &Tensor, truth: &Json, name: &str) {
        let place = format!("{} {name}", self.file);
        assert_eq!(tensor.dtype().name(), truth["dtype"], "{place}");
        assert_eq!(tensor.requires_grad(), truth["requires_grad"], "{place}");
        assert_eq!(tensor.shape(), sizes(&truth["shape"]), "{place}");
        assert_eq!(tensor.device(), truth["device"], "{place}");
        if !truth["components"].is_null() {
            return;
        }
        assert_eq!(tensor.stride().unwrap(), sizes(&truth["stride"]), "{place}");
        assert_eq!(tensor.offset() as u64, truth["offset"], "{place}");
        assert_eq!(sha256(&tensor.to_le_bytes().unwrap()), truth["sha256"], "{place}");
        if let Some(Quantizer::PerTensor { scale, zero_point }) = &tensor.parts().quantizer {
            assert_eq!((scale.to_bits(), *zero_point), {
                let truth = &truth["quantizer"];
                (truth["scale"].as_f64().unwrap().to_bits(), truth["zero_point"].as_i64().unwrap())
            });
        }
        assert_eq!(tensor.parts().quantizer.is_some(), truth["quantizer"].is_object(), "{place}");
        let storage = tensor.storage().unwrap();
        if tensor.numel() > 0 {
            let (ours, theirs) = (storage.id(), truth["storage"].as_u64().unwrap());
            assert_eq!(*self.ours.entry(ours).or_insert(theirs), theirs, "{place} shares otherwise");
            assert_eq!(*self.theirs.entry(theirs).or_insert(ours), ours, "{place} shares otherwise");
        }
    }

    /// Names, their order, and every tensor.
    pub(crate) fn state_dict(&mut self, state_dict: &StateDict, truth: &Json) {
        let truth = truth.as_array().unwrap();
        let expected: Vec<&str> = truth.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(state_dict.keys().collect::<Vec<_>>(), expected, "{}", self.file);
        for (entry, (name, tensor)) in truth.iter().zip(state_dict.iter()) {
            self.tensor(tensor, entry, name);
        }
    }

    /// A value as `scripted.py` spells it.
    pub(crate) fn value(&mut self, value: &Value, truth: &Json, name: &str) {
        let place = format!("{} {name}", self.file);
        match value {
            Value::Tensor(tensor) => self.tensor(tensor, &truth["tensor"], name),
            Value::List(_) | Value::Tuple(_) => {
                let (items, truth) = (value.items().unwrap(), truth.as_array().unwrap());
                assert_eq!(items.len(), truth.len(), "{place}");
                items.iter().zip(truth).for_each(|(item, truth)| self.value(item, truth, name));
            }
            Value::Dict(dict) => {
                let pairs = truth["dict"].as_array().unwrap_or_else(|| panic!("{place} is no dict"));
                assert_eq!(dict.len(), pairs.len(), "{place}");
                for ((key, value), pair) in dict.entries().iter().zip(pairs) {
                    self.value(key, &pair[0], name);
                    self.value(value, &pair[1], name);
                }
            }
            Value::None => assert!(truth.is_null(), "{place}"),
            Value::Bool(flag) => assert_eq!(flag, truth, "{place}"),
            Value::Int(number) => assert_eq!(number, truth, "{place}"),
            Value::Float(number) => assert_eq!(number.to_bits(), truth.as_f64().unwrap().to_bits(), "{place}"),
            Value::Str(text) => assert_eq!(&**text, truth, "{place}"),
            Value::Device(device) => assert_eq!(device.to_string(), truth.as_str().unwrap(), "{place}"),
            Value::Complex(real, imaginary) => assert_eq!(format!("({real}{imaginary:+}j)"), truth.as_str().unwrap()),
            other => panic!("{place} is {other:?}"),
        }
    }
}
