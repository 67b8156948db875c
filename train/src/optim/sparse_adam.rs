//! `torch.optim.SparseAdam`: Adam for embeddings, which leaves the rows alone that no gradient touches, moments and all.

use std::ops::{Div, Mul, Sub};

use burn::tensor::{Int, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::array::Real;
use super::prelude::*;

options! {
    /// The options of `torch.optim.SparseAdam`, with its defaults.
    ///
    /// PyTorch's `SparseAdam` takes gradients of a sparse layout, which list the rows that they touch: those of the tokens in a
    /// batch. Burn's gradients are dense, so the touched rows are either said by
    /// [`Optimizer::touch`](super::Optimizer::touch), or those of which the gradient is not all zero. The second differs from
    /// PyTorch where a row is touched and its gradient is nevertheless exactly zero: PyTorch lets its moments decay and moves
    /// it along, while here it stays as it is. With a gradient for no row at all the step still counts, as in PyTorch.
    SparseAdamOptions {
        /// Learning rate: more than 0. Default 1e-3.
        lr: f64 = 1e-3;
        /// How much of the running averages of the gradient and of its square stays at each step. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999);
        /// Added to the denominator: more than 0. Default 1e-8.
        eps: f64 = 1e-8;
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
    }
}

pub(super) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[Range::new(&["lr", "eps"], |x| x > 0.0, "more than 0"), Range::decay(&["betas"])],
    moments: &["exp_avg", "exp_avg_sq"],
    counters: &["step"],
    view: View::Whole,
    ..Rule::new(prepare)
};

fn prepare(group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>> {
    let shape = state.shape().to_vec();
    if state.is_empty() {
        state.counter("step", 0);
        state.whole("exp_avg", shape.clone());
        state.whole("exp_avg_sq", shape.clone());
    }
    let step = state.count("step")?;
    let (beta1, beta2) = group.pair("betas")?;
    let (bias_correction1, bias_correction2) = (1.0 - beta1.powf(step), 1.0 - beta2.powf(step));
    Ok(Box::new(SparseAdamUpdate {
        row: shape.iter().skip(1).product(),
        touched: state.touched.take(),
        formula: RowFormula {
            // Groups of PyTorch 1.12 and before do not say.
            maximize: group.is_set("maximize")?,
            weight1: 1.0 - beta1,
            weight2: 1.0 - beta2,
            eps: group.float("eps")?,
            minus_step_size: -(Scalar::of(group, "lr")? * bias_correction2.sqrt() / bias_correction1).value(),
        },
    }))
}

/// Rows that one core takes at a time.
const ROWS: usize = 256;

/// A row of the parameter and its moments, and of the gradient.
type Row<'a, T> = ([&'a mut [T]; 3], &'a [T]);

/// The rows with these numbers, which rise.
fn some_rows<'a, T>(
    mut rest: [&'a mut [T]; 3],
    grad: &'a [T],
    row: usize,
    places: impl Iterator<Item = usize>,
) -> Vec<Row<'a, T>> {
    let (len, mut passed) = (grad.len(), 0);
    let elements = |place: usize| (place.saturating_mul(row).min(len), (place + 1).saturating_mul(row).min(len));
    let row = |place| {
        let (from, to) = elements(place);
        let rows = rest.each_mut().map(|rest| {
            let (row, others) = std::mem::take(rest).split_at_mut(to - passed);
            *rest = others;
            &mut row[from - passed..]
        });
        passed = to;
        (rows, &grad[from..to])
    };
    places.map(row).collect()
}

/// `sparse_adam` of `torch/optim/_functional.py`, of one parameter.
#[derive(Debug)]
struct SparseAdamUpdate {
    /// The elements of a row.
    row: usize,
    /// The rows that are touched, in order, where the caller said so.
    touched: Option<Vec<usize>>,
    formula: RowFormula,
}

/// What happens to a row that is touched.
#[derive(Clone, Copy, Debug)]
struct RowFormula {
    maximize: bool,
    weight1: f64,
    weight2: f64,
    eps: f64,
    minus_step_size: f64,
}

impl RowFormula {
    #[inline(always)]
    fn step<X>(self, param: X, grad: X, exp_avg: X, exp_avg_sq: X) -> (X, X, X)
    where
        X: Number + Mul<Output = X> + Div<Output = X> + Sub<Output = X>,
    {
        let grad = if self.maximize { Number::neg(grad) } else { grad };
        let change = Number::mul(grad.clone() - exp_avg.clone(), self.weight1);
        let exp_avg = Number::add(change, exp_avg, 1.0);
        let change = Number::mul(grad.clone() * grad - exp_avg_sq.clone(), self.weight2);
        let exp_avg_sq = Number::add(change, exp_avg_sq, 1.0);
        let denominator = Number::add_scalar(Number::sqrt(exp_avg_sq.clone()), self.eps);
        let change = Number::mul(exp_avg.clone() / denominator, self.minus_step_size);
        (Number::add(param, change, 1.0), exp_avg, exp_avg_sq)
    }
}

impl Formula for SparseAdamUpdate {
    fn state(&self) -> &[&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()> {
        let Ok([exp_avg, exp_avg_sq]) = <[&mut [T]; 2]>::try_from(state) else {
            return Err(invalid("a SparseAdam state lacks one of its moments"));
        };
        let row = self.row.max(1);
        let all = [param, exp_avg, exp_avg_sq];
        let rows: Vec<Row<T>> = match &self.touched {
            // Few of many: nothing else is looked at.
            Some(touched) => some_rows(all, grad, row, touched.iter().copied()),
            None => {
                let is_touched = |(place, grad): (usize, &[T])| grad.iter().any(|x| *x != T::of(0.0)).then_some(place);
                let touched: Vec<usize> = grad.par_chunks(row).enumerate().filter_map(is_touched).collect();
                some_rows(all, grad, row, touched.into_iter())
            }
        };
        // Rows come from memory, most of the time: as wide as the processor has it, several are on their way at once.
        rows.into_par_iter().with_min_len(ROWS).for_each(|(moved, grad)| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let [param, exp_avg, exp_avg_sq] = moved;
                    let moments = exp_avg.iter_mut().zip(exp_avg_sq);
                    for ((param, grad), (exp_avg, exp_avg_sq)) in param.iter_mut().zip(grad).zip(moments) {
                        (*param, *exp_avg, *exp_avg_sq) = self.formula.step(*param, *grad, *exp_avg, *exp_avg_sq);
                    }
                },
            );
        });
        Ok(())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        let Ok([exp_avg, exp_avg_sq]) = <[Tensor<1>; 2]>::try_from(state) else {
            return Err(invalid("a SparseAdam state lacks one of its moments"));
        };
        let len = param.dims()[0];
        let rows = len.checked_div(self.row).unwrap_or(0);
        let touched: Tensor<1, Int> = match &self.touched {
            Some(touched) => {
                let mut flags = vec![0_i32; rows];
                touched.iter().for_each(|place| flags.get_mut(*place).into_iter().for_each(|flag| *flag = 1));
                Tensor::from_data(&flags[..], &param.device())
            }
            None => grad.clone().reshape([rows, self.row]).not_equal_scalar(0.0).any_dim(1).int().reshape([rows]),
        };
        let touched = touched.reshape([rows, 1]).repeat_dim(1, self.row).reshape([len]).bool();
        let after = self.formula.step(param.clone(), grad, exp_avg.clone(), exp_avg_sq.clone());
        let choose = |before: Tensor<1>, after| before.mask_where(touched.clone(), after);
        Ok((choose(param, after.0), vec![choose(exp_avg, after.1), choose(exp_avg_sq, after.2)]))
    }
}
