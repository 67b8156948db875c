//! What older versions wrote otherwise: Python 2's strings, parts of storages with keys of their own, tensors and parameters
//! that get their content as a state.

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::{DType, Storage, Tensor};

use super::fixtures::{assert_tensors, assert_values, open};

fn storage(checkpoint: &Checkpoint, name: &str) -> Storage {
    checkpoint.get::<Tensor>(name).unwrap().storage().unwrap().clone()
}

#[test]
fn a_python_2_stream_is_read_as_pytorch_reads_it() {
    let checkpoint = open("python2.pt");
    assert_eq!(assert_tensors(&checkpoint, "python2.pt"), 11);
    assert_values(&checkpoint, "python2.pt");
}

#[test]
fn parts_of_a_storage_are_views_of_the_whole() {
    let checkpoint = open("python2.pt");
    let whole = storage(&checkpoint, "weight");
    assert_eq!(whole.len(), 96);
    for name in ["again", "transposed", "half", "in_half", "whole_as_part", "parameter", "frozen", "parameter04"] {
        assert!(storage(&checkpoint, name).same(&whole), "{name}");
    }
    for (name, offset) in
        [("half", 12), ("in_half", 14), ("whole_as_part", 5), ("frozen", 12), ("counts", 2), ("first", 2)]
    {
        assert_eq!(checkpoint.get::<Tensor>(name).unwrap().offset(), offset, "{name}");
    }
    assert!(storage(&checkpoint, "counts").same(&storage(&checkpoint, "first")));
    assert_eq!(
        checkpoint.get::<Tensor>("in_half").unwrap().to_vec::<f32>().unwrap(),
        [14.0, 15.0, 16.0, 18.0, 19.0, 20.0]
    );
    assert_eq!(checkpoint.get::<Tensor>("counts").unwrap().to_vec::<i64>().unwrap(), [4, 1, 5, 9]);
}

#[test]
fn what_was_read_from_an_old_file_is_saved_as_a_new_one() {
    let old = open("python2.pt");
    let folder = rekindle_testing::scratch();
    for container in [Format::ZIP, Format::LEGACY] {
        let path = folder.path().join(container.name());
        // Without permission to write objects: nothing in it is one.
        old.save_with(&path, &SaveOptions::default().format(container)).unwrap();
        let new = Checkpoint::open(&path).unwrap();
        assert_eq!(assert_tensors(&new, "python2.pt"), 11);
        assert_values(&new, "python2.pt");
        assert!(storage(&new, "half").same(&storage(&new, "weight")));
    }
}

#[test]
fn an_untyped_storage_is_read_though_pytorch_cannot() {
    let checkpoint = open("untyped.pt");
    assert_eq!(assert_tensors(&checkpoint, "untyped.pt"), 4);
    let shared: Tensor = checkpoint.get("uint16").unwrap();
    assert_eq!(shared.dtype(), DType::UInt16);
    assert!(shared.storage().unwrap().same(&storage(&checkpoint, "uint8")));
}
