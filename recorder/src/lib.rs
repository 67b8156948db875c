//! PyTorch checkpoints as values: every container read into one [`Value`] and written back without loss. Reading a file
//! never runs anything.
//!
//! ```no_run
//! use rekindle_recorder::{Checkpoint, StateDict, Tensor, run::RunState};
//!
//! # fn main() -> rekindle_recorder::Result<()> {
//! let checkpoint = Checkpoint::open("run.pt")?; // torch.load("run.pt"): the pickle only, tensors when they are asked for
//! let epoch: i64 = checkpoint.get("epoch")?;
//! let lr: f64 = checkpoint.get("optimizer_state_dict.param_groups[0].lr")?;
//! let weight: Tensor = checkpoint.get("model_state_dict.fc.weight")?;
//! println!("epoch {epoch}, lr {lr}, fc.weight {:?} {:?}", weight.shape(), weight.to_vec::<f32>()?);
//!
//! let mut run = RunState::read(&checkpoint)?; // whatever the keys are called
//! let mut model: StateDict = run.model.clone();
//! model.insert("fc.weight", Tensor::from_vec(weight.shape(), vec![0.0_f32; weight.numel()])?);
//! run.model = model;
//! run.epoch = Some(epoch + 1);
//! run.write_back(&checkpoint)?.save("next.pt")?; // plain torch.load("next.pt") opens it; all else is as it was
//! # Ok(())
//! # }
//! ```
//!
//! | To | look at |
//! |---|---|
//! | open, look up, change, save a file | [`Checkpoint`] |
//! | know what any Python object is here | [`Value`], [`Tensor`], [`Storage`] |
//! | read values into your own types | [`serde`] |
//! | map the keys of a model's weights | [`StateDict`], [`LoadOptions`] |
//! | go on with a run, whatever wrote it | [`run::RunState`] |
//! | see what a file would run in Python | [`scan::scan`] |
//! | know whether a file is whole | [`verify::verify`] |
//! | go through everything in a file | [`walk::walk`], [`Checkpoint::tensors`] |

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
pub mod location;
mod options;
pub mod pickle;
pub mod rebuild;
pub mod report;
pub mod run;
pub mod scan;
pub mod serde;
pub mod source;
pub mod state_dict;
mod storage;
pub mod tensor;
pub mod value;
pub mod verify;
pub mod walk;

pub use checkpoint::Checkpoint;
pub use dtype::{DType, UnknownDType};
pub use error::{Error, ErrorKind, Result};
pub use keys::LoadOptions;
pub use limits::Limits;
pub use report::LoadReport;
pub use state_dict::StateDict;
pub use storage::{Source, Storage};
pub use tensor::{Element, Tensor};
pub use value::{Dict, Value};
