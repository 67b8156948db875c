//! Packing: the elements of some lines of a matrix side by side, step by step along them, as a product goes through them.

use super::gemm::Matrix;
#[cfg(target_arch = "x86_64")]
use super::simd::wide;

/// The widest that is packed: a panel of two vectors of sixteen.
pub(super) const WIDEST: usize = 32;

/// Packs `count` lines, which are the columns of a matrix: `to` is `[steps, width]`, a row of the matrix after the other, with zeros
/// behind the `count`-th.
pub(super) fn pack(matrix: Matrix<'_>, count: usize, width: usize, to: &mut [f32]) {
    let Matrix { data, start, row, column } = matrix;
    if column == 1 {
        return copy(&data[start..], row, count, width, to);
    }
    if row == 1 {
        let mut starts = [0; WIDEST];
        starts.iter_mut().enumerate().take(count).for_each(|(line, at)| *at = start + line * column);
        return turn(data, &starts[..count], width, to);
    }
    for (step, to) in to.chunks_exact_mut(width).enumerate() {
        let from = data[start + step * row..].iter().step_by(column).take(count);
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        to[count..].fill(0.0);
    }
}

/// Lines that lie side by side already, `pitch` from one step to the next.
fn copy(from: &[f32], pitch: usize, count: usize, width: usize, to: &mut [f32]) {
    match if count == width { width } else { 0 } {
        32 => copy_whole::<32>(from, pitch, to),
        16 => copy_whole::<16>(from, pitch, to),
        14 => copy_whole::<14>(from, pitch, to),
        12 => copy_whole::<12>(from, pitch, to),
        10 => copy_whole::<10>(from, pitch, to),
        8 => copy_whole::<8>(from, pitch, to),
        6 => copy_whole::<6>(from, pitch, to),
        4 => copy_whole::<4>(from, pitch, to),
        2 => copy_whole::<2>(from, pitch, to),
        _ => {
            for (step, to) in to.chunks_exact_mut(width).enumerate() {
                to[..count].copy_from_slice(&from[step * pitch..][..count]);
                to[count..].fill(0.0);
            }
        }
    }
}

/// The same, of as many as are wide.
fn copy_whole<const WIDTH: usize>(from: &[f32], pitch: usize, to: &mut [f32]) {
    let (to, _) = to.as_chunks_mut::<WIDTH>();
    for (step, to) in to.iter_mut().enumerate() {
        to.copy_from_slice(&from[step * pitch..][..WIDTH]);
    }
}

/// Packs lines that lie one element behind the other, each from its own start on, as long as `to` has steps for them.
pub(super) fn turn(from: &[f32], starts: &[usize], width: usize, to: &mut [f32]) {
    let length = to.len() / width;
    #[cfg(target_arch = "x86_64")]
    if length >= 4 && wide() {
        // SAFETY: the processor has AVX-512.
        #[allow(unsafe_code)]
        return unsafe { turn_wide(from, starts, width, &mut to[..length * width]) };
    }
    if length < 4 {
        for (step, to) in to.chunks_exact_mut(width).enumerate() {
            to.iter_mut().zip(starts).for_each(|(to, start)| *to = from[start + step]);
            to[starts.len()..].fill(0.0);
        }
        return;
    }
    // Some steps at a time: what is written stays in the nearest cache.
    for (block, to) in to.chunks_mut(16 * width).enumerate() {
        for (line, start) in starts.iter().enumerate() {
            let from = &from[start + block * 16..][..to.len() / width];
            to[line..].iter_mut().step_by(width).zip(from).for_each(|(to, from)| *to = *from);
        }
        if starts.len() < width {
            to.chunks_exact_mut(width).for_each(|to| to[starts.len()..].fill(0.0));
        }
    }
}

