//! `torch.optim.RAdam`: Adam that leaves the second moment out until enough steps make it trustworthy, and then takes it in
//! by degrees.

use super::adam::RANGES;
use super::prelude::*;

options! {
    /// The options of `torch.optim.RAdam`, with its defaults.
    RAdamOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "foreach" = Value::None;
        "capturable" = false;
        /// Let weights decay by themselves, as AdamW does, rather than through the gradient. Default false.
        decoupled_weight_decay: bool = false;
        "differentiable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["foreach", "maximize", "differentiable", "decoupled_weight_decay", "capturable"],
    ranges: RANGES,
    moments: MOMENTS,
    ..Rule::new(prepare)
};

const MOMENTS: &[&str] = &["exp_avg", "exp_avg_sq"];

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let step = state.step(MOMENTS)?;
    let (beta1, beta2) = group.pair("betas")?;
    let bias_correction2 = 1.0 - beta2.powf(step);
    let kernel = RAdamKernel {
        gradient: Gradient::of(group)?,
        weight1: 1.0 - beta1,
        beta2,
        weight2: 1.0 - beta2,
        eps: group.float("eps")?,
        lr: group.float("lr")?,
        bias_correction1: 1.0 - beta1.powf(step),
        bias_correction2_sqrt: bias_correction2.powf(0.5),
        rectification: rectification(beta2, step, bias_correction2),
    };
    Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
}

/// The variance rectification term; `None` as long as the approximated moving average is not longer than 5.
fn rectification(beta2: f64, step: f64, bias_correction2: f64) -> Option<f64> {
    let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    let rho_t = rho_inf - 2.0 * step * beta2.powf(step) / bias_correction2;
    let square = (rho_t - 4.0) * (rho_t - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho_t);
    (rho_t > 5.0).then(|| square.powf(0.5))
}

/// `_single_tensor_radam` of `torch/optim/radam.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct RAdamKernel {
    gradient: Gradient,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    eps: f64,
    lr: f64,
    bias_correction1: f64,
    bias_correction2_sqrt: f64,
    rectification: Option<f64>,
}

impl Kernel<2> for RAdamKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad, self.weight2);
        let update = exp_avg.clone().div(self.bias_correction1).mul(self.lr);
        let update = match self.rectification {
            Some(rectification) => {
                // A scalar over a tensor is the tensor's reciprocal times the scalar.
                let adaptive = exp_avg_sq.clone().sqrt().add_scalar(self.eps).reciprocal();
                update.mul_by(adaptive.mul(self.bias_correction2_sqrt)).mul(rectification)
            }
            None => update,
        };
        (param.add(update, -1.0), [exp_avg, exp_avg_sq])
    }
}
