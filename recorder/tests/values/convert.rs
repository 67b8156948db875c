//! Converting: parts, keys, types and tags; what a format has no room for is named; objects only where they are asked for.

use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions, SaveReport};
use rekindle_recorder::container::Format;
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::value::{Global, ObjectData};
use rekindle_recorder::{DType, Dict, ErrorKind, Result, StateDict, Tensor, Value};

use rekindle_testing::fixtures;

fn tensor(x: f32) -> Tensor {
    Tensor::from_vec(&[2], vec![x, x + 1.0]).unwrap()
}

/// `{"epoch": 3, "model_state_dict": {...}, "optimizer_state_dict": {...}, "note": "first"}`, with a tied weight.
fn run() -> Checkpoint {
    let weight = tensor(1.0);
    let tied = Tensor::new(weight.parts().clone()).unwrap();
    let model = StateDict::from_iter([("module.fc.weight", weight), ("module.head.weight", tied)]);
    let state = Dict::from_iter([("step", Value::from(Tensor::scalar(5.0_f32))), ("exp_avg", tensor(7.0).into())]);
    let group = Dict::from_iter([("lr", Value::Float(0.1)), ("params", vec![Value::Int(0)].into())]);
    let optimizer = Dict::new();
    optimizer.insert("state", Dict::from_iter([(0, state)]));
    optimizer.insert("param_groups", Value::list([group.into()]));
    let root = Dict::new();
    root.insert("epoch", 3);
    root.insert("model_state_dict", model);
    root.insert("optimizer_state_dict", optimizer);
    root.insert("note", "first");
    Checkpoint::from(root)
}

fn save(conversion: &Conversion, checkpoint: &Checkpoint, path: &Path) -> Result<SaveReport> {
    conversion.save(checkpoint, path, &SaveOptions::default())
}

fn names(path: &Path) -> Vec<String> {
    Checkpoint::open(path).unwrap().tensors().unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_format_of_tensors_alone_gets_them_all_by_their_paths_and_the_rest_is_named() {
    let folder = rekindle_testing::scratch();
    for (name, keeps_ties) in [("run.safetensors", true), ("run.npz", false), ("run.bpk", false)] {
        let path = folder.path().join(name);
        let report = save(&Conversion::default(), &run(), &path).unwrap();
        let all = ["model_state_dict.module.fc.weight", "model_state_dict.module.head.weight"];
        let all = [&all[..], &["optimizer_state_dict.state[0].step", "optimizer_state_dict.state[0].exp_avg"]].concat();
        let mut found: Vec<String> = names(&path);
        found.sort();
        let mut expected: Vec<String> = all.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(found, expected, "{name}");
        let notes = report.notes.join("\n");
        assert!(notes.contains("'note'") && notes.contains("`Conversion::key`"), "{name}: {notes}");
        // Burnpack has room for numbers.
        assert_eq!(notes.contains("'epoch'"), name != "run.bpk", "{name}: {notes}");
        assert_eq!(notes.contains("were one tensor"), !keeps_ties, "{name}: {notes}");
    }
    let numbers = Checkpoint::open(folder.path().join("run.bpk")).unwrap();
    assert_eq!(numbers.get::<f64>("['optimizer_state_dict.param_groups[0].lr']").unwrap().to_bits(), 0.1_f64.to_bits());
}

#[test]
fn a_state_dict_loses_only_its_values_and_one_without_any_loses_nothing() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("weights.safetensors");
    let state_dict = Dict::from_iter([("weight", Value::from(tensor(1.0))), ("_extra_state", Value::from("text"))]);
    let report = save(&Conversion::default(), &Checkpoint::from(state_dict), &path).unwrap();
    assert_eq!(report.notes, ["'_extra_state': left out, safetensors keeps tensors alone"]);
    assert_eq!(names(&path), ["weight"]);
    let conversion = Conversion::default();
    let report =
        save(&conversion, &Checkpoint::open(&path).unwrap(), &folder.path().join("again.safetensors")).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let error = save(&conversion, &Checkpoint::from(Dict::from_iter([("epoch", 1)])), &path).unwrap_err();
    assert!(error.to_string().contains("'epoch'"), "{error}");
}

