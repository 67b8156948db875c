//! The language model of pytorch/examples' `word_language_model`: an embedding, an LSTM, a decoder.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::Result;
use crate::functional::{Array, Kind};
use crate::init::{Init, SharedGenerator, refused};
use crate::nn::{Dropout, Embedding, EmbeddingConfig, Forward, LSTM, LSTMConfig, Linear, LinearConfig};
use crate::registry::by_hand::{ByHand, Given, Named, Outputs, TEXT, logits};
use crate::registry::settings::{Setting, Settings};

/// Its settings.
const SETTINGS: &[Setting] = &[
    Setting::shown("ntoken", "33278", |weights| weights.length("encoder.weight", 0)),
    Setting::shown("ninp", "200", |weights| weights.length("encoder.weight", 1)),
    Setting::shown("nhid", "200", |weights| weights.length("rnn.weight_hh_l0", 1)),
    Setting::shown("nlayers", "2", |weights| weights.count("rnn.weight_hh_l{}")),
    Setting::shown("tie_weights", "false", |weights| weights.tied("encoder.weight", "decoder.weight")),
    Setting::trained("dropout", "0.2"),
    Setting::plain("batch_first", "false"),
];

/// The network of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<LstmLm> {
    let config = LstmLmConfig {
        ntoken: settings.number("ntoken")?,
        ninp: settings.number("ninp")?,
        nhid: settings.number("nhid")?,
        nlayers: settings.number("nlayers")?,
        dropout: settings.dropout("dropout")?,
        tie_weights: settings.flag("tie_weights")?,
        batch_first: settings.flag("batch_first")?,
    };
    LstmLm::new(&config, init)
}

/// How large it is, and what it drops.
#[derive(Clone, Copy, Debug)]
pub struct LstmLmConfig {
    /// How many tokens there are.
    pub ntoken: usize,
    /// How long a token's vector is.
    pub ninp: usize,
    /// How long a state is.
    pub nhid: usize,
    /// How many layers.
    pub nlayers: usize,
    /// What is dropped in training.
    pub dropout: f64,
    /// Whether the decoder's weight is the embedding's.
    pub tie_weights: bool,
    /// Whether tokens are `[batch, length]`. The example's are `[length, batch]`: false.
    pub batch_first: bool,
}

/// The states of an LSTM.
pub type States = (Tensor<3>, Tensor<3>);

/// Tokens `[length, batch]` to the scores of what comes next.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are the example's
pub struct LstmLm {
    pub drop: Dropout,
    pub encoder: Embedding,
    pub rnn: LSTM,
    pub decoder: Linear,
}

impl LstmLm {
    /// A new network, with weights as the example draws them.
    ///
    /// # Errors
    /// When weights are to be tied, and vectors are not as long as states.
    pub fn new(config: &LstmLmConfig, init: &mut Init<'_>) -> Result<Self> {
        let drop = Dropout::new(config.dropout, init);
        let mut encoder = EmbeddingConfig::new(config.ntoken, config.ninp).init(init)?;
        let rnn = LSTMConfig::new(config.ninp, config.nhid).with_num_layers(config.nlayers);
        let rnn = rnn.with_dropout(config.dropout).with_batch_first(config.batch_first).init_lstm(init)?;
        let mut decoder = LinearConfig::new(config.nhid, config.ntoken).init(init)?;
        if config.tie_weights && config.nhid != config.ninp {
            return Err(refused("the language model", "with tied weights, nhid is ninp"));
        }
        // The example ties first: the weight is drawn twice.
        init.uniform_(&mut encoder.weight, -0.1, 0.1)?;
        if let Some(bias) = &mut decoder.bias {
            init.zeros_(bias)?;
        }
        init.uniform_(&mut decoder.weight, -0.1, 0.1)?;
        if config.tie_weights {
            encoder.weight = decoder.weight.clone();
        }
        Ok(LstmLm { drop, encoder, rnn, decoder })
    }

    /// Tokens `[length, batch]`, and the states before them, to scores `[length, batch, tokens]` and the states after them. The
    /// example gives the logarithm of their softmax, `[length * batch, tokens]`, of which `NLLLoss` is the cross entropy of these.
    ///
    /// # Errors
    /// When a token is none of the vocabulary, or the states have other shapes.
    pub fn forward(&self, tokens: Tensor<2, Int>, states: Option<States>) -> Result<(Tensor<3>, States)> {
        let embedded = self.drop.forward(self.encoder.forward::<2, 3>(tokens)?)?;
        let (output, states) = self.rnn.forward(embedded, states)?;
        Ok((self.decoder.forward(self.drop.forward(output)?)?, states))
    }

    /// What it draws from as it trains.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        self.drop.generator()
    }
}

/// Each batch begins with states of zeros.
impl Forward for LstmLm {
    fn forward_array(&self, tokens: &Array) -> Result<Array> {
        if tokens.kind() != Kind::Int {
            return Err(refused("the language model", "tokens are whole numbers"));
        }
        Ok(Array::from_float(self.forward(tokens.clone().into_int()?, None)?.0))
    }
}

impl ByHand for LstmLm {
    const NAMES: &'static [Named<Self>] = &[Named::new("lstm_lm", SETTINGS, TEXT, build)];

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(logits(self.forward_array(given.first()?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.generator())
    }
}
