//! `adan_pytorch.Adan`: Adan whose betas say how much of the new goes into an average, and which makes no update of its averages in
//! the first step.

use super::adan::betas;
use super::prelude::*;

options! {
    /// The options of `adan_pytorch.Adan`, with its defaults. `restart_cond`, a function, is in no file.
    AdanPytorchOptions {
        /// Learning rate. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the gradient, of its difference and of the square goes into the running averages at each step. Default
        /// (0.02, 0.08, 0.01).
        betas: (f64, f64, f64) = (0.02, 0.08, 0.01);
        /// Added to the denominator. Default 1e-8.
        eps: f64 = 1e-8;
        /// Weights are divided by 1 and this, times `lr`, at each step. Default 0.
        weight_decay: f64 = 0.0 => zero_or;
        "restart_cond" = Value::None;
    }
}

const MOMENTS: [&str; 4] = ["prev_grad", "m", "v", "n"];

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[],
    check: |group| {
        if !matches!(group.get("restart_cond"), Some(Value::None) | None) {
            return Err(invalid("'restart_cond' is a function, which is in no file; go on without it"));
        }
        ["lr", "eps", "weight_decay"].iter().try_for_each(|name| group.float(name).map(drop))?;
        betas(group).map(drop)
    },
    moments: &MOMENTS,
    counters: &["step"],
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    if state.is_empty() {
        state.counter("step", 0);
        MOMENTS.iter().for_each(|name| state.moment(name));
    }
    let step = state.count("step")?;
    let [beta1, beta2, beta3] = betas(group)?;
    let correct = |beta: f64| 1.0 / (1.0 - (1.0 - beta).powf(step));
    let lr = group.float("lr")?;
    let kernel = AdanKernel {
        #[allow(clippy::float_cmp)]
        first: step == 1.0,
        betas: [beta1, beta2, beta3],
        keeps: [1.0 - beta1, 1.0 - beta2, 1.0 - beta3],
        correct_m: correct(beta1),
        correct_v: correct(beta2),
        correct_n: correct(beta3),
        lr,
        eps: group.float("eps")?,
        shrink: 1.0 + group.float("weight_decay")? * lr,
    };
    Ok(Box::new(Elementwise { state: MOMENTS, kernel }))
}

/// `Adan.step` of `adan_pytorch/adan.py`.
#[derive(Clone, Copy, Debug)]
struct AdanKernel {
    /// Nothing goes into the averages yet.
    first: bool,
    betas: [f64; 3],
    keeps: [f64; 3],
    correct_m: f64,
    correct_v: f64,
    correct_n: f64,
    lr: f64,
    eps: f64,
    /// What a weight is divided by after the update.
    shrink: f64,
}

impl Kernel<4> for AdanKernel {
    #[inline(always)]
    fn apply<X: Number>(self, param: X, grad: X, [prev_grad, m, v, n]: [X; 4]) -> (X, [X; 4]) {
        let (m, v, n) = if self.first {
            (m, v, n)
        } else {
            let m = m.mul(self.keeps[0]).add(grad.clone(), self.betas[0]);
            let difference = grad.clone().add(prev_grad, -1.0);
            let v = v.mul(self.keeps[1]).add(difference.clone(), self.betas[1]);
            let ahead = grad.clone().add(difference.mul(self.keeps[1]), 1.0);
            let n = n.mul(self.keeps[2]).add(ahead.clone().mul_by(ahead), self.betas[2]);
            (m, v, n)
        };
        // lr / (n * correct_n).sqrt().add_(eps), of which a Python number is divided.
        let root = n.clone().mul(self.correct_n).sqrt().add_scalar(self.eps);
        let step_size = root.reciprocal().mul(self.lr);
        let ahead = v.clone().mul(self.keeps[1]).mul(self.correct_v);
        let direction = m.clone().mul(self.correct_m).add(ahead, 1.0);
        let param = param.addcmul(step_size, direction, -1.0).div(self.shrink);
        (param, [grad, m, v, n])
    }
}
