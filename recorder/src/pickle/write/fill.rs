//! What fills containers, in batches of a thousand, as CPython's pickler cuts them.

use crate::Value;
use crate::pickle::opcodes as op;
use crate::pickle::write::output::Output;

const BATCH: usize = 1000;

/// The items of a list or of an object like one.
pub(crate) struct Appends {
    items: std::vec::IntoIter<Value>,
    /// How many items are written.
    pub(crate) done: usize,
    /// How many of them belong to the batch that is open, if one is.
    open: Option<usize>,
    /// Whether the last item of many goes without a batch, as CPython does for all but lists.
    last_alone: bool,
}

impl Appends {
    pub(crate) fn to_list(items: Vec<Value>) -> Self {
        Appends { items: items.into_iter(), done: 0, open: None, last_alone: false }
    }

    pub(crate) fn to_object(items: Vec<Value>) -> Self {
        Appends { last_alone: true, ..Appends::to_list(items) }
    }

    /// The next item to write, after the opcodes that come before it; `None` at the end.
    pub(crate) fn next(&mut self, output: &mut Output) -> Option<Value> {
        let left = self.items.len();
        match self.open {
            Some(0) => {
                // A single item is written: it has no mark.
                output.op(op::APPEND);
                self.open = None;
            }
            Some(count) if count == BATCH || left == 0 => {
                output.op(op::APPENDS);
                self.open = None;
            }
            _ => {}
        }
        let item = self.items.next()?;
        let alone = left == 1 && (self.done == 0 || self.last_alone);
        self.open = match self.open {
            None if alone => Some(0),
            None => {
                output.op(op::MARK);
                Some(1)
            }
            Some(count) => Some(count + 1),
        };
        self.done += 1;
        Some(item)
    }
}

/// The entries of a dict or an object like it.
pub(crate) struct SetItems {
    entries: std::vec::IntoIter<(Value, Value)>,
    /// The key of the entry that is being written.
    pub(crate) key: Option<Value>,
    open: Option<usize>,
    /// Whether it is a `dict`: the last of many entries then stands in a batch, and after full batches an empty one follows.
    exact: bool,
    started: bool,
}

impl SetItems {
    pub(crate) fn of_dict(entries: Vec<(Value, Value)>) -> Self {
        SetItems { entries: entries.into_iter(), key: None, open: None, exact: true, started: false }
    }

    pub(crate) fn of_object(entries: Vec<(Value, Value)>) -> Self {
        SetItems { exact: false, ..SetItems::of_dict(entries) }
    }

    /// The next entry to write, after the opcodes that come before it; `None` at the end.
    pub(crate) fn next(&mut self, output: &mut Output) -> Option<(Value, Value)> {
        let left = self.entries.len();
        match self.open {
            Some(0) => {
                output.op(op::SETITEM);
                self.open = None;
            }
            Some(count) if count == BATCH || left == 0 => {
                output.op(op::SETITEMS);
                self.open = None;
                if self.exact && count == BATCH && left == 0 {
                    output.op(op::MARK);
                    output.op(op::SETITEMS);
                }
            }
            _ => {}
        }
        let Some((key, value)) = self.entries.next() else {
            self.key = None;
            return None;
        };
        let alone = left == 1 && (!self.started || !self.exact);
        self.open = match self.open {
            None if alone => Some(0),
            None => {
                output.op(op::MARK);
                Some(1)
            }
            Some(count) => Some(count + 1),
        };
        self.started = true;
        self.key = Some(key.clone());
        Some((key, value))
    }
}
