//! The largest of each window of a plane: the first of several equal ones, and of what is not a number the last, as in PyTorch. Its place
//! is kept for the way back, on which the gradient goes there.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::backend::{Shape, TensorData};

use super::backend::Operator;
use super::memory::{contiguous, elements, fresh, lengths, tensor};
use super::simd::{Kernel, vectorised};
use super::threads::shared;

/// As many elements as make up a thread's work.
const ELEMENTS: usize = 16_384;

/// Windows over the last two dimensions of `[images, channels, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// The size of a plane, and how many windows there are.
    pub(crate) size: [usize; 2],
    pub(crate) windows: [usize; 2],
}

impl MaxPool {
    /// Of the windows along one dimension, those whose element at this place of the kernel is one of the plane's; and where the
    /// first one's is.
    fn inside(&self, dim: usize, at: usize) -> (Range<usize>, usize) {
        let (stride, padding, far) = (self.stride[dim], self.padding[dim], at * self.dilation[dim]);
        let first = padding.saturating_sub(far).div_ceil(stride);
        let end = (self.size[dim] + padding).saturating_sub(far).div_ceil(stride).min(self.windows[dim]);
        (first..end.max(first), (first * stride + far).saturating_sub(padding))
    }
}

/// Planes of an input, and what is found in them.
struct Planes<'a> {
    pool: MaxPool,
    x: &'a [f32],
    largest: &'a mut [MaybeUninit<f32>],
    places: &'a mut [i32],
}

impl Kernel for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Planes { pool, x, largest, places } = self;
        let ([height, width], [rows, columns]) = (pool.size, pool.windows);
        let across: Vec<_> = (0..pool.kernel[1]).map(|at| pool.inside(1, at)).collect();
        let down: Vec<_> = (0..pool.kernel[0]).map(|at| pool.inside(0, at)).collect();
        let mut most = vec![0.0; columns];
        let planes = x.chunks_exact(height * width).zip(largest.chunks_exact_mut(rows * columns));
        for ((x, largest), places) in planes.zip(places.chunks_exact_mut(rows * columns)) {
            let lines = largest.chunks_exact_mut(columns).zip(places.chunks_exact_mut(columns));
            for (row, (largest, places)) in lines.enumerate() {
                most.fill(f32::NEG_INFINITY);
                places.fill(-1);
                for (rows, first) in down.iter().filter(|(rows, _)| rows.contains(&row)) {
                    let start = (first + (row - rows.start) * pool.stride[0]) * width;
                    for (columns, from) in across.iter().filter(|(columns, _)| !columns.is_empty()) {
                        let (most, places) = (&mut most[columns.clone()], &mut places[columns.clone()]);
                        let (line, at) = (&x[start + from..start + width], start + from);
                        match pool.stride[1] {
                            1 => larger::<1>(line, at, most, places),
                            2 => larger::<2>(line, at, most, places),
                            3 => larger::<3>(line, at, most, places),
                            stride => {
                                let line = line.iter().step_by(stride).enumerate();
                                for ((most, place), (step, x)) in most.iter_mut().zip(places).zip(line) {
                                    keep_larger(*x, at + step * stride, most, place);
                                }
                            }
                        }
                    }
                }
                largest.write_copy_of_slice(&most);
            }
        }
    }
}

/// Puts the element there, and its place, if it is larger.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a place in a plane, whose size has been looked at
#[allow(clippy::needless_bitwise_bool)] // without a branch
fn keep_larger(x: f32, at: usize, most: &mut f32, place: &mut i32) {
    let larger = (*place < 0) | (x > *most) | x.is_nan();
    *most = if larger { x } else { *most };
    *place = if larger { at as i32 } else { *place };
}

/// Every `STRIDE`-th element of a line, whose first is at this place.
#[inline(always)]
fn larger<const STRIDE: usize>(line: &[f32], at: usize, most: &mut [f32], places: &mut [i32]) {
    let (steps, rest) = line.as_chunks::<STRIDE>();
    let whole = steps.len().min(most.len());
    let found = most.iter_mut().zip(places.iter_mut()).zip(steps);
    for (step, ((most, place), x)) in found.enumerate() {
        keep_larger(x[0], at + step * STRIDE, most, place);
    }
    if let (Some(most), Some(place), Some(x)) = (most.get_mut(whole), places.get_mut(whole), rest.first()) {
        keep_larger(*x, at + whole * STRIDE, most, place);
    }
}

impl Operator for MaxPool {
    #[allow(unsafe_code)]
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let input = contiguous(&inputs[0]);
        let (shape, x) = (lengths(&input), elements(&input));
        let (of_plane, found) = (self.size[0] * self.size[1], self.windows[0] * self.windows[1]);
        let (planes, at_once) = (x.len() / of_plane, ELEMENTS.div_ceil(of_plane));
        let mut places = vec![0; planes * found];
        let fill = |largest: &mut [MaybeUninit<f32>]| {
            let parts = x.chunks(at_once * of_plane).zip(largest.chunks_mut(at_once * found));
            shared(parts.zip(places.chunks_mut(at_once * found)), |((x, largest), places)| {
                vectorised(Planes { pool: *self, x, largest, places });
            });
        };
        // SAFETY: whole planes are shared out, and of each every window is written.
        let y = tensor(unsafe { fresh(planes * found, fill) }, &[&shape[..2], &self.windows].concat());
        (y, vec![FlexTensor::from_data(TensorData::new(places, Shape::from(vec![planes, found])))])
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let gradient = contiguous(&gradient);
        let (shape, places, g) = (lengths(&gradient), kept[0].storage::<i32>(), elements(&gradient));
        let (of_plane, found) = (self.size[0] * self.size[1], self.windows[0] * self.windows[1]);
        let (planes, at_once) = (g.len() / found, ELEMENTS.div_ceil(of_plane));
        let mut slopes = vec![0.0; planes * of_plane];
        let parts = slopes.chunks_mut(at_once * of_plane).zip(g.chunks(at_once * found));
        shared(parts.zip(places.chunks(at_once * found)), |((slopes, g), places)| {
            let planes = slopes.chunks_exact_mut(of_plane).zip(g.chunks_exact(found));
            for ((slopes, g), places) in planes.zip(places.chunks_exact(found)) {
                for (place, g) in places.iter().zip(g) {
                    // A window of nothing but padding has no place.
                    if let Some(slope) = usize::try_from(*place).ok().and_then(|place| slopes.get_mut(place)) {
                        *slope += g;
                    }
                }
            }
        });
        vec![Some(tensor(slopes, &[&shape[..2], &self.size].concat()))]
    }
}
