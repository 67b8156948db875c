//! New weights in an existing archive: they are there, and everything else is as it was.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions, SaveReport};
use rekindle_recorder::container::zip::{Archive, Record};
use rekindle_recorder::container::{Format, export, torchscript};
use rekindle_recorder::tensor::{Quantizer, TensorParts};
use rekindle_recorder::{DType, Error, ErrorKind, Limits, Result, StateDict, Tensor, Value};

use super::damage::repack;
use super::fixtures::{PROGRAMS, SCRIPTS, bytes, open, path, state_dict};

/// Other elements of the same kind: the lowest bit of every byte turned round, so that views of one storage still agree and
/// a bool stays one.
pub(crate) fn other(tensor: &Tensor) -> Tensor {
    let bytes: Vec<u8> = tensor.to_le_bytes().unwrap().iter().map(|byte| byte ^ 1).collect();
    let plain = Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), bytes).unwrap();
    let quantizer = tensor.parts().quantizer.clone();
    Tensor::new(TensorParts { quantizer, ..plain.parts().clone() }).unwrap()
}

pub(crate) fn others(weights: &StateDict) -> StateDict {
    weights.iter().map(|(name, tensor)| (name.to_owned(), other(tensor))).collect()
}

fn replace(file: &Path, weights: &StateDict, to: &Path) -> Result<SaveReport> {
    let program = file.extension().is_some_and(|extension| extension == "pt2");
    let replace = if program { export::replace } else { torchscript::replace };
    replace(file, weights, to, &SaveOptions::default())
}

fn archive(bytes: Vec<u8>) -> Archive {
    Archive::open(bytes.into(), &Limits::default()).unwrap()
}

/// Where a record's payload is in the file.
fn payload_of(file: &[u8], record: &Record) -> Range<usize> {
    let header = usize::try_from(record.header).unwrap();
    let extra = usize::from(u16::from_le_bytes([file[header + 28], file[header + 29]]));
    let start = header + 30 + record.name.len() + extra;
    start..start + usize::try_from(record.stored).unwrap()
}

/// The names of the records whose payload differs; everything else about the archives is the same.
fn changed_records(before: &[u8], after: &[u8]) -> BTreeSet<String> {
    assert_eq!(before.len(), after.len());
    let [old, new] = [before, after].map(|bytes| archive(bytes.to_vec()));
    let layout = |archive: &Archive| -> Vec<_> {
        archive.records().iter().map(|r| (r.name.clone(), r.size, r.stored, r.deflated, r.header)).collect()
    };
    assert_eq!(layout(&old), layout(&new));
    let mut restored = after.to_vec();
    let mut changed = BTreeSet::new();
    for (i, name) in old.names().enumerate() {
        // The checksums of the new archive hold.
        if old.payload(i, true).unwrap() != new.payload(i, true).unwrap() {
            changed.insert(name.to_owned());
        }
    }
    // With the changed payloads and their checksums put back, it is the same file to the byte.
    for record in old.records() {
        let payload = payload_of(before, record);
        let mut places = vec![payload.clone()];
        if record.stored > 0 {
            // The checksum in the header or behind the signature of the descriptor, and in the directory.
            let entry = (payload.end..before.len() - 46)
                .find(|&at| {
                    before[at..].starts_with(b"PK\x01\x02") && before[at + 46..].starts_with(record.name.as_bytes())
                })
                .unwrap();
            let header = usize::try_from(record.header).unwrap();
            places.extend([header + 14..header + 18, entry + 16..entry + 20]);
            if before[payload.end..].starts_with(b"PK\x07\x08") {
                places.push(payload.end + 4..payload.end + 8);
            }
        }
        for place in places {
            restored[place.clone()].copy_from_slice(&before[place]);
        }
    }
    assert!(restored == before, "a byte outside the payloads differs");
    changed
}

