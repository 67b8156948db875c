//! Whole networks, one file each. Fields are named and ordered as PyTorch registers them.

pub mod bert;
mod convbn;
mod digits;
mod fullyconv;
pub mod gpt2;
mod lenet;
pub mod llama;
pub mod lstm_lm;
pub(crate) mod mlp;
pub(crate) mod mnist;
pub mod resnet;
mod transformers;
pub mod vit;

pub use bert::{Bert, BertConfig, BertForMaskedLm, BertForSequenceClassification};
pub use convbn::ConvBn;
pub use digits::Digits;
pub use fullyconv::FullyConv;
pub use gpt2::{Gpt2, Gpt2Config};
pub use lenet::LeNet;
pub use llama::{Llama, LlamaConfig};
pub use lstm_lm::{LstmLm, LstmLmConfig};
pub use mlp::mlp;
pub use mnist::Mnist;
pub use resnet::{ResNet, ResNetConfig};
pub use transformers::Activation;
pub use vit::{Vit, VitConfig};
