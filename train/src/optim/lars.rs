//! `timm.optim.Lars`: SGD whose gradients are scaled, parameter by parameter, to the norm of the weights.

use super::prelude::*;

options! {
    /// The options of `timm.optim.Lars`, with its defaults.
    LarsOptions {
        /// Learning rate. Default 1.
        lr: f64 = 1.0;
        /// How much of the previous update goes into the next. Default 0.
        momentum: f64 = 0.0 => zero_or;
        /// How much of the gradient does not go into the momentum, from the second step on. Default 0.
        dampening: f64 = 0.0 => zero_or;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Nesterov's momentum. Default false.
        nesterov: bool = false;
        /// How large a gradient is made, as a part of the norm of the weights. Default 1e-3.
        trust_coeff: f64 = 1e-3;
        /// Added to the denominator of the ratio of norms. Default 1e-8.
        eps: f64 = 1e-8;
        /// Make no rate larger than `lr` (LARC). Default false.
        trust_clip: bool = false;
        /// Scale where weights do not decay, too. Default false.
        always_adapt: bool = false;
        "foreach" = Value::None;
    }
}

const MOMENTUM_BUFFER: &str = "momentum_buffer";

pub(super) const RULE: Rule = Rule {
    gained: &["nesterov", "foreach"],
    ranges: &[Range::at_least_0(&["lr", "momentum", "weight_decay"])],
    check: |group| {
        if group.flag("nesterov")? && (group.float("momentum")? <= 0.0 || group.float("dampening")? != 0.0) {
            return Err(invalid("Nesterov momentum requires a momentum and zero dampening"));
        }
        group.flag("trust_clip").and(group.flag("always_adapt")).map(drop)
    },
    scalars: &[],
    moments: &[MOMENTUM_BUFFER],
    needs: Some(|_| Ok(Vec::new())),
    view: View::Whole,
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let momentum = group.float("momentum")?;
    let first = !state.has_tensor(MOMENTUM_BUFFER);
    if momentum != 0.0 {
        state.whole(MOMENTUM_BUFFER, state.shape().to_vec());
    }
    let (weight_decay, always) = (group.float("weight_decay")?, group.flag("always_adapt")?);
    Ok(Box::new(Whole(Lars {
        adapts: if weight_decay != 0.0 || always { Some(Trust::of(group)?) } else { None },
        minus_lr: -group.float("lr")?,
        momentum,
        undamped: 1.0 - group.float("dampening")?,
        nesterov: group.flag("nesterov")?,
        first,
    })))
}

/// `_single_tensor_lars` of `timm/optim/lars.py`.
#[derive(Debug)]
struct Lars {
    adapts: Option<Trust>,
    minus_lr: f64,
    momentum: f64,
    /// 1 - dampening.
    undamped: f64,
    nesterov: bool,
    /// No step was made yet: the buffer begins as the gradient, undamped.
    first: bool,
}

/// What a gradient is scaled by.
#[derive(Clone, Copy, Debug)]
struct Trust {
    weight_decay: f64,
    coefficient: f64,
    eps: f64,
    /// The learning rate, where no rate is to be larger.
    clip: Option<f64>,
}

impl Trust {
    fn of(group: &Attributes) -> Result<Self> {
        Ok(Trust {
            weight_decay: group.float("weight_decay")?,
            coefficient: group.float("trust_coeff")?,
            eps: group.float("eps")?,
            clip: if group.flag("trust_clip")? { Some(group.float("lr")?) } else { None },
        })
    }

    /// `_lars_trust_ratio`, of tensors of no dimensions.
    fn ratio<X: Vector>(&self, param: &X, grad: &X) -> Result<f64> {
        let (w_norm, g_norm) = (param.norm()?, grad.norm()?);
        let (round, factor) = (|number| param.round(number), |number| param.factor(number));
        let mut ratio = 1.0;
        if w_norm > 0.0 && g_norm > 0.0 {
            let below = round(round(g_norm + round(w_norm * factor(self.weight_decay))) + round(self.eps));
            ratio = round(round(factor(self.coefficient) * w_norm) / below);
        }
        Ok(self.clip.map_or(ratio, |lr| round(ratio / factor(lr)).min(1.0)))
    }
}

impl Vectorwise for Lars {
    fn state(&self) -> &[&'static str] {
        if self.momentum == 0.0 { &[] } else { &[MOMENTUM_BUFFER] }
    }

    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)> {
        let grad = match self.adapts {
            Some(trust) => {
                let ratio = trust.ratio(&param, &grad)?;
                grad.add(param.clone(), trust.weight_decay).mul(ratio)
            }
            None => grad,
        };
        if self.momentum == 0.0 {
            return Ok((param.add(grad, self.minus_lr), state));
        }
        let [buffer] = state_of(state)?;
        let buffer = if self.first { grad.clone() } else { buffer.mul(self.momentum).add(grad.clone(), self.undamped) };
        let direction = if self.nesterov { grad.add(buffer.clone(), self.momentum) } else { buffer.clone() };
        Ok((param.add(direction, self.minus_lr), vec![buffer]))
    }
}
