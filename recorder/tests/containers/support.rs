//! The fixtures and what their truth.json says of tensors.

use std::path::Path;

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::{Result, StateDict, Tensor, Value, container};
use rekindle_testing::fixtures::{sha256, sizes};

pub(crate) fn open(path: &Path) -> Result<Value> {
    container::open(path, &OpenOptions::default()).map(|opened| opened.value)
}

pub(crate) fn state_dict(path: &Path) -> StateDict {
    StateDict::from_value(&open(path).unwrap()).unwrap()
}

/// The tensor is what the fixture's truth says: element type, shape, and the hash of the elements.
pub(crate) fn assert_tensor(tensor: &Tensor, truth: &serde_json::Value, name: &str) {
    assert_eq!(tensor.dtype().name(), truth["dtype"].as_str().unwrap(), "{name}: element type");
    assert_eq!(tensor.shape(), sizes(&truth["shape"]), "{name}: shape");
    assert_eq!(sha256(&tensor.to_le_bytes().unwrap()), truth["sha256"].as_str().unwrap(), "{name}: elements");
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
