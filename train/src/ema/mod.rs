//! Averages of a model's weights: `torch.optim.swa_utils.AveragedModel` for stochastic weight averaging and exponential
//! moving averages, in the files of PyTorch, timm, mmengine, `torch_ema`, diffusers and `ema_pytorch`; and `update_bn`.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//! use rekindle_train::ema::{AveragedModel, Averaging};
//!
//! let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
//! let mut average = AveragedModel::new(&model, Averaging::Ema { decay: 0.999 })?;
//! average.update_parameters(&model)?; // after every step
//!
//! let saved = average.state_dict();
//! let average = AveragedModel::from_state_dict(&saved, Averaging::Ema { decay: 0.999 })?;
//! let mut averaged = model.clone();
//! average.load_into(&mut averaged)?;
//! # Ok::<(), rekindle_recorder::Error>(())
//! ```

mod average;
mod blend;
mod decay;
mod forms;
mod update_bn;

pub use average::{AveragedLayout, AveragedModel};
pub use blend::Averaging;
pub use decay::Decay;
pub(crate) use forms::{in_lit, is_lit, lit_rule};
pub use update_bn::{update_bn, update_bn_with_rows};
