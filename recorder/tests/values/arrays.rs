//! NumPy arrays inside checkpoints: listed as arrays, compared, taken out, and written back as they came.
#![allow(clippy::float_cmp)] // they are exact

use std::collections::HashMap;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::value::{Array, Global, ObjectData};
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, DType, Dict, ErrorKind, Tensor, Value};
use rekindle_testing::fixtures;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path(&format!("arrays/{name}"))).unwrap()
}

/// Real, or real and imaginary; NaN and infinity by name.
fn number(json: &serde_json::Value) -> Vec<f64> {
    match json {
        serde_json::Value::Array(parts) => parts.iter().flat_map(number).collect(),
        serde_json::Value::String(name) => vec![name.parse().unwrap()],
        other => vec![other.as_f64().unwrap()],
    }
}

fn elements(tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype() {
        DType::Complex64 => {
            tensor.to_le_bytes().unwrap().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
        }
        DType::Complex128 => {
            tensor.to_le_bytes().unwrap().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        _ => tensor.to_f64_vec().unwrap(),
    }
}

#[test]
fn every_array_of_numbers_is_read_as_numpy_has_it() {
    let checkpoint = open("arrays.pt");
    let truth = fixtures::json("arrays/truth.json");
    let truth = truth.as_object().unwrap();
    assert!(truth.len() > 20);
    for (name, expected) in truth {
        let array = Array::of(&checkpoint.value(name).unwrap()).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(array.dtype(), expected["dtype"].as_str().unwrap(), "{name}");
        let tensor: Tensor = checkpoint.get(name).unwrap();
        let shape: Vec<u64> = tensor.shape().iter().map(|&n| n as u64).collect();
        assert_eq!(serde_json::json!(shape), expected["shape"], "{name}");
        let (found, wanted) = (elements(&tensor), number(&expected["elements"]));
        assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{name}");
    }
    assert_eq!(Array::of(&checkpoint.value("matrix").unwrap()).unwrap().class().unwrap().to_string(), "numpy.matrix");
}

#[test]
fn arrays_of_both_numpys_and_of_protocol_5_are_the_same() {
    let files = ["numpy1.pkl", "numpy2.pkl", "frombuffer.pkl"].map(open);
    for file in &files {
        assert_eq!(file.get::<Vec<Vec<i32>>>("big").unwrap(), [[0, 1], [2, 3], [4, 5]]);
        assert_eq!(file.get::<f64>("zero").unwrap(), 3.5);
        assert_eq!(file.get::<f64>("loss").unwrap(), 0.25);
        assert_eq!(file.get::<Vec<Vec<Vec<f64>>>>("fortran").unwrap()[1][2][3], 23.0);
        assert!(compare(&files[0], file, Tolerance::default()).unwrap().is_empty());
    }
}

#[test]
fn what_pytorch_has_no_type_for_is_named_and_read_as_pythons_own() {
    let checkpoint = open("arrays.pt");
    assert_eq!(checkpoint.get::<Vec<String>>("texts").unwrap(), ["a", "bc"]);
    let error = |name: &str| checkpoint.get::<Tensor>(name).unwrap_err().to_string();
    for (name, says) in [
        ("texts", "a NumPy array of <U2 [2] as a tensor is not supported"),
        ("dates", "a NumPy array of datetime64[D] [2]"),
        ("objects", "a NumPy array of object [4]"),
        ("record", "a NumPy array of [('a', 'int32'), ('b', 'float64')] [1]"),
        ("masked", "a masked NumPy array of int64 [2]"),
    ] {
        assert!(error(name).contains(says), "{}", error(name));
    }
    // Tensors in an array of objects are tensors.
    assert_eq!(checkpoint.get::<Tensor>("objects[3]").unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(checkpoint.get::<f64>("grid[(1, 1)]").unwrap(), 2.5);
    let lists: Vec<Vec<Value>> = checkpoint.get("grid").unwrap();
    assert_eq!(lists[1][0].as_str(), Some("y"));
}

#[test]
fn an_array_is_one_line_of_a_list_with_type_and_shape() {
    let inspection = Inspection::of(&open("arrays.pt"), false).unwrap();
    let values: HashMap<&str, String> =
        inspection.values.iter().map(|(path, value)| (&**path, value.describe())).collect();
    for (path, expected) in [
        ("float32", "a NumPy array of float32 [2, 3]"),
        ("matrix", "a NumPy array of int64 [1, 2] (numpy.matrix)"),
        ("masked", "a masked NumPy array of int64 [2]"),
        ("when", "a NumPy scalar of datetime64[m]"),
        ("dtype", "the NumPy dtype float32"),
        ("type", "<class numpy.float32>"),
        ("loss", "a float"),
        ("count", "an int"),
    ] {
        assert_eq!(values[path], expected, "{path}");
    }
    let inside = |path: &&str| path.contains(['(', '[']) && !path.starts_with("objects[") && !path.starts_with("grid[");
    assert_eq!(values.keys().copied().find(|path| inside(path)), None);
    let tensors: Vec<&str> = inspection.tensors.iter().map(|entry| &*entry.name).collect();
    assert_eq!(tensors, ["objects[3]", "w"]);
}

#[test]
fn arrays_are_compared_and_looked_through_for_nan() {
    let (one, other) = (open("arrays.pt"), open("other.pt"));
    assert!(compare(&one, &open("arrays.pt"), Tolerance::default()).unwrap().is_empty());
    let differences = compare(&one, &other, Tolerance::default()).unwrap();
    let said: Vec<String> = differences.iter().map(|(name, difference)| format!("{name}: {difference}")).collect();
    assert_eq!(
        said,
        ["fortran: 1 of 24 elements differ, by at most 1.000e0 (relative 4.167e-2)", "texts: other bytes"]
    );
    assert_eq!(compare(&one, &other, Tolerance { absolute: 1.0, ..Tolerance::default() }).unwrap().len(), 1);
    let report = verify(fixtures::path("arrays/arrays.pt"), &OpenOptions::default(), true).unwrap();
    let counts: Vec<_> = report.not_finite.iter().map(|t| (&*t.name, t.nan, t.inf, t.elements)).collect();
    assert_eq!(counts, [("not_finite", 1, 1, 3)]);
}

#[test]
fn an_array_is_taken_out_as_a_tensor() {
    let folder = rekindle_testing::scratch();
    let checkpoint = open("arrays.pt");
    for file in ["x.npy", "x.pt"] {
        let path = folder.path().join(file);
        let conversion = Conversion::default().key("big".to_owned());
        let report = conversion.save(&checkpoint, &path, &SaveOptions::default()).unwrap();
        assert!(
            report.notes[0].starts_with("big: a NumPy array of int32 [3, 2] is written as a tensor"),
            "{:?}",
            report.notes
        );
        let back: Tensor = Checkpoint::open(&path).unwrap().get("").unwrap();
        assert_eq!(back.to_vec::<i32>().unwrap(), [0, 1, 2, 3, 4, 5], "{file}");
    }
    let error = Conversion::default().key("record".to_owned());
    let error = error.save(&checkpoint, folder.path().join("r.npy"), &SaveOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }) && error.to_string().contains("record"), "{error}");
    // All of them into a format of named tensors; the rest is named.
    let path = folder.path().join("all.npz");
    let report = Conversion::default().save(&checkpoint, &path, &SaveOptions::default()).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    assert_eq!(back.get::<Tensor>("float16").unwrap().dtype(), DType::Float16);
    assert!(report.notes.iter().any(|note| note.contains("NumPy arrays, written as tensors")), "{:?}", report.notes);
    assert!(
        report.notes.iter().any(|note| note.contains("'texts'") && note.contains("left out")),
        "{:?}",
        report.notes
    );
    // As they are they need leave, and come back as they were.
    let path = folder.path().join("all.pt");
    assert!(checkpoint.save(&path).unwrap_err().to_string().contains("a NumPy array of bool"));
    checkpoint.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
    assert!(compare(&checkpoint, &Checkpoint::open(&path).unwrap(), Tolerance::default()).unwrap().is_empty());
}

