//! The fixtures and what their truth.json says of tensors.

use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::{Result, StateDict, Tensor, Value, container};
use sha2::{Digest as _, Sha256};

/// A file or folder of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

/// A JSON file of the fixtures.
pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

pub(crate) fn open(path: &Path) -> Result<Value> {
    container::open(path, &OpenOptions::default()).map(|opened| opened.value)
}

pub(crate) fn state_dict(path: &Path) -> StateDict {
    StateDict::from_value(&open(path).unwrap()).unwrap()
}

/// The tensor is what the fixture's truth says: element type, shape, and the hash of the elements.
pub(crate) fn assert_tensor(tensor: &Tensor, truth: &serde_json::Value, name: &str) {
    assert_eq!(tensor.dtype().name(), truth["dtype"].as_str().unwrap(), "{name}: element type");
    let shape: Vec<usize> = serde_json::from_value(truth["shape"].clone()).unwrap();
    assert_eq!(tensor.shape(), shape, "{name}: shape");
    let digest = Sha256::digest(tensor.to_le_bytes().unwrap());
    assert_eq!(format!("{digest:x}"), truth["sha256"].as_str().unwrap(), "{name}: elements");
}

/// The message of an error names the file and holds these words.
pub(crate) fn assert_error<T>(result: Result<T>, file: &Path, words: &[&str]) {
    let text = match result {
        Ok(_) => panic!("{}: an error is expected", file.display()),
        Err(error) => error.to_string(),
    };
    assert!(text.starts_with(&*file.to_string_lossy()), "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' in: {text}");
    }
}
