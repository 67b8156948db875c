//! What takes dimensions away: sums, means, extremes and their indices, norms; and sums along a dimension.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor, IntDType};
use burn::tensor::DType;

use super::array::{Array, BOOL, Kind, refused};
use super::autocast::{is_narrow, single};
use super::broadcast::select;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// What is done along a dimension, which stays as long.
type Accumulate = fn(DispatchTensor, usize) -> DispatchTensor;

impl Array {
    /// The dimensions that these name, each once, all where none is named.
    fn dims(&self, dims: &[i64]) -> Result<Vec<usize>> {
        if dims.is_empty() {
            return Ok((0..self.rank()).collect());
        }
        let mut found = Vec::new();
        for &dim in dims {
            let dim = self.dim(dim)?;
            if found.contains(&dim) {
                return Err(refused("reducing", format!("dimension {dim} is named twice")));
            }
            if self.rank() > 0 {
                found.push(dim);
            }
        }
        Ok(found)
    }

    /// The shape without these dimensions, or with 1 in their places.
    fn reduced_shape(&self, dims: &[usize], keepdim: bool) -> Vec<usize> {
        let lengths = self.shape().iter().enumerate();
        let kept = lengths.filter(|(dim, _)| keepdim || !dims.contains(dim));
        kept.map(|(dim, &length)| if dims.contains(&dim) { 1 } else { length }).collect()
    }

    /// Does it along each of the dimensions.
    fn along(&self, dims: &[usize], keepdim: bool, step: impl Fn(Array, usize) -> Array) -> Result<Self> {
        let shape = self.reduced_shape(dims, keepdim);
        dims.iter().fold(self.clone(), |x, &dim| step(x, dim)).reshaped(&shape)
    }

