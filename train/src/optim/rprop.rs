//! `torch.optim.Rprop`: each weight has a step size of its own, which grows while its gradient keeps its sign and shrinks
//! when it turns.

use super::prelude::*;

options! {
    /// The options of `torch.optim.Rprop`, with its defaults.
    RpropOptions {
        /// What step sizes start from. Default 1e-2.
        lr: f64 = 1e-2;
        /// What a step size is multiplied by where the gradient turned, and where it did not. Default (0.5, 1.2).
        etas: (f64, f64) = (0.5, 1.2);
        /// The smallest and the largest step size. Default (1e-6, 50).
        step_sizes: (f64, f64) = (1e-6, 50.0) => |(min, max), _| Value::tuple([min.into(), int_or(50, max)]);
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "differentiable" = false;
        "capturable" = false;
    }
}

pub(super) const RULE: Rule = Rule {
    ranges: &[Range::at_least_0(&["lr"])],
    check: |group| {
        let (minus, plus) = group.pair("etas")?;
        if 0.0 < minus && minus < 1.0 && 1.0 < plus {
            return Ok(());
        }
        Err(invalid(format!("etas must be between 0 and 1 and above 1, and are {minus} and {plus}")))
    },
    moments: &["prev", "step_size"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
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
