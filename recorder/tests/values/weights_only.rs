//! `SaveOptions::weights_only`: what plain `torch.load` takes is written, the rest is left out and named.

use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::pickle::{Verdict, verdict};
use rekindle_recorder::value::{Global, ObjectData};
use rekindle_recorder::{Dict, Tensor, Value};
use rekindle_testing::fixtures;

/// Everything in it is what plain `torch.load` takes.
fn saved(from: &Path, to: &Path) -> (Checkpoint, Vec<String>) {
    let options = SaveOptions::default().weights_only(true);
    let report = Checkpoint::open(from).unwrap().save_with(to, &options).unwrap();
    let again = Checkpoint::open(to).unwrap();
    for name in again.globals() {
        assert_eq!(verdict(name), Verdict::Torch, "{}: {name}", from.display());
    }
    (again, report.notes)
}

#[test]
fn what_plain_torch_load_refuses_is_left_out_and_named() {
    let folder = rekindle_testing::scratch();
    let to = folder.path().join("out.pt");
    let from = fixtures::path("frameworks/timm/end.pt");
    let error = Checkpoint::open(&from).unwrap().save(&to).unwrap_err().to_string();
    assert!(
        error.contains("`SaveOptions::weights_only(true)`") && error.contains("`SaveOptions::allow_objects(true)`")
    );
    let (again, notes) = saved(&from, &to);
    assert!(!again.contains("args") && again.contains("state_dict") && again.contains("optimizer"));
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.contains("left out") && note.contains("'args' (<class argparse.Namespace>)"), "{note}");
    // The rest is as it was.
    let before = Checkpoint::open(&from).unwrap();
    let tensors = |checkpoint: &Checkpoint| -> Vec<(String, Vec<u8>)> {
        let all = checkpoint.tensors().unwrap().into_iter();
        all.map(|(name, tensor)| (name, tensor.to_le_bytes().unwrap().to_vec())).collect()
    };
    assert_eq!(tensors(&again), tensors(&before));
}

#[test]
fn of_a_distributed_tensor_that_one_process_held_the_elements_are_written() {
    let folder = rekindle_testing::scratch();
    let (from, to) = (fixtures::path("tensors/dtensor.pt"), folder.path().join("out.pt"));
    let (again, notes) = saved(&from, &to);
    let original = Checkpoint::open(&from).unwrap();
    let held: Vec<(String, Tensor)> = original
        .tensors()
        .unwrap()
        .into_iter()
        .filter_map(|(name, tensor)| Some((name, tensor.whole_local()?)))
        .collect();
    assert!(!held.is_empty());
    for (name, whole) in held {
        let written: Tensor = again.get(&name).unwrap();
        assert_eq!(written.to_le_bytes().unwrap(), whole.to_le_bytes().unwrap(), "{name}");
        assert!(
            notes.iter().any(|note| note.contains(&format!("'{name}' as the elements that it holds"))),
            "{notes:?}"
        );
    }
}

#[test]
fn every_file_of_pytorchs_has_something_that_plain_torch_load_takes() {
    let folder = rekindle_testing::scratch();
    for name in [
        "zip/values.pt",
        "zip/module.pt",
        "zip/exotic.pt",
        "legacy/early.tar",
        "frameworks/mmengine/end.pt",
        "frameworks/ultralytics/end.pt",
        "frameworks/torchvision/end.pt",
        "tensors/attributes.pt",
        "tensors/npu.pt",
        "scripted/whole.pt",
    ] {
        let (again, notes) = saved(&fixtures::path(name), &folder.path().join("out.pt"));
        assert!(!notes.is_empty(), "{name}");
        assert!(!matches!(again.root(), Value::None), "{name}");
    }
}

#[test]
fn a_whole_module_becomes_its_state_dict() {
    let folder = rekindle_testing::scratch();
    let from = fixtures::path("zip/module.pt");
    let (again, notes) = saved(&from, &folder.path().join("out.pt"));
    let expected = Checkpoint::open(&from).unwrap().state_dict("").unwrap();
    let found = again.state_dict("").unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(notes[0].contains("as its state dict"), "{notes:?}");
}

#[test]
fn places_in_lists_keep_their_numbers_and_what_is_shared_stays_shared() {
    let object = || Checkpoint::open(fixtures::path("frameworks/timm/end.pt")).unwrap().value("args").unwrap();
    let tensor = Value::from(Tensor::from_vec(&[1], vec![1.0_f32]).unwrap());
    let shared = Value::list([tensor.clone(), object()]);
    let root = rekindle_recorder::Dict::new();
    root.insert("list", Value::list([object(), 5.into(), Value::tuple([object(), shared.clone()])]));
    root.insert("again", shared);
    root.insert("plain", tensor);
    let folder = rekindle_testing::scratch();
    let to = folder.path().join("out.pt");
    let options = SaveOptions::default().weights_only(true);
    let report = Conversion::default().save(&Checkpoint::from(root), &to, &options).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("None in its place") && note.contains("'list[2][0]'")));
    let again = Checkpoint::open(&to).unwrap();
    assert!(matches!(again.value("list[0]").unwrap(), Value::None));
    assert_eq!(again.get::<i64>("list[1]").unwrap(), 5);
    let id = |path: &str| again.value(path).unwrap().id();
    assert_eq!(id("again"), id("list[2][1]"));
    assert_eq!(id("again[0]"), id("plain"));
    // Where nothing is left, there is nothing to write, and no answer is advised that was given.
    let nothing = Checkpoint::from(object()).save_with(&to, &options).unwrap_err().to_string();
    assert!(nothing.contains("argparse.Namespace") && !nothing.contains("weights_only"), "{nothing}");
}

#[test]
fn a_tensor_whose_elements_are_in_its_attributes_is_left_out() {
    let folder = rekindle_testing::scratch();
    for (name, key) in [("tensors/dtensor.pt", "rows"), ("tensors/wrappers.pt", "w")] {
        let (again, notes) = saved(&fixtures::path(name), &folder.path().join("out.pt"));
        assert!(!again.contains(key), "{name}");
        assert!(notes.iter().any(|note| note.contains("left out") && note.contains(&format!("'{key}'"))), "{notes:?}");
    }
}

/// A list in a tuple that holds the tuple, and a dict that holds itself beside something refused.
#[test]
fn values_that_are_part_of_themselves_are_written_as_far_as_plain_torch_load_makes_them() {
    let folder = rekindle_testing::scratch();
    let to = folder.path().join("out.pt");
    let options = SaveOptions::default().weights_only(true);
    let list = Value::list([]);
    let tuple = Value::tuple([list.clone()]);
    let Value::List(items) = &list else { panic!("a list") };
    items.write().push(tuple.clone());
    let root = Dict::from_iter([("tuple", tuple), ("kept", Value::Int(1))]);
    let report = Checkpoint::from(root).save_with(&to, &options).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("'tuple[0][0]'")), "{:?}", report.notes);
    assert_eq!(Checkpoint::open(&to).unwrap().get::<i64>("kept").unwrap(), 1);

    let dict = Dict::from_iter([("kept", Value::Int(2))]);
    dict.insert("me", dict.clone());
    dict.insert("refused", ObjectData::call(Global::new("home", "Conf"), Vec::new()));
    let report = Checkpoint::from(dict).save_with(&to, &options.overwrite(true)).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("'refused' (")), "{:?}", report.notes);
    let again = Checkpoint::open(&to).unwrap();
    assert_eq!(again.get::<i64>("me.me.kept").unwrap(), 2);
    assert!(!again.contains("me.refused"));
}
