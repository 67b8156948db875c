//! Products of matrices of 32-bit numbers: `C = A B`, over the processor's vectors.
//!
//! As in G. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): the left side is packed into
//! tiles of a few rows, the right side into panels of two vectors, and a tile times a panel stays in registers. The sum of an
//! element goes along the inner dimension in chains of [`CHAIN`], whatever the number of threads.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd, bytemuck};

use super::few;
use super::memory::{Places, Scratch, fresh};
use super::pack::pack;
use super::simd::{dispatched, lanes, wide};
use super::threads::{shared, threads};

/// How many terms are added up before they go into the total: sums of many stay exact.
pub(super) const CHAIN: usize = 512;
/// Below so many multiplications a second thread does not pay.
pub(super) const SMALL: usize = 1 << 20;
/// Below so many elements it does not pay for packing.
pub(super) const FEW_PACKED: usize = 1 << 15;

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
    data: Scratch,
}

/// The height of tiles for so many rows: the least work.
pub(super) fn height(rows: usize) -> usize {
    let heights: &[usize] = if lanes() >= 16 { &[14, 12, 10, 8, 6, 4, 2] } else { &[6, 4, 2] };
    let work = |height: &usize| rows.div_ceil(*height) * (height + 2);
    heights.iter().copied().min_by_key(work).unwrap_or(2)
}

impl Left {
    /// Tiles of this height, which `fill` writes: it is given the first row of a tile, how many rows it has, and its memory,
    /// `[inner, height]`. All threads work where `by_all` says so.
    pub(super) fn filled(
        [rows, inner, height]: [usize; 3],
        by_all: bool,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let (mut data, size) = (Scratch::of(rows.div_ceil(height) * height * inner), (height * inner).max(1));
        let fill = |(tile, data): (usize, &mut [f32])| fill(tile * height, height.min(rows - tile * height), data);
        if by_all {
            shared(data.chunks_exact_mut(size).enumerate(), fill);
        } else {
            data.chunks_exact_mut(size).enumerate().for_each(fill);
        }
        Left { rows, inner, height, data }
    }

    /// A matrix, in tiles of this height.
    fn of([rows, inner, height]: [usize; 3], by_all: bool, a: Matrix<'_>) -> Self {
        let fill = |first, count, data: &mut [f32]| pack(a.from(first, 0).transposed(), count, height, data);
        Left::filled([rows, inner, height], by_all, fill)
    }

    /// A matrix.
    pub(super) fn packed(rows: usize, inner: usize, a: Matrix<'_>) -> Self {
        Left::of([rows, inner, height(rows)], false, a)
    }

    /// How many tiles there are.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.height)
    }

    /// Multiplies all tiles with a panel; `store` is given each row's elements.
    pub(super) fn times(&self, panel: &[f32], store: impl FnMut(usize, &[f32])) {
        self.some_times(0..self.tiles(), panel, store);
    }

    /// Multiplies some tiles with a panel; `store` is given each row's elements.
    pub(super) fn some_times(&self, tiles: Range<usize>, panel: &[f32], store: impl FnMut(usize, &[f32])) {
        let times = Times { left: self, tiles, panel, store };
        #[cfg(target_arch = "x86_64")]
        if wide() {
            // SAFETY: the processor has AVX-512.
            #[allow(unsafe_code)]
            return unsafe { times.wide() };
        }
        dispatched(times);
    }
}

/// The left side as it lies in memory, row by row: for a few panels it is not worth packing. Processors with AVX-512 alone take it so.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    inner: usize,
}

#[cfg(target_arch = "x86_64")]
impl<'a> Rows<'a> {
    /// Rows of this length, where the processor takes them so.
    pub(super) fn of(data: &'a [f32], inner: usize) -> Option<Self> {
        (wide() && inner > 0).then_some(Rows { data, inner })
    }

