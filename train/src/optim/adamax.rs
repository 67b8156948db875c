//! `torch.optim.Adamax`: Adam by the infinity norm. Steps are divided by the largest gradient so far, which fades.

use burn::module::Module;
use rekindle_recorder::{Result, Value};

use super::Optimizer;
use super::adam::Adam;
use super::elementwise::{Elementwise, Kernel, Update};
use super::gradient::Gradient;
use super::group::{Hyperparameters, ParamGroup};
use super::number::Number;
use super::rule::{OptimizerKind, Rule};
use super::sgd::zero_or;
use super::state::ParamState;
use crate::attributes::Attributes;

/// The options of `torch.optim.Adamax`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamaxOptions {
    /// Learning rate. Default 2e-3.
    pub lr: f64,
    /// How much of the running average of the gradient and of its largest magnitude stays at each step. Default
    /// (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the gradient's magnitude. Default 1e-8.
    pub eps: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for AdamaxOptions {
    fn default() -> Self {
        AdamaxOptions { lr: 2e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, maximize: false }
    }
}

impl From<AdamaxOptions> for Hyperparameters {
    fn from(options: AdamaxOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::Adamax,
            [
                ("lr", options.lr.into()),
                ("betas", Value::tuple([options.betas.0.into(), options.betas.1.into()])),
                ("eps", options.eps.into()),
                ("weight_decay", zero_or(options.weight_decay)),
                ("foreach", Value::None),
                ("maximize", options.maximize.into()),
                ("differentiable", false.into()),
                ("capturable", false.into()),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.Adamax(model.parameters(), ...)`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn adamax<M: Module>(model: &M, options: AdamaxOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct Adamax;

impl Rule for Adamax {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Adamax
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        Adam.check(group)
    }

    fn moments(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_inf"]
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("exp_avg");
            state.moment("exp_inf");
        }
        let step = state.count("step")?;
        let (beta1, beta2) = group.pair("betas")?;
        let kernel = AdamaxKernel {
            gradient: Gradient::of(group)?,
            weight1: 1.0 - beta1,
            beta2,
            eps: group.float("eps")?,
            minus_clr: -(group.float("lr")? / (1.0 - beta1.powf(step))),
        };
        Ok(Box::new(Elementwise { state: ["exp_avg", "exp_inf"], kernel }))
    }
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
