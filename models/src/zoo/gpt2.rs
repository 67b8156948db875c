//! GPT-2, with the keys of Hugging Face's `GPT2LMHeadModel` or of nanoGPT.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use super::transformers::{ACTIVATIONS, Activation};
use crate::Result;
use crate::functional::{Array, Attention, Number};
use crate::init::{Init, Rule, SharedGenerator, refused};
use crate::nn::functional as F;
use crate::nn::{Dropout, Embedding, EmbeddingConfig, Forward, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use crate::registry::by_hand::{ByHand, Given, Named, Outputs, TEXT, logits};
use crate::registry::settings::{Setting, Settings};

/// The settings of transformers' GPT-2.
const SETTINGS: &[Setting] = &[
    Setting::shown("vocab_size", "50257", |weights| weights.length("transformer.wte.weight", 0)),
    Setting::shown("n_positions", "1024", |weights| weights.length("transformer.wpe.weight", 0)),
    Setting::shown("n_embd", "768", |weights| weights.length("transformer.wte.weight", 1)),
    Setting::shown("n_layer", "12", |weights| weights.count("transformer.h.{}.ln_1.weight")),
    Setting::asked("n_head", "12"),
    Setting::shown("n_inner", "none", |weights| weights.length("transformer.h.0.mlp.c_fc.weight", 1)),
    Setting::shown("tie_word_embeddings", "true", |weights| weights.tied("transformer.wte.weight", "lm_head.weight")),
    Setting::trained("resid_pdrop", "0.1"),
    Setting::trained("embd_pdrop", "0.1"),
    Setting::trained("attn_pdrop", "0.1"),
    Setting::plain("activation_function", "gelu_new"),
    Setting::plain("layer_norm_epsilon", "1e-5"),
    Setting::plain("initializer_range", "0.02"),
    Setting::plain("scale_attn_weights", "true"),
    Setting::plain("scale_attn_by_inverse_layer_idx", "false"),
    Setting::fixed("add_cross_attention", "false"),
];

/// Those of nanoGPT's.
const NANO_SETTINGS: &[Setting] = &[
    Setting::shown("vocab_size", "50304", |weights| weights.length("transformer.wte.weight", 0)),
    Setting::shown("block_size", "1024", |weights| weights.length("transformer.wpe.weight", 0)),
    Setting::shown("n_embd", "768", |weights| weights.length("transformer.wte.weight", 1)),
    Setting::shown("n_layer", "12", |weights| weights.count("transformer.h.{}.ln_1.weight")),
    Setting::asked("n_head", "12"),
    Setting::shown("bias", "true", |weights| Some(weights.has("transformer.ln_f.bias").to_string())),
    Setting::trained("dropout", "0.0"),
];

/// Transformers' network of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Gpt2> {
    let config = Gpt2Config {
        vocab_size: settings.number("vocab_size")?,
        n_positions: settings.number("n_positions")?,
        n_embd: settings.number("n_embd")?,
        n_layer: settings.number("n_layer")?,
        n_head: settings.number("n_head")?,
        n_inner: settings.maybe("n_inner")?,
        resid_pdrop: settings.dropout("resid_pdrop")?,
        embd_pdrop: settings.dropout("embd_pdrop")?,
        attn_pdrop: settings.dropout("attn_pdrop")?,
        activation: settings.one_of("activation_function", ACTIVATIONS)?,
        layer_norm_epsilon: settings.float("layer_norm_epsilon")?,
        initializer_range: settings.float("initializer_range")?,
        tie_word_embeddings: settings.flag("tie_word_embeddings")?,
        scale_attn_weights: settings.flag("scale_attn_weights")?,
        scale_attn_by_inverse_layer_idx: settings.flag("scale_attn_by_inverse_layer_idx")?,
        ..Gpt2Config::small(Flavour::HuggingFace)
    };
    Gpt2::new(&config, init)
}

/// nanoGPT's.
fn build_nano(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Gpt2> {
    let config = Gpt2Config {
        vocab_size: settings.number("vocab_size")?,
        n_positions: settings.number("block_size")?,
        n_embd: settings.number("n_embd")?,
        n_layer: settings.number("n_layer")?,
        n_head: settings.number("n_head")?,
        bias: settings.flag("bias")?,
        ..Gpt2Config::small(Flavour::NanoGpt).with_dropout(settings.dropout("dropout")?)
    };
    Gpt2::new(&config, init)
}

/// Whose GPT-2: keys, the way that weights lie, and the order in which they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Hugging Face's: weights of its `Conv1D` are `[in, out]`.
    HuggingFace,
    /// nanoGPT's: weights are `[out, in]`.
    NanoGpt,
}

