//! PyTorch's parts in burn-train's `SupervisedTraining` (feature `learner`): a program of burn-train's goes on from PyTorch's
//! checkpoints, and writes such, with a few lines changed.
//!
//! | burn-train has | in its place |
//! |---|---|
//! | the three `Checkpointer`s of `with_custom_checkpointers` | a [`TorchTraining`] each: one PyTorch checkpoint an epoch |
//! | an `Optimizer` of burn-optim's | [`TorchOptimizer`], or [`TorchTraining::optimizer`] with groups and state |
//! | a `LrScheduler` | [`TorchScheduler`], or [`TorchTraining::scheduler`] |
//! | a `DataLoader` | [`TorchLoader`]: the batches that PyTorch draws, from a place that is saved |
//! | a `CheckpointingStrategy` | [`TorchCheckpointing`], by [`CheckpointOptions`](crate::checkpoints::CheckpointOptions) |
//! | a `MetricLogger` | [`TorchLog`]: lines as [`log`](crate::log) has them, and `TensorBoard`'s curves |
//!
//! What burn-train's traits have no errors for panics, with the sentence that the error would be.
//!
//! - `optimizer.rs`, `state.rs`: optimizers and their state.
//! - `scheduler.rs`, `position.rs`: schedulers, and where a training is.
//! - `record.rs`: Burn's records of both.
//! - `place.rs`, `loader.rs`: the generator, and the loader that draws from it.
//! - `training.rs`, `checkpointer.rs`: the training that checkpoints are of, and burn-train's way to them.
//! - `checkpointing.rs`: when it is saved, and what is kept.
//! - `log.rs`: what people watch.

mod checkpointer;
mod checkpointing;
mod loader;
mod log;
mod optimizer;
mod place;
mod position;
mod record;
mod scheduler;
mod state;
mod training;

pub use checkpointing::TorchCheckpointing;
pub use loader::TorchLoader;
pub use log::TorchLog;
pub use optimizer::TorchOptimizer;
pub use scheduler::TorchScheduler;
pub use state::TorchState;
pub use training::TorchTraining;
