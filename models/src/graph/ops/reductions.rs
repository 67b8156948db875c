//! What takes dimensions away, sorts, or sums along.

use super::arithmetic::typed;
use super::row::{Call, ops};
use crate::Result;
use crate::functional::Array;
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

/// A truth value; of uint8 it is one, too.
fn truth(g: &Given<'_>, of: impl Fn(&Array) -> Result<Array>) -> Result<Array> {
    let x = g.tensor("self")?;
    let truth = of(x)?;
    if x.dtype() == burn::tensor::DType::U8 { truth.cast(x.dtype()) } else { Ok(truth) }
}

/// In the type that is asked for, if one is.
fn product(g: &Given<'_>, dim: Option<i64>) -> Result<Array> {
    let out = typed(g)?.prod(dim, keep(g)?)?;
    g.dtype("dtype").map_or(Ok(out.clone()), |dtype| out.cast(dtype))
}

ops! {
    "aten.sum.default" (self, dtype) |c| typed(&c.given)?.sum(&[], false)?;
    "aten.sum.dim_IntList" (self, dim, keepdim, dtype) |c| typed(&c.given)?.sum(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.mean.default" (self, dtype) |c| typed(&c.given)?.mean(&[], false)?;
    "aten.mean.dim" (self, dim, keepdim, dtype) |c| typed(&c.given)?.mean(&c.given.ints("dim")?, keep(&c.given)?)?;
    "aten.prod.default" (self, dtype) |c| product(&c.given, None)?;
    "aten.prod.dim_int" (self, dim, keepdim, dtype) |c| product(&c.given, c.given.maybe_int("dim")?)?;
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
    "aten.std_mean.correction" (self, dim, correction, keepdim) |c| beside_mean(c, Array::std)?;
    "aten.std_mean.dim" (self, dim, unbiased, keepdim) |c| beside_mean(c, Array::std)?;
    "aten.std_mean.default" (self, unbiased) |c| beside_mean(c, Array::std)?;
    "aten.var_mean.default" (self, unbiased) |c| beside_mean(c, Array::var)?;
    "aten.any.default" (self) |c| truth(&c.given, |x| x.any(&[], false))?;
    "aten.any.dim" (self, dim, keepdim) |c| truth(&c.given, |x| x.any(&c.given.ints("dim")?, keep(&c.given)?))?;
    "aten.any.dims" (self, dim, keepdim) |c| truth(&c.given, |x| x.any(&c.given.ints("dim")?, keep(&c.given)?))?;
    "aten.all.default" (self) |c| truth(&c.given, |x| x.all(&[], false))?;
    "aten.all.dim" (self, dim, keepdim) |c| truth(&c.given, |x| x.all(&c.given.ints("dim")?, keep(&c.given)?))?;
    "aten.all.dims" (self, dim, keepdim) |c| truth(&c.given, |x| x.all(&c.given.ints("dim")?, keep(&c.given)?))?;
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
    "aten.count_nonzero.dim_IntList" (self, dim) |c| c.given.tensor("self")?.cast(crate::functional::BOOL)?.sum(&c.given.ints("dim")?, false)?;
    "aten.count_nonzero.default" (self, dim) |c| c.given.tensor("self")?.cast(crate::functional::BOOL)?.sum(&c.given.ints("dim")?, false)?;
}
