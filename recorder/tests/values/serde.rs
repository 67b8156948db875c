//! Values read into Rust types, and back, by hand-made values.
#![allow(clippy::float_cmp)] // they are exact

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use rekindle_recorder::serde::{from_value, to_value};
use rekindle_recorder::value::{Device, Global, ObjectData};
use rekindle_recorder::{DType, Dict, ErrorKind, StateDict, Tensor, Value};
use serde::{Deserialize, Serialize};

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Dict::from_iter(entries).into()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    lr: f64,
    betas: (f64, f64),
    foreach: Option<bool>,
    params: Vec<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Schedule {
    Constant,
    Step(u32),
    Cyclic(f64, f64),
    OneCycle { total: u64 },
}

#[test]
fn structs_read_dicts_and_leave_out_what_they_do_not_name() {
    let value = dict([
        ("lr", 1e-3.into()),
        ("betas", Value::tuple([0.9.into(), Value::Int(1)])),
        ("foreach", Value::None),
        ("maximize", false.into()),
        ("params", vec![0_i64, 1].into()),
    ]);
    let group: Group = from_value(&value).unwrap();
    assert_eq!(group, Group { lr: 1e-3, betas: (0.9, 1.0), foreach: None, params: vec![0, 1] });
}

#[test]
fn what_is_written_is_what_python_would_have() {
    let group = Group { lr: 0.1, betas: (0.9, 0.999), foreach: Some(true), params: vec![3] };
    let value = to_value(&group).unwrap();
    let written = value.as_dict().unwrap();
    assert!(matches!(written.get("betas"), Some(Value::Tuple(_))));
    assert!(matches!(written.get("params"), Some(Value::List(_))));
    assert_eq!(from_value::<Group>(&value).unwrap(), group);

    let big = to_value(&u64::MAX).unwrap();
    assert!(matches!(big, Value::BigInt(_)));
    assert_eq!(from_value::<u64>(&big).unwrap(), u64::MAX);
    assert_eq!(from_value::<i128>(&to_value(&i128::MIN).unwrap()).unwrap(), i128::MIN);
    assert_eq!(from_value::<u128>(&to_value(&u128::MAX).unwrap()).unwrap(), u128::MAX);
    assert!(matches!(to_value(&()).unwrap(), Value::None));
}

#[test]
fn enums_are_strings_or_dicts_of_one_entry() {
    for schedule in
        [Schedule::Constant, Schedule::Step(30), Schedule::Cyclic(0.1, 0.2), Schedule::OneCycle { total: 1 << 40 }]
    {
        let value = to_value(&schedule).unwrap();
        assert_eq!(from_value::<Schedule>(&value).unwrap(), schedule);
    }
    assert_eq!(to_value(&Schedule::Constant).unwrap().as_str(), Some("Constant"));
    let error = from_value::<Schedule>(&"Linear".into()).unwrap_err().to_string();
    assert_eq!(error, "the value is 'Linear', where one of 'Constant', 'Step', 'Cyclic', 'OneCycle' is expected");
}

#[test]
fn keys_of_maps_may_be_of_any_type() {
    let ids: Dict = [(Value::Int(0), "a"), (Value::Int(7), "b")].into_iter().collect();
    let read: BTreeMap<u8, String> = from_value(&ids.into()).unwrap();
    assert_eq!(read, BTreeMap::from([(0, "a".to_owned()), (7, "b".to_owned())]));
    let pairs = HashMap::from([((1_i64, 2_i64), true)]);
    let value = to_value(&pairs).unwrap();
    assert!(value.as_dict().unwrap().get_key(&Value::tuple([Value::Int(1), Value::Int(2)])).is_some());
    assert_eq!(from_value::<HashMap<(i64, i64), bool>>(&value).unwrap(), pairs);
    let error = to_value(&BTreeMap::from([(vec![1], 2)])).unwrap_err().to_string();
    assert_eq!(error, "a list cannot be the key of a dict in Python; use a tuple");
}

