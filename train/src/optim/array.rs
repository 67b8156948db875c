//! `Array`: what updates of a whole parameter are made of beside the elements' arithmetic: norms, and sums of products. For
//! elements in host memory, and for a tensor on any device.
//!
//! PyTorch adds up `float32` in `float32`, in an order that depends on the machine and the number of threads. Here sums are
//! of doubles and rounded once, so they are as near to PyTorch's as PyTorch's are to each other, and the same everywhere.

use std::iter::zip;
use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::{DType as BurnDType, Tensor, bf16, f16};
use pulp::Arch;
use rayon::prelude::*;
use rekindle_recorder::{DType, Element, Result};

use super::number::{Number, Rest};
use crate::parameters::unreadable;

/// An element type that parameters are trained in.
pub(crate) trait Real:
    Number
    + Element
    + burn::tensor::Element
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// `torch.finfo(dtype).eps`.
    const EPSILON: f64;

    /// How many elements PyTorch computes at a time, with AVX-512, where the rest of a tensor is computed otherwise; else 1.
    const VECTOR: usize;

    /// One of that rest.
    type Rest: Number + Copy;

    /// Computes one of the rest.
    fn as_rest(self) -> Self::Rest;

    /// What came of it.
    fn of_rest(rest: Self::Rest) -> Self;

    /// The nearest to a number.
    fn of(number: f64) -> Self;

    /// The number.
    fn double(self) -> f64;

    /// `torch.abs`.
    fn magnitude(self) -> Self;

    /// `torch.sqrt`.
    fn root(self) -> Self;
}

/// What an expression gives for the element type, here called `T`, of parameters of this type.
macro_rules! with_real {
    ($dtype:expr, $T:ident => $given:expr) => {{
        macro_rules! of {
            ($real:ty) => {{
                type $T = $real;
                $given
            }};
        }
        match $dtype {
            rekindle_recorder::DType::Float64 => of!(f64),
            rekindle_recorder::DType::Float16 => of!(burn::tensor::f16),
            rekindle_recorder::DType::BFloat16 => of!(burn::tensor::bf16),
            _ => of!(f32),
        }
    }};
}
pub(crate) use with_real;

macro_rules! real {
    ($ty:ident) => {
        impl Real for $ty {
            const EPSILON: f64 = $ty::EPSILON as f64;
            const VECTOR: usize = 1;
            type Rest = $ty;

            #[inline(always)]
            fn as_rest(self) -> $ty {
                self
            }

            #[inline(always)]
            fn of_rest(rest: $ty) -> $ty {
                rest
            }

            #[allow(clippy::cast_possible_truncation, clippy::cast_lossless)]
            #[inline(always)]
            fn of(number: f64) -> Self {
                number as $ty
            }

            #[allow(clippy::cast_lossless)]
            #[inline(always)]
            fn double(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }
        }
    };
}

real!(f32);
real!(f64);

macro_rules! half_real {
    ($($ty:ident)*) => { $(
        impl Real for $ty {
            const EPSILON: f64 = $ty::EPSILON.to_f64_const();
            const VECTOR: usize = 32;
            type Rest = Rest<$ty>;

            #[inline(always)]
            fn as_rest(self) -> Rest<$ty> {
                Rest(self)
            }

            #[inline(always)]
            fn of_rest(rest: Rest<$ty>) -> $ty {
                rest.0
            }

            #[inline(always)]
            fn of(number: f64) -> Self {
                $ty::from_f64(number)
            }

            #[inline(always)]
            fn double(self) -> f64 {
                self.to_f64()
            }

            #[inline(always)]
            fn magnitude(self) -> Self {
                Number::abs(self)
            }

            #[inline(always)]
            fn root(self) -> Self {
                Number::sqrt(self)
            }
        }
    )* };
}

half_real!(f16 bf16);

/// A parameter, its gradient or its state, all elements in a row. Two that meet have the same number of elements.
pub(crate) trait Array: Clone {
    /// `torch.finfo(dtype).eps`.
    fn epsilon(&self) -> f64;
    /// `-self`.
    fn neg(self) -> Self;
    /// `self * scalar`.
    fn scale(self, scalar: f64) -> Self;
    /// `torch.add(self, other, alpha=alpha)`.
    fn add(self, other: &Self, alpha: f64) -> Self;
    /// `torch.lerp(self, end, weight)`.
    fn lerp(self, end: &Self, weight: f64) -> Self;
    /// `self.norm(2).item()`.
    fn norm(&self) -> Result<f64>;
}

