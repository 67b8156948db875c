//! `BertConfig`, and the settings of the networks of BERT by name.

use super::super::transformers::{ACTIVATIONS, Activation};
use crate::Result;
use crate::registry::by_hand::Problem;
use crate::registry::settings::{Setting, Settings};

/// The settings of all three; the last rows are the classifier's alone.
const ALL: [Setting; 20] = [
    Setting::shown("vocab_size", "30522", |weights| weights.length("embeddings.word_embeddings.weight", 0)),
    Setting::shown("hidden_size", "768", |weights| weights.length("embeddings.word_embeddings.weight", 1)),
    Setting::shown("num_hidden_layers", "12", |weights| weights.count("encoder.layer.{}.intermediate.dense.weight")),
    Setting::asked("num_attention_heads", "12"),
    Setting::shown("intermediate_size", "3072", |weights| {
        weights.length("encoder.layer.0.intermediate.dense.weight", 0)
    }),
    Setting::shown("max_position_embeddings", "512", |weights| {
        weights.length("embeddings.position_embeddings.weight", 0)
    }),
    Setting::shown("type_vocab_size", "2", |weights| weights.length("embeddings.token_type_embeddings.weight", 0)),
    Setting::shown("tie_word_embeddings", "true", |weights| {
        weights.tied("embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")
    }),
    Setting::trained("hidden_dropout_prob", "0.1"),
    Setting::trained("attention_probs_dropout_prob", "0.1"),
    Setting::plain("hidden_act", "gelu"),
    Setting::plain("layer_norm_eps", "1e-12"),
    Setting::plain("pad_token_id", "0"),
    Setting::plain("initializer_range", "0.02"),
    Setting::fixed("is_decoder", "false"),
    Setting::fixed("add_cross_attention", "false"),
    Setting::fixed("position_embedding_type", "absolute"),
    Setting::plain("classifier_dropout", "none"),
    Setting::shown("num_labels", "2", |weights| weights.length("classifier.weight", 0)),
    Setting::plain("problem_type", "none"),
];

/// Of the body and the masked language model.
pub(super) const SETTINGS: &[Setting] = ALL.as_slice().split_at(17).0;

/// Of the classifier.
pub(super) const CLASSES: &[Setting] = &ALL;

/// What is said of it.
pub(super) fn config(settings: &Settings<'_>) -> Result<BertConfig> {
    Ok(BertConfig {
        vocab_size: settings.number("vocab_size")?,
        hidden_size: settings.number("hidden_size")?,
        num_hidden_layers: settings.number("num_hidden_layers")?,
        num_attention_heads: settings.number("num_attention_heads")?,
        intermediate_size: settings.number("intermediate_size")?,
        max_position_embeddings: settings.number("max_position_embeddings")?,
        type_vocab_size: settings.number("type_vocab_size")?,
        tie_word_embeddings: settings.flag("tie_word_embeddings")?,
        hidden_dropout_prob: settings.dropout("hidden_dropout_prob")?,
        attention_probs_dropout_prob: settings.dropout("attention_probs_dropout_prob")?,
        activation: settings.one_of("hidden_act", ACTIVATIONS)?,
        layer_norm_eps: settings.float("layer_norm_eps")?,
        pad_token_id: settings.row("pad_token_id", settings.number("vocab_size")?)?,
        initializer_range: settings.float("initializer_range")?,
        ..BertConfig::default()
    })
}

/// The words of `problem_type`.
pub(super) const PROBLEMS: &[(&str, Option<Problem>)] = &[
    ("none", None),
    ("regression", Some(Problem::Regression)),
    ("single_label_classification", Some(Problem::SingleLabel)),
    ("multi_label_classification", Some(Problem::MultiLabel)),
];

/// How large it is, and what it drops: transformers' `BertConfig`.
#[derive(Clone, Copy, Debug)]
pub struct BertConfig {
    /// How many tokens there are.
    pub vocab_size: usize,
    /// How long a token's vector is.
    pub hidden_size: usize,
    /// How many layers.
    pub num_hidden_layers: usize,
    /// How many heads.
    pub num_attention_heads: usize,
    /// How long a vector is between the two linear maps.
    pub intermediate_size: usize,
    /// How many places.
    pub max_position_embeddings: usize,
    /// How many types of tokens: of the first sentence or the second.
    pub type_vocab_size: usize,
    /// Whether the masked language model's decoder is the embedding.
    pub tie_word_embeddings: bool,
    /// What is dropped in training of what a layer adds, and of the embeddings.
    pub hidden_dropout_prob: f64,
    /// What is dropped of the weights of attention.
    pub attention_probs_dropout_prob: f64,
    /// What is between the two linear maps.
    pub activation: Activation,
    /// What norms add to the variance.
    pub layer_norm_eps: f64,
    /// The token that stands for nothing: its row has no gradient.
    pub pad_token_id: Option<usize>,
    /// The deviation of first weights.
    pub initializer_range: f64,
    /// What the classifier drops before its last map. Default `None`: `hidden_dropout_prob`.
    pub classifier_dropout: Option<f64>,
    /// How many classes the classifier tells apart.
    pub num_labels: usize,
    /// What the classifier's scores are compared with. Default `None`: the number of labels and the targets tell.
    pub problem_type: Option<Problem>,
}

impl Default for BertConfig {
    /// Transformers' defaults: those of `bert-base-uncased`.
    fn default() -> Self {
        BertConfig {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            tie_word_embeddings: true,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            activation: Activation::Gelu,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            initializer_range: 0.02,
            classifier_dropout: None,
            num_labels: 2,
            problem_type: None,
        }
    }
}
