//! `layer_norm`: `y = (x - mean) / sqrt(var + eps) * weight + bias` over rows, the moments in two passes. Slopes, with
//! `h = (x - mean) / deviation` and `w = weight * dy`: `dx = (w - mean(w) - h mean(w h)) / deviation`, `dweight = sum dy h`,
//! `dbias = sum dy` (PyTorch's `aten/src/ATen/native/cpu/layer_norm_kernel.cpp`).

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::memory::{by_rows, contiguous, elements, fresh, lengths, tensor};
use super::simd::{Kernel, fma, summed, vectorised};
use super::threads::collected;

/// How many parts the gradients of weight and bias are summed in.
const PARTS: usize = 16;

/// `layer_norm`: inputs `x`, then `weight` and `bias` where there are any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNorm {
    /// How many elements are normalised together.
    pub(crate) length: usize,
    pub(crate) eps: f64,
    pub(crate) weight: bool,
    pub(crate) bias: bool,
}

/// The mean, and 1 over the deviation.
#[inline(always)]
#[allow(clippy::cast_precision_loss)] // the length of a row
fn moments<const FMA: bool>(x: &[f32], eps: f32) -> (f32, f32) {
    let length = x.len() as f32;
    let mean = summed(x, x, |sum, x, _| sum + x) / length;
    let squares = summed(x, x, |sum, x, _| fma::<FMA>(x - mean, x - mean, sum));
    (mean, 1.0 / (squares / length + eps).sqrt())
}

struct Forward<'a> {
    eps: f32,
    weight: &'a [f32],
    bias: &'a [f32],
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let length = self.weight.len();
        for (x, out) in self.x.chunks_exact(length).zip(self.out.chunks_exact_mut(length)) {
            let (mean, scale) = moments::<FMA>(x, self.eps);
            for (((x, weight), bias), out) in x.iter().zip(self.weight).zip(self.bias).zip(out) {
                out.write(fma::<FMA>((*x - mean) * scale, *weight, *bias));
            }
        }
    }
}

struct Back<'a> {
    eps: f32,
    weight: &'a [f32],
    x: &'a [f32],
    g: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Back<'_> {
    /// The parts of the gradients of weight and bias.
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    #[allow(clippy::cast_precision_loss)] // the length of a row
    fn run<const FMA: bool>(self) -> (Vec<f32>, Vec<f32>) {
        let length = self.weight.len();
        let zeros = || vec![0.0; length];
        let (mut dweight, mut dbias, mut normal, mut weighted) = (zeros(), zeros(), zeros(), zeros());
        let rows = self.x.chunks_exact(length).zip(self.g.chunks_exact(length));
        for ((x, g), out) in rows.zip(self.out.chunks_exact_mut(length)) {
            let (mean, scale) = moments::<FMA>(x, self.eps);
            for ((normal, x), (weighted, (weight, g))) in
                normal.iter_mut().zip(x).zip(weighted.iter_mut().zip(self.weight.iter().zip(g)))
            {
                *normal = (*x - mean) * scale;
                *weighted = *weight * *g;
            }
            for ((dweight, dbias), (normal, g)) in dweight.iter_mut().zip(&mut dbias).zip(normal.iter().zip(g)) {
                *dweight = fma::<FMA>(*g, *normal, *dweight);
                *dbias += *g;
            }
            let one = summed(&weighted, &normal, |sum, w, _| sum + w) / length as f32;
            let two = summed(&weighted, &normal, |sum, w, h| fma::<FMA>(w, h, sum)) / length as f32;
            for ((weighted, normal), out) in weighted.iter().zip(&normal).zip(out) {
                out.write(scale * (*weighted - one - *normal * two));
            }
        }
        (dweight, dbias)
    }
}

impl LayerNorm {
    /// The weight among what was given, or ones.
    fn weight_of(&self, given: &[FlexTensor]) -> Vec<f32> {
        if self.weight { elements(&contiguous(&given[1])).to_vec() } else { vec![1.0; self.length] }
    }
}

impl Operator for LayerNorm {
    #[allow(unsafe_code, clippy::cast_possible_truncation)] // eps is a 32-bit number in PyTorch, too
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let input = contiguous(&inputs[0]);
        let (x, length, eps) = (elements(&input), self.length, self.eps as f32);
        let weight = self.weight_of(inputs);
        let bias = match inputs.last() {
            Some(bias) if self.bias => elements(&contiguous(bias)).to_vec(),
            _ => vec![0.0; length],
        };
        let pass = |x: &[f32], _: &[f32], out: &mut [MaybeUninit<f32>]| {
            vectorised(Forward { eps, weight: &weight, bias: &bias, x, out });
        };
        // SAFETY: a pass writes each row.
        let y = unsafe { by_rows(length, x, x, pass) };
        let y = tensor(y, &lengths(&input));
        let kept = std::iter::once(input).chain(inputs[1..].iter().cloned()).collect();
        (y, kept)
    }

    #[allow(unsafe_code, clippy::cast_possible_truncation)]
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let gradient = contiguous(&gradient);
        let (x, g, length, eps) = (elements(&kept[0]), elements(&gradient), self.length, self.eps as f32);
        assert_eq!(x.len(), g.len(), "a gradient is as large as its tensor");
        let weight = self.weight_of(kept);
        let size = (x.len() / length).div_ceil(PARTS) * length;
        let mut parts = Vec::new();
        // SAFETY: shares of whole rows make up the output, and a pass writes each row.
        let dx = unsafe {
            fresh(x.len(), |out| {
                let shares = x.chunks(size).zip(g.chunks(size)).zip(out.chunks_mut(size));
                parts = collected(shares, |((x, g), out)| vectorised(Back { eps, weight: &weight, x, g, out }));
            })
        };
        let (mut dweight, mut dbias) = (vec![0.0; length], vec![0.0; length]);
        for (weight, bias) in parts {
            dweight.iter_mut().zip(weight).for_each(|(sum, part)| *sum += part);
            dbias.iter_mut().zip(bias).for_each(|(sum, part)| *sum += part);
        }
        let mut gradients = vec![Some(tensor(dx, &lengths(&kept[0])))];
        gradients.extend(self.weight.then(|| Some(tensor(dweight, &lengths(&kept[1])))));
        gradients.extend(self.bias.then(|| Some(tensor(dbias, &lengths(&kept[kept.len() - 1])))));
        gradients
    }
}
