//! `torch.optim.Adadelta`: steps as large as the steps before were, divided by the magnitude of the gradient.

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

/// The options of `torch.optim.Adadelta`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdadeltaOptions {
    /// What a step is multiplied by. Default 1.
    pub lr: f64,
    /// How much of the running averages of the squared gradient and step stays at each step. Default 0.9.
    pub rho: f64,
    /// Added to the averages before their roots are taken. Default 1e-6.
    pub eps: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for AdadeltaOptions {
    fn default() -> Self {
        AdadeltaOptions { lr: 1.0, rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

impl From<AdadeltaOptions> for Hyperparameters {
    fn from(options: AdadeltaOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::Adadelta,
            [
                ("lr", options.lr.into()),
                ("rho", options.rho.into()),
                ("eps", options.eps.into()),
                ("weight_decay", zero_or(options.weight_decay)),
                ("maximize", options.maximize.into()),
                ("capturable", false.into()),
                ("foreach", Value::None),
                ("differentiable", false.into()),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.Adadelta(model.parameters(), ...)`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn adadelta<M: Module>(model: &M, options: AdadeltaOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct Adadelta;

impl Rule for Adadelta {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Adadelta
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        for name in ["lr", "eps", "weight_decay"] {
            check(group, name, |x| x >= 0.0, "at least 0")?;
        }
        check(group, "rho", |x| (0.0..=1.0).contains(&x), "at least 0 and at most 1")
    }

    fn moments(&self) -> &'static [&'static str] {
        &["square_avg", "acc_delta"]
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("square_avg");
            state.moment("acc_delta");
        }
        state.count("step")?;
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
