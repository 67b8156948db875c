//! `fractional_max_pool2d` and `3d`: the largest of windows that overlap at random, so that their number is any (Graham, "Fractional
//! Max-Pooling", 2014).

use burn::tensor::DType;

use super::array::{Array, refused};
use super::index::signed;
use crate::Result;

/// Where the windows of one dimension begin, as PyTorch places them in the type of the samples.
macro_rules! starts {
    ($name:ident, $real:ty) => {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // lengths of pictures
        fn $name(sample: $real, length: usize, windows: usize, kernel: usize) -> Vec<usize> {
            let mut starts = Vec::with_capacity(windows);
            if windows > 1 {
                let step = (length - kernel) as $real / (windows - 1) as $real;
                let first = (sample * step) as usize;
                starts.extend((0..windows - 1).map(|at| ((at as $real + sample) * step) as usize - first));
            }
            starts.push(length - kernel);
            starts
        }
    };
}

starts!(single, f32);
starts!(double, f64);

impl Array {
    /// `fractional_max_pool2d` or `3d` of `[batch, channels, ...]` or `[channels, ...]`, by as many kernel sizes as it has dimensions:
    /// so many windows, placed by `samples`, `[batch, channels, dimensions]` from 0 to 1. The values, and their indices in the plane
    /// (or the room) of their channel: of several equal ones the first.
    ///
    /// # Errors
    /// When windows are larger than the input, or there are not as many of them as can begin at different places, or the shapes do
    /// not go together.
    pub fn fractional_max_pool(&self, kernel: &[usize], sizes: &[usize], samples: &Array) -> Result<(Self, Self)> {
        let wrong = |reason: String| refused("fractional_max_pool", reason);
        let dimensions = kernel.len();
        if self.rank() == dimensions + 1 {
            let (values, indices) = self.unsqueeze(0)?.fractional_max_pool(kernel, sizes, samples)?;
            return Ok((values.squeeze(Some(&[0]))?, indices.squeeze(Some(&[0]))?));
        }
        let fits = sizes.len() == dimensions && self.rank() == dimensions + 2;
        let lengths = self.shape().get(2..).unwrap_or_default();
        if !fits || !matches!(self.dtype(), DType::F32 | DType::F64) {
            let reason = format!(
                "{:?} of {} has not {dimensions} dimensions of float32 or float64",
                self.shape(),
                self.dtype_name()
            );
            return Err(wrong(reason));
        }
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
                    #[allow(clippy::cast_possible_truncation)] // they are of that type
                    let placed = match self.dtype() {
                        DType::F64 => double(sample, lengths[at], sizes[at], kernel[at]),
                        _ => single(sample as f32, lengths[at], sizes[at], kernel[at]),
                    };
                    placed
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
        let picked = self.reshaped(&[planes, room])?.gather(1, &places)?.reshaped(&[planes, windows, elements])?;
        let (values, chosen) = picked.extreme_of(2, true, true)?;
        let indices = places.reshaped(&[planes, windows, elements])?.gather(2, &chosen)?;
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
