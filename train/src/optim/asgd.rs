//! `torch.optim.ASGD`: gradient descent whose learning rate falls, and whose weights are averaged from some step on.

use super::prelude::*;

options! {
    /// The options of `torch.optim.ASGD`, with its defaults. The averaged weights are in its state, as `ax`.
    AsgdOptions {
        /// Learning rate. Default 1e-2.
        lr: f64 = 1e-2;
        /// Part of a weight, times the present learning rate, that is taken off it at each step. Default 1e-4.
        lambd: f64 = 1e-4;
        /// The power by which the learning rate falls. Default 0.75.
        alpha: f64 = 0.75;
        /// The step after which weights are averaged. Default 1e6.
        t0: f64 = 1e6;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "differentiable" = false;
        "capturable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    ranges: &[Range::at_least_0(&["lr", "lambd", "alpha", "weight_decay"])],
    scalars: &["step", "eta", "mu"],
    moments: &["ax"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let lr = Scalar::of(group, "lr")?;
    if state.is_empty() {
        state.scalar("step", 0.0);
        state.scalar("eta", lr.value());
        state.scalar("mu", 1.0);
        state.moment("ax");
    }
    let step = state.count("step")?;
    let (lambd, alpha, t0) = (group.float("lambd")?, group.float("alpha")?, group.float("t0")?);
    // This step goes by what the last one left, the next by what is set here.
    let eta = state.copy("eta", (lr / (1.0 + lambd * lr * step).pow(alpha)).value())?;
    let mu = state.copy("mu", 1.0 / f64::max(1.0, step - t0))?;
    let kernel = AsgdKernel { gradient: Gradient::of(group)?, keep: 1.0 - lambd * eta, minus_eta: -eta, mu };
    Ok(Box::new(Elementwise { state: ["ax"], kernel }))
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
