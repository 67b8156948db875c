//! `torch.optim.SGD`: gradient descent with momentum (Nesterov's too), dampening and weight decay.

use super::prelude::*;

options! {
    /// The options of `torch.optim.SGD`, with its defaults.
    SgdOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the previous update goes into the next. Default 0.
        momentum: f64 = 0.0 => zero_or;
        /// How much of the gradient does not go into the momentum, from the second step on. Default 0.
        dampening: f64 = 0.0 => zero_or;
        /// L2 penalty. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        /// Nesterov's momentum. Default false.
        nesterov: bool = false;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
        "foreach" = Value::None;
        "differentiable" = false;
        "fused" = Value::None;
    }
}

const MOMENTUM_BUFFER: &str = "momentum_buffer";

pub(super) const RULE: Rule = Rule {
    gained: &["nesterov", "maximize", "foreach", "differentiable"],
    complete: |group| group.set_default("fused", false),
    ranges: &[Range::at_least_0(&["lr", "momentum", "weight_decay"])],
    check: |group| {
        if group.flag("nesterov")? && (group.float("momentum")? <= 0.0 || group.float("dampening")? != 0.0) {
            return Err(invalid("Nesterov momentum requires a momentum and zero dampening"));
        }
        Ok(())
    },
    scalars: &[],
    moments: &[MOMENTUM_BUFFER],
    needs: Some(|_| Ok(Vec::new())),
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let kernel = SgdKernel {
        gradient: Gradient::of(group)?,
        momentum: group.float("momentum")?,
        undamped: 1.0 - group.float("dampening")?,
        nesterov: group.flag("nesterov")?,
        lr: group.float("lr")?,
        first: !state.has_moment(MOMENTUM_BUFFER),
    };
    if kernel.momentum == 0.0 {
        return Ok(Box::new(Elementwise { state: [], kernel }));
    }
    state.moment(MOMENTUM_BUFFER);
    Ok(Box::new(Elementwise { state: [MOMENTUM_BUFFER], kernel }))
}

/// `_single_tensor_sgd` of `torch/optim/sgd.py`.
#[derive(Clone, Copy, Debug)]
struct SgdKernel {
    gradient: Gradient,
    momentum: f64,
    /// 1 - dampening.
    undamped: f64,
    nesterov: bool,
    lr: f64,
    /// No step was made yet: the buffer begins as the gradient, undamped.
    first: bool,
}

impl Kernel<0> for SgdKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, state: [X; 0]) -> (X, [X; 0]) {
        let (param, grad) = self.gradient.apply(param, grad);
        (param.add(grad, -self.lr), state)
    }
}

impl Kernel<1> for SgdKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [buffer]: [X; 1]) -> (X, [X; 1]) {
        let (param, grad) = self.gradient.apply(param, grad);
        let buffer = if self.first { grad.clone() } else { buffer.mul(self.momentum).add(grad.clone(), self.undamped) };
        let direction = if self.nesterov { grad.add(buffer.clone(), self.momentum) } else { buffer.clone() };
        (param.add(direction, -self.lr), [buffer])
    }
}
