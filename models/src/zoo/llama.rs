//! Llama, with the keys of Hugging Face's `LlamaForCausalLM`: grouped-query attention, scaled rotary embedding, tied heads.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};

use crate::Result;
use crate::functional::{Array, Attention};
use crate::init::{Init, refused};
use crate::nn::{Embedding, EmbeddingConfig, Forward, Linear, LinearConfig, RMSNorm, RMSNormConfig};

/// How the frequencies of rotary embedding are scaled (`rope_scaling`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// `linear`: all are divided by this.
    Linear(f64),
    /// `llama3`: slow ones are divided by `factor`, fast ones stay, those between are blended.
    Llama3 {
        /// What slow ones are divided by.
        factor: f64,
        /// Up to how many turns over the original length one is slow.
        low_freq_factor: f64,
        /// From how many turns over the original length one is fast.
        high_freq_factor: f64,
        /// The length that the network was trained with first.
        original_max_position_embeddings: f64,
    },
}

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct LlamaConfig {
    /// How many tokens there are.
    pub vocab_size: usize,
    /// How long a token's vector is.
    pub hidden_size: usize,
    /// How long it is between the linear maps.
    pub intermediate_size: usize,
    /// How many layers.
    pub num_hidden_layers: usize,
    /// How many heads of queries.
    pub num_attention_heads: usize,
    /// How many heads of keys and values.
    pub num_key_value_heads: usize,
    /// What norms add to the mean square.
    pub rms_norm_eps: f64,
    /// The base of the frequencies of rotary embedding.
    pub rope_theta: f64,
    /// How they are scaled.
    pub rope_scaling: RopeScaling,
    /// Whether the head's weight is the embedding's.
    pub tie_word_embeddings: bool,
}

impl LlamaConfig {
    fn width(&self) -> Result<usize> {
        let [hidden, heads, kv] = [self.hidden_size, self.num_attention_heads, self.num_key_value_heads];
        if hidden.checked_rem(heads) != Some(0)
            || heads.checked_rem(kv) != Some(0)
            || !(hidden / heads).is_multiple_of(2)
        {
            let reason = format!("a length of {hidden}, {heads} heads and {kv} of keys do not go together");
            return Err(refused("Llama", reason));
        }
        Ok(hidden / heads)
    }

    /// The frequencies of half a head, as transformers computes them.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // the width of a head; they are float32 there
    fn frequencies(&self, width: usize) -> Vec<f32> {
        let base = |at: usize| 1.0 / (self.rope_theta as f32).powf((2 * at) as f32 / width as f32);
        let scaled = |frequency: f32| match self.rope_scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear(factor) => frequency / factor as f32,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => {
                let wave = std::f64::consts::TAU / f64::from(frequency);
                if wave > length / low {
                    return frequency / factor as f32;
                }
                if wave < length / high {
                    return frequency;
                }
                let smooth = ((length / wave - low) / (high - low)) as f32;
                (1.0 - smooth) * (frequency / factor as f32) + smooth * frequency
            }
        };
        (0..width / 2).map(base).map(scaled).collect()
    }
}

/// Attention to what came before.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct LlamaAttention {
    pub q_proj: Linear,
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub o_proj: Linear,
    heads: [usize; 2],
}

/// Three linear maps, one of them a gate.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct LlamaMlp {
    pub gate_proj: Linear,
    pub up_proj: Linear,
    pub down_proj: Linear,
}

/// A layer.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct LlamaLayer {
    pub self_attn: LlamaAttention,
    pub mlp: LlamaMlp,
    pub input_layernorm: RMSNorm,
    pub post_attention_layernorm: RMSNorm,
}

/// All but the head.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct LlamaModel {
    pub embed_tokens: Embedding,
    pub layers: Vec<LlamaLayer>,
    pub norm: RMSNorm,
}

/// Llama with its head: tokens `[batch, length]` to scores `[batch, length, vocabulary]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct Llama {
    pub model: LlamaModel,
    pub lm_head: Linear,
    frequencies: Vec<f32>,
}

fn linear(from: usize, to: usize, init: &mut Init<'_>) -> Result<Linear> {
    let mut linear = LinearConfig::new(from, to).with_bias(false).init(init)?;
    init.normal_(&mut linear.weight, 0.0, 0.02)?;
    Ok(linear)
}