#[test]
fn new_weights_are_there_and_everything_else_is_as_it_was() {
    let folder = rekindle_testing::scratch();
    for file in SCRIPTS.into_iter().chain(PROGRAMS) {
        let weights = state_dict(file);
        let new = others(&weights);
        let to = folder.path().join(file);
        let report = replace(&path(file), &new, &to).unwrap_or_else(|error| panic!("{error}"));
        let (before, after) = (bytes(file), std::fs::read(&to).unwrap());
        assert_eq!(report.bytes, after.len() as u64);
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        let copy = Checkpoint::open(&to).unwrap().state_dict("").unwrap();
        assert!(copy.keys().eq(weights.keys()), "{file}");
        for (name, tensor) in copy.iter() {
            assert_eq!(tensor.to_le_bytes().unwrap(), new.get(name).unwrap().to_le_bytes().unwrap(), "{file} {name}");
            let old = weights.get(name).unwrap();
            assert_eq!((tensor.stride(), tensor.offset()), (old.stride(), old.offset()), "{file} {name}");
        }
        // Storages are named by their records without the folder; one of a file in a record, behind the record's name.
        let in_folder = |name: &str| name.strip_prefix("data/").unwrap_or(name).to_owned();
        let storages: Vec<String> = weights
            .iter()
            .filter(|(_, tensor)| tensor.numel() > 0)
            .map(|(_, tensor)| in_folder(tensor.storage().unwrap().name().unwrap()))
            .collect();
        let holds = |record: &str| {
            let ends = |rest: &str| rest.is_empty() || rest.starts_with('/');
            storages.iter().any(|storage| storage.strip_prefix(&*in_folder(record)).is_some_and(ends))
        };
        let changed = changed_records(&before, &after);
        let expected = archive(before).names().filter(|name| holds(name)).map(ToOwned::to_owned).collect();
        assert_eq!(changed, expected, "{file}");
        assert!(!changed.is_empty());
    }
}

#[test]
fn the_same_weights_give_the_same_file() {
    let folder = rekindle_testing::scratch();
    for file in SCRIPTS.into_iter().chain(PROGRAMS) {
        let to = folder.path().join(file);
        replace(&path(file), &state_dict(file), &to).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes(file), "{file}");
    }
}

#[test]
fn each_of_several_programs_gets_its_own_weights() {
    let folder = rekindle_testing::scratch();
    let checkpoint = open("several.pt2");
    let mut new = StateDict::new();
    for program in ["first", "second"] {
        let weights = others(&checkpoint.state_dict(program).unwrap());
        weights.iter().for_each(|(name, tensor)| drop(new.insert(format!("{program}.{name}"), tensor.clone())));
    }
    let to = folder.path().join("several.pt2");
    export::replace(&path("several.pt2"), &new, &to, &SaveOptions::default()).unwrap();
    let copy = Checkpoint::open(&to).unwrap();
    for (name, tensor) in new.iter() {
        assert_eq!(copy.get::<Tensor>(name).unwrap().to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{name}");
    }
    assert!(!changed_records(&bytes("several.pt2"), &std::fs::read(&to).unwrap()).is_empty());
    // A checkpoint of the archive itself goes back into it.
    let again = folder.path().join("again.pt2");
    copy.save_with(&again, &SaveOptions::default().template(path("several.pt2"))).unwrap();
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&to).unwrap());
}

#[test]
fn an_archive_takes_new_weights_in_place() {
    let folder = rekindle_testing::scratch();
    for file in ["script.pt", "program.pt2"] {
        let to = folder.path().join(file);
        std::fs::copy(path(file), &to).unwrap();
        let new = others(&state_dict(file));
        replace(&to, &new, &to).unwrap();
        let copy = Checkpoint::open(&to).unwrap().state_dict("").unwrap();
        assert!(copy.iter().all(|(name, x)| x.to_le_bytes().unwrap() == new.get(name).unwrap().to_le_bytes().unwrap()));
    }
}