#[test]
fn two_tensors_whose_keys_would_read_alike_are_both_written() {
    let folder = rekindle_testing::scratch();
    let inner = Dict::from_iter([("b", tensor(1.0))]);
    let root = Dict::from_iter([("a", Value::from(inner)), ("a.b", tensor(2.0).into())]);
    let path = folder.path().join("x.npz");
    save(&Conversion::default(), &Checkpoint::from(root), &path).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    assert_eq!(back.state_dict("").unwrap().keys().collect::<Vec<_>>(), ["a.b", "['a.b']"]);
}

#[test]
fn a_part_with_other_keys_another_type_and_another_tag() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("weights.pt");
    let mut conversion = Conversion::default();
    conversion.key = Some("model_state_dict".to_owned());
    conversion.keys = Some(LoadOptions::lenient().strip_prefix("module.").rename("^head", "out").exclude("fc.bias"));
    conversion.dtype = Some(DType::BFloat16);
    conversion.location = Some("cuda:1".to_owned());
    save(&conversion, &run(), &path).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    let tensors = back.tensors().unwrap();
    assert_eq!(tensors.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["fc.weight", "out.weight"]);
    for (_, tensor) in &tensors {
        assert_eq!((tensor.dtype(), tensor.device()), (DType::BFloat16, "cuda:1"));
        assert_eq!(tensor.to_f64_vec().unwrap(), [1.0, 2.0]);
        assert!(tensor.storage().unwrap().same(tensors[0].1.storage().unwrap()), "the tie stays");
    }
    // The whole run: its layout stays, and what is no model keeps its type.
    conversion.key = None;
    save(&conversion, &run(), &path).unwrap();
    let whole = Checkpoint::open(&path).unwrap();
    assert_eq!(whole.get::<Tensor>("model_state_dict.out.weight").unwrap().dtype(), DType::BFloat16);
    assert_eq!(whole.get::<Tensor>("optimizer_state_dict.state[0].exp_avg").unwrap().dtype(), DType::Float32);
    assert_eq!(whole.get::<i64>("epoch").unwrap(), 3);

    for tag in ["gpu", "cpu:0", "cuda:x", "cuda:-1", "meta", ""] {
        conversion.location = Some(tag.to_owned());
        let error = save(&conversion, &run(), &path).unwrap_err();
        assert!(error.to_string().contains("is no device that torch.load knows"), "{error}");
    }
    conversion.location = None;
    conversion.key = Some("model_state".to_owned());
    let error = save(&conversion, &run(), &path).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::MissingKey { .. }) && error.to_string().contains("model_state_dict"));
}

#[test]
fn shards_are_as_large_as_asked_for_and_other_formats_have_none() {
    let folder = rekindle_testing::scratch();
    let mut conversion = Conversion::default();
    conversion.key = Some("optimizer_state_dict.state[0]".to_owned());
    let options = SaveOptions::default().format(Format::HF).max_shard_size(8);
    let path = folder.path().join("model");
    conversion.save(&run(), &path, &options).unwrap();
    assert!(path.join("model-00002-of-00002.safetensors").exists());
    assert_eq!(names(&path), ["step", "exp_avg"]);
    let error = conversion.save(&run(), path.join("x.pt"), &options.format(None)).unwrap_err();
    assert!(error.to_string().contains("x.pt: a size of shards is for the format 'hf'"), "{error}");
}

