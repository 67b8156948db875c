//! State dicts of whole modules, and of dicts and objects that are nearly one.
#![allow(clippy::float_cmp)] // they are exact

use crate::common::{module, parameter};
use rekindle_recorder::value::{DictKind, Global, ObjectData, Shared};
use rekindle_recorder::{Dict, ErrorKind, StateDict, Tensor, Value};

#[test]
fn a_modules_names_are_those_of_its_state_dict() {
    let norm = module(
        &[("weight", parameter(1.0)), ("bias", Value::None)],
        &[("running_mean", Tensor::scalar(0.0_f32).into()), ("scratch", Tensor::scalar(9.0_f32).into())],
        &[],
    );
    let Value::Object(object) = &norm else { unreachable!() };
    let transient = Value::Set(Shared::new(vec!["scratch".into()]));
    object.read().states[0].as_dict().unwrap().insert("_non_persistent_buffers_set", transient);
    let model = module(&[("scale", parameter(2.0))], &[], &[("norm", norm), ("relu", module(&[], &[], &[]))]);

    let state_dict = StateDict::from_value(&model).unwrap();
    assert_eq!(state_dict.keys().collect::<Vec<_>>(), ["scale", "norm.weight", "norm.running_mean"]);
    assert!(state_dict.iter().all(|(_, tensor)| !tensor.requires_grad() && !tensor.is_parameter()));
    assert_eq!(state_dict.get("scale").unwrap().item().unwrap(), 2.0);
}

#[test]
fn a_module_that_holds_itself_ends_in_an_error() {
    let model = module(&[("w", parameter(1.0))], &[], &[]);
    let Value::Object(object) = &model else { unreachable!() };
    let children = object.read().states[0].as_dict().unwrap().get("_modules").unwrap();
    children.as_dict().unwrap().insert("me", model.clone());
    assert!(StateDict::from_value(&model).is_err());
    children.clear();
}

#[test]
fn an_object_that_was_filled_like_a_dict_is_a_state_dict() {
    let mut object = ObjectData::call(Global::new("mine", "StateDict"), vec![]);
    object.entries.push(("weight".into(), Tensor::scalar(1.0_f32).into()));
    object
        .states
        .push(Dict::from_iter([("_metadata", Dict::from_iter([("", Dict::from_iter([("version", 1)]))]))]).into());
    let state_dict = StateDict::from_value(&object.into()).unwrap();
    assert_eq!((state_dict.len(), state_dict.version("")), (1, Some(1)));
    assert_eq!(state_dict.to_value().as_dict().unwrap().kind(), DictKind::OrderedDict);
}

#[test]
fn extra_state_may_be_anything_and_is_kept() {
    let extra = Dict::from_iter([("scale", 1.5)]);
    let dict = Dict::ordered();
    dict.insert("weight", Tensor::scalar(1.0_f32));
    dict.insert("_extra_state", extra.clone());
    let state_dict = StateDict::from_value(&dict.into()).unwrap();
    assert_eq!(state_dict.iter().count(), 1);
    assert_eq!(state_dict.values().count(), 2);
    assert!(state_dict.get("_extra_state").is_none());
    let written = state_dict.to_value().as_dict().unwrap().get("_extra_state").unwrap();
    assert!(written.as_dict().unwrap().same(&extra));
}

fn tensor() -> Tensor {
    Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap()
}

#[test]
fn metadata_stays_an_attribute_and_an_entry_of_that_name_an_entry() {
    let dict = Dict::ordered();
    dict.insert("weight", tensor());
    dict.insert("_metadata", 7);
    let versions: Dict = [("", Dict::from_iter([("version", 2)]))].into_iter().collect();
    dict.write().state = Some(Dict::from_iter([("_metadata", versions)]).into());

    let state_dict = StateDict::from_value(&dict.into()).unwrap();
    assert_eq!(state_dict.keys().collect::<Vec<_>>(), ["weight", "_metadata"]);
    assert_eq!(state_dict.version(""), Some(2));
    assert_eq!(state_dict.version("fc"), None);

    let written = state_dict.to_value();
    let written = written.as_dict().unwrap();
    assert_eq!(written.kind(), DictKind::OrderedDict);
    assert!(written.state().unwrap().as_dict().unwrap().get("_metadata").is_some());
}

#[test]
fn a_plain_dict_is_written_as_a_plain_dict() {
    let value: Value = Dict::from_iter([("weight", tensor())]).into();
    let written = StateDict::from_value(&value).unwrap().to_value();
    assert_eq!(written.as_dict().unwrap().kind(), DictKind::Dict);
    assert!(written.as_dict().unwrap().state().is_none());
}

#[test]
fn setting_metadata_leaves_the_value_it_was_read_from_alone() {
    let dict = Dict::ordered();
    dict.insert("weight", tensor());
    let attributes: Dict = [("_metadata", Value::None), ("mine", Value::Int(1))].into_iter().collect();
    dict.write().state = Some(attributes.clone().into());
    let mut state_dict = StateDict::from_value(&dict.into()).unwrap();
    state_dict.set_metadata(Dict::ordered());
    assert!(matches!(attributes.get("_metadata"), Some(Value::None)));
    let state = state_dict.to_value().as_dict().unwrap().state().unwrap();
    assert_eq!(state.as_dict().unwrap().get("mine").unwrap().as_i64(), Some(1));
    assert!(matches!(state_dict.metadata(), Some(Value::Dict(_))));
}

#[test]
fn tied_names_share_a_storage_before_and_after() {
    let shared = tensor();
    let state_dict =
        StateDict::from_iter([("wte.weight", shared.clone()), ("bias", tensor()), ("lm_head.weight", shared)]);
    assert_eq!(state_dict.tied(), [["wte.weight", "lm_head.weight"]]);
    let again = StateDict::from_value(&state_dict.to_value()).unwrap();
    assert_eq!(again.tied(), [["wte.weight", "lm_head.weight"]]);
}

#[test]
fn renaming_keeps_the_place_and_refuses_a_taken_name() {
    let mut state_dict = StateDict::from_iter([("a", tensor()), ("b", tensor()), ("c", tensor())]);
    state_dict.rename("b", "x").unwrap();
    state_dict.rename("x", "x").unwrap();
    assert_eq!(state_dict.keys().collect::<Vec<_>>(), ["a", "x", "c"]);
    let error = state_dict.rename("a", "c").unwrap_err();
    assert!(error.to_string().contains("'a' cannot be renamed to 'c'"), "{error}");
    assert!(matches!(state_dict.rename("nine", "z").unwrap_err().kind(), ErrorKind::MissingKey { .. }));
}

#[test]
fn what_is_no_state_dict_is_refused_by_name() {
    let error = StateDict::from_value(&Value::Int(3)).unwrap_err();
    assert_eq!(error.to_string(), "the state dict is an int, where a dict of names and tensors is expected");
    let error = StateDict::from_value(&Dict::from_iter([(0, tensor())]).into()).unwrap_err();
    assert_eq!(error.to_string(), "the key 0 of the state dict is an int, where a str is expected");
}
