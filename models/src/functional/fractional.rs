//! `fractional_max_pool2d` and `3d`: the largest of windows that overlap at random, so that their number is any (Graham, "Fractional
//! Max-Pooling", 2014).

use burn::tensor::{DType, bf16, f16};

use super::array::{Array, Kind, refused};
use super::autocast::single;
use super::index::signed;
use crate::Result;

/// Where the windows of one dimension begin, as PyTorch places them in the type of the samples: each step is rounded to it.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // lengths of pictures
fn starts(sample: f64, length: usize, windows: usize, kernel: usize, round: fn(f64) -> f64) -> Vec<usize> {
    let (last, of) = (length - kernel, |number: usize| round(number as f64));
    let mut starts = Vec::with_capacity(windows);
    if windows > 1 {
        let step = round(of(last) / of(windows - 1));
        let first = round(sample * step) as usize;
        let start = |at: usize| (round(round(of(at) + sample) * step) as usize).saturating_sub(first).min(last);
        starts.extend((0..windows - 1).map(start));
    }
    starts.push(last);
    starts
}

/// To a number of this type.
#[allow(clippy::cast_possible_truncation)] // that is what it does
fn rounding(dtype: DType) -> fn(f64) -> f64 {
    match dtype {
        DType::F64 => |number| number,
        DType::F16 => |number| f16::from_f32(number as f32).to_f64(),
        DType::BF16 => |number| bf16::from_f32(number as f32).to_f64(),
        _ => |number| f64::from(number as f32),
    }
}

impl Array {
    /// `fractional_max_pool2d` or `3d` of `[batch, channels, ...]` or `[channels, ...]`, by as many kernel sizes as it has dimensions:
    /// so many windows, placed by `samples`, `[batch, channels, dimensions]` from 0 to 1. The values, and their indices in the plane
    /// (or the room) of their channel: of several equal ones the first.
    ///
    /// # Errors
    /// When windows are larger than the input, or there are not as many of them as can begin at different places, or the shapes do
    /// not go together.
    pub fn fractional_max_pool(&self, kernel: &[usize], sizes: &[usize], samples: &Array) -> Result<(Self, Self)> {
        let [x, samples] = &single([self, samples])?;
        x.placed_max_pool(kernel, sizes, samples)
    }

    fn placed_max_pool(&self, kernel: &[usize], sizes: &[usize], samples: &Array) -> Result<(Self, Self)> {
        let wrong = |reason: String| refused("fractional_max_pool", reason);
        let dimensions = kernel.len();
        if self.rank() == dimensions + 1 {
            let (values, indices) = self.unsqueeze(0)?.placed_max_pool(kernel, sizes, samples)?;
            return Ok((values.squeeze(Some(&[0]))?, indices.squeeze(Some(&[0]))?));
        }
        let fits = sizes.len() == dimensions && self.rank() == dimensions + 2;
        let lengths = self.shape().get(2..).unwrap_or_default();
        if !fits || self.kind() != Kind::Float || samples.dtype() != self.dtype() {
            let (own, other) = (self.dtype_name(), samples.dtype_name());
            let reason = format!(
                "{:?} of {own} with samples of {other} has not {dimensions} dimensions of one type",
                self.shape()
            );
            return Err(wrong(reason));
        }
        let round = rounding(self.dtype());
        for ((&length, &size), &window) in lengths.iter().zip(sizes).zip(kernel) {
            // Of a room PyTorch wants one place more.
            if size == 0 || window == 0 || size + window - 1 + usize::from(dimensions == 3) > length {
                return Err(wrong(format!("{size} windows of {window} do not fit a length of {length}")));
            }
        }
        let planes = self.shape()[0] * self.shape()[1];
        let samples = samples.floats()?;
        if samples.len() != planes * dimensions {
            return Err(wrong(format!("{} samples do not place windows in {planes} planes", samples.len())));
        }
        let (windows, elements): (usize, usize) = (sizes.iter().product(), kernel.iter().product());
        let mut places = Vec::with_capacity(planes * windows * elements);
        for plane in 0..planes {
            let starts: Vec<Vec<usize>> = (0..dimensions)
                .map(|at| {
                    // In a plane the first sample is the width's.
                    let of = if dimensions == 2 { 1 - at } else { at };
                    let sample = samples[plane * dimensions + of];
                    starts(sample, lengths[at], sizes[at], kernel[at], round)
                })
                .collect();
            for window in 0..windows {
                let corner = coordinates(window, sizes);
                for element in 0..elements {
                    let within = coordinates(element, kernel);
                    let place =
                        (0..dimensions).fold(0, |place, at| place * lengths[at] + starts[at][corner[at]] + within[at]);
                    places.push(signed(place));
                }
            }
        }
        let places = Array::from_ints(&places, &[planes, windows * elements], &self.device())?;
        let room: usize = lengths.iter().product();
        let picked = self.reshaped(&[planes, room])?.gathered(1, &places)?.reshaped(&[planes, windows, elements])?;
        let (values, chosen) = picked.extreme_of(2, true, true)?;
        let indices = places.reshaped(&[planes, windows, elements])?.gathered(2, &chosen)?;
        let shape: Vec<usize> = self.shape()[..2].iter().chain(sizes).copied().collect();
        Ok((values.reshaped(&shape)?, indices.reshaped(&shape)?))
    }
}

/// The place of the so many-th element of such a shape.
fn coordinates(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let here = rest % length;
            rest /= length;
            here
        })
        .collect();
    place.reverse();
    place
}
