//! Whole networks, one file each. Fields are named and ordered as PyTorch registers them.

mod convbn;
mod digits;
mod fullyconv;
mod lenet;
mod mlp;

pub use convbn::ConvBn;
pub use digits::Digits;
pub use fullyconv::FullyConv;
pub use lenet::LeNet;
pub use mlp::mlp;
