//! Newton and Schulz's iteration on processors that multiply `bfloat16` (AVX-512's BF16), as PyTorch computes it there: twice as fast
//! as in `float32`, of which it is a sum, rounded once.
//!
//! A product is made of tiles of 12 by 32 sums that stay in registers. Both of its sides are put together for that before: of so many rows,
//! or columns, two numbers that are multiplied one after the other stand side by side. Two of the three products of an iteration
//! are symmetric: tiles that lie wholly below the diagonal are left out, and read across it.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
};
use std::mem::transmute;

use burn::tensor::bf16;
use rayon::prelude::*;

use super::Orthogonal;

/// Rows of a tile.
const HIGH: usize = 12;
/// Columns of a tile: two vectors.
const WIDE: usize = 32;
/// Sides of matrices are filled up with zeros to a multiple of it, so that no tile is cut: the least that both divide.
const WHOLE: usize = 96;
/// How many bytes of the left side may stay in a core's cache beside a strip of the right one.
const KEPT: usize = 1 << 17;

/// Whether the processor multiplies `bfloat16`.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// A matrix, row by row, and zeros to the right and below.
struct Matrix {
    rows: usize,
    columns: usize,
    /// How many elements a row has, with its zeros.
    stride: usize,
    elements: Vec<u16>,
    /// Whether elements below the diagonal are those across it, wherever they stand in tiles that were left out.
    symmetric: bool,
}

impl Matrix {
    fn zeros(rows: usize, columns: usize, symmetric: bool) -> Self {
        let (height, stride) = (rows.next_multiple_of(WHOLE), columns.next_multiple_of(WHOLE));
        Matrix { rows, columns, stride, elements: vec![0; height * stride], symmetric }
    }

    fn row(&self, row: usize) -> &[u16] {
        &self.elements[row * self.stride..][..self.stride]
    }
}

/// `SIZE` rows of a matrix after one another, or of its transpose: of each two elements at a time, those of all rows side by side.
struct Strips<const SIZE: usize> {
    /// How many pairs there are in a row.
    pairs: usize,
    strips: Vec<[u32; SIZE]>,
}

impl<const SIZE: usize> Strips<SIZE> {
    /// The rows of a matrix.
    fn of_rows(matrix: &Matrix) -> Self {
        Self::of(matrix.rows, matrix.columns, |from, pairs| {
            // In a symmetric matrix, what stands before the diagonal is read across it.
            let across = if matrix.symmetric { (from / 2).min(pairs.len()) } else { 0 };
            let (before, pairs) = pairs.split_at_mut(across);
            fill_from_columns(matrix, from, before);
            let rows: [&[u16]; SIZE] = std::array::from_fn(|row| &matrix.row(from + row)[2 * across..]);
            // The pairs that the diagonal goes through are in the tiles that were made.
            for (at, pair) in pairs.iter_mut().enumerate() {
                for (pair, row) in pair.iter_mut().zip(&rows) {
                    *pair = side_by_side(row[2 * at], row[2 * at + 1]);
                }
            }
        })
    }

    /// The columns of a matrix that is not symmetric.
    fn of_columns(matrix: &Matrix) -> Self {
        Self::of(matrix.columns, matrix.rows, |from, pairs| fill_from_columns(matrix, from, pairs))
    }

    fn of(rows: usize, columns: usize, fill: impl Fn(usize, &mut [[u32; SIZE]]) + Sync) -> Self {
        let (strips, pairs) = (rows.div_ceil(SIZE), columns.div_ceil(2));
        let mut all = vec![[0; SIZE]; strips * pairs];
        all.par_chunks_mut(pairs).enumerate().for_each(|(strip, pairs)| fill(strip * SIZE, pairs));
        Strips { pairs, strips: all }
    }

    fn strip(&self, strip: usize) -> &[[u32; SIZE]] {
        &self.strips[strip * self.pairs..][..self.pairs]
    }
}