/// `numpy._core.multiarray._reconstruct` with a state.
fn array(dtype: Value, shape: &[i64], fortran: bool, content: Value) -> Value {
    let mut object = ObjectData::call(
        Global::new("numpy._core.multiarray", "_reconstruct"),
        vec![Global::new("numpy", "ndarray").into(), Value::tuple([0.into()]), Value::Bytes(b"b".as_slice().into())],
    );
    let shape = Value::tuple(shape.iter().map(|&n| Value::Int(n)));
    object.states.push(Value::tuple([1.into(), shape, dtype, fortran.into(), content]));
    object.into()
}

fn dtype(name: Value) -> Value {
    let mut object = ObjectData::call(Global::new("numpy", "dtype"), vec![name, false.into(), true.into()]);
    object.states.push(Value::tuple([3.into(), "<".into(), Value::None]));
    object.into()
}

#[test]
fn arrays_of_ml_dtypes_are_read_and_hostile_ones_are_none() {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.into());
    let half = array(dtype(Global::new("ml_dtypes", "bfloat16").into()), &[2], false, bytes(&[0, 0x3f, 0x40, 0xc0]));
    assert_eq!(Array::of(&half).unwrap().to_tensor().unwrap().to_f64_vec().unwrap(), [0.5, -3.0]);
    for (code, shape, content) in [
        ("f4", vec![2], vec![0; 4]),
        ("f4", vec![-1], vec![0; 4]),
        ("f4", vec![i64::MAX, i64::MAX, 16], vec![]),
        ("U9223372036854775807", vec![1], vec![0; 4]),
        ("f", vec![1], vec![0; 4]),
        ("", vec![1], vec![0; 4]),
    ] {
        let value = array(dtype(code.into()), &shape, false, bytes(&content));
        assert!(Array::of(&value).is_none(), "{code} {shape:?}");
        // It is an object like any other.
        let checkpoint = Checkpoint::from(Dict::from_iter([("x", value)]));
        assert!(Inspection::of(&checkpoint, false).is_ok() && checkpoint.get::<Vec<f32>>("x").is_err());
    }
    // Nothing in it, and as many lists as one likes.
    let none = array(dtype("f4".into()), &[1 << 40, 0], false, bytes(&[]));
    assert!(Checkpoint::from(Dict::from_iter([("x", none)])).get::<Vec<Vec<f32>>>("x").is_err());
    let holes = array(dtype("f4".into()), &[2, 0, 3], true, bytes(&[]));
    let lists: Vec<Vec<Vec<f32>>> = Checkpoint::from(Dict::from_iter([("x", holes)])).get("x").unwrap();
    assert_eq!(lists, [Vec::<Vec<f32>>::new(), Vec::new()]);
}

