//! Pickles, both ways, without executing anything.
use crate::value::Global;
use crate::{Limits, Result, Storage, Value};

/// What a pickle held.
#[derive(Debug)]
pub struct Unpickled {
    /// The object.
    pub value: Value,
    /// How many bytes the pickle took.
    pub end: usize,
    /// Its protocol.
    pub protocol: u8,
    /// Every class or function it names, each once, as first seen.
    pub globals: Vec<Global>,
}

/// Puts values in the place of persistent ids.
pub trait PersistentLoad {
    /// The value that this id stands for; `None` keeps the id as an object.
    ///
    /// # Errors
    /// When the id is malformed.
    fn load(&mut self, id: &Value) -> Result<Option<Value>>;
}

/// x
pub fn read(_bytes: &[u8], _place: &str, _limits: &Limits, _ids: &mut dyn PersistentLoad) -> Result<Unpickled> {
    Err(crate::Error::unsupported("x"))
}

/// How persistent ids of storages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 5-tuple.
    Zip,
    /// 6-tuple.
    Legacy,
    /// None.
    Plain,
}

/// x
#[derive(Clone, Debug)]
pub struct PickleOptions {
    /// x
    pub dialect: Dialect,
    /// x
    pub allow_objects: bool,
}

/// x
#[derive(Debug)]
pub struct Pickled {
    /// x
    pub bytes: Vec<u8>,
    /// x
    pub storages: Vec<Storage>,
    /// x
    pub notes: Vec<String>,
}

/// x
pub fn write(_root: &Value, _options: &PickleOptions) -> Result<Pickled> {
    Err(crate::Error::unsupported("x"))
}
/// x
#[derive(Debug)]
pub struct StorageId {
    /// x
    pub dtype: Option<crate::DType>,
    /// x
    pub key: String,
    /// x
    pub location: String,
    /// x
    pub numel: u64,
    /// x
    pub view: Option<(String, u64, u64)>,
}
/// x
pub fn storage_from_id(_id: &Value) -> Result<Option<StorageId>> {
    Err(crate::Error::unsupported("x"))
}
