//! Products of matrices of 32-bit numbers: `C = A B`, over the processor's vectors.
//!
//! As in G. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): the left side is packed into
//! tiles of a few rows, the right side into panels of two vectors, and a tile times a panel stays in registers. The sum of an
//! element goes along the inner dimension in chains of [`CHAIN`], whatever the number of threads.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::few;
use super::memory::fresh;
use super::simd::{dispatched, lanes, wide};

/// How many terms are added up before they go into the total: sums of many stay exact.
pub(super) const CHAIN: usize = 512;
/// Below so many multiplications a second thread does not pay.
const SMALL: usize = 32 * 32 * 32;

/// How many columns a panel has.
pub(super) fn panel_width() -> usize {
    2 * lanes()
}

/// A matrix in a slice: where it starts, and how far it is to the next row and column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) start: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows of this length.
    pub(super) fn rows(data: &'a [f32], length: usize) -> Self {
        Matrix { data, start: 0, row: length, column: 1 }
    }

    /// The other way round.
    pub(super) fn transposed(self) -> Self {
        Matrix { row: self.column, column: self.row, ..self }
    }

    /// From this row and column on.
    pub(super) fn from(self, row: usize, column: usize) -> Self {
        Matrix { start: self.start + row * self.row + column * self.column, ..self }
    }
}

/// The left side: tiles of `height` rows, in each the rows' elements of a column side by side.
pub(super) struct Left {
    rows: usize,
    inner: usize,
    height: usize,
    data: Vec<f32>,
}

/// The height of tiles for so many rows: the least work.
fn height(rows: usize) -> usize {
    let heights: &[usize] = if lanes() >= 16 { &[14, 12, 10, 8, 6, 4, 2] } else { &[6, 4, 2] };
    let work = |height: &usize| rows.div_ceil(*height) * (height + 2);
    heights.iter().copied().min_by_key(work).unwrap_or(2)
}

impl Left {
    /// Zeros.
    pub(super) fn new(rows: usize, inner: usize) -> Self {
        let height = height(rows);
        Left { rows, inner, height, data: vec![0.0; rows.div_ceil(height) * height * inner] }
    }

    /// A matrix.
    pub(super) fn packed(rows: usize, inner: usize, a: Matrix<'_>) -> Self {
        let mut left = Left::new(rows, inner);
        if a.column == 1 {
            (0..rows).for_each(|row| left.put(row, 0, &a.data[a.start + row * a.row..][..inner]));
            return left;
        }
        let height = left.height;
        for (tile, data) in left.data.chunks_exact_mut(height * inner).enumerate() {
            let first = tile * height;
            let count = height.min(rows - first);
            for (at, column) in data.chunks_exact_mut(height).enumerate() {
                let start = a.start + at * a.column + first * a.row;
                if a.row == 1 {
                    column[..count].copy_from_slice(&a.data[start..][..count]);
                } else {
                    column[..count].iter_mut().enumerate().for_each(|(i, x)| *x = a.data[start + i * a.row]);
                }
            }
        }
        left
    }

    /// Puts these elements of a row, from a column on.
    pub(super) fn put(&mut self, row: usize, column: usize, elements: &[f32]) {
        let start = (row / self.height * self.inner + column) * self.height + row % self.height;
        let places = self.data[start..].iter_mut().step_by(self.height);
        places.zip(elements).for_each(|(place, element)| *place = *element);
    }

    /// Multiplies with a panel; `store` is given each row's elements.
    pub(super) fn times(&self, panel: &[f32], store: impl FnMut(usize, &[f32])) {
        let times = Times { left: self, panel, store };
        #[cfg(target_arch = "x86_64")]
        if wide() {
            // SAFETY: the processor has AVX-512.
            #[allow(unsafe_code)]
            return unsafe { times.wide() };
        }
        dispatched(times);
    }
}

struct Times<'a, F> {
    left: &'a Left,
    panel: &'a [f32],
    store: F,
}

impl<F: FnMut(usize, &[f32])> WithSimd for Times<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.left.height {
            2 => self.tiles::<S, 2>(simd),
            4 => self.tiles::<S, 4>(simd),
            _ => self.tiles::<S, 6>(simd),
        }
    }
}

