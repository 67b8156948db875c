//! What fills containers, in batches of a thousand, as CPython's pickler cuts them.

use crate::pickle::opcodes as op;
use crate::pickle::write::output::Output;
use crate::value::DictKind;
use crate::{Dict, Value, walk};

const BATCH: usize = 1000;

/// Cuts what comes one by one into batches.
struct Batches {
    /// The opcode after one that comes alone, and that after a batch, which begins with a mark.
    opcodes: (u8, u8),
    /// How many were taken.
    done: usize,
    /// How many of them belong to the batch that is open, if one is; 0 where one comes alone.
    open: Option<usize>,
    /// Whether the last of many goes without a batch, as CPython does for all but lists and dicts.
    last_alone: bool,
    /// Whether an empty batch follows full ones, as CPython does for dicts.
    empty_last: bool,
}

impl Batches {
    fn new(opcodes: (u8, u8), last_alone: bool, empty_last: bool) -> Self {
        Batches { opcodes, done: 0, open: None, last_alone, empty_last }
    }

    /// Writes the opcodes that come before the next of those that are left.
    fn before(&mut self, left: usize, output: &mut Output) {
        match self.open {
            Some(0) => {
                output.op(self.opcodes.0);
                self.open = None;
            }
            Some(count) if count == BATCH || left == 0 => {
                output.op(self.opcodes.1);
                self.open = None;
                if self.empty_last && count == BATCH && left == 0 {
                    output.op(op::MARK);
                    output.op(self.opcodes.1);
                }
            }
            _ => {}
        }
        if left == 0 {
            return;
        }
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
    }
}

/// The items of a list or of an object like one.
pub(crate) struct Appends {
    items: std::vec::IntoIter<Value>,
    batches: Batches,
}

impl Appends {
    pub(crate) fn to_list(items: Vec<Value>) -> Self {
        Appends { items: items.into_iter(), batches: Batches::new((op::APPEND, op::APPENDS), false, false) }
    }

    pub(crate) fn to_object(items: Vec<Value>) -> Self {
        Appends { items: items.into_iter(), batches: Batches::new((op::APPEND, op::APPENDS), true, false) }
    }

    /// How many items are written.
    pub(crate) fn done(&self) -> usize {
        self.batches.done
    }

    /// The next item to write, after the opcodes that come before it; `None` at the end.
    pub(crate) fn next(&mut self, output: &mut Output) -> Option<Value> {
        self.batches.before(self.items.len(), output);
        self.items.next()
    }
}

/// The entries of a dict or an object like it.
pub(crate) struct SetItems {
    /// What holds them, where that is a dict.
    dict: Option<Dict>,
    entries: std::vec::IntoIter<(Value, Value)>,
    /// The key of the entry that is being written.
    key: Option<Value>,
    batches: Batches,
}

impl SetItems {
    /// Of a dict as CPython writes a `dict`, or as it writes an `OrderedDict`.
    pub(crate) fn of_dict(dict: &Dict) -> Self {
        let entries = dict.entries();
        let of = match dict.kind() {
            DictKind::Dict => {
                let batches = Batches::new((op::SETITEM, op::SETITEMS), false, true);
                SetItems { dict: None, entries: entries.into_iter(), key: None, batches }
            }
            DictKind::OrderedDict => SetItems::of_object(entries),
        };
        SetItems { dict: Some(dict.clone()), ..of }
    }

    pub(crate) fn of_object(entries: Vec<(Value, Value)>) -> Self {
        let batches = Batches::new((op::SETITEM, op::SETITEMS), true, false);
        SetItems { dict: None, entries: entries.into_iter(), key: None, batches }
    }

    /// The next entry to write, after the opcodes that come before it; `None` at the end.
    pub(crate) fn next(&mut self, output: &mut Output) -> Option<(Value, Value)> {
        self.batches.before(self.entries.len(), output);
        let entry = self.entries.next();
        self.key = entry.as_ref().map(|(key, _)| key.clone());
        entry
    }

    /// Adds the part of a path that leads to the entry that is being written.
    pub(crate) fn spell(&self, path: &mut String) {
        match (&self.dict, &self.key, self.batches.done) {
            (Some(dict), Some(_), done) if done > 0 => walk::write_entry(dict, done - 1, path),
            (None, Some(Value::Str(key)), _) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(key);
            }
            (None, Some(key), _) => path.extend(["[", &walk::repr(key), "]"]),
            _ => {}
        }
    }
}
