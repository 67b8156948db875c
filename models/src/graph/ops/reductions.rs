//! What takes dimensions away, sorts, or sums along.

use burn::tensor::DType;

use super::arithmetic::typed;
use super::row::{Call, ops};
use crate::Result;
use crate::functional::{Array, refused};
use crate::graph::item::Given;

fn keep(g: &Given<'_>) -> Result<bool> {
    g.flag("keepdim", false)
}

/// What is taken off the number of elements: `correction`, or 1 where it is unbiased.
fn correction(g: &Given<'_>) -> Result<f64> {
    match g.maybe_float("correction")? {
        Some(correction) => Ok(correction),
        None => Ok(if g.flag("unbiased", true)? { 1.0 } else { 0.0 }),
    }
}

fn extremes(c: &Call<'_>, largest: bool) -> Result<(Array, Array)> {
    c.given.tensor("self")?.extreme_of(c.given.int("dim", 0)?, keep(&c.given)?, largest)
}

fn index_of(c: &Call<'_>, largest: bool) -> Result<Array> {
    c.given.tensor("self")?.arg_extreme(c.given.maybe_int("dim")?, keep(&c.given)?, largest)
}

/// A spread and the mean.
fn beside_mean(c: &Call<'_>, spread: fn(&Array, &[i64], f64, bool) -> Result<Array>) -> Result<(Array, Array)> {
    let (x, dims, keepdim) = (c.given.tensor("self")?, c.given.ints("dim")?, keep(&c.given)?);
    Ok((spread(x, &dims, correction(&c.given)?, keepdim)?, x.mean(&dims, keepdim)?))
}

/// The value at a place of the order along a dimension, and its index.
fn ranked(x: &Array, place: usize, dim: i64, keepdim: bool) -> Result<(Array, Array)> {
    let (values, indices) = x.sort(dim, false)?;
    let place = i64::try_from(place).unwrap_or(i64::MAX);
    let at = |x: &Array| if keepdim { x.narrow(dim, place, 1) } else { x.select(dim, place) };
    if x.rank() == 0 { Ok((values, indices)) } else { Ok((at(&values)?, at(&indices)?)) }
}

