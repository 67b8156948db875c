//! Networks that only answer: ResNet-18, and GPT-2 over a text and token by token.

use burn::tensor::Device;
use rekindle::models::zoo::gpt2::Gpt2Cache;

use super::networks::{gpt, images, resnet18, tokens};
use super::{Line, Row, nothing, timed, unknown};

const VOCABULARY: i32 = 50257;

pub(super) const INFERENCE: Row = Row {
    name: "inference",
    what: "ResNet-18 and GPT-2 answer",
    prepare: nothing,
    lines: |_| {
        let line = |what: &str, variant: &str| {
            Line::new(format!("inference: {what}"), variant).torch("PyTorch, eager", variant, 1.0).rounds(15)
        };
        vec![
            line("ResNet-18, 1 of 3x224x224", "resnet18 1"),
            line("ResNet-18, 16 of 3x224x224", "resnet18 16").rounds(9),
            line("GPT-2 124 M, a text of 512 tokens", "prefill").rounds(9),
            line("GPT-2 124 M, 32 tokens one by one after a text of 64, with a cache", "tokens").rounds(7),
        ]
    },
    turns: |variant, setting| {
        let device = Device::flex();
        let size = setting.sized([768, 12, 12], [64, 2, 2]);
        match variant {
            "resnet18 1" | "resnet18 16" => {
                let count = if variant == "resnet18 1" { 1 } else { 16 };
                let (net, images) = (resnet18(1000, &device)?, images(count, 224, &device));
                Ok(Box::new(move || timed(|| Ok(net.forward(images.clone())?))))
            }
            "prefill" => {
                let (net, text) = (gpt(size, 50257, 1024, &device)?, tokens(0, [1, 512], VOCABULARY, &device));
                Ok(Box::new(move || timed(|| Ok(net.forward(text.clone())?))))
            }
            "tokens" => {
                let (net, text) = (gpt(size, 50257, 1024, &device)?, tokens(0, [1, 64], VOCABULARY, &device));
                let mut cache = Gpt2Cache::default();
                net.forward_after(text, &mut cache)?;
                Ok(Box::new(move || {
                    let mut cache = cache.clone();
                    timed(|| {
                        let next = |at| net.forward_after(tokens(at, [1, 1], VOCABULARY, &device), &mut cache);
                        Ok((64..96).map(next).collect::<std::result::Result<Vec<_>, _>>()?)
                    })
                }))
            }
            _ => unknown(variant),
        }
    },
};
