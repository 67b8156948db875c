//! Distributed checkpoints against those that PyTorch wrote, by one process and by several, and against what PyTorch itself
//! made of them.

mod chunks;
mod damage;
mod make;

use std::collections::BTreeMap;
use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::{self, Format, dcp};
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{Checkpoint, DType, Dict, ErrorKind, Result, StateDict, Storage, Tensor, Value};

use rekindle_testing::conformance::{self, Keeps};
use rekindle_testing::fixtures::{self, json};

use crate::support::{assert_error, assert_tensor, open, state_dict};

/// The value is what PyTorch said.
fn assert_value(value: &Value, truth: &serde_json::Value, path: &str) {
    if let Some(truth) = truth.get("tensor") {
        let Value::Tensor(tensor) = value else { panic!("{path} is {value:?}, not a tensor") };
        return assert_tensor(tensor, truth, path);
    }
    if let Some(entries) = truth.get("dict") {
        let found = value.as_dict().unwrap_or_else(|| panic!("{path} is {value:?}, not a dict")).entries();
        let entries = entries.as_array().unwrap();
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str().unwrap()).collect();
        let expected: Vec<&str> = entries.iter().map(|entry| entry[0].as_str().unwrap()).collect();
        assert_eq!(keys, expected, "{path}: keys in order");
        for ((key, value), entry) in found.iter().zip(entries) {
            assert_value(value, &entry[1], &format!("{path}.{}", key.as_str().unwrap()));
        }
        return;
    }
    for kind in ["list", "tuple"] {
        if let Some(items) = truth.get(kind) {
            assert_eq!(matches!(value, Value::List(_)), kind == "list", "{path} is {value:?}, not a {kind}");
            let (found, items) = (value.items().unwrap(), items.as_array().unwrap());
            assert_eq!(found.len(), items.len(), "{path}: items");
            for (i, (value, truth)) in found.iter().zip(items).enumerate() {
                assert_value(value, truth, &format!("{path}[{i}]"));
            }
            return;
        }
    }
    match (value, truth) {
        (Value::None, serde_json::Value::Null) => {}
        (Value::Bool(found), serde_json::Value::Bool(expected)) => assert_eq!(found, expected, "{path}"),
        (Value::Int(found), serde_json::Value::Number(expected)) => {
            assert_eq!(Some(*found), expected.as_i64(), "{path}");
        }
        (Value::Str(found), serde_json::Value::String(expected)) => assert_eq!(**found, **expected, "{path}"),
        (Value::Float(found), _) => {
            let expected: f64 = truth["float"].as_str().unwrap().parse().unwrap();
            assert_eq!(found.to_bits(), expected.to_bits(), "{path}");
        }
        (found, expected) => panic!("{path} is {found:?}, not {expected}"),
    }
}

/// Names and sizes of the files in a folder.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

const FOLDERS: [&str; 5] = ["single", "ranks2", "ranks4", "fsdp", "files"];

#[test]
fn folders_of_pytorch_are_read_as_pytorch_reads_them() {
    let truth = json("dcp/truth.json");
    for name in FOLDERS {
        let folder = fixtures::path(&format!("dcp/{name}"));
        let opened = container::open(&folder, &OpenOptions::default()).unwrap();
        assert_eq!(opened.format, Format::DCP);
        assert_value(&opened.value, &truth[name]["value"], name);
        let sizes: BTreeMap<String, u64> = serde_json::from_value(truth[name]["files"].clone()).unwrap();
        assert_eq!(files(&folder), sizes);
        assert_eq!(opened.bytes, sizes.values().sum::<u64>());
        assert!(opened.globals.iter().any(|global| global.is("torch.distributed.checkpoint.metadata", "Metadata")));
    }
}