/// Elements that one core takes at a time.
const PART: usize = 1 << 16;

impl<T: Real> Array for Vec<T> {
    fn epsilon(&self) -> f64 {
        T::EPSILON
    }

    fn neg(mut self) -> Self {
        each(&mut self, |x| -x);
        self
    }

    fn scale(mut self, scalar: f64) -> Self {
        each(&mut self, |x| Number::mul(x, scalar));
        self
    }

    fn add(mut self, other: &Self, alpha: f64) -> Self {
        let full = full(&self);
        let (values, rest) = self.split_at_mut(full);
        pairs(values, &other[..full], |x, y| Number::add(x, y, alpha));
        for (x, y) in zip(rest, &other[full..]) {
            *x = T::of_rest(Number::add(x.as_rest(), y.as_rest(), alpha));
        }
        self
    }

    fn lerp(mut self, end: &Self, weight: f64) -> Self {
        pairs(&mut self, end, |x, y| Number::lerp(x, y, weight));
        self
    }

    fn norm(&self) -> Result<f64> {
        Ok(T::of(dot(self, self).sqrt()).double())
    }
}

impl Array for Tensor<1> {
    fn epsilon(&self) -> f64 {
        with_real!(in_torch(self.dtype()), T => <T as Real>::EPSILON)
    }

    fn neg(self) -> Self {
        Number::neg(self)
    }

    fn scale(self, scalar: f64) -> Self {
        Number::mul(self, scalar)
    }

    fn add(self, other: &Self, alpha: f64) -> Self {
        Number::add(self, other.clone(), alpha)
    }

    fn lerp(self, end: &Self, weight: f64) -> Self {
        Number::lerp(self, end.clone(), weight)
    }

    fn norm(&self) -> Result<f64> {
        self.clone().square().sum().sqrt().try_into_scalar::<f64>().map_err(unreadable)
    }
}

/// How many of these elements PyTorch computes in full vector registers.
pub(crate) fn full<T: Real>(values: &[T]) -> usize {
    values.len() / T::VECTOR * T::VECTOR
}

/// `values.mean()` of so many elements with this sum. Of types of 16 bits PyTorch computes it in `float32` and rounds it once.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn mean_of<T: Real>(sum: f64, count: usize) -> T {
    if T::VECTOR > 1 { T::of((f32::of(sum) / count as f32).into()) } else { T::of(sum) / T::of(count as f64) }
}

/// Changes each element.
pub(crate) fn each<T: Real>(values: &mut [T], change: impl Fn(T) -> T + Copy + Send + Sync) {
    values.par_chunks_mut(PART).for_each(|values| {
        Arch::new().dispatch(
            #[inline(always)]
            || values.iter_mut().for_each(|x| *x = change(*x)),
        );
    });
}

/// Changes each element with another's of the same place.
pub(crate) fn pairs<T: Real>(values: &mut [T], others: &[T], change: impl Fn(T, T) -> T + Copy + Send + Sync) {
    values.par_chunks_mut(PART).zip(others.par_chunks(PART)).for_each(|(values, others)| {
        Arch::new().dispatch(
            #[inline(always)]
            || zip(values, others).for_each(|(x, y)| *x = change(*x, *y)),
        );
    });
}

/// What comes of each element, in a vector of its own.
pub(crate) fn mapped<T: Real>(values: &[T], change: impl Fn(T) -> T + Copy + Send + Sync) -> Vec<T> {
    values.par_iter().with_min_len(PART).map(|x| change(*x)).collect()
}

/// All elements in a row.
pub(crate) fn in_a_row<T: Real>(parts: &[&[T]]) -> Vec<T> {
    let mut all = vec![T::of(0.0); parts.iter().map(|part| part.len()).sum()];
    let (mut places, mut rest) = (Vec::new(), &mut all[..]);
    for part in parts.iter().flat_map(|part| part.chunks(PART)) {
        let (place, others) = rest.split_at_mut(part.len());
        places.push((place, part));
        rest = others;
    }
    places.into_par_iter().for_each(|(place, part)| place.copy_from_slice(part));
    all
}

