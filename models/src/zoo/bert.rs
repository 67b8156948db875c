//! BERT, with the keys of Hugging Face's `BertModel`, `BertForMaskedLM` and `BertForSequenceClassification`.

#![allow(non_snake_case)] // transformers' `LayerNorm`, also in what is derived

mod config;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

pub use config::BertConfig;
use config::{CLASSES, PROBLEMS, SETTINGS, config};

use super::transformers::{Activation, draw};
use crate::Result;
use crate::functional::{Array, Attention, BOOL, Number, signed};
use crate::init::{Init, Rule, SharedGenerator, refused};
use crate::nn::module::module;
use crate::nn::{Dropout, Embedding, EmbeddingConfig, Forward, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use crate::registry::by_hand::{ByHand, Given, Named, Outputs, PAIRS, Problem, Says, Takes, logits};
use crate::registry::settings::Settings;

/// The body of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Bert> {
    Bert::new(&config(settings)?, true, init)
}

/// The masked language model.
fn build_masked(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<BertForMaskedLm> {
    BertForMaskedLm::new(&config(settings)?, init)
}

/// The classifier.
fn build_classifier(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<BertForSequenceClassification> {
    let classifier_dropout = settings.maybe_float("classifier_dropout")?;
    let num_labels = settings.number("num_labels")?;
    let problem_type = settings.one_of("problem_type", PROBLEMS)?;
    let config = BertConfig { classifier_dropout, num_labels, problem_type, ..config(settings)? };
    BertForSequenceClassification::new(&config, init)
}

impl BertConfig {
    fn norm(&self, init: &mut Init<'_>) -> Result<LayerNorm> {
        LayerNormConfig::new([self.hidden_size]).with_eps(self.layer_norm_eps).init(init)
    }

    fn linear(&self, init: &mut Init<'_>) -> Result<Linear> {
        LinearConfig::new(self.hidden_size, self.hidden_size).init(init)
    }

    /// A linear map back to a token's length, dropout and norm.
    fn output(&self, from: usize, init: &mut Init<'_>) -> Result<BertOutput> {
        let dense = LinearConfig::new(from, self.hidden_size).init(init)?;
        Ok(BertOutput { dense, LayerNorm: self.norm(init)?, dropout: Dropout::new(self.hidden_dropout_prob, init) })
    }

    fn layer(&self, init: &mut Init<'_>) -> Result<BertLayer> {
        let attention = BertSelfAttention {
            query: self.linear(init)?,
            key: self.linear(init)?,
            value: self.linear(init)?,
            dropout: Dropout::new(self.attention_probs_dropout_prob, init),
            heads: self.num_attention_heads,
        };
        Ok(BertLayer {
            attention: BertAttention { attention, output: self.output(self.hidden_size, init)? },
            intermediate: BertIntermediate {
                dense: LinearConfig::new(self.hidden_size, self.intermediate_size).init(init)?,
                activation: self.activation,
            },
            output: self.output(self.intermediate_size, init)?,
        })
    }
}

/// What goes in: `[batch, length]` each.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The numbers of the tokens.
    pub input_ids: Array,
    /// 0 where a token stands for nothing and is not looked at. Default: all are looked at.
    pub attention_mask: Option<Array>,
    /// Which sentence a token is of. Default: the first, 0.
    pub token_type_ids: Option<Array>,
}

impl Encoded {
    /// Tokens alone.
    #[must_use]
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Encoded { input_ids: Array::from_int(input_ids), attention_mask: None, token_type_ids: None }
    }

    /// With a mask.
    #[must_use]
    pub fn with_attention_mask(self, mask: Tensor<2, Int>) -> Self {
        Encoded { attention_mask: Some(Array::from_int(mask)), ..self }
    }

    /// With types.
    #[must_use]
    pub fn with_token_type_ids(self, types: Tensor<2, Int>) -> Self {
        Encoded { token_type_ids: Some(Array::from_int(types)), ..self }
    }
}

/// Vectors of tokens, places and types.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertEmbeddings {
    pub word_embeddings: Embedding,
    pub position_embeddings: Embedding,
    pub token_type_embeddings: Embedding,
    pub LayerNorm: LayerNorm,
    pub dropout: Dropout,
}

/// Attention.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertSelfAttention {
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub dropout: Dropout,
    heads: usize,
}

/// What is added to what came in, and its norm.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertOutput {
    pub dense: Linear,
    pub LayerNorm: LayerNorm,
    pub dropout: Dropout,
}

