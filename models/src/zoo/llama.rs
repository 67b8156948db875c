//! Llama, with the keys of Hugging Face's `LlamaForCausalLM`: grouped-query attention, scaled rotary embedding, tied heads.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::rope::Rotary;
pub use super::rope::{LongRope, RopeScaling, Yarn};
use super::transformers::{ACTIVATIONS, Activation, draw};
use crate::Result;
use crate::functional::{Array, Attention};
use crate::init::{Init, SharedGenerator, refused};
use crate::nn::{Dropout, Embedding, EmbeddingConfig, Forward, Linear, LinearConfig, RMSNorm, RMSNormConfig};
use crate::registry::by_hand::{ByHand, Given, Named, Outputs, TEXT, logits};
use crate::registry::settings::{Setting, Settings};

/// Its settings.
const SETTINGS: &[Setting] = &[
    Setting::shown("vocab_size", "32000", |weights| weights.length("model.embed_tokens.weight", 0)),
    Setting::shown("hidden_size", "4096", |weights| weights.length("model.embed_tokens.weight", 1)),
    Setting::shown("intermediate_size", "11008", |weights| weights.length("model.layers.0.mlp.gate_proj.weight", 0)),
    Setting::shown("num_hidden_layers", "32", |weights| weights.count("model.layers.{}.mlp.gate_proj.weight")),
    Setting::asked("num_attention_heads", "32"),
    // As many as there are of queries, in the place of keys and values.
    Setting::asked("num_key_value_heads", "none"),
    Setting::plain("head_dim", "none"),
    Setting::shown("tie_word_embeddings", "false", |weights| {
        weights.tied("model.embed_tokens.weight", "lm_head.weight")
    }),
    Setting::shown("attention_bias", "false", |weights| {
        Some(weights.has("model.layers.0.self_attn.q_proj.bias").to_string())
    }),
    Setting::shown("mlp_bias", "false", |weights| Some(weights.has("model.layers.0.mlp.gate_proj.bias").to_string())),
    Setting::asked("rms_norm_eps", "1e-6"),
    Setting::asked("rope_theta", "10000.0"),
    Setting::asked("rope_type", "default"),
    Setting::plain("max_position_embeddings", "2048"),
    Setting::plain("factor", "none"),
    Setting::plain("original_max_position_embeddings", "none"),
    Setting::plain("low_freq_factor", "1.0"),
    Setting::plain("high_freq_factor", "4.0"),
    Setting::plain("attention_factor", "none"),
    Setting::plain("beta_fast", "32"),
    Setting::plain("beta_slow", "1"),
    Setting::plain("mscale", "none"),
    Setting::plain("mscale_all_dim", "none"),
    Setting::plain("truncate", "true"),
    Setting::plain("short_factor", "none"),
    Setting::plain("long_factor", "none"),
    Setting::plain("partial_rotary_factor", "1.0"),
    Setting::trained("attention_dropout", "0.0"),
    Setting::plain("hidden_act", "silu"),
    Setting::plain("pad_token_id", "none"),
    Setting::plain("initializer_range", "0.02"),
];

/// The network of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Llama> {
    let heads = settings.number("num_attention_heads")?;
    let config = LlamaConfig {
        vocab_size: settings.number("vocab_size")?,
        hidden_size: settings.number("hidden_size")?,
        intermediate_size: settings.number("intermediate_size")?,
        num_hidden_layers: settings.number("num_hidden_layers")?,
        num_attention_heads: heads,
        num_key_value_heads: settings.maybe("num_key_value_heads")?.unwrap_or(heads),
        head_dim: settings.maybe("head_dim")?,
        rms_norm_eps: settings.float("rms_norm_eps")?,
        rope_theta: settings.float("rope_theta")?,
        rope_scaling: RopeScaling::of(settings)?,
        max_position_embeddings: settings.number("max_position_embeddings")?,
        tie_word_embeddings: settings.flag("tie_word_embeddings")?,
        attention_bias: settings.flag("attention_bias")?,
        mlp_bias: settings.flag("mlp_bias")?,
        attention_dropout: settings.dropout("attention_dropout")?,
        activation: settings.one_of("hidden_act", ACTIVATIONS)?,
        pad_token_id: settings.row("pad_token_id", settings.number("vocab_size")?)?,
        initializer_range: settings.float("initializer_range")?,
    };
    Llama::new(&config, init)
}

/// How large it is: transformers' `LlamaConfig`.
#[derive(Clone, Debug)]
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
    /// How long a sequence may be without scaling, by which some kinds of it go; it bounds nothing.
    pub max_position_embeddings: usize,
    /// How long a head's vector is. Default `None`: the token's, divided among the heads.
    pub head_dim: Option<usize>,
    /// Whether the head's weight is the embedding's.
    pub tie_word_embeddings: bool,
    /// Whether the maps of attention have biases.
    pub attention_bias: bool,
    /// Whether those between have.
    pub mlp_bias: bool,
    /// What is dropped of the weights of attention in training.
    pub attention_dropout: f64,
    /// What the gate goes through.
    pub activation: Activation,
    /// The token that stands for nothing: its row has no gradient.
    pub pad_token_id: Option<usize>,
    /// The deviation of first weights.
    pub initializer_range: f64,
}

impl Default for LlamaConfig {
    /// Transformers' defaults: those of 7 billion.
    fn default() -> Self {
        LlamaConfig {
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            rms_norm_eps: 1e-6,
            rope_theta: 10000.0,
            rope_scaling: RopeScaling::None,
            max_position_embeddings: 2048,
            head_dim: None,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            activation: Activation::Silu,
            pad_token_id: None,
            initializer_range: 0.02,
        }
    }
}

