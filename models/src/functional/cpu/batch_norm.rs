//! `batch_norm` in training: `y = x * a + b` for each channel, with `a = weight / sqrt(var + eps)` and `b = bias - mean * a`.
//! Slopes: `dx = (dy - mean(dy) - (x - mean) sum(dy (x - mean)) / (n deviation^2)) * a`, `dweight = sum(dy (x - mean)) / deviation`,
//! `dbias = sum dy` (PyTorch's `aten/src/ATen/native/Normalization.cpp`; sums of channels there are 64-bit, and are here).

use std::mem::MaybeUninit;
use std::sync::{Arc, OnceLock};

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::backend::Operator;
use super::memory::{contiguous, elements, fresh, lengths, tensor};
use super::simd::{Kernel, fma, summed, vectorised};

/// As many elements as make up a thread's work.
const ELEMENTS: usize = 16_384;

/// `batch_norm`: inputs `x [batch, channels, ...]`, `weight` and `bias`.
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    pub(crate) eps: f64,
    /// Where mean and biased variance of the channels are put.
    pub(crate) moments: Arc<OnceLock<[Vec<f32>; 2]>>,
}

/// Two sums of a channel.
struct Sums<'a> {
    /// The channel's planes: of the input, and of another tensor.
    planes: &'a dyn Fn(usize) -> (&'a [f32], &'a [f32]),
    images: usize,
    mean: f32,
    /// Sums of `x` and `(x - mean)^2`, or of `other` and `other (x - mean)`.
    squares: bool,
}

impl Kernel for Sums<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f64; 2] {
        let (mut sums, mean) = ([0.0; 2], self.mean);
        for image in 0..self.images {
            let (x, other) = (self.planes)(image);
            let [one, two] = if self.squares {
                [summed(x, x, |sum, x, _| sum + x), summed(x, x, |sum, x, _| fma::<FMA>(x - mean, x - mean, sum))]
            } else {
                let dot = summed(x, other, |sum, x, g| fma::<FMA>(g, x - mean, sum));
                [summed(other, other, |sum, g, _| sum + g), dot]
            };
            sums[0] += f64::from(one);
            sums[1] += f64::from(two);
        }
        sums
    }
}

/// `(x - mean) * scale[0] + other * scale[1] + shift` over the planes of images.
struct Scaled<'a> {
    pixels: usize,
    /// For each channel: mean, the two scales, and the shift.
    channels: &'a [[f32; 4]],
    x: &'a [f32],
    other: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let planes = self.x.chunks_exact(self.pixels).zip(self.other.chunks_exact(self.pixels));
        let planes = planes.zip(self.out.chunks_exact_mut(self.pixels));
        for (((x, other), out), [mean, one, two, shift]) in planes.zip(self.channels.iter().cycle()) {
            for ((x, other), out) in x.iter().zip(other).zip(out) {
                out.write(fma::<FMA>(*x - mean, *one, fma::<FMA>(*other, *two, *shift)));
            }
        }
    }
}

/// `x * scale + shift` over the planes of images.
struct Affine<'a> {
    pixels: usize,
    channels: &'a [[f32; 2]],
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let planes = self.x.chunks_exact(self.pixels).zip(self.out.chunks_exact_mut(self.pixels));
        for ((x, out), [scale, shift]) in planes.zip(self.channels.iter().cycle()) {
            for (x, out) in x.iter().zip(out) {
                out.write(fma::<FMA>(*x, *scale, *shift));
            }
        }
    }
}

/// Images, channels, and elements of a plane.
fn planes(x: &FlexTensor) -> (usize, usize, usize) {
    let shape = lengths(x);
    (shape[0], shape[1], shape[2..].iter().product())
}

