//! `softmax` and `log_softmax` along the last dimension, row by row: `exp(x - max) / sum` and `x - max - log(sum)`, in the order
//! of PyTorch's `aten/src/ATen/native/cpu/SoftMaxKernel.cpp`. Slopes: `y (g - sum(g y))` and `g - exp(y) sum(g)`.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::math::exp;
use super::memory::{by_rows, contiguous, elements, lengths, tensor};
use super::simd::{Kernel, fma, largest, summed, vectorised};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Softmax {
    /// Whether the logarithm is wanted.
    pub(crate) log: bool,
}

/// Rows of `length`: of the input, and where the output goes.
struct Forward<'a> {
    log: bool,
    length: usize,
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut powers = vec![0.0; self.length];
        for (x, out) in self.x.chunks_exact(self.length).zip(self.out.chunks_exact_mut(self.length)) {
            let most = largest(x);
            for (power, x) in powers.iter_mut().zip(x) {
                *power = exp::<FMA>(*x - most);
            }
            let sum = summed(&powers, &powers, |sum, power, _| sum + power);
            if self.log {
                let log = sum.ln();
                for (out, x) in out.iter_mut().zip(x) {
                    out.write(*x - most - log);
                }
            } else {
                for (out, power) in out.iter_mut().zip(&powers) {
                    out.write(*power / sum);
                }
            }
        }
    }
}

/// Rows of `length`: of the output, of its gradient, and where that of the input goes.
struct Back<'a> {
    log: bool,
    length: usize,
    y: &'a [f32],
    g: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.y.chunks_exact(self.length).zip(self.g.chunks_exact(self.length));
        for ((y, g), out) in rows.zip(self.out.chunks_exact_mut(self.length)) {
            if self.log {
                let sum = summed(g, g, |sum, g, _| sum + g);
                for ((y, g), out) in y.iter().zip(g).zip(out) {
                    out.write(*g - exp::<FMA>(*y) * sum);
                }
            } else {
                let sum = summed(y, g, |sum, y, g| fma::<FMA>(y, g, sum));
                for ((y, g), out) in y.iter().zip(g).zip(out) {
                    out.write(*y * (*g - sum));
                }
            }
        }
    }
}

impl Operator for Softmax {
    #[allow(unsafe_code)]
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let input = contiguous(&inputs[0]);
        let (x, shape, log) = (elements(&input), lengths(&input), self.log);
        let length = shape.last().copied().unwrap_or(1);
        // SAFETY: a pass writes each row.
        let y = unsafe { by_rows(length, x, x, |x, _, out| vectorised(Forward { log, length, x, out })) };
        let y = tensor(y, &shape);
        (y.clone(), vec![y])
    }

    #[allow(unsafe_code)]
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let gradient = contiguous(&gradient);
        let (y, g, shape, log) = (elements(&kept[0]), elements(&gradient), lengths(&kept[0]), self.log);
        let length = shape.last().copied().unwrap_or(1);
        // SAFETY: as above.
        let slopes = unsafe { by_rows(length, y, g, |y, g, out| vectorised(Back { log, length, y, g, out })) };
        vec![Some(tensor(slopes, &shape))]
    }
}
