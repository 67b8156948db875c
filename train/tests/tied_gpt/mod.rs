//! The small nanoGPT of `tests/fixtures/sections/ties.py` as Burn modules: with a head that shares the embedding's parameter,
//! and without a head of its own.
#![allow(dead_code, reason = "each takes what it needs")]

use std::path::PathBuf;

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_testing::fixtures;
use rekindle_train::Run;
use rekindle_train::loss::cross_entropy;
use serde_json::Value as Json;

const VOCAB: usize = 29;
const BLOCK: usize = 8;
const WIDTH: usize = 12;

#[derive(Module, Debug)]
pub(crate) struct Block {
    ln: LayerNorm,
    c_fc: Linear,
    c_proj: Linear,
}

#[derive(Module, Debug)]
pub(crate) struct Transformer {
    pub(crate) wte: Embedding,
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

/// `[vocabulary, width]`, as an embedding and as PyTorch's linear layer have it.
#[derive(Module, Debug)]
pub(crate) struct Head {
    pub(crate) weight: Param<Tensor<2>>,
}

/// The head's weight is the embedding's `Param`.
#[derive(Module, Debug)]
pub(crate) struct Gpt {
    pub(crate) transformer: Transformer,
    pub(crate) lm_head: Head,
}

/// The head has a parameter of its own, as if nobody had said that it is the embedding's.
#[derive(Module, Debug)]
pub(crate) struct Apart {
    pub(crate) transformer: Transformer,
    pub(crate) lm_head: Head,
}

/// The same, with Burn's linear layer.
#[derive(Module, Debug)]
pub(crate) struct Turned {
    pub(crate) transformer: Transformer,
    pub(crate) lm_head: Linear,
}

/// The embedding is used twice.
#[derive(Module, Debug)]
pub(crate) struct Headless {
    pub(crate) transformer: Transformer,
}

impl Transformer {
    fn new(device: &Device) -> Self {
        let block = Block {
            ln: LayerNormConfig::new(WIDTH).init(device),
            c_fc: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            c_proj: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
        };
        Transformer {
            wte: EmbeddingConfig::new(VOCAB, WIDTH).init(device),
            wpe: EmbeddingConfig::new(BLOCK, WIDTH).init(device),
            h: vec![block],
            ln_f: LayerNormConfig::new(WIDTH).init(device),
        }
    }

    fn loss(&self, head: Tensor<2>, tokens: &[Vec<i64>]) -> Tensor<1> {
        let device = head.device();
        let tensor = |range: std::ops::Range<usize>| {
            let tokens: Vec<i64> = tokens.iter().flat_map(|row| row[range.clone()].to_vec()).collect();
            Tensor::<1, Int>::from_data(TensorData::from(&tokens[..]), &device)
        };
        let inputs = tensor(0..BLOCK).reshape([tokens.len(), BLOCK]);
        let places = Tensor::<1, Int>::arange(0..i64::try_from(BLOCK).unwrap(), &device).reshape([1, BLOCK]);
        let mut x = self.wte.forward(inputs) + self.wpe.forward(places);
        for block in &self.h {
            let hidden = relu(block.c_fc.forward(block.ln.forward(x.clone())));
            x = x + block.c_proj.forward(hidden);
        }
        let x = self.ln_f.forward(x).reshape([tokens.len() * BLOCK, WIDTH]);
        cross_entropy(x.matmul(head.transpose()), tensor(1..BLOCK + 1)).unwrap()
    }
}

/// A network that computes what PyTorch's computes.
pub(crate) trait Network: Module {
    fn new(device: &Device) -> Self;
    fn loss(&self, tokens: &[Vec<i64>]) -> Tensor<1>;
}

impl Network for Gpt {
    fn new(device: &Device) -> Self {
        let transformer = Transformer::new(device);
        let lm_head = Head { weight: transformer.wte.weight.clone() };
        Gpt { transformer, lm_head }
    }

    fn loss(&self, tokens: &[Vec<i64>]) -> Tensor<1> {
        self.transformer.loss(self.lm_head.weight.val(), tokens)
    }
}

impl Network for Apart {
    fn new(device: &Device) -> Self {
        let own = Transformer::new(device).wte.weight;
        Apart { transformer: Transformer::new(device), lm_head: Head { weight: own } }
    }

    fn loss(&self, tokens: &[Vec<i64>]) -> Tensor<1> {
        self.transformer.loss(self.lm_head.weight.val(), tokens)
    }
}

impl Network for Turned {
    fn new(device: &Device) -> Self {
        let head = LinearConfig::new(WIDTH, VOCAB).with_bias(false).init(device);
        Turned { transformer: Transformer::new(device), lm_head: head }
    }

    fn loss(&self, tokens: &[Vec<i64>]) -> Tensor<1> {
        self.transformer.loss(self.lm_head.weight.val().transpose(), tokens)
    }
}

impl Network for Headless {
    fn new(device: &Device) -> Self {
        Headless { transformer: Transformer::new(device) }
    }

    fn loss(&self, tokens: &[Vec<i64>]) -> Tensor<1> {
        self.transformer.loss(self.transformer.wte.weight.val(), tokens)
    }
}

/// A file that `tests/fixtures/sections/ties.py` wrote.
pub(crate) fn fixture(name: &str) -> PathBuf {
    fixtures::path("ties").join(name)
}

/// What PyTorch computed.
pub(crate) fn truth() -> Json {
    fixtures::json("ties/truth.json")
}

/// The tokens of the steps after the checkpoint.
pub(crate) fn tokens() -> Vec<Vec<Vec<i64>>> {
    serde_json::from_value(truth()["tokens"].clone()).unwrap()
}

/// PyTorch's run, three steps further, with the losses.
pub(crate) fn resumed<N: Network>() -> (Run<N>, Vec<f64>) {
    let model = N::new(&Device::flex().autodiff());
    let mut run = Run::resume(Checkpoint::open(fixture("ckpt.pt")).unwrap(), model).unwrap();
    let mut losses = Vec::new();
    for batch in tokens() {
        let loss = run.model().loss(&batch);
        run.step(loss).unwrap();
        losses.push(run.loss().unwrap().unwrap());
    }
    (run, losses)
}
