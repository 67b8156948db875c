//! `AnnealStrategy`: the curve of `OneCycleLR` and `SWALR`, and the name that older releases' states have of it.

use std::f64::consts::PI;

use rekindle_recorder::Value;

use super::number::Number;
use super::options::{Word, word_argument};
use crate::attributes::Attributes;

/// The curve from one learning rate to another: `anneal_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnealStrategy {
    /// `"cos"`: half a cosine wave.
    #[default]
    Cos,
    /// `"linear"`: a straight line.
    Linear,
}

impl Word for AnnealStrategy {
    const WORDS: [(&'static str, Self); 2] = [("cos", AnnealStrategy::Cos), ("linear", AnnealStrategy::Linear)];
}

impl AnnealStrategy {
    /// The number at a part of the way from `start` to `end`, as `OneCycleLR` computes it.
    pub(super) fn between(self, start: Number, end: Number, part: f64) -> Number {
        match self {
            AnnealStrategy::Cos => {
                let cos_out = (PI * part).cos() + 1.0;
                end + (start - end) / 2.0 * cos_out
            }
            AnnealStrategy::Linear => (end - start) * part + start,
        }
    }

    /// The curve whose function of PyTorch's or mmengine's a state dict holds.
    pub(super) fn of_function(function: Option<&Value>) -> Option<Self> {
        let name = match function? {
            Value::Global(global) => global.name.to_string(),
            // `getattr(class, name)`.
            Value::Object(object) => {
                let object = object.read();
                object.arguments().last().and_then(Value::as_str).unwrap_or_default().to_owned()
            }
            _ => return None,
        };
        match &*name {
            known if known.ends_with("_annealing_cos") || known.ends_with("_cosine_anneal") => {
                Some(AnnealStrategy::Cos)
            }
            known if known.ends_with("_annealing_linear") || known.ends_with("_linear_anneal") => {
                Some(AnnealStrategy::Linear)
            }
            _ => None,
        }
    }

    /// How much of the last number there is at a part of the way, as `SWALR` computes it.
    pub(super) fn share(self, part: f64) -> f64 {
        match self {
            AnnealStrategy::Cos => (1.0 - (PI * part).cos()) / 2.0,
            AnnealStrategy::Linear => part,
        }
    }
}

word_argument! { AnnealStrategy: "'cos' or 'linear'"; }

/// Names the curve where a release before 2.0 kept the function itself, `anneal_func`, which plain `torch.load` refuses.
pub(super) fn modernise(attributes: &mut Attributes, name: &str) {
    if attributes.contains(name) {
        return;
    }
    let Some(strategy) = AnnealStrategy::of_function(attributes.get("anneal_func")) else { return };
    attributes.remove("anneal_func");
    attributes.set(name, strategy.name());
}
