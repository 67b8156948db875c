//! Whole networks, one file each. Fields are named and ordered as PyTorch registers them.

mod convbn;
mod digits;
mod fullyconv;
pub mod gpt2;
mod lenet;
pub mod llama;
pub mod lstm_lm;
mod mlp;
pub mod resnet;
pub mod vit;

pub use convbn::ConvBn;
pub use digits::Digits;
pub use fullyconv::FullyConv;
pub use gpt2::{Gpt2, Gpt2Config};
pub use lenet::LeNet;
pub use llama::{Llama, LlamaConfig};
pub use lstm_lm::{LstmLm, LstmLmConfig};
pub use mlp::mlp;
pub use resnet::{ResNet, ResNetConfig};
pub use vit::{Vit, VitConfig};
