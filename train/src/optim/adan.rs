//! `timm.optim.Adan`: Adam with Nesterov's momentum, by averages of the gradient and of its differences.

use super::prelude::*;
use super::timm::{cautious, count};

options! {
    /// The options of `timm.optim.Adan`, with its defaults.
    AdanOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient, of its differences and of the squares stays at each step. Default
        /// (0.98, 0.92, 0.99).
        betas: (f64, f64, f64) = (0.98, 0.92, 0.99);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.
        weight_decay: f64 = 0.0;
        /// Let weights decay before the update, as AdamW does, rather than divide them after it. Default false.
        no_prox: bool = false;
        /// Leave out what goes against the gradient. Default false.
        caution: bool = false;
        "foreach" = Value::None;
    }
}

const MOMENTS: [&str; 4] = ["exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad"];

pub(super) const RULE: Rule = Rule {
    gained: &["no_prox", "caution", "foreach"],
    ranges: &[Range::at_least_0(&["lr", "eps"]), Range::decay(&["betas"])],
    check: |group| betas(group).and(group.float("weight_decay")).and(group.flag("caution")).map(drop),
    scalars: &[],
    moments: &MOMENTS,
    needs: Some(|_| Ok(MOMENTS[..3].to_vec())),
    group_state: &["step"],
    count,
    view: View::Whole,
    ..Rule::new(prepare)
};

/// The three of them.
pub(super) fn betas(group: &Attributes) -> Result<[f64; 3]> {
    let numbers = group.floats("betas")?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| invalid(format!("betas must be 3 numbers, and are {count}")))
}

#[allow(clippy::cast_precision_loss)]
fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let step = group.int("step")?;
    let first = step == 1 || !state.has_tensor("neg_pre_grad");
    MOMENTS.iter().for_each(|name| state.whole(name, state.shape().to_vec()));
    let [beta1, beta2, beta3] = betas(group)?;
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let (lr, decay) = (group.float("lr")?, group.float("lr")? * group.float("weight_decay")?);
    let no_prox = group.flag("no_prox")?;
    Ok(Box::new(Whole(Adan {
        first,
        weight1: 1.0 - beta1,
        beta2,
        weight2: 1.0 - beta2,
        beta3,
        weight3: 1.0 - beta3,
        bias_correction3_sqrt: correction(beta3).sqrt(),
        eps: group.float("eps")?,
        caution: group.flag("caution")?,
        keep: if no_prox { Some(1.0 - decay) } else { None },
        shrink: 1.0 + decay,
        step_size: lr / correction(beta1),
        step_size_diff: lr * beta2 / correction(beta2),
    })))
}

/// `_single_tensor_adan` of `timm/optim/adan.py`.
#[derive(Debug)]
struct Adan {
    /// There is no gradient before this one: the difference is none.
    first: bool,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    beta3: f64,
    weight3: f64,
    bias_correction3_sqrt: f64,
    eps: f64,
    caution: bool,
    /// What is left of a weight when it has decayed, before the update.
    keep: Option<f64>,
    /// What a weight is divided by else, after it.
    shrink: f64,
    step_size: f64,
    step_size_diff: f64,
}

impl Vectorwise for Adan {
    fn state(&self) -> &[&'static str] {
        &MOMENTS
    }

    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)> {
        let [exp_avg, exp_avg_sq, exp_avg_diff, neg_pre_grad] = state_of(state)?;
        let neg_pre_grad = if self.first { grad.clone().neg() } else { neg_pre_grad };
        let difference = neg_pre_grad.add(grad.clone(), 1.0);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_avg_diff = exp_avg_diff.mul(self.beta2).add(difference.clone(), self.weight2);
        let ahead = difference.mul(self.beta2).add(grad.clone(), 1.0);
        let exp_avg_sq = exp_avg_sq.mul(self.beta3).addcmul(ahead.clone(), ahead, self.weight3);
        let denominator = exp_avg_sq.clone().sqrt().div(self.bias_correction3_sqrt).add_scalar(self.eps);
        let direction = if self.caution { cautious(exp_avg.clone(), grad.clone())? } else { exp_avg.clone() };
        let param = match self.keep {
            Some(keep) => param.mul(keep),
            None => param,
        };
        let param = param.addcdiv(direction, denominator.clone(), -self.step_size);
        let param = param.addcdiv(exp_avg_diff.clone(), denominator, -self.step_size_diff);
        let param = if self.keep.is_none() { param.div(self.shrink) } else { param };
        // A zero stays a zero without a sign: 0 - grad.
        let zeros = grad.clone().by_sign(0.0, 0.0, 0.0);
        Ok((param, vec![exp_avg, exp_avg_sq, exp_avg_diff, zeros.add(grad, -1.0)]))
    }
}
