//! `torch.optim.AdamW`: Adam whose weights decay by themselves, not through the gradient.

use rekindle_recorder::{Result, Value};

use super::adam::Adam;
use super::elementwise::Update;
use super::group::ParamGroup;
use super::options::options;
use super::rule::Rule;
use super::state::ParamState;
use crate::attributes::Attributes;

options! {
    /// The options of `torch.optim.AdamW`, with its defaults.
    AdamWOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 1e-2.
        weight_decay: f64 = 1e-2;
        /// Divide by the largest average of squares so far (AMSGrad). Default false.
        amsgrad: bool = false;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "foreach" = Value::None;
        "capturable" = false;
        "differentiable" = false;
        "fused" = Value::None;
        "decoupled_weight_decay" = true;
    }
}

/// Adam, always decoupled, as PyTorch has it since 2.7.
#[derive(Debug)]
pub(crate) struct AdamW;

impl Rule for AdamW {
    fn complete(&self, group: &mut Attributes) {
        Adam.complete(group);
        group.set("decoupled_weight_decay", true);
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        Adam.check(group)
    }

    fn moments(&self) -> &'static [&'static str] {
        Adam.moments()
    }

    fn needs(&self, group: &Attributes) -> Result<Vec<&'static str>> {
        Adam.needs(group)
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        Adam.prepare(group, state)
    }
}
