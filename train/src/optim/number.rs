//! `Number`: the primitives of `torch` that optimizers are made of, for one element and for a tensor on any device.
//!
//! An update rule is written once, over `Number`. For `f32`, `f64` and the types of 16 bits each primitive rounds where PyTorch's AVX2 and AVX-512
//! builds round, fused multiply-adds included, so that a parameter in host memory gets the same bits as in PyTorch. For a
//! tensor the primitives are Burn's, and whether a multiply-add is fused is up to the device.

use burn::tensor::{Tensor, bf16, f16};

/// What an update rule computes with. Scalars are `f64`, as in Python, and rounded to the element type where they are used.
pub(crate) trait Number: Clone {
    /// `torch.add(self, other, alpha=alpha)`.
    fn add(self, other: Self, alpha: f64) -> Self;
    /// `self + scalar`.
    fn add_scalar(self, scalar: f64) -> Self;
    /// `self * scalar`.
    fn mul(self, scalar: f64) -> Self;
    /// `self / scalar`.
    fn div(self, scalar: f64) -> Self;
    /// `self * other`.
    fn mul_by(self, other: Self) -> Self;
    /// `self / other`.
    fn div_by(self, other: Self) -> Self;
    /// `-self`.
    fn neg(self) -> Self;
    /// `torch.abs(self)`.
    fn abs(self) -> Self;
    /// `torch.reciprocal(self)`.
    fn reciprocal(self) -> Self;
    /// `torch.sqrt(self)`.
    fn sqrt(self) -> Self;
    /// `torch.maximum(self, other)`.
    fn maximum(self, other: Self) -> Self;
    /// `torch.clamp(self, min, max)`.
    fn clamp(self, min: f64, max: f64) -> Self;
    /// One of three scalars, by `torch.sign(self)`: a NaN counts as a zero.
    fn by_sign(self, negative: f64, zero: f64, positive: f64) -> Self;
    /// `torch.where(condition == scalar, 0, self)`.
    fn zero_where(self, condition: Self, scalar: f64) -> Self;
    /// `torch.lerp(self, end, weight)`.
    fn lerp(self, end: Self, weight: f64) -> Self;
    /// `torch.addcmul(self, x, y, value=value)`.
    fn addcmul(self, x: Self, y: Self, value: f64) -> Self;
    /// `torch.addcdiv(self, x, y, value=value)`.
    fn addcdiv(self, x: Self, y: Self, value: f64) -> Self;
}

macro_rules! element {
    ($ty:ident, $round:expr) => {
        impl Number for $ty {
            #[inline(always)]
            fn add(self, other: Self, alpha: f64) -> Self {
                other.mul_add($round(alpha), self)
            }

            #[inline(always)]
            fn add_scalar(self, scalar: f64) -> Self {
                self + $round(scalar)
            }

            #[inline(always)]
            fn mul(self, scalar: f64) -> Self {
                self * $round(scalar)
            }

            #[inline(always)]
            fn div(self, scalar: f64) -> Self {
                self / $round(scalar)
            }

            #[inline(always)]
            fn mul_by(self, other: Self) -> Self {
                self * other
            }

            #[inline(always)]
            fn div_by(self, other: Self) -> Self {
                self / other
            }

            #[inline(always)]
            fn neg(self) -> Self {
                -self
            }

            #[inline(always)]
            fn abs(self) -> Self {
                $ty::abs(self)
            }

            #[inline(always)]
            fn reciprocal(self) -> Self {
                1.0 / self
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                let root = $ty::sqrt(self);
                #[cfg(test)]
                let root = match root_errors::next() {
                    std::cmp::Ordering::Less => root.next_down(),
                    std::cmp::Ordering::Equal => root,
                    std::cmp::Ordering::Greater => root.next_up(),
                };
                root
            }

            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                // A NaN on either side is the result.
                if self > other || self.is_nan() { self } else { other }
            }

            #[inline(always)]
            fn clamp(self, min: f64, max: f64) -> Self {
                let (min, max) = ($round(min), $round(max));
                // A NaN stays, and where the bounds are the wrong way round the upper one holds: `f64::clamp` would panic.
                let raised = if self < min { min } else { self };
                if raised > max { max } else { raised }
            }

            #[inline(always)]
            fn by_sign(self, negative: f64, zero: f64, positive: f64) -> Self {
                let rest = if self < 0.0 { $round(negative) } else { $round(zero) };
                if self > 0.0 { $round(positive) } else { rest }
            }

            #[inline(always)]
            fn zero_where(self, condition: Self, scalar: f64) -> Self {
                if condition == $round(scalar) { 0.0 } else { self }
            }

            #[inline(always)]
            fn lerp(self, end: Self, weight: f64) -> Self {
                let weight = $round(weight);
                let difference = end - self;
                if weight.abs() < 0.5 {
                    weight.mul_add(difference, self)
                } else {
                    (weight - 1.0).mul_add(difference, end)
                }
            }

            #[inline(always)]
            fn addcmul(self, x: Self, y: Self, value: f64) -> Self {
                ($round(value) * x).mul_add(y, self)
            }

            #[inline(always)]
            fn addcdiv(self, x: Self, y: Self, value: f64) -> Self {
                self + ($round(value) * x) / y
            }
        }
    };
}

