//! `torch.optim.Adagrad`: steps divided by the root of the sum of all squared gradients so far.

use burn::module::Module;
use rekindle_recorder::{Result, Value};

use super::Optimizer;
use super::elementwise::{Elementwise, Kernel, Update};
use super::gradient::Gradient;
use super::group::{Hyperparameters, ParamGroup, check};
use super::number::Number;
use super::rule::{OptimizerKind, Rule};
use super::sgd::zero_or;
use super::state::ParamState;
use crate::attributes::Attributes;

/// The options of `torch.optim.Adagrad`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdagradOptions {
    /// Learning rate. Default 1e-2.
    pub lr: f64,
    /// The learning rate is divided by one plus this times the steps made before. Default 0.
    pub lr_decay: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// What the sums start from; a group cannot have one of its own. Default 0.
    pub initial_accumulator_value: f64,
    /// Added to the denominator. Default 1e-10.
    pub eps: f64,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for AdagradOptions {
    fn default() -> Self {
        AdagradOptions {
            lr: 1e-2,
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

impl From<AdagradOptions> for Hyperparameters {
    fn from(options: AdagradOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::Adagrad,
            [
                ("lr", options.lr.into()),
                ("lr_decay", zero_or(options.lr_decay)),
                ("eps", options.eps.into()),
                ("weight_decay", zero_or(options.weight_decay)),
                ("initial_accumulator_value", zero_or(options.initial_accumulator_value)),
                ("foreach", Value::None),
                ("maximize", options.maximize.into()),
                ("differentiable", false.into()),
                ("fused", Value::None),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.Adagrad(model.parameters(), ...)`. Its state is there before the first step.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn adagrad<M: Module>(model: &M, options: AdagradOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct Adagrad;

impl Rule for Adagrad {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Adagrad
    }

    fn complete(&self, group: &mut Attributes) {
        group.set_default("foreach", Value::None);
        group.set_default("maximize", false);
        group.set_default("differentiable", false);
        group.set_default("fused", Value::None);
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        for name in ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"] {
            check(group, name, |x| x >= 0.0, "at least 0")?;
        }
        Ok(())
    }

    fn moments(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn begin(&self, defaults: &Attributes, state: &mut ParamState) -> Result<()> {
        state.scalar("step", 0.0);
        state.moment_of("sum", defaults.float("initial_accumulator_value")?);
        Ok(())
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        let step = state.count("step")?;
        let kernel = AdagradKernel {
            gradient: Gradient::of(group)?,
            eps: group.float("eps")?,
            minus_clr: -(group.float("lr")? / (1.0 + (step - 1.0) * group.float("lr_decay")?)),
        };
        Ok(Box::new(Elementwise { state: ["sum"], kernel }))
    }
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