/// Blocks of sixteen by sixteen, each turned in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)] // loads and stores of vectors, within slices that are checked
fn turn_wide(from: &[f32], starts: &[usize], width: usize, to: &mut [f32]) {
    use std::arch::x86_64::{_mm512_maskz_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};
    let length = to.len() / width;
    for first in (0..width).step_by(16) {
        let here = 16.min(width - first);
        let starts = &starts[first.min(starts.len())..starts.len().min(first + here)];
        for step in (0..length).step_by(16) {
            let steps = 16.min(length - step);
            let mask = u16::MAX >> (16 - steps);
            let mut lines = [_mm512_setzero_ps(); 16];
            for (line, start) in lines.iter_mut().zip(starts) {
                let from = &from[start + step..][..steps];
                // SAFETY: the mask has what the slice has.
                *line = unsafe { _mm512_maskz_loadu_ps(mask, from.as_ptr()) };
            }
            for (at, turned) in turned(&lines).iter().enumerate().take(steps) {
                let to = &mut to[(step + at) * width + first..];
                if let Some(to) = to.first_chunk_mut::<16>() {
                    // What is written behind the width is the next step's, and written after this.
                    // SAFETY: the array has sixteen.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), *turned) };
                } else {
                    let mut all = [0.0_f32; 16];
                    // SAFETY: as above.
                    unsafe { _mm512_storeu_ps(all.as_mut_ptr(), *turned) };
                    to[..here].copy_from_slice(&all[..here]);
                }
            }
        }
    }
}

/// Columns of sixteen rows of sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn turned(rows: &[std::arch::x86_64::__m512; 16]) -> [std::arch::x86_64::__m512; 16] {
    use std::arch::x86_64::{
        _mm512_castpd_ps, _mm512_castps_pd, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_unpackhi_pd,
        _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };
    // Of four rows, in each quarter of a vector a column.
    let mut quarters = [_mm512_setzero_ps(); 16];
    for at in [0, 4, 8, 12] {
        let pairs = [
            _mm512_castps_pd(_mm512_unpacklo_ps(rows[at], rows[at + 1])),
            _mm512_castps_pd(_mm512_unpackhi_ps(rows[at], rows[at + 1])),
            _mm512_castps_pd(_mm512_unpacklo_ps(rows[at + 2], rows[at + 3])),
            _mm512_castps_pd(_mm512_unpackhi_ps(rows[at + 2], rows[at + 3])),
        ];
        quarters[at] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[0], pairs[2]));
        quarters[at + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[0], pairs[2]));
        quarters[at + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[1], pairs[3]));
        quarters[at + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[1], pairs[3]));
    }
    let mut columns = [_mm512_setzero_ps(); 16];
    for at in 0..4 {
        let [a, b, c, d] = [quarters[at], quarters[at + 4], quarters[at + 8], quarters[at + 12]];
        let low = [_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d)];
        let high = [_mm512_shuffle_f32x4::<0xEE>(a, b), _mm512_shuffle_f32x4::<0xEE>(c, d)];
        columns[at] = _mm512_shuffle_f32x4::<0x88>(low[0], low[1]);
        columns[at + 4] = _mm512_shuffle_f32x4::<0xDD>(low[0], low[1]);
        columns[at + 8] = _mm512_shuffle_f32x4::<0x88>(high[0], high[1]);
        columns[at + 12] = _mm512_shuffle_f32x4::<0xDD>(high[0], high[1]);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_packing_puts_each_element_in_its_place() {
        let data: Vec<f32> = (0..40_000_u16).map(f32::from).collect();
        for (row, column) in [(1, 45), (50, 1), (3, 130), (1, 7)] {
            for (count, width) in [(32, 32), (17, 32), (16, 16), (14, 14), (5, 14), (3, 6), (2, 2), (1, 4), (8, 8)] {
                for steps in [1, 2, 5, 16, 37] {
                    let mut to = vec![-1.0; steps * width];
                    pack(Matrix { data: &data, start: 9, row, column }, count, width, &mut to);
                    for (at, to) in to.iter().enumerate() {
                        let (step, line) = (at / width, at % width);
                        let expected = if line < count { data[9 + step * row + line * column] } else { 0.0 };
                        assert_eq!(*to, expected, "{row}, {column}: line {line} of {count} in {width}, step {step}");
                    }
                }
            }
        }
    }
}