impl<F: FnMut(usize, &[f32])> Times<'_, F> {
    #[inline(always)]
    fn tiles<S: Simd, const HEIGHT: usize>(&mut self, simd: S) {
        let panel = &self.panel[..self.left.inner * 2 * S::F32_LANES];
        for (at, tile) in self.left.data.chunks_exact(HEIGHT * self.left.inner.max(1)).enumerate() {
            let product = product_of::<S, HEIGHT>(simd, tile, panel);
            let count = HEIGHT.min(self.left.rows - at * HEIGHT);
            for (row, values) in product.iter().take(count).enumerate() {
                (self.store)(at * HEIGHT + row, bytemuck::cast_slice(values));
            }
        }
    }
}

/// With vectors of sixteen: the processor's own instructions, as AVX-512 is not among the vectors that Burn's build brings.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // memory is read and written through references to arrays of a vector's length
impl<F: FnMut(usize, &[f32])> Times<'_, F> {
    #[target_feature(enable = "avx512f")]
    fn wide(mut self) {
        match self.left.height {
            2 => self.wide_tiles::<2>(),
            4 => self.wide_tiles::<4>(),
            6 => self.wide_tiles::<6>(),
            8 => self.wide_tiles::<8>(),
            10 => self.wide_tiles::<10>(),
            12 => self.wide_tiles::<12>(),
            _ => self.wide_tiles::<14>(),
        }
    }

    #[target_feature(enable = "avx512f")]
    fn wide_tiles<const HEIGHT: usize>(&mut self) {
        use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps};
        let (panel, _) = self.panel[..self.left.inner * 32].as_chunks::<16>();
        let (panel, _) = panel.as_chunks::<2>();
        for (at, tile) in self.left.data.chunks_exact(HEIGHT * self.left.inner).enumerate() {
            let (tile, _) = tile.as_chunks::<HEIGHT>();
            let mut total = [[_mm512_setzero_ps(); 2]; HEIGHT];
            for (tile, panel) in tile.chunks(CHAIN).zip(panel.chunks(CHAIN)) {
                let mut sums = [[_mm512_setzero_ps(); 2]; HEIGHT];
                for (a, [one, two]) in tile.iter().zip(panel) {
                    // SAFETY: each is an array of sixteen numbers.
                    let (one, two) = unsafe { (_mm512_loadu_ps(one.as_ptr()), _mm512_loadu_ps(two.as_ptr())) };
                    for (sums, a) in sums.iter_mut().zip(a) {
                        let a = _mm512_set1_ps(*a);
                        *sums = [_mm512_fmadd_ps(a, one, sums[0]), _mm512_fmadd_ps(a, two, sums[1])];
                    }
                }
                for (total, sums) in total.iter_mut().zip(&sums) {
                    *total = [_mm512_add_ps(total[0], sums[0]), _mm512_add_ps(total[1], sums[1])];
                }
            }
            let count = HEIGHT.min(self.left.rows - at * HEIGHT);
            for (row, values) in total.iter().take(count).enumerate() {
                let mut out = [[0.0_f32; 16]; 2];
                // SAFETY: as above.
                unsafe {
                    std::arch::x86_64::_mm512_storeu_ps(out[0].as_mut_ptr(), values[0]);
                    std::arch::x86_64::_mm512_storeu_ps(out[1].as_mut_ptr(), values[1]);
                }
                (self.store)(at * HEIGHT + row, out.as_flattened());
            }
        }
    }
}

/// A tile times a panel.
#[inline(always)]
fn product_of<S: Simd, const HEIGHT: usize>(simd: S, tile: &[f32], panel: &[f32]) -> [[S::f32s; 2]; HEIGHT] {
    let (tile, _) = tile.as_chunks::<HEIGHT>();
    let (panel, _) = S::as_simd_f32s(panel);
    let (panel, _) = panel.as_chunks::<2>();
    let mut total = [[simd.splat_f32s(0.0); 2]; HEIGHT];
    for (tile, panel) in tile.chunks(CHAIN).zip(panel.chunks(CHAIN)) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; HEIGHT];
        for (a, [one, two]) in tile.iter().zip(panel) {
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = simd.splat_f32s(*a);
                sums[0] = simd.mul_add_e_f32s(a, *one, sums[0]);
                sums[1] = simd.mul_add_e_f32s(a, *two, sums[1]);
            }
        }
        for (total, sums) in total.iter_mut().zip(&sums) {
            *total = [simd.add_f32s(total[0], sums[0]), simd.add_f32s(total[1], sums[1])];
        }
    }
    total
}

