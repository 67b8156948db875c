//! `torch.nn.functional` and the operators behind it, with PyTorch's semantics and numbers, forward and backward.
//!
//! Everything works on [`Array`]s, tensors whose rank and element type are known at run time: types are promoted as
//! PyTorch promotes them, shapes are broadcast, dimensions may be counted from the end, gradients are PyTorch's at the kinks.
//! What Burn computes as PyTorch does is Burn's; the rest is composed of it here. On the CPU, what a training step spends its time
//! in is computed by operators of our own; `REKINDLE_OPERATORS=plain` and [`with_plain_operators`] turn them off.

mod activation;
mod arcs;
mod array;
mod attention;
mod autocast;
mod broadcast;
mod conv;
mod cpu;
mod ctc;
mod device;
mod elementwise;
mod empty;
mod fold;
mod fractional;
mod index;
mod linear_algebra;
mod loss;
mod matmul;
mod norm;
mod number;
mod order;
mod pool;
mod random;
mod reduce;
mod resize;
mod rnn;
mod shape;
mod special;
mod unary;

pub(crate) use array::refused;
pub use array::{Array, BOOL, Kind, dtype_name, kind_of};
pub use attention::Attention;
pub use autocast::autocast;
pub(crate) use autocast::{cast_eligible, is_narrow, region};
pub use broadcast::{broadcast_shape, select};
pub use conv::Convolution;
pub use cpu::{with_own_operators, with_plain_operators};
pub use ctc::Ctc;
pub(crate) use device::is_on_cpu;
pub use elementwise::Bits;
pub use fold::{Blocks, Reduce};
pub use index::Update;
pub(crate) use index::{inverse, signed};
pub use loss::{Classes, Reduction};
pub use norm::Running;
pub use number::{Number, Operand, promoted, result_type};
pub use order::Between;
pub use pool::Windows;
pub use resize::{Interpolation, Outside, Resized};
pub use rnn::{Cell, Recurrent};
pub use shape::Padding;
pub use special::{Special, xlogy};
pub use unary::Unary;
