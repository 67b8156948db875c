//! What is directly inside a value: the one list of it, for whoever goes through all there is.

use crate::value::data::{MadeBy, Quantizer, Tensor, TensorClass, TensorData, TensorParts, Value};
use crate::{Key, Result};

impl Value {
    /// All that is directly inside: keys and values, attributes, what an object is made of, what hangs on a tensor. Nothing of it
    /// is left out, and nothing is said of where it is.
    pub(crate) fn within(&self) -> Vec<Value> {
        match self {
            Value::List(items) | Value::Set(items) => items.read().clone(),
            Value::Tuple(items) | Value::FrozenSet(items) => items.to_vec(),
            Value::Dict(dict) => {
                let dict = dict.read();
                let entries = dict.entries.iter().flat_map(|(Key(key), value)| [key, value]);
                entries.chain(&dict.state).cloned().collect()
            }
            Value::Object(object) => {
                let object = object.read();
                let entries = object.entries.iter().flat_map(|(key, value)| [key, value]);
                let made = [&object.callable, &object.args].into_iter().chain(&object.kwargs);
                made.chain(&object.items).chain(entries).chain(&object.states).cloned().collect()
            }
            Value::Tensor(tensor) => {
                let tensors = tensor.parts().tensors().into_iter().cloned().map(Value::Tensor);
                tensor.parts().values().cloned().chain(tensors).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl TensorParts {
    /// The tensors within it: what a sparse or nested one consists of, and a quantiser's.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let mut tensors = self.data.tensors();
        if let Some(Quantizer::PerChannel { scales, zero_points, .. }) = &self.quantizer {
            tensors.extend([scales, zero_points]);
        }
        tensors
    }

    /// The values within it: the attributes of its class, hooks, and what else it is made of.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        let (more, hooks, state) = match &self.made_by {
            Some(MadeBy::Function { more, .. }) => (more.as_slice(), None, None),
            Some(MadeBy::Parameter { hooks, state, .. }) => (&[][..], hooks.as_ref(), state.as_ref()),
            _ => (&[][..], None, None),
        };
        let cache = match &self.data {
            TensorData::Jagged { cache, .. } => Some(cache),
            _ => None,
        };
        self.attributes().into_iter().chain(&self.backward_hooks).chain(more).chain(hooks).chain(state).chain(cache)
    }

    /// The attributes of its class: a dict, a pair of a dict and the slots, or what its `__setstate__` takes.
    pub(crate) fn attributes(&self) -> Option<&Value> {
        match &self.class {
            TensorClass::Tensor => None,
            TensorClass::Parameter { state } => state.as_ref(),
            TensorClass::Other { state, .. } => Some(state),
        }
    }

    /// Puts other tensors and values in the places of those within it.
    pub(crate) fn replace_within(&mut self, replace: &mut dyn FnMut(&Value) -> Result<Value>) -> Result<()> {
        for tensor in self.tensors_mut() {
            if let Value::Tensor(new) = replace(&Value::Tensor(tensor.clone()))? {
                *tensor = new;
            }
        }
        let state = match &mut self.class {
            TensorClass::Tensor => None,
            TensorClass::Parameter { state } => state.as_mut(),
            TensorClass::Other { state, .. } => Some(state),
        };
        let (more, hooks, around) = match &mut self.made_by {
            Some(MadeBy::Function { more, .. }) => (more.as_mut_slice(), None, None),
            Some(MadeBy::Parameter { hooks, state, .. }) => (&mut [][..], hooks.as_mut(), state.as_mut()),
            _ => (&mut [][..], None, None),
        };
        let cache = match &mut self.data {
            TensorData::Jagged { cache, .. } => Some(cache),
            _ => None,
        };
        let of_class = state.into_iter().chain(&mut self.backward_hooks);
        for value in of_class.chain(more).chain(hooks).chain(around).chain(cache) {
            *value = replace(value)?;
        }
        Ok(())
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let mut tensors = match &mut self.data {
            TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => Vec::new(),
            TensorData::Sparse { indices, values, .. } => indices.iter_mut().chain([values]).collect(),
            TensorData::Nested { buffer, sizes, strides, offsets } => vec![buffer, sizes, strides, offsets],
            TensorData::Jagged { values, offsets, lengths, .. } => {
                [values, offsets].into_iter().chain(lengths.as_mut()).collect()
            }
        };
        if let Some(Quantizer::PerChannel { scales, zero_points, .. }) = &mut self.quantizer {
            tensors.extend([scales, zero_points]);
        }
        tensors
    }
}

impl TensorData {
    /// The tensors that a sparse or nested one consists of.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        match self {
            TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => Vec::new(),
            TensorData::Sparse { indices, values, .. } => indices.iter().chain([values]).collect(),
            TensorData::Nested { buffer, sizes, strides, offsets } => vec![buffer, sizes, strides, offsets],
            TensorData::Jagged { values, offsets, lengths, .. } => {
                [values, offsets].into_iter().chain(lengths).collect()
            }
        }
    }
}