#[test]
fn a_checkpoint_is_saved_into_a_template_and_never_without_one_by_mistake() {
    let folder = rekindle_testing::scratch();
    for (file, container) in [("script.pt", Format::TORCHSCRIPT), ("program.pt2", Format::PT2)] {
        let checkpoint = open(file);
        let to = folder.path().join(file);
        let error = checkpoint.save(&to).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        let error = checkpoint.save_with(&to, &SaveOptions::default().format(container)).unwrap_err();
        assert!(error.to_string().contains("from weights alone"), "{error}");
        assert!(!to.exists());
        checkpoint.save_with(&to, &SaveOptions::default().template(path(file))).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes(file), "{file}");
        // The state dict alone is a file as torch.save writes it.
        let alone = folder.path().join("alone.pt");
        let weights = Checkpoint::from(checkpoint.state_dict("").unwrap().to_value());
        weights.save_with(&alone, &SaveOptions::default().format(Format::ZIP)).unwrap();
        assert_eq!(Checkpoint::open(&alone).unwrap().format(), Some(Format::ZIP));
    }
    let error = open("script.pt")
        .save_with(folder.path().join("x.pt"), &SaveOptions::default().template(path("whole.pt")))
        .unwrap_err();
    assert!(error.to_string().contains("a template must be an archive of"), "{error}");
}

/// What replacing says of a state dict that was changed; the target is never there.
fn error_of(file: &str, change: impl FnOnce(&mut StateDict)) -> Error {
    let folder = rekindle_testing::scratch();
    let to = folder.path().join(file);
    let mut weights = state_dict(file);
    change(&mut weights);
    let error = replace(&path(file), &weights, &to).unwrap_err();
    assert!(!to.exists());
    assert!(error.to_string().contains(file), "{error}");
    error
}

fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::from_le_bytes(dtype, shape, vec![0; dtype.size() * shape.iter().product::<usize>()]).unwrap()
}

#[test]
fn what_does_not_fit_is_named() {
    let mismatch = |error: Error| match error.kind() {
        ErrorKind::Mismatch(report) => (**report).clone(),
        _ => panic!("{error}"),
    };
    for (file, name, shape) in [("script.pt", "steps.0.weight", [2, 3]), ("program.pt2", "embed.weight", [4, 5])] {
        let report = mismatch(error_of(file, |weights| drop(weights.remove(name))));
        assert_eq!((report.missing, report.unexpected), (vec![name.to_owned()], Vec::new()));
        let report =
            mismatch(error_of(file, |weights| drop(weights.insert("new.weight", zeros(DType::Float32, &[1])))));
        assert_eq!((report.missing, report.unexpected), (Vec::new(), vec!["new.weight".to_owned()]));
        let report = mismatch(error_of(file, |weights| drop(weights.insert(name, zeros(DType::Float32, &shape)))));
        assert_eq!(report.mismatched[0].key, name);
        let error = error_of(file, |weights| {
            let shape = weights.get(name).unwrap().shape().to_vec();
            weights.insert(name, zeros(DType::Float64, &shape));
        });
        assert!(
            matches!(error.kind(), ErrorKind::WrongType { .. }) && error.place().as_deref() == Some(name),
            "{error}"
        );
        let error = error_of(file, |weights| drop(weights.insert_value(name, Value::Int(1))));
        assert!(error.to_string().contains(&format!("{name} is an int, where a tensor is expected")), "{error}");
    }
}

#[test]
fn a_counter_of_batches_that_is_missing_is_noted_and_stays() {
    let folder = rekindle_testing::scratch();
    let to = folder.path().join("script.pt");
    let mut weights = others(&state_dict("script.pt"));
    weights.remove("steps.1.num_batches_tracked").unwrap();
    let report = replace(&path("script.pt"), &weights, &to).unwrap();
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert!(report.notes[0].contains("'steps.1.num_batches_tracked'"), "{:?}", report.notes);
    let copy = Checkpoint::open(&to).unwrap().get::<Tensor>("['steps.1.num_batches_tracked']").unwrap();
    assert_eq!(copy.to_vec::<i64>().unwrap(), [0]);
}

