//! safetensors against files of the Python package and against the crate itself.

use std::collections::HashMap;
use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::{self, Format, safetensors};
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{Checkpoint, DType, Dict, ErrorKind, Limits, Result, StateDict, Tensor, Value};

use rekindle_testing::conformance::{self, Keeps};
use rekindle_testing::fixtures::{self, json};

use crate::support::{assert_error, assert_tensor, open, state_dict};

const FILES: [&str; 3] = ["dtypes", "plain", "tied"];

fn write(root: &Value, path: &Path) -> SaveReport {
    safetensors::write(root, path, &SaveOptions::default()).unwrap()
}

fn attribute(root: &Value) -> Vec<(String, String)> {
    let state = root.as_dict().unwrap().state();
    let metadata = state.and_then(|state| state.as_dict().unwrap().get("__metadata__"));
    let entries = metadata.map(|metadata| metadata.as_dict().unwrap().entries()).unwrap_or_default();
    let text = |value: Value| value.as_str().unwrap().to_owned();
    entries.into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

#[test]
fn files_of_the_python_package_are_read() {
    let truth = json("safetensors/truth.json");
    for name in FILES {
        let truth = &truth[format!("{name}.safetensors")];
        let state_dict = state_dict(&fixtures::path(&format!("safetensors/{name}.safetensors")));
        let tensors = truth["tensors"].as_array().unwrap();
        let left_out = truth["left_out"].as_array().map_or(0, Vec::len);
        assert_eq!(state_dict.len(), tensors.len() + left_out);
        for (name, truth) in state_dict.keys().zip(tensors) {
            assert_eq!(name, truth["name"].as_str().unwrap(), "the order of load_file");
            let tensor = state_dict.get(name).unwrap();
            assert_tensor(tensor, truth, name);
            assert_eq!(tensor.storage().unwrap().name(), Some(name));
        }
    }
}

#[test]
fn names_that_save_model_left_out_are_tied_again() {
    let state_dict = state_dict(&fixtures::path("safetensors/tied.safetensors"));
    let kept = state_dict.get("embedding.weight").unwrap();
    for name in ["first.weight", "head.weight"] {
        let tensor = state_dict.get(name).unwrap();
        assert!(tensor.storage().unwrap().same(kept.storage().unwrap()), "{name}");
        assert_eq!(tensor.shape(), kept.shape());
        assert!(!tensor.same(kept), "a tensor object of its own, as in a state dict");
    }
    let root = open(&fixtures::path("safetensors/tied.safetensors")).unwrap();
    assert!(attribute(&root).is_empty(), "ties are no metadata any more");
}

#[test]
fn reading_and_writing_gives_the_same_bytes() {
    let folder = rekindle_testing::scratch();
    let (from, to) = (fixtures::path("safetensors/dtypes.safetensors"), folder.path().join("x.safetensors"));
    let root = open(&from).unwrap();
    assert_eq!(attribute(&root), [("format".to_owned(), "pt".to_owned())]);
    let report = write(&root, &to);
    let bytes = std::fs::read(&to).unwrap();
    assert_eq!(bytes, std::fs::read(&from).unwrap());
    assert_eq!((report.bytes, report.notes), (bytes.len() as u64, Vec::new()));
}

#[test]
fn what_is_written_lies_as_the_crate_lays_it_out() {
    let truth = json("safetensors/truth.json");
    let read = state_dict(&fixtures::path("safetensors/dtypes.safetensors"));
    // Backwards, so that the order of the names is not that of the data.
    let mut reversed = StateDict::new();
    for (name, tensor) in read.iter().rev() {
        reversed.insert(name, tensor.clone());
    }
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    write(&reversed.to_value(), &path);
    let bytes = std::fs::read(&path).unwrap();
    let original = std::fs::read(fixtures::path("safetensors/dtypes.safetensors")).unwrap();
    assert_eq!(bytes.len(), original.len());
    let (header, _) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(bytes[8 + header..], original[8 + header..], "the data");
    let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for tensor in truth["dtypes.safetensors"]["tensors"].as_array().unwrap() {
        assert!(file.tensor(tensor["name"].as_str().unwrap()).is_ok());
    }
    assert_eq!(state_dict(&path).keys().collect::<Vec<_>>(), reversed.keys().collect::<Vec<_>>());
}

#[test]
fn metadata_is_kept_and_format_pt_is_added() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    let metadata: HashMap<String, String> = HashMap::from([("author".into(), "\"ü\"\n".into())]);
    let element = 7_u8.to_le_bytes();
    let view = ::safetensors::tensor::TensorView::new(::safetensors::Dtype::U8, vec![], &element).unwrap();
    std::fs::write(&path, ::safetensors::serialize([("x", view)], Some(metadata)).unwrap()).unwrap();
    let root = open(&path).unwrap();
    write(&root, &path);
    let expected = [("format", "pt"), ("author", "\"ü\"\n")].map(|(key, text)| (key.to_owned(), text.to_owned()));
    assert_eq!(attribute(&open(&path).unwrap()), expected);
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata(), &Some(HashMap::from(expected)));
}

