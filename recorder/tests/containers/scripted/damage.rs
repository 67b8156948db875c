//! Archives that are cut off, contradict themselves, or were made to deceive: an error, never a panic, and never without end.

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions};
use rekindle_recorder::container;
use rekindle_recorder::container::zip::{Archive, ArchiveWriter};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::pickle::{self, Dialect, PickleOptions};
use rekindle_recorder::value::{Construction, Global, ObjectData};
use rekindle_recorder::{Dict, ErrorKind, Limits, Value};

use super::fixtures::{bytes, read};

const FILES: [&str; 8] =
    ["script.pt", "mobile.ptl", "traced.pt", "quantised.pt", "model_json.pt", "program.pt2", "views.pt2", "package.pt"];

/// An archive with these records, as PyTorch lays one out.
fn pack(top: &str, records: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(&mut bytes, top);
    records.iter().for_each(|(name, payload)| writer.record(name, payload).unwrap());
    writer.finish().unwrap();
    bytes
}

fn records(file: &str) -> (String, Vec<(String, Vec<u8>)>) {
    let archive = Archive::open(bytes(file).into(), &Limits::default()).unwrap();
    let payload = |name: &str| (name.to_owned(), archive.read(name, true).unwrap().to_vec());
    (archive.top().to_owned(), archive.names().map(payload).collect())
}

