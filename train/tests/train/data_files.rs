//! Tables that are read as data sets.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use rekindle_recorder::{Checkpoint, Dict, Tensor};
use rekindle_train::data::{FixedBatches, ReadOptions, read_dataset};

fn table(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_table_gives_inputs_and_the_label_that_stands_last() {
    let (_folder, path) = table("data.csv", "0,8,16,4,3\n16, 0, 1, 2, 9\n");
    let options = ReadOptions::default().input_shape([1, 2, 2]).divide_by(16.0);
    let data = read_dataset(&path, &options).unwrap();
    assert_eq!((data.len(), data.inputs().sample_shape()), (2, &[1, 2, 2][..]));
    assert_eq!(*data.inputs().elements(), vec![0.0_f32, 0.5, 1.0, 0.25, 1.0, 0.0, 0.0625, 0.125].into());
    assert_eq!(*data.targets().elements(), vec![3_i64, 9].into());
    let (rest, held) = data.split_at(1).unwrap();
    assert_eq!((rest.len(), held.len(), held.targets().elements()), (1, 1, &vec![9_i64].into()));
}

#[test]
fn a_gzipped_table_is_read_as_the_table() {
    let (_folder, path) = table("data.csv.gz", "");
    let mut gz = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::default());
    gz.write_all(b"1,2,0\n3,4,1\n").unwrap();
    gz.finish().unwrap();
    assert_eq!(read_dataset(&path, &ReadOptions::default()).unwrap().inputs().sample_shape(), [2]);
}

#[test]
fn a_broken_table_names_the_line() {
    for (text, expected) in [
        ("1,2,0\n1,x,0\n", "line 2: 'x' is no number"),
        ("1,2,0.5\n", "line 1: the label '0.5'"),
        ("1,2,0\n1,2\n", "line 2"),
        ("1\n", "line 1: a line needs"),
    ] {
        let (_folder, path) = table("data.csv", text);
        let error = read_dataset(&path, &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("data.csv"), "{error}");
    }
}

#[test]
fn arrays_by_the_names_of_a_networks_inputs_are_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.pt");
    let tensor = |shape: &[usize], from: i64| {
        let count = i64::try_from(shape.iter().product::<usize>()).unwrap();
        Tensor::from_vec(shape, (from..from + count).collect::<Vec<_>>()).unwrap()
    };
    let save = |arrays: Vec<(&str, Tensor)>| {
        let root =
            Dict::from_iter(arrays.into_iter().map(|(name, tensor)| (name, rekindle_recorder::Value::from(tensor))));
        Checkpoint::from(root).save(&path).unwrap();
    };
    save(vec![("input_ids", tensor(&[3, 2, 4], 0)), ("labels", tensor(&[3, 2], 100)), ("mask", tensor(&[3, 2, 4], 7))]);
    let batches = FixedBatches::read(&path).unwrap();
    let batch = batches.batch(1).unwrap();
    let names: Vec<&str> = batch.parts().map(|(name, _)| name).collect();
    assert_eq!((batches.len(), names), (3, vec!["input_ids", "labels", "mask"]));
    let labels = batch.get("labels").unwrap();
    assert_eq!((labels.shape().as_slice(), labels.as_slice::<i64>().unwrap()), (&[2][..], &[102, 103][..]));
    // What a loss compares with, and what comes first.
    assert_eq!((batch.target_data().shape().as_slice(), batch.input_shape()), (&[2][..], &[2, 4][..]));
    // As a data set they are samples.
    let data = read_dataset(&path, &ReadOptions::default()).unwrap();
    assert_eq!(data.batch(&[2, 0]).unwrap().get("mask").unwrap().shape().as_slice(), [2, 2, 4]);

    save(vec![("input_ids", tensor(&[3, 2], 0)), ("labels", tensor(&[2, 2], 0))]);
    let error = FixedBatches::read(&path).unwrap_err().to_string();
    assert!(error.ends_with("there are 3 input_ids and 2 labels"), "{error}");
    // Beside inputs and targets lies what is no part of the data.
    save(vec![("inputs", tensor(&[3, 2], 0)), ("mean", tensor(&[1], 0)), ("targets", tensor(&[3], 0))]);
    assert_eq!(read_dataset(&path, &ReadOptions::default()).unwrap().arrays().count(), 2);
}
