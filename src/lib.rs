//! A training run that began in PyTorch goes on in Rust, on [Burn](https://burn.dev), as if it had not moved, and can go back.
//!
//! This crate gathers the rooms: [`recorder`] reads and writes PyTorch's files, [`random`] is its generator, [`models`]
//! are networks with its names and numbers, [`train`] continues its optimizers, schedules and batches.
#![recursion_limit = "256"] // the GPU backends' types nest deeply

mod device;

pub use device::{DeviceError, device, devices};
pub use rekindle_models as models;
pub use rekindle_random as random;
pub use rekindle_recorder as recorder;
pub use rekindle_recorder::{Checkpoint, Error, Result, StateDict, Tensor, Value};
pub use rekindle_train as train;
