//! `torch.optim.Adam` and the formula it shares with [`AdamW`](super::adamw): they differ in how weights decay.

use super::prelude::*;

options! {
    /// The options of `torch.optim.Adam`, with its defaults.
    AdamOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Divide by the largest average of squares so far (AMSGrad). Default false.
        amsgrad: bool = false;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "foreach" = Value::None;
        "capturable" = false;
        "differentiable" = false;
        "fused" = Value::None;
        /// Let weights decay by themselves, as AdamW does, rather than through the gradient. Default false.
        decoupled_weight_decay: bool = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["amsgrad", "maximize", "foreach", "capturable", "differentiable", "decoupled_weight_decay", "fused"],
    ranges: RANGES,
    moments: &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    needs: Some(needs),
    ..Rule::new(prepare)
};

/// The ranges of Adam and its relatives.
pub(super) const RANGES: &[Range] = &[Range::at_least_0(&["lr", "eps", "weight_decay"]), Range::decay(&["betas"])];

fn needs(group: &Attributes) -> Result<Vec<&'static str>> {
    let all = ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
    Ok(if group.flag("amsgrad")? { all.to_vec() } else { all[..3].to_vec() })
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let amsgrad = group.flag("amsgrad")?;
    let step = state.step(&needs(group)?[1..])?;
    let (beta1, beta2) = Scalar::pair(group, "betas")?;
    let kernel = AdamKernel {
        gradient: Gradient::of(group)?,
        // In the parameter's type, for https://github.com/pytorch/pytorch/issues/140601.
        weight1: (1.0 - beta1.to(state.is_double())).value(),
        beta2: beta2.value(),
        weight2: (1.0 - beta2).value(),
        eps: group.float("eps")?,
        // (1 - beta2 ** step) ** 0.5
        bias_correction2_sqrt: (1.0 - beta2.pow(step)).pow(0.5).value(),
        minus_step_size: -(Scalar::of(group, "lr")? / (1.0 - beta1.pow(step))).value(),
    };
    if amsgrad {
        return Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"], kernel }));
    }
    Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
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