/// How large it is, and what it drops: transformers' `GPT2Config`.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // as transformers' has them
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
    /// How long a vector is between the two linear maps. Default `None`: four times as long.
    pub n_inner: Option<usize>,
    /// What is dropped in training of what a layer adds.
    pub resid_pdrop: f64,
    /// What is dropped of the embeddings.
    pub embd_pdrop: f64,
    /// What is dropped of the weights of attention.
    pub attn_pdrop: f64,
    /// What is between the two linear maps.
    pub activation: Activation,
    /// Whether linear maps and norms have biases (nanoGPT's `bias`).
    pub bias: bool,
    /// What norms add to the variance.
    pub layer_norm_epsilon: f64,
    /// The deviation of first weights.
    pub initializer_range: f64,
    /// Whether the head's weight is the embedding's.
    pub tie_word_embeddings: bool,
    /// Whether scores are divided by the root of a head's length.
    pub scale_attn_weights: bool,
    /// Whether those of the n-th layer are divided by n, too.
    pub scale_attn_by_inverse_layer_idx: bool,
}

impl Gpt2Config {
    /// The 124 million of `gpt2`; of nanoGPT without dropout, which has none by default.
    #[must_use]
    pub fn small(flavour: Flavour) -> Self {
        let (dropout, activation) = match flavour {
            Flavour::HuggingFace => (0.1, Activation::GeluTanh),
            Flavour::NanoGpt => (0.0, Activation::Gelu),
        };
        Gpt2Config {
            flavour,
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            resid_pdrop: dropout,
            embd_pdrop: dropout,
            attn_pdrop: dropout,
            activation,
            bias: true,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            tie_word_embeddings: true,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
        }
    }

    /// With one probability to be dropped everywhere.
    #[must_use]
    pub fn with_dropout(self, dropout: f64) -> Self {
        Gpt2Config { resid_pdrop: dropout, embd_pdrop: dropout, attn_pdrop: dropout, ..self }
    }

    fn projection(&self, from: usize, to: usize, init: &mut Init<'_>) -> Result<Projection> {
        if self.flavour == Flavour::NanoGpt {
            return Ok(Projection::Linear(LinearConfig::new(from, to).with_bias(self.bias).init(init)?));
        }
        let weight = init.param([from, to], Rule::Normal { mean: 0.0, std: 0.02 })?;
        let bias = self.bias.then(|| init.param([to], Rule::Constant(0.0))).transpose()?;
        Ok(Projection::Conv1D(Conv1D { weight, bias }))
    }

    fn norm(&self, init: &mut Init<'_>) -> Result<LayerNorm> {
        LayerNormConfig::new([self.n_embd]).with_eps(self.layer_norm_epsilon).with_bias(self.bias).init(init)
    }

    /// The deviation of what adds to the residual path, of which there are two in each layer.
    #[allow(clippy::cast_precision_loss)] // a number of layers
    fn residual(&self, std: f64) -> f64 {
        std / (2.0 * self.n_layer as f64).sqrt()
    }

    /// What the scores of a layer are multiplied by; `None`: by what attention has without it.
    #[allow(clippy::cast_precision_loss)] // layers and the length of a head
    fn scale(&self, layer: usize) -> Option<f64> {
        let head = self.n_embd.checked_div(self.n_head).unwrap_or(1).max(1);
        let scale = if self.scale_attn_weights { (head as f64).powf(-0.5) } else { 1.0 };
        let inverse = self.scale_attn_by_inverse_layer_idx;
        (inverse || !self.scale_attn_weights).then(|| if inverse { scale / (layer + 1) as f64 } else { scale })
    }

