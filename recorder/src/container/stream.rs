//! `Stream`: pickles and raw numbers one after the other, as the formats before the zip archive lay them out.

use std::fmt;

use bytes::Bytes;
use indexmap::IndexSet;

use crate::pickle::{self, PersistentLoad};
use crate::{Error, ErrorKind, Global, Limits, Result, Value};

/// A place in bytes that are read from the front. Nothing is taken that is not there.
pub(super) struct Stream<'a> {
    bytes: Bytes,
    at: usize,
    limits: &'a Limits,
    /// Every name in the pickles so far.
    globals: IndexSet<Global>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(bytes: Bytes, limits: &'a Limits) -> Self {
        Stream { bytes, at: 0, limits, globals: IndexSet::new() }
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is left.
    pub(super) fn rest(&self) -> Bytes {
        self.bytes.slice(self.at.min(self.bytes.len())..)
    }

    pub(super) fn globals(self) -> IndexSet<Global> {
        self.globals
    }

    /// Reads one pickle, which is called `what` in errors.
    pub(super) fn pickle(
        &mut self,
        what: &(impl fmt::Display + ?Sized),
        ids: &mut dyn PersistentLoad,
    ) -> Result<Value> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let longest = usize::try_from(self.limits.pickle_bytes).unwrap_or(usize::MAX);
        let within = rest.get(..longest).unwrap_or(rest);
        let place = format!("{what} (from byte {start})");
        let unpickled = match pickle::read(within, &place, self.limits, ids) {
            // It ends where the limit does.
            Err(error) if matches!(error.kind(), ErrorKind::Truncated { .. }) && within.len() < rest.len() => {
                let what = format!("{what}, a pickle of more than {longest} bytes,");
                return Err(Error::limit(what, self.limits.pickle_bytes));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Truncated { .. }) => {
                return Err(Error::truncated(format!("{what}, which begins at byte {start}, is not all there")));
            }
            unpickled => unpickled?,
        };
        self.at += unpickled.end;
        self.globals.extend(unpickled.globals);
        Ok(unpickled.value)
    }

    /// The next bytes; no copy.
    pub(super) fn take(&mut self, len: u64, what: &(impl fmt::Display + ?Sized)) -> Result<Bytes> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        match end.filter(|&end| end <= self.bytes.len()) {
            Some(end) => {
                let taken = self.bytes.slice(self.at..end);
                self.at = end;
                Ok(taken)
            }
            None => {
                let left = self.bytes.len() - self.at;
                Err(Error::truncated(format!("{what} takes {len} bytes from byte {} on, and {left} are left", self.at)))
            }
        }
    }

    /// The next 8 bytes, an integer that counts something.
    pub(super) fn count(&mut self, what: &(impl fmt::Display + ?Sized)) -> Result<u64> {
        let [number] = self.integers(1, what)?[..] else { return Err(Error::truncated(what.to_string())) };
        u64::try_from(number).map_err(|_| Error::damaged(what, format!("{number} counts nothing")))
    }

    /// The next `count` integers of 8 bytes.
    pub(super) fn integers(&mut self, count: u64, what: &(impl fmt::Display + ?Sized)) -> Result<Vec<i64>> {
        let bytes = self.take(count.saturating_mul(8), what)?;
        let (chunks, _) = bytes.as_chunks();
        Ok(chunks.iter().map(|chunk| i64::from_le_bytes(*chunk)).collect())
    }
}
