//! `transformers.AdamW`, the Trainer's optimizer up to version 4.x: `eps` is added before the bias is corrected, and weights decay
//! after the update.

use super::adam;
use super::prelude::*;

options! {
    /// The options of `transformers.AdamW`, with its defaults.
    TransformersAdamWOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator, before the bias of the averages is corrected. Default 1e-6.
        eps: f64 = 1e-6;
        /// Part of a weight, times `lr`, that is taken off it after each step. Default 0.
        weight_decay: f64 = 0.0;
        /// Correct the bias of the averages, which begin at zero. Default true.
        correct_bias: bool = true;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: adam::RANGES,
    check: |group| group.flag("correct_bias").map(drop),
    moments: &["exp_avg", "exp_avg_sq"],
    counters: &["step"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    if state.is_empty() {
        state.counter("step", 0);
        RULE.moments.iter().for_each(|name| state.moment(name));
    }
    let step = state.count("step")?;
    let (beta1, beta2) = group.pair("betas")?;
    let (lr, weight_decay) = (group.float("lr")?, group.float("weight_decay")?);
    let step_size =
        if group.flag("correct_bias")? { lr * (1.0 - beta2.powf(step)).sqrt() / (1.0 - beta1.powf(step)) } else { lr };
    let kernel = TransformersAdamWKernel {
        beta1,
        weight1: 1.0 - beta1,
        beta2,
        weight2: 1.0 - beta2,
        eps: group.float("eps")?,
        minus_step_size: -step_size,
        decay: if weight_decay > 0.0 { -lr * weight_decay } else { 0.0 },
    };
    Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
}

/// `AdamW.step` of `transformers/optimization.py`.
#[derive(Clone, Copy, Debug)]
struct TransformersAdamWKernel {
    beta1: f64,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    eps: f64,
    minus_step_size: f64,
    /// How much of a weight is added to it at the end; 0 for none.
    decay: f64,
}

impl Kernel<2> for TransformersAdamWKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let exp_avg = exp_avg.mul(self.beta1).add(grad.clone(), self.weight1);
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad, self.weight2);
        let denominator = exp_avg_sq.clone().sqrt().add_scalar(self.eps);
        let param = param.addcdiv(exp_avg.clone(), denominator, self.minus_step_size);
        let param = if self.decay == 0.0 { param } else { param.clone().add(param, self.decay) };
        (param, [exp_avg, exp_avg_sq])
    }
}
