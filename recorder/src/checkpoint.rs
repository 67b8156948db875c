//! Checkpoint.
use crate::Limits;
use crate::container::Container;
/// x
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// x
    pub limits: Limits,
    /// x
    pub verify: bool,
}
/// x
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SaveOptions {
    /// x
    pub overwrite: bool,
    /// x
    pub allow_objects: bool,
    /// x
    pub container: Option<Container>,
}
/// x
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SaveReport {
    /// x
    pub bytes: u64,
    /// x
    pub notes: Vec<String>,
}