/// The pairs of `SIZE` columns from one on: an element and the one below it.
fn fill_from_columns<const SIZE: usize>(matrix: &Matrix, from: usize, pairs: &mut [[u32; SIZE]]) {
    for (at, pair) in pairs.iter_mut().enumerate() {
        let (above, below) = (&matrix.row(2 * at)[from..][..SIZE], &matrix.row(2 * at + 1)[from..][..SIZE]);
        for (pair, (above, below)) in pair.iter_mut().zip(above.iter().zip(below)) {
            *pair = side_by_side(*above, *below);
        }
    }
}

fn side_by_side(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

/// `factor * product`, and `times` another matrix before it.
#[derive(Clone, Copy)]
struct Sum<'a> {
    factor: f32,
    other: Option<(f32, &'a Matrix)>,
}

impl Orthogonal {
    /// As [`Orthogonal::of`], of elements that are given row by row and replaced.
    #[allow(clippy::cast_possible_truncation)] // as PyTorch's scalars of `float32`
    pub(super) fn in_place(self, elements: &mut [f32]) {
        assert!(is_there(), "the processor multiplies bfloat16");
        let Orthogonal { rows, columns, .. } = self;
        let tall = rows > columns;
        let mut x = if tall { Matrix::zeros(columns, rows, false) } else { Matrix::zeros(rows, columns, false) };
        let at = |row: usize, column: usize| if tall { column * columns + row } else { row * columns + column };
        let wide = |bits: u16| bf16::from_bits(bits).to_f32();
        let (across, stride) = (x.columns, x.stride);
        let rows_of_x = x.elements.par_chunks_mut(stride).take(x.rows).enumerate();
        let squares = rows_of_x.map(|(row, to)| {
            for (column, bits) in to[..across].iter_mut().enumerate() {
                *bits = bf16::from_f32(elements[at(row, column)]).to_bits();
            }
            to.iter().map(|bits| f64::from(wide(*bits)).powi(2)).sum()
        });
        let squares: Vec<f64> = squares.collect();
        let norm = bf16::from_f64(squares.into_iter().sum::<f64>().sqrt()).to_f32().max(self.eps as f32);
        let norm = bf16::from_f32(norm).to_f32();
        x.elements.par_iter_mut().for_each(|bits| *bits = bf16::from_f32(wide(*bits) / norm).to_bits());

        let [a, b, c] = self.coefficients.map(|number| number as f32);
        for _ in 0..self.steps {
            let columns = Strips::of_columns(&x);
            let gram = product(
                &Strips::of_rows(&x),
                &Strips::of_rows(&x),
                [x.rows; 2],
                Sum { factor: 1.0, other: None },
                true,
            );
            let sum = Sum { factor: c, other: Some((b, &gram)) };
            let update = product(&Strips::of_rows(&gram), &Strips::of_rows(&gram), [x.rows; 2], sum, true);
            let sum = Sum { factor: 1.0, other: Some((a, &x)) };
            x = product(&Strips::of_rows(&update), &columns, [x.rows, x.columns], sum, false);
        }
        elements.par_chunks_mut(columns).enumerate().for_each(|(row, elements)| {
            for (column, element) in elements.iter_mut().enumerate() {
                let (row, column) = if tall { (column, row) } else { (row, column) };
                *element = wide(x.elements[row * stride + column]);
            }
        });
    }
}

/// The product of two matrices, each as its strips, and what is added to it. Of a symmetric one tiles below the diagonal stay zero.
fn product(
    left: &Strips<HIGH>,
    right: &Strips<WIDE>,
    [rows, columns]: [usize; 2],
    sum: Sum,
    symmetric: bool,
) -> Matrix {
    let mut product = Matrix::zeros(rows, columns, symmetric);
    let stride = product.stride;
    // As many strips as stay in the cache, and enough parts for all cores.
    let kept = KEPT / size_of::<[u32; HIGH]>() / left.pairs.max(1);
    let band = kept.clamp(1, rows.div_ceil(HIGH).div_ceil(4 * rayon::current_num_threads()).max(1));
    product.elements.par_chunks_mut(band * HIGH * stride).enumerate().for_each(|(place, elements)| {
        let first = place * band;
        let strips = band.min(rows.div_ceil(HIGH).saturating_sub(first));
        for panel in 0..columns.div_ceil(WIDE) {
            for strip in 0..strips {
                let (row, column) = ((first + strip) * HIGH, panel * WIDE);
                if symmetric && column + WIDE <= row {
                    continue;
                }
                let to = &mut elements[strip * HIGH * stride..][..HIGH * stride];
                let (left, right) = (left.strip(first + strip), right.strip(panel));
                // SAFETY: `Orthogonal::in_place`, which alone calls this, has asked the processor for all that `tile` is compiled for.
                #[allow(unsafe_code)]
                unsafe {
                    tile(left, right, sum, row, column, stride, to);
                }
            }
        }
    });
    product
}

/// One tile: its rows from `row` on, which `to` begins with, and its columns from `column` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn tile(
    left: &[[u32; HIGH]],
    right: &[[u32; WIDE]],
    sum: Sum,
    row: usize,
    column: usize,
    stride: usize,
    to: &mut [u16],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; HIGH];
    for (left, right) in left.iter().zip(right) {
        let (first, second) = right.split_at(WIDE / 2);
        let right = [pairs(first), pairs(second)];
        for (left, sums) in left.iter().zip(&mut sums) {
            let left = as_pairs(_mm512_set1_epi32(left.cast_signed()));
            sums[0] = _mm512_dpbf16_ps(sums[0], left, right[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], left, right[1]);
        }
    }
    let factor = _mm512_set1_ps(sum.factor);
    for (at, sums) in sums.into_iter().enumerate() {
        for (half, product) in sums.into_iter().enumerate() {
            let column = column + half * WIDE / 2;
            let product = _mm512_mul_ps(product, factor);
            let product = match sum.other {
                Some((times, other)) => {
                    let other = widened(&other.row(row + at)[column..][..WIDE / 2]);
                    // Rounded once, as PyTorch's kernel does it: without, single numbers differ, and soon all of them.
                    _mm512_fmadd_ps(other, _mm512_set1_ps(times), product)
                }
                None => product,
            };
            put(_mm512_cvtneps_pbh(product), &mut to[at * stride + column..][..WIDE / 2]);
        }
    }
}

