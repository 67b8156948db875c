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

/// The function or class of an object that is made of a storage, or gets one as its state.
pub(crate) fn maker(data: &ObjectData) -> Option<Global> {
    let class = data.class()?;
    let takes = is_storage_in(&data.args, NESTED) || data.states.iter().any(|state| is_storage_in(state, NESTED));
    if !takes {
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

/// Whether a tuple of arguments has a storage in it, or the id of one that was not read.
fn is_storage_in(value: &Value, depth: usize) -> bool {
    let Value::Tuple(items) = value else { return false };
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
