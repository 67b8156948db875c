//! The reader's memo: what a pickle may refer to again, by number.

use std::collections::HashMap;

use crate::Value;

/// A vector, as Python numbers the entries from zero up, and a map for numbers that jump.
pub(super) struct Memo<T = Value> {
    dense: Vec<Option<T>>,
    sparse: HashMap<u64, T>,
    len: u64,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo { dense: Vec::new(), sparse: HashMap::new(), len: 0 }
    }
}

impl<T> Memo<T> {
    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn get(&self, index: u64) -> Option<&T> {
        let dense = usize::try_from(index).ok().and_then(|index| self.dense.get(index));
        dense.and_then(Option::as_ref).or_else(|| self.sparse.get(&index))
    }

    pub(super) fn put(&mut self, index: u64, value: T) {
        let before = match usize::try_from(index) {
            Ok(at) if at < self.dense.len() => self.dense[at].replace(value).or_else(|| self.out_of_sparse(index)),
            // Python 2 numbers from one, and some writers leave entries out.
            Ok(at) if at < self.dense.len() + 16 => {
                self.dense.resize_with(at, || None);
                self.dense.push(Some(value));
                self.out_of_sparse(index)
            }
            _ => self.sparse.insert(index, value),
        };
        self.len += u64::from(before.is_none());
    }

    /// Most pickles have none there, and are not hashed for.
    fn out_of_sparse(&mut self, index: u64) -> Option<T> {
        if self.sparse.is_empty() { None } else { self.sparse.remove(&index) }
    }
}
