//! `schedulefree.AdamWScheduleFree`: AdamW that needs no schedule: gradients are taken between the iterate `z` and an average of
//! all, which is what is evaluated.

use super::prelude::*;

options! {
    /// The options of `schedulefree.AdamWScheduleFree`, with its defaults.
    ///
    /// In training mode the model has the weights that gradients are taken at (`y`), in evaluation mode the average (`x`):
    /// [`Optimizer::train`](super::Optimizer::train) and [`Optimizer::eval`](super::Optimizer::eval) go from one to the other.
    AdamWScheduleFreeOptions {
        /// Learning rate. Default 0.0025.
        lr: f64 = 0.0025;
        /// How much of the average is in what gradients are taken at, and how much of the average of squares stays at each step.
        /// Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// The average weighs steps by their number to this power. Default 0.
        r: f64 = 0.0;
        "k" = 0;
        /// How many steps the learning rate grows to begin with. Default 0.
        warmup_steps: u32 = 0;
        "train_mode" = false;
        "weight_sum" = 0.0;
        "lr_max" = -1.0;
        "scheduled_lr" = 0.0;
        /// The average weighs steps by the largest learning rate to this power. Default 2.
        weight_lr_power: f64 = 2.0;
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        "foreach" = true;
    }
}

/// The iterate.
const Z: &str = "z";
const MOMENTS: [&str; 2] = [Z, "exp_avg_sq"];

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[],
    check: |group| {
        group.pair("betas")?;
        group.flag("train_mode")?;
        ["lr", "eps", "weight_decay", "r", "k", "warmup_steps", "weight_sum", "lr_max", "weight_lr_power"]
            .iter()
            .try_for_each(|name| group.float(name).map(drop))
    },
    scalars: &[],
    moments: &MOMENTS,
    group_state: &["k", "weight_sum", "lr_max", "scheduled_lr"],
    count,
    averages: Some(Z),
    ..Rule::new(prepare)
};

/// What a step makes of the group's own numbers: `k`, which it counts, the learning rate and the sum of weights.
#[allow(clippy::cast_precision_loss)]
fn count(group: &mut ParamGroup) -> Result<()> {
    let (k, warmup_steps) = (group.int("k")?, group.float("warmup_steps")?);
    let number = k.saturating_add(1) as f64;
    let schedule = if (k as f64) < warmup_steps { number / warmup_steps } else { 1.0 };
    let lr = group.float("lr")? * schedule;
    let lr_max = group.float("lr_max")?.max(lr);
    group.set("k", k.saturating_add(1));
    group.set("lr_max", lr_max);
    group.set("scheduled_lr", lr);
    let weight_sum = group.float("weight_sum")? + weight(group)?;
    group.set("weight_sum", weight_sum);
    Ok(())
}

/// What the step that was counted weighs in the average.
fn weight(group: &ParamGroup) -> Result<f64> {
    let lr_max = group.float("lr_max")?;
    Ok(group.float("k")?.powf(group.float("r")?) * lr_max.powf(group.float("weight_lr_power")?))
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let first = !state.has_moment(Z);
    MOMENTS.iter().for_each(|name| state.moment(name));
    let (beta1, beta2) = group.pair("betas")?;
    let (weight, weight_sum) = (weight(group)?, group.float("weight_sum")?);
    let share = if weight_sum == 0.0 { 0.0 } else { weight / weight_sum };
    let lr = group.float("scheduled_lr")?;
    let kernel = ScheduleFreeKernel {
        first,
        beta2,
        weight2: 1.0 - beta2,
        bias_correction2: 1.0 - beta2.powf(group.float("k")?),
        eps: group.float("eps")?,
        decay: group.float("weight_decay")?,
        share,
        step: lr * (beta1 * (1.0 - share) - 1.0),
        minus_lr: -lr,
    };
    Ok(Box::new(Elementwise { state: MOMENTS, kernel }))
}

/// `AdamWScheduleFree.step` of `schedulefree/adamw_schedulefree.py`; the parameter is `y`.
#[derive(Clone, Copy, Debug)]
struct ScheduleFreeKernel {
    /// No step was made yet: the iterate begins as the parameter.
    first: bool,
    beta2: f64,
    weight2: f64,
    bias_correction2: f64,
    eps: f64,
    decay: f64,
    /// How much of the iterate goes into the average: `ckp1`.
    share: f64,
    step: f64,
    minus_lr: f64,
}

impl Kernel<2> for ScheduleFreeKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [z, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let z = if self.first { param.clone() } else { z };
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad.clone(), self.weight2);
        let denominator = exp_avg_sq.clone().div(self.bias_correction2).sqrt().add_scalar(self.eps);
        let grad = grad.div_by(denominator);
        let grad = if self.decay == 0.0 { grad } else { grad.add(param.clone(), self.decay) };
        let param = param.lerp(z.clone(), self.share).add(grad.clone(), self.step);
        (param, [z.add(grad, self.minus_lr), exp_avg_sq])
    }
}