/// As [`pairs`], and `torch.dot` of what comes of it and other elements, not rounded, while they are still in the cache.
pub(crate) fn pairs_and_dot<T: Real>(
    values: &mut [T],
    others: &[T],
    with: &[T],
    change: impl Fn(T, T) -> T + Copy + Send + Sync,
) -> f64 {
    let parts = values.par_chunks_mut(PART).zip(others.par_chunks(PART)).zip(with.par_chunks(PART));
    let parts = parts.map(|((values, others), with)| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                zip(&mut *values, others).for_each(|(x, y)| *x = change(*x, *y));
                dot_of_part(values, with)
            },
        )
    });
    parts.collect::<Vec<f64>>().into_iter().sum()
}

/// `torch.dot`, not rounded.
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    // Parts of one size are added in one order: the result does not depend on the number of cores.
    let parts = a.par_chunks(PART).zip(b.par_chunks(PART)).map(|(a, b)| {
        Arch::new().dispatch(
            #[inline(always)]
            || dot_of_part(a, b),
        )
    });
    parts.collect::<Vec<f64>>().into_iter().sum()
}

/// Several sums at a time, as wide as the processor's registers.
#[inline(always)]
fn dot_of_part<T: Real>(a: &[T], b: &[T]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in zip(a, b) {
        for lane in 0..LANES {
            sums[lane] += a[lane].double() * b[lane].double();
        }
    }
    let rest: f64 = zip(a_rest, b_rest).map(|(a, b)| a.double() * b.double()).sum();
    sums.iter().sum::<f64>() + rest
}

/// A number as a tensor of this type has it. Numbers of 16 bits are computed in `float32` and rounded then.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn rounded(dtype: DType, number: f64) -> f64 {
    match dtype {
        DType::Float32 => f64::from(number as f32),
        DType::Float16 => f16::of(f64::from(number as f32)).double(),
        DType::BFloat16 => bf16::of(f64::from(number as f32)).double(),
        _ => number,
    }
}

/// A number by which a tensor of this type is multiplied or divided: of types of 16 bits, too, one of `float32`.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn factor(dtype: DType, number: f64) -> f64 {
    if dtype == DType::Float64 { number } else { f64::from(number as f32) }
}

/// PyTorch's type for a type that Burn trains parameters in.
pub(crate) fn in_torch(dtype: BurnDType) -> DType {
    match dtype {
        BurnDType::F64 => DType::Float64,
        BurnDType::F16 => DType::Float16,
        BurnDType::BF16 => DType::BFloat16,
        _ => DType::Float32,
    }
}

/// A number as Burn's elements of this type have it.
pub(crate) fn rounded_to(dtype: BurnDType, number: f64) -> f64 {
    rounded(in_torch(dtype), number)
}

/// `values.abs().sum()`, not rounded.
pub(crate) fn sum_of_magnitudes<T: Real>(values: &[T]) -> f64 {
    values.iter().map(|x| x.double().abs()).sum()
}

/// `values.abs().max()`: not a number if one is not.
pub(crate) fn largest_magnitude<T: Real>(values: &[T]) -> T {
    values.iter().fold(T::of(0.0), |largest, x| Number::maximum(x.magnitude(), largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_host_memory_and_of_a_tensor_agree() {
        let values: Vec<f32> = (0..60_001).map(|i: u16| (f32::from(i) * 0.37).sin()).collect();
        let exact: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        assert!((values.norm().unwrap() - exact).abs() / exact < 6e-8);
        let tensor = Tensor::<1>::from_data(&values[..], &burn::tensor::Device::flex());
        assert!((tensor.norm().unwrap() - exact).abs() / exact < 1e-5);
    }

    #[test]
    fn a_magnitude_that_is_not_a_number_is_the_largest() {
        assert!(largest_magnitude(&[1.0_f32, f32::NAN, -3.0]).is_nan());
        assert_eq!(largest_magnitude(&[1.0_f32, -3.0, 2.0]), 3.0);
    }
}