#[test]
fn masked_arrays_structures_and_long_doubles_are_arrays() {
    let inspection = Inspection::of(&open("forms.pt"), false).unwrap();
    let values: HashMap<&str, String> =
        inspection.values.iter().map(|(path, value)| (&**path, value.describe())).collect();
    for (path, expected) in [
        ("masked", "a masked NumPy array of float64 [2, 2]"),
        ("unmasked", "a masked NumPy array of float32 [2]"),
        (
            "points",
            "a NumPy array of [('p', [('x', 'float32'), ('y', 'float64')]), ('m', 'float16', (2, 3)), ('t', '<U3')] [2]",
        ),
        ("record", "a NumPy array of [('a', 'int32'), ('b', 'float64')] [2] (numpy.rec.recarray)"),
        ("aligned", "a NumPy array of [('a', 'int8'), ('b', 'float64')] [2]"),
        ("masked_points", "a masked NumPy array of [('a', 'float32'), ('b', 'int64')] [2]"),
        ("long", "a NumPy array of float128 [2, 2]"),
        ("complex_long", "a NumPy array of complex256 [2]"),
        ("texts", "a NumPy array of StringDType [2]"),
        ("tagged", "a NumPy array of float64 [3] (sections.arrays.Tagged)"),
        ("void", "a NumPy array of void24 [2]"),
    ] {
        assert_eq!(values[path], expected, "{path}");
    }
    let mut inside: Vec<&str> = values.keys().copied().filter(|path| path.contains(['(', '['])).collect();
    inside.sort_unstable();
    assert_eq!(inside, ["tagged(state 5).unit", "texts[0]", "texts[1]"], "texts, and what a subclass keeps");
    let lists: Vec<Vec<Option<f64>>> = open("forms.pt").get("masked").unwrap();
    assert_eq!((lists[0][1], lists[1][1]), (None, Some(4.0)));
}

