//! `torch.optim.Adamax`: Adam by the infinity norm. Steps are divided by the largest gradient so far, which fades.

use super::adam::RANGES;
use super::prelude::*;

options! {
    /// The options of `torch.optim.Adamax`, with its defaults.
    AdamaxOptions {
        /// Learning rate. Default 2e-3.
        lr: f64 = 2e-3;
        /// How much of the running average of the gradient and of its largest magnitude stays at each step. Default
        /// (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the gradient's magnitude. Default 1e-8.
        eps: f64 = 1e-8;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "differentiable" = false;
        "capturable" = false;
    }
}

pub(super) const RULE: Rule = Rule { ranges: RANGES, moments: MOMENTS, ..Rule::new(prepare) };

const MOMENTS: &[&str] = &["exp_avg", "exp_inf"];

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let step = state.step(MOMENTS)?;
    let (beta1, beta2) = group.pair("betas")?;
    let kernel = AdamaxKernel {
        gradient: Gradient::of(group)?,
        weight1: 1.0 - beta1,
        beta2,
        eps: group.float("eps")?,
        minus_clr: -(Scalar::of(group, "lr")? / (1.0 - beta1.powf(step))).value(),
    };
    Ok(Box::new(Elementwise { state: ["exp_avg", "exp_inf"], kernel }))
}

/// `_single_tensor_adamax` of `torch/optim/adamax.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct AdamaxKernel {
    gradient: Gradient,
    weight1: f64,
    beta2: f64,
    eps: f64,
    minus_clr: f64,
}

impl Kernel<2> for AdamaxKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_inf]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_inf = exp_inf.mul(self.beta2).maximum(grad.abs().add_scalar(self.eps));
        (param.addcdiv(exp_avg.clone(), exp_inf.clone(), self.minus_clr), [exp_avg, exp_inf])
    }
}
