//! `Arena`: a handle on everything with an inside that a reader makes, so that nothing deep or cyclic is ever freed by
//! recursion. What the root reaches is measured at the end; the rest is taken apart one piece at a time.

use crate::value::identity::ById;
use crate::{Error, Limits, Result, Tensor, Value};

/// Everything made so far. Dropping it frees what [`Arena::keep`] did not find, without recursion.
#[derive(Default)]
pub(crate) struct Arena {
    made: Vec<Value>,
    /// The depth below each value that the root reaches.
    kept: ById<usize>,
}

impl Arena {
    /// Remembers a new value, if freeing it could free others in turn.
    pub(crate) fn add(&mut self, value: &Value) {
        let nests = match value {
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Object(_) => true,
            Value::Tuple(items) | Value::FrozenSet(items) => items.iter().any(is_node),
            Value::Tensor(tensor) => tensor_has_children(tensor),
            _ => false,
        };
        if nests {
            self.made.push(value.clone());
        }
    }

    /// Finds what the root reaches, which is not to be taken apart.
    ///
    /// # Errors
    /// When containers nest deeper than the limit: freeing such a value would exhaust the stack.
    pub(crate) fn keep(&mut self, root: &Value, limits: &Limits) -> Result<()> {
        struct Open {
            id: usize,
            children: std::vec::IntoIter<Value>,
            below: usize,
        }
        let mut path: Vec<Open> = Vec::new();
        let mut next = Some(root.clone());
        loop {
            if let Some(value) = next.take()
                && let Some(id) = node_id(&value)
            {
                if let Some(&depth) = self.kept.get(&id) {
                    // A value that is still open counts nothing: there the graph closes a circle.
                    if let Some(parent) = path.last_mut() {
                        parent.below = parent.below.max(depth);
                    }
                } else {
                    self.kept.insert(id, 0);
                    path.push(Open { id, children: children(&value).into_iter(), below: 0 });
                }
            }
            let Some(top) = path.last_mut() else { return Ok(()) };
            if let Some(child) = top.children.next() {
                next = Some(child);
            } else if let Some(done) = path.pop() {
                let depth = done.below + 1;
                self.kept.insert(done.id, depth);
                if let Some(parent) = path.last_mut() {
                    parent.below = parent.below.max(depth);
                }
                if depth > limits.depth {
                    self.kept.clear();
                    return Err(too_deep(limits));
                }
            }
            if path.len() > limits.depth {
                self.kept.clear();
                return Err(too_deep(limits));
            }
        }
    }
}

fn too_deep(limits: &Limits) -> Error {
    Error::limit(format!("containers nested deeper than {} levels: this depth", limits.depth), limits.depth as u64)
}

impl Drop for Arena {
    fn drop(&mut self) {
        for value in &self.made {
            if node_id(value).is_none_or(|id| !self.kept.contains_key(&id)) {
                value.clear();
            }
        }
        // Tuples and tensors hold only what was made before them: from the last to the first, each frees itself alone.
        while self.made.pop().is_some() {}
    }
}

/// The identity of a value that can hold others.
fn node_id(value: &Value) -> Option<usize> {
    if is_node(value) { value.id() } else { None }
}

fn is_node(value: &Value) -> bool {
    match value {
        Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Object(_) => true,
        Value::Tuple(items) | Value::FrozenSet(items) => !items.is_empty(),
        Value::Tensor(tensor) => tensor_has_children(tensor),
        _ => false,
    }
}

fn tensor_has_children(tensor: &Tensor) -> bool {
    let parts = tensor.parts();
    parts.values().next().is_some() || !parts.tensors().is_empty()
}

/// The values within a value that can hold others in turn.
fn children(value: &Value) -> Vec<Value> {
    let mut children = value.within();
    children.retain(is_node);
    children
}
