//! What `module.state_dict()` gives in PyTorch, how its keys are mapped to a model's, and the report of a load.

mod dict;
pub mod keys;
mod mmcv;
pub(crate) mod module;
pub mod report;

pub use dict::StateDict;
