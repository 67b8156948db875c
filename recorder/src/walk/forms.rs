//! Tensors in a form that nobody here knows: calls and objects that take a storage, and whose outcome is no tensor here.

use crate::value::{Construction, Global, ObjectData};
use crate::walk::places::{Place, each};
use crate::{Limits, Result, Value};

/// A tensor in a form that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownTensor {
    /// Its path from the root.
    pub name: String,
    /// The function or class that makes it.
    pub function: Global,
}

/// Every object that takes a storage and is no tensor here, in order.
pub(crate) fn unknown_tensors(root: &Value, limits: &Limits) -> Result<Vec<UnknownTensor>> {
    let mut found = Vec::new();
    each(root, limits, &mut |path, place, value| {
        if let (Place::Container, Value::Object(object)) = (place, value)
            && let Some(function) = maker(&object.read())
        {
            found.push(UnknownTensor { name: path.to_owned(), function });
        }
        Ok(())
    })?;
    Ok(found)
}

/// The function or class of an object that takes a storage (as an argument or in its state), or is rebuilt by a function for
/// tensors with arguments that it does not have in any file that is known.
pub(crate) fn maker(data: &ObjectData) -> Option<Global> {
    let class = data.class()?;
    let given = [&data.args].into_iter().chain(&data.kwargs).chain(&data.states);
    let takes = &*class.module != "torch.storage" && given.into_iter().any(|given| is_storage_in(given, NESTED));
    // Around a tensor that is not known itself, it is that one.
    let around = matches!(data.arguments().first(), Some(Value::Object(inner)) if maker(&inner.read()).is_some());
    let rebuilds = class.name.starts_with("_rebuild_") && data.construction == Construction::Call && !around;
    if !takes && !rebuilds {
        return None;
    }
    // A call within a call is named by the inner function, which is the one that is not known.
    match data.arguments() {
        [Value::Global(inner), Value::Global(_), ..] if class.name.starts_with("_rebuild_from_type") => {
            Some(inner.clone())
        }
        _ => Some(class.clone()),
    }
}

/// How deep in tuples a storage is still an argument.
const NESTED: usize = 4;

/// Whether a tuple of arguments or a dict of attributes has a storage in it, or the id of one that was not read.
fn is_storage_in(value: &Value, depth: usize) -> bool {
    let items: Vec<Value> = match value {
        Value::Tuple(items) => items.to_vec(),
        Value::Dict(dict) if depth >= NESTED - 1 => dict.read().entries.values().cloned().collect(),
        _ => return false,
    };
    items.iter().any(|item| match item {
        Value::Storage(_) => true,
        Value::Object(object) => is_storage_id(&object.read()),
        item => depth > 0 && is_storage_in(item, depth - 1),
    })
}

fn is_storage_id(data: &ObjectData) -> bool {
    let first = match &data.args {
        Value::Tuple(id) => id.first().cloned(),
        _ => None,
    };
    data.construction == Construction::Persistent && first.is_some_and(|first| first.as_str() == Some("storage"))
}
