//! `torch.optim.Adafactor`: squares of gradients are kept as the averages of their rows and columns only.

use burn::tensor::Tensor;

use super::array::{Array, Real, dot, each, full, mean_of, pairs};
use super::prelude::*;
use crate::attributes::number;

options! {
    /// The options of `torch.optim.Adafactor`, with its defaults.
    AdafactorOptions {
        /// The largest relative step, and the learning rate of the weight decay. Default 1e-2.
        lr: f64 = 1e-2;
        /// The average of squares takes in `step ** beta2_decay` of the new ones: not more than 0. Default -0.8.
        beta2_decay: f64 = -0.8;
        /// The first is used under the square root, where squares are smaller; `None` for the parameter type's machine epsilon. A
        /// step is relative to the root mean square of the parameter, or to the second where that is smaller. Default
        /// (`None`, 1e-3).
        eps: (Option<f64>, f64) = (None, 1e-3);
        /// The root mean square of an update is clipped to this: at least 1. Default 1.
        d: f64 = 1.0;
        /// Part of a weight, times `lr`, that is taken off it at each step. Default 0.
        weight_decay: f64 = 0.0;
        "foreach" = Value::None;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &["foreach"],
    ranges: &[Range::at_least_0(&["lr", "weight_decay"]), Range::new(&["beta2_decay"], |x| x <= 0.0, "at most 0")],
    ranges_of_defaults: &[Range::new(&["d"], |x| x >= 1.0, "at least 1")],
    check: |group| {
        let (eps1, eps2) = eps(group)?;
        match [eps1.unwrap_or(0.0), eps2].into_iter().find(|eps| *eps < 0.0 || eps.is_nan()) {
            Some(eps) => Err(invalid(format!("eps must be at least 0, and is {eps}"))),
            None => Ok(()),
        }
    },
    moments: MOMENTS,
    view: View::Whole,
    state_shape,
    parameter_shape: |_, state| {
        let shape = |name| Some(state.get(name)?.as_tensor()?.shape().to_vec());
        let Some(mut row) = shape("row_var") else { return shape("variance") };
        *row.last_mut()? = *shape("col_var")?.last()?;
        Some(row)
    },
    ..Rule::new(prepare)
};

const MOMENTS: &[&str] = &["row_var", "col_var", "variance"];

fn state_shape(name: &str, shape: &[usize]) -> Option<Vec<usize>> {
    let mut kept = shape.to_vec();
    match (name, &mut kept[..]) {
        ("row_var", [.., _, last]) => *last = 1,
        ("col_var", [.., last_but_one, _]) => *last_but_one = 1,
        ("variance", [] | [_]) => {}
        _ => return None,
    }
    Some(kept)
}

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let shape = state.shape().to_vec();
    let factored = match shape[..] {
        [.., rows, columns] => Some(Matrices { count: shape.iter().rev().skip(2).product(), rows, columns }),
        _ => None,
    };
    if state.is_empty() {
        state.scalar("step", 0.0);
        for name in MOMENTS {
            if let Some(shape) = state_shape(name, &shape) {
                state.whole(name, shape);
            }
        }
    }
    let step = state.count("step")?;
    let (lr, largest) = (Scalar::of(group, "lr")?, 1.0 / step.powf(0.5));
    let (eps1, eps2) = eps(group)?;
    let weight_decay = group.float("weight_decay")?;
    Ok(Box::new(AdafactorUpdate {
        maximize: group.flag("maximize")?,
        numel: shape.iter().product(),
        factored,
        weight: step.powf(group.float("beta2_decay")?),
        relative_step: if largest < lr.value() { largest.into() } else { lr },
        eps1,
        eps2,
        keep: if weight_decay == 0.0 { None } else { Some((1.0 - lr * weight_decay).value()) },
        d: group.float("d")?,
    }))
}

