//! `ByHand`: what the file of a network by hand says of it, so that it has a name: how it is made of its settings, what it takes and gives.

use burn::tensor::Tensor;

use super::settings::{Setting, Settings};
use crate::batch::wrong_rank;
use crate::functional::Array;
use crate::init::{Init, SharedGenerator};
use crate::{ModelError, Result};

/// What a network learns to say, by which its loss is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Says {
    /// Scores `[batch, classes, ...]`, or values.
    Scores,
    /// Scores of each token, `[batch, length, vocabulary]`.
    Tokens,
    /// The same, of the token that comes next.
    NextTokens,
}

/// What a classifier's scores are compared with: transformers' `problem_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Numbers, by the mean of squares.
    Regression,
    /// One class of each example, by cross entropy.
    SingleLabel,
    /// Each label as it is true or not, by `binary_cross_entropy_with_logits`.
    MultiLabel,
}

impl Problem {
    /// All there are.
    pub const ALL: [Problem; 3] = [Problem::Regression, Problem::SingleLabel, Problem::MultiLabel];

    /// transformers' word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Problem::Regression => "regression",
            Problem::SingleLabel => "single_label_classification",
            Problem::MultiLabel => "multi_label_classification",
        }
    }
}

/// What a network takes and says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    /// Its first input.
    pub(crate) first: &'static str,
    /// Others, which need not be there: what number stands in all places then.
    pub(crate) others: &'static [(&'static str, i64)],
    pub(crate) says: Says,
    /// Whether its first input is tokens.
    pub(crate) tokens: bool,
}

/// Images, or other numbers, to scores.
pub(crate) const IMAGES: Takes = Takes { first: "inputs", others: &[], says: Says::Scores, tokens: false };
/// Tokens to the scores of those that come next.
pub(crate) const TEXT: Takes = Takes { first: "input_ids", others: &[], says: Says::NextTokens, tokens: true };
/// Tokens with a mask and types to scores.
pub(crate) const PAIRS: Takes = Takes {
    first: "input_ids",
    others: &[("attention_mask", 1), ("token_type_ids", 0)],
    says: Says::Scores,
    tokens: true,
};

/// How a network is made of its settings.
pub(crate) type Build<T> = fn(&Settings<'_>, &mut Init<'_>) -> Result<T>;

/// What is said of a network by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) settings: &'static [Setting],
    /// Its `model_type` in transformers' `config.json`, and its class among `architectures` there.
    pub(crate) model_type: Option<&'static str>,
    pub(crate) class: Option<&'static str>,
    pub(crate) takes: Takes,
}

/// A name of a network, and how it is made.
pub(crate) struct Named<T> {
    pub(crate) about: About,
    pub(crate) build: Build<T>,
}

impl<T> Named<T> {
    /// A network of this name.
    pub(crate) const fn new(name: &'static str, settings: &'static [Setting], takes: Takes, build: Build<T>) -> Self {
        Named { about: About { name, settings, model_type: None, class: None, takes }, build }
    }

    /// Transformers' network of this class, whose `config.json` has this `model_type`.
    pub(crate) const fn of_transformers(self, model_type: &'static str, class: &'static str) -> Self {
        let Named { about, build } = self;
        Named { about: About { model_type: Some(model_type), class: Some(class), ..about }, build }
    }
}

/// Outputs by their names.
pub(crate) type Outputs = Vec<(String, Array)>;

/// A network by hand.
pub(crate) trait ByHand: Sized + 'static {
    /// Its name; where it has several, all of them.
    const NAMES: &'static [Named<Self>];

    /// Which of its names it has.
    fn named(&self) -> usize {
        0
    }

    /// The lengths that its first input may have, without the batch; where it says nothing, those of tokens.
    fn lengths(&self) -> Vec<Length> {
        vec![Length::AtLeast(1)]
    }

    /// Its outputs.
    ///
    /// # Errors
    /// When an input does not fit.
    fn run(&self, given: &Given<'_>) -> Result<Outputs>;

    /// Of a classifier that may be trained in several ways: which it is, where targets are whole numbers or not.
    fn problem(&self, whole: bool) -> Option<Problem> {
        let _ = whole;
        None
    }

    /// What it draws from as it trains, where it drops.
    fn draws(&self) -> Option<&SharedGenerator> {
        None
    }
}

/// What is said of this network.
pub(crate) fn about<T: ByHand>(network: &T) -> &'static About {
    &T::NAMES[network.named().min(T::NAMES.len() - 1)].about
}

/// The inputs of a network, in the order of their names.
pub(crate) struct Given<'a>(pub(super) &'a [Array]);

impl<'a> Given<'a> {
    pub(crate) fn first(&self) -> Result<&'a Array> {
        self.0.first().ok_or(ModelError::Elements { elements: 0, shape: Vec::new() })
    }

    /// One that need not be there.
    pub(crate) fn other(&self, at: usize) -> Option<Array> {
        self.0.get(at).cloned()
    }

    pub(crate) fn image(&self) -> Result<Tensor<4>> {
        let array = self.first()?;
        if array.rank() != 4 {
            return Err(wrong_rank("this batch", "4", array.shape()));
        }
        array.clone().into_float()
    }

    pub(super) fn all(&self) -> &'a [Array] {
        self.0
    }
}

/// An output without a name.
pub(crate) fn output(array: Array) -> Outputs {
    vec![("output_0".to_owned(), array)]
}

/// Scores without a name.
pub(crate) fn scores(scores: Tensor<2>) -> Outputs {
    output(Array::from_float(scores))
}

/// Scores as transformers calls them.
pub(crate) fn logits(array: Array) -> Outputs {
    vec![("logits".to_owned(), array)]
}

/// A length that an input may have.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Exactly(usize),
    AtLeast(usize),
}

/// Of images: the channels, and the length of each side.
pub(crate) fn image(channels: usize, side: Length) -> Vec<Length> {
    vec![Length::Exactly(channels), side, side]
}
