//! `lion_pytorch.Lion`: steps of one size, by the sign of an average of gradients.

use super::prelude::*;

options! {
    /// The options of `lion_pytorch.Lion`, with its defaults.
    ///
    /// Its `decoupled_weight_decay` divides the weight decay by the learning rate it was made with, and is in no file: give the
    /// quotient as `weight_decay`.
    LionOptions {
        /// Learning rate. Default 1e-4.
        lr: f64 = 1e-4;
        /// How much of the average of gradients goes into the update, and how much of it stays at each step. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99);
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.
        weight_decay: f64 = 0.0;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[Range::at_least_0(&["lr"]), Range::new(&["betas"], |x| (0.0..=1.0).contains(&x), "between 0 and 1")],
    check: |group| group.float("weight_decay").map(drop),
    scalars: &[],
    moments: &["exp_avg"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    state.moment("exp_avg");
    let (beta1, beta2) = group.pair("betas")?;
    let lr = group.float("lr")?;
    let kernel = LionKernel {
        keep: 1.0 - lr * group.float("weight_decay")?,
        beta1,
        weight1: 1.0 - beta1,
        beta2,
        weight2: 1.0 - beta2,
        minus_lr: -lr,
    };
    Ok(Box::new(Elementwise { state: ["exp_avg"], kernel }))
}

/// `update_fn` of `lion_pytorch/lion_pytorch.py`.
#[derive(Clone, Copy, Debug)]
struct LionKernel {
    /// What is left of a weight when it has decayed.
    keep: f64,
    beta1: f64,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    minus_lr: f64,
}

impl Kernel<1> for LionKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg]: [X; 1]) -> (X, [X; 1]) {
        let param = param.mul(self.keep);
        let update = exp_avg.clone().mul(self.beta1).add(grad.clone(), self.weight1).by_sign(-1.0, 0.0, 1.0);
        (param.add(update, self.minus_lr), [exp_avg.mul(self.beta2).add(grad, self.weight2)])
    }
}
