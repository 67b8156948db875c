//! `torch.optim.Rprop`: each weight has a step size of its own, which grows while its gradient keeps its sign and shrinks
//! when it turns.

use burn::module::Module;
use rekindle_recorder::{Result, Value};

use super::Optimizer;
use super::elementwise::{Elementwise, Kernel, Update};
use super::group::{Hyperparameters, ParamGroup, check};
use super::number::Number;
use super::rule::{OptimizerKind, Rule};
use super::state::ParamState;
use crate::attributes::{Attributes, invalid};

/// The options of `torch.optim.Rprop`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RpropOptions {
    /// What step sizes start from. Default 1e-2.
    pub lr: f64,
    /// What a step size is multiplied by where the gradient turned, and where it did not. Default (0.5, 1.2).
    pub etas: (f64, f64),
    /// The smallest and the largest step size. Default (1e-6, 50).
    pub step_sizes: (f64, f64),
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for RpropOptions {
    fn default() -> Self {
        RpropOptions { lr: 1e-2, etas: (0.5, 1.2), step_sizes: (1e-6, 50.0), maximize: false }
    }
}

impl From<RpropOptions> for Hyperparameters {
    fn from(options: RpropOptions) -> Self {
        let (min, max) = options.step_sizes;
        // PyTorch spells this default as an `int`.
        let max = if max == 50.0 { Value::Int(50) } else { max.into() };
        Hyperparameters::new(
            OptimizerKind::Rprop,
            [
                ("lr", options.lr.into()),
                ("etas", Value::tuple([options.etas.0.into(), options.etas.1.into()])),
                ("step_sizes", Value::tuple([min.into(), max])),
                ("foreach", Value::None),
                ("maximize", options.maximize.into()),
                ("differentiable", false.into()),
                ("capturable", false.into()),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.Rprop(model.parameters(), ...)`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn rprop<M: Module>(model: &M, options: RpropOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct Rprop;

impl Rule for Rprop {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::Rprop
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        check(group, "lr", |x| x >= 0.0, "at least 0")?;
        let (minus, plus) = group.pair("etas")?;
        if 0.0 < minus && minus < 1.0 && 1.0 < plus {
            return Ok(());
        }
        Err(invalid(format!("etas must be between 0 and 1 and above 1, and are {minus} and {plus}")))
    }

    fn moments(&self) -> &'static [&'static str] {
        &["prev", "step_size"]
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("prev");
            state.moment_of("step_size", group.float("lr")?);
        }
        state.count("step")?;
        let kernel = RpropKernel {
            maximize: group.flag("maximize")?,
            etas: group.pair("etas")?,
            step_sizes: group.pair("step_sizes")?,
        };
        Ok(Box::new(Elementwise { state: ["prev", "step_size"], kernel }))
    }
}

/// `_single_tensor_rprop` of `torch/optim/rprop.py`.
#[derive(Clone, Copy, Debug)]
struct RpropKernel {
    maximize: bool,
    etas: (f64, f64),
    step_sizes: (f64, f64),
}

impl Kernel<2> for RpropKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [prev, step_size]: [X; 2]) -> (X, [X; 2]) {
        let (eta_minus, eta_plus) = self.etas;
        let grad = if self.maximize { grad.neg() } else { grad };
        let factor = grad.clone().mul_by(prev).by_sign(eta_minus, 1.0, eta_plus);
        let step_size = step_size.mul_by(factor.clone()).clamp(self.step_sizes.0, self.step_sizes.1);
        // Where the gradient turned, the weight waits for a step.
        let grad = grad.zero_where(factor, eta_minus);
        let sign = grad.clone().by_sign(-1.0, 0.0, 1.0);
        (param.addcmul(sign, step_size.clone(), -1.0), [grad, step_size])
    }
}
