//! What hangs on tensors (attributes, a quantiser's parameters, what is in them in turn) is seen by every tool.

use std::collections::{BTreeMap, HashMap};

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::container::zip::Archive;
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::diff::{Difference, Tolerance, compare};
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::location::MapLocation;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, DType, Limits, Tensor, Value, walk};
use rekindle_testing::fixtures;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("tensors").join(name)).unwrap()
}

fn tensors(checkpoint: &Checkpoint) -> BTreeMap<String, Tensor> {
    checkpoint.tensors().unwrap().into_iter().collect()
}

/// The names that share a storage, in groups.
fn sharing(checkpoint: &Checkpoint) -> Vec<Vec<String>> {
    let mut groups: HashMap<usize, Vec<String>> = HashMap::new();
    for (name, tensor) in checkpoint.tensors().unwrap() {
        if let Some(storage) = tensor.storage().filter(|storage| !storage.is_empty()) {
            groups.entry(storage.id()).or_default().push(name);
        }
    }
    let mut groups: Vec<_> = groups.into_values().filter(|names| names.len() > 1).collect();
    groups.sort();
    groups
}

#[test]
fn tensors_and_values_in_attributes_are_listed_by_their_paths() {
    let inspection = Inspection::of(&open("attributes.pt"), true).unwrap();
    let names: Vec<&str> = inspection.tensors.iter().map(|entry| &*entry.name).collect();
    let expected = [
        "w",
        "w@mask",
        "w@view",
        "shared",
        "deep",
        "deep@outer",
        "deep@outer@inner",
        "scalar",
        "scalar@scale",
        "empty",
        "empty@ids",
        "packed",
        "packed@quant_state.absmax",
        "packed@quant_state.code",
        "parallel",
        "buffer",
    ];
    assert_eq!(names, expected);
    assert!(inspection.tensors.iter().all(|entry| entry.sha256.is_some()));
    let tied: Vec<_> =
        inspection.tensors.iter().filter_map(|entry| Some((&*entry.name, entry.tied_to.as_deref()?))).collect();
    assert_eq!(tied, [("shared", "w@view")]);
    let values: Vec<String> = inspection.values.iter().map(|(path, value)| format!("{path} = {value:?}")).collect();
    for expected in [
        "w@note = \"a\"",
        "packed@quant_state.blocksize = 64",
        "packed@quant_state.dtype = torch.float16",
        "parallel@tensor_model_parallel = True",
        "parallel@partition_dim = 0",
    ] {
        assert!(values.iter().any(|value| value == expected), "{expected} in {values:?}");
    }
    let quantised = Inspection::of(&open("quantised.pt"), false).unwrap();
    let values: Vec<String> = quantised.values.iter().map(|(path, value)| format!("{path} = {value:?}")).collect();
    for expected in ["scaled(scale) = 0.5", "scaled(zero_point) = 3", "channels(axis) = 0"] {
        assert!(values.iter().any(|value| value == expected), "{expected} in {values:?}");
    }
    assert_eq!(open("quantised.pt").get::<Tensor>("channels(scales)").unwrap().to_vec::<f64>().unwrap(), [0.5, 0.125]);
}

#[test]
fn tensors_in_sets_in_keys_and_in_attributes_of_dicts_are_found_and_asked_for_by_path() {
    let checkpoint = open("hidden.pt");
    let found = tensors(&checkpoint);
    assert_eq!(found.len(), 4, "{found:?}");
    for (path, tensor) in &found {
        let Value::Tensor(again) = walk::get(checkpoint.root(), path).unwrap() else { panic!("{path} is no tensor") };
        assert!(again.same(tensor), "{path}");
    }
    let report = verify(fixtures::path("tensors/hidden.pt"), &OpenOptions::default(), true).unwrap();
    let names: Vec<&str> = report.not_finite.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["dict@extra.mean"]);
}

#[test]
fn files_that_differ_only_in_what_hangs_on_tensors_differ() {
    let names = |a: &str, b: &str| -> Vec<String> {
        let differences = compare(&open(a), &open(b), Tolerance::default()).unwrap();
        differences.into_iter().map(|(name, _)| name).collect()
    };
    let attributes = [
        "w@note",
        "deep@outer@inner",
        "packed@quant_state.absmax",
        "packed@quant_state.quant_type",
        "parallel@partition_dim",
    ];
    assert_eq!(names("attributes.pt", "attributes_b.pt"), attributes);
    let quantised = ["scaled(scale)", "scaled(zero_point)", "channels(scales)", "channels(zero_points)", "axis(axis)"];
    assert_eq!(names("quantised.pt", "quantised_b.pt"), quantised);
    for same in ["attributes.pt", "quantised.pt", "hidden.pt", "devices.pt", "dtensor.pt", "wrappers.pt", "unknown.pt"]
    {
        if same != "hidden.pt" {
            assert!(names(same, same).is_empty(), "{same}");
        }
    }
}

