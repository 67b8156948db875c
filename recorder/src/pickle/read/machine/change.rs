//! What opcodes do to a value after it is made: items, entries, states.

use crate::pickle::calls::old;
use crate::pickle::read::budget::{ENTRY, PLACE};
use crate::pickle::read::machine::Machine;
use crate::{Dict, Key, Result, Value};

impl Machine<'_> {
    pub(crate) fn append(
        &mut self,
        target: &Value,
        items: impl IntoIterator<Item = Value, IntoIter: ExactSizeIterator>,
    ) -> Result<()> {
        let items = items.into_iter();
        self.making.budget.bytes(PLACE * items.len() as u64)?;
        match target {
            Value::List(list) => list.write().extend(items),
            Value::Object(object) => object.write().items.extend(items),
            other => return Err(self.error(format!("nothing can be appended to {}", other.describe()))),
        }
        Ok(())
    }

    pub(crate) fn add_items(&mut self) -> Result<()> {
        let start = self.close_mark()?;
        let items = self.stack.split_off(start);
        let Value::Set(set) = self.top()?.clone() else {
            return Err(self.error(format!("ADDITEMS is for sets, not for {}", self.top()?.describe())));
        };
        let mut held = set.write();
        let known = self.sets.entry(set.id()).or_insert_with(|| held.iter().cloned().map(Key).collect());
        self.making.budget.bytes(ENTRY * items.len() as u64)?;
        for item in items {
            self.making.budget.key(&item, held.len())?;
            if known.insert(Key(item.clone())) {
                held.push(item);
            }
        }
        Ok(())
    }

    pub(crate) fn set_items_on_top(&mut self, start: usize) -> Result<()> {
        let target = start.checked_sub(1).filter(|&at| at >= self.floor()).and_then(|at| self.stack.get(at));
        let target = target.cloned().ok_or_else(|| self.underflow())?;
        self.set_items(&target, start)
    }

    /// Takes keys and values in turn off the stack, from `start` on.
    pub(crate) fn set_items(&mut self, target: &Value, start: usize) -> Result<()> {
        let count = self.stack.len() - start;
        if !count.is_multiple_of(2) {
            return Err(self.error("a dict's key has no value"));
        }
        self.making.budget.bytes(ENTRY * (count / 2) as u64)?;
        let mut items = self.stack.drain(start..);
        match target {
            Value::Dict(dict) => {
                let mut dict = dict.write();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    self.making.budget.key(&key, dict.entries.len())?;
                    dict.entries.insert(Key(key), value);
                }
            }
            Value::Object(object) => {
                let mut object = object.write();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    object.entries.push((key, value));
                }
            }
            other => {
                let reason = format!("{} has no entries to set", other.describe());
                drop(items);
                return Err(self.error(reason));
            }
        }
        Ok(())
    }

    /// Puts another value in the place of the object on top of the stack, and of its entry in the memo.
    fn replace_top(&mut self, object: usize, value: Value) {
        self.arena.add(&value);
        if let Some(index) = self.unfinished.remove(&object) {
            self.memo.put(index, value.clone());
        }
        if let Some(top) = self.stack.last_mut() {
            *top = value;
        }
    }

    /// Gives a state to an object, as Python's `__setstate__` or `__dict__.update` would.
    pub(crate) fn build(&mut self, target: &Value, state: Value) -> Result<()> {
        match target {
            Value::Object(object) => {
                let tensor = old::with_state(&object.read(), &state, &mut self.making)?;
                object.write().states.push(state);
                if let Some(tensor) = tensor {
                    self.replace_top(object.id(), tensor);
                }
            }
            Value::Dict(dict) => {
                // Not under the lock: the dict may be its own state.
                let state = match (dict.state(), state) {
                    (None, state) => state,
                    (Some(Value::Dict(before)), Value::Dict(more)) => {
                        self.making.budget.copies(before.len() + more.len())?;
                        let merged: Dict = before.entries().into_iter().chain(more.entries()).collect();
                        let merged = Value::Dict(merged);
                        self.arena.add(&merged);
                        merged
                    }
                    _ => return Err(self.error("a dict is given two states that do not go together")),
                };
                dict.write().state = Some(state);
            }
            // As in Python, an empty state does nothing.
            _ if is_empty(&state) => {}
            other => {
                let reason = format!("{} is given a state, which it cannot have", other.describe());
                return Err(self.error(reason));
            }
        }
        Ok(())
    }
}

fn is_empty(state: &Value) -> bool {
    match state {
        Value::None => true,
        Value::Dict(dict) => dict.is_empty(),
        _ => false,
    }
}