/// Attention, added and normalised.
#[derive(Clone, Debug)]
pub struct BertAttention {
    /// Transformers' `self`, which is no name in Rust.
    pub attention: BertSelfAttention,
    /// What is made of it.
    pub output: BertOutput,
}

module!("Struct:BertAttention", BertAttention { attention as "self", output; });

/// The wide linear map.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertIntermediate {
    pub dense: Linear,
    #[module(skip)]
    activation: Activation,
}

/// A layer.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertLayer {
    pub attention: BertAttention,
    pub intermediate: BertIntermediate,
    pub output: BertOutput,
}

/// All layers.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertEncoder {
    pub layer: Vec<BertLayer>,
}

/// One vector for all: of the first token.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertPooler {
    pub dense: Linear,
}

/// `BertModel`: tokens `[batch, length]` to vectors `[batch, length, hidden]`, and one for all, `[batch, hidden]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct Bert {
    pub embeddings: BertEmbeddings,
    pub encoder: BertEncoder,
    pub pooler: Option<BertPooler>,
}

impl Bert {
    /// A new network, with weights as transformers 5 draws them: all once more when it is made.
    ///
    /// # Errors
    /// When the length of a vector cannot be divided among the heads, or there is no row for `pad_token_id`.
    pub fn new(config: &BertConfig, with_pooler: bool, init: &mut Init<'_>) -> Result<Self> {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if hidden.checked_rem(heads) != Some(0) {
            return Err(refused("BERT", format!("a length of {hidden} cannot be divided among {heads} heads")));
        }
        let words = EmbeddingConfig::new(config.vocab_size, hidden).with_padding_idx(config.pad_token_id);
        let embeddings = BertEmbeddings {
            word_embeddings: words.init(init)?,
            position_embeddings: EmbeddingConfig::new(config.max_position_embeddings, hidden).init(init)?,
            token_type_embeddings: EmbeddingConfig::new(config.type_vocab_size, hidden).init(init)?,
            LayerNorm: config.norm(init)?,
            dropout: Dropout::new(config.hidden_dropout_prob, init),
        };
        let layer = (0..config.num_hidden_layers).map(|_| config.layer(init)).collect::<Result<_>>()?;
        let pooler = if with_pooler { Some(BertPooler { dense: config.linear(init)? }) } else { None };
        let mut bert = Bert { embeddings, encoder: BertEncoder { layer }, pooler };
        bert.draw(config.initializer_range, init)?;
        Ok(bert)
    }

    fn draw(&mut self, std: f64, init: &mut Init<'_>) -> Result<()> {
        let of = &mut self.embeddings;
        for embedding in [&mut of.word_embeddings, &mut of.position_embeddings, &mut of.token_type_embeddings] {
            embedding.draw(std, init)?;
        }
        for layer in &mut self.encoder.layer {
            let BertAttention { attention: BertSelfAttention { query, key, value, .. }, output } = &mut layer.attention;
            for linear in [query, key, value, &mut output.dense, &mut layer.intermediate.dense, &mut layer.output.dense]
            {
                draw(linear, std, init)?;
            }
        }
        self.pooler.as_mut().map_or(Ok(()), |pooler| draw(&mut pooler.dense, std, init))
    }

    /// The tokens' vectors, `[batch, length, hidden]`.
    ///
    /// # Errors
    /// When there are more tokens than places, a token is none of the vocabulary, or a mask or types are not of the tokens' shape.
    pub fn forward(&self, given: &Encoded) -> Result<Tensor<3>> {
        self.vectors(given)?.into_float()
    }

    /// One vector for all, `[batch, hidden]`, of the first token's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and when it was made without a pooler.
    pub fn pooled(&self, given: &Encoded) -> Result<Tensor<2>> {
        self.pool(&self.vectors(given)?)?.into_float()
    }

    /// Both by transformers' names.
    fn outputs(&self, given: &Encoded) -> Result<Vec<(String, Array)>> {
        let vectors = self.vectors(given)?;
        let pooled = self.pool(&vectors)?;
        Ok(vec![("last_hidden_state".to_owned(), vectors), ("pooler_output".to_owned(), pooled)])
    }

    fn pool(&self, vectors: &Array) -> Result<Array> {
        let pooler = self.pooler.as_ref().ok_or_else(|| refused("BERT", "it was made without a pooler"))?;
        pooler.dense.forward_array(&vectors.select(1, 0)?)?.unary(crate::functional::Unary::Tanh)
    }

    fn vectors(&self, given: &Encoded) -> Result<Array> {
        let tokens = &given.input_ids;
        let &[batch, length] = tokens.shape() else { return Err(refused("BERT", "tokens are [batch, length]")) };
        for (name, other) in [("attention_mask", &given.attention_mask), ("token_type_ids", &given.token_type_ids)] {
            if let Some(other) = other.as_ref().filter(|other| other.shape() != tokens.shape()) {
                return Err(refused(
                    "BERT",
                    format!("{name} is {:?}, and tokens are {:?}", other.shape(), tokens.shape()),
                ));
            }
        }
        let (device, e) = (tokens.device(), &self.embeddings);
        let places = e.position_embeddings.weight.val().dims()[0];
        if length > places {
            return Err(refused("BERT", format!("{length} tokens are more than its {places} places")));
        }
        let places = Array::arange(Number::Int(0), Number::Int(signed(length)), Number::Int(1), None, &device)?;
        let first = || Array::full(tokens.shape(), Number::Int(0), tokens.dtype(), &device);
        let types = given.token_type_ids.clone().unwrap_or_else(first);
        let x = e.word_embeddings.forward_array(tokens)?.add(&e.token_type_embeddings.forward_array(&types)?)?;
        let x = x.add(&e.position_embeddings.forward_array(&places.reshaped(&[1, length])?)?)?;
        let mut x = e.dropout.forward_array(&e.LayerNorm.forward_array(&x)?)?;
        let seen =
            |mask: &Array| mask.cast(BOOL)?.reshaped(&[batch, 1, 1, length])?.expanded(&[batch, 1, length, length]);
        let mask = given.attention_mask.as_ref().map(seen).transpose()?;
        for layer in &self.encoder.layer {
            x = layer.forward(&x, mask.as_ref())?;
        }
        Ok(x)
    }

    /// What it draws from as it trains.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        self.embeddings.dropout.generator()
    }
}

