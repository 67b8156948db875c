//! Containers.
use crate::checkpoint::OpenOptions;
use crate::value::Global;
use crate::{Result, Value};
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// x
    Zip,
}
/// x
#[derive(Debug)]
pub struct Opened {
    /// x
    pub container: Container,
    /// x
    pub value: Value,
    /// x
    pub globals: Vec<Global>,
    /// x
    pub bytes: u64,
}
/// x
pub fn open(_path: &std::path::Path, _options: &OpenOptions) -> Result<Opened> {
    Err(crate::Error::unsupported("x"))
}
