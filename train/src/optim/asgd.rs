//! `torch.optim.ASGD`: gradient descent whose learning rate falls, and whose weights are averaged from some step on.

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

/// The options of `torch.optim.ASGD`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AsgdOptions {
    /// Learning rate. Default 1e-2.
    pub lr: f64,
    /// Part of a weight, times the present learning rate, that is taken off it at each step. Default 1e-4.
    pub lambd: f64,
    /// The power by which the learning rate falls. Default 0.75.
    pub alpha: f64,
    /// The step after which weights are averaged. Default 1e6.
    pub t0: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for AsgdOptions {
    fn default() -> Self {
        AsgdOptions { lr: 1e-2, lambd: 1e-4, alpha: 0.75, t0: 1e6, weight_decay: 0.0, maximize: false }
    }
}

impl From<AsgdOptions> for Hyperparameters {
    fn from(options: AsgdOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::Asgd,
            [
                ("lr", options.lr.into()),
                ("lambd", options.lambd.into()),
                ("alpha", options.alpha.into()),
                ("t0", options.t0.into()),
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
    /// `torch.optim.ASGD(model.parameters(), ...)`. The averaged weights are in its state, as `ax`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn asgd<M: Module>(model: &M, options: AsgdOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct Asgd;

impl Rule for Asgd {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Asgd
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        for name in ["lr", "lambd", "alpha", "weight_decay"] {
            check(group, name, |x| x >= 0.0, "at least 0")?;
        }
        Ok(())
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["step", "eta", "mu"]
    }

    fn moments(&self) -> &'static [&'static str] {
        &["ax"]
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        let lr = group.float("lr")?;
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.scalar("eta", lr);
            state.scalar("mu", 1.0);
            state.moment("ax");
        }
        let step = state.count("step")?;
        let (lambd, alpha, t0) = (group.float("lambd")?, group.float("alpha")?, group.float("t0")?);
        // This step goes by what the last one left, the next by what is set here.
        let eta = state.copy("eta", lr / (1.0 + lambd * lr * step).powf(alpha))?;
        let mu = state.copy("mu", 1.0 / f64::max(1.0, step - t0))?;
        let kernel = AsgdKernel { gradient: Gradient::of(group)?, keep: 1.0 - lambd * eta, minus_eta: -eta, mu };
        Ok(Box::new(Elementwise { state: ["ax"], kernel }))
    }
}

/// `_single_tensor_asgd` of `torch/optim/asgd.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct AsgdKernel {
    gradient: Gradient,
    /// 1 - lambd * eta.
    keep: f64,
    minus_eta: f64,
    /// How much of the way to the weights their average goes.
    mu: f64,
}

impl Kernel<1> for AsgdKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [ax]: [X; 1]) -> (X, [X; 1]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let param = param.mul(self.keep).add(grad, self.minus_eta);
        let ax = if self.mu == 1.0 {
            param.clone()
        } else {
            let way = param.clone().add(ax.clone(), -1.0).mul(self.mu);
            ax.add(way, 1.0)
        };
        (param, [ax])
    }
}
