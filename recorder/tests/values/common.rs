//! What several tests make: modules as a pickle holds them.

use rekindle_recorder::tensor::{TensorClass, TensorParts};
use rekindle_recorder::value::{Construction, Global, ObjectData, Shared};
use rekindle_recorder::{Dict, Tensor, Value};

/// An `nn.Module` of a user's own with these registries.
pub(crate) fn module(parameters: &[(&str, Value)], buffers: &[(&str, Value)], modules: &[(&str, Value)]) -> Value {
    let registry = |entries: &[(&str, Value)]| -> Value {
        entries.iter().map(|(name, value)| (*name, value.clone())).collect::<Dict>().into()
    };
    let attributes = Dict::from_iter([
        ("training", Value::Bool(true)),
        ("_parameters", registry(parameters)),
        ("_buffers", registry(buffers)),
        ("_non_persistent_buffers_set", Value::Set(Shared::new(Vec::new()))),
        ("_forward_hooks", Dict::ordered().into()),
        ("_is_full_backward_hook", Value::None),
        ("_modules", registry(modules)),
    ]);
    let mut object = ObjectData::call(Global::new("mine", "Net"), Vec::new());
    object.construction = Construction::New;
    object.states.push(attributes.into());
    object.into()
}

/// An `nn.Parameter` with one element.
pub(crate) fn parameter(x: f32) -> Value {
    let plain = Tensor::from_vec(&[1], vec![x]).unwrap();
    let parts =
        TensorParts { requires_grad: true, class: TensorClass::Parameter { state: None }, ..plain.parts().clone() };
    Tensor::new(parts).unwrap().into()
}
