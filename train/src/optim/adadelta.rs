//! `torch.optim.Adadelta`: steps as large as the steps before were, divided by the magnitude of the gradient.

use super::prelude::*;

options! {
    /// The options of `torch.optim.Adadelta`, with its defaults.
    AdadeltaOptions {
        /// What a step is multiplied by. Default 1.
        lr: f64 = 1.0;
        /// How much of the running averages of the squared gradient and step stays at each step. Default 0.9.
        rho: f64 = 0.9;
        /// Added to the averages before their roots are taken. Default 1e-6.
        eps: f64 = 1e-6;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "capturable" = false;
        "foreach" = Value::None;
        "differentiable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    ranges: &[
        Range::at_least_0(&["lr", "eps", "weight_decay"]),
        Range::new(&["rho"], |x| (0.0..=1.0).contains(&x), "at least 0 and at most 1"),
    ],
    moments: MOMENTS,
    ..Rule::new(prepare)
};

const MOMENTS: &[&str] = &["square_avg", "acc_delta"];

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    state.step(MOMENTS)?;
    let rho = group.float("rho")?;
    let kernel = AdadeltaKernel {
        gradient: Gradient::of(group)?,
        rho,
        weight: 1.0 - rho,
        eps: group.float("eps")?,
        minus_lr: -group.float("lr")?,
    };
    Ok(Box::new(Elementwise { state: ["square_avg", "acc_delta"], kernel }))
}

/// `_single_tensor_adadelta` of `torch/optim/adadelta.py`.
#[derive(Clone, Copy, Debug)]
struct AdadeltaKernel {
    gradient: Gradient,
    rho: f64,
    /// 1 - rho.
    weight: f64,
    eps: f64,
    minus_lr: f64,
}

impl Kernel<2> for AdadeltaKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [square_avg, acc_delta]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let square_avg = square_avg.mul(self.rho).addcmul(grad.clone(), grad.clone(), self.weight);
        let std = square_avg.clone().add_scalar(self.eps).sqrt();
        let delta = acc_delta.clone().add_scalar(self.eps).sqrt().div_by(std).mul_by(grad);
        let acc_delta = acc_delta.mul(self.rho).addcmul(delta.clone(), delta.clone(), self.weight);
        (param.add(delta, self.minus_lr), [square_avg, acc_delta])
    }
}
