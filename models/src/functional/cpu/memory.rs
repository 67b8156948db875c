//! Tensors as slices and back, fresh memory that is written by several threads, and memory that each thread keeps.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use burn::backend::flex::FlexTensor;
use burn::backend::{Shape, TensorData};

use super::simd::{Kernel, vectorised};
use super::threads::shared;

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
    // SAFETY: the caller's.
    let [elements] = unsafe { all_fresh([len], |[elements]| fill(elements)) };
    elements
}

/// Vectors of these lengths that `fill` writes.
///
/// # Safety
/// `fill` writes every element of all of them.
#[allow(unsafe_code)]
pub(super) unsafe fn all_fresh<const N: usize>(
    lens: [usize; N],
    fill: impl FnOnce([&mut [MaybeUninit<f32>]; N]),
) -> [Vec<f32>; N] {
    let mut vectors = lens.map(Vec::with_capacity);
    let mut len = lens.iter();
    fill(vectors.each_mut().map(|vector: &mut Vec<f32>| {
        let len = len.next().copied().unwrap_or(0);
        &mut vector.spare_capacity_mut()[..len]
    }));
    for (vector, len) in vectors.iter_mut().zip(lens) {
        // SAFETY: there is room for `len` elements, and the caller's `fill` has written them.
        unsafe { vector.set_len(len) };
    }
    vectors
}

/// A slice that several threads write at once, each in places of its own.
pub(super) struct Places<'a, T> {
    first: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a slice that may go to another thread; who writes where is the promise of [`Places::from`]'s callers.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Places<'_, T> {}

impl<'a, T> Places<'a, T> {
    /// The slice's.
    pub(super) fn of(slice: &'a mut [T]) -> Self {
        Places { first: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` of them from this one on.
    ///
    /// # Panics
    /// When there are not so many.
    ///
    /// # Safety
    /// While what it gives is used, no place in it is asked for again, by this thread or another.
    #[inline]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(super) unsafe fn from(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start, "places of the slice");
        // SAFETY: they are the slice's, which is borrowed for as long as this lives, and by the caller nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }
}

/// Memory of a thread, which it keeps for the next time: what is in it is what was there.
pub(super) struct Scratch {
    piece: Vec<f32>,
    len: usize,
}

/// How many pieces a thread keeps.
const PIECES: usize = 6;
/// Of how many elements at most.
const LARGEST: usize = 1 << 23;

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// Of `len` elements, which are to be written before they are read.
    pub(super) fn of(len: usize) -> Self {
        let taken = |kept: &RefCell<Vec<Vec<f32>>>| {
            let mut kept = kept.borrow_mut();
            // The smallest that is long enough, or else the longest.
            let fits = |piece: &Vec<f32>| (piece.len() < len, piece.len().abs_diff(len));
            let at = kept.iter().enumerate().min_by_key(|(_, piece)| fits(piece)).map(|(at, _)| at);
            at.map(|at| kept.swap_remove(at))
        };
        let mut piece = KEPT.try_with(taken).ok().flatten().unwrap_or_default();
        if piece.len() < len {
            // Not what is there already, but longer: that would be copied.
            piece.clear();
            piece.resize(len, 0.0);
        }
        Scratch { piece, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        // A thread that ends keeps nothing.
        _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < PIECES && piece.len() <= LARGEST {
                kept.push(piece);
            }
        });
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.piece[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.piece[..self.len]
    }
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
        let blocks = x.chunks(size).zip(other.chunks(size)).zip(out.chunks_mut(size));
        shared(blocks, |((x, other), out)| pass(x, other, out));
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
