//! `torch.optim.AdamW`: Adam whose weights decay by themselves, not through the gradient.

use super::adam;
use super::prelude::*;

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
pub(super) const RULE: Rule = Rule { complete: |group| group.set("decoupled_weight_decay", true), ..adam::RULE };
