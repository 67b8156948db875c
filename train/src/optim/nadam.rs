//! `torch.optim.NAdam`: Adam with Nesterov's momentum, whose schedule is part of the state.

use super::prelude::*;

options! {
    /// The options of `torch.optim.NAdam`, with its defaults.
    NAdamOptions {
        /// Learning rate. Default 2e-3.
        lr: f64 = 2e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// How fast the momentum grows from half of `betas.0` to all of it. Default 4e-3.
        momentum_decay: f64 = 4e-3;
        /// Let weights decay by themselves, as AdamW does, rather than through the gradient. Default false.
        decoupled_weight_decay: bool = false;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "foreach" = Value::None;
        "capturable" = false;
        "differentiable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["maximize", "foreach", "capturable", "differentiable", "decoupled_weight_decay"],
    ranges: &[
        Range::at_least_0(&["lr", "eps", "weight_decay"]),
        Range::decay(&["betas"]),
        Range::at_least_0(&["momentum_decay"]),
    ],
    scalars: &["step", "mu_product"],
    moments: &["exp_avg", "exp_avg_sq"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    if state.is_empty() {
        state.scalar("step", 0.0);
        state.scalar("mu_product", 1.0);
        state.moment("exp_avg");
        state.moment("exp_avg_sq");
    }
    let step = state.count("step")?;
    let (beta1, beta2) = group.pair("betas")?;
    let (lr, momentum_decay) = (Scalar::of(group, "lr")?, group.float("momentum_decay")?);
    let mu = |step: f64| beta1 * (1.0 - 0.5 * 0.96_f64.powf(step * momentum_decay));
    let (mu, mu_next) = (mu(step), mu(step + 1.0));
    let mu_product = state.scale("mu_product", mu)?;
    let kernel = NAdamKernel {
        gradient: Gradient::of(group)?,
        weight1: 1.0 - beta1,
        beta2,
        weight2: 1.0 - beta2,
        eps: group.float("eps")?,
        bias_correction2: 1.0 - beta2.powf(step),
        of_grad: (-lr * (1.0 - mu) / (1.0 - mu_product)).value(),
        of_exp_avg: (-lr * mu_next / (1.0 - mu_product * mu_next)).value(),
    };
    Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
}

/// `_single_tensor_nadam` of `torch/optim/nadam.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct NAdamKernel {
    gradient: Gradient,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    eps: f64,
    bias_correction2: f64,
    /// How far the parameter goes along the gradient, and along its average.
    of_grad: f64,
    of_exp_avg: f64,
}

impl Kernel<2> for NAdamKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad.clone(), self.weight2);
        let denominator = exp_avg_sq.clone().div(self.bias_correction2).sqrt().add_scalar(self.eps);
        let param = param.addcdiv(grad, denominator.clone(), self.of_grad);
        let param = param.addcdiv(exp_avg.clone(), denominator, self.of_exp_avg);
        (param, [exp_avg, exp_avg_sq])
    }
}
