//! Tensors as slices and back, and fresh memory that is written by several threads.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use burn::backend::{Shape, TensorData};
use rayon::prelude::*;

use super::simd::{Kernel, vectorised};

/// How many elements a thread takes at once.
const BLOCK: usize = 16_384;

/// The tensor with its elements one after the other.
pub(super) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() }
}

/// The elements of a contiguous tensor.
pub(super) fn elements(tensor: &FlexTensor) -> &[f32] {
    let layout = tensor.layout();
    debug_assert!(layout.is_contiguous());
    &tensor.storage::<f32>()[layout.start_offset()..layout.start_offset() + layout.num_elements()]
}

/// Its lengths.
pub(super) fn lengths(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().as_slice().to_vec()
}

/// These elements in this shape.
pub(super) fn tensor(elements: Vec<f32>, shape: &[usize]) -> FlexTensor {
    debug_assert_eq!(elements.len(), shape.iter().product::<usize>());
    FlexTensor::from_data(TensorData::new(elements, Shape::from(shape.to_vec())))
}

/// A vector of `len` elements that `fill` writes.
///
/// # Safety
/// `fill` writes every element.
#[allow(unsafe_code)] // zeroing memory that is written anyway costs as much as the cheaper operators do
pub(super) unsafe fn fresh(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut elements = Vec::with_capacity(len);
    fill(&mut elements.spare_capacity_mut()[..len]);
    // SAFETY: there is room for `len` elements, and the caller's `fill` has written them.
    unsafe { elements.set_len(len) };
    elements
}

/// A function of each element of one or two slices.
pub(super) trait Each: Sync {
    /// Of an element, and that of the other slice at its place.
    fn of<const FMA: bool>(&self, x: f32, other: f32) -> f32;
}

struct Pass<'a, F>(&'a F, &'a [f32], &'a [f32], &'a mut [MaybeUninit<f32>]);

impl<F: Each> Kernel for Pass<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Pass(function, x, other, out) = self;
        for ((x, other), out) in x.iter().zip(other).zip(out) {
            out.write(function.of::<FMA>(*x, *other));
        }
    }
}

/// What `pass` writes of rows of `length`, of two slices of one length, on several threads. One slice: pass it twice.
///
/// # Safety
/// `pass` writes every element of the rows that it is given.
#[allow(unsafe_code)]
pub(super) unsafe fn by_rows(
    length: usize,
    x: &[f32],
    other: &[f32],
    pass: impl Fn(&[f32], &[f32], &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    assert_eq!(x.len(), other.len(), "slices of one length");
    let size = (BLOCK / length).max(1) * length;
    let fill = |out: &mut [MaybeUninit<f32>]| {
        if x.len() <= BLOCK {
            return pass(x, other, out);
        }
        let blocks = x.par_chunks(size).zip(other.par_chunks(size)).zip(out.par_chunks_mut(size));
        blocks.for_each(|((x, other), out)| pass(x, other, out));
    };
    // SAFETY: the blocks of three slices of one length go together and make up the output, and `pass` writes each of them.
    unsafe { fresh(x.len(), fill) }
}

/// The function of each pair of elements of two slices of one length. One slice: pass it twice.
#[allow(unsafe_code)]
pub(super) fn mapped(function: &impl Each, x: &[f32], other: &[f32]) -> Vec<f32> {
    // SAFETY: a pass writes each element.
    unsafe { by_rows(1, x, other, |x, other, out| vectorised(Pass(function, x, other, out))) }
}