impl Llama {
    /// A new network; weights are normal, with a deviation of 0.02.
    ///
    /// # Errors
    /// When the length of a vector cannot be divided among the heads, or heads of queries among those of keys.
    pub fn new(config: &LlamaConfig, init: &mut Init<'_>) -> Result<Self> {
        let width = config.width()?;
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let [heads, kv] = [config.num_attention_heads, config.num_key_value_heads];
        let norm = RMSNormConfig::new([hidden]).with_eps(Some(config.rms_norm_eps));
        let mut embed_tokens = EmbeddingConfig::new(config.vocab_size, hidden).init(init)?;
        init.normal_(&mut embed_tokens.weight, 0.0, 0.02)?;
        let layer = |init: &mut Init<'_>| -> Result<LlamaLayer> {
            Ok(LlamaLayer {
                self_attn: LlamaAttention {
                    q_proj: linear(hidden, heads * width, init)?,
                    k_proj: linear(hidden, kv * width, init)?,
                    v_proj: linear(hidden, kv * width, init)?,
                    o_proj: linear(heads * width, hidden, init)?,
                    heads: [heads, kv],
                },
                mlp: LlamaMlp {
                    gate_proj: linear(hidden, inner, init)?,
                    up_proj: linear(hidden, inner, init)?,
                    down_proj: linear(inner, hidden, init)?,
                },
                input_layernorm: norm.init(init)?,
                post_attention_layernorm: norm.init(init)?,
            })
        };
        let layers = (0..config.num_hidden_layers).map(|_| layer(init)).collect::<Result<_>>()?;
        let mut lm_head = linear(hidden, config.vocab_size, init)?;
        if config.tie_word_embeddings {
            lm_head.weight = embed_tokens.weight.clone();
        }
        let model = LlamaModel { embed_tokens, layers, norm: norm.init(init)? };
        Ok(Llama { model, lm_head, frequencies: config.frequencies(width) })
    }

    /// Tokens `[batch, length]` to the scores of what comes next, `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// When a token is none of the vocabulary.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        self.forward_array(&Array::from_int(tokens))?.into_float()
    }

    /// The cosines and sines of all places, `[length, width]`.
    #[allow(clippy::cast_precision_loss)] // places
    fn turns(&self, length: usize, dtype: DType, device: &Device) -> Result<[Array; 2]> {
        let width = 2 * self.frequencies.len();
        let angle = |at: usize| (at / width) as f32 * self.frequencies[at % width % self.frequencies.len()];
        let table = |of: fn(f32) -> f32| {
            let numbers: Vec<f64> = (0..length * width).map(|at| f64::from(of(angle(at)))).collect();
            Array::from_floats(&numbers, &[length, width], dtype, device)
        };
        Ok([table(f32::cos)?, table(f32::sin)?])
    }
}

impl Forward for Llama {
    fn forward_array(&self, tokens: &Array) -> Result<Array> {
        let mut x = self.model.embed_tokens.forward_array(tokens)?;
        let length = tokens.shape().last().copied().unwrap_or(0);
        let turns = self.turns(length, x.dtype(), &x.device())?;
        for layer in &self.model.layers {
            x = x.add(&layer.self_attn.attend(&layer.input_layernorm.forward_array(&x)?, &turns)?)?;
            x = x.add(&layer.mlp.forward_array(&layer.post_attention_layernorm.forward_array(&x)?)?)?;
        }
        self.lm_head.forward_array(&self.model.norm.forward_array(&x)?)
    }
}

impl LlamaAttention {
    fn attend(&self, x: &Array, [cosine, sine]: &[Array; 2]) -> Result<Array> {
        let &[batch, length, _] = x.shape() else { return Err(refused("Llama", "tokens are [batch, length]")) };
        let [heads, kv] = self.heads;
        let split = |linear: &Linear, heads: usize| {
            let x = linear.forward_array(x)?;
            let width = x.shape()[2] / heads;
            x.reshaped(&[batch, length, heads, width])?.transpose(1, 2)
        };
        // The halves of a head turn together.
        let turned = |x: Array| {
            let halves = x.chunk(2, -1)?;
            let rotated = Array::cat(&[halves[1].negated()?, halves[0].clone()], -1)?;
            x.mul(cosine)?.add(&rotated.mul(sine)?)
        };
        let (q, k) = (turned(split(&self.q_proj, heads)?)?, turned(split(&self.k_proj, kv)?)?);
        let how = Attention { causal: true, grouped: true, keeps_all: true, ..Attention::default() };
        let attended = q.attention(&k, &split(&self.v_proj, kv)?, &how, Ok)?.transpose(1, 2)?;
        let joined = attended.reshaped(&[batch, length, attended.numel() / (batch * length).max(1)])?;
        self.o_proj.forward_array(&joined)
    }
}

impl Forward for LlamaMlp {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        let gate = self.gate_proj.forward_array(x)?.silu()?;
        self.down_proj.forward_array(&gate.mul(&self.up_proj.forward_array(x)?)?)
    }
}
