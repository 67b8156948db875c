//! GPT-2, with the keys of Hugging Face's `GPT2LMHeadModel` or of nanoGPT.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use crate::Result;
use crate::functional::{Array, Attention, Number};
use crate::init::Init;
use crate::nn::functional as F;
use crate::nn::{Dropout, Embedding, EmbeddingConfig, Forward, LayerNorm, LayerNormConfig, Linear, LinearConfig};

/// Whose GPT-2: keys, the way that weights lie, and the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Hugging Face's: weights of its `Conv1D` are `[in, out]`, GELU has the form with tanh.
    HuggingFace,
    /// nanoGPT's: weights are `[out, in]`, GELU is exact.
    NanoGpt,
}

/// How large it is, and what it drops.
#[derive(Clone, Copy, Debug)]
pub struct Gpt2Config {
    /// Whose.
    pub flavour: Flavour,
    /// How many tokens there are.
    pub vocab_size: usize,
    /// How many places.
    pub n_positions: usize,
    /// How long a token's vector is.
    pub n_embd: usize,
    /// How many layers.
    pub n_layer: usize,
    /// How many heads.
    pub n_head: usize,
    /// What is dropped in training.
    pub dropout: f64,
    /// Whether linear maps and norms have biases (nanoGPT's `bias`).
    pub bias: bool,
    /// What norms add to the variance.
    pub layer_norm_epsilon: f64,
}

impl Gpt2Config {
    /// The 124 million of `gpt2`.
    #[must_use]
    pub fn small(flavour: Flavour) -> Self {
        let (vocab_size, n_positions, n_embd, n_layer, n_head) = (50257, 1024, 768, 12, 12);
        let (dropout, bias, layer_norm_epsilon) = (0.1, true, 1e-5);
        Gpt2Config { flavour, vocab_size, n_positions, n_embd, n_layer, n_head, dropout, bias, layer_norm_epsilon }
    }

    fn projection(&self, from: usize, to: usize, std: f64, init: &mut Init<'_>) -> Result<Projection> {
        let mut linear = LinearConfig::new(from, to).with_bias(self.bias).init(init)?;
        if let Some(bias) = &mut linear.bias {
            init.zeros_(bias)?;
        }
        if self.flavour == Flavour::NanoGpt {
            init.normal_(&mut linear.weight, 0.0, std)?;
            return Ok(Projection::Linear(linear));
        }
        let mut weight = Param::from_tensor(Tensor::zeros([from, to], init.device()));
        init.normal_(&mut weight, 0.0, std)?;
        Ok(Projection::Conv1D(Conv1D { weight, bias: linear.bias }))
    }

    fn norm(&self, init: &mut Init<'_>) -> Result<LayerNorm> {
        LayerNormConfig::new([self.n_embd]).with_eps(self.layer_norm_epsilon).with_bias(self.bias).init(init)
    }
}

/// Hugging Face's linear map whose weight is `[in, out]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct Conv1D {
    pub weight: Param<Tensor<2>>,
    pub bias: Option<Param<Tensor<1>>>,
}

/// A linear map of either kind.
#[derive(Module, Debug)]
pub enum Projection {
    /// `[out, in]`.
    Linear(Linear),
    /// `[in, out]`.
    Conv1D(Conv1D),
}

impl Forward for Projection {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        match self {
            Projection::Linear(linear) => linear.forward_array(x),
            Projection::Conv1D(conv) => {
                let weight = Array::from_float(conv.weight.val()).transpose(0, 1)?;
                x.linear(&weight, conv.bias.as_ref().map(|bias| Array::from_float(bias.val())).as_ref())
            }
        }
    }
}

/// Attention to what came before.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct SelfAttention {
    pub c_attn: Projection,
    pub c_proj: Projection,
    pub attn_dropout: Dropout,
    pub resid_dropout: Dropout,
    heads: usize,
}

/// Two linear maps.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Mlp {
    pub c_fc: Projection,
    pub c_proj: Projection,
    pub dropout: Dropout,
    tanh: bool,
}

/// A layer.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Layer {
    pub ln_1: LayerNorm,
    pub attn: SelfAttention,
    pub ln_2: LayerNorm,
    pub mlp: Mlp,
}

/// All but the head.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Transformer {
    pub wte: Embedding,
    pub wpe: Embedding,
    pub drop: Dropout,
    pub h: Vec<Layer>,
    pub ln_f: LayerNorm,
}

/// GPT-2 with its head, whose weight is the embedding's.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Gpt2 {
    pub transformer: Transformer,
    pub lm_head: Linear,
    positions: usize,
}