/// `eps`, a tuple whose first number may be `None`.
fn eps(group: &Attributes) -> Result<(Option<f64>, f64)> {
    if let Some([Value::None, eps2]) = group.get("eps").and_then(Value::items).as_deref()
        && let Some(eps2) = number(eps2)
    {
        return Ok((None, eps2));
    }
    group.pair("eps").map(|(eps1, eps2)| (Some(eps1), eps2))
}

/// A tensor of two or more dimensions: so many matrices.
#[derive(Clone, Copy, Debug)]
struct Matrices {
    count: usize,
    rows: usize,
    columns: usize,
}

/// `_single_tensor_adafactor` of `torch/optim/_adafactor.py`, of one parameter.
#[derive(Debug)]
struct AdafactorUpdate {
    maximize: bool,
    numel: usize,
    factored: Option<Matrices>,
    /// `1 - beta2`: how much of the new squares goes into the average.
    weight: f64,
    relative_step: Scalar,
    eps1: Option<f64>,
    eps2: f64,
    /// What is left of a weight when it has decayed.
    keep: Option<f64>,
    d: f64,
}

impl AdafactorUpdate {
    #[allow(clippy::cast_precision_loss)]
    fn step<X: Factors>(&self, param: X, grad: X, mut state: Vec<X>) -> Result<(X, Vec<X>)> {
        let grad = if self.maximize { grad.neg() } else { grad };
        let eps1 = self.eps1.unwrap_or(param.epsilon());
        let root_numel = (self.numel as f64).powf(0.5);
        let alpha = self.eps2.max(param.norm()? / root_numel) * self.relative_step;
        let param = match self.keep {
            Some(keep) => param.scale(keep),
            None => param,
        };
        let estimate = match (self.factored, &mut state[..]) {
            (Some(matrices), [row_var, col_var]) => {
                *row_var = row_var.clone().lerp(&grad.mean_squares_of_rows(matrices), self.weight);
                *col_var = col_var.clone().lerp(&grad.mean_squares_of_columns(matrices), self.weight);
                row_var.estimate(col_var, matrices, eps1)
            }
            (None, [variance]) => {
                *variance = variance.clone().lerp(&grad.clone().times(&grad), self.weight);
                variance.clone()
            }
            _ => return Err(invalid("an Adafactor state is not that of its parameter's shape")),
        };
        let update = estimate.rsqrt_above(eps1 * eps1).times(&grad);
        let clip = 1.0_f64.max(update.norm()? / (root_numel * self.d));
        Ok((param.add(&update, (-alpha / clip).value()), state))
    }
}

impl Formula for AdafactorUpdate {
    fn state(&self) -> &[&'static str] {
        if self.factored.is_some() { &["row_var", "col_var"] } else { &["variance"] }
    }

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()> {
        if param.is_empty() {
            return Ok(());
        }
        let before = state.iter().map(|values| values.to_vec()).collect();
        let (updated, after) = self.step(param.to_vec(), grad.to_vec(), before)?;
        param.copy_from_slice(&updated);
        for (values, after) in state.into_iter().zip(after) {
            values.copy_from_slice(&after);
        }
        Ok(())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        if self.numel == 0 { Ok((param, state)) } else { self.step(param, grad, state) }
    }
}

/// What Adafactor needs beside an [`Array`]'s arithmetic.
trait Factors: Array {
    /// `self * other`.
    fn times(self, other: &Self) -> Self;
    /// `self.clamp(min=least).rsqrt()`.
    fn rsqrt_above(self, least: f64) -> Self;
    /// `torch.linalg.vector_norm(self, dim=-1).square() / self.size(-1)`.
    fn mean_squares_of_rows(&self, matrices: Matrices) -> Self;
    /// `torch.linalg.vector_norm(self, dim=-2).square() / self.size(-2)`.
    fn mean_squares_of_columns(&self, matrices: Matrices) -> Self;
    /// `row_var @ col_var / row_var.mean(dim=-2).clamp(min=least)`, of `self` as `row_var`.
    fn estimate(&self, col_var: &Self, matrices: Matrices, least: f64) -> Self;
}