/// Makes square roots of this thread wrong by a unit in the last place, as MKL's are now and then.
#[cfg(test)]
pub(super) mod root_errors {
    use std::cell::RefCell;
    use std::cmp::Ordering;

    thread_local! {
        static ERRORS: RefCell<std::iter::Cycle<std::vec::IntoIter<Ordering>>> = RefCell::new(Vec::new().into_iter().cycle());
    }

    /// From now on, one after the other and again; none for right ones.
    pub(crate) fn set(errors: Vec<Ordering>) {
        ERRORS.set(errors.into_iter().cycle());
    }

    pub(super) fn next() -> Ordering {
        ERRORS.with_borrow_mut(|errors| errors.next().unwrap_or(Ordering::Equal))
    }
}

#[allow(clippy::cast_possible_truncation)]
const fn single(scalar: f64) -> f32 {
    scalar as f32
}

element!(f32, single);
element!(f64, std::convert::identity);

/// Types of 16 bits: PyTorch's kernels compute each primitive in `float32` and round what comes of it once. A number that is added,
/// or that another is multiplied by to be added, is rounded to the type before.
macro_rules! half_element {
    ($ty:ident: $($name:ident($($argument:ident: $kind:ident),*)),*) => {
        impl Number for $ty {
            half_element!(@with $ty, |x: $ty| x.to_f32(), $ty::from_f32;
                $($name($($argument: $kind),*)),*);

            #[inline(always)]
            fn add(self, other: Self, alpha: f64) -> Self {
                $ty::from_f32(self.to_f32() + $ty::from_f64(alpha).to_f32() * other.to_f32())
            }
        }

        impl Number for Rest<$ty> {
            half_element!(@with Rest<$ty>, |x: Rest<$ty>| x.0.to_f32(), |x| Rest($ty::from_f32(x));
                $($name($($argument: $kind),*)),*);

            #[inline(always)]
            fn add(self, other: Self, alpha: f64) -> Self {
                Rest(self.0 + $ty::from_f64(alpha) * other.0)
            }
        }
    };
    (@with $self:ty, $wide:expr, $narrow:expr; $($name:ident($($argument:ident: $kind:ident),*)),*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $kind),*) -> Self {
                $narrow(<f32 as Number>::$name($wide(self), $(half_element!(@wide $kind $argument $wide)),*))
            }
        )*

        #[inline(always)]
        fn add_scalar(self, scalar: f64) -> Self {
            let scalar = $narrow(single(scalar));
            $narrow($wide(self) + $wide(scalar))
        }
    };
    (@wide Self $argument:ident $wide:expr) => { $wide($argument) };
    (@wide f64 $argument:ident $wide:expr) => { $argument };
}

/// One of the last elements of a tensor, which no vector register is full of: PyTorch rounds a product before it is added to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest<T>(pub(crate) T);

macro_rules! half_elements {
    ($($ty:ident)*) => { $(
        half_element!($ty:
            mul(scalar: f64), div(scalar: f64), mul_by(other: Self), div_by(other: Self), neg(), abs(), reciprocal(), sqrt(),
            maximum(other: Self), clamp(min: f64, max: f64), by_sign(negative: f64, zero: f64, positive: f64),
            zero_where(condition: Self, scalar: f64), lerp(end: Self, weight: f64), addcmul(x: Self, y: Self, value: f64),
            addcdiv(x: Self, y: Self, value: f64));
    )* };
}

half_elements!(f16 bf16);

impl Number for Tensor<1> {
    fn add(self, other: Self, alpha: f64) -> Self {
        self + other * alpha
    }

    fn add_scalar(self, scalar: f64) -> Self {
        self + scalar
    }

    fn mul(self, scalar: f64) -> Self {
        self * scalar
    }

    fn div(self, scalar: f64) -> Self {
        self / scalar
    }

    fn mul_by(self, other: Self) -> Self {
        self * other
    }

    fn div_by(self, other: Self) -> Self {
        self / other
    }

    fn neg(self) -> Self {
        -self
    }

    fn abs(self) -> Self {
        Tensor::abs(self)
    }

    fn reciprocal(self) -> Self {
        self.recip()
    }

    fn sqrt(self) -> Self {
        Tensor::sqrt(self)
    }

    fn maximum(self, other: Self) -> Self {
        self.max_pair(other)
    }

    fn clamp(self, min: f64, max: f64) -> Self {
        Tensor::clamp(self, min, max)
    }

    fn by_sign(self, negative: f64, zero: f64, positive: f64) -> Self {
        let (below, above) = (self.clone().lower_elem(0.0), self.clone().greater_elem(0.0));
        self.full_like(zero).mask_fill(below, negative).mask_fill(above, positive)
    }

    fn zero_where(self, condition: Self, scalar: f64) -> Self {
        self.mask_fill(condition.equal_elem(scalar), 0.0)
    }

    fn lerp(self, end: Self, weight: f64) -> Self {
        if weight.abs() < 0.5 {
            self.clone() + (end - self) * weight
        } else {
            end.clone() + (end - self) * (weight - 1.0)
        }
    }

    fn addcmul(self, x: Self, y: Self, value: f64) -> Self {
        self + x * value * y
    }

    fn addcdiv(self, x: Self, y: Self, value: f64) -> Self {
        self + x * value / y
    }
}
