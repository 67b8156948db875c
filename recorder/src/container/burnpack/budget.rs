//! What reading one of Burn's files may cost. Each value is charged before memory is taken for it.

use crate::{Error, Limits, Result};

/// What a value takes beside its own bytes: its place in a container, its key.
const PLACE: u64 = 64;

pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    values: u64,
    bytes: u64,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Budget { limits, values: 0, bytes: 0 }
    }

    /// One more value.
    pub(crate) fn value(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Error::limit("the number of values", self.limits.values));
        }
        self.bytes(PLACE)
    }

    /// So many more bytes of text and the like.
    pub(crate) fn bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.value_bytes {
            return Err(Error::limit(format!("the memory for values ({} bytes)", self.bytes), self.limits.value_bytes));
        }
        Ok(())
    }
}
