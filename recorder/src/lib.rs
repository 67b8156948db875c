//! PyTorch checkpoints as values: every container read into one [`Value`] and written back without loss. Reading a file
//! never runs anything.

#[cfg(feature = "burn")]
pub mod burn;
pub mod checkpoint;
pub mod container;
pub mod convert;
pub mod diff;
mod dtype;
mod elements;
mod error;
pub mod inspect;
pub mod integrity;
pub mod keys;
mod limits;
pub mod pickle;
pub mod rebuild;
pub mod report;
pub mod run;
pub mod serde;
pub mod source;
pub mod state_dict;
mod storage;
pub mod tensor;
pub mod value;
pub mod walk;

pub use checkpoint::Checkpoint;
pub use dtype::{DType, UnknownDType};
pub use error::{Error, ErrorKind, Result};
pub use limits::Limits;
pub use report::LoadReport;
pub use state_dict::StateDict;
pub use storage::{Source, Storage};
pub use tensor::{Element, Tensor};
pub use value::{Dict, Value};
