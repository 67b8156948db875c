//! `batch_norm`, by the batch's own moments or by given ones. In training: `y = x * a + b` for each channel, with `a = weight / sqrt(var + eps)` and `b = bias - mean * a`.
//! Slopes: `dx = (dy - mean(dy) - (x - mean) sum(dy (x - mean)) / (n deviation^2)) * a`, `dweight = sum(dy (x - mean)) / deviation`,
//! `dbias = sum dy` (PyTorch's `aten/src/ATen/native/Normalization.cpp`; sums of channels there are 64-bit, and are here).

use std::mem::MaybeUninit;
use std::sync::{Arc, OnceLock};

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::memory::{contiguous, elements, fresh, lengths, tensor};
use super::simd::{Kernel, fma, summed, vectorised};
use super::threads::{collected, shared};

/// As many elements as make up a thread's work.
const ELEMENTS: usize = 16_384;
/// Planes of fewer elements are gone through side by side, an image after the other: by themselves they are too short for vectors.
const SHORT: usize = 32;
/// So many elements of an image at least are gone through side by side.
const SIDE_BY_SIDE: usize = 256;

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

/// The two sums of each place of an image, over the images.
struct Columns<'a> {
    /// From the first of the places on, and how far it is from one image to the next.
    x: &'a [f32],
    other: &'a [f32],
    pitch: usize,
    means: &'a [f32],
    squares: bool,
    sums: &'a mut [[f64; 2]],
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let count = self.sums.len();
        for (x, other) in self.x.chunks(self.pitch).zip(self.other.chunks(self.pitch)) {
            let places = self.sums.iter_mut().zip(&x[..count]).zip(&other[..count]).zip(&self.means[..count]);
            for (((sums, x), other), mean) in places {
                let centred = x - mean;
                let (one, two) = if self.squares { (*x, centred * centred) } else { (*other, other * centred) };
                sums[0] += f64::from(one);
                sums[1] += f64::from(two);
            }
        }
    }
}

/// `(x - mean) * scale[0] + other * scale[1] + shift` over the planes of images.
struct Scaled<'a> {
    pixels: usize,
    /// The channel of the first plane.
    first: usize,
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
        for (((x, other), out), [mean, one, two, shift]) in planes.zip(self.channels.iter().cycle().skip(self.first)) {
            for ((x, other), out) in x.iter().zip(other).zip(out) {
                out.write(fma::<FMA>(*x - mean, *one, fma::<FMA>(*other, *two, *shift)));
            }
        }
    }
}

/// The same over whole images, with what each place of an image has.
struct ScaledImages<'a> {
    places: &'a [[f32; 4]],
    x: &'a [f32],
    other: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for ScaledImages<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = self.places.len();
        let images = self.x.chunks_exact(len).zip(self.other.chunks_exact(len)).zip(self.out.chunks_exact_mut(len));
        for ((x, other), out) in images {
            for (((x, other), out), [mean, one, two, shift]) in x.iter().zip(other).zip(out).zip(self.places) {
                out.write(fma::<FMA>(*x - mean, *one, fma::<FMA>(*other, *two, *shift)));
            }
        }
    }
}

/// `x * scale + shift` over the planes of images.
struct Affine<'a> {
    pixels: usize,
    /// The channel of the first plane.
    first: usize,
    channels: &'a [[f32; 2]],
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let planes = self.x.chunks_exact(self.pixels).zip(self.out.chunks_exact_mut(self.pixels));
        for ((x, out), [scale, shift]) in planes.zip(self.channels.iter().cycle().skip(self.first)) {
            for (x, out) in x.iter().zip(out) {
                out.write(fma::<FMA>(*x, *scale, *shift));
            }
        }
    }
}

/// The same over whole images.
struct AffineImages<'a> {
    places: &'a [[f32; 2]],
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for AffineImages<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = self.places.len();
        for (x, out) in self.x.chunks_exact(len).zip(self.out.chunks_exact_mut(len)) {
            for ((x, out), [scale, shift]) in x.iter().zip(out).zip(self.places) {
                out.write(fma::<FMA>(*x, *scale, *shift));
            }
        }
    }
}