#[allow(clippy::cast_precision_loss)]
impl<T: Real> Factors for Vec<T> {
    fn times(mut self, other: &Self) -> Self {
        pairs(&mut self, other, |x, y| x * y);
        self
    }

    fn rsqrt_above(mut self, least: f64) -> Self {
        let least = T::of(least);
        let raised = |x: T| if x < least { least } else { x };
        let twice = |x: T| T::of(1.0) / raised(x).root();
        let full = full(&self);
        let (values, rest) = self.split_at_mut(full);
        if T::VECTOR > 1 {
            // In a full register types of 16 bits are rounded once, and beside it after the root, too.
            each(values, |x| T::of((1.0 / f32::of(raised(x).double()).sqrt()).into()));
        } else {
            each(values, twice);
        }
        rest.iter_mut().for_each(|x| *x = twice(*x));
        self
    }

    fn mean_squares_of_rows(&self, Matrices { columns, .. }: Matrices) -> Self {
        let rows = self.chunks(columns.max(1));
        rows.map(|row| mean_square(dot(row, row), columns)).collect()
    }

    fn mean_squares_of_columns(&self, Matrices { rows, columns, .. }: Matrices) -> Self {
        let mut means = Vec::new();
        for matrix in self.chunks((rows * columns).max(1)) {
            let mut sums = vec![0.0; columns];
            for row in matrix.chunks(columns) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.double() * x.double());
            }
            means.extend(sums.into_iter().map(|sum| mean_square::<T>(sum, rows)));
        }
        means
    }

    fn estimate(&self, col_var: &Self, Matrices { rows, columns, .. }: Matrices, least: f64) -> Self {
        let mut estimate = Vec::with_capacity(self.len() * columns);
        let least = T::of(least);
        for (rows_of_one, columns_of_one) in self.chunks(rows.max(1)).zip(col_var.chunks(columns.max(1))) {
            let sum: f64 = rows_of_one.iter().map(|x| x.double()).sum();
            let mean = mean_of::<T>(sum, rows);
            let mean = if mean < least { least } else { mean };
            for &row in rows_of_one {
                estimate.extend(columns_of_one.iter().map(|&column| row * column / mean));
            }
        }
        estimate
    }
}

/// A norm, rounded, then squared and divided as PyTorch does it.
#[allow(clippy::cast_precision_loss)]
fn mean_square<T: Real>(sum_of_squares: f64, count: usize) -> T {
    let norm = T::of(sum_of_squares.sqrt());
    norm * norm / T::of(count as f64)
}

#[allow(clippy::cast_precision_loss)]
impl Factors for Tensor<1> {
    fn times(self, other: &Self) -> Self {
        self * other.clone()
    }

    fn rsqrt_above(self, least: f64) -> Self {
        self.clamp_min(least).sqrt().recip()
    }

    fn mean_squares_of_rows(&self, Matrices { count, rows, columns }: Matrices) -> Self {
        let squares = self.clone().reshape([count, rows, columns]).square();
        (squares.sum_dim(2).sqrt().square() / columns as f64).reshape([count * rows])
    }

    fn mean_squares_of_columns(&self, Matrices { count, rows, columns }: Matrices) -> Self {
        let squares = self.clone().reshape([count, rows, columns]).square();
        (squares.sum_dim(1).sqrt().square() / rows as f64).reshape([count * columns])
    }

    fn estimate(&self, col_var: &Self, Matrices { count, rows, columns }: Matrices, least: f64) -> Self {
        let row_var: Tensor<3> = self.clone().reshape([count, rows, 1]);
        let mean = row_var.clone().mean_dim(1).clamp_min(least);
        let col_var: Tensor<3> = col_var.clone().reshape([count, 1, columns]);
        (row_var * col_var / mean).reshape([count * rows * columns])
    }
}