impl LlamaConfig {
    fn width(&self) -> Result<usize> {
        let [hidden, heads, kv] = [self.hidden_size, self.num_attention_heads, self.num_key_value_heads];
        let whole = hidden.checked_rem(heads) == Some(0) && heads.checked_rem(kv) == Some(0);
        let width =
            self.head_dim.or_else(|| hidden.checked_div(heads)).filter(|width| whole && width.is_multiple_of(2));
        let reason = || format!("a length of {hidden}, {heads} heads and {kv} of keys do not go together");
        width.filter(|&width| width > 0).ok_or_else(|| refused("Llama", reason()))
    }

    fn layer(&self, width: usize, init: &mut Init<'_>) -> Result<LlamaLayer> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let [heads, kv] = [self.num_attention_heads, self.num_key_value_heads];
        let norm = RMSNormConfig::new([hidden]).with_eps(Some(self.rms_norm_eps));
        let linear = |from, to, bias, init: &mut Init<'_>| LinearConfig::new(from, to).with_bias(bias).init(init);
        let attend = |from, to, init: &mut Init<'_>| linear(from, to, self.attention_bias, init);
        let between = |from, to, init: &mut Init<'_>| linear(from, to, self.mlp_bias, init);
        Ok(LlamaLayer {
            self_attn: LlamaAttention {
                q_proj: attend(hidden, heads * width, init)?,
                k_proj: attend(hidden, kv * width, init)?,
                v_proj: attend(hidden, kv * width, init)?,
                o_proj: attend(heads * width, hidden, init)?,
                drop: Dropout::new(self.attention_dropout, init),
                heads: [heads, kv],
            },
            mlp: LlamaMlp {
                gate_proj: between(hidden, inner, init)?,
                up_proj: between(hidden, inner, init)?,
                down_proj: between(inner, hidden, init)?,
                activation: self.activation,
            },
            input_layernorm: norm.init(init)?,
            post_attention_layernorm: norm.init(init)?,
        })
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
    #[module(skip)]
    drop: Dropout,
    heads: [usize; 2],
}

/// Three linear maps, one of them a gate.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct LlamaMlp {
    pub gate_proj: Linear,
    pub up_proj: Linear,
    pub down_proj: Linear,
    #[module(skip)]
    activation: Activation,
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
    #[module(skip)]
    rotary: Rotary,
    #[module(skip)]
    generator: SharedGenerator,
}

impl Llama {
    /// A new network, with weights as transformers 5 draws them: the body once more when it is made, then the head.
    ///
    /// # Errors
    /// When the length of a vector cannot be divided among the heads, or heads of queries among those of keys, or the scaling of rotary
    /// embedding does not fit a head.
    pub fn new(config: &LlamaConfig, init: &mut Init<'_>) -> Result<Self> {
        let (width, hidden, std) = (config.width()?, config.hidden_size, config.initializer_range);
        let rotary =
            Rotary::new(config.rope_theta, width, config.max_position_embeddings, config.rope_scaling.clone())?;
        let embedding = EmbeddingConfig::new(config.vocab_size, hidden).with_padding_idx(config.pad_token_id);
        let mut model = LlamaModel {
            embed_tokens: embedding.init(init)?,
            layers: (0..config.num_hidden_layers).map(|_| config.layer(width, init)).collect::<Result<_>>()?,
            norm: RMSNormConfig::new([hidden]).with_eps(Some(config.rms_norm_eps)).init(init)?,
        };
        model.embed_tokens.draw(std, init)?;
        for layer in &mut model.layers {
            let LlamaLayer { self_attn: attention, mlp, .. } = layer;
            let LlamaAttention { q_proj, k_proj, v_proj, o_proj, .. } = attention;
            let LlamaMlp { gate_proj, up_proj, down_proj, .. } = mlp;
            for linear in [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] {
                draw(linear, std, init)?;
            }
        }
        let mut lm_head = LinearConfig::new(hidden, config.vocab_size).with_bias(false).init(init)?;
        draw(&mut lm_head, std, init)?;
        if config.tie_word_embeddings {
            lm_head.weight = model.embed_tokens.weight.clone();
        }
        Ok(Llama { model, lm_head, rotary, generator: init.generator().clone() })
    }

    /// What it draws from as it trains.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        &self.generator
    }

    /// Tokens `[batch, length]` to the scores of what comes next, `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// When a token is none of the vocabulary.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        self.forward_array(&Array::from_int(tokens))?.into_float()
    }
}

impl Forward for Llama {
    fn forward_array(&self, tokens: &Array) -> Result<Array> {
        let mut x = self.model.embed_tokens.forward_array(tokens)?;
        let length = tokens.shape().last().copied().unwrap_or(0);
        let turns = self.rotary.turns(length, x.dtype(), &x.device())?;
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
        let keeps_all = self.drop.keeps_all(&x.device());
        let how = Attention { causal: true, grouped: true, keeps_all, ..Attention::default() };
        let drop = |weights: Array| self.drop.forward_array(&weights);
        let attended = q.attention(&k, &split(&self.v_proj, kv)?, &how, drop)?.transpose(1, 2)?;
        let joined = attended.reshaped(&[batch, length, attended.numel() / (batch * length).max(1)])?;
        self.o_proj.forward_array(&joined)
    }
}

impl Forward for LlamaMlp {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        let gate = self.activation.of(&self.gate_proj.forward_array(x)?)?;
        self.down_proj.forward_array(&gate.mul(&self.up_proj.forward_array(x)?)?)
    }
}

impl ByHand for Llama {
    const NAMES: &'static [Named<Self>] =
        &[Named::new("llama", SETTINGS, TEXT, build).of_transformers("llama", "LlamaForCausalLM")];

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(logits(self.forward_array(given.first()?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.generator())
    }
}