#[test]
fn a_dense_tensor_that_one_process_held_keeps_its_strides() {
    let checkpoint = Checkpoint::open(fixtures::path("dcp/single")).unwrap();
    let strides = &json("dcp/truth.json")["single"]["strides"];
    let stride = |path: &str| checkpoint.get::<Tensor>(path).unwrap().stride().unwrap().to_vec();
    for name in ["views.transposed", "views.part", "model.0.weight", "shapes.scalar"] {
        let expected: Vec<usize> = serde_json::from_value(strides[name].clone()).unwrap();
        assert_eq!(stride(name), expected, "{name}");
    }
    assert_eq!(stride("model.0.weight"), [18, 1, 6, 2], "channels last");
    // With gaps, or without bytes for each element, they are saved row by row.
    assert_eq!((stride("views.sliced"), stride("views.expanded")), (vec![3, 1], vec![4, 1]));
    assert!(checkpoint.get::<Tensor>("parameter").unwrap().requires_grad());
}

#[test]
fn every_protocol_of_pickles_says_the_same() {
    for protocol in 0..6 {
        let path = fixtures::path(&format!("dcp/protocols/protocol{protocol}.metadata"));
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.format(), Some(Format::DCP), "protocol {protocol}");
        let weight = checkpoint.get::<Tensor>("weight").unwrap();
        assert_eq!(weight.to_vec::<f32>().unwrap(), [-0.5, -0.25, 0.0, 0.25], "protocol {protocol}");
        assert_eq!(checkpoint.get::<f64>("nested.lr").unwrap().to_bits(), 0.5_f64.to_bits());
    }
}

#[test]
fn processes_that_saved_apart_are_opened_one_by_one() {
    let folder = fixtures::path("dcp/apart");
    assert_error(
        open(&folder),
        &folder,
        &["the checkpoints of 2 processes", "name one of the files, such as __0.metadata"],
    );
    let truth = json("dcp/truth.json");
    for rank in 0..2 {
        let value = open(&folder.join(format!("__{rank}.metadata"))).unwrap();
        assert_value(&value, &truth["apart"]["value"][rank], "apart");
    }
    let alone = rekindle_testing::scratch();
    for file in ["__1.metadata", "__1_0.distcp"] {
        std::fs::copy(folder.join(file), alone.path().join(file)).unwrap();
    }
    assert_value(&open(alone.path()).unwrap(), &truth["apart"]["value"][1], "apart");
}

#[test]
fn safetensors_files_of_several_processes_are_put_together() {
    let folder = rekindle_testing::scratch();
    let names: Vec<String> = files(&fixtures::path("dcp/hf")).into_keys().collect();
    for name in &names {
        std::fs::copy(fixtures::path("dcp/hf").join(name), folder.path().join(name)).unwrap();
    }
    let value = open(folder.path()).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().format(), Some(Format::DCP));
    let mut entries = value.as_dict().unwrap().entries();
    entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
    let sorted = Value::Dict(entries.into_iter().collect());
    assert_value(&sorted, &json("dcp/truth.json")["hf"]["value"], "hf");
    std::fs::remove_file(folder.path().join(&names[0])).unwrap();
    assert_error(open(folder.path()), folder.path(), &["is in no chunk"]);
}

#[test]
fn the_contents_are_listed_without_reading_a_tensor() {
    let folder = rekindle_testing::scratch();
    for file in files(&fixtures::path("dcp/ranks2")).keys() {
        std::fs::copy(fixtures::path("dcp/ranks2").join(file), folder.path().join(file)).unwrap();
    }
    // The items of tensors are wiped out; those of other values stay.
    let wipe = |file: &str, from: usize| {
        let path = folder.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[from..].fill(0);
        std::fs::write(&path, bytes).unwrap();
    };
    wipe("__0_0.distcp", 0);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(Inspection::of(&checkpoint, false).unwrap().tensors.len(), 7);
    let rows = checkpoint.get::<Tensor>("rows").unwrap();
    assert_eq!((rows.dtype(), rows.shape()), (DType::Float32, &[5, 3][..]));
    assert_error(rows.to_le_bytes(), &folder.path().join("__0_0.distcp"), &["'rows' at byte"]);
}

