//! nanoGPT's `model.py`, line by line: docs/porting.md has the two side by side.

#![allow(clippy::many_single_char_names, clippy::cast_possible_wrap)] // as in Python; a number of tokens

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use rekindle::models::Result;
use rekindle::models::init::Init;
use rekindle::models::nn::functional as F;
use rekindle::models::nn::{
    Dropout, Embedding, EmbeddingConfig, GELU, Layer, LayerNorm, LayerNormConfig, Linear, LinearConfig, ModuleDict,
};

/// How large the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GptConfig {
    pub(crate) block_size: usize,
    pub(crate) vocab_size: usize,
    pub(crate) n_layer: usize,
    pub(crate) n_head: usize,
    pub(crate) n_embd: usize,
    pub(crate) dropout: f64,
}

#[derive(Module, Debug)]
pub(crate) struct CausalSelfAttention {
    c_attn: Linear,
    c_proj: Linear,
    attn_dropout: Dropout,
    resid_dropout: Dropout,
    n_head: usize,
}

impl CausalSelfAttention {
    fn new(config: &GptConfig, init: &mut Init<'_>) -> Result<Self> {
        let (n, drop) = (config.n_embd, Dropout::new(config.dropout, init));
        let (c_attn, c_proj) = (LinearConfig::new(n, 3 * n).init(init)?, LinearConfig::new(n, n).init(init)?);
        Ok(Self { c_attn, c_proj, attn_dropout: drop.clone(), resid_dropout: drop, n_head: config.n_head })
    }

    fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>> {
        let [b, t, c] = x.dims();
        let parts: [Tensor<3>; 3] = self.c_attn.forward(x)?.split(c, 2).try_into().expect("c_attn gives three");
        let [q, k, v] = parts.map(|part| part.reshape([b, t, self.n_head, c / self.n_head]).swap_dims(1, 2));
        let y = F::scaled_dot_product_attention(q, k, v, None, Some(&self.attn_dropout), true)?;
        self.resid_dropout.forward(self.c_proj.forward(y.swap_dims(1, 2).reshape([b, t, c]))?)
    }
}

#[derive(Module, Debug)]
pub(crate) struct Block {
    ln_1: LayerNorm,
    attn: CausalSelfAttention,
    ln_2: LayerNorm,
    mlp: ModuleDict<Layer>,
}

impl Block {
    fn new(config: &GptConfig, init: &mut Init<'_>) -> Result<Self> {
        let (n, norm) = (config.n_embd, LayerNormConfig::new([config.n_embd]));
        let (ln_1, attn, ln_2) = (norm.init(init)?, CausalSelfAttention::new(config, init)?, norm.init(init)?);
        let mlp: [(&str, Layer); 4] = [
            ("c_fc", LinearConfig::new(n, 4 * n).init(init)?.into()),
            ("gelu", GELU::new().into()),
            ("c_proj", LinearConfig::new(4 * n, n).init(init)?.into()),
            ("dropout", Dropout::new(config.dropout, init).into()),
        ];
        Ok(Self { ln_1, attn, ln_2, mlp: mlp.into_iter().collect() })
    }

    fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>> {
        let x = x.clone() + self.attn.forward(self.ln_1.forward(x)?)?;
        Ok(x.clone() + self.mlp.forward(self.ln_2.forward(x)?)?)
    }
}

#[derive(Module, Debug)]
pub(crate) struct Transformer {
    wte: Embedding,
    wpe: Embedding,
    drop: Dropout,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

#[derive(Module, Debug)]
pub(crate) struct Gpt {
    transformer: Transformer,
    lm_head: Linear,
}

impl Gpt {
    pub(crate) fn new(config: &GptConfig, init: &mut Init<'_>) -> Result<Self> {
        let mut transformer = Transformer {
            wte: EmbeddingConfig::new(config.vocab_size, config.n_embd).init(init)?,
            wpe: EmbeddingConfig::new(config.block_size, config.n_embd).init(init)?,
            drop: Dropout::new(config.dropout, init),
            h: (0..config.n_layer).map(|_| Block::new(config, init)).collect::<Result<_>>()?,
            ln_f: LayerNormConfig::new([config.n_embd]).init(init)?,
        };
        let lm_head = LinearConfig::new(config.n_embd, config.vocab_size).with_bias(false).init(init)?;
        transformer.wte.weight = lm_head.weight.clone(); // weight tying
        Ok(Gpt { transformer, lm_head })
    }

    /// Tokens `[batch, length]` to the scores of what comes next, `[batch, length, vocabulary]`.
    pub(crate) fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        let places = Tensor::<1, Int>::arange(0..tokens.dims()[1] as i64, &tokens.device());
        let x =
            self.transformer.wte.forward::<2, 3>(tokens)? + self.transformer.wpe.forward::<1, 2>(places)?.unsqueeze();
        let x = self.transformer.h.iter().try_fold(self.transformer.drop.forward(x)?, |x, block| block.forward(x))?;
        self.lm_head.forward(self.transformer.ln_f.forward(x)?)
    }
}
