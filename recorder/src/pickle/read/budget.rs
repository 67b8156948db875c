//! `Budget`: what reading one pickle has cost so far, charged before it is spent.

use crate::{Error, Limits, Result, Value};

/// Bytes charged for a place in a stack, list or tuple.
pub(crate) const PLACE: u64 = size_of::<Value>() as u64;
/// Bytes charged for an entry of a dict: key, value, hash and index.
pub(crate) const ENTRY: u64 = 2 * PLACE + 24;
/// Bytes charged for a container beyond its contents.
pub(crate) const CONTAINER: u64 = 128;
/// Bytes hashed for one step of work.
const HASHED: usize = 8;
/// Keys may not nest deeper than this, whatever the limits: no program writes such keys.
const KEY_DEPTH: usize = 1000;

pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    values: u64,
    bytes: u64,
    /// Comparisons and hashing that hostile keys could cause.
    work: u64,
    /// Keys so far whose hashes may be alike.
    alike: u64,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Budget { limits, values: 0, bytes: 0, work: 0, alike: 0 }
    }

    /// The values made so far, and the bytes that they hold.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.values, self.bytes)
    }

    /// One more value.
    pub(crate) fn value(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Error::limit("the number of values in a pickle", self.limits.values));
        }
        self.bytes(PLACE)
    }

    /// This many more bytes held by values.
    pub(crate) fn bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.value_bytes {
            return Err(Error::limit("the memory for the values of a pickle", self.limits.value_bytes));
        }
        Ok(())
    }

    /// This many more values copied from one container to another.
    pub(crate) fn copies(&mut self, count: usize) -> Result<()> {
        self.bytes(ENTRY.saturating_mul(count as u64))?;
        self.work(count as u64)
    }

    fn work(&mut self, steps: u64) -> Result<()> {
        // Two steps a value are far beyond what an honest pickle needs, and a matter of seconds.
        let limit = self.limits.values.saturating_mul(2);
        self.work = self.work.saturating_add(steps);
        if self.work > limit {
            return Err(Error::limit("the work of comparing the keys of a pickle", limit));
        }
        Ok(())
    }

    /// A value that is to be hashed and compared as a key among `others`.
    pub(crate) fn key(&mut self, key: &Value, others: usize) -> Result<()> {
        match key {
            Value::Str(text) => self.work((text.len() / HASHED) as u64),
            Value::Int(_) | Value::Bool(_) | Value::None => Ok(()),
            other => {
                let (size, alike) = self.measure(other)?;
                if alike {
                    self.alike += 1;
                    let compared = self.alike.min(others as u64);
                    self.work(compared.saturating_mul(size.saturating_mul(size)))?;
                }
                Ok(())
            }
        }
    }

    /// How many parts a key has (shared ones as often as they occur), and whether unequal keys like it may hash alike.
    fn measure(&mut self, key: &Value) -> Result<(u64, bool)> {
        let deepest = self.limits.depth.min(KEY_DEPTH);
        let (mut size, mut alike) = (0_u64, false);
        let mut open = vec![(key, 0_usize)];
        while let Some((value, depth)) = open.pop() {
            size += 1;
            let length = match value {
                Value::Tuple(items) | Value::FrozenSet(items) => {
                    alike |= matches!(value, Value::FrozenSet(_));
                    if depth >= deepest {
                        return Err(Error::limit("the depth of a dict's key", deepest as u64));
                    }
                    self.work(items.len() as u64)?;
                    open.extend(items.iter().map(|item| (item, depth + 1)));
                    0
                }
                Value::Size(items) => items.len(),
                Value::Str(text) => text.len() / HASHED,
                Value::Bytes(bytes) => bytes.len() / HASHED,
                Value::Int(_) | Value::Bool(_) | Value::Float(_) | Value::None => 0,
                Value::SurrogateStr(bytes) => {
                    alike = true;
                    bytes.len() / HASHED
                }
                other => {
                    alike |= other.id().is_none();
                    0
                }
            };
            self.work(1 + length as u64)?;
        }
        Ok((size, alike))
    }
}