#[test]
fn what_plain_torch_load_refuses_is_written_only_where_it_is_asked_for() {
    let folder = rekindle_testing::scratch();
    let root = Dict::from_iter([("args", ObjectData::call(Global::new("argparse", "Namespace"), Vec::new()))]);
    let checkpoint = Checkpoint::from(root);
    for container in [Format::ZIP, Format::LEGACY, Format::PICKLE] {
        let path = folder.path().join(container.name());
        let options = SaveOptions::default().format(container);
        let error = Conversion::default().save(&checkpoint, &path, &options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
        assert!(error.to_string().contains("args is <class argparse.Namespace>"), "{error}");
        assert!(error.to_string().contains("`SaveOptions::allow_objects(true)`"), "{error}");
        assert!(!path.exists());
        Conversion::default().save(&checkpoint, &path, &options.allow_objects(true)).unwrap();
        assert!(Checkpoint::open(&path).unwrap().contains("args"));
    }
}

#[test]
fn a_whole_module_becomes_its_state_dict_where_only_tensors_fit() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("module.safetensors");
    let module = Checkpoint::open(fixtures::path("zip/module.pt")).unwrap();
    save(&Conversion::default(), &module, &path).unwrap();
    let expected: Vec<String> = module.state_dict("").unwrap().keys().map(str::to_owned).collect();
    assert_eq!(names(&path).len(), expected.len());
    assert!(expected.contains(&names(&path)[0]));
}

/// The keys of the model in a file, in order.
fn keys(path: &Path, key: &str) -> Vec<String> {
    Checkpoint::open(path).unwrap().state_dict(key).unwrap().keys().map(str::to_owned).collect()
}

#[test]
fn a_prefix_that_all_keys_have_is_taken_off_and_renamed_keys_keep_their_places() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("out.pt");
    let stripped = Conversion::default().keys(LoadOptions::lenient().strip_prefix("module."));
    let report = save(&stripped, &run(), &path).unwrap();
    assert_eq!(keys(&path, "model_state_dict"), ["fc.weight", "head.weight"]);
    assert!(report.notes.iter().any(|note| note == "the keys of model_state_dict are mapped"), "{:?}", report.notes);
    assert_eq!(Checkpoint::open(&path).unwrap().get::<i64>("epoch").unwrap(), 3);
    // The bare state dict, too, in every kind of file.
    let bare = Checkpoint::from(run().value("model_state_dict").unwrap());
    for name in ["bare.pt", "bare.safetensors", "bare.npz", "bare.bpk"] {
        let path = folder.path().join(name);
        save(&stripped, &bare, &path).unwrap();
        assert_eq!(names(&path), ["fc.weight", "head.weight"], "{name}");
    }
    let renamed = Conversion::default().keys(LoadOptions::lenient().rename(r"^module\.fc", "first"));
    save(&renamed, &bare, &folder.path().join("renamed.pt")).unwrap();
    assert_eq!(keys(&folder.path().join("renamed.pt"), ""), ["first.weight", "module.head.weight"]);
}

#[test]
fn several_models_are_all_mapped() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("several.pt");
    let model = |x: f32| StateDict::from_iter([("module.fc.weight", tensor(x))]);
    let root = Dict::from_iter([("modelA_state_dict", model(1.0)), ("modelB_state_dict", model(2.0))]);
    let stripped = Conversion::default().keys(LoadOptions::lenient().strip_prefix("module."));
    save(&stripped, &Checkpoint::from(root), &path).unwrap();
    for key in ["modelA_state_dict", "modelB_state_dict"] {
        assert_eq!(keys(&path, key), ["fc.weight"]);
    }
}