#[test]
fn ties_are_written_once_and_named_for_others() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    let tied = Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap();
    let mut state_dict = StateDict::new();
    state_dict.insert("wte", tied.clone());
    state_dict.insert("bias", Tensor::scalar(0.5_f32));
    state_dict.insert("lm_head", Tensor::new(tied.parts().clone()).unwrap());
    let report = write(&state_dict.to_value(), &path);
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert!(report.notes[0].starts_with("'lm_head' (is 'wte'): written once"), "{:?}", report.notes);
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.data_len(), 12);
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata.get("lm_head").map(String::as_str), Some("wte"));
    assert_eq!(metadata.len(), 2, "format, and one tie at the end");

    // A name that is there already is not written over.
    let attribute = Dict::from_iter([("__metadata__", Value::from(Dict::from_iter([("lm_head", "mine")])))]);
    let Value::Dict(root) = state_dict.to_value() else { panic!("a dict") };
    root.write().state = Some(attribute.into());
    let error = safetensors::write(&root.into(), &path, &SaveOptions::default()).unwrap_err();
    assert!(error.to_string().contains("'lm_head' is tied to 'wte'"), "{error}");
}

/// The whole file around a header.
fn file(header: &[u8], data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; data]].concat()
}

/// Headers, each with the number of bytes of data, that test every rule; right and wrong ones.
const HEADERS: &[(&str, usize)] = &[
    ("{}", 0),
    ("{} \t\r\n ", 0),
    (" \t{}", 0),
    ("{}x", 0),
    ("", 0),
    ("[]", 0),
    ("null", 0),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4),
    // Too few bytes, too many, an end before the start, a gap at the start.
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8),
    ("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4),
    // In any order; overlapping; with a gap; without elements at one place.
    (
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        3,
    ),
    (
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
        2,
    ),
    (
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        4,
    ),
    (
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        1,
    ),
    (
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[0,9],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        1,
    ),
    // Shapes that overflow; a zero before or after keeps or breaks the product.
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807,4],\"data_offsets\":[0,0]}}", 0),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807,4,0],\"data_offsets\":[0,0]}}", 0),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[0,9223372036854775807,4],\"data_offsets\":[0,0]}}", 0),
    ("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[18446744073709551615],\"data_offsets\":[0,18446744073709551615]}}", 0),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[18446744073709551616],\"data_offsets\":[0,0]}}", 0),
    // Numbers that are none.
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[-0],\"data_offsets\":[0,0]}}", 0),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[01],\"data_offsets\":[0,1]}}", 1),
    // Elements below a byte.
    ("{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"F4\",\"shape\":[],\"data_offsets\":[0,1]}}", 1),
    // Fields: missing, unknown, twice, as an array, the dtype as an object.
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1),
    (
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":[{\"x\":[1.5,-2,null,true,\"\\u00fc\"]}]}}",
        1,
    ),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1e999}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"dtype\":\"U8\"}}", 1),
    ("{\"a\":[\"U8\",[1],[0,1]]}", 1),
    ("{\"a\":[\"U8\",[1],[0,1],2]}", 1),
    ("{\"a\":[\"U8\",[1]]}", 1),
    ("{\"a\":{\"dtype\":{\"U8\":null},\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":{\"U8\":{}},\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":{\"U8\":1},\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":{\"U8\":null,\"I8\":null},\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":{},\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"u8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,16]}}", 16),
    ("{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":null}", 0),
    // A name twice: the last counts.
    (
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[3,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        1,
    ),
    (
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[3,4]}}",
        1,
    ),
    ("{\"a\":1,\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    // Metadata: texts alone, null, twice.
    ("{\"__metadata__\":{\"a\":\"b\"}}", 0),
    ("{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0),
    ("{\"__metadata__\":null}", 0),
    ("{\"__metadata__\":{\"a\":1}}", 0),
    ("{\"__metadata__\":{\"a\":null}}", 0),
    ("{\"__metadata__\":[]}", 0),
    ("{\"__metadata__\":{},\"__metadata__\":{}}", 0),
    ("{\"__metadata__\":null,\"__metadata__\":{}}", 0),
    ("{\"__metadata__\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    // Text that is none.
    ("{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\0\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
    ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},}", 1),
    ("{'a':{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
];

/// The crate's verdict on a file is ours, but for element types that PyTorch lacks.
fn assert_same_verdict(bytes: &[u8]) {
    let theirs = ::safetensors::SafeTensors::deserialize(bytes);
    let ours = safetensors::read(&FileBytes::from_vec("x", bytes.to_vec()), &OpenOptions::default());
    let lacking = matches!(&ours, Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }));
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(theirs.is_ok(), ours.is_ok() || lacking, "{text}\ntheirs: {theirs:?}\nours: {ours:?}");
    if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
        let ours = StateDict::from_value(&ours.value).unwrap();
        for (name, view) in theirs.iter() {
            assert_eq!(ours.get(name).unwrap().to_le_bytes().unwrap(), view.data(), "{text}");
        }
    }
}

#[test]
fn files_are_refused_exactly_where_the_crate_refuses_them() {
    for (header, data) in HEADERS {
        assert_same_verdict(&file(header.as_bytes(), *data));
    }
    let nested = |depth| {
        let more = "[".repeat(depth) + &"]".repeat(depth);
        format!("{{\"a\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":{more}}}}}")
    };
    (120..132).for_each(|depth| assert_same_verdict(&file(nested(depth).as_bytes(), 1)));
    for bytes in [&[][..], &[0; 7], &[0; 8], &[0xff; 9], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
        assert_same_verdict(bytes);
    }
    // One byte over the crate's limit, and just at it.
    for len in [100_000_000_usize, 100_000_001] {
        let mut header = b"{}".to_vec();
        header.resize(len, b' ');
        assert_same_verdict(&file(&header, 0));
    }
}

