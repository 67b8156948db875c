//! The suite that every container runs: what was saved comes back, in order, shared as it was, in every element type; what a
//! container cannot keep is refused or reported by name; damaged files are errors and never more.
//!
//! A test of a container implements [`Format`] and calls [`run`].

mod damage;
mod memory;
mod values;

use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::{DType, Result, StateDict, Tensor, Value, container};

use crate::{alone, scratch};

/// A container as the suite sees it.
pub trait Format {
    /// Its name, for messages.
    fn name(&self) -> &'static str;

    /// What a checkpoint's file or folder is called.
    fn file_name(&self) -> &'static str;

    /// Writes a checkpoint.
    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport>;

    /// Opens a checkpoint; by its content, as users do.
    fn open(&self, path: &Path, options: &OpenOptions) -> Result<Value> {
        container::open(path, options).map(|opened| opened.value)
    }

    /// What it keeps besides names and numbers.
    fn keeps(&self) -> Keeps;

    /// Whether it has this element type.
    fn holds(&self, dtype: DType) -> bool;

    /// Writes, without taking the space on the disk (module [`sparse`](crate::sparse) does it for zip archives), a checkpoint of two tensors: `big`, `bytes` zeros of uint8, and `tail`, the
    /// int32 7 in one dimension. `false` where the container cannot have such a file.
    fn write_sparse(&self, path: &Path, bytes: u64) -> bool;
}

/// What a container keeps besides names and numbers. What it does not keep it must refuse or report.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct Keeps {
    /// The order of the state dict.
    pub order: bool,
    /// That two names stand for one tensor's elements.
    pub ties: bool,
    /// That tensors overlap, with their offsets and strides.
    pub views: bool,
    /// Parameters and `requires_grad`.
    pub parameters: bool,
    /// Values that are no tensors, and dicts in dicts.
    pub values: bool,
}

/// Runs the whole suite, as the test of this name.
pub fn run(format: &dyn Format, test: &str) {
    let suite = Suite { format, folder: scratch() };
    // What a process holds, other tests in it would hold as well.
    if alone(test, || suite.a_tensor_of_five_gibibytes_opens_in_little_memory()) {
        return;
    }
    suite.names_and_order();
    suite.shapes();
    suite.element_types();
    suite.ties();
    suite.views();
    suite.parameters();
    suite.plain_values();
    suite.saving_twice_gives_the_same_bytes();
    suite.nothing_is_replaced_unasked();
    suite.ten_thousand_tensors();
    suite.damaged_files_are_errors();
}

struct Suite<'a> {
    format: &'a dyn Format,
    folder: tempfile::TempDir,
}

impl Suite<'_> {
    /// A place of its own for each check.
    fn path(&self, check: &str) -> PathBuf {
        let folder = self.folder.path().join(check);
        std::fs::create_dir(&folder).unwrap();
        folder.join(self.format.file_name())
    }

    fn save(&self, root: &Value, path: &Path) -> SaveReport {
        let saved = self.format.save(root, path, &SaveOptions::default());
        saved.unwrap_or_else(|error| panic!("{}: saving failed: {error}", self.format.name()))
    }

    fn open(&self, path: &Path) -> StateDict {
        let opened = self.format.open(path, &OpenOptions::default());
        let value = opened.unwrap_or_else(|error| panic!("{}: opening failed: {error}", self.format.name()));
        StateDict::from_value(&value).unwrap()
    }

    /// What comes back of a state dict, and what was reported.
    fn round_trip(&self, check: &str, state_dict: &StateDict) -> (StateDict, SaveReport) {
        let path = self.path(check);
        let report = self.save(&state_dict.to_value(), &path);
        assert_eq!(report.bytes, size(&path), "{}: the report's bytes", self.format.name());
        let back = self.open(&path);
        let mut names: Vec<&str> = state_dict.keys().collect();
        let mut found: Vec<&str> = back.keys().collect();
        if !self.format.keeps().order {
            names.sort_unstable();
            found.sort_unstable();
        }
        assert_eq!(found, names, "{}, {check}: names in order", self.format.name());
        for (name, tensor) in state_dict.iter() {
            assert_same(tensor, back.get(name).unwrap(), &format!("{}, {check}, '{name}'", self.format.name()));
        }
        (back, report)
    }

    /// A loss must be reported under the name of a tensor that it concerns.
    fn assert_reported(&self, report: &SaveReport, name: &str) {
        let named = report.notes.iter().any(|note| note.contains(&format!("'{name}'")));
        assert!(named, "{}: no note about '{name}' in {:?}", self.format.name(), report.notes);
    }
}

/// Both have the same type, shape and elements.
fn assert_same(expected: &Tensor, found: &Tensor, what: &str) {
    assert_eq!(found.dtype(), expected.dtype(), "{what}: element type");
    assert_eq!(found.shape(), expected.shape(), "{what}: shape");
    assert_eq!(found.to_le_bytes().unwrap(), expected.to_le_bytes().unwrap(), "{what}: elements");
}

/// The files of a checkpoint, in the order of their names.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect();
    files.sort();
    files
}

fn size(path: &Path) -> u64 {
    files(path).iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// The numbers 0, 1, 2, ... as bytes of elements of any type.
fn counted(dtype: DType, shape: &[usize], first: u8) -> Tensor {
    let count = dtype.bytes_for(shape.iter().product()).unwrap();
    let bytes: Vec<u8> = (0..count).map(|i| first.wrapping_add(i.to_le_bytes()[0])).collect();
    let bytes = if dtype == DType::Bool { bytes.iter().map(|byte| byte & 1).collect() } else { bytes };
    Tensor::from_le_bytes(dtype, shape, bytes).unwrap()
}
