//! `torch.optim.Adagrad`: steps divided by the root of the sum of all squared gradients so far.

use super::prelude::*;

options! {
    /// The options of `torch.optim.Adagrad`, with its defaults. Its state is there before the first step.
    AdagradOptions {
        /// Learning rate. Default 1e-2.
        lr: f64 = 1e-2;
        /// The learning rate is divided by one plus this times the steps made before. Default 0.
        lr_decay: f64 = 0.0 => zero_or;
        /// Added to the denominator. Default 1e-10.
        eps: f64 = 1e-10;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// What the sums start from; a group cannot have one of its own. Default 0.
        initial_accumulator_value: f64 = 0.0 => zero_or;
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "differentiable" = false;
        "fused" = Value::None;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["foreach", "maximize", "differentiable", "fused"],
    ranges: &[Range::at_least_0(&["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"])],
    moments: &["sum"],
    begin: |defaults, state| {
        state.scalar("step", 0.0);
        state.moment_of("sum", defaults.float("initial_accumulator_value")?);
        Ok(())
    },
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let step = state.count("step")?;
    let kernel = AdagradKernel {
        gradient: Gradient::of(group)?,
        eps: group.float("eps")?,
        minus_clr: -(Scalar::of(group, "lr")? / (1.0 + (step - 1.0) * group.float("lr_decay")?)).value(),
    };
    Ok(Box::new(Elementwise { state: ["sum"], kernel }))
}

/// `_single_tensor_adagrad` of `torch/optim/adagrad.py`.
#[derive(Clone, Copy, Debug)]
struct AdagradKernel {
    gradient: Gradient,
    eps: f64,
    minus_clr: f64,
}

impl Kernel<1> for AdagradKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [sum]: [X; 1]) -> (X, [X; 1]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let sum = sum.addcmul(grad.clone(), grad.clone(), 1.0);
        let std = sum.clone().sqrt().add_scalar(self.eps);
        (param.addcdiv(grad, std, self.minus_clr), [sum])
    }
}