ops! {
    "aten.sum.default" (self, dtype) |c| typed(&c.given)?.sum(&[], false)?;
    "aten.sum.dim_IntList" (self, dim, keepdim, dtype) |c| typed(&c.given)?.sum(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.mean.default" (self, dtype) |c| typed(&c.given)?.mean(&[], false)?;
    "aten.mean.dim" (self, dim, keepdim, dtype) |c| typed(&c.given)?.mean(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.prod.default" (self, dtype) |c| typed(&c.given)?.prod(None, false)?;
    "aten.prod.dim_int" (self, dim, keepdim, dtype) |c| typed(&c.given)?.prod(c.given.maybe_int("dim")?, keep(&c.given)?)?;
    "aten.var.default" (self, unbiased) |c| c.given.tensor("self")?.var(&[], correction(&c.given)?, false)?;
    "aten.var.dim" (self, dim, unbiased, keepdim) |c| c.given.tensor("self")?.var(&c.given.ints("dim")?, correction(&c.given)?, keep(&c.given)?)?;
    "aten.var.correction" (self, dim, correction, keepdim) |c| c.given.tensor("self")?.var(&c.given.ints("dim")?, correction(&c.given)?, keep(&c.given)?)?;
    "aten.std.default" (self, unbiased) |c| c.given.tensor("self")?.std(&[], correction(&c.given)?, false)?;
    "aten.std.dim" (self, dim, unbiased, keepdim) |c| c.given.tensor("self")?.std(&c.given.ints("dim")?, correction(&c.given)?, keep(&c.given)?)?;
    "aten.std.correction" (self, dim, correction, keepdim) |c| c.given.tensor("self")?.std(&c.given.ints("dim")?, correction(&c.given)?, keep(&c.given)?)?;
    "aten.var_mean.correction" (self, dim, correction, keepdim) |c| beside_mean(c, Array::var)?;
    "aten.var_mean.dim" (self, dim, unbiased, keepdim) |c| beside_mean(c, Array::var)?;
    "aten.amax.default" (self, dim, keepdim) |c| c.given.tensor("self")?.amax(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.amin.default" (self, dim, keepdim) |c| c.given.tensor("self")?.amin(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.max.default" (self) |c| c.given.tensor("self")?.amax(&[], false)?;
    "aten.min.default" (self) |c| c.given.tensor("self")?.amin(&[], false)?;
    "aten.max.dim" (self, dim, keepdim) |c| extremes(c, true)?;
    "aten.min.dim" (self, dim, keepdim) |c| extremes(c, false)?;
    "aten.argmax.default" (self, dim, keepdim) |c| index_of(c, true)?;
    "aten.argmin.default" (self, dim, keepdim) |c| index_of(c, false)?;
    "aten.aminmax.default" (self, dim, keepdim) |c| {
        let dims: Vec<i64> = c.given.maybe_int("dim")?.into_iter().collect();
        let (x, keepdim) = (c.given.tensor("self")?, keep(&c.given)?);
        (x.amin(&dims, keepdim)?, x.amax(&dims, keepdim)?)
    };
    "aten.dist.default" (self, other, p) |c| c.given.tensor("self")?.sub(c.given.tensor("other")?)?.vector_norm(c.given.float("p", 2.0)?, &[], false)?;
    "aten.median.dim" (self, dim, keepdim) |c| {
        let dim = c.given.int("dim", -1)?;
        let x = c.given.tensor("self")?;
        let length = x.shape().get(x.dim(dim)?).copied().unwrap_or(1);
        ranked(x, length.saturating_sub(1) / 2, dim, keep(&c.given)?)?
    };
    "aten.kthvalue.default" (self, k, dim, keepdim) |c| {
        let place = c.given.size("k", 1)?.saturating_sub(1);
        ranked(c.given.tensor("self")?, place, c.given.int("dim", -1)?, keep(&c.given)?)?
    };
    "aten.trace.default" (self) |c| c.given.tensor("self")?.diagonal(0, 0, 1)?.sum(&[], false)?;
    "aten.std_mean.correction" (self, dim, correction, keepdim) |c| beside_mean(c, Array::std)?;
    "aten.std_mean.dim" (self, dim, unbiased, keepdim) |c| beside_mean(c, Array::std)?;
    "aten.any.default" (self) |c| c.given.tensor("self")?.any(&[], false)?;
    "aten.any.dim" (self, dim, keepdim) |c| c.given.tensor("self")?.any(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.any.dims" (self, dim, keepdim) |c| c.given.tensor("self")?.any(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.all.default" (self) |c| c.given.tensor("self")?.all(&[], false)?;
    "aten.all.dim" (self, dim, keepdim) |c| c.given.tensor("self")?.all(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.cumsum.default" (self, dim, dtype) |c| typed(&c.given)?.cumsum(c.given.int("dim", 0)?)?;
    "aten.cumprod.default" (self, dim, dtype) |c| typed(&c.given)?.cumprod(c.given.int("dim", 0)?)?;
    "aten.logsumexp.default" (self, dim, keepdim) |c| c.given.tensor("self")?.logsumexp(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.sort.default" (self, dim, descending) |c| c.given.tensor("self")?.sort(c.given.int("dim", -1)?, c.given.flag("descending", false)?)?;
    "aten.sort.stable" (self, stable, dim, descending) |c| c.given.tensor("self")?.sort(c.given.int("dim", -1)?, c.given.flag("descending", false)?)?;
    "aten.argsort.default" (self, dim, descending) |c| c.given.tensor("self")?.sort(c.given.int("dim", -1)?, c.given.flag("descending", false)?)?.1;
    "aten.argsort.stable" (self, stable, dim, descending) |c| c.given.tensor("self")?.sort(c.given.int("dim", -1)?, c.given.flag("descending", false)?)?.1;
    "aten.topk.default" (self, k, dim, largest, sorted) |c| c.given.tensor("self")?.topk(c.given.size("k", 1)?, c.given.int("dim", -1)?, c.given.flag("largest", true)?)?;
    "aten.linalg_vector_norm.default" (self, ord, dim, keepdim, dtype) |c| typed(&c.given)?.vector_norm(c.given.float("ord", 2.0)?, &c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.norm.ScalarOpt_dim" (self, p, dim, keepdim) |c| c.given.tensor("self")?.vector_norm(c.given.float("p", 2.0)?, &c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.norm.Scalar" (self, p) |c| c.given.tensor("self")?.vector_norm(c.given.float("p", 2.0)?, &[], false)?;
    "aten.count_nonzero.default" (self, dim) |c| c.given.tensor("self")?.cast(crate::functional::BOOL)?.sum(&c.given.ints("dim")?, false)?;
    "aten.bincount.default" (self, weights, minlength) |c| {
        if c.given.maybe_tensor("weights")?.is_some() {
            return Err(refused("bincount", "weights are not supported"));
        }
        let numbers = c.given.tensor("self")?.ints()?;
        let most = numbers.iter().copied().max().map_or(0, |most| usize::try_from(most + 1).unwrap_or(0));
        let mut counts = vec![0i64; most.max(c.given.size("minlength", 0)?)];
        for number in numbers {
            let place = usize::try_from(number).ok().and_then(|place| counts.get_mut(place));
            *place.ok_or_else(|| refused("bincount", "there are numbers below 0"))? += 1;
        }
        Array::from_ints(&counts, &[counts.len()], c.device)?
    };
    "aten.bucketize.Tensor" (self, boundaries, out_int32, right) |c| {
        let (x, boundaries) = (c.given.tensor("self")?, c.given.tensor("boundaries")?);
        // How many boundaries lie below.
        let x = x.unsqueeze(-1)?;
        let below = if c.given.flag("right", false)? { boundaries.le(&x)? } else { boundaries.lt(&x)? };
        let count = below.sum(&[-1], false)?;
        if c.given.flag("out_int32", false)? { count.cast(DType::I32)? } else { count }
    };
}