#[test]
fn what_was_read_is_written_and_read_again() {
    let truth = json("dcp/truth.json");
    for name in FOLDERS {
        let checkpoint = Checkpoint::open(fixtures::path(&format!("dcp/{name}"))).unwrap();
        let folder = rekindle_testing::scratch();
        let path = folder.path().join("copy");
        let report = checkpoint.save_with(&path, &SaveOptions::default().format(Format::DCP)).unwrap();
        let written = files(&path);
        assert_eq!(written.keys().collect::<Vec<_>>(), [".metadata", "__0_0.distcp"]);
        assert_eq!(report.bytes, written.values().sum::<u64>());
        let again = Checkpoint::open(&path).unwrap();
        assert_value(again.root(), &truth[name]["value"], name);
        for ((path, tensor), (_, copy)) in checkpoint.tensors().unwrap().iter().zip(again.tensors().unwrap()) {
            assert_eq!(copy.stride(), tensor.stride(), "{name}, {path}");
        }
    }
}

#[test]
fn a_plain_state_dict_is_as_long_as_pytorchs_own_to_the_byte() {
    // What PyTorch wrote differs in the digits of serialization_id, which depend on its build.
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("copy");
    dcp::write(&open(&fixtures::path("dcp/single")).unwrap(), &path, &SaveOptions::default()).unwrap();
    assert_eq!(files(&path)["__0_0.distcp"], files(&fixtures::path("dcp/single"))["__0_0.distcp"]);
}

#[test]
fn what_is_lost_is_reported() {
    let weight = Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap();
    let tied = Tensor::new(weight.parts().clone()).unwrap();
    let model = Dict::ordered();
    model.insert("weight", weight.clone());
    model.write().state = Some(Dict::from_iter([("_metadata", Dict::ordered())]).into());
    let inside = Value::tuple([Value::from(tied.clone())]);
    let root = Dict::from_iter([
        ("model", Value::from(model)),
        ("head", tied.into()),
        ("pair", inside),
        ("state", Dict::from_iter([(0, 1.5)]).into()),
        ("nothing", Dict::new().into()),
    ]);
    let folder = rekindle_testing::scratch();
    let report = dcp::write(&root.into(), &folder.path().join("run"), &SaveOptions::default()).unwrap();
    let notes = report.notes.join("\n");
    for words in [
        "'state': had keys that are no strings",
        "'nothing': had no entries",
        "'model': had attributes",
        "'head' (is 'model.weight'): were one tensor",
        "'pair' and 'model.weight': shared memory",
    ] {
        assert!(notes.contains(words), "'{words}' in: {notes}");
    }
    let back = Checkpoint::open(folder.path().join("run")).unwrap();
    assert!(!back.contains("nothing"));
    assert_eq!(back.get::<f64>("state.0").unwrap().to_bits(), 1.5_f64.to_bits());
}

#[test]
fn what_cannot_be_written_is_named_and_leaves_nothing() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("run");
    let dict = |entries: &[(&str, Value)]| Value::from(entries.iter().cloned().collect::<Dict>());
    let nested = dict(&[("b", 1.into())]);
    let cyclic = Dict::new();
    cyclic.insert("again", cyclic.clone());
    let object =
        rekindle_recorder::value::ObjectData::call(rekindle_recorder::value::Global::new("mine", "Run"), vec![]);
    let storage = Storage::from_bytes(DType::QInt8, vec![1_u8, 2]);
    let quantised = TensorParts::strided(DType::QInt8, vec![2], storage, 0, vec![1]);
    for (root, words) in [
        (Value::from(5), "writing an int as a distributed checkpoint is not supported; put it into a dict"),
        (dict(&[("a", nested), ("a.b", 2.into())]), "two values would be called 'a.b'"),
        (cyclic.clone().into(), "'again' holds itself"),
        (dict(&[("run", dict(&[("object", object.into())]))]), "'run.object' is <class mine.Run>"),
        (dict(&[("q", Tensor::new(quantised).unwrap().into())]), "'q', a quantised tensor"),
    ] {
        assert_error(
            Checkpoint::from(root).save_with(&path, &SaveOptions::default().format(Format::DCP)),
            &path,
            &[words],
        );
        assert_eq!(files(folder.path()).len(), 0, "{words}: nothing is left");
    }
    cyclic.write().entries.clear();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let error = dcp::write(&dict(&[("a", 1.into())]), &file, &SaveOptions::default()).unwrap_err();
    assert!(error.to_string().contains("this is a file"), "{error}");
}

