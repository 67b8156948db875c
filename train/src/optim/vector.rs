//! `Vector`: all elements of a parameter as one `Number`, with norms and means: what rules are written in that need the whole of
//! a parameter (a trust ratio, the share of an update that is kept), once for host memory and for a tensor on any device.

use burn::tensor::Tensor;
use pulp::Arch;
use rayon::prelude::*;
use rekindle_recorder::Result;

use super::array::{Array, Real, each, factor, in_torch, mean_of, pairs, rounded};
use super::elementwise::{Formula, PART};
use super::number::Number;
use crate::attributes::invalid;
use crate::parameters::unreadable;

/// A parameter, its gradient or its state. Two that meet have the same number of elements.
pub(crate) trait Vector: Number {
    /// `self.norm(2.0).item()`.
    fn norm(&self) -> Result<f64>;
    /// `self.mean().item()`.
    fn mean(&self) -> Result<f64>;
    /// A number as the elements' type has it: what a tensor of no dimensions holds.
    fn round(&self, number: f64) -> f64;
    /// A number by which such a tensor is multiplied or divided.
    fn factor(&self, number: f64) -> f64;
}

impl<T: Real> Vector for Vec<T> {
    fn norm(&self) -> Result<f64> {
        Array::norm(self)
    }

    fn mean(&self) -> Result<f64> {
        let sum: f64 = self.iter().map(|x| x.double()).sum();
        Ok(mean_of::<T>(sum, self.len()).double())
    }

    fn round(&self, number: f64) -> f64 {
        rounded(T::DTYPE, number)
    }

    fn factor(&self, number: f64) -> f64 {
        factor(T::DTYPE, number)
    }
}

impl Vector for Tensor<1> {
    fn norm(&self) -> Result<f64> {
        Array::norm(self)
    }

    fn mean(&self) -> Result<f64> {
        self.clone().mean().try_into_scalar::<f64>().map_err(unreadable)
    }

    fn round(&self, number: f64) -> f64 {
        rounded(in_torch(self.dtype()), number)
    }

    fn factor(&self, number: f64) -> f64 {
        factor(in_torch(self.dtype()), number)
    }
}

/// An update of a whole parameter.
pub(crate) trait Vectorwise: Send + Sync {
    /// The names of the state tensors that it reads and writes, in order.
    fn state(&self) -> &[&'static str];

    /// The new parameter and state.
    fn step<X: Vector>(&self, param: X, grad: X, state: Vec<X>) -> Result<(X, Vec<X>)>;
}

/// A [`Formula`] by a [`Vectorwise`].
#[derive(Debug)]
pub(crate) struct Whole<F>(pub(crate) F);

impl<F: Vectorwise> Formula for Whole<F> {
    fn state(&self) -> &[&'static str] {
        self.0.state()
    }

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()> {
        let before = state.iter().map(|values| values.to_vec()).collect();
        let (updated, after) = self.0.step(param.to_vec(), grad.to_vec(), before)?;
        param.copy_from_slice(&updated);
        for (values, after) in state.into_iter().zip(after) {
            values.copy_from_slice(&after);
        }
        Ok(())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        self.0.step(param, grad, state)
    }
}

/// The state tensors of an update, of which there are so many.
pub(crate) fn state_of<X, const K: usize>(state: Vec<X>) -> Result<[X; K]> {
    state.try_into().map_err(|_| invalid("a parameter's state does not have the tensors of its optimizer"))
}

/// Each primitive, element by element: alone, with another's of the same place, or with two others'.
macro_rules! elementwise {
    ($($over:ident { $($name:ident($($other:ident),*; $($scalar:ident),*))* })*) => {
        impl<T: Real> Number for Vec<T> {
            fn add(self, other: Self, alpha: f64) -> Self {
                Array::add(self, &other, alpha)
            }

            $($(
            fn $name(mut self, $($other: Self,)* $($scalar: f64),*) -> Self {
                $over(&mut self, $(&$other,)* |x, $($other),*| Number::$name(x, $($other,)* $($scalar),*));
                self
            }
            )*)*
        }
    };
}

elementwise! {
    each {
        add_scalar(; scalar) mul(; scalar) div(; scalar) neg(;) abs(;) reciprocal(;) sqrt(;) clamp(; min, max)
        by_sign(; negative, zero, positive)
    }
    pairs {
        mul_by(other;) div_by(other;) maximum(other;) zero_where(condition; scalar) lerp(end; weight)
    }
    triples { addcmul(x, y; value) addcdiv(x, y; value) }
}

/// Changes each element with two others' of the same place.
fn triples<T: Real>(values: &mut [T], xs: &[T], ys: &[T], change: impl Fn(T, T, T) -> T + Copy + Send + Sync) {
    values.par_chunks_mut(PART).zip(xs.par_chunks(PART)).zip(ys.par_chunks(PART)).for_each(|((values, xs), ys)| {
        Arch::new().dispatch(
            #[inline(always)]
            || values.iter_mut().zip(xs).zip(ys).for_each(|((value, x), y)| *value = change(*value, *x, *y)),
        );
    });
}
