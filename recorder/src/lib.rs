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
//! | take a checkpoint from a server, or weights by their name | [`source`] |
//! | map the keys of a model's weights | [`StateDict`], [`LoadOptions`] |
//! | go on with a run, whatever wrote it | [`run::RunState`] |
//! | see what a file would run in Python | [`scan::scan`] |
//! | know whether a file is whole | [`verify::verify`] |
//! | go through everything in a file | [`walk::walk`], [`Checkpoint::tensors`] |

mod base64;
pub mod checkpoint;
pub mod container;
mod error;
mod format;
mod impls;
pub mod io;
mod limits;
mod options;
pub mod pickle;
mod printable;
pub mod run;
pub mod serde;
mod settings;
pub mod source;
pub mod state_dict;
pub mod tools;
pub mod value;
pub mod walk;

pub use checkpoint::Checkpoint;
pub use error::{Error, ErrorKind, IoResultExt, Result, ResultExt};
pub use format::Format;
pub(crate) use format::Opened;
pub(crate) use io::FileBytes;
pub use limits::Limits;
pub(crate) use options::{OpenOptions, SaveOptions, SaveReport};
pub use printable::{printable, printable_lines, printable_name};
pub use state_dict::StateDict;
pub use state_dict::keys::{self, LoadOptions};
pub use state_dict::report::{self, LoadReport};
pub use tools::{convert, diff, inspect, location, scan, verify};
pub use value::{DType, Dict, Element, Source, Storage, Tensor, UnknownDType, Value, rebuild, tensor};
pub(crate) use value::{Global, Key};