#[test]
fn a_number_may_come_wrapped_in_a_tensor_or_a_numpy_scalar() {
    assert_eq!(from_value::<u64>(&Tensor::scalar(7.0_f32).into()).unwrap(), 7);
    assert_eq!(from_value::<f64>(&Tensor::scalar(0.5_f32).into()).unwrap(), 0.5);
    assert_eq!(from_value::<i64>(&Tensor::scalar(i64::MAX).into()).unwrap(), i64::MAX);
    assert_eq!(from_value::<u64>(&Tensor::scalar(u64::MAX).into()).unwrap(), u64::MAX);
    assert!(from_value::<bool>(&Tensor::scalar(true).into()).unwrap());
    assert!(from_value::<u64>(&Tensor::scalar(7.5_f32).into()).is_err());
    assert!(from_value::<f64>(&Tensor::from_vec(&[1], vec![1.0_f32]).unwrap().into()).is_err());
    assert!(from_value::<i64>(&7.0.into()).is_err(), "a float of Python's is no int");

    let mut dtype = ObjectData::call(Global::new("numpy", "dtype"), vec!["f8".into(), false.into(), true.into()]);
    dtype.states.push(Value::tuple([Value::Int(3), ">".into()]));
    let bytes = Value::Bytes(0.25_f64.to_be_bytes().as_slice().into());
    let scalar = ObjectData::call(Global::new("numpy._core.multiarray", "scalar"), vec![dtype.into(), bytes]);
    assert_eq!(from_value::<f64>(&scalar.into()).unwrap(), 0.25);
}

#[test]
fn everything_in_a_sequence_is_read_from_what_python_calls_one() {
    let items = [Value::Int(1), Value::Int(2)];
    for value in [
        Value::list(items.clone()),
        Value::tuple(items.clone()),
        Value::Set(rekindle_recorder::value::Shared::new(items.to_vec())),
        Value::FrozenSet(items.to_vec().into()),
        Value::Size([1, 2].into()),
        Value::Bytes([1, 2].as_slice().into()),
        ObjectData { items: items.to_vec(), ..ObjectData::call(Global::new("collections", "deque"), vec![]) }.into(),
    ] {
        assert_eq!(from_value::<Vec<i64>>(&value).unwrap(), [1, 2], "{value:?}");
        assert!(from_value::<(i64, i64, i64)>(&value).is_err(), "{value:?}");
        assert!(from_value::<[i64; 1]>(&value).is_err(), "{value:?}");
    }
    assert_eq!(from_value::<(f64, f64)>(&Value::Complex(1.0, -2.0)).unwrap(), (1.0, -2.0));
}

#[test]
fn objects_are_read_by_their_entries_or_attributes() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Args {
        lr: f64,
        name: Option<String>,
    }
    let namespace = |state: Value| {
        let mut object = ObjectData::call(Global::new("argparse", "Namespace"), vec![]);
        object.states.push(state);
        Value::from(object)
    };
    let expected = Args { lr: 0.1, name: Some("run".to_owned()) };
    let attributes = dict([("lr", 0.1.into()), ("name", "run".into())]);
    assert_eq!(from_value::<Args>(&namespace(attributes)).unwrap(), expected);
    let slots = Value::tuple([dict([("lr", 0.1.into())]), dict([("name", "run".into())])]);
    assert_eq!(from_value::<Args>(&namespace(slots)).unwrap(), expected);
    let slots = Value::tuple([Value::None, dict([("lr", 0.1.into())])]);
    assert_eq!(from_value::<Args>(&namespace(slots)).unwrap(), Args { lr: 0.1, name: None });

    let counts = dict([("a", Value::Int(5))]);
    let counter = ObjectData::call(Global::new("collections", "Counter"), vec![counts]);
    assert_eq!(from_value::<HashMap<String, u8>>(&counter.into()).unwrap(), HashMap::from([("a".to_owned(), 5)]));
    let mut missing =
        ObjectData::call(Global::new("collections", "defaultdict"), vec![Global::new("builtins", "int").into()]);
    assert!(from_value::<HashMap<String, u8>>(&missing.clone().into()).unwrap().is_empty());
    missing.entries.push(("b".into(), Value::Int(1)));
    assert_eq!(from_value::<HashMap<String, u8>>(&missing.into()).unwrap()["b"], 1);
}

#[test]
fn an_error_gives_the_path() {
    #[derive(Debug, Deserialize)]
    struct Optimizer {
        #[allow(dead_code)]
        param_groups: Vec<Group>,
    }
    let group = |lr: Value, key: &str| {
        let group = dict([(key, lr), ("betas", vec![0.9, 0.9].into()), ("params", Value::list([]))]);
        dict([("param_groups", Value::list([group]))])
    };
    let error = from_value::<Optimizer>(&group("fast".into(), "lr")).unwrap_err();
    assert_eq!(error.to_string(), "param_groups[0].lr is a str, where f64 is expected");
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }));
    assert_eq!(error.place().as_deref(), Some("param_groups[0].lr"));
    let error = from_value::<Optimizer>(&group(0.1.into(), "Lr")).unwrap_err();
    assert_eq!(error.to_string(), "there is no 'param_groups[0].lr'; did you mean 'Lr'?");
    let error = from_value::<HashMap<String, u8>>(&dict([("n", Value::Int(300))])).unwrap_err();
    assert_eq!(error.to_string(), "n is integer `300`, where u8 is expected");
    let error = from_value::<u8>(&Value::tuple([])).unwrap_err();
    assert_eq!(error.to_string(), "the value is a tuple, where u8 is expected");
}

