//! Nested tensors of the layout `torch.jagged`, and parameters made of tensors of other classes: read as PyTorch does, and written as they
//! came.

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::tensor::TensorData;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, DType, Tensor, rebuild, walk};
use rekindle_testing::fixtures;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("jagged").join(name)).unwrap()
}

#[test]
fn a_jagged_tensor_has_its_type_lengths_and_elements() {
    let checkpoint = open("jagged.pt");
    assert!(Inspection::of(&checkpoint, false).unwrap().unknown.is_empty());
    for (name, truth) in fixtures::json("jagged/truth.json").as_object().unwrap() {
        let tensor: Tensor = checkpoint.get(name).unwrap();
        let TensorData::Jagged { values, offsets, lengths, .. } = &tensor.parts().data else { panic!("{name}") };
        assert_eq!(tensor.dtype().name(), truth["dtype"], "{name}");
        assert_eq!(tensor.requires_grad(), truth["requires_grad"], "{name}");
        assert_eq!(fixtures::sha256(&values.to_le_bytes().unwrap()), truth["values"], "{name}");
        let ends: Vec<i64> = offsets.to_vec().unwrap();
        let apart = || ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let found: Vec<i64> = lengths.as_ref().map_or_else(apart, |lengths| lengths.to_vec().unwrap());
        assert_eq!(serde_json::json!(found), truth["lengths"], "{name}");
        assert_eq!(tensor.shape(), [found.len()], "{name}");
    }
    let buffer: Tensor = checkpoint.get("buffer").unwrap();
    let gaps: Tensor = checkpoint.get("gaps@_values").unwrap();
    assert!(gaps.storage().unwrap().same(buffer.storage().unwrap()));
    assert_eq!(checkpoint.get::<Tensor>("named@scale").unwrap().to_vec::<f32>().unwrap(), [0.5]);
}

#[test]
fn what_is_read_is_written_again() {
    let folder = rekindle_testing::scratch();
    for name in ["jagged.pt", "legacy.pt", "around.pt"] {
        let (original, path) = (open(name), folder.path().join(name));
        assert!(original.save(&path).unwrap_err().to_string().contains("which plain torch.load refuses"), "{name}");
        original.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        assert!(compare(&original, &again, Tolerance::default()).unwrap().is_empty(), "{name}");
        let facts = |checkpoint: &Checkpoint| {
            let listed = Inspection::of(checkpoint, true).unwrap();
            assert!(listed.unknown.is_empty(), "{name}");
            let facts = listed.tensors.into_iter();
            facts
                .map(|entry| (entry.name, entry.class, entry.requires_grad, entry.sha256, entry.tied_to))
                .collect::<Vec<_>>()
        };
        assert_eq!(facts(&original), facts(&again), "{name}");
        assert!(verify(&path, &rekindle_recorder::checkpoint::OpenOptions::default(), true).unwrap().is_sound());
    }
}

#[test]
fn a_parameter_around_a_tensor_of_another_class_is_both() {
    let around = open("around.pt");
    let bare: Tensor = around.get("bare").unwrap();
    assert!(bare.is_parameter() && bare.requires_grad());
    assert_eq!(around.get::<String>("bare@label").unwrap(), "a");
    let state: Tensor = around.get("state").unwrap();
    assert!(state.is_parameter() && !state.requires_grad());
    assert_eq!(around.get::<Tensor>("state@seen").unwrap().to_vec::<i64>().unwrap(), [1, 2]);
    assert!(!around.get::<Tensor>("view").unwrap().is_parameter());
    assert!(around.get::<Tensor>("attributes").unwrap().is_parameter());
    let class = |name: &str| {
        let listed = Inspection::of(&around, false).unwrap().tensors;
        listed.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.class)
    };
    assert_eq!(class("bare").as_deref(), Some("home.Labelled"));
    assert_eq!(class("attributes").as_deref(), Some("torch.nested._internal.nested_tensor.NestedTensor"));
}

#[test]
fn jagged_tensors_are_cast_moved_and_compared() {
    let original = open("jagged.pt");
    let cast = rebuild::cast(original.root(), DType::Float64).unwrap();
    for (name, dtype) in [("plain", DType::Float64), ("integers", DType::Int64), ("gaps@_values", DType::Float64)] {
        assert_eq!(walk::get(&cast, name).unwrap().as_tensor().unwrap().dtype(), dtype, "{name}");
    }
    let moved = Checkpoint::from(rebuild::relocate(original.root(), |_| Ok("cuda:0".to_owned())).unwrap());
    assert_eq!(moved.get::<Tensor>("plain").unwrap().device(), "cuda:0");
    assert!(compare(&original, &moved, Tolerance::default()).unwrap().is_empty());
    assert!(!compare(&original, &Checkpoint::from(cast), Tolerance::default()).unwrap().is_empty());
    let error = original.save(rekindle_testing::scratch().path().join("x.safetensors")).unwrap_err();
    assert!(error.to_string().contains("a nested tensor"), "{error}");
}
