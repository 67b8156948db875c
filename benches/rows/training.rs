//! A training step on the CPU (forward, loss, backward, a step of AdamW) of five networks, beside PyTorch's eager one on as many
//! threads and the same batches. `REKINDLE_OPERATORS=plain` has Burn's operators compute ours.

use burn::module::Module;
use burn::tensor::Device;
use rekindle::train::optim::{AdamWOptions, Optimizer};

use super::networks::{Loss, With, trained};
use super::{Line, Result, Row, Turn, nothing, timed};

const NAMES: [[&str; 2]; 5] = [
    ["lenet", "LeNet, 64 of 3x32x32"],
    ["resnet18", "ResNet-18, 64 of 3x32x32"],
    ["lstm", "LSTM 64 to 128, batch 32, 32 steps"],
    ["gpt", "GPT of 10 M, 8 x 128 tokens"],
    ["mlp", "MLP of 4 x 1024, batch 128"],
];

pub(super) const TRAINING: Row = Row {
    name: "training",
    what: "a training step of five networks",
    prepare: nothing,
    lines: |_| {
        let line = |[name, what]: [&str; 2]| {
            Line::new(format!("training step: {what}"), name).torch("PyTorch, eager", name, 1.0).rounds(40)
        };
        NAMES.map(line).into()
    },
    turns: |variant, _| trained(variant, &Device::flex().autodiff(), Steps),
};

/// Makes steps of a network.
struct Steps;

impl With for Steps {
    type Output = Turn;

    fn with<M: Module + 'static>(self, net: M, loss: Loss<M>) -> Result<Turn> {
        let mut optimizer = Optimizer::builder(AdamWOptions::default().lr(1e-4)).build(&net)?;
        let mut net = Some(net);
        Ok(Box::new(move || {
            let now = net.take().ok_or("a step failed before")?;
            timed(|| {
                let gradients = loss(&now)?.backward();
                net = Some(optimizer.step(now, gradients)?);
                Ok(())
            })
        }))
    }
}