/// Two sums of each channel.
fn sums(x: &FlexTensor, other: &[f32], means: Option<&[f32]>, squares: bool) -> Vec<[f64; 2]> {
    let ((images, channels, pixels), x) = (planes(x), elements(x));
    let of_channel = |channel: usize| {
        let planes = |image: usize| {
            let start = (image * channels + channel) * pixels;
            (&x[start..][..pixels], &other[start..][..pixels])
        };
        let mean = means.map_or(0.0, |means| means[channel]);
        vectorised(Sums { planes: &planes, images, mean, squares })
    };
    (0..channels).into_par_iter().with_min_len((ELEMENTS / (images * pixels)).max(1)).map(of_channel).collect()
}

/// Elements of whole images that a thread takes at once.
fn share(channels: usize, pixels: usize) -> usize {
    ELEMENTS.div_ceil(channels * pixels) * channels * pixels
}

impl Operator for BatchNorm {
    #[allow(unsafe_code, clippy::cast_possible_truncation, clippy::cast_precision_loss)] // back to 32 bits; a number of elements
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let (input, weight, bias) = (contiguous(&inputs[0]), contiguous(&inputs[1]), contiguous(&inputs[2]));
        let ((images, channels, pixels), x) = (planes(&input), elements(&input));
        let count = (images * pixels) as f64;
        let mean: Vec<f32> = sums(&input, x, None, true).iter().map(|[sum, _]| (sum / count) as f32).collect();
        let var: Vec<f64> = sums(&input, x, Some(&mean), true).iter().map(|[_, squares]| squares / count).collect();
        let scale: Vec<f32> = var.iter().map(|var| (1.0 / (var + self.eps).sqrt()) as f32).collect();
        let rows = mean.iter().zip(&scale).zip(elements(&weight)).zip(elements(&bias));
        let affine: Vec<[f32; 2]> = rows
            .map(|(((mean, scale), weight), bias)| {
                let scale = scale * weight;
                [scale, bias - mean * scale]
            })
            .collect();
        let size = share(channels, pixels);
        // SAFETY: whole images are shared out, and a pass writes each of their planes.
        let y = unsafe {
            fresh(x.len(), |out| {
                x.par_chunks(size).zip(out.par_chunks_mut(size)).for_each(|(x, out)| {
                    vectorised(Affine { pixels, channels: &affine, x, out });
                });
            })
        };
        let kept = vec![input.clone(), weight, tensor(mean.clone(), &[channels]), tensor(scale, &[channels])];
        // A second run of the same operator gives the same.
        _ = self.moments.set([mean, var.iter().map(|var| *var as f32).collect()]);
        (tensor(y, &lengths(&input)), kept)
    }

    #[allow(unsafe_code, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let [input, weight, mean, scale] = kept else { return Vec::new() };
        let gradient = contiguous(&gradient);
        let ((images, channels, pixels), x, g) = (planes(input), elements(input), elements(&gradient));
        assert_eq!(x.len(), g.len(), "a gradient is as large as its tensor");
        let count = (images * pixels) as f64;
        let sums = sums(input, g, Some(elements(mean)), false);
        let rows = sums.iter().zip(elements(mean)).zip(elements(scale)).zip(elements(weight));
        let slopes: Vec<[f32; 4]> = rows
            .map(|((([sum, dot], mean), scale), weight)| {
                let scale = f64::from(*scale);
                let a = scale * f64::from(*weight);
                [*mean, (-dot * scale * scale / count * a) as f32, a as f32, (-sum / count * a) as f32]
            })
            .collect();
        let size = share(channels, pixels);
        // SAFETY: as above.
        let dx = unsafe {
            fresh(x.len(), |out| {
                let shares = x.par_chunks(size).zip(g.par_chunks(size)).zip(out.par_chunks_mut(size));
                shares.for_each(|((x, other), out)| vectorised(Scaled { pixels, channels: &slopes, x, other, out }));
            })
        };
        let dweight =
            sums.iter().zip(elements(scale)).map(|([_, dot], scale)| (dot * f64::from(*scale)) as f32).collect();
        let dbias = sums.iter().map(|[sum, _]| *sum as f32).collect();
        let channel = |sums| Some(tensor(sums, &[channels]));
        vec![Some(tensor(dx, &lengths(input))), channel(dweight), channel(dbias)]
    }
}
