//! PyTorch's training parts for Burn: optimizers, learning rate schedulers, losses, samplers and the data loader of PyTorch,
//! computing what PyTorch computes, with state dicts that PyTorch reads and writes; and [`Run`], which takes a run up from a
//! PyTorch checkpoint, goes on with it, and writes it back.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `learner` | no | PyTorch's checkpoints, optimizers, schedulers, loaders and logs for burn-train's `SupervisedTraining` |
//! | `dataset` | no | any `burn::data::dataset::Dataset` for the loaders: `data::Items` |
//! | `flex` | yes | updates parameters on Burn's CPU backend in place, in one pass over memory; without it every device goes through tensor operations |

// What unit tests and the tests outside have in common calls the crate by its name.
#[cfg(test)]
extern crate self as rekindle_train;

pub mod amp;
pub mod attributes;
mod beside;
mod call;
pub mod checkpoints;
pub mod clip;
pub mod data;
pub mod ema;
pub mod gradients;
#[cfg(feature = "learner")]
pub mod learner;
pub mod log;
pub mod loss;
pub mod lr_scheduler;
mod number;
pub mod optim;
mod parameters;
pub mod run;
pub mod tensorboard;

pub use run::Run;