    /// `self.sum(dims, keepdim)`, over all dimensions where none is named. Truth values and whole numbers give int64.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn sum(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        let x = if self.kind() == Kind::Float { self.clone() } else { self.cast(DType::I64)? };
        let dims = x.dims(dims)?;
        if x.numel() == 0 {
            return Ok(Array::nothing(&x.reduced_shape(&dims, keepdim), x.dtype(), &[&x]));
        }
        if dims.len() == x.rank() && x.rank() > 0 {
            let shape = x.reduced_shape(&dims, keepdim);
            let sum = match x.kind() {
                Kind::Float => Dispatch::float_sum(x.prim()),
                _ => Dispatch::int_sum(x.prim()),
            };
            return Array::new(sum, &[1]).reshaped(&shape);
        }
        x.along(&dims, keepdim, |x, dim| {
            Array::of(match x.kind() {
                Kind::Float => Dispatch::float_sum_dim(x.prim(), dim),
                _ => Dispatch::int_sum_dim(x.prim(), dim),
            })
        })
    }

    /// How many elements these dimensions have together.
    #[allow(clippy::cast_precision_loss)] // a count
    pub(super) fn count(&self, dims: &[i64]) -> Result<f64> {
        Ok(self.dims(dims)?.iter().map(|&dim| self.shape()[dim]).product::<usize>() as f64)
    }

    /// `self.mean(dims, keepdim)`.
    ///
    /// # Errors
    /// When there is no such dimension, or the elements are whole numbers, which PyTorch refuses, too.
    pub fn mean(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        if self.kind() != Kind::Float {
            return Err(refused("mean", format!("it is for floating-point numbers, not {}", self.dtype_name())));
        }
        if is_narrow(self.dtype()) {
            // A sum may be larger than numbers of 16 bits are.
            return self.cast(DType::F32)?.mean(dims, keepdim)?.cast(self.dtype());
        }
        self.sum(dims, keepdim)?.div(self.count(dims)?)
    }

    /// `self.var(dims, correction, keepdim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn var(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<Self> {
        let centred = self.sub(&self.mean(dims, true)?)?;
        let count = (self.count(dims)? - correction).max(0.0);
        centred.mul(&centred)?.sum(dims, keepdim)?.div(count)
    }

    /// `self.std(dims, correction, keepdim)`: its gradient is 0 where it is 0.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn std(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<Self> {
        self.var(dims, correction, keepdim)?.sqrt_or_zero()
    }

    /// The square root, whose gradient is 0 at 0.
    fn sqrt_or_zero(&self) -> Result<Self> {
        let zero = self.eq(0.0)?;
        self.fill_where(&zero, Number::Float(1.0))?.unary(Unary::Sqrt)?.fill_where(&zero, Number::Float(0.0))
    }

    /// `torch.linalg.vector_norm(self, ord, dims, keepdim)`: its gradient is 0 where it is 0.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn vector_norm(&self, ord: f64, dims: &[i64], keepdim: bool) -> Result<Self> {
        if ord == 2.0 {
            return self.mul(self)?.sum(dims, keepdim)?.sqrt_or_zero();
        }
        let x = self.unary(Unary::Abs)?;
        if ord == f64::INFINITY {
            return x.amax(dims, keepdim);
        }
        if ord == f64::NEG_INFINITY {
            return x.amin(dims, keepdim);
        }
        if ord == 0.0 {
            return x.ne(0.0)?.cast(self.dtype())?.sum(dims, keepdim);
        }
        if ord == 1.0 {
            return x.sum(dims, keepdim);
        }
        // Where an element or the norm is 0 the gradient is 0.
        let zero = x.eq(0.0)?;
        let none = if ord > 0.0 { 0.0 } else { f64::INFINITY };
        let powers = x.fill_where(&zero, Number::Float(1.0))?.pow(ord)?.fill_where(&zero, Number::Float(none))?;
        let sum = powers.sum(dims, keepdim)?;
        let empty = sum.eq(none)?;
        let norm = sum.fill_where(&empty, Number::Float(1.0))?.pow(1.0 / ord)?;
        norm.fill_where(&empty, Number::Float(0.0))
    }

    /// `self.prod(dim, keepdim)`, over all elements without a dimension.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn prod(&self, dim: Option<i64>, keepdim: bool) -> Result<Self> {
        let [x] = &single([self])?;
        let x = if x.kind() == Kind::Float { x.clone() } else { x.cast(DType::I64)? };
        let (x, dim) = match dim {
            Some(dim) => (x.clone(), x.dim(dim)?),
            None => (x.reshaped(&[x.numel()])?, 0),
        };
        if x.rank() == 0 {
            return Ok(x);
        }
        if x.numel() == 0 {
            return Array::nothing(&x.reduced_shape(&[dim], keepdim), x.dtype(), &[&x]).add(1);
        }
        x.along(&[dim], keepdim, |x, dim| {
            Array::of(match x.kind() {
                Kind::Float => Dispatch::float_prod_dim(x.prim(), dim),
                _ => Dispatch::int_prod_dim(x.prim(), dim),
            })
        })
    }

    /// `torch.amax(self, dims, keepdim)`: equal maxima share the gradient.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn amax(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        self.shared_extreme(dims, keepdim, true)
    }

    /// `torch.amin(self, dims, keepdim)`: equal minima share the gradient.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn amin(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        self.shared_extreme(dims, keepdim, false)
    }

    fn shared_extreme(&self, dims: &[i64], keepdim: bool, largest: bool) -> Result<Self> {
        let x = if self.kind() == Kind::Bool { self.as_bytes() } else { self.clone() };
        let named = x.dims(dims)?;
        if named.iter().any(|&dim| x.shape()[dim] == 0) {
            return Err(refused("amax", "an empty tensor has no extremes"));
        }
        if self.numel() == 0 {
            return self.reshaped(&x.reduced_shape(&named, keepdim));
        }
        let extreme = x.detach().along(&named, true, |x, dim| {
            Array::of(match (x.kind(), largest) {
                (Kind::Float, true) => Dispatch::float_max_dim(x.prim(), dim),
                (Kind::Float, false) => Dispatch::float_min_dim(x.prim(), dim),
                (_, true) => Dispatch::int_max_dim(x.prim(), dim),
                (_, false) => Dispatch::int_min_dim(x.prim(), dim),
            })
        })?;
        let shape = x.reduced_shape(&named, keepdim);
        if x.kind() != Kind::Float {
            return extreme.cast(self.dtype())?.reshaped(&shape);
        }
        // The extreme itself, and a 0 through which the gradient goes to all that are equal to it.
        let equal = x.eq(&extreme)?;
        let share = equal.cast(x.dtype())?.sum(dims, true)?;
        let zero =
            x.no_change()?.fill_where(&equal.logical_not()?, Number::Float(0.0))?.sum(dims, true)?.div(&share)?;
        let none = share.eq(0.0)?;
        extreme.add(&zero.fill_where(&none, Number::Float(0.0))?)?.reshaped(&shape)
    }

    /// `torch.max(self, dim)` and `torch.min(self, dim)`: the values and the indices of the first of them.
    ///
    /// # Errors
    /// When there is no such dimension, or it is empty.
    pub fn extreme_of(&self, dim: i64, keepdim: bool, largest: bool) -> Result<(Self, Self)> {
        let index = self.arg_extreme(Some(dim), true, largest)?;
        if self.rank() == 0 {
            return Ok((self.clone(), index));
        }
        let values = self.gathered(dim, &index)?;
        if keepdim {
            return Ok((values, index));
        }
        let dims = [self.dim(dim)?];
        let shape = self.reduced_shape(&dims, false);
        Ok((values.reshaped(&shape)?, index.reshaped(&shape)?))
    }

    /// `torch.argmax` and `torch.argmin`: the index of the first, over all elements without a dimension.
    ///
    /// # Errors
    /// When there is no such dimension, or it is empty.
    pub fn arg_extreme(&self, dim: Option<i64>, keepdim: bool, largest: bool) -> Result<Self> {
        let x = match self.kind() {
            Kind::Bool => self.cast(DType::I32)?,
            _ => self.detach(),
        };
        let (x, dim) = match dim {
            Some(dim) => (x.clone(), x.dim(dim)?),
            None => (x.reshaped(&[x.numel()])?, 0),
        };
        if x.rank() == 0 {
            return Array::from_ints(&[0], &[], &self.device());
        }
        if x.shape()[dim] == 0 {
            return Err(refused("argmax", "an empty tensor has no extremes"));
        }
        if x.numel() == 0 {
            return Ok(Array::full(&x.reduced_shape(&[dim], keepdim), Number::Int(0), DType::I64, &x.device()));
        }
        let found = match (x.kind(), largest) {
            (Kind::Float, true) => Dispatch::float_argmax(x.prim(), dim, IntDType::I64),
            (Kind::Float, false) => Dispatch::float_argmin(x.prim(), dim, IntDType::I64),
            (_, true) => Dispatch::int_argmax(x.prim(), dim),
            (_, false) => Dispatch::int_argmin(x.prim(), dim),
        };
        Array::of(found).cast(DType::I64)?.reshaped(&x.reduced_shape(&[dim], keepdim))
    }

    /// `torch.any(self, dims, keepdim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn any(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        self.cast(BOOL)?.sum(dims, keepdim)?.ne(0)
    }

    /// `torch.all(self, dims, keepdim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn all(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        self.logical_not()?.any(dims, keepdim)?.logical_not()
    }

    /// `torch.cumsum(self, dim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn cumsum(&self, dim: i64) -> Result<Self> {
        self.accumulated(dim, Dispatch::float_cumsum, Dispatch::int_cumsum)
    }

    /// `torch.cumprod(self, dim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn cumprod(&self, dim: i64) -> Result<Self> {
        self.accumulated(dim, Dispatch::float_cumprod, Dispatch::int_cumprod)
    }

    fn accumulated(&self, dim: i64, floats: Accumulate, ints: Accumulate) -> Result<Self> {
        let x = if self.kind() == Kind::Float { self.clone() } else { self.cast(DType::I64)? };
        let dim = x.dim(dim)?;
        if x.rank() == 0 || x.numel() == 0 {
            return Ok(x);
        }
        let accumulate = if x.kind() == Kind::Float { floats } else { ints };
        Ok(Array::of(accumulate(x.prim(), dim)))
    }

    /// `torch.logsumexp(self, dims, keepdim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn logsumexp(&self, dims: &[i64], keepdim: bool) -> Result<Self> {
        let x = self.floating()?;
        let max = x.detach().amax(dims, true)?;
        let max = select(&max.isinf()?, 0.0, &max)?.cast(x.dtype())?;
        let sum = x.sub(&max)?.unary(Unary::Exp)?.sum(dims, true)?.unary(Unary::Log)?.add(&max)?;
        sum.reshaped(&self.reduced_shape(&self.dims(dims)?, keepdim))
    }

    /// `torch.sort(self, dim, descending)`, stable: the values and their indices.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn sort(&self, dim: i64, descending: bool) -> Result<(Self, Self)> {
        let at = self.dim(dim)?;
        if self.rank() == 0 {
            return Ok((self.clone(), Array::from_ints(&[0], &[], &self.device())?));
        }
        let x = if self.kind() == Kind::Bool { self.cast(DType::I32)? } else { self.detach() };
        let order = match x.kind() {
            Kind::Float => Dispatch::float_argsort(x.prim(), at, descending, IntDType::I64),
            _ => Dispatch::int_argsort(x.prim(), at, descending),
        };
        let order = Array::of(order).cast(DType::I64)?;
        Ok((self.gathered(dim, &order)?, order))
    }

    /// `torch.topk(self, k, dim, largest)`: the values and their indices, the most extreme first.
    ///
    /// # Errors
    /// When there is no such dimension, or it is shorter.
    pub fn topk(&self, k: usize, dim: i64, largest: bool) -> Result<(Self, Self)> {
        let (values, indices) = self.sort(dim, largest)?;
        let at = self.dim(dim)?;
        if self.rank() == 0 {
            return Ok((values, indices));
        }
        if k > self.shape()[at] {
            return Err(refused("topk", format!("there are no {k} along a dimension of {}", self.shape()[at])));
        }
        Ok((values.sliced(at, 0, k, 1), indices.sliced(at, 0, k, 1)))
    }
}
