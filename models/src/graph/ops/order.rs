//! What goes by order: extremes so far, places in sorted sequences, medians, quantiles, histograms, elements that differ.

use burn::tensor::DType;

use super::row::{Call, ops};
use crate::Result;
use crate::functional::{Array, Between, Number, Operand, refused};
use crate::graph::item::Given;

fn so_far(c: &Call<'_>, largest: bool) -> Result<(Array, Array)> {
    c.given.tensor("self")?.extreme_so_far(c.given.int("dim", 0)?, largest)
}

/// Where values belong in a sorted sequence.
fn searched(g: &Given<'_>) -> Result<Array> {
    let mut sorted = g.tensor("sorted_sequence")?.clone();
    if let Some(sorter) = g.maybe_tensor("sorter")? {
        sorted = sorted.gather(-1, sorter)?;
    }
    let right = match g.text("side") {
        Some(side) => side == "right",
        None => g.flag("right", false)?,
    };
    let values = match g.operand("self")? {
        Operand::Array(values) => values.clone(),
        Operand::Number(number) => Array::scalar(number, sorted.dtype(), &sorted.device()),
    };
    counted(g, sorted.searchsorted(&values, right)?)
}

/// A number of places, in 32 bits where that is asked for.
fn counted(g: &Given<'_>, places: Array) -> Result<Array> {
    if g.flag("out_int32", false)? { places.cast(DType::I32) } else { Ok(places) }
}

fn quantile(g: &Given<'_>, ignore_nan: bool) -> Result<Array> {
    let x = g.tensor("self")?;
    let q = match g.operand("q")? {
        Operand::Array(q) => q.clone(),
        Operand::Number(q) => Array::scalar(q, x.dtype(), &x.device()),
    };
    let between = Between::from_name(g.text("interpolation").unwrap_or("linear"))?;
    x.quantile(&q, g.maybe_int("dim")?, g.flag("keepdim", false)?, between, ignore_nan)
}

fn median_of_all(c: &Call<'_>, ignore_nan: bool) -> Result<Array> {
    let x = c.given.tensor("self")?;
    Ok(x.reshaped(&[x.numel()])?.median(0, false, ignore_nan)?.0)
}

fn median(c: &Call<'_>, ignore_nan: bool) -> Result<(Array, Array)> {
    c.given.tensor("self")?.median(c.given.int("dim", -1)?, c.given.flag("keepdim", false)?, ignore_nan)
}

/// Those that differ, which of them each is, and how often each comes: what is not asked for is empty.
fn differing(g: &Given<'_>, sorted: bool) -> Result<Vec<Array>> {
    if g.maybe_int("dim")?.is_some() && g.tensor("self")?.rank() > 1 {
        return Err(refused("unique", "along a dimension it is not supported"));
    }
    let x = g.tensor("self")?;
    let (values, inverse, counts) = x.unique(sorted)?;
    let empty = || Array::from_ints(&[], &[0], &x.device());
    let asked = |name: &str, array: Array| if g.flag(name, false)? { Ok(array) } else { empty() };
    Ok(vec![values, asked("return_inverse", inverse)?, asked("return_counts", counts)?])
}

fn among(g: &Given<'_>, elements: &str, test: &str) -> Result<Array> {
    let number = |name: &str, other: &str| match (g.operand(name)?, g.operand(other)?) {
        (Operand::Array(array), _) => Ok(array.clone()),
        (Operand::Number(number), Operand::Array(array)) => Ok(Array::scalar(number, array.dtype(), &array.device())),
        _ => Err(refused("isin", "one of the two must be a tensor")),
    };
    let found = number(elements, test)?.isin(&number(test, elements)?)?;
    if g.flag("invert", false)? { found.logical_not() } else { Ok(found) }
}

/// The sum of what is a number.
fn without_nan(c: &Call<'_>) -> Result<Array> {
    let x = super::arithmetic::typed(&c.given)?;
    if x.kind() != crate::functional::Kind::Float {
        return Ok(x);
    }
    x.fill_where(&x.isnan()?, Number::Float(0.0))
}

