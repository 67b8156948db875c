//! `timm.optim.Lion`: Lion with caution, and with weight decay that can be corrected for the schedule.

use super::prelude::*;
use super::timm::{cautious, complete, decay_rate, snapshot};

options! {
    /// The options of `timm.optim.Lion`, with its defaults.
    TimmLionOptions {
        /// Learning rate. Default 1e-4.
        lr: f64 = 1e-4;
        /// How much of the average of gradients goes into the update, and how much of it stays at each step. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99);
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.
        weight_decay: f64 = 0.0;
        /// Leave out what goes against the gradient. Default false.
        caution: bool = false;
        /// Let weights decay by `lr ** 2 / max_lr` rather than `lr`. Default false.
        corrected_weight_decay: bool = false;
        /// The largest learning rate, which the correction is by. Default `None`, which is `lr`.
        max_lr_snapshot: Option<f64> = None => |given, options| snapshot(given, options.lr);
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["caution", "corrected_weight_decay", "maximize", "foreach"],
    complete,
    ranges: &[Range::at_least_0(&["lr"]), Range::decay(&["betas"])],
    check: |group| decay_rate(group).and(group.flag("caution")).map(drop),
    scalars: &[],
    moments: &["exp_avg"],
    view: View::Whole,
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    state.whole("exp_avg", state.shape().to_vec());
    let (beta1, beta2) = group.pair("betas")?;
    Ok(Box::new(Whole(TimmLion {
        maximize: group.flag("maximize")?,
        keep: 1.0 - decay_rate(group)? * group.float("weight_decay")?,
        weight1: 1.0 - beta1,
        weight2: 1.0 - beta2,
        caution: group.flag("caution")?,
        minus_lr: -group.float("lr")?,
    })))
}

/// `_single_tensor_lion` of `timm/optim/lion.py`.
#[derive(Debug)]
struct TimmLion {
    maximize: bool,
    /// What is left of a weight when it has decayed.
    keep: f64,
    weight1: f64,
    weight2: f64,
    caution: bool,
    minus_lr: f64,
}

impl Vectorwise for TimmLion {
    fn state(&self) -> &[&'static str] {
        &["exp_avg"]
    }

    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)> {
        let [exp_avg] = state_of(state)?;
        let grad = if self.maximize { grad.neg() } else { grad };
        let param = param.mul(self.keep);
        let update = exp_avg.clone().lerp(grad.clone(), self.weight1).by_sign(-1.0, 0.0, 1.0);
        let update = if self.caution { cautious(update, grad.clone())? } else { update };
        Ok((param.add(update, self.minus_lr), vec![exp_avg.lerp(grad, self.weight2)]))
    }
}
