//! Whatever object graph is written comes back: the same structure, the same identities, the same bytes.

use std::path::Path;

use proptest::prelude::*;
use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::value::{Global, List, ObjectData};
use rekindle_recorder::{DType, Dict, Tensor, Value};

use rekindle_testing::cases;
use rekindle_testing::graph::{Kinds, describe, difference, grow};

/// Writes, reads and compares.
fn comes_back(value: &Value, container: Format, objects: bool, folder: &Path) -> Result<(), String> {
    let path = folder.join(container.name());
    let options = SaveOptions::default().format(container).allow_objects(objects);
    let report = Checkpoint::from(value.clone()).save_with(&path, &options).map_err(|error| error.to_string())?;
    let back = Checkpoint::open(&path).map_err(|error| error.to_string())?;
    let same = difference(&describe(value), &describe(back.root()), "root").map_or(Ok(()), Err);
    assert_eq!((back.format(), report.bytes), (Some(container), back.bytes()));
    // A second time it is the same file.
    let again = folder.join("again").join(container.name());
    back.save_with(&again, &options).map_err(|error| error.to_string())?;
    let equal = std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap();
    back.root().clear();
    same?;
    if equal { Ok(()) } else { Err("a second time other bytes are written".to_owned()) }
}

fn check(bytes: &[u8], container: Format, kinds: Kinds) -> Result<(), TestCaseError> {
    let folder = rekindle_testing::scratch();
    std::fs::create_dir(folder.path().join("again")).unwrap();
    let value = grow(bytes, kinds);
    let outcome = comes_back(&value, container, kinds.objects, folder.path());
    outcome.map_err(|reason| TestCaseError::fail(format!("{reason}\n{}", describe(&value))))
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_graph_comes_back_from_a_zip_archive(bytes in prop::collection::vec(any::<u8>(), 0..800), objects: bool) {
        check(&bytes, Format::ZIP, Kinds { tensors: true, untyped: true, objects })?;
    }

    #[test]
    fn any_graph_comes_back_from_a_stream(bytes in prop::collection::vec(any::<u8>(), 0..800), objects: bool) {
        check(&bytes, Format::LEGACY, Kinds { tensors: true, untyped: objects, objects })?;
    }

    #[test]
    fn any_graph_without_tensors_comes_back_from_a_pickle(
        bytes in prop::collection::vec(any::<u8>(), 0..800),
        objects: bool,
    ) {
        check(&bytes, Format::PICKLE, Kinds { tensors: false, untyped: false, objects })?;
    }
}

/// A tuple that holds itself is made inside its own makings; what the calls on the way need must be there when they are made.
#[test]
fn a_cycle_through_a_tuple_takes_nothing_from_what_is_made_on_the_way() {
    let conjugate = Tensor::from_le_bytes(DType::Complex64, &[1], vec![1; 8]).unwrap();
    let conjugate = Tensor::new(TensorParts { conj: true, ..conjugate.parts().clone() }).unwrap();
    let counts = Dict::from_iter([("a", 5)]);
    let counter = ObjectData::call(Global::new("collections", "Counter"), vec![counts.into()]);
    for length in [2, 5] {
        let inner = List::new(vec![conjugate.clone().into(), Value::from(counter.clone())]);
        let mut items = vec![Value::List(inner.clone())];
        items.resize(length, Value::None);
        let tuple = Value::tuple(items);
        inner.write().extend([tuple.clone(), tuple.clone()]);
        for container in [Format::ZIP, Format::LEGACY] {
            let folder = rekindle_testing::scratch();
            std::fs::create_dir(folder.path().join("again")).unwrap();
            comes_back(&tuple, container, true, folder.path()).unwrap();
            let error = comes_back(&tuple, container, false, folder.path()).unwrap_err();
            assert!(error.contains("[0][2] is part of what it is made of"), "{error}");
        }
        inner.write().clear();
    }
}

#[test]
fn a_tuple_can_not_be_made_of_itself_alone() {
    let object = rekindle_recorder::value::Shared::new(ObjectData::call(Global::new("mine", "make"), Vec::new()));
    let args = Value::tuple([Value::Object(object.clone())]);
    object.write().args = args;
    let root = Value::Object(object);
    let folder = rekindle_testing::scratch();
    let error = comes_back(&root, Format::ZIP, true, folder.path()).unwrap_err();
    assert!(error.contains("is made of itself"), "{error}");
    root.clear();
}
