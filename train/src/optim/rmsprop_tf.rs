//! `timm.optim.RMSpropTF`: `RMSprop` as `TensorFlow` has it: `eps` is under the root, averages of squares begin at one, and the
//! learning rate goes into the momentum.

use super::prelude::*;
use super::rmsprop::needs;
use super::timm::{cautious, complete, decay_rate, snapshot};

options! {
    /// The options of `timm.optim.RMSpropTF`, with its defaults.
    RMSpropTFOptions {
        /// Learning rate. Default 1e-2.
        lr: f64 = 1e-2;
        /// How much of the previous update goes into the next. Default 0.
        momentum: f64 = 0.0;
        /// How much of the running averages stays at each step. Default 0.9.
        alpha: f64 = 0.9;
        /// Added to the average of squares, under the root. Default 1e-10.
        eps: f64 = 1e-10;
        /// Divide by the gradient's deviation from its average rather than by its magnitude. Default false.
        centered: bool = false;
        /// L2 penalty, or the decoupled decay. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Let weights decay by themselves, rather than through the gradient. Default false.
        decoupled_decay: bool = false;
        /// Let them decay by `lr ** 2 / max_lr` rather than `lr` then. Default false.
        corrected_weight_decay: bool = false;
        /// The largest learning rate, which the correction is by. Default `None`, which is `lr`.
        max_lr_snapshot: Option<f64> = None => |given, options| snapshot(given, options.lr);
        /// Scale what goes into the momentum by `lr`, rather than what comes out. Default true.
        lr_in_momentum: bool = true;
        /// Leave out what goes against the gradient, with a momentum. Default false.
        caution: bool = false;
        "foreach" = Value::None;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["momentum", "centered", "caution", "corrected_weight_decay", "foreach"],
    complete,
    ranges: &[Range::at_least_0(&["lr", "eps", "momentum", "weight_decay", "alpha"])],
    check: |group| decay_rate(group).and(group.flag("caution")).map(drop),
    moments: &["square_avg", "momentum_buffer", "grad_avg"],
    needs: Some(needs),
    view: View::Whole,
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let names = needs(group)?.split_off(1);
    if state.is_empty() {
        state.scalar("step", 0.0);
        for name in &names {
            state.whole_of(name, state.shape().to_vec(), if *name == "square_avg" { 1.0 } else { 0.0 });
        }
    }
    state.count("step")?;
    let (weight_decay, alpha) = (group.float("weight_decay")?, group.float("alpha")?);
    let decoupled = group.flag("decoupled_decay")?;
    Ok(Box::new(Whole(RMSpropTF {
        names,
        l2: if decoupled { 0.0 } else { weight_decay },
        keep: if decoupled && weight_decay != 0.0 { Some(1.0 - decay_rate(group)? * weight_decay) } else { None },
        weight: 1.0 - alpha,
        eps: group.float("eps")?,
        centered: group.flag("centered")?,
        momentum: group.float("momentum")?,
        lr: group.float("lr")?,
        lr_in_momentum: group.flag("lr_in_momentum")?,
        caution: group.flag("caution")?,
    })))
}

/// `_single_tensor_rmsprop_tf` of `timm/optim/rmsprop_tf.py`.
#[derive(Debug)]
struct RMSpropTF {
    names: Vec<&'static str>,
    /// Weight decay that goes through the gradient; 0 for none.
    l2: f64,
    /// What is left of a weight when it has decayed by itself.
    keep: Option<f64>,
    /// 1 - alpha.
    weight: f64,
    eps: f64,
    centered: bool,
    momentum: f64,
    lr: f64,
    lr_in_momentum: bool,
    caution: bool,
}

impl RMSpropTF {
    /// A running average, as `TensorFlow` computes it.
    fn average<X: Vector>(&self, average: X, new: X) -> X {
        let difference = new.add(average.clone(), -1.0);
        average.add(difference, self.weight)
    }
}

impl Vectorwise for RMSpropTF {
    fn state(&self) -> &[&'static str] {
        &self.names
    }

    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)> {
        let mut state = state.into_iter();
        let mut next = || state.next().ok_or_else(|| invalid("a state of RMSpropTF lacks a tensor"));
        let param = match self.keep {
            Some(keep) => param.mul(keep),
            None => param,
        };
        let grad = if self.l2 == 0.0 { grad } else { grad.add(param.clone(), self.l2) };
        let square_avg = self.average(next()?, grad.clone().mul_by(grad.clone()));
        let buffer = if self.momentum > 0.0 { Some(next()?) } else { None };
        let grad_avg = if self.centered { Some(self.average(next()?, grad.clone())) } else { None };
        let variance = match &grad_avg {
            Some(grad_avg) => square_avg.clone().addcmul(grad_avg.clone(), grad_avg.clone(), -1.0),
            None => square_avg.clone(),
        };
        let root = variance.add_scalar(self.eps).sqrt();
        let mut after = vec![square_avg];
        let cautiously = |buffer: X, grad: X| if self.caution { cautious(buffer, grad) } else { Ok(buffer) };
        let param = match buffer {
            None => param.addcdiv(grad, root, -self.lr),
            Some(buffer) => {
                let (share, rate) = if self.lr_in_momentum { (self.lr, 1.0) } else { (1.0, self.lr) };
                let buffer = buffer.mul(self.momentum).addcdiv(grad.clone(), root, share);
                after.push(buffer.clone());
                param.add(cautiously(buffer, grad)?, -rate)
            }
        };
        after.extend(grad_avg);
        Ok((param, after))
    }
}
