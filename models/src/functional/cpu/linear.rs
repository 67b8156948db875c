//! `linear`: `Y = X W^T + b`, and products of batches of matrices. Slopes: `dX = dY W`, `dW = dY^T X`, `db` the sums of columns.

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::few::FEW;
use super::gemm::{FEW_PACKED, Matrix, SMALL, product};
use super::memory::{contiguous, elements, lengths, tensor};
use super::simd::{Kernel, vectorised};
use super::threads::collected;

/// How many rows are added up before they go into the total.
const ROWS: usize = 64;

/// The tensor as a matrix of its last dimension, the others one under the other: its rows and columns.
fn folded(tensor: &FlexTensor) -> (usize, usize) {
    let shape = lengths(tensor);
    let columns = shape.last().copied().unwrap_or(1);
    (shape.iter().product::<usize>() / columns.max(1), columns)
}

/// The tensor, copied only where its last two dimensions cannot be read as they stand.
pub(super) fn readable(tensor: &FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    // What is repeated (stride 0) or turned round is written out.
    let positive =
        layout.shape().as_slice().iter().zip(layout.strides()).all(|(length, stride)| *length == 1 || *stride > 0);
    if positive { tensor.clone() } else { tensor.to_contiguous() }
}

/// The matrix at this place of the batch of a readable tensor of any strides.
pub(super) fn matrix(tensor: &FlexTensor, batch: usize) -> Matrix<'_> {
    let layout = tensor.layout();
    let (shape, strides) = (layout.shape().as_slice(), layout.strides());
    let rank = shape.len();
    let stride = |dim: usize| strides[dim].unsigned_abs();
    let mut start = layout.start_offset();
    let mut rest = batch;
    for dim in (0..rank.saturating_sub(2)).rev() {
        start += rest % shape[dim] * stride(dim);
        rest /= shape[dim];
    }
    Matrix { data: tensor.storage::<f32>(), start, row: stride(rank - 2), column: stride(rank - 1) }
}

/// Sums of columns.
struct Columns<'a>(&'a [f32], &'a mut [f32]);

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.0.chunks_exact(self.1.len()) {
            for (sum, x) in self.1.iter_mut().zip(row) {
                *sum += *x;
            }
        }
    }
}

/// The sums of the columns of rows of this length, part by part.
pub(super) fn sums_of_columns(x: &[f32], length: usize) -> Vec<f32> {
    let part = |x: &[f32]| {
        let mut sums = vec![0.0; length];
        vectorised(Columns(x, &mut sums));
        sums
    };
    let parts: Vec<Vec<f32>> = if x.len() > FEW_PACKED {
        collected(x.chunks(ROWS * length), part)
    } else {
        x.chunks(ROWS * length).map(part).collect()
    };
    part(&parts.concat())
}

/// `linear`: inputs `x [..., in]`, `weight [out, in]`, and `bias [out]` or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear;

impl Linear {
    /// Below so many multiplications packing costs more than it gives; for a few rows nothing is packed.
    pub(crate) fn least(rows: usize) -> usize {
        if rows <= FEW { 1 << 14 } else { 1 << 12 }
    }
}

impl Operator for Linear {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let (x, weight) = (contiguous(&inputs[0]), readable(&inputs[1]));
        let bias = inputs.get(2).map(contiguous);
        let ((rows, inner), outputs) = (folded(&x), lengths(&weight)[0]);
        let (a, b) = (Matrix::rows(elements(&x), inner), matrix(&weight, 0).transposed());
        let y = product([rows, outputs, inner], a, b, bias.as_ref().map(elements));
        let mut shape = lengths(&x);
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        (tensor(y, &shape), vec![x, weight])
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let [x, weight] = kept else { return Vec::new() };
        let gradient = contiguous(&gradient);
        let ((rows, inner), (_, outputs)) = (folded(x), folded(&gradient));
        let g = Matrix::rows(elements(&gradient), outputs);
        let dx = || tensor(product([rows, inner, outputs], g, matrix(weight, 0), None), &lengths(x));
        let dw = || {
            let x = Matrix::rows(elements(x), inner);
            tensor(product([outputs, inner, rows], g.transposed(), x, None), &[outputs, inner])
        };
        let db = || tensor(sums_of_columns(elements(&gradient), outputs), &[outputs]);
        let wants_bias = wanted.get(2).is_some_and(|wanted| *wanted);
        vec![wanted[0].then(dx), wanted[1].then(dw), wants_bias.then(db)]
    }
}

/// Products of matrices of two batches of one shape: `[..., rows, inner]` and `[..., inner, columns]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matmul;

/// The product of each pair, one behind the other: `a(at)` of `[rows, inner]`, `b(at)` of `[inner, columns]`.
fn products<'a>(
    count: usize,
    size: [usize; 3],
    a: impl Fn(usize) -> Matrix<'a> + Sync,
    b: impl Fn(usize) -> Matrix<'a> + Sync,
) -> Vec<f32> {
    if count == 1 {
        return product(size, a(0), b(0), None);
    }
    let part = |at| product(size, a(at), b(at), None);
    let parts: Vec<Vec<f32>> = if count * size.iter().product::<usize>() > SMALL {
        collected(0..count, part)
    } else {
        (0..count).map(part).collect()
    };
    parts.concat()
}

impl Operator for Matmul {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let (a, b) = (readable(&inputs[0]), readable(&inputs[1]));
        let (mut shape, rank) = (lengths(&a), lengths(&a).len());
        let (rows, inner, columns) = (shape[rank - 2], shape[rank - 1], lengths(&b)[rank - 1]);
        let count = shape[..rank - 2].iter().product();
        let c = products(count, [rows, columns, inner], |at| matrix(&a, at), |at| matrix(&b, at));
        shape[rank - 1] = columns;
        (tensor(c, &shape), vec![a, b])
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let [a, b] = kept else { return Vec::new() };
        let gradient = readable(&gradient);
        let (shape, rank) = (lengths(a), lengths(a).len());
        let (rows, inner, columns) = (shape[rank - 2], shape[rank - 1], lengths(b)[rank - 1]);
        let count = shape[..rank - 2].iter().product();
        let g = |at| matrix(&gradient, at);
        let da = || products(count, [rows, inner, columns], g, |at| matrix(b, at).transposed());
        let db = || products(count, [inner, columns, rows], |at| matrix(a, at).transposed(), g);
        vec![wanted[0].then(|| tensor(da(), &lengths(a))), wanted[1].then(|| tensor(db(), &lengths(b)))]
    }
}
