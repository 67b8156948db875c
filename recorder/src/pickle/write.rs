//! The writer.
use super::persistent::Dialect;
use crate::{Result, Storage, Value};

/// How a value is pickled.
#[derive(Clone, Debug)]
pub struct PickleOptions {
    /// How storages are referred to.
    pub dialect: Dialect,
    /// Whether to write what plain `torch.load` refuses.
    pub allow_objects: bool,
}

/// A pickle and the storages it refers to.
#[derive(Debug)]
pub struct Pickled {
    /// The pickle.
    pub bytes: Vec<u8>,
    /// The storages; the one at `i` has the key `i`.
    pub storages: Vec<Storage>,
    /// What was written otherwise than it was.
    pub notes: Vec<String>,
}

/// Pickles a value.
///
/// # Errors
/// Always, until the writer is here.
pub fn write(_root: &Value, _options: &PickleOptions) -> Result<Pickled> {
    Err(crate::Error::unsupported("writing pickles"))
}