/// For each place of an image what its channel has.
fn of_places<T: Copy>(channels: &[T], pixels: usize) -> Vec<T> {
    channels.iter().flat_map(|channel| std::iter::repeat_n(*channel, pixels)).collect()
}

/// Images, channels, and elements of a plane.
fn planes(x: &FlexTensor) -> (usize, usize, usize) {
    let shape = lengths(x);
    (shape[0], shape[1], shape[2..].iter().product())
}

/// Two sums of each channel.
fn sums(x: &FlexTensor, other: &[f32], means: Option<&[f32]>, squares: bool) -> Vec<[f64; 2]> {
    let ((images, channels, pixels), x) = (planes(x), elements(x));
    if pixels < SHORT {
        let means = of_places(means.unwrap_or(&vec![0.0; channels]), pixels);
        let at_once = (ELEMENTS / (images * pixels)).max(SIDE_BY_SIDE / pixels);
        let some = |first: usize| {
            let (start, count) = (first * pixels, (channels - first).min(at_once) * pixels);
            let mut sums = vec![[0.0; 2]; count];
            let (x, other, means) = (&x[start..], &other[start..], &means[start..]);
            vectorised(Columns { x, other, pitch: channels * pixels, means, squares, sums: &mut sums });
            let of_channel = |sums: &[[f64; 2]]| sums.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
            sums.chunks_exact(pixels).map(of_channel).collect::<Vec<_>>()
        };
        return collected((0..channels).step_by(at_once), some).concat();
    }
    let of_channel = |channel: usize| {
        let planes = |image: usize| {
            let start = (image * channels + channel) * pixels;
            (&x[start..][..pixels], &other[start..][..pixels])
        };
        let mean = means.map_or(0.0, |means| means[channel]);
        vectorised(Sums { planes: &planes, images, mean, squares })
    };
    let at_once = (ELEMENTS / (images * pixels)).max(1);
    let some = |first: usize| (first..channels.min(first + at_once)).map(of_channel).collect::<Vec<_>>();
    collected((0..channels).step_by(at_once), some).concat()
}

/// How many planes a thread takes at once.
fn share(pixels: usize) -> usize {
    ELEMENTS.div_ceil(pixels)
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
        let y = self::affine(&input, &affine);
        let kept = vec![input.clone(), weight, tensor(mean.clone(), &[channels]), tensor(scale, &[channels])];
        // A second run of the same operator gives the same.
        _ = self.moments.set([mean, var.iter().map(|var| *var as f32).collect()]);
        (y, kept)
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
        let (at_once, size) = (share(pixels), share(pixels) * pixels);
        // SAFETY: whole planes, or images, are shared out, and a pass writes each of them.
        let dx = unsafe {
            fresh(x.len(), |out| {
                if pixels < SHORT {
                    let (places, size) = (of_places(&slopes, pixels), share(channels * pixels) * channels * pixels);
                    let shares = x.chunks(size).zip(g.chunks(size)).zip(out.chunks_mut(size));
                    return shared(shares, |((x, other), out)| {
                        vectorised(ScaledImages { places: &places, x, other, out });
                    });
                }
                let shares = x.chunks(size).zip(g.chunks(size)).zip(out.chunks_mut(size)).enumerate();
                shared(shares, |(at, ((x, other), out))| {
                    let first = at * at_once % channels;
                    vectorised(Scaled { pixels, first, channels: &slopes, x, other, out });
                });
            })
        };
        let dweight =
            sums.iter().zip(elements(scale)).map(|([_, dot], scale)| (dot * f64::from(*scale)) as f32).collect();
        let dbias = sums.iter().map(|[sum, _]| *sum as f32).collect();
        let channel = |sums| Some(tensor(sums, &[channels]));
        vec![Some(tensor(dx, &lengths(input))), channel(dweight), channel(dbias)]
    }
}

