//! `Number`: the primitives of `torch` that optimizers are made of, for one element and for a tensor on any device.
//!
//! An update rule is written once, over `Number`. For `f32` and `f64` each primitive rounds where PyTorch's AVX2 and AVX-512
//! builds round, fused multiply-adds included, so that a parameter in host memory gets the same bits as in PyTorch. For a
//! tensor the primitives are Burn's, and whether a multiply-add is fused is up to the device.

use burn::tensor::Tensor;

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
    /// `-self`.
    fn neg(self) -> Self;
    /// `torch.sqrt(self)`.
    fn sqrt(self) -> Self;
    /// `torch.maximum(self, other)`.
    fn maximum(self, other: Self) -> Self;
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
            fn neg(self) -> Self {
                -self
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                $ty::sqrt(self)
            }

            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                // A NaN on either side is the result.
                if self > other || self.is_nan() { self } else { other }
            }

            #[inline(always)]
            fn lerp(self, end: Self, weight: f64) -> Self {
                let weight = $round(weight);
                let difference = end - self;
                if weight.abs() < 0.5 {
                    weight.mul_add(difference, self)
                } else {
                    (-difference).mul_add(1.0 - weight, end)
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

#[allow(clippy::cast_possible_truncation)]
const fn single(scalar: f64) -> f32 {
    scalar as f32
}

element!(f32, single);
element!(f64, std::convert::identity);

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

    fn neg(self) -> Self {
        -self
    }

    fn sqrt(self) -> Self {
        Tensor::sqrt(self)
    }

    fn maximum(self, other: Self) -> Self {
        self.max_pair(other)
    }

    fn lerp(self, end: Self, weight: f64) -> Self {
        if weight.abs() < 0.5 {
            self.clone() + (end - self) * weight
        } else {
            end.clone() - (end - self) * (1.0 - weight)
        }
    }

    fn addcmul(self, x: Self, y: Self, value: f64) -> Self {
        self + x * value * y
    }

    fn addcdiv(self, x: Self, y: Self, value: f64) -> Self {
        self + x * value / y
    }
}
