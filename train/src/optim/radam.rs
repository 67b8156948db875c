//! `torch.optim.RAdam`: Adam that leaves the second moment out until enough steps make it trustworthy, and then takes it in
//! by degrees.

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

/// The options of `torch.optim.RAdam`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RAdamOptions {
    /// Learning rate. Default 1e-3.
    pub lr: f64,
    /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator. Default 1e-8.
    pub eps: f64,
    /// L2 penalty. Default 0.
    pub weight_decay: f64,
    /// Let weights decay by themselves, as AdamW does, rather than through the gradient. Default false.
    pub decoupled_weight_decay: bool,
    /// Ascend instead of descend. Default false.
    pub maximize: bool,
}

impl Default for RAdamOptions {
    fn default() -> Self {
        RAdamOptions {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

impl From<RAdamOptions> for Hyperparameters {
    fn from(options: RAdamOptions) -> Self {
        Hyperparameters::new(
            OptimizerKind::RAdam,
            [
                ("lr", options.lr.into()),
                ("betas", Value::tuple([options.betas.0.into(), options.betas.1.into()])),
                ("eps", options.eps.into()),
                ("weight_decay", zero_or(options.weight_decay)),
                ("maximize", options.maximize.into()),
                ("foreach", Value::None),
                ("capturable", false.into()),
                ("decoupled_weight_decay", options.decoupled_weight_decay.into()),
                ("differentiable", false.into()),
            ],
        )
    }
}

impl Optimizer {
    /// `torch.optim.RAdam(model.parameters(), ...)`.
    ///
    /// # Errors
    /// As [`Optimizer::sgd`].
    pub fn radam<M: Module>(model: &M, options: RAdamOptions) -> Result<Self> {
        Optimizer::builder(options).build(model)
    }
}

#[derive(Debug)]
pub(crate) struct RAdam;

impl Rule for RAdam {
    fn kind(&self) -> OptimizerKind {
        OptimizerKind::RAdam
    }

    fn complete(&self, group: &mut Attributes) {
        group.set_default("foreach", Value::None);
        for name in ["maximize", "differentiable", "decoupled_weight_decay", "capturable"] {
            group.set_default(name, false);
        }
    }

    fn check(&self, group: &Attributes) -> Result<()> {
        Adam.check(group)
    }

    fn moments(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
        if state.is_empty() {
            state.scalar("step", 0.0);
            state.moment("exp_avg");
            state.moment("exp_avg_sq");
        }
        let step = state.count("step")?;
        let (beta1, beta2) = group.pair("betas")?;
        let bias_correction2 = 1.0 - beta2.powf(step);
        let kernel = RAdamKernel {
            gradient: Gradient::of(group)?,
            weight1: 1.0 - beta1,
            beta2,
            weight2: 1.0 - beta2,
            eps: group.float("eps")?,
            lr: group.float("lr")?,
            bias_correction1: 1.0 - beta1.powf(step),
            bias_correction2_sqrt: bias_correction2.powf(0.5),
            rectification: rectification(beta2, step, bias_correction2),
        };
        Ok(Box::new(Elementwise { state: ["exp_avg", "exp_avg_sq"], kernel }))
    }
}

/// The variance rectification term; `None` as long as the approximated moving average is not longer than 5.
fn rectification(beta2: f64, step: f64, bias_correction2: f64) -> Option<f64> {
    let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    let rho_t = rho_inf - 2.0 * step * beta2.powf(step) / bias_correction2;
    let square = (rho_t - 4.0) * (rho_t - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho_t);
    (rho_t > 5.0).then(|| square.powf(0.5))
}

/// `_single_tensor_radam` of `torch/optim/radam.py`, as it is with `capturable=False`.
#[derive(Clone, Copy, Debug)]
struct RAdamKernel {
    gradient: Gradient,
    weight1: f64,
    beta2: f64,
    weight2: f64,
    eps: f64,
    lr: f64,
    bias_correction1: f64,
    bias_correction2_sqrt: f64,
    rectification: Option<f64>,
}

impl Kernel<2> for RAdamKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [exp_avg, exp_avg_sq]: [X; 2]) -> (X, [X; 2]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let exp_avg = exp_avg.lerp(grad.clone(), self.weight1);
        let exp_avg_sq = exp_avg_sq.mul(self.beta2).addcmul(grad.clone(), grad, self.weight2);
        let update = exp_avg.clone().div(self.bias_correction1).mul(self.lr);
        let update = match self.rectification {
            Some(rectification) => {
                // A scalar over a tensor is the tensor's reciprocal times the scalar.
                let adaptive = exp_avg_sq.clone().sqrt().add_scalar(self.eps).reciprocal();
                update.mul_by(adaptive.mul(self.bias_correction2_sqrt)).mul(rectification)
            }
            None => update,
        };
        (param.add(update, -1.0), [exp_avg, exp_avg_sq])
    }
}