#[test]
fn an_older_checkpoint_is_replaced_and_other_files_stay() {
    let folder = rekindle_testing::scratch();
    for file in files(&fixtures::path("dcp/ranks2")).keys() {
        std::fs::copy(fixtures::path("dcp/ranks2").join(file), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    // What a save leaves that was killed before it replaced the metadata: the old checkpoint is still whole.
    std::fs::write(folder.path().join("__0_1.distcp"), "half").unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let rows = checkpoint.get::<Tensor>("rows").unwrap();
    checkpoint.set("epoch", 9).unwrap();
    let options = SaveOptions::default().format(Format::DCP);
    let refused = checkpoint.save_with(folder.path(), &options.clone().overwrite(false)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Exists), "{refused}");
    checkpoint.save_with(folder.path(), &options).unwrap();
    let names: Vec<String> = files(folder.path()).into_keys().collect();
    // A name that was not taken, so that the old checkpoint stood whole until its metadata were replaced.
    assert_eq!(names, [".metadata", "__0_2.distcp", "config.json"]);
    let again = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(again.get::<i64>("epoch").unwrap(), 9);
    // What was opened before is still what it was.
    assert_eq!(rows.to_le_bytes().unwrap(), again.get::<Tensor>("rows").unwrap().to_le_bytes().unwrap());
}

struct Dcp;

impl conformance::Format for Dcp {
    fn name(&self) -> &'static str {
        "dcp"
    }

    fn file_name(&self) -> &'static str {
        "checkpoint"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        dcp::write(root, path, options)
    }

    fn keeps(&self) -> Keeps {
        Keeps { order: true, ties: false, views: false, parameters: false, values: true }
    }

    fn holds(&self, _: DType) -> bool {
        true
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        let mut maker = make::Maker::default();
        let tail = Tensor::from_vec(&[1], vec![7_i32]).unwrap();
        maker.tensor("tail", &tail, &[(vec![0], vec![1])], &["__0_0.distcp"]);
        let length = usize::try_from(bytes).unwrap();
        maker.entry("big", DType::UInt8, &[length], &[(vec![0], vec![length])]);
        std::fs::create_dir(path).unwrap();
        rekindle_testing::sparse::write_zip(&path.join("__1_0.distcp"), &[("archive/data/0", b"", bytes)]).unwrap();
        let size = usize::try_from(path.join("__1_0.distcp").metadata().unwrap().len()).unwrap();
        maker.place("big", Some(&[0]), "__1_0.distcp", 0, size);
        maker.write(path);
        true
    }
}

#[test]
fn a_distributed_checkpoint_conforms() {
    conformance::run(&Dcp, "dcp::a_distributed_checkpoint_conforms");
}

#[test]
fn a_state_dict_without_paths_is_one_dict_of_names() {
    let folder = rekindle_testing::scratch();
    let mut maker = make::Maker::default();
    maker.value("a.b", &1.into());
    maker.value("c", &Value::tuple([Value::from(Tensor::scalar(2.5_f32))]));
    maker.write(folder.path());
    let found: StateDict = state_dict(folder.path());
    assert_eq!(found.get_value("a.b").unwrap().as_i64(), Some(1));
    let pair = found.get_value("c").unwrap().items().unwrap();
    assert_eq!(pair[0].as_tensor().unwrap().item().unwrap().to_bits(), 2.5_f64.to_bits());
}
