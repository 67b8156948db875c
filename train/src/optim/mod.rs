//! `torch.optim`: one file an optimizer, with a state dict that PyTorch reads and writes.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Device, Tensor};
//! use rekindle_train::optim::{AdamWOptions, Optimizer};
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(3, 2).init(&device);
//! let mut optimizer = Optimizer::adamw(&model, AdamWOptions { lr: 3e-4, ..Default::default() })?;
//!
//! let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
//! let model = optimizer.step(model, loss.backward())?;
//!
//! let state_dict = optimizer.state_dict(&model)?;
//! optimizer.load_state_dict(&model, &state_dict)?;
//! # Ok::<(), rekindle_recorder::Error>(())
//! ```

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod array;
mod asgd;
mod assign;
mod burn_record;
mod elementwise;
mod gradient;
mod group;
mod lbfgs;
mod muon;
mod nadam;
mod number;
mod optimizer;
mod radam;
mod rmsprop;
mod rprop;
mod rule;
mod sgd;
mod sparse_adam;
mod state;
mod state_dict;
mod step;
mod whole;

pub use adadelta::AdadeltaOptions;
pub use adafactor::AdafactorOptions;
pub use adagrad::AdagradOptions;
pub use adam::AdamOptions;
pub use adamax::AdamaxOptions;
pub use adamw::AdamWOptions;
pub use asgd::AsgdOptions;
pub use group::{Hyperparameters, ParamGroup, Select};
pub use lbfgs::{LbfgsOptions, LineSearch};
pub use muon::{AdjustLr, MuonOptions};
pub use nadam::NAdamOptions;
pub use optimizer::{Optimizer, OptimizerBuilder};
pub use radam::RAdamOptions;
pub use rmsprop::RMSpropOptions;
pub use rprop::RpropOptions;
pub use rule::OptimizerKind;
pub use sgd::SgdOptions;
pub use sparse_adam::SparseAdamOptions;

pub(crate) use number::Number;
pub(crate) use step::in_host_memory;
#[cfg(feature = "learner")]
pub(crate) use {rule::View, state::ParamState, step::step_alone};

#[cfg(test)]
mod tests;
