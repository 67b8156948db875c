//! NumPy's arrays against files of NumPy itself.

use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::{self, Format, numpy};
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{DType, Dict, ErrorKind, Result, StateDict, Storage, Tensor, Value};

use rekindle_testing::conformance::{self, Keeps};
use rekindle_testing::fixtures::{self, json};

use crate::support::{assert_error, assert_tensor, open, state_dict};

fn truth() -> serde_json::Map<String, serde_json::Value> {
    let serde_json::Value::Object(truth) = json("numpy/truth.json") else { panic!("an object") };
    truth.into_iter().filter(|(name, _)| name != "numpy").collect()
}

fn array(path: &Path) -> Tensor {
    open(path).unwrap().as_tensor().unwrap().clone()
}

#[test]
fn arrays_of_every_type_order_and_version_are_read() {
    let mut read = 0;
    for (name, truth) in truth().iter().filter(|(_, truth)| truth.get("sha256").is_some()) {
        let tensor = array(&fixtures::path(&format!("numpy/{name}")));
        assert_tensor(&tensor, truth, name);
        let turned = truth["fortran"].as_bool().unwrap() && tensor.shape().len() > 1;
        assert_eq!(!tensor.is_contiguous(), turned, "{name}: the order is in the strides");
        read += 1;
    }
    assert!(read >= 24 + 6);
}

#[test]
fn archives_are_read_stored_and_compressed() {
    for name in ["stored.npz", "compressed.npz"] {
        let truth = &truth()[name];
        let path = fixtures::path(&format!("numpy/{name}"));
        let opened = container::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(opened.format, Format::NUMPY);
        let state_dict = StateDict::from_value(&opened.value).unwrap();
        let names: Vec<&str> = state_dict.keys().collect();
        assert_eq!(names, ["weight", "bias", "step", "fortran", "big", "layer/0.w"]);
        for (name, tensor) in state_dict.iter() {
            assert_tensor(tensor, &truth[name], name);
            assert_eq!(tensor.storage().unwrap().name(), Some(name));
        }
    }
}

#[test]
fn arrays_without_tensors_are_named() {
    for (name, words) in [
        ("text.npy", &["text.npy", "text ('<U2')"][..]),
        ("bytes.npy", &["byte strings"]),
        ("time.npy", &["dates"]),
        ("void.npy", &["raw bytes"]),
        ("record.npy", &["records"]),
        ("unicode-record.npy", &["records"]),
        ("object.npy", &["Python objects", "pickles"]),
        ("long-double.npy", &["floats of a size that PyTorch lacks"]),
        ("labels.npz", &["array 'names': an array of text"]),
    ] {
        let path = fixtures::path(&format!("numpy/{name}"));
        assert!(truth()[name].get("unsupported").is_some());
        assert_error(open(&path), &path, &[words, &["is not supported"]].concat());
    }
}

#[test]
fn arrays_are_written_as_numpy_writes_them() {
    let folder = rekindle_testing::scratch();
    let little = |name: &str| !name.contains("big") && !name.starts_with("version");
    let arrays = truth().into_iter().filter(|(_, truth)| truth.get("sha256").is_some());
    for (name, _) in arrays.filter(|(name, _)| little(name)) {
        let (from, to) = (fixtures::path(&format!("numpy/{name}")), folder.path().join(&name));
        let report = numpy::write(&open(&from).unwrap(), &to, &SaveOptions::default()).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        assert_eq!(bytes, std::fs::read(&from).unwrap(), "{name}");
        assert_eq!((report.bytes, report.notes), (bytes.len() as u64, Vec::new()), "{name}");
    }
    let (from, to) = (fixtures::path("numpy/stored.npz"), folder.path().join("stored.npz"));
    let report = numpy::write(&open(&from).unwrap(), &to, &SaveOptions::default()).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    for (name, tensor) in state_dict(&to).iter() {
        assert_tensor(tensor, &truth()["stored.npz"][name], name);
    }
}

/// A file of version 1 around a header.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