    fn layer(&self, at: usize, init: &mut Init<'_>) -> Result<Layer> {
        let (width, inner) = (self.n_embd, self.n_inner.unwrap_or(4 * self.n_embd));
        let resid = Dropout::new(self.resid_pdrop, init);
        let ln_1 = self.norm(init)?;
        let attn = SelfAttention {
            c_attn: self.projection(width, 3 * width, init)?,
            c_proj: self.projection(width, width, init)?,
            attn_dropout: Dropout::new(self.attn_pdrop, init),
            resid_dropout: resid.clone(),
            heads: self.n_head,
            scale: self.scale(at),
        };
        let ln_2 = self.norm(init)?;
        let mlp = Mlp {
            c_fc: self.projection(width, inner, init)?,
            c_proj: self.projection(inner, width, init)?,
            dropout: resid,
            activation: self.activation,
        };
        Ok(Layer { ln_1, attn, ln_2, mlp })
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

impl Projection {
    /// Drawn once more: normal, biases zeros.
    fn draw(&mut self, std: f64, init: &mut Init<'_>) -> Result<()> {
        let (weight, bias) = match self {
            Projection::Linear(linear) => (&mut linear.weight, &mut linear.bias),
            Projection::Conv1D(conv) => (&mut conv.weight, &mut conv.bias),
        };
        init.normal_(weight, 0.0, std)?;
        bias.as_mut().map_or(Ok(()), |bias| init.zeros_(bias))
    }
}

impl Forward for Projection {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        match self {
            Projection::Linear(linear) => linear.forward_array(x),
            Projection::Conv1D(conv) => {
                let bias = conv.bias.as_ref().map(|bias| Array::from_float(bias.val()));
                x.linear(&Array::from_float(conv.weight.val()).transpose(0, 1)?, bias.as_ref())
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
    #[module(skip)]
    scale: Option<f64>,
}

/// Two linear maps.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Mlp {
    pub c_fc: Projection,
    pub c_proj: Projection,
    pub dropout: Dropout,
    #[module(skip)]
    activation: Activation,
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

/// GPT-2 with its head, whose weight is the embedding's as a rule.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers' and nanoGPT's
pub struct Gpt2 {
    pub transformer: Transformer,
    pub lm_head: Linear,
    positions: usize,
}

/// What a network keeps of the tokens that it has seen, so that the next ones cost no more than themselves: keys and values of each
/// layer, which [`Gpt2::forward_after`] adds to. A new one has seen nothing.
#[derive(Clone, Debug, Default)]
pub struct Gpt2Cache {
    layers: Vec<[Array; 2]>,
    seen: usize,
}

impl Gpt2Cache {
    /// How many tokens it has seen.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }
}

impl Transformer {
    /// Draws the body once more; where `last`, the last map of each path a third time as soon as it is drawn.
    fn draw(&mut self, config: &Gpt2Config, last: bool, init: &mut Init<'_>) -> Result<()> {
        let (std, residual) = (config.initializer_range, config.residual(config.initializer_range));
        init.normal_(&mut self.wte.weight, 0.0, std)?;
        init.normal_(&mut self.wpe.weight, 0.0, std)?;
        for layer in &mut self.h {
            layer.attn.c_attn.draw(std, init)?;
            layer.attn.c_proj.draw(std, init)?;
            if last {
                layer.attn.c_proj.draw(residual, init)?;
            }
            layer.mlp.c_fc.draw(std, init)?;
            layer.mlp.c_proj.draw(std, init)?;
            if last {
                layer.mlp.c_proj.draw(residual, init)?;
            }
        }
        Ok(())
    }
}

impl Gpt2 {
    /// A new network, with weights as transformers 5 or nanoGPT draw them.
    ///
    /// # Errors
    /// When the length of a vector cannot be divided among the heads.
    pub fn new(config: &Gpt2Config, init: &mut Init<'_>) -> Result<Self> {
        let Gpt2Config { n_embd: width, n_head: heads, .. } = *config;
        if width.checked_rem(heads) != Some(0) {
            return Err(refused("GPT-2", format!("a length of {width} cannot be divided among {heads} heads")));
        }
        let embedding = |rows: usize, init: &mut Init<'_>| EmbeddingConfig::new(rows, width).init(init);
        let transformer = Transformer {
            wte: embedding(config.vocab_size, init)?,
            wpe: embedding(config.n_positions, init)?,
            drop: Dropout::new(config.embd_pdrop, init),
            h: (0..config.n_layer).map(|at| config.layer(at, init)).collect::<Result<_>>()?,
            ln_f: config.norm(init)?,
        };
        let head = |init: &mut Init<'_>| LinearConfig::new(width, config.vocab_size).with_bias(false).init(init);
        match config.flavour {
            Flavour::HuggingFace => Gpt2::as_transformers(config, transformer, head, init),
            Flavour::NanoGpt => {
                let lm_head = head(init)?;
                Gpt2::as_nano_gpt(config, transformer, lm_head, init)
            }
        }
    }

    /// Transformers draws the body once more when it is made, the last maps of both paths a third time, and then the head.
    fn as_transformers(
        config: &Gpt2Config,
        mut transformer: Transformer,
        head: impl FnOnce(&mut Init<'_>) -> Result<Linear>,
        init: &mut Init<'_>,
    ) -> Result<Self> {
        let std = config.initializer_range;
        transformer.draw(config, true, init)?;
        let mut lm_head = head(init)?;
        init.normal_(&mut lm_head.weight, 0.0, std)?;
        if config.tie_word_embeddings {
            lm_head.weight = transformer.wte.weight.clone();
        }
        Ok(Gpt2 { transformer, lm_head, positions: config.n_positions })
    }

    /// nanoGPT ties first, so that the common weight is drawn twice, and draws the last maps of both paths at the end.
    fn as_nano_gpt(
        config: &Gpt2Config,
        mut transformer: Transformer,
        mut lm_head: Linear,
        init: &mut Init<'_>,
    ) -> Result<Self> {
        let std = config.initializer_range;
        transformer.draw(config, false, init)?;
        init.normal_(&mut lm_head.weight, 0.0, std)?;
        if config.tie_word_embeddings {
            transformer.wte.weight = lm_head.weight.clone();
        }
        for layer in &mut transformer.h {
            layer.attn.c_proj.draw(config.residual(std), init)?;
            layer.mlp.c_proj.draw(config.residual(std), init)?;
        }
        Ok(Gpt2 { transformer, lm_head, positions: config.n_positions })
    }

    /// Tokens `[batch, length]` to the scores of what comes next, `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// When there are more tokens than places, or a token is none of the vocabulary.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        self.forward_array(&Array::from_int(tokens))?.into_float()
    }

    /// As [`forward`](Self::forward) of tokens that follow those which the cache has seen, whose keys and values are added to it:
    /// transformers' `use_cache`. The first call may be given a whole text, the next ones a token each.
    ///
    /// ```
    /// # use burn::tensor::{Device, Int, Tensor};
    /// # use rekindle_models::{init::Init, zoo::{Gpt2, Gpt2Config, gpt2::{Flavour, Gpt2Cache}}};
    /// # let device = Device::flex();
    /// # let small = Gpt2Config { vocab_size: 7, n_positions: 6, n_embd: 8, n_layer: 1, n_head: 2, ..Gpt2Config::small(Flavour::NanoGpt) };
    /// # let net = Gpt2::new(&small, &mut Init::seeded(&device, 0))?;
    /// let mut cache = Gpt2Cache::default();
    /// let text = Tensor::<2, Int>::from_data([[3, 1, 4]], &device);
    /// let scores = net.forward_after(text, &mut cache)?; // [1, 3, 7]
    /// let scores = net.forward_after(Tensor::<2, Int>::from_data([[1]], &device), &mut cache)?; // [1, 1, 7]
    /// assert_eq!((scores.dims(), cache.seen()), ([1, 1, 7], 4));
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward); and when the batch is not of the size that the cache has. The cache is then as it was.
    pub fn forward_after(&self, tokens: Tensor<2, Int>, cache: &mut Gpt2Cache) -> Result<Tensor<3>> {
        let tokens = Array::from_int(tokens);
        let mut layers = cache.layers.clone();
        let scores = self.scores(&tokens, cache.seen, Some(&mut layers))?.into_float()?;
        *cache = Gpt2Cache { layers, seen: cache.seen + tokens.shape().last().copied().unwrap_or(0) };
        Ok(scores)
    }

    /// The scores of tokens of which so many came before: the keys and values of those are given, and get those of these.
    fn scores(&self, tokens: &Array, seen: usize, mut kept: Option<&mut Vec<[Array; 2]>>) -> Result<Array> {
        let net = &self.transformer;
        let length = seen + tokens.shape().last().copied().unwrap_or(0);
        if length > self.positions {
            return Err(refused("GPT-2", format!("{length} tokens are more than its {} places", self.positions)));
        }
        let [first, end] = [seen, length].map(|place| Number::Int(crate::functional::signed(place)));
        let places = Array::arange(first, end, Number::Int(1), None, &tokens.device())?;
        let x = net.wte.forward_array(tokens)?.add(&net.wpe.forward_array(&places)?)?;
        let mut x = net.drop.forward_array(&x)?;
        for (at, layer) in net.h.iter().enumerate() {
            let before = kept.as_ref().and_then(|kept| kept.get(at));
            let (attended, pair) = layer.attn.attend(&layer.ln_1.forward_array(&x)?, before)?;
            if let Some(kept) = kept.as_deref_mut() {
                match kept.get_mut(at) {
                    Some(place) => *place = pair,
                    None => kept.push(pair),
                }
            }
            x = x.add(&attended)?;
            x = x.add(&layer.mlp.forward_array(&layer.ln_2.forward_array(&x)?)?)?;
        }
        self.lm_head.forward_array(&net.ln_f.forward_array(&x)?)
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
    pub fn generator(&self) -> &SharedGenerator {
        self.transformer.drop.generator()
    }
}

impl Forward for Gpt2 {
    fn forward_array(&self, tokens: &Array) -> Result<Array> {
        self.scores(tokens, 0, None)
    }
}

impl Forward for SelfAttention {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        Ok(self.attend(x, None)?.0)
    }
}

impl SelfAttention {
    /// What the tokens get of those before them and of themselves, and the keys and values of both.
    fn attend(&self, x: &Array, before: Option<&[Array; 2]>) -> Result<(Array, [Array; 2])> {
        let &[batch, length, width] = x.shape() else {
            return Err(refused("GPT-2", "tokens are [batch, length]"));
        };
        let parts = self.c_attn.forward_array(x)?.chunk(3, -1)?;
        let split = |part: &Array| part.reshaped(&[batch, length, self.heads, width / self.heads])?.transpose(1, 2);
        let heads = parts.iter().map(split).collect::<Result<Vec<_>>>()?;
        let [q, k, v] = &heads[..] else { return Err(refused("GPT-2", "c_attn gives three")) };
        let joined = |old: &Array, new: &Array| Array::cat(&[old.clone(), new.clone()], 2);
        let pair = match before {
            Some([keys, values]) => [joined(keys, k)?, joined(values, v)?],
            None => [k.clone(), v.clone()],
        };
        let seen = pair[0].shape()[2] - length;
        // The last token may look at all there are.
        let visible: Vec<bool> = if seen > 0 && length > 1 {
            let row = |row| (0..seen + length).map(move |key| key <= row);
            (seen..seen + length).flat_map(row).collect()
        } else {
            Vec::new()
        };
        let mask = Some(&visible).filter(|visible| !visible.is_empty());
        let mask = mask.map(|visible| Array::from_bools(visible, &[length, seen + length], &x.device())).transpose()?;
        let keeps_all = self.attn_dropout.keeps_all(&x.device());
        let (mask, causal) = (mask.as_ref(), seen == 0);
        let how = Attention { mask, causal, keeps_all, scale: self.scale, ..Attention::default() };
        let attended = q.attention(&pair[0], &pair[1], &how, |weights| self.attn_dropout.forward_array(&weights))?;
        let joined = attended.transpose(1, 2)?.reshaped(&[batch, length, width])?;
        Ok((self.resid_dropout.forward_array(&self.c_proj.forward_array(&joined)?)?, pair))
    }
}

impl Forward for Mlp {
    fn forward_array(&self, x: &Array) -> Result<Array> {
        let inner = self.activation.of(&self.c_fc.forward_array(x)?)?;
        self.dropout.forward_array(&self.c_proj.forward_array(&inner)?)
    }
}

impl ByHand for Gpt2 {
    const NAMES: &'static [Named<Self>] = &[
        Named::new("gpt2", SETTINGS, TEXT, build).of_transformers("gpt2", "GPT2LMHeadModel"),
        Named::new("nanogpt", NANO_SETTINGS, TEXT, build_nano),
    ];

    fn named(&self) -> usize {
        let nano = self.transformer.h.first().is_some_and(|layer| matches!(layer.attn.c_attn, Projection::Linear(_)));
        usize::from(nano)
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(logits(self.forward_array(given.first()?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.generator())
    }
}