/// What is masked is not looked at; in a structure each element counts once.
#[test]
fn masked_arrays_structures_and_long_doubles_are_looked_through_for_nan() {
    let report = verify(fixtures::path("arrays/forms.pt"), &OpenOptions::default(), true).unwrap();
    let mut counts: Vec<_> = report.not_finite.iter().map(|t| (&*t.name, t.nan, t.inf, t.elements)).collect();
    counts.sort_unstable();
    let expected = [
        ("big_long", 1, 1, 4),
        ("complex_long", 1, 0, 2),
        ("long", 1, 1, 4),
        ("masked", 0, 1, 4),
        ("points", 1, 1, 2),
        ("record", 1, 0, 2),
        ("unmasked", 1, 0, 2),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn masked_arrays_structures_and_long_doubles_are_compared() {
    let (one, other) = (open("forms.pt"), open("forms_other.pt"));
    assert!(compare(&one, &open("forms.pt"), Tolerance::default()).unwrap().is_empty());
    let differences = compare(&one, &other, Tolerance::default()).unwrap();
    let said: HashMap<String, String> =
        differences.iter().map(|(name, difference)| (name.clone(), difference.to_string())).collect();
    for (name, expected) in [
        ("masked", "1 of it masked, in the first"),
        ("masked_ints", "1 of 3 elements differ, by at most 2.000e0"),
        ("unmasked", "other bytes"),
        ("points", "1 of 2 elements differ, by at most 5.000e-1"),
        ("record", "1 of 2 elements differ, by at most 2.500e-1"),
        ("aligned", "1 of 2 elements differ, by at most 1.000e0"),
        ("masked_points", "1 of 2 elements differ, by at most 1.000e0"),
        ("long", "1 of 4 elements differ, by at most 0.000e0"),
        ("complex_long", "1 of 2 elements differ, by at most 1.000e0"),
        ("texts[0]", "\"a\" in the first, \"b\" in the second"),
        ("tagged(state 5).unit", "\"m\" in the first, \"km\" in the second"),
    ] {
        assert!(said[name].contains(expected), "{name}: {}", said[name]);
    }
    assert_eq!(said.len(), 11, "{said:?}");
}

#[test]
fn what_no_tensor_can_hold_is_written_back_as_it_came() {
    let folder = rekindle_testing::scratch();
    for name in ["again.pt", "again.pkl"] {
        let path = folder.path().join(name);
        let options = SaveOptions::default().allow_objects(true);
        let root = open("forms.pt");
        let arrays = Dict::from_iter(
            root.root().as_dict().unwrap().entries().into_iter().filter(|(key, _)| key.as_str() != Some("w")),
        );
        Checkpoint::from(arrays).save_with(&path, &options).unwrap();
        let differences = compare(&root, &Checkpoint::open(&path).unwrap(), Tolerance::default()).unwrap();
        assert_eq!(differences.len(), 1, "{name}: {differences:?}");
    }
}