/// Writes the columns of `b` from `first` on, up to `count` of them, as a panel: `[inner, panel_width]`.
pub(super) fn pack_panel(inner: usize, first: usize, count: usize, b: Matrix<'_>, panel: &mut [f32]) {
    let width = panel_width();
    let start = b.start + first * b.column;
    if count < width {
        panel.fill(0.0);
    }
    if b.column == 1 {
        for (row, panel) in panel.chunks_exact_mut(width).take(inner).enumerate() {
            panel[..count].copy_from_slice(&b.data[start + row * b.row..][..count]);
        }
        return;
    }
    // Some rows at a time: what is written stays in the nearest cache.
    for (block, panel) in panel[..inner * width].chunks_mut(16 * width).enumerate() {
        for column in 0..count {
            let from = &b.data[start + column * b.column + block * 16 * b.row..];
            let to = panel[column..].iter_mut().step_by(width);
            if b.row == 1 {
                to.zip(from).for_each(|(to, from)| *to = *from);
            } else {
                to.zip(from.iter().step_by(b.row)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// The right side, in panels.
pub(super) struct Right {
    columns: usize,
    inner: usize,
    panels: Vec<f32>,
}

impl Right {
    /// A matrix; all threads pack a large one.
    pub(super) fn packed(inner: usize, columns: usize, b: Matrix<'_>) -> Self {
        let width = panel_width();
        let mut panels = vec![0.0; columns.div_ceil(width) * inner * width];
        let pack = |(at, panel): (usize, &mut [f32])| {
            pack_panel(inner, at * width, width.min(columns - at * width), b, panel);
        };
        if columns * inner <= SMALL {
            panels.chunks_exact_mut(inner * width).enumerate().for_each(pack);
        } else {
            panels.par_chunks_exact_mut(inner * width).enumerate().for_each(pack);
        }
        Right { columns, inner, panels }
    }

    /// The product with rows on the left; `store` is given a row, a column and the elements from there on.
    pub(super) fn times(&self, left: &Left, mut store: impl FnMut(usize, usize, &[f32])) {
        let width = panel_width();
        for (at, panel) in self.panels.chunks_exact(self.inner * width).enumerate() {
            let column = at * width;
            let count = width.min(self.columns - column);
            left.times(panel, |row, values| store(row, column, &values[..count]));
        }
    }
}

/// `A B`, row-major; with `bias` that is added to each row. All threads work on it.
#[allow(unsafe_code)]
pub(super) fn product(
    [rows, columns, inner]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if let Some(few) = few::product([rows, columns, inner], a, b, bias) {
        return few;
    }
    let right = Right::packed(inner, columns, b);
    let small = rows * columns * inner <= SMALL;
    // A thread's rows: their tiles stay in its cache, and there is something for every thread.
    let height = height(rows);
    let share = rows.div_ceil(height).div_ceil(2 * rayon::current_num_threads());
    let taken = if small { rows } else { share.min((65_536 / (height * inner)).max(1)) * height };
    let work = |(at, out): (usize, &mut [MaybeUninit<f32>])| {
        let left = Left::packed(out.len() / columns, inner, a.from(at * taken, 0));
        right.times(&left, |row, column, values| {
            let out = &mut out[row * columns + column..][..values.len()];
            match bias {
                None => _ = out.write_copy_of_slice(values),
                Some(bias) => {
                    for ((out, value), bias) in out.iter_mut().zip(values).zip(&bias[column..]) {
                        out.write(*value + *bias);
                    }
                }
            }
        });
    };
    // SAFETY: the rows are shared out, and of each the panels write all columns.
    unsafe {
        fresh(rows * columns, |out| {
            if small { work((0, out)) } else { out.par_chunks_mut(taken * columns).enumerate().for_each(work) }
        })
    }
}