/// `batch_norm` by given moments: inputs `x [batch, channels, ...]`, `mean`, `var`, `weight` and `bias`. Slopes, of the same sums:
/// `dx = dy a`, `dmean = -sum(dy) a`, `dvar = -sum(dy (x - mean)) weight / (2 deviation^3)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedNorm {
    pub(crate) eps: f64,
}

/// `x * scale + shift` for each channel.
#[allow(unsafe_code)]
fn affine(x: &FlexTensor, channels: &[[f32; 2]]) -> FlexTensor {
    let ((_, _, pixels), elements) = (planes(x), elements(x));
    let (at_once, size) = (share(pixels), share(pixels) * pixels);
    // SAFETY: whole planes, or images, are shared out, and a pass writes each of them.
    let y = unsafe {
        fresh(elements.len(), |out| {
            if pixels < SHORT {
                let places = of_places(channels, pixels);
                let size = share(places.len()) * places.len();
                return shared(elements.chunks(size).zip(out.chunks_mut(size)), |(x, out)| {
                    vectorised(AffineImages { places: &places, x, out });
                });
            }
            shared(elements.chunks(size).zip(out.chunks_mut(size)).enumerate(), |(at, (x, out))| {
                vectorised(Affine { pixels, first: at * at_once % channels.len(), channels, x, out });
            });
        })
    };
    tensor(y, &lengths(x))
}

impl FixedNorm {
    /// 1 over the deviation of each channel.
    #[allow(clippy::cast_possible_truncation)] // back to 32 bits
    fn scales(self, var: &FlexTensor) -> Vec<f32> {
        elements(var).iter().map(|var| (1.0 / (f64::from(*var) + self.eps).sqrt()) as f32).collect()
    }
}

impl Operator for FixedNorm {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let kept: Vec<FlexTensor> = inputs.iter().map(contiguous).collect();
        let [mean, weight, bias] = [1, 3, 4].map(|at| elements(&kept[at]));
        let rows = mean.iter().zip(self.scales(&kept[2])).zip(weight).zip(bias);
        let channels: Vec<[f32; 2]> = rows
            .map(|(((mean, scale), weight), bias)| {
                let scale = scale * weight;
                [scale, bias - mean * scale]
            })
            .collect();
        (affine(&kept[0], &channels), kept)
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let gradient = contiguous(&gradient);
        let (mean, scales, weight) = (elements(&kept[1]), self.scales(&kept[2]), elements(&kept[3]));
        let slopes: Vec<[f32; 2]> = scales.iter().zip(weight).map(|(scale, weight)| [scale * weight, 0.0]).collect();
        let mut gradients = vec![wanted[0].then(|| affine(&gradient, &slopes))];
        if !wanted[1..].contains(&true) {
            return gradients;
        }
        let sums = sums(&kept[0], elements(&gradient), Some(mean), false);
        let rows: Vec<_> = sums.iter().zip(scales.iter().map(|scale| f64::from(*scale))).zip(weight).collect();
        #[allow(clippy::cast_possible_truncation)] // back to 32 bits
        let of = |slope: &dyn Fn(f64, f64, f64, f64) -> f64| {
            let slopes: Vec<f32> = rows
                .iter()
                .map(|(([sum, dot], scale), weight)| slope(*sum, *dot, *scale, f64::from(**weight)) as f32)
                .collect();
            tensor(slopes, &[rows.len()])
        };
        gradients.extend([
            wanted[1].then(|| of(&|sum, _, scale, weight| -sum * scale * weight)),
            wanted[2].then(|| of(&|_, dot, scale, weight| -0.5 * dot * weight * scale.powi(3))),
            wanted[3].then(|| of(&|_, dot, scale, _| dot * scale)),
            wanted[4].then(|| of(&|sum, _, _, _| sum)),
        ]);
        gradients
    }
}
