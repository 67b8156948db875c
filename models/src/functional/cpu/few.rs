//! Products of a few rows with a matrix, such as those of a token by itself: the matrix is read once, as it lies, and not packed.

use super::gemm::{CHAIN, Matrix};
use super::simd::{Kernel, fma, summed, vectorised};
use super::threads::collected;

/// More rows than these are worth packing the matrix.
pub(super) const FEW: usize = 4;
/// How many columns a thread takes at once.
const COLUMNS: usize = 256;
/// Below so many elements of the matrix a second thread does not pay.
const SMALL: usize = 1 << 15;

/// The rows `x`, one behind the other, and a block of the matrix by which they are multiplied, into columns of `out`.
struct Block<'a> {
    x: &'a [f32],
    inner: usize,
    matrix: &'a [f32],
    /// From one of its lines, which lie one behind the other in memory, to the next.
    pitch: usize,
    /// How many columns of the product it makes.
    count: usize,
    out: &'a mut [f32],
}

/// By columns that are lines: each element is a sum of products.
struct Dots<'a>(Block<'a>);

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Block { x, inner, matrix, pitch, count, out } = self.0;
        for at in 0..count {
            let column = &matrix[at * pitch..][..inner];
            for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(count)) {
                out[at] = summed(x, column, |sum, x, y| fma::<FMA>(x, y, sum));
            }
        }
    }
}

/// By rows that are lines: each is multiplied and added to the sums of all columns.
struct Sums<'a>(Block<'a>);

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Block { x, inner, matrix, pitch, count, out } = self.0;
        for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(count)) {
            for (chain, x) in x.chunks(CHAIN).enumerate() {
                let mut sums = [0.0_f32; COLUMNS];
                let sums = &mut sums[..count];
                for (at, x) in x.iter().enumerate() {
                    let row = &matrix[(chain * CHAIN + at) * pitch..][..count];
                    sums.iter_mut().zip(row).for_each(|(sum, y)| *sum = fma::<FMA>(*x, *y, *sum));
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum);
            }
        }
    }
}

/// `A B` of a few rows, row-major, with `bias` that is added to each row; `None` where it is no such product.
pub(super) fn product(
    [rows, columns, inner]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
) -> Option<Vec<f32>> {
    if rows == 0 || rows > FEW || inner == 0 || a.column != 1 || (b.row != 1 && b.column != 1) {
        return None;
    }
    let x: Vec<f32> = (0..rows).flat_map(|row| &a.data[a.start + row * a.row..][..inner]).copied().collect();
    let part = |part: usize| {
        let count = COLUMNS.min(columns - part * COLUMNS);
        let (matrix, mut out) = (&b.data[b.start + part * COLUMNS * b.column..], vec![0.0; rows * count]);
        let pitch = if b.row == 1 { b.column } else { b.row };
        let block = Block { x: &x, inner, matrix, pitch, count, out: &mut out };
        if b.row == 1 {
            vectorised(Dots(block));
        } else {
            vectorised(Sums(block));
        }
        if let Some(bias) = bias {
            for out in out.chunks_exact_mut(count) {
                out.iter_mut().zip(&bias[part * COLUMNS..]).for_each(|(out, bias)| *out += bias);
            }
        }
        out
    };
    let parts = columns.div_ceil(COLUMNS);
    let parts: Vec<Vec<f32>> =
        if columns * inner <= SMALL { (0..parts).map(part).collect() } else { collected(0..parts, part) };
    if rows == 1 {
        return Some(parts.concat());
    }
    let row = |row: usize| parts.iter().flat_map(move |part| &part[row * part.len() / rows..][..part.len() / rows]);
    Some((0..rows).flat_map(row).copied().collect())
}