#[test]
fn another_class_of_tensor_is_a_difference() {
    let image = open("fastai.pt");
    let value = walk::get(image.root(), "image").unwrap();
    let plain = value.as_tensor().unwrap().detach();
    let [a, b] =
        [value, plain.into()].map(|image| Checkpoint::from(rekindle_recorder::Dict::from_iter([("image", image)])));
    let differences = compare(&a, &b, Tolerance::default()).unwrap();
    let (name, difference) = &differences[0];
    assert!(
        name == "image" && matches!(difference, Difference::Kind { a, .. } if a.contains("TensorImage")),
        "{difference}"
    );
}

#[test]
fn nan_in_attributes_and_in_scales_is_found() {
    let report = verify(fixtures::path("tensors/attributes_b.pt"), &OpenOptions::default(), true).unwrap();
    let found: Vec<_> = report.not_finite.iter().map(|tensor| (&*tensor.name, tensor.nan, tensor.elements)).collect();
    assert_eq!(found, [("w@mask", 1, 3), ("deep@outer@inner", 1, 2)]);
    let checkpoint = open("quantised.pt");
    let mut parts = checkpoint.get::<Tensor>("scaled").unwrap().parts().clone();
    let Some(rekindle_recorder::tensor::Quantizer::PerTensor { scale, .. }) = &mut parts.quantizer else { panic!() };
    *scale = f64::NAN;
    checkpoint.set("scaled", Tensor::new(parts).unwrap()).unwrap();
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("nan.pt");
    checkpoint.save(&path).unwrap();
    let report = verify(&path, &OpenOptions::default(), true).unwrap();
    assert_eq!(report.not_finite.iter().map(|tensor| &*tensor.name).collect::<Vec<_>>(), ["scaled(scale)"]);
}

#[test]
fn another_device_tag_reaches_every_storage_and_cuts_none() {
    let folder = rekindle_testing::scratch();
    let original = open("on_cuda.pt");
    let path = folder.path().join("cpu.pt");
    let options = SaveOptions::default().allow_objects(true);
    Conversion::default().location("cpu".to_owned()).save(&original, &path, &options).unwrap();
    let moved = Checkpoint::open(&path).unwrap();
    let bytes = bytes::Bytes::from(std::fs::read(&path).unwrap());
    let pickle = Archive::open(bytes, &Limits::default()).unwrap().read("data.pkl", true).unwrap();
    assert!(!pickle.windows(6).any(|window| window == b"cuda:0"));
    assert_eq!(sharing(&moved), [["w@view", "shared"]]);
    assert!(compare(&original, &moved, Tolerance::default()).unwrap().is_empty());
    for (name, tensor) in tensors(&moved) {
        assert_eq!(tensor.device(), "cpu", "{name}");
    }
    // A storage that is seen as several types is one afterwards, too.
    let bits = Tensor::new(rekindle_recorder::tensor::TensorParts {
        dtype: DType::Int32,
        ..tensors(&original)["shared"].parts().clone()
    });
    let both = rekindle_recorder::Dict::from_iter([("a", tensors(&original)["shared"].clone()), ("b", bits.unwrap())]);
    let both = Checkpoint::from(both).map_location(&MapLocation::from("cuda:1")).unwrap();
    assert_eq!(sharing(&both), [["a", "b"]]);
}

#[test]
fn another_element_type_reaches_what_hangs_on_tensors_and_cuts_no_storage() {
    let convert = |name: &str| Conversion::default().dtype(DType::Float16).apply(&open(name)).unwrap();
    for name in ["attributes.pt", "quantised.pt", "on_cuda.pt", "module.pt", "wrappers.pt"] {
        let (before, after) = (open(name), convert(name));
        assert_eq!(sharing(&before), sharing(&after), "{name}");
        for (path, tensor) in tensors(&after) {
            let was = tensors(&before)[&path].dtype();
            let expected = if was.is_floating_point() { DType::Float16 } else { was };
            assert_eq!(tensor.dtype(), expected, "{name} {path}");
        }
    }
    // A distributed tensor says of what type it is, in its specification too.
    let whole = convert("whole.pt");
    assert!(matches!(whole.value("rows._spec.tensor_meta(2)").unwrap(), Value::Dtype(DType::Float16)));
    assert_eq!(whole.get::<Tensor>("rows").unwrap().dtype(), DType::Float16);
}

