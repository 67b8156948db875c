//! Whole networks, one file each. Fields are named and ordered as PyTorch registers them.

mod rope;
mod transformers;

/// A file and the networks in it, which say of themselves what the registry is to know (`registry/by_hand.rs`): what is listed is there by its
/// name, too.
macro_rules! zoo {
    ($($file:ident: $($network:ident),+;)+) => {
        $(
            pub mod $file;
            pub use $file::{$($network),+};
        )+

        /// Gives all networks to a macro.
        macro_rules! each_network {
            ($then:ident) => { $then! { $($($network),+),+ } };
        }
        pub(crate) use each_network;
    };
}

zoo! {
    lenet: LeNet;
    convbn: ConvBn;
    fullyconv: FullyConv;
    mlp: Mlp;
    digits: Digits;
    mnist: Mnist;
    resnet: ResNet;
    vit: Vit;
    gpt2: Gpt2;
    llama: Llama;
    lstm_lm: LstmLm;
    bert: Bert, BertForMaskedLm, BertForSequenceClassification;
}

pub use bert::BertConfig;
pub use gpt2::Gpt2Config;
pub use llama::LlamaConfig;
pub use lstm_lm::LstmLmConfig;
pub use mlp::mlp;
pub use resnet::ResNetConfig;
pub use transformers::Activation;
pub use vit::VitConfig;
