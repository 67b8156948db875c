//! The persistent ids by which pickles name storages.

use rekindle_recorder::pickle::{StorageId, storage_from_id};
use rekindle_recorder::value::Global;
use rekindle_recorder::{DType, Value};

fn id(items: &[Value]) -> Value {
    let class = Value::Global(Global::new("torch.cuda", "HalfStorage"));
    Value::tuple([Value::from("storage"), class].into_iter().chain(items.iter().cloned()))
}

#[test]
fn both_forms_of_storage_ids_are_understood() {
    let zip = id(&["7".into(), "cuda:0".into(), 12.into()]);
    let mut expected = StorageId {
        dtype: Some(DType::Float16),
        key: "7".to_owned(),
        location: "cuda:0".to_owned(),
        numel: 12,
        view: None,
    };
    assert_eq!(storage_from_id(&zip).unwrap(), Some(expected.clone()));
    let view = Value::tuple(["8".into(), 2.into(), 4.into()]);
    let legacy = id(&["7".into(), "cuda:0".into(), 12.into(), view]);
    expected.view = Some(("8".to_owned(), 2, 4));
    assert_eq!(storage_from_id(&legacy).unwrap(), Some(expected));
}

#[test]
fn malformed_ids_are_errors_and_other_ids_are_none() {
    assert_eq!(storage_from_id(&Value::from("storage")).unwrap(), None);
    assert_eq!(storage_from_id(&Value::tuple([Value::from("module"), Value::None])).unwrap(), None);
    for bad in [id(&[]), id(&["7".into(), "cpu".into(), (-1).into()]), id(&["7".into(), "cpu".into(), "9".into()])] {
        assert!(storage_from_id(&bad).is_err());
    }
}