#[test]
fn tensors_values_and_state_dicts_go_through_as_the_very_objects() {
    #[derive(Serialize, Deserialize)]
    struct Run {
        model: StateDict,
        rng: Tensor,
        config: Value,
        best: Option<Tensor>,
    }
    let tied = Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap();
    let mut model = StateDict::from_iter([("a", tied.clone()), ("b", tied.clone())]);
    model.set_metadata(Dict::ordered());
    let config = dict([("n", Value::Int(1))]);
    let run = Run { model, rng: tied.clone(), config: config.clone(), best: None };
    let value = to_value(&run).unwrap();
    let again: Run = from_value(&value).unwrap();
    assert!(again.rng.same(&tied) && again.model.get("b").unwrap().same(&tied));
    assert!(again.model.metadata().is_some() && again.best.is_none());
    assert_eq!(again.config.id(), config.id());

    let error = from_value::<Run>(&dict([("model", Value::Int(1)), ("rng", tied.into())])).err().unwrap();
    assert_eq!(error.to_string(), "model: the state dict is an int, where a dict of names and tensors is expected");
    let error = from_value::<Tensor>(&Value::Int(1)).unwrap_err();
    assert_eq!(error.to_string(), "the value is an int, where a tensor of a checkpoint is expected");
}

#[test]
fn flattened_and_untagged_types_still_get_their_tensors() {
    #[derive(Serialize, Deserialize)]
    struct Run {
        epoch: u32,
        #[serde(flatten)]
        rest: HashMap<String, Value>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Loss {
        Number(f64),
        Tensor(Tensor),
    }
    let tensor = Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap();
    let value =
        dict([("epoch", 3.into()), ("weight", tensor.clone().into()), ("raw", Value::Bytes([1].as_slice().into()))]);
    let run: Run = from_value(&value).unwrap();
    assert!(run.rest["weight"].as_tensor().unwrap().same(&tensor));
    assert!(matches!(&run.rest["raw"], Value::Bytes(bytes) if **bytes == [1]));
    assert_eq!(run.epoch, 3);
    let written = to_value(&run).unwrap();
    assert!(written.as_dict().unwrap().get("weight").unwrap().as_tensor().unwrap().same(&tensor));

    assert!(matches!(from_value::<Loss>(&tensor.clone().into()).unwrap(), Loss::Tensor(x) if x.same(&tensor)));
    assert!(matches!(from_value::<Loss>(&0.5.into()).unwrap(), Loss::Number(x) if x == 0.5));
}

#[test]
fn other_formats_are_told_that_a_tensor_is_not_for_them() {
    let tensor = Tensor::scalar(1.0_f32);
    let error = serde_json::to_string(&tensor).unwrap_err().to_string();
    assert!(error.starts_with("a Tensor can be serialized with rekindle_recorder::serde::to_value only"), "{error}");
    let error = serde_json::from_str::<Tensor>("[1, 2]").unwrap_err().to_string();
    assert!(error.contains("a tensor of a checkpoint"), "{error}");
    // Plain data is a value wherever it comes from.
    let value: Value = serde_json::from_str(r#"{"layers": [64, 64], "name": null}"#).unwrap();
    assert_eq!(from_value::<Vec<u8>>(&value.as_dict().unwrap().get("layers").unwrap()).unwrap(), [64, 64]);
}

#[test]
fn a_value_that_holds_itself_ends_in_an_error() {
    let list = Value::list([Value::Int(1)]);
    let Value::List(inside) = &list else { unreachable!() };
    inside.write().push(list.clone());
    let error = from_value::<serde_json::Value>(&list).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    list.clear();
}

#[test]
fn torchs_own_scalars_are_text() {
    assert_eq!(from_value::<String>(&DType::BFloat16.into()).unwrap(), "bfloat16");
    let device = Device { kind: "cuda".into(), index: Some(1) };
    assert_eq!(from_value::<String>(&device.into()).unwrap(), "cuda:1");
    assert_eq!(from_value::<char>(&"x".into()).unwrap(), 'x');
    assert!(from_value::<char>(&"xy".into()).is_err());
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e300..1e300).prop_map(serde_json::Value::from),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(rekindle_testing::cases(256))]

    #[test]
    fn any_plain_data_comes_back_as_it_was(data in json()) {
        let value = to_value(&data).unwrap();
        prop_assert_eq!(from_value::<serde_json::Value>(&value).unwrap(), data);
    }
}