    /// Multiplies all rows with a panel; `store` is given each row's elements.
    pub(super) fn times(self, panel: &[f32], store: impl FnMut(usize, &[f32])) {
        // SAFETY: the processor has AVX-512, as whoever made this has asked.
        #[allow(unsafe_code)]
        unsafe {
            self.wide(panel, store);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn wide(self, panel: &[f32], mut store: impl FnMut(usize, &[f32])) {
        const HEIGHT: usize = 14;
        let panel = pairs(panel, self.inner);
        for (at, rows) in self.data.chunks(HEIGHT * self.inner).enumerate() {
            let count = rows.len() / self.inner;
            // Where there are fewer the last stands for those that are missing.
            let rows: [&[f32]; HEIGHT] =
                std::array::from_fn(|row| &rows[row.min(count - 1) * self.inner..][..self.inner]);
            // SAFETY: each row has as many elements as the panel has pairs of vectors.
            #[allow(unsafe_code)]
            let products: [_; HEIGHT] = wide_product(panel, |k, row| unsafe { *rows[row].get_unchecked(k) });
            put(&products[..count], |row, values| store(at * HEIGHT + row, values));
        }
    }
}

struct Times<'a, F> {
    left: &'a Left,
    tiles: Range<usize>,
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
        let (rows, inner) = (self.left.rows, self.left.inner);
        let panel = &self.panel[..inner * 2 * S::F32_LANES];
        for at in self.tiles.clone() {
            let product =
                product_of::<S, HEIGHT>(simd, &self.left.data[at * HEIGHT * inner..][..HEIGHT * inner], panel);
            for (row, values) in product.iter().take(HEIGHT.min(rows - at * HEIGHT)).enumerate() {
                (self.store)(at * HEIGHT + row, bytemuck::cast_slice(values));
            }
        }
    }
}

/// With vectors of sixteen: the processor's own instructions, as AVX-512 is not among the vectors that Burn's build brings.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // a tile is read without looking at its length each time
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
        let (rows, inner) = (self.left.rows, self.left.inner);
        let panel = pairs(self.panel, inner);
        for at in self.tiles.clone() {
            let (tile, _) = self.left.data[at * HEIGHT * inner..][..HEIGHT * inner].as_chunks::<HEIGHT>();
            // SAFETY: a tile has as many columns as the panel has pairs of vectors.
            let products: [_; HEIGHT] = wide_product(panel, |k, row| unsafe { tile.get_unchecked(k)[row] });
            put(&products[..HEIGHT.min(rows - at * HEIGHT)], |row, values| (self.store)(at * HEIGHT + row, values));
        }
    }
}

/// A panel of so many rows, each as two vectors.
#[cfg(target_arch = "x86_64")]
fn pairs(panel: &[f32], inner: usize) -> &[[[f32; 16]; 2]] {
    let (panel, _) = panel[..inner * 32].as_chunks::<16>();
    panel.as_chunks().0
}

/// `HEIGHT` rows times a panel; `a` gives the element of a column, of which there are as many as pairs, and a row.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn wide_product<const HEIGHT: usize>(
    panel: &[[[f32; 16]; 2]],
    a: impl Fn(usize, usize) -> f32,
) -> [[__m512; 2]; HEIGHT] {
    let mut total = [[_mm512_setzero_ps(); 2]; HEIGHT];
    for (chain, panel) in panel.chunks(CHAIN).enumerate() {
        let mut sums = [[_mm512_setzero_ps(); 2]; HEIGHT];
        for (k, [one, two]) in panel.iter().enumerate() {
            // SAFETY: each is an array of sixteen numbers.
            let (one, two) = unsafe { (_mm512_loadu_ps(one.as_ptr()), _mm512_loadu_ps(two.as_ptr())) };
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(a(chain * CHAIN + k, row));
                *sums = [_mm512_fmadd_ps(a, one, sums[0]), _mm512_fmadd_ps(a, two, sums[1])];
            }
        }
        for (total, sums) in total.iter_mut().zip(&sums) {
            *total = [_mm512_add_ps(total[0], sums[0]), _mm512_add_ps(total[1], sums[1])];
        }
    }
    total
}