#[test]
fn names_that_share_memory_need_the_same_values() {
    for (file, name, with) in [
        ("script.pt", "row", "'column'"),
        ("script.pt", "layers.1.weight", "'layers.0.weight'"),
        ("program.pt2", "head.weight", "'embed.weight'"),
    ] {
        let error = error_of(file, |weights| {
            let tensor = other(weights.get(name).unwrap());
            weights.insert(name, tensor);
        });
        assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
        assert!(error.to_string().contains("shares memory with") && error.to_string().contains(with), "{error}");
    }
}

#[test]
fn a_quantised_tensor_needs_the_scale_of_the_archive() {
    let error = error_of("quantised.pt", |weights| {
        let tensor = weights.get("q").unwrap().clone();
        let quantizer = Some(Quantizer::PerTensor { scale: 0.5, zero_point: 3 });
        weights.insert("q", Tensor::new(TensorParts { quantizer, ..tensor.parts().clone() }).unwrap());
    });
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
}

#[test]
fn what_is_no_template_is_told() {
    let folder = rekindle_testing::scratch();
    let to = folder.path().join("to.pt");
    let options = SaveOptions::default();
    let state_dict = StateDict::new();
    for (replace, file, words) in [
        (torchscript::replace as fn(&_, &_, &_, &_) -> _, "frozen.pt", "without torch.jit.freeze"),
        (torchscript::replace, "whole.pt", "the template is no TorchScript archive"),
        (torchscript::replace, "truth.json", "the template is no zip archive"),
        (export::replace, "script.pt", "the template is no torch.export archive"),
        (export::replace, "absent.pt2", "cannot open"),
    ] {
        let error: Error = replace(&path(file), &state_dict, &to, &options).map(|_: SaveReport| ()).unwrap_err();
        assert!(error.to_string().contains(words) && error.to_string().contains(file), "{error}");
        assert!(!to.exists());
    }
}

#[test]
fn a_damaged_template_is_no_template() {
    let folder = rekindle_testing::scratch();
    let (from, to) = (folder.path().join("from.pt"), folder.path().join("to.pt"));
    for file in ["script.pt", "program.pt2", "program_old.pt2", "model_json.pt"] {
        let from = from.with_extension(path(file).extension().unwrap());
        let whole = bytes(file);
        let weights = state_dict(file);
        let records = archive(whole.clone()).records().to_vec();
        for record in records.iter().filter(|record| record.stored > 0) {
            // A byte of its payload, weights or not.
            let mut damaged = whole.clone();
            let payload = payload_of(&whole, record);
            damaged[payload.start + payload.len() / 2] ^= 0x10;
            std::fs::write(&from, damaged).unwrap();
            let error = replace(&from, &weights, &to).expect_err(&record.name);
            assert!(!matches!(error.kind(), ErrorKind::Io { .. } | ErrorKind::Mismatch(_)), "{}: {error}", record.name);
            assert!(!to.exists(), "{}", record.name);
        }
        for len in [whole.len() / 2, whole.len() - 1] {
            std::fs::write(&from, &whole[..len]).unwrap();
            let error = replace(&from, &weights, &to).map(drop).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
        }
    }
}

#[test]
fn weights_that_are_big_endian_stay() {
    let folder = rekindle_testing::scratch();
    let (from, to) = (folder.path().join("from.pt"), folder.path().join("to.pt"));
    std::fs::write(
        &from,
        repack("traced.pt", |name, payload| Some(if name == "byteorder" { b"big".to_vec() } else { payload })),
    )
    .unwrap();
    let error = replace(&from, &state_dict("traced.pt"), &to).map(drop).unwrap_err();
    assert!(error.to_string().contains("big-endian"), "{error}");
    assert!(!to.exists());
}