#[test]
fn files_with_any_byte_changed_get_the_verdict_of_the_crate() {
    let bytes = std::fs::read(fixtures::path("safetensors/dtypes.safetensors")).unwrap();
    let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap() + 8;
    let mut changed = bytes.clone();
    for at in 0..header {
        for byte in *b"\0 \"0189{}[],:aUF\\\xff" {
            changed[at] = byte;
            assert_same_verdict(&changed);
        }
        changed[at] = bytes[at];
    }
    (0..bytes.len()).for_each(|len| assert_same_verdict(&bytes[..len]));
}

#[test]
fn damage_is_named() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.safetensors");
    let good = "{\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    let gap = good.replace("[0,8]", "[4,12]");
    let shape = good.replace("[2]", "[3]");
    for (bytes, words) in [
        (file(good.as_bytes(), 5), &["is cut off", "its tensors end at byte", "copy or download it again"][..]),
        (file(good.as_bytes(), 9), &["header", "the file goes on to byte", "damaged"]),
        (file(good.as_bytes(), 8)[..40].to_vec(), &["is cut off", "its header ends at byte", "the file at byte 40"]),
        (file(gap.as_bytes(), 12), &["tensor 'fc.weight'", "bytes 4 to 12", "not from byte 0 on"]),
        (file(shape.as_bytes(), 8), &["tensor 'fc.weight'", "F32 [3] takes 12 bytes", "its place has 8"]),
        (file(b"{\"a\":tru}", 0), &["header", "expected"]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_error(open(&path), &path, words);
    }
}

#[test]
fn six_bit_floats_are_read_written_back_and_refused_by_formats_that_lack_them() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    let f6 = "{\"fc.weight\":{\"dtype\":\"F6_E2M3\",\"shape\":[2,4],\"data_offsets\":[0,6]},\
        \"fc.bias\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[6,9]}}";
    let mut bytes = file(f6.as_bytes(), 9);
    let data = bytes.len() - 9;
    bytes[data..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    std::fs::write(&path, &bytes).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let weight: Tensor = checkpoint.get("fc.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (DType::Float6E2M3Fn, &[2, 4][..]));
    assert_eq!(weight.to_le_bytes().unwrap()[..], [1, 2, 3, 4, 5, 6]);
    assert_eq!(checkpoint.get::<Tensor>("fc.bias").unwrap().dtype().name(), "float6_e3m2fn");
    let copy = folder.path().join("copy.safetensors");
    let report = checkpoint.save(&copy).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let again = Checkpoint::open(&copy).unwrap();
    for name in ["fc.weight", "fc.bias"] {
        let [a, b]: [Tensor; 2] = [&checkpoint, &again].map(|checkpoint| checkpoint.get(name).unwrap());
        assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()));
        assert_eq!(a.to_le_bytes().unwrap(), b.to_le_bytes().unwrap(), "{name}");
    }
    for other in ["x.pt", "x.npz"] {
        let error = checkpoint.save(folder.path().join(other)).unwrap_err().to_string();
        assert!(error.contains("fc.weight") && error.contains("float6_e2m3fn"), "{error}");
    }
    assert!(compare(&checkpoint, &again, Tolerance::default()).unwrap().is_empty());
}