#[test]
fn models_of_one_checkpoint_that_share_a_storage_share_it_in_another_element_type() {
    let weight = Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap();
    let model = |tensor: &Tensor| rekindle_recorder::StateDict::from_iter([("fc.weight", tensor.clone())]);
    let root = rekindle_recorder::Dict::new();
    root.insert("netG", model(&weight));
    root.insert("netD", model(&weight.alias()));
    let converted = Conversion::default().dtype(DType::BFloat16).apply(&Checkpoint::from(root)).unwrap();
    assert_eq!(sharing(&converted), [["netG.fc.weight", "netD.fc.weight"]]);
}

#[test]
fn damage_in_an_attribute_is_named_by_its_path() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("damaged.pt");
    let mut bytes = std::fs::read(fixtures::path("tensors/attributes.pt")).unwrap();
    let whole = bytes::Bytes::copy_from_slice(&bytes);
    let archive = Archive::open(whole.clone(), &Limits::default()).unwrap();
    let tensor = &tensors(&open("attributes.pt"))["packed@quant_state.absmax"];
    let record = archive.find(&format!("data/{}", tensor.storage().unwrap().name().unwrap())).unwrap();
    bytes[archive.payload(record, true).unwrap().as_ptr().addr() - whole.as_ptr().addr()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify(&path, &OpenOptions::default(), false).unwrap();
    let named: Vec<_> = report.problems.iter().map(|problem| problem.tensor.as_deref()).collect();
    assert_eq!(named, [Some("packed@quant_state.absmax")]);
    let error = Checkpoint::open(&path).unwrap().get::<Tensor>("packed@quant_state.absmax").unwrap().to_le_bytes();
    assert!(error.unwrap_err().to_string().contains("packed@quant_state.absmax"));
}

#[test]
fn a_format_of_tensors_alone_keeps_tensors_in_attributes_under_names_and_names_the_rest() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("flat.safetensors");
    let report = Conversion::default().save(&open("attributes.pt"), &path, &SaveOptions::default()).unwrap();
    let kept = tensors(&Checkpoint::open(&path).unwrap());
    assert_eq!(kept.keys().collect::<Vec<_>>(), tensors(&open("attributes.pt")).keys().collect::<Vec<_>>());
    assert_eq!(kept["packed@quant_state.absmax"].to_vec::<f32>().unwrap(), [0.5, 0.25]);
    let notes = report.notes.join("\n");
    for word in ["'w@mask'", "attributes of tensors", "'packed@quant_state.blocksize'", "left out"] {
        assert!(notes.contains(word), "{word} in {notes}");
    }
    // The whole module's parameters likewise.
    let report =
        Conversion::default().save(&open("module.pt"), &path, &SaveOptions::default().overwrite(true)).unwrap();
    let kept = tensors(&Checkpoint::open(&path).unwrap());
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        ["bias", "weight", "weight@master", "weight@scale"],
        "{:?}",
        report.notes
    );
    // Attributes without tensors stay what they are: told as lost.
    let parallel = Conversion::default();
    let only = Checkpoint::from(rekindle_recorder::StateDict::from_iter([(
        "parallel",
        open("attributes.pt").get::<Tensor>("parallel").unwrap(),
    )]));
    let report = parallel.save(&only, &path, &SaveOptions::default().overwrite(true)).unwrap();
    assert!(report.notes.join("\n").contains("'parallel': had attributes"), "{:?}", report.notes);
}

#[test]
fn attributes_are_changed_by_their_paths() {
    let checkpoint = open("attributes.pt");
    checkpoint.set("packed@quant_state.blocksize", 128).unwrap();
    checkpoint.set("w@mask", Tensor::scalar(1.0_f32)).unwrap();
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("changed.pt");
    checkpoint.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
    let again = Checkpoint::open(&path).unwrap();
    assert_eq!(again.get::<i64>("packed@quant_state.blocksize").unwrap(), 128);
    assert_eq!(again.get::<Tensor>("w@mask").unwrap().item().unwrap().to_bits(), 1.0_f64.to_bits());
}
