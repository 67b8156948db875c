//! `torch.optim.AdamW`: Adam whose weights decay by themselves, not through the gradient.

use rekindle_recorder::Result;

use super::adam::{Adam, AdamOptions, group};
use super::elementwise::Update;
use super::group::{Hyperparameters, ParamGroup};
use super::rule::{OptimizerKind, Rule};
use super::state::ParamState;
use crate::attributes::Attributes;

/// The options of `torch.optim.AdamW`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Learning rate. Default 1e-3.
    pub lr: f64,
    /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator. Default 1e-8.
    pub eps: f64,
    /// Part of a weight, times `lr`, that is taken off it at each step. Default 1e-2.
    pub weight_decay: f64,
    /// Divide by the largest average of squares so far (AMSGrad). Default false.
    pub amsgrad: bool,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        let AdamOptions { lr, betas, eps, amsgrad, maximize, .. } = AdamOptions::default();
        AdamWOptions { lr, betas, eps, weight_decay: 1e-2, amsgrad, maximize }
    }
}

impl From<AdamWOptions> for Hyperparameters {
    fn from(options: AdamWOptions) -> Self {
        let AdamWOptions { lr, betas, eps, weight_decay, amsgrad, maximize } = options;
        let adam = AdamOptions { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay: true };
        Hyperparameters::new(OptimizerKind::AdamW, group(&adam, weight_decay.into()))
    }
}

/// Adam, always decoupled, as PyTorch has it since 2.7.
#[derive(Debug)]
pub(crate) struct AdamW;

impl Rule for AdamW {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::AdamW
    }

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