#[test]
fn four_bit_floats_that_make_no_pairs_are_kept_and_named_where_pytorch_lacks_them() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    let odd = "{\"fc.weight\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]},\
        \"pairs\":{\"dtype\":\"F4\",\"shape\":[2,4],\"data_offsets\":[3,7]}}";
    std::fs::write(&path, file(odd.as_bytes(), 7)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let [single, pairs]: [Tensor; 2] = ["fc.weight", "pairs"].map(|name| checkpoint.get(name).unwrap());
    assert_eq!((single.dtype().name(), single.shape()), ("float4_e2m1fn", &[2, 3][..]));
    assert_eq!((pairs.dtype().name(), pairs.shape()), ("float4_e2m1fn_x2", &[2, 2][..]));
    let again = folder.path().join("again.safetensors");
    checkpoint.save(&again).unwrap();
    let (before, after) = (std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
    assert_eq!(before[before.len() - 7..], after[after.len() - 7..]);
    let views = ::safetensors::SafeTensors::deserialize(&after).unwrap();
    assert_eq!(views.tensor("fc.weight").unwrap().shape(), [2, 3]);
    assert_eq!(views.tensor("pairs").unwrap().shape(), [2, 4]);
    assert!(compare(&checkpoint, &Checkpoint::open(&again).unwrap(), Tolerance::default()).unwrap().is_empty());
    let error = checkpoint.save(folder.path().join("x.pt")).unwrap_err().to_string();
    assert!(error.contains("fc.weight") && error.contains("float4_e2m1fn"), "{error}");
}

#[test]
fn what_safetensors_cannot_hold_is_refused_by_its_key() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("x.safetensors");
    let tensor = Tensor::scalar(1.0_f32);
    let one = |key: &str, value: Value| Value::from(Dict::from_iter([(key, value)]));
    for (root, words) in [
        (
            one("epoch", 5.into()),
            &["'epoch'", "an int", "keeps tensors only", "`Conversion::key(\"model_state_dict\")`"][..],
        ),
        (one("__metadata__", tensor.clone().into()), &["__metadata__", "rename it"]),
        (Value::from(tensor), &["a tensor without a name"]),
        (Value::from(5), &["the state dict", "an int"]),
    ] {
        let saved = container::save(&root, Format::SAFETENSORS, &path, &SaveOptions::default());
        assert_error(saved, &path, words);
        assert!(!path.exists());
    }
}

#[test]
fn a_header_is_read_within_the_limits() {
    let path = fixtures::path("safetensors/dtypes.safetensors");
    let mut limits = Limits::default();
    limits.values = 5;
    let error = container::open(&path, &OpenOptions::default().limits(limits)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 5, .. }), "{error}");
    let mut limits = Limits::default();
    limits.value_bytes = 100;
    let error = container::open(&path, &OpenOptions::default().limits(limits)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 100, .. }), "{error}");
}

struct Safetensors;

impl conformance::Format for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn file_name(&self) -> &'static str {
        "model.safetensors"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        container::save(root, Format::SAFETENSORS, path, options)
    }

    fn keeps(&self) -> Keeps {
        Keeps { order: true, ties: true, views: false, parameters: false, values: false }
    }

    fn holds(&self, dtype: DType) -> bool {
        !dtype.is_complex() && !dtype.name().starts_with("bits") || dtype == DType::Complex64
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        use std::io::{Seek as _, SeekFrom, Write as _};

        let end = bytes + 4;
        let header = format!(
            "{{\"big\":{{\"dtype\":\"U8\",\"shape\":[{bytes}],\"data_offsets\":[0,{bytes}]}},\
             \"tail\":{{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[{bytes},{end}]}}}}"
        );
        let mut out = std::fs::File::create(path).unwrap();
        out.write_all(&file(header.as_bytes(), 0)).unwrap();
        out.seek(SeekFrom::Current(i64::try_from(bytes).unwrap())).unwrap();
        out.write_all(&7_i32.to_le_bytes()).unwrap();
        true
    }
}

#[test]
fn safetensors_conforms() {
    conformance::run(&Safetensors, "safetensors::safetensors_conforms");
}
