//! The language model of pytorch/examples' `word_language_model`: an embedding, an LSTM, a decoder.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::Result;
use crate::init::{Init, SharedGenerator, refused};
use crate::nn::{Dropout, Embedding, EmbeddingConfig, LSTM, LSTMConfig, Linear, LinearConfig};

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
        let rnn =
            LSTMConfig::new(config.ninp, config.nhid).with_num_layers(config.nlayers).with_dropout(config.dropout);
        let rnn = rnn.init_lstm(init)?;
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
    /// example gives the logarithm of their softmax, `[length * batch, tokens]`.
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
