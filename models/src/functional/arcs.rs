//! Inverse sine, cosine and tangent on devices other than the CPU, where the device's own need not be near: Vulkan lets them be 4096
//! units of the last place off, and Mesa's are at 1e-4. Polynomials and reductions are those of S. Moshier's Cephes library (`asinf.c`,
//! `atanf.c`), in float32.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use burn::tensor::DType;

use super::array::Array;
use super::broadcast::select;
use super::unary::Unary;
use crate::Result;

/// `asin(x) = x + x z P(z)`, `z = x^2`, up to a half.
const ASIN: [f64; 5] = [4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1];
/// `atan(x) = x + x z P(z)` up to `tan(pi / 8)`.
const ATAN: [f64; 4] = [8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1];
/// `tan(pi / 8)` and `tan(3 pi / 8)`.
const TANGENTS: [f64; 2] = [0.414_213_562_373_095, 2.414_213_562_373_095];

/// `x + x z P(z)`.
fn odd(x: &Array, coefficients: &[f64]) -> Result<Array> {
    let z = x.mul(x)?;
    let mut sum = Array::full(x.shape(), 0.0.into(), x.dtype(), &x.device());
    for coefficient in coefficients {
        sum = sum.mul(&z)?.add(*coefficient)?;
    }
    x.add(&sum.mul(&z)?.mul(x)?)
}

impl Array {
    /// A function in float32 of numbers of 16 bits, too.
    fn in_single(&self, function: impl FnOnce(&Array) -> Result<Array>) -> Result<Self> {
        function(&self.cast(DType::F32)?)?.cast(self.dtype())
    }

    pub(super) fn arc_sine(&self) -> Result<Self> {
        self.in_single(|x| {
            let a = x.unary(Unary::Abs)?;
            let far = a.gt(0.5)?;
            let near = odd(&select(&far, 0.0, x)?, &ASIN)?;
            // asin(a) = pi / 2 - 2 asin(sqrt((1 - a) / 2)); where it is not wanted, nothing is divided by 0 on the way back.
            let half = select(&far, &a.rsub(1.0)?.mul(0.5)?, 0.25)?.unary(Unary::Sqrt)?;
            let rest = odd(&half, &ASIN)?.mul(-2.0)?.add(FRAC_PI_2)?;
            select(&far, &rest.mul(&x.unary(Unary::Sign)?)?, &near)
        })
    }

    pub(super) fn arc_cosine(&self) -> Result<Self> {
        self.in_single(|x| {
            let a = x.unary(Unary::Abs)?;
            let far = a.gt(0.5)?;
            let near = odd(&select(&far, 0.0, x)?, &ASIN)?.rsub(FRAC_PI_2)?;
            let half = select(&far, &a.rsub(1.0)?.mul(0.5)?, 0.25)?.unary(Unary::Sqrt)?;
            let rest = odd(&half, &ASIN)?.mul(2.0)?;
            select(&far, &select(&x.lt(0.0)?, &rest.rsub(PI)?, &rest)?, &near)
        })
    }

    pub(super) fn arc_tangent(&self) -> Result<Self> {
        self.in_single(|x| {
            let a = x.unary(Unary::Abs)?;
            let (middle, far) = (a.gt(TANGENTS[0])?, a.gt(TANGENTS[1])?);
            let near = odd(&select(&middle, 0.0, x)?, &ATAN)?;
            // atan(a) = pi / 4 + atan((a - 1) / (a + 1)) = pi / 2 - atan(1 / a)
            let between = select(&far, 1.0, &a)?;
            let between = odd(&between.sub(1.0)?.div(&between.add(1.0)?)?, &ATAN)?.add(FRAC_PI_4)?;
            let beyond = odd(&select(&far, &a, 1.0)?.unary(Unary::Reciprocal)?, &ATAN)?.rsub(FRAC_PI_2)?;
            select(&middle, &select(&far, &beyond, &between)?.mul(&x.unary(Unary::Sign)?)?, &near)
        })
    }
}
