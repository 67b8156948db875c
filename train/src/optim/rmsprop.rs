//! `torch.optim.RMSprop`: steps divided by a running average of the gradient's magnitude, centered or not, with momentum.

use burn::module::Module;
use rekindle_recorder::{Result, Value};

use super::Optimizer;
use super::elementwise::{Elementwise, Kernel, Update};
use super::gradient::Gradient;
use super::group::{Hyperparameters, ParamGroup, check};
use super::number::Number;
use super::rule::{OptimizerKind, Rule, complete};
use super::sgd::zero_or;
use super::state::ParamState;
use crate::attributes::Attributes;

/// The options of `torch.optim.RMSprop`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RMSpropOptions {
    /// Learning rate. Default 1e-2.
    pub lr: f64,
    /// How much of the running averages stays at each step. Default 0.99.
    pub alpha: f64,
    /// Added to the denominator. Default 1e-8.
    pub eps: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// How much of the previous update goes into the next. Default 0.
    pub momentum: f64,
    /// Divide by the gradient's deviation from its average rather than by its magnitude. Default false.
    pub centered: bool,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for RMSpropOptions {
    fn default() -> Self {
        RMSpropOptions {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

impl From<RMSpropOptions> for Hyperparameters {
    fn from(options: RMSpropOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::RMSprop,
            [
                ("lr", options.lr.into()),
                ("momentum", zero_or(options.momentum)),
                ("alpha", options.alpha.into()),
                ("eps", options.eps.into()),
                ("centered", options.centered.into()),
                ("weight_decay", zero_or(options.weight_decay)),
                ("capturable", false.into()),
                ("foreach", Value::None),
                ("maximize", options.maximize.into()),
                ("differentiable", false.into()),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.RMSprop(model.parameters(), ...)`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn rmsprop<M: Module>(model: &M, options: RMSpropOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct RMSprop;

impl Rule for RMSprop {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::RMSprop
    }

    fn complete(&self, group: &mut Attributes) {
        group.set_default("momentum", 0);
        group.set_default("centered", false);
        complete(group);
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        for name in ["lr", "eps", "momentum", "weight_decay", "alpha"] {
            check(group, name, |x| x >= 0.0, "at least 0")?;
        }
        Ok(())
    }

    fn moments(&self) -> &'static [&'static str] {
        &["square_avg", "momentum_buffer", "grad_avg"]
    }

    fn needs(&self, group: &Attributes) -> Result<Vec<&'static str>> {
        let mut names = vec!["step", "square_avg"];
        if group.float("momentum")? > 0.0 {
            names.push("momentum_buffer");
        }
        if group.flag("centered")? {
            names.push("grad_avg");
        }
        Ok(names)
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        let momentum = group.float("momentum")?;
        let (has_momentum, centered) = (momentum > 0.0, group.flag("centered")?);
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("square_avg");
            if has_momentum {
                state.moment("momentum_buffer");
            }
            if centered {
                state.moment("grad_avg");
            }
        }
        state.count("step")?;
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