/// Sixteen pairs.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn pairs(pairs: &[u32]) -> __m512bh {
    assert!(pairs.len() == WIDE / 2);
    // SAFETY: there are sixteen of four bytes, wherever they lie.
    as_pairs(unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are the same 64 bytes, any of which will do.
    unsafe { transmute::<__m512i, __m512bh>(bits) }
}

/// Sixteen numbers as `float32`.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn widened(numbers: &[u16]) -> __m512 {
    assert!(numbers.len() == WIDE / 2);
    // SAFETY: there are sixteen of two bytes, wherever they lie.
    let numbers = unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(numbers)))
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
fn put(numbers: __m256bh, to: &mut [u16]) {
    assert!(to.len() == WIDE / 2);
    // SAFETY: there is room for sixteen of two bytes, and both types are the same 32 bytes.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), transmute::<__m256bh, __m256i>(numbers)) }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // of small whole numbers
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;

    fn matrix(rows: usize, columns: usize, element: impl Fn(usize, usize) -> f32) -> Matrix {
        let mut matrix = Matrix::zeros(rows, columns, false);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            matrix.elements[row * matrix.stride + column] = bf16::from_f32(element(row, column)).to_bits();
        }
        matrix
    }

    fn at(matrix: &Matrix, row: usize, column: usize) -> f32 {
        let (row, column) = if matrix.symmetric { (row.min(column), row.max(column)) } else { (row, column) };
        bf16::from_bits(matrix.row(row)[column]).to_f32()
    }

    /// Small whole numbers, whose products and sums `bfloat16` has all of.
    #[test]
    fn products_are_exact_whatever_their_sides_are() {
        if !is_there() {
            return;
        }
        for [rows, inner, columns] in [[1, 1, 1], [12, 2, 32], [13, 7, 33], [31, 96, 97], [100, 5, 64], [200, 33, 10]] {
            let left = matrix(rows, inner, |row, column| ((row * 7 + column * 5) % 3) as f32 - 1.0);
            let right = matrix(inner, columns, |row, column| ((row * 3 + column) % 2) as f32);
            let more = matrix(rows, columns, |row, column| ((row + column) % 4) as f32);
            let sum = Sum { factor: 2.0, other: Some((-1.0, &more)) };
            let (strips, across) = (Strips::of_rows(&left), Strips::of_columns(&right));
            let found = product(&strips, &across, [rows, columns], sum, false);
            let gram = product(&strips, &Strips::of_rows(&left), [rows; 2], Sum { factor: 1.0, other: None }, true);
            let squared = Sum { factor: 0.5, other: Some((1.0, &gram)) };
            let squared = product(&Strips::of_rows(&gram), &Strips::of_rows(&gram), [rows; 2], squared, true);
            let again =
                product(&Strips::of_rows(&gram), &across_of(&gram), [rows; 2], Sum { factor: 0.5, other: None }, false);
            let rounded = |number: f32| bf16::from_f32(number).to_f32();
            for row in 0..rows {
                for column in 0..columns {
                    let product: f32 = (0..inner).map(|k| at(&left, row, k) * at(&right, k, column)).sum();
                    let wanted = rounded(2.0 * product - at(&more, row, column));
                    assert_eq!(at(&found, row, column), wanted, "{rows} {inner} {columns}: {row} {column}");
                }
                for column in 0..rows {
                    let product: f32 = (0..inner).map(|k| at(&left, row, k) * at(&left, column, k)).sum();
                    assert_eq!(at(&gram, row, column), rounded(product), "{rows} {inner}: {row} {column}");
                    let product: f32 = (0..rows).map(|k| at(&gram, row, k) * at(&gram, column, k)).sum();
                    assert_eq!(at(&squared, row, column), rounded(at(&gram, row, column) + 0.5 * product));
                    assert_eq!(at(&again, row, column), rounded(0.5 * product));
                }
            }
        }
    }

    /// The right side of a product with a symmetric matrix, with all its elements.
    fn across_of(gram: &Matrix) -> Strips<WIDE> {
        Strips::of_columns(&matrix(gram.rows, gram.columns, |row, column| at(gram, row, column)))
    }

    #[test]
    fn what_comes_of_it_is_what_comes_of_burns_products() {
        if !is_there() {
            return;
        }
        for (rows, columns) in [(1, 1), (1, 40), (40, 1), (16, 16), (33, 70), (130, 50), (97, 97)] {
            let orthogonal = orthogonal(rows, columns);
            let number = |at: usize| ((at * 7919 + 104_729) % 1000) as f32 / 500.0 - 1.0;
            let mut found: Vec<f32> = (0..rows * columns).map(number).collect();
            let given = Tensor::<1>::from_data(TensorData::new(found.clone(), [found.len()]), &Device::flex());
            let wanted: Vec<f32> = orthogonal.of(given).try_into_data().unwrap().try_into_vec().unwrap();
            orthogonal.in_place(&mut found);
            let largest = wanted.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
            let off = found.iter().zip(&wanted).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
            // A number of `bfloat16` has eight digits of two: sums in another order move the last of them.
            assert!(off <= largest / 64.0, "{rows} x {columns}: {off} of {largest}");
        }
    }

    #[test]
    fn what_comes_of_it_has_pytorchs_bits() {
        if !is_there() {
            return;
        }
        let digests = rekindle_testing::fixtures::json("optim/orthogonal.json");
        for (shape, about) in digests.as_object().unwrap() {
            let number = u32::try_from(about[0].as_u64().unwrap()).unwrap();
            let (rows, columns) = shape.split_once(' ').unwrap();
            let (rows, columns): (usize, usize) = (rows.parse().unwrap(), columns.parse().unwrap());
            let mut elements = rekindle_testing::filled(rows * columns, number);
            orthogonal(rows, columns).in_place(&mut elements);
            let bits: Vec<u8> = elements.iter().flat_map(|x| bf16::from_f32(*x).to_bits().to_le_bytes()).collect();
            assert_eq!(rekindle_testing::fixtures::sha256(&bits), about[1].as_str().unwrap(), "{shape}");
        }
    }

    /// PyTorch's defaults.
    fn orthogonal(rows: usize, columns: usize) -> Orthogonal {
        Orthogonal { rows, columns, coefficients: [3.4445, -4.775, 2.0315], steps: 5, eps: 1e-7 }
    }
}
