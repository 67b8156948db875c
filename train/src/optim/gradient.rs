//! `Gradient`: what almost every optimizer of `torch.optim` does to a gradient before its own formula: `maximize` turns it
//! around, and weights decay, through it or by themselves.

use rekindle_recorder::Result;

use super::number::Number;
use crate::attributes::Attributes;
use crate::number::Number as Scalar;

/// What a group's `maximize`, `weight_decay` and `decoupled_weight_decay` do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradient {
    maximize: bool,
    /// Weight decay that goes through the gradient; 0 for none.
    l2: f64,
    /// What is left of a weight when it has decayed by itself.
    keep: f64,
}

impl Gradient {
    /// By a group's entries; `decoupled_weight_decay` is false where the optimizer has no such entry.
    pub(crate) fn of(group: &Attributes) -> Result<Self> {
        let decoupled = group.is_set("decoupled_weight_decay")?;
        let weight_decay = group.float("weight_decay")?;
        Ok(Gradient {
            maximize: group.flag("maximize")?,
            l2: if decoupled { 0.0 } else { weight_decay },
            keep: if decoupled { (1.0 - Scalar::of(group, "lr")? * weight_decay).value() } else { 1.0 },
        })
    }

    /// The parameter, decayed, and the gradient to go on with.
    #[inline(always)]
    pub(crate) fn apply<X: Number>(self, param: X, grad: X) -> (X, X) {
        let grad = if self.maximize { grad.neg() } else { grad };
        // Multiplying by 1 changes nothing, adding 0 times a weight may: a zero's sign, an infinite weight.
        let param = param.mul(self.keep);
        let grad = if self.l2 == 0.0 { grad } else { grad.add(param.clone(), self.l2) };
        (param, grad)
    }
}
