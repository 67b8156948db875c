//! `torch.optim`, and others' optimizers: one file an optimizer, with a state dict that PyTorch reads and writes.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Device, Tensor};
//! use rekindle_train::optim::{AdamWOptions, Optimizer};
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(3, 2).init(&device);
//! let mut optimizer = Optimizer::adamw(&model, AdamWOptions::default().lr(3e-4))?;
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
mod adamw_schedule_free;
mod adan;
mod adan_pytorch;
mod array;
mod asgd;
mod assign;
mod bitsandbytes;
pub(crate) mod burn_record;
mod closure;
mod elementwise;
mod freeze;
mod gradient;
mod group;
mod lamb;
mod lars;
mod lbfgs;
mod lion;
mod modes;
mod muon;
mod nadam;
mod number;
mod optimizer;
mod options;
mod parse;
mod pieces;
mod prelude;
mod radam;
mod recognise;
mod registry;
mod rmsprop;
mod rmsprop_tf;
mod room;
mod rprop;
mod rule;
mod sgd;
mod sparse_adam;
mod state;
mod state_dict;
mod step;
mod timm;
mod timm_lion;
mod transformers_adamw;
mod vector;

pub use group::{ParamGroup, Select};
pub use lbfgs::LineSearch;
pub use muon::AdjustLr;
pub use optimizer::{Optimizer, OptimizerBuilder};
pub use recognise::{ForeignKey, Recognition};
pub use registry::{Hyperparameters, OptimizerKind};

macro_rules! exports {
    ($($file:ident::$kind:ident, $options:ident, $name:literal $($elsewhere:ident)?, $has:expr, $lacks:expr;)*) => {
        $(pub use $file::$options;)*
    };
}

registry::registry!(exports);

pub(crate) use array::{Real, rounded, with_real};
pub(crate) use bitsandbytes::TOLD as TOLD_OF_BITSANDBYTES;
pub(crate) use number::Number;
pub(crate) use state_dict::shared_out;
#[cfg(feature = "learner")]
pub(crate) use {rule::View, state::ParamState, step::step_alone};

#[cfg(test)]
mod tests;
