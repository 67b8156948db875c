//! What a program that goes on with a training run needs: `use rekindle::prelude::*`.
//!
//! [`Tensor`](crate::Tensor), the tensor of a checkpoint, is not among it, since Burn's own is called so; nor are
//! [`Result`](crate::Result) and [`Error`](crate::Error).

pub use burn::tensor::Device;
pub use rekindle_burn::ModuleStateDict;
pub use rekindle_models::init::Init;
pub use rekindle_models::{Config, Network};
pub use rekindle_recorder::{Checkpoint, LoadOptions, StateDict};
pub use rekindle_train::amp::GradScaler;
pub use rekindle_train::clip::ClipGradNorm;
pub use rekindle_train::data::{Array, DataLoader, Dataset, ReadOptions, read_dataset};
pub use rekindle_train::ema::{AveragedModel, Averaging};
pub use rekindle_train::loss::{bce_with_logits, cross_entropy, mse, nll};
pub use rekindle_train::lr_scheduler::LRScheduler;
pub use rekindle_train::optim::{Optimizer, OptimizerKind, Select};
pub use rekindle_train::run::{ResumeOptions, Run, SchedulePer};

pub use crate::device;
