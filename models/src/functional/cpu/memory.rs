//! Tensors as slices and back, and fresh memory that is written by several threads.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use burn::backend::{Shape, TensorData};
use rayon::prelude::*;

use super::simd::{Kernel, vectorised};

/// How many elements a thread takes at once.
pub(super) const BLOCK: usize = 16_384;

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

/// The function of each pair of elements of two slices of one length. One slice: pass it twice.
#[allow(unsafe_code)]
pub(super) fn mapped(function: &impl Each, x: &[f32], other: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), other.len(), "slices of one length");
    // SAFETY: the blocks of three slices of one length go together, and a pass writes each element of its block.
    unsafe {
        fresh(x.len(), |out| {
            if out.len() <= BLOCK {
                return vectorised(Pass(function, x, other, out));
            }
            let blocks = x.par_chunks(BLOCK).zip(other.par_chunks(BLOCK)).zip(out.par_chunks_mut(BLOCK));
            blocks.for_each(|((x, other), out)| vectorised(Pass(function, x, other, out)));
        })
    }
}
