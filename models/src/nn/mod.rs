//! `torch.nn` as Burn modules: PyTorch's names, options, defaults, first weights, state dicts and numbers.
//!
//! A network that is ported by hand reads as it did in Python, and its `state_dict()` is PyTorch's, key for key: no layer row is
//! needed, as for the layers of burn-nn. Options are set on a `...Config`, which [`Init`](crate::init::Init) makes a layer of; layers
//! without parameters are their own options. `forward` gives an error, and never panics, on a tensor that does not fit.
//!
//! **Training and evaluation** follow Burn's way. On an autodiff device a module trains: dropout drops, `BatchNorm` normalises by the
//! batch. `module.valid()` is PyTorch's `module.eval()`: the module on the device without autodiff. `freeze()` clears the flag of
//! layers that are to evaluate on an autodiff device.
//!
//! Tensors of 16 bits are computed as PyTorch computes them: in `float32`, rounded once when a layer is done. Parameters of `float32` are
//! computed with in 16 bits within [`functional::autocast`](crate::functional::autocast).

mod activation;
mod adaptive;
mod attention;
mod batch_norm;
mod buffer;
mod container;
mod conv;
mod distance;
mod dropout;
mod embedding;
mod fold;
pub mod functional;
mod half;
mod lazy;
mod linear;
mod linear_loss;
mod loss;
pub(crate) mod module;
mod norm;
mod padding;
pub(crate) mod parts;
mod pool;
mod rnn;
mod stateless;
mod transformer;
mod unpool;
mod upsample;

pub use activation::*;
pub use adaptive::*;
pub use attention::*;
pub use batch_norm::*;
pub use buffer::Buffer;
pub use container::{Layer, ModuleDict, ModuleList, Sequential};
pub use conv::*;
pub use distance::*;
pub use dropout::Dropout;
pub use embedding::*;
pub use fold::*;
pub use half::rounded_once;
pub use lazy::*;
pub use linear::*;
pub use linear_loss::*;
pub use loss::*;
pub use module::{Forward, Sizes};
pub use norm::*;
pub use padding::{Pad, PaddingMode};
pub use pool::*;
pub use rnn::*;
pub use stateless::Stateless;
pub use transformer::*;
pub use unpool::*;
pub use upsample::*;