impl BertLayer {
    fn forward(&self, x: &Array, mask: Option<&Array>) -> Result<Array> {
        let attended = self.attention.attention.forward(x, mask)?;
        let x = self.attention.output.forward(&attended, x)?;
        let BertIntermediate { dense, activation } = &self.intermediate;
        self.output.forward(&activation.of(&dense.forward_array(&x)?)?, &x)
    }
}

impl BertSelfAttention {
    fn forward(&self, x: &Array, mask: Option<&Array>) -> Result<Array> {
        let &[batch, length, width] = x.shape() else { return Err(refused("BERT", "tokens are [batch, length]")) };
        let split = |linear: &Linear| {
            let heads = linear.forward_array(x)?.reshaped(&[batch, length, self.heads, width / self.heads])?;
            heads.transpose(1, 2)
        };
        let (q, k, v) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let how = Attention { mask, ..Attention::default() };
        let attended = q.attention(&k, &v, &how, |weights| self.dropout.forward_array(&weights))?;
        attended.transpose(1, 2)?.reshaped(&[batch, length, width])
    }
}

impl BertOutput {
    fn forward(&self, x: &Array, input: &Array) -> Result<Array> {
        let x = self.dropout.forward_array(&self.dense.forward_array(x)?)?;
        self.LayerNorm.forward_array(&x.add(input)?)
    }
}

/// A linear map, an activation and a norm.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertPredictionHeadTransform {
    pub dense: Linear,
    pub LayerNorm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

/// Scores of all tokens of the vocabulary.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertLmPredictionHead {
    pub bias: Param<Tensor<1>>,
    pub transform: BertPredictionHeadTransform,
    pub decoder: Linear,
}

/// The head of the masked language model.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertOnlyMlmHead {
    pub predictions: BertLmPredictionHead,
}

/// `BertForMaskedLM`: tokens `[batch, length]` to scores `[batch, length, vocabulary]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertForMaskedLm {
    pub bert: Bert,
    pub cls: BertOnlyMlmHead,
}