#[test]
fn a_choice_of_nothing_is_an_error_and_a_step_without_effect_is_said() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("nothing.pt");
    let nothing = Conversion::default().keys(LoadOptions::lenient().strip_prefix("module.").include("module.*"));
    let error = save(&nothing, &run(), &path).unwrap_err().to_string();
    assert!(error.contains("no key of model_state_dict is left") && error.contains("'module.fc.weight'"), "{error}");
    assert!(!path.exists());
    let idle = LoadOptions::lenient().include("*").include("decoder.*").strip_prefix("model.").rename("^x", "y");
    let idle = idle.exclude("*.running_mean");
    let report = save(&Conversion::default().keys(idle), &run(), &path).unwrap();
    for said in [
        "no key fits 'decoder.*'",
        "no key begins with 'model.'",
        "'^x' finds nothing in any key",
        "no key fits '*.running_mean'",
    ] {
        assert!(report.notes.iter().any(|note| note.ends_with(said)), "{said}: {:?}", report.notes);
    }
}

#[test]
fn a_whole_module_whose_keys_change_becomes_its_state_dict() {
    let folder = rekindle_testing::scratch();
    let module = Checkpoint::open(fixtures::path("zip/module.pt")).unwrap();
    let before = module.state_dict("").unwrap();
    for name in ["renamed.pt", "renamed.safetensors"] {
        let path = folder.path().join(name);
        let renamed = Conversion::default().keys(LoadOptions::lenient().add_prefix("net."));
        let report = save(&renamed, &module, &path).unwrap();
        let expected: Vec<String> = before.keys().map(|key| format!("net.{key}")).collect();
        assert_eq!(keys(&path, ""), expected, "{name}");
        assert!(report.notes.iter().any(|note| note.contains("becomes its state dict")), "{:?}", report.notes);
    }
    // With its keys as they were, it stays one.
    let path = folder.path().join("cast.pt");
    let cast = Conversion::default().dtype(DType::Float64);
    cast.save(&module, &path, &SaveOptions::default().allow_objects(true)).unwrap();
    assert!(Checkpoint::open(&path).unwrap().root().as_dict().is_none());
}

/// As `grep` over several files: one without a hit is not in what comes out.
#[test]
fn a_model_of_several_that_a_filter_empties_is_left_out_and_named() {
    let root = Dict::new();
    root.insert("netG", StateDict::from_iter([("encoder.weight", tensor(1.0)), ("decoder.weight", tensor(2.0))]));
    root.insert("netD", StateDict::from_iter([("fc.weight", tensor(3.0)), ("fc.bias", tensor(4.0))]));
    root.insert("epoch", 3);
    let checkpoint = Checkpoint::from(root);
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("out.pt");
    let only = |glob: &str| Conversion::default().keys(LoadOptions::lenient().include(glob));
    let report = save(&only("encoder.*"), &checkpoint, &path).unwrap();
    assert_eq!(names(&path), ["netG.encoder.weight"]);
    assert_eq!(Checkpoint::open(&path).unwrap().get::<i64>("epoch").unwrap(), 3);
    let notes = report.notes.join("\n");
    assert!(
        notes.contains("netD: none of its 2 keys is left, so it is left out (there are 'fc.weight', 'fc.bias')"),
        "{notes}"
    );
    // Nothing of any is an error that names what there is.
    let error = save(&only("nothing.*"), &checkpoint, &folder.path().join("no.pt")).unwrap_err().to_string();
    assert!(
        error.contains("no key of netG is left, nor of the other model") && error.contains("'encoder.weight'"),
        "{error}"
    );
    assert!(!folder.path().join("no.pt").exists());
    // In a list its place stays.
    let models = Value::list([
        StateDict::from_iter([("a", tensor(1.0))]).to_value(),
        StateDict::from_iter([("b", tensor(2.0))]).to_value(),
    ]);
    let optimizer = run().value("optimizer_state_dict").unwrap();
    let root = Dict::from_iter([("models", models), ("optimizer", optimizer)]);
    let converted = only("b").apply(&Checkpoint::from(root)).unwrap();
    assert!(matches!(converted.value("models[0]").unwrap(), Value::None), "{:?}", converted.value("models[0]"));
    assert_eq!(converted.get::<Tensor>("models[1].b").unwrap().to_vec::<f32>().unwrap(), [2.0, 3.0]);
}
