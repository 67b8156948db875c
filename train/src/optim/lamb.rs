//! `timm.optim.Lamb`: Adam whose updates are scaled, parameter by parameter, to the norm of the weights, after all gradients were
//! clipped together.

use super::prelude::*;
use super::timm::{cautious, complete, decay_rate, snapshot};
use crate::attributes::float_like;
use rekindle_recorder::DType;

options! {
    /// The options of `timm.optim.Lamb`, with its defaults.
    LambOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// Correct the bias of the averages, which begin at zero. Default true.
        bias_correction: bool = true;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-6.
        eps: f64 = 1e-6;
        /// Part of a weight that goes into the update. Default 0.01.
        weight_decay: f64 = 0.01;
        /// Take `1 - beta1` of a gradient into the average, rather than all of it. Default true.
        grad_averaging: bool = true;
        /// The largest norm of all gradients together; larger ones are scaled down to it. One for all groups. Default 1.
        max_grad_norm: Option<f64> = Some(1.0);
        /// Scale no update up (LAMBC). Default false.
        trust_clip: bool = false;
        /// Scale where weights do not decay, too. Default false.
        always_adapt: bool = false;
        /// Leave out what goes against the gradient. Default false.
        caution: bool = false;
        /// Let weights decay by themselves, rather than in the update. Default false.
        decoupled_decay: bool = false;
        /// Let them decay by `lr ** 2 / max_lr` rather than `lr` then. Default false.
        corrected_weight_decay: bool = false;
        /// The largest learning rate, which the correction is by. Default `None`, which is `lr`.
        max_lr_snapshot: Option<f64> = None => |given, options| snapshot(given, options.lr);
        "foreach" = Value::None;
    }
}

const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

pub(super) const RULE: Rule = Rule {
    gained: &["caution", "decoupled_decay", "corrected_weight_decay", "foreach"],
    complete: |group| {
        complete(group);
        // Older releases counted with an int.
        if let Ok(step) = group.float("step") {
            let step = float_like(Some(dtype_of_step(group)), step);
            group.set("step", step);
        }
    },
    ranges: &[Range::at_least_0(&["lr", "eps", "weight_decay"])],
    check: |group| {
        group.pair("betas")?;
        decay_rate(group).and(group.flag("caution")).and(max_grad_norm(group)).map(drop)
    },
    scalars: &[],
    moments: &MOMENTS,
    group_state: &["step"],
    count: |group| {
        let step = if group.contains("step") { group.float("step")? } else { 0.0 };
        let counted = float_like(Some(dtype_of_step(group)), step + 1.0);
        group.set("step", counted);
        Ok(())
    },
    clips,
    view: View::Whole,
    ..Rule::new(prepare)
};

/// The type of a group's count: the default type.
fn dtype_of_step(group: &Attributes) -> DType {
    match group.get("step").and_then(Value::as_tensor).map(rekindle_recorder::Tensor::dtype) {
        Some(DType::Float64) => DType::Float64,
        _ => DType::Float32,
    }
}

fn max_grad_norm(group: &Attributes) -> Result<Option<f64>> {
    match group.get("max_grad_norm") {
        Some(Value::None) | None => Ok(None),
        Some(_) => group.float("max_grad_norm").map(Some),
    }
}

/// timm goes by what the optimizer was made with, which is in each group, unless a group was given another.
fn clips(groups: &[ParamGroup]) -> Result<Option<f64>> {
    let norms: Vec<Option<f64>> = groups.iter().map(|group| max_grad_norm(group)).collect::<Result<_>>()?;
    let first = norms.first().copied().flatten();
    match norms.iter().find(|norm| **norm != first) {
        Some(other) => Err(invalid(format!(
            "the groups have different 'max_grad_norm', {first:?} and {other:?}, and timm's Lamb clips all gradients together by the one \
             it was made with; give all groups that one"
        ))),
        None => Ok(first),
    }
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    MOMENTS.iter().for_each(|name| state.whole(name, state.shape().to_vec()));
    let step = group.float("step")?;
    let (beta1, beta2) = group.pair("betas")?;
    let corrects = group.flag("bias_correction")?;
    let correction = |beta: f64| if corrects { 1.0 - beta.powf(step) } else { 1.0 };
    let (weight_decay, decoupled) = (group.float("weight_decay")?, group.flag("decoupled_decay")?);
    Ok(Box::new(Whole(Lamb {
        divide: state.divide,
        beta1,
        weight1: if group.flag("grad_averaging")? { Some(1.0 - beta1) } else { None },
        beta2,
        weight2: 1.0 - beta2,
        bias_correction1: correction(beta1),
        bias_correction2_sqrt: correction(beta2).powf(0.5),
        eps: group.float("eps")?,
        caution: group.flag("caution")?,
        l2: if decoupled { 0.0 } else { weight_decay },
        decay: if decoupled && weight_decay != 0.0 { -decay_rate(group)? * weight_decay } else { 0.0 },
        adapts: weight_decay != 0.0 || group.flag("always_adapt")?,
        trust_clip: group.flag("trust_clip")?,
        minus_lr: -group.float("lr")?,
    })))
}

/// `_single_tensor_lamb` of `timm/optim/lamb.py`.
#[derive(Debug)]
struct Lamb {
    /// What all gradients are divided by; `None` where they are not clipped.
    divide: Option<f64>,
    beta1: f64,
    /// 1 - beta1; `None` where gradients are not averaged.
    weight1: Option<f64>,
    beta2: f64,
    weight2: f64,
    bias_correction1: f64,
    bias_correction2_sqrt: f64,
    eps: f64,
    caution: bool,
    /// Weight decay that goes into the update; 0 for none.
    l2: f64,
    /// How much of a weight is added to it; 0 for none.
    decay: f64,
    adapts: bool,
    trust_clip: bool,
    minus_lr: f64,
}

impl Lamb {
    /// `_lamb_trust_ratio`.
    fn trust_ratio<X: Vector>(&self, param: &X, update: &X) -> Result<f64> {
        let (w_norm, g_norm) = (param.norm()?, update.norm()?);
        let ratio = if w_norm > 0.0 && g_norm > 0.0 { param.round(w_norm / g_norm) } else { 1.0 };
        Ok(if self.trust_clip { ratio.min(1.0) } else { ratio })
    }
}

impl Vectorwise for Lamb {
    fn state(&self) -> &[&'static str] {
        &MOMENTS
    }

    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)> {
        let [exp_avg, exp_avg_sq] = state_of(state)?;
        let grad = match self.divide {
            Some(divide) => grad.div(divide),
            None => grad,
        };
        let exp_avg = match self.weight1 {
            Some(weight) => exp_avg.lerp(grad.clone(), weight),
            None => exp_avg.mul(self.beta1).add(grad.clone(), 1.0),
        };
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad.clone(), self.weight2);
        let denominator = exp_avg_sq.clone().sqrt().div(self.bias_correction2_sqrt).add_scalar(self.eps);
        let mut update = exp_avg.clone().div(self.bias_correction1).div_by(denominator);
        if self.caution {
            update = cautious(update, grad)?;
        }
        let param = if self.decay == 0.0 { param } else { param.clone().add(param, self.decay) };
        if self.l2 != 0.0 {
            update = update.add(param.clone(), self.l2);
        }
        if self.adapts {
            let ratio = self.trust_ratio(&param, &update)?;
            update = update.mul(ratio);
        }
        Ok((param.add(update, self.minus_lr), vec![exp_avg, exp_avg_sq]))
    }
}
