//! `torch.optim.Adam` and the formula it shares with [`AdamW`](super::adamw): they differ in how weights decay.

use rekindle_recorder::{Result, Value};

use super::elementwise::{Elementwise, Kernel, Update};
use super::gradient::Gradient;
use super::group::{Hyperparameters, ParamGroup, check};
use super::number::Number;
use super::rule::{OptimizerKind, Rule};
use super::sgd::zero_or;
use super::state::ParamState;
use crate::attributes::Attributes;

/// The options of `torch.optim.Adam`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// Learning rate. Default 1e-3.
    pub lr: f64,
    /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator. Default 1e-8.
    pub eps: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// Divide by the largest average of squares so far (AMSGrad). Default false.
    pub amsgrad: bool,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
    /// Let weights decay by themselves, as AdamW does, rather than through the gradient. Default false.
    pub decoupled_weight_decay: bool,
}

impl Default for AdamOptions {
    fn default() -> Self {
        AdamOptions {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
            decoupled_weight_decay: false,
        }
    }
}

impl From<AdamOptions> for Hyperparameters {
    fn from(options: AdamOptions) -> Self {
        Hyperparameters::new(OptimizerKind::Adam, group(&options, zero_or(options.weight_decay)))
    }
}

/// A group's entries, in PyTorch's order.
pub(super) fn group(options: &AdamOptions, weight_decay: Value) -> [(&'static str, Value); 11] {
    [
        ("lr", options.lr.into()),
        ("betas", Value::tuple([options.betas.0.into(), options.betas.1.into()])),
        ("eps", options.eps.into()),
        ("weight_decay", weight_decay),
        ("amsgrad", options.amsgrad.into()),
        ("maximize", options.maximize.into()),
        ("foreach", Value::None),
        ("capturable", false.into()),
        ("differentiable", false.into()),
        ("fused", Value::None),
        ("decoupled_weight_decay", options.decoupled_weight_decay.into()),
    ]
}

#[derive(Debug)]
pub(crate) struct Adam;

impl Rule for Adam {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Adam
    }

    fn complete(&self, group: &mut Attributes) {
        for name in ["amsgrad", "maximize"] {
            group.set_default(name, false);
        }
        group.set_default("foreach", Value::None);
        for name in ["capturable", "differentiable", "decoupled_weight_decay"] {
            group.set_default(name, false);
        }
        group.set_default("fused", Value::None);
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        for name in ["lr", "eps", "weight_decay"] {
            check(group, name, |x| x >= 0.0, "at least 0")?;
        }
        check(group, "betas", |x| (0.0..1.0).contains(&x), "at least 0 and less than 1")
    }

    fn moments(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    }

    fn needs(&self, group: &Attributes) -> Result<Vec<&'static str>> {
        let all = ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        Ok(if group.flag("amsgrad")? { all.to_vec() } else { all[..3].to_vec() })
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        let amsgrad = group.flag("amsgrad")?;
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("exp_avg");
            state.moment("exp_avg_sq");
            if amsgrad {
                state.moment("max_exp_avg_sq");
            }
        }
        let step = state.count("step")?;
        let (beta1, beta2) = group.pair("betas")?;
        let kernel = AdamKernel {
            gradient: Gradient::of(group)?,
            weight1: 1.0 - beta1,
            beta2,
            weight2: 1.0 - beta2,
            eps: group.float("eps")?,
            // (1 - beta2 ** step) ** 0.5
            bias_correction2_sqrt: (1.0 - beta2.powf(step)).powf(0.5),
            minus_step_size: -(group.float("lr")? / (1.0 - beta1.powf(step))),
        };
        if amsgrad {
            return Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"], kernel }));
        }
        Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
    }
}

/// `_single_tensor_adam` of `torch/optim/adam.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct AdamKernel {
    gradient: Gradient,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    eps: f64,
    bias_correction2_sqrt: f64,
    minus_step_size: f64,
}

impl AdamKernel {
    /// Gives the new parameter, `exp_avg`, `exp_avg_sq`, and the largest average of squares so far.
    #[inline(always)]
    fn step<X: Number>(self, param: X, grad: X, exp_avg: X, exp_avg_sq: X, max: Option<X>) -> (X, X, X, X) {
        let (param, grad) = self.gradient.apply(param, grad);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad, self.weight2);
        let squares = match max {
            Some(max) => max.maximum(exp_avg_sq.clone()),
            None => exp_avg_sq.clone(),
        };
        let denominator = squares.clone().sqrt().div(self.bias_correction2_sqrt).add_scalar(self.eps);
        let param = param.addcdiv(exp_avg.clone(), denominator, self.minus_step_size);
        (param, exp_avg, exp_avg_sq, squares)
    }
}

impl Kernel<2> for AdamKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let (param, exp_avg, exp_avg_sq, _) = self.step(param, grad, exp_avg, exp_avg_sq, None);
        (param, [exp_avg, exp_avg_sq])
    }
}

impl Kernel<3> for AdamKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq, max]: [X; 3]) -> (X, [X; 3]) {
        let (param, exp_avg, exp_avg_sq, max) = self.step(param, grad, exp_avg, exp_avg_sq, Some(max));
        (param, [exp_avg, exp_avg_sq, max])
    }
}
