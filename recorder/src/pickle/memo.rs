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
            Ok(at) if at < self.dense.len() => self.dense[at].replace(value).or_else(|| self.sparse.remove(&index)),
            // Python 2 numbers from one, and some writers leave entries out.
            Ok(at) if at < self.dense.len() + 16 => {
                self.dense.resize_with(at, || None);
                self.dense.push(Some(value));
                self.sparse.remove(&index)
            }
            _ => self.sparse.insert(index, value),
        };
        self.len += u64::from(before.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_wherever_their_numbers_lie() {
        let mut memo = Memo::default();
        let numbers = [1, 0, 17, 1 << 40, 5, 40, 30, 1 << 40, 29, 17];
        for (count, &number) in numbers.iter().enumerate() {
            memo.put(number, Value::from(count));
        }
        let last = |number| numbers.iter().rposition(|&other| other == number).and_then(|at| i64::try_from(at).ok());
        for number in numbers {
            assert_eq!(memo.get(number).and_then(Value::as_i64), last(number), "{number}");
        }
        assert!(memo.get(2).is_none());
        assert_eq!(memo.len(), 8);
    }
}