ops! {
    "aten.cummax.default" (self, dim) |c| so_far(c, true)?;
    "aten.cummin.default" (self, dim) |c| so_far(c, false)?;
    "aten.logcumsumexp.default" (self, dim) |c| c.given.tensor("self")?.logcumsumexp(c.given.int("dim", 0)?)?;
    "aten.searchsorted.Tensor" (sorted_sequence, self, out_int32, right, side, sorter) |c| searched(&c.given)?;
    "aten.searchsorted.Scalar" (sorted_sequence, self, out_int32, right, side, sorter) |c| searched(&c.given)?;
    "aten.bucketize.Tensor" (self, boundaries, out_int32, right) |c| counted(&c.given, c.given.tensor("boundaries")?.searchsorted(c.given.tensor("self")?, c.given.flag("right", false)?)?)?;
    "aten.median.default" (self) |c| median_of_all(c, false)?;
    "aten.median.dim" (self, dim, keepdim) |c| median(c, false)?;
    "aten.nanmedian.default" (self) |c| median_of_all(c, true)?;
    "aten.nanmedian.dim" (self, dim, keepdim) |c| median(c, true)?;
    "aten.kthvalue.default" (self, k, dim, keepdim) |c| {
        let place = c.given.size("k", 1)?.saturating_sub(1);
        c.given.tensor("self")?.ranked(place, c.given.int("dim", -1)?, c.given.flag("keepdim", false)?)?
    };
    "aten.mode.default" (self, dim, keepdim) |c| c.given.tensor("self")?.mode(c.given.int("dim", -1)?, c.given.flag("keepdim", false)?)?;
    "aten.msort.default" (self) |c| c.given.tensor("self")?.sort(0, false)?.0;
    "aten.quantile.default" (self, q, dim, keepdim, interpolation) |c| quantile(&c.given, false)?;
    "aten.quantile.scalar" (self, q, dim, keepdim, interpolation) |c| quantile(&c.given, false)?;
    "aten.nanquantile.default" (self, q, dim, keepdim, interpolation) |c| quantile(&c.given, true)?;
    "aten.nanquantile.scalar" (self, q, dim, keepdim, interpolation) |c| quantile(&c.given, true)?;
    "aten.histc.default" (self, bins, min, max) |c| c.given.tensor("self")?.histc(c.given.size("bins", 100)?, c.given.float("min", 0.0)?, c.given.float("max", 0.0)?)?;
    "aten._unique2.default" (self, sorted, return_inverse, return_counts) |c| differing(&c.given, true)?;
    "aten.unique_consecutive.default" (self, return_inverse, return_counts, dim) |c| differing(&c.given, false)?;
    "aten.isin.Tensor_Tensor" (elements, test_elements, assume_unique, invert) |c| among(&c.given, "elements", "test_elements")?;
    "aten.isin.Tensor_Scalar" (elements, test_element, assume_unique, invert) |c| among(&c.given, "elements", "test_element")?;
    "aten.isin.Scalar_Tensor" (element, test_elements, assume_unique, invert) |c| among(&c.given, "element", "test_elements")?;
    "aten.nansum.default" (self, dim, keepdim, dtype) |c| without_nan(c)?.sum(&c.given.ints("dim")?, c.given.flag("keepdim", false)?)?;
    "aten.nanmean.default" (self, dim, keepdim, dtype) |c| {
        let (x, dims, keepdim) = (super::arithmetic::typed(&c.given)?, c.given.ints("dim")?, c.given.flag("keepdim", false)?);
        let count = x.isnan()?.logical_not()?.sum(&dims, keepdim)?.cast(x.dtype())?;
        without_nan(c)?.sum(&dims, keepdim)?.div(&count)?
    };
    "aten.bincount.default" (self, weights, minlength) |c| {
        let numbers = c.given.tensor("self")?.ints()?;
        if numbers.iter().any(|&number| number < 0) {
            return Err(refused("bincount", "there are numbers below 0"));
        }
        let most = numbers.iter().copied().max().map_or(0, |most| usize::try_from(most + 1).unwrap_or(0));
        let length = most.max(c.given.size("minlength", 0)?);
        let weights = match c.given.maybe_tensor("weights")? {
            // Of whole numbers the sums are float64.
            Some(weights) if weights.dtype() == DType::F32 => weights.clone(),
            Some(weights) => weights.cast(DType::F64)?,
            None => Array::full(&[numbers.len()], Number::Int(1), DType::I64, c.device),
        };
        let zeros = Array::full(&[length], Number::Int(0), weights.dtype(), c.device);
        zeros.scatter(0, &Array::from_ints(&numbers, &[numbers.len()], c.device)?, &weights, crate::functional::Update::Add)?
    };
}
