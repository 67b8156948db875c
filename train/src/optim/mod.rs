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

mod adafactor;
mod adam;
mod adamw;
mod array;
mod assign;
mod elementwise;
mod group;
mod lbfgs;
mod muon;
mod number;
mod optimizer;
mod rule;
mod sgd;
mod sparse_adam;
mod state;
mod state_dict;
mod whole;

pub use adafactor::AdafactorOptions;
pub use adam::AdamOptions;
pub use adamw::AdamWOptions;
pub use group::{Hyperparameters, ParamGroup, Select};
pub use lbfgs::{LbfgsOptions, LineSearch};
pub use muon::{AdjustLr, MuonOptions};
pub use optimizer::{Optimizer, OptimizerBuilder};
pub use rule::OptimizerKind;
pub use sgd::SgdOptions;
pub use sparse_adam::SparseAdamOptions;

pub(crate) use number::Number;
pub(crate) use optimizer::in_host_memory;

#[cfg(test)]
mod tests;