/// The archive with other payloads; a record goes where `change` says `None`.
pub(crate) fn repack(file: &str, mut change: impl FnMut(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    let (top, records) = records(file);
    let changed = records.into_iter().filter_map(|(name, payload)| Some((name.clone(), change(&name, payload)?)));
    pack(&top, &changed.collect::<Vec<_>>())
}

/// Everything in an archive that was opened is an error or is there.
fn use_up(bytes: Vec<u8>) -> Result<(), rekindle_recorder::Error> {
    let checkpoint = Checkpoint::from(read(bytes)?.value);
    // Beside the state dict, what its attributes hold.
    let beside = ["attributes", "constants"].map(|name| checkpoint.value(name).map(Checkpoint::from));
    for part in beside.iter().flatten().chain([&checkpoint]) {
        part.tensors()?.iter().try_for_each(|(_, tensor)| tensor.to_le_bytes().map(drop))?;
    }
    if let Ok(state_dict) = checkpoint.state_dict("") {
        state_dict.iter().try_for_each(|(_, tensor)| tensor.to_le_bytes().map(drop))?;
    }
    Ok(())
}

#[test]
fn packing_an_archive_again_loses_nothing() {
    for file in FILES {
        use_up(repack(file, |_, payload| Some(payload))).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn an_archive_cut_off_anywhere_is_said_to_be() {
    for file in FILES {
        let whole = bytes(file);
        for len in (4..whole.len()).step_by(97).chain(whole.len() - 30..whole.len()) {
            let error = read(whole[..len].to_vec()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{file}, {len}: {error}");
        }
    }
}

#[test]
fn every_record_can_be_cut_or_missing() {
    for file in FILES {
        let (top, records) = records(file);
        for (i, (name, payload)) in records.iter().enumerate() {
            // What is read of each: its storages to the byte, its pickles and documents whole; code and notes as far as they are there.
            let needed = !(payload.is_empty()
                || [
                    ".py",
                    ".debug_pkl",
                    ".txt",
                    ".bin",
                    "serialization_id",
                    "byteorder",
                    "traced_inputs.pkl",
                    ".data/version",
                ]
                .iter()
                .any(|end| name.ends_with(end))
                || [
                    "models/",
                    "data/sample_inputs/",
                    "archive_",
                    "bytecode.pkl",
                    "extra/",
                    ".data/extern",
                    ".data/python",
                    "mobile_debug",
                ]
                .iter()
                .any(|start| name.starts_with(start))
                || name == "version");
            for keep in [None, Some(0), Some(payload.len() / 2), Some(payload.len().saturating_sub(1))] {
                let mut cut = records.clone();
                match keep {
                    None => drop(cut.remove(i)),
                    Some(len) => cut[i].1.truncate(len),
                }
                let outcome = use_up(pack(&top, &cut));
                // Without its constants an archive of TorchScript's is one of torch.save's, of an object that is kept whole; nothing
                // says which pickles a package should have.
                let optional = name == "constants.pkl" || file == "package.pt" && name.ends_with(".pkl");
                if needed && (keep.is_some() || !optional) {
                    let error = outcome.expect_err(&format!("{file} {name} {keep:?}"));
                    assert!(
                        !matches!(error.kind(), ErrorKind::Io { .. } | ErrorKind::Invalid(_)),
                        "{file} {name}: {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_storage_of_another_length_is_named() {
    for (file, record) in
        [("traced.pt", "data/0"), ("program.pt2", "data/weights/weight_0"), ("model_json.pt", "tensors/0")]
    {
        let shorter = repack(file, |name, mut payload| {
            payload.truncate(if name == record { payload.len() - 4 } else { payload.len() });
            Some(payload)
        });
        let error = use_up(shorter).unwrap_err();
        let expected = if file == "program.pt2" { "weight" } else { record };
        assert!(error.to_string().contains(expected), "{file}: {error}");
    }
}

#[test]
fn whatever_is_changed_in_a_description_is_an_error_or_is_read() {
    for (file, record) in [
        ("traced.pt", "data.pkl"),
        ("traced.pt", "constants.pkl"),
        ("model_json.pt", "model.json"),
        ("model_json.pt", "attributes.pkl"),
        ("views.pt2", "data/weights/model_weights_config.json"),
        ("views.pt2", "data/weights/weight_0"),
        ("package.pt", "model/net.pkl"),
    ] {
        let (top, records) = records(file);
        let place =
            records.iter().position(|(name, _)| name == record).unwrap_or_else(|| panic!("{file} has {record}"));
        let len = records[place].1.len();
        let mut failed = 0;
        for at in (0..len).step_by(1 + len / 400) {
            for flip in [0x01, 0x10, 0x80] {
                let mut changed = records.clone();
                changed[place].1[at] ^= flip;
                failed += usize::from(use_up(pack(&top, &changed)).is_err());
            }
        }
        assert!(failed > 0, "{file} {record}");
    }
}

/// Objects of TorchScript's in a pickle, and the archive around it.
fn script(root: &Value, code: &str) -> Vec<u8> {
    let pickled = pickle::write(root, &PickleOptions { dialect: Dialect::Zip, allow_objects: true }).unwrap();
    script_of(&pickled.bytes, code)
}

fn script_of(pickle: &[u8], code: &str) -> Vec<u8> {
    let records: Vec<(String, Vec<u8>)> = [
        ("data.pkl", pickle),
        ("code/__torch__.py", code.as_bytes()),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
    ]
    .map(|(name, payload)| (name.to_owned(), payload.to_vec()))
    .to_vec();
    pack("deep", &records)
}

fn module(attributes: Dict) -> Value {
    let mut object = ObjectData::call(Global::new("__torch__", "M"), Vec::new());
    object.construction = Construction::New;
    object.states.push(attributes.into());
    object.into()
}

const CODE: &str = "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n";

#[test]
fn modules_that_hold_themselves_or_nest_without_end_are_an_error() {
    // One that holds itself.
    let attributes = Dict::new();
    let root = module(attributes.clone());
    attributes.insert("me", root.clone());
    let error = read(script(&root, CODE)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    assert!(error.to_string().contains("one may hold itself"), "{error}");
    root.clear();
    attributes.write().entries.clear();
    // 100,000 in each other, as bytes: nothing here could write them.
    let count = 100_000;
    let open = b"c__torch__\nM\n)\x81}X\x01\x00\x00\x00a".repeat(count);
    let deep = [b"\x80\x02".to_vec(), open, b"N".to_vec(), b"sb".repeat(count), b".".to_vec()].concat();
    for code in [CODE, ""] {
        let error = read(script_of(&deep, code)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    }
}

#[test]
fn modules_that_share_others_do_not_spell_out_without_end() {
    // 60 modules, each twice in the next: 2^60 paths.
    let mut root = module(Dict::new());
    for _ in 0..60 {
        root = module(Dict::from_iter([("a", root.clone()), ("b", root)]));
    }
    let bytes = script(&root, CODE);
    let mut limits = Limits::default();
    limits.values = 100_000;
    let file = FileBytes::from_vec("shared.pt", bytes);
    let error = container::read(&file, &OpenOptions::default().limits(limits)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 100_000, .. }), "{error}");
}

#[test]
fn attributes_that_hold_themselves_are_read() {
    // A list in itself, through a tuple; and an object of the model's own in itself.
    let list = rekindle_recorder::value::List::new(Vec::new());
    let knot = Value::List(list.clone());
    list.write().push(Value::tuple([knot.clone(), Value::Int(1)]));
    let own = Dict::new();
    let mut object = ObjectData::call(Global::new("__torch__", "Own"), Vec::new());
    object.construction = Construction::New;
    object.states.push(own.clone().into());
    let object = Value::from(object);
    own.insert("me", object.clone());
    let root = module(Dict::from_iter([("list", knot.clone()), ("own", object)]));
    let opened = read(script(&root, &format!("{CODE}class Own:\n  me : Tensor\n"))).unwrap();
    let checkpoint = Checkpoint::from(opened.value);
    let read = checkpoint.value("attributes.list").unwrap();
    let inner = read.items().unwrap()[0].items().unwrap();
    assert_eq!(inner[0].id(), read.id());
    let own_read = checkpoint.value("attributes.own").unwrap();
    assert_eq!(own_read.as_dict().unwrap().get("me").unwrap().id(), own_read.id());
    [knot, read, own_read, own.into()].iter().for_each(Value::clear);
}

#[test]
fn a_document_that_nests_without_end_is_an_error() {
    let open = r#"{"submodules":["#.repeat(100_000);
    let deep = format!(r#"{{"mainModule":{open}"#);
    let archive =
        repack("model_json.pt", |name, payload| Some(if name == "model.json" { deep.clone().into() } else { payload }));
    assert!(matches!(read(archive).unwrap_err().kind(), ErrorKind::Damaged { .. }));
}

#[test]
fn numbers_in_documents_are_not_believed() {
    let json = |file: &str, record: &str, from: &str, to: &str| {
        let mut found = false;
        let archive = repack(file, |name, payload| {
            if name != record {
                return Some(payload);
            }
            let text = String::from_utf8(payload).unwrap();
            found = text.contains(from);
            Some(text.replacen(from, to, 1).into())
        });
        assert!(found, "{file} {record}: {from}");
        use_up(archive).unwrap_err()
    };
    for (from, to) in [
        (r#""dims":["3","2"]"#, r#""dims":["3","-2"]"#),
        (r#""dims":["3","2"]"#, r#""dims":["9223372036854775807","2"]"#),
        (r#""dims":["3","2"]"#, r#""dims":["3","2","2"]"#),
        (r#""offset":"9""#, r#""offset":"99""#),
        (r#""strides":["2","1"]"#, r#""strides":["18446744073709551615","1"]"#),
        (r#""tensorId":"2""#, r#""tensorId":"2000""#),
        (r#""tensorId":"2""#, r#""tensorId":"-1""#),
        (r#""tensorId":"2""#, r#""tensorId":"two""#),
        (r#""key":"tensors/0""#, r#""key":"tensors/none""#),
        (r#""dataType":"DOUBLE""#, r#""dataType":"STRING""#),
        (r#""id":"3""#, r#""id":"300""#),
    ] {
        let error = json("model_json.pt", "model.json", from, to);
        assert!(!error.to_string().is_empty(), "{from} {to}");
    }
    let config = "data/weights/model_weights_config.json";
    for (from, to) in [
        (
            r#""sizes": [{"as_int": 2}, {"as_int": 2}], "requires_grad": true"#,
            r#""sizes": [{"as_int": 2}, {"as_int": -2}], "requires_grad": true"#,
        ),
        (r#""storage_offset": {"as_int": 5}"#, r#""storage_offset": {"as_int": 9223372036854775807}"#),
        (r#""as_int": 5"#, r#""as_expr": {"expr_str": "s0"}"#),
        (r#""strides": [{"as_int": 4}"#, r#""strides": [{"as_int": 4000}"#),
        (r#""dtype": 13"#, r#""dtype": 77"#),
        (r#""layout": 7}}, "row""#, r#""layout": 1}}, "row""#),
        (r#""path_name": "weight_1""#, r#""path_name": "weight_none""#),
        (r#""use_pickle": false, "tensor_meta": {"#, r#""use_pickle": false, "tensor_meta": null, "spare": {"#),
    ] {
        let error = json("views.pt2", config, from, to);
        assert!(!error.to_string().is_empty(), "{from} {to}");
    }
}