/// Gives `store` each row's elements.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn put(products: &[[__m512; 2]], mut store: impl FnMut(usize, &[f32])) {
    for (row, values) in products.iter().enumerate() {
        let mut out = [[0.0_f32; 16]; 2];
        // SAFETY: each is an array of sixteen numbers.
        unsafe {
            _mm512_storeu_ps(out[0].as_mut_ptr(), values[0]);
            _mm512_storeu_ps(out[1].as_mut_ptr(), values[1]);
        }
        store(row, out.as_flattened());
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

/// The right side, in panels.
pub(super) struct Right {
    columns: usize,
    inner: usize,
    panels: Scratch,
}

impl Right {
    /// Panels that `fill` writes: it is given the first column of one, how many it has, and its memory, `[inner, panel_width]`. All
    /// threads work where `by_all` says so.
    pub(super) fn filled(
        inner: usize,
        columns: usize,
        by_all: bool,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let width = panel_width();
        let mut panels = Scratch::of(columns.div_ceil(width) * inner * width);
        let fill = |(at, panel): (usize, &mut [f32])| fill(at * width, width.min(columns - at * width), panel);
        if by_all {
            shared(panels.chunks_exact_mut(inner * width).enumerate(), fill);
        } else {
            panels.chunks_exact_mut(inner * width).enumerate().for_each(fill);
        }
        Right { columns, inner, panels }
    }

    fn of(inner: usize, columns: usize, by_all: bool, b: Matrix<'_>) -> Self {
        let width = panel_width();
        Right::filled(inner, columns, by_all, |first, count, panel| pack(b.from(0, first), count, width, panel))
    }

    /// A matrix; all threads pack a large one.
    pub(super) fn packed(inner: usize, columns: usize, b: Matrix<'_>) -> Self {
        Right::of(inner, columns, columns * inner > FEW_PACKED, b)
    }

    /// The product with rows on the left; `store` is given a row, a column and the elements from there on.
    pub(super) fn times(&self, left: &Left, mut store: impl FnMut(usize, usize, &[f32])) {
        for (at, panel) in self.all().enumerate() {
            let column = at * panel_width();
            let count = panel_width().min(self.columns - column);
            left.times(panel, |row, values| store(row, column, &values[..count]));
        }
    }

    /// The panels.
    pub(super) fn all(&self) -> impl Iterator<Item = &[f32]> {
        self.panels.chunks_exact(self.inner * panel_width())
    }
}

/// So many elements stay in a thread's own cache.
const OWN: usize = 1 << 16;

/// How many of `pieces`, of `elements` each, a thread takes at once: they stay in its cache, and there is something for every thread.
pub(super) fn share(pieces: usize, elements: usize) -> usize {
    pieces.div_ceil(4 * threads()).min(OWN / elements.max(1)).max(1)
}

/// `A B`, row-major; with `bias` that is added to each row. All threads work on it: the smaller side is packed first, and of the
/// larger one each thread packs what it multiplies.
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
    let (height, width) = (height(rows), panel_width());
    let fill = |places: Places<'_, MaybeUninit<f32>>| {
        let store = |row: usize, column: usize, values: &[f32]| {
            // SAFETY: each element of the product is stored once: panels are multiplied with tiles in pairs, and threads share out
            // either of them.
            let out = unsafe { places.from(row * columns + column, values.len()) };
            match bias {
                None => _ = out.write_copy_of_slice(values),
                Some(bias) => {
                    for ((out, value), bias) in out.iter_mut().zip(values).zip(&bias[column..]) {
                        out.write(*value + *bias);
                    }
                }
            }
        };
        if rows * columns * inner <= SMALL {
            let (left, right) = (Left::of([rows, inner, height], false, a), Right::of(inner, columns, false, b));
            right.times(&left, store);
        } else if rows > columns {
            let right = Right::of(inner, columns, columns * inner > FEW_PACKED, b);
            let taken = share(rows.div_ceil(height), height * inner) * height;
            shared(0..rows.div_ceil(taken), |at| {
                let (first, count) = (at * taken, taken.min(rows - at * taken));
                let left = Left::of([count, inner, height], false, a.from(first, 0));
                right.times(&left, |row, column, values| store(first + row, column, values));
            });
        } else {
            let left = Left::of([rows, inner, height], rows * inner > FEW_PACKED, a);
            let taken = share(columns.div_ceil(width), width * inner) * width;
            shared(0..columns.div_ceil(taken), |at| {
                let (first, count) = (at * taken, taken.min(columns - at * taken));
                let right = Right::of(inner, count, false, b.from(0, first));
                for tile in 0..left.tiles() {
                    for (at, panel) in right.all().enumerate() {
                        let (column, count) = (at * width, width.min(count - at * width));
                        left.some_times(tile..tile + 1, panel, |row, values| {
                            store(row, first + column, &values[..count]);
                        });
                    }
                }
            });
        }
    };
    // SAFETY: tiles and panels make up the whole product.
    unsafe { fresh(rows * columns, |out| fill(Places::of(out))) }
}
