//! `torch.optim.RMSprop`: steps divided by a running average of the gradient's magnitude, centered or not, with momentum.

use super::prelude::*;

options! {
    /// The options of `torch.optim.RMSprop`, with its defaults.
    RMSpropOptions {
        /// Learning rate. Default 1e-2.
        lr: f64 = 1e-2;
        /// How much of the previous update goes into the next. Default 0.
        momentum: f64 = 0.0 => zero_or;
        /// How much of the running averages stays at each step. Default 0.99.
        alpha: f64 = 0.99;
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// Divide by the gradient's deviation from its average rather than by its magnitude. Default false.
        centered: bool = false;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        "capturable" = false;
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "differentiable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["momentum", "centered", "foreach", "maximize", "differentiable", "capturable"],
    ranges: &[Range::at_least_0(&["lr", "eps", "momentum", "weight_decay", "alpha"])],
    moments: &["square_avg", "momentum_buffer", "grad_avg"],
    needs: Some(needs),
    ..Rule::new(prepare)
};

/// What timm's `RMSpropTF` needs, too.
pub(super) fn needs(group: &Attributes) -> Result<Vec<&'static str>> {
    let mut names = vec!["step", "square_avg"];
    if group.float("momentum")? > 0.0 {
        names.push("momentum_buffer");
    }
    if group.flag("centered")? {
        names.push("grad_avg");
    }
    Ok(names)
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let momentum = group.float("momentum")?;
    let (has_momentum, centered) = (momentum > 0.0, group.flag("centered")?);
    state.step(&needs(group)?[1..])?;
    let alpha = group.float("alpha")?;
    let kernel = RMSpropKernel {
        gradient: Gradient::of(group)?,
        alpha,
        weight: 1.0 - alpha,
        eps: group.float("eps")?,
        momentum,
        minus_lr: -group.float("lr")?,
    };
    Ok(match (has_momentum, centered) {
        (false, false) => Box::new(Elementwise { state: ["square_avg"], kernel }),
        (true, false) => Box::new(Elementwise { state: ["square_avg", "momentum_buffer"], kernel }),
        (false, true) => Box::new(Elementwise { state: ["square_avg", "grad_avg"], kernel: Centered(kernel) }),
        (true, true) => {
            Box::new(Elementwise { state: ["square_avg", "momentum_buffer", "grad_avg"], kernel: Centered(kernel) })
        }
    })
}

/// `_single_tensor_rmsprop` of `torch/optim/rmsprop.py`.
#[derive(Clone, Copy, Debug)]
struct RMSpropKernel {
    gradient: Gradient,
    alpha: f64,
    /// 1 - alpha.
    weight: f64,
    eps: f64,
    momentum: f64,
    minus_lr: f64,
}

/// The same with `centered=True`.
#[derive(Clone, Copy, Debug)]
struct Centered(RMSpropKernel);

impl RMSpropKernel {
    #[inline(always)]
    fn square_avg<X: Number>(self, square_avg: X, grad: X) -> X {
        square_avg.mul(self.alpha).addcmul(grad.clone(), grad, self.weight)
    }

    /// The new parameter.
    #[inline(always)]
    fn step<X: Number>(self, param: X, grad: X, variance: X) -> X {
        param.addcdiv(grad, variance.sqrt().add_scalar(self.eps), self.minus_lr)
    }

    /// The new parameter and buffer.
    #[inline(always)]
    fn momentum<X: Number>(self, param: X, grad: X, variance: X, buffer: X) -> (X, X) {
        let buffer = buffer.mul(self.momentum).addcdiv(grad, variance.sqrt().add_scalar(self.eps), 1.0);
        (param.add(buffer.clone(), self.minus_lr), buffer)
    }
}

impl Kernel<1> for RMSpropKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [square_avg]: [X; 1]) -> (X, [X; 1]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let square_avg = self.square_avg(square_avg, grad.clone());
        (self.step(param, grad, square_avg.clone()), [square_avg])
    }
}

impl Kernel<2> for RMSpropKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [square_avg, buffer]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let square_avg = self.square_avg(square_avg, grad.clone());
        let (param, buffer) = self.momentum(param, grad, square_avg.clone(), buffer);
        (param, [square_avg, buffer])
    }
}

impl Centered {
    /// The new averages, and the variance.
    #[inline(always)]
    fn averages<X: Number>(self, grad: X, square_avg: X, grad_avg: X) -> (X, X, X) {
        let square_avg = self.0.square_avg(square_avg, grad.clone());
        let grad_avg = grad_avg.lerp(grad, self.0.weight);
        let variance = square_avg.clone().addcmul(grad_avg.clone(), grad_avg.clone(), -1.0);
        (square_avg, grad_avg, variance)
    }
}

impl Kernel<2> for Centered {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [square_avg, grad_avg]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.0.gradient.apply(param, grad);
        let (square_avg, grad_avg, variance) = self.averages(grad.clone(), square_avg, grad_avg);
        (self.0.step(param, grad, variance), [square_avg, grad_avg])
    }
}

impl Kernel<3> for Centered {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [square_avg, buffer, grad_avg]: [X; 3]) -> (X, [X; 3]) {
        let (param, grad) = self.0.gradient.apply(param, grad);
        let (square_avg, grad_avg, variance) = self.averages(grad.clone(), square_avg, grad_avg);
        let (param, buffer) = self.0.momentum(param, grad, variance, buffer);
        (param, [square_avg, buffer, grad_avg])
    }
}