impl Gpt2 {
    /// A new network; weights are of GPT-2's distribution.
    ///
    /// # Errors
    /// When the length of a vector cannot be divided among the heads.
    pub fn new(config: &Gpt2Config, init: &mut Init<'_>) -> Result<Self> {
        let Gpt2Config { n_embd: width, n_head: heads, n_layer: layers, .. } = *config;
        if width.checked_rem(heads) != Some(0) {
            let reason = format!("a length of {width} cannot be divided among {heads} heads");
            return Err(crate::init::refused("GPT-2", reason));
        }
        let embedding = |rows: usize, init: &mut Init<'_>| -> Result<Embedding> {
            let mut embedding = EmbeddingConfig::new(rows, width).init(init)?;
            init.normal_(&mut embedding.weight, 0.0, 0.02)?;
            Ok(embedding)
        };
        let (wte, wpe) = (embedding(config.vocab_size, init)?, embedding(config.n_positions, init)?);
        let drop = Dropout::new(config.dropout, init);
        #[allow(clippy::cast_precision_loss)] // a number of layers
        let residual = 0.02 / (2.0 * layers as f64).sqrt();
        let layer = |init: &mut Init<'_>| -> Result<Layer> {
            Ok(Layer {
                ln_1: config.norm(init)?,
                attn: SelfAttention {
                    c_attn: config.projection(width, 3 * width, 0.02, init)?,
                    c_proj: config.projection(width, width, residual, init)?,
                    attn_dropout: drop.clone(),
                    resid_dropout: drop.clone(),
                    heads,
                },
                ln_2: config.norm(init)?,
                mlp: Mlp {
                    c_fc: config.projection(width, 4 * width, 0.02, init)?,
                    c_proj: config.projection(4 * width, width, residual, init)?,
                    dropout: drop.clone(),
                    tanh: config.flavour == Flavour::HuggingFace,
                },
            })
        };
        let h = (0..layers).map(|_| layer(init)).collect::<Result<_>>()?;
        let lm_head = Linear { weight: wte.weight.clone(), bias: None };
        let transformer = Transformer { wte, wpe, drop: drop.clone(), h, ln_f: config.norm(init)? };
        Ok(Gpt2 { transformer, lm_head, positions: config.n_positions })
    }

    /// Tokens `[batch, length]` to the scores of what comes next, `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// When there are more tokens than places, or a token is none of the vocabulary.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        self.forward_array(&Array::from_int(tokens))?.into_float()
    }

    /// The loss of the tokens `[batch, length]` by those that come next: the mean of cross entropy.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn loss(&self, tokens: Tensor<2, Int>, next: Tensor<2, Int>) -> Result<Tensor<1>> {
        F::cross_entropy(self.forward(tokens)?.flatten::<2>(0, 1), next.flatten::<1>(0, 1))
    }

    /// What it draws from as it trains.
    #[must_use]
    pub fn generator(&self) -> &crate::init::SharedGenerator {
        self.transformer.drop.generator()
    }
}

impl Forward for Gpt2 {
    fn forward_array(&self, tokens: &Array) -> Result<Array> {
        let net = &self.transformer;
        let length = tokens.shape().last().copied().unwrap_or(0);
        if length > self.positions {
            return Err(crate::init::refused(
                "GPT-2",
                format!("{length} tokens are more than its {} places", self.positions),
            ));
        }
        let end = crate::functional::signed(length);
        let places = Array::arange(Number::Int(0), Number::Int(end), Number::Int(1), None, &tokens.device())?;
        let x = net.wte.forward_array(tokens)?.add(&net.wpe.forward_array(&places)?)?;
        let mut x = net.drop.forward_array(&x)?;
        for layer in &net.h {
            x = x.add(&layer.attn.forward_array(&layer.ln_1.forward_array(&x)?)?)?;
            x = x.add(&layer.mlp.forward_array(&layer.ln_2.forward_array(&x)?)?)?;
        }
        self.lm_head.forward_array(&net.ln_f.forward_array(&x)?)
    }
}

impl Forward for SelfAttention {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        let &[batch, length, width] = x.shape() else {
            return Err(crate::init::refused("GPT-2", "tokens are [batch, length]"));
        };
        let parts = self.c_attn.forward_array(x)?.chunk(3, -1)?;
        let split = |part: &Array| part.reshaped(&[batch, length, self.heads, width / self.heads])?.transpose(1, 2);
        let heads = parts.iter().map(split).collect::<Result<Vec<_>>>()?;
        let [q, k, v] = &heads[..] else { return Err(crate::init::refused("GPT-2", "c_attn gives three")) };
        let keeps_all = self.attn_dropout.keeps_all(&x.device());
        let how = Attention { causal: true, keeps_all, ..Attention::default() };
        let attended = q.attention(k, v, &how, |weights| self.attn_dropout.forward_array(&weights))?;
        let joined = attended.transpose(1, 2)?.reshaped(&[batch, length, width])?;
        self.resid_dropout.forward_array(&self.c_proj.forward_array(&joined)?)
    }
}

impl Forward for Mlp {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        let inner = self.c_fc.forward_array(x)?.gelu(self.tanh)?;
        self.dropout.forward_array(&self.c_proj.forward_array(&inner)?)
    }
}