#[test]
fn headers_are_taken_as_numpy_takes_them() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.npy");
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{\"shape\":(2L,),\"fortran_order\":True,\"descr\":\"f4\"}  \n",
        "{ 'fortran_order' : False , 'descr': '=f4', 'shape': ( 2 , ) , }\n",
    ] {
        std::fs::write(&path, file(header, &[0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        assert_eq!(array(&path).to_vec::<f32>().unwrap(), [1.0, 2.0], "{header}");
    }
}

#[test]
fn damage_is_named() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.npy");
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
    let shape = |shape: &str| file(&good.replace("(2,)", shape), &[0; 8]);
    let huge = format!("({0},{0},{0})", 1_u64 << 40);
    for (bytes, words) in [
        (file(good, &[0; 7]), &["is cut off", "take 8 bytes, 7 are there"][..]),
        (file(good, &[0; 9]), &["1 bytes follow its elements"]),
        (file(good, &[0; 8])[..30].to_vec(), &["is cut off", "header is not whole"]),
        (file(good, &[0; 8])[..7].to_vec(), &["is cut off", "header is not whole"]),
        (shape("(-1,)"), &["something else than lengths"]),
        (shape("(1.5,)"), &["no dict of Python literals"]),
        (shape("[2]"), &["does not hold just descr, fortran_order and shape"]),
        (shape(&huge), &["more elements than can be counted"]),
        (file(&good.replace("'<f4'", "__import__('os')"), &[0; 8]), &["no dict of Python literals"]),
        (file(&good.replace("<f4", "zz"), &[0; 8]), &["no element type"]),
        (file(&good.replace('}', ", 'x': 1}"), &[0; 8]), &["does not hold just"]),
        (b"\x93NUMPY\x04\x00aaaaaaaaaa".to_vec(), &["version 4.0"]),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xffaa".to_vec(), &["a header of 4294967295 bytes exceeds the limit"]),
        ([file(good, &[0; 8]), file(good, &[0; 8])].concat(), &["several arrays", ".npz"]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_error(open(&path), &path, words);
    }
    // In an archive, the array's name is told; a wrong checksum is found when the elements are read.
    let path = folder.path().join("x.npz");
    let root = Value::from(Dict::from_iter([("weight", Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap())]));
    numpy::write(&root, &path, &SaveOptions::default()).unwrap();
    let good = std::fs::read(&path).unwrap();
    let find = |bytes: &[u8]| good.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        std::fs::write(&path, bytes).unwrap();
        open(&path)
    };
    assert_error(changed(find(b"(2,)") + 1, b'3'), &path, &["array 'weight'", "take 12 bytes, 8 are there"]);
    let opened = changed(find(&2.0_f32.to_le_bytes()), 1).unwrap();
    let tensor = opened.as_dict().unwrap().get("weight").unwrap();
    assert_error(tensor.as_tensor().unwrap().to_le_bytes(), &path, &["record weight.npy", "checksum mismatch"]);
}

#[test]
fn what_numpy_lacks_is_refused_by_its_key() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.npz");
    for dtype in [DType::BFloat16, DType::Float8E4M3Fn, DType::Complex32] {
        let tensor = Tensor::from_le_bytes(dtype, &[1], vec![0; dtype.size()]).unwrap();
        let root = Value::from(Dict::from_iter([("fc.weight", tensor)]));
        let saved = container::save(&root, Format::NUMPY, &path, &SaveOptions::default());
        assert_error(saved, &path, &["'fc.weight'", dtype.name(), "cast it first"]);
        assert!(!path.exists());
    }
    let root = Value::from(Dict::from_iter([("a", Tensor::scalar(1.0_f32))]));
    let npy = folder.path().join("x.npy");
    assert_error(container::save(&root, Format::NUMPY, &npy, &SaveOptions::default()), &npy, &["call the file .npz"]);
}

#[test]
fn column_major_tensors_stay_so() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.npz");
    let elements: Vec<u8> = (0..24_u8).collect();
    let storage = Storage::from_bytes(DType::UInt8, elements);
    let parts = TensorParts::strided(DType::UInt8, vec![2, 3, 4], storage, 0, vec![1, 2, 6]);
    let tensor = Tensor::new(parts).unwrap();
    let report =
        numpy::write(&Dict::from_iter([("x", tensor.clone())]).into(), &path, &SaveOptions::default()).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let back = state_dict(&path).get("x").unwrap().clone();
    assert_eq!(back.stride(), tensor.stride());
    assert_eq!(back.to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap());
}

struct Npz;

impl conformance::Format for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn file_name(&self) -> &'static str {
        "model.npz"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        container::save(root, Format::NUMPY, path, options)
    }

    fn keeps(&self) -> Keeps {
        Keeps { order: true, ties: false, views: false, parameters: false, values: false }
    }

    fn holds(&self, dtype: DType) -> bool {
        use DType::{
            Bool, Complex64, Complex128, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32,
            UInt64,
        };
        let types = [Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64];
        types.contains(&dtype) || [Complex64, Complex128].contains(&dtype)
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        let header = |descr: &str, len: u64| {
            file(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len},), }}\n"), &[])
        };
        let tail = [header("<i4", 1), 7_i32.to_le_bytes().to_vec()].concat();
        rekindle_testing::sparse::write_zip(path, &[("big.npy", &header("|u1", bytes), bytes), ("tail.npy", &tail, 0)])
            .unwrap();
        true
    }
}

#[test]
fn npz_conforms() {
    conformance::run(&Npz, "numpy::npz_conforms");
}

#[test]
fn an_empty_state_dict_is_refused() {
    let folder = rekindle_testing::scratch();
    let saved = numpy::write(&Dict::new().into(), &folder.path().join("x.npz"), &SaveOptions::default());
    assert!(matches!(saved.unwrap_err().kind(), ErrorKind::Unsupported { .. }));
}
