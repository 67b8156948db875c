//! Freeing values without recursion. A value may nest to any depth (a million tuples, one in the other), and Rust frees what
//! lies inside by calling itself. Here the last handle on a container hands what is inside to a queue of its thread, and
//! whoever began the freeing empties that.

use std::cell::RefCell;
use std::mem::{ManuallyDrop, replace, take};
use std::sync::{Arc, PoisonError};

use crate::value::data::{
    Contents, DictData, Items, MadeBy, ObjectData, Quantizer, Shared, Tensor, TensorClass, TensorData, TensorParts,
    Value,
};

thread_local! {
    /// What waits to be freed, while somebody in this thread is freeing. Never dropped itself, so that it is there as long as
    /// the thread is; it is empty by then.
    static WAITING: RefCell<ManuallyDrop<Option<Vec<Value>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Frees values one after the other, and all that only they hold.
fn free(values: Vec<Value>) {
    if values.is_empty() {
        return;
    }
    let first = WAITING.with(|waiting| match &mut **waiting.borrow_mut() {
        Some(queue) => {
            queue.extend(values);
            false
        }
        empty => {
            *empty = Some(values);
            true
        }
    });
    if first {
        let _done = Done;
        // Dropping a value puts what it held into the queue.
        while let Some(value) = WAITING.with(|waiting| waiting.borrow_mut().as_mut().and_then(Vec::pop)) {
            drop(value);
        }
    }
}

/// Ends the freeing, also where a storage's own code panics while it is dropped.
struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        drop(WAITING.with(|waiting| waiting.borrow_mut().take()));
    }
}

impl Contents for Vec<u8> {
    fn take_nested(&mut self) -> Vec<Value> {
        Vec::new()
    }
}

impl Contents for Vec<Value> {
    fn take_nested(&mut self) -> Vec<Value> {
        nested(self)
    }
}

impl Contents for DictData {
    fn take_nested(&mut self) -> Vec<Value> {
        let entries = take(&mut self.entries).into_iter().flat_map(|(key, value)| [key.0, value]);
        entries.chain(self.state.take()).filter(nests).collect()
    }
}

impl Contents for ObjectData {
    fn take_nested(&mut self) -> Vec<Value> {
        let entries = take(&mut self.entries).into_iter().flat_map(|(key, value)| [key, value]);
        let made = [replace(&mut self.callable, Value::None), replace(&mut self.args, Value::None)];
        let added = take(&mut self.items).into_iter().chain(take(&mut self.states)).chain(self.kwargs.take());
        entries.chain(made).chain(added).filter(nests).collect()
    }
}

impl Contents for TensorParts {
    fn take_nested(&mut self) -> Vec<Value> {
        let mut found: Vec<Value> = self.backward_hooks.take().into_iter().collect();
        match replace(&mut self.class, TensorClass::Tensor) {
            TensorClass::Tensor => {}
            TensorClass::Parameter { state } => found.extend(state),
            TensorClass::Other { state, .. } => found.push(state),
        }
        match self.made_by.take() {
            Some(MadeBy::Function { more, .. }) => found.extend(more),
            Some(MadeBy::Parameter { hooks, state, .. }) => found.extend(hooks.into_iter().chain(state)),
            Some(MadeBy::Device { .. }) | None => {}
        }
        let mut tensors = Vec::new();
        match &mut self.data {
            TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => {}
            data => match replace(data, TensorData::Meta { stride: Vec::new() }) {
                TensorData::Sparse { indices, values, .. } => tensors.extend(indices.into_iter().chain([values])),
                TensorData::Nested { buffer, sizes, strides, offsets } => {
                    tensors.extend([buffer, sizes, strides, offsets]);
                }
                TensorData::Jagged { values, offsets, lengths, cache, .. } => {
                    tensors.extend([values, offsets].into_iter().chain(lengths));
                    found.push(cache);
                }
                TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => {}
            },
        }
        if let Some(Quantizer::PerChannel { scales, zero_points, .. }) = self.quantizer.take() {
            tensors.extend([scales, zero_points]);
        }
        found.retain(nests);
        found.extend(tensors.into_iter().map(Value::Tensor));
        found
    }
}

/// Whether freeing it could free others in turn.
fn nests(value: &Value) -> bool {
    match value {
        Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Object(_) | Value::Tensor(_) => true,
        Value::Tuple(items) | Value::FrozenSet(items) => !items.is_empty(),
        _ => false,
    }
}

fn nested(items: &mut [Value]) -> Vec<Value> {
    items.iter_mut().filter(|item| nests(item)).map(|item| replace(item, Value::None)).collect()
}

impl Drop for Items {
    fn drop(&mut self) {
        if let Some(items) = Arc::get_mut(&mut self.0) {
            free(nested(items));
        }
    }
}

impl<T: Contents> Drop for Shared<T> {
    fn drop(&mut self) {
        if let Some(lock) = Arc::get_mut(&mut self.0) {
            free(lock.get_mut().unwrap_or_else(PoisonError::into_inner).take_nested());
        }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Some(parts) = self.parts_mut() {
            free(parts.take_nested());
        }
    }
}
