//! State dicts of whole modules, and of dicts and objects that are nearly one.
#![allow(clippy::float_cmp)] // they are exact

use crate::common::{module, parameter};
use rekindle_recorder::value::{DictKind, Global, ObjectData, Shared};
use rekindle_recorder::{Dict, StateDict, Tensor, Value};

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