impl BertForMaskedLm {
    /// A new network, with weights as transformers 5 draws them.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(config: &BertConfig, init: &mut Init<'_>) -> Result<Self> {
        let bert = Bert::new(config, false, init)?;
        let transform = BertPredictionHeadTransform {
            dense: config.linear(init)?,
            LayerNorm: config.norm(init)?,
            activation: config.activation,
        };
        let decoder = LinearConfig::new(config.hidden_size, config.vocab_size).init(init)?;
        let bias = init.param([config.vocab_size], Rule::Constant(0.0))?;
        let mut head = BertLmPredictionHead { bias, transform, decoder };
        draw(&mut head.transform.dense, config.initializer_range, init)?;
        draw(&mut head.decoder, config.initializer_range, init)?;
        if config.tie_word_embeddings {
            head.decoder.weight = bert.embeddings.word_embeddings.weight.clone();
            head.decoder.bias = Some(head.bias.clone());
        }
        Ok(BertForMaskedLm { bert, cls: BertOnlyMlmHead { predictions: head } })
    }

    /// The scores, `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, given: &Encoded) -> Result<Tensor<3>> {
        self.forward_encoded(given)?.into_float()
    }

    fn forward_encoded(&self, given: &Encoded) -> Result<Array> {
        let BertLmPredictionHead { transform, decoder, .. } = &self.cls.predictions;
        let x = transform.activation.of(&transform.dense.forward_array(&self.bert.vectors(given)?)?)?;
        decoder.forward_array(&transform.LayerNorm.forward_array(&x)?)
    }
}

/// `BertForSequenceClassification`: tokens `[batch, length]` to the scores of classes, `[batch, labels]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are transformers'
pub struct BertForSequenceClassification {
    pub bert: Bert,
    pub dropout: Dropout,
    pub classifier: Linear,
    #[module(skip)]
    problem_type: Option<Problem>,
}

impl BertForSequenceClassification {
    /// A new network, with weights as transformers 5 draws them.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(config: &BertConfig, init: &mut Init<'_>) -> Result<Self> {
        let bert = Bert::new(config, true, init)?;
        let dropout = Dropout::new(config.classifier_dropout.unwrap_or(config.hidden_dropout_prob), init);
        let mut classifier = LinearConfig::new(config.hidden_size, config.num_labels).init(init)?;
        draw(&mut classifier, config.initializer_range, init)?;
        Ok(BertForSequenceClassification { bert, dropout, classifier, problem_type: config.problem_type })
    }

    /// With what its scores are compared, where targets are whole numbers or not: as `problem_type` says, else as transformers finds it.
    #[must_use]
    pub fn problem_type(&self, whole: bool) -> Problem {
        let labels = self.classifier.weight.lazy_shape().dims::<2>()[0];
        self.problem_type.unwrap_or(match (labels, whole) {
            (1, _) => Problem::Regression,
            (_, true) => Problem::SingleLabel,
            (_, false) => Problem::MultiLabel,
        })
    }

    /// The scores, `[batch, labels]`.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, given: &Encoded) -> Result<Tensor<2>> {
        self.forward_encoded(given)?.into_float()
    }

    fn forward_encoded(&self, given: &Encoded) -> Result<Array> {
        let pooled = self.bert.pool(&self.bert.vectors(given)?)?;
        self.classifier.forward_array(&self.dropout.forward_array(&pooled)?)
    }
}

/// What is given, by the names of `PAIRS`.
fn encoded(given: &Given<'_>) -> Result<Encoded> {
    let input_ids = given.first()?.clone();
    Ok(Encoded { input_ids, attention_mask: given.other(1), token_type_ids: given.other(2) })
}

impl ByHand for Bert {
    const NAMES: &'static [Named<Self>] =
        &[Named::new("bert", SETTINGS, PAIRS, build).of_transformers("bert", "BertModel")];

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        self.outputs(&encoded(given)?)
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.generator())
    }
}

impl ByHand for BertForMaskedLm {
    const NAMES: &'static [Named<Self>] =
        &[Named::new("bert_for_masked_lm", SETTINGS, Takes { says: Says::Tokens, ..PAIRS }, build_masked)
            .of_transformers("bert", "BertForMaskedLM")];

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(logits(self.forward_encoded(&encoded(given)?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.bert.generator())
    }
}

impl ByHand for BertForSequenceClassification {
    const NAMES: &'static [Named<Self>] =
        &[Named::new("bert_for_sequence_classification", CLASSES, PAIRS, build_classifier)
            .of_transformers("bert", "BertForSequenceClassification")];

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(logits(self.forward_encoded(&encoded(given)?)?))
    }

    fn problem(&self, whole: bool) -> Option<Problem> {
        Some(self.problem_type(whole))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.bert.generator())
    }
}
