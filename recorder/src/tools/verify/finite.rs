//! Counting NaN and infinity in a tensor, whatever its element type and strides, without a copy of it.

use std::ops::Range;

use crate::value::tensor::TensorData;
use crate::{DType, Error, Result, Storage, Tensor};

/// How many elements of a tensor are no finite numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) nan: u64,
    pub(super) inf: u64,
}

/// How an element type spells NaN and infinity.
#[derive(Clone, Copy)]
enum Spelling {
    /// As IEEE 754 does: all bits of the exponent set, and then zeros for infinity. These are the bits of infinity.
    Ieee(u64),
    /// No infinity. NaN is each byte that, without the bits of the mask, is this.
    NanOnly(u8, u8),
}

/// Bytes of a real number and how it spells NaN and infinity; `None` for types that have neither (the float8 types: Micikevicius
/// and others, "FP8 formats for deep learning", and ONNX's float8 document).
fn spelling(dtype: DType) -> Option<(usize, Spelling)> {
    Some(match dtype {
        DType::Float64 | DType::Complex128 => (8, Spelling::Ieee(0x7ff0_0000_0000_0000)),
        DType::Float32 | DType::Complex64 => (4, Spelling::Ieee(0x7f80_0000)),
        DType::Float16 | DType::Complex32 => (2, Spelling::Ieee(0x7c00)),
        DType::BFloat16 | DType::BComplex32 => (2, Spelling::Ieee(0x7f80)),
        DType::Float8E5M2 => (1, Spelling::Ieee(0x7c)),
        DType::Float8E4M3Fn => (1, Spelling::NanOnly(0x7f, 0x80)),
        DType::Float8E5M2Fnuz | DType::Float8E4M3Fnuz => (1, Spelling::NanOnly(0x80, 0)),
        DType::Float8E8M0Fnu => (1, Spelling::NanOnly(0xff, 0)),
        _ => return None,
    })
}

/// Counts the elements that are NaN or infinite; of a sparse or nested tensor those that it holds.
pub(super) fn count(tensor: &Tensor) -> Result<Counts> {
    let (storage, offset, stride) = match &tensor.parts().data {
        TensorData::Strided { storage, offset, stride } => (storage, *offset, stride),
        TensorData::Sparse { values, .. } | TensorData::Jagged { values, .. } => return count(values),
        TensorData::Nested { buffer, .. } => return count(buffer),
        // What a wrapper holds is walked to by itself.
        TensorData::Meta { .. } | TensorData::Wrapper { .. } => return Ok(Counts::default()),
    };
    let Some((width, spelling)) = spelling(tensor.dtype()) else { return Ok(Counts::default()) };
    let (size, held) = (tensor.dtype().size(), storage.len() / tensor.dtype().size() as u64);
    let view = View::of(tensor.shape(), stride);
    let count_run = |run: &[u8]| match (width, spelling) {
        (8, Spelling::Ieee(infinity)) => ieee::<8>(run, size / width, infinity),
        (4, Spelling::Ieee(infinity)) => ieee::<4>(run, size / width, infinity),
        (2, Spelling::Ieee(infinity)) => ieee::<2>(run, size / width, infinity),
        (_, Spelling::Ieee(infinity)) => ieee::<1>(run, size / width, infinity),
        (_, Spelling::NanOnly(nan, mask)) => {
            let nan = run.iter().filter(|&&byte| byte & !mask == nan).count();
            Counts { nan: nan as u64, inf: 0 }
        }
    };
    if view.numel > held.saturating_mul(MOST_OVERLAPS) {
        return overlapping(tensor, &view, storage, offset, &count_run);
    }
    let mut counts = Counts::default();
    let mut add = |run: &[u8]| {
        let found = count_run(run);
        counts.nan = counts.nan.saturating_add(found.nan.saturating_mul(view.copies));
        counts.inf = counts.inf.saturating_add(found.inf.saturating_mul(view.copies));
    };
    if let Some(elements) = view.single_run() {
        // `Tensor::new` checked that the view lies inside the storage.
        let range = (offset * size) as u64..((offset + elements) * size) as u64;
        pieces(storage, &mut std::iter::once(range), size, &mut add)?;
    } else if storage.copies() && view.ascends() {
        let mut runs = view.runs(offset).map(|(first, run)| (first * size) as u64..((first + run) * size) as u64);
        pieces(storage, &mut runs, size, &mut add)?;
    } else {
        let bytes = storage.bytes()?;
        for (first, run) in view.runs(offset) {
            add(bytes.get(first * size..(first + run) * size).unwrap_or_default());
        }
    }
    Ok(counts)
}

/// Hands ranges of a storage's bytes on, each behind the one before it, whole elements at a time, without all of it in memory where it
/// is compressed.
fn pieces(
    storage: &Storage,
    ranges: &mut dyn Iterator<Item = Range<u64>>,
    size: usize,
    add: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let mut ranges = ranges.filter(|range| !range.is_empty());
    let (mut at, mut begun) = (0_u64, Vec::new());
    let mut range = ranges.next();
    storage.stream(&mut |bytes| {
        let end = at + bytes.len() as u64;
        let place = |byte: u64| usize::try_from(byte - at).unwrap_or(bytes.len()).min(bytes.len());
        while let Some(wanted) = range.clone().filter(|wanted| wanted.start < end) {
            let mut rest = &bytes[place(wanted.start.max(at))..place(wanted.end.min(end))];
            if !begun.is_empty() {
                let missing = rest.split_off(..(size - begun.len()).min(rest.len())).unwrap_or_default();
                begun.extend_from_slice(missing);
                if begun.len() < size {
                    break;
                }
                add(&begun);
                begun.clear();
            }
            let (whole, left) = rest.split_at(rest.len() - rest.len() % size);
            add(whole);
            begun.extend_from_slice(left);
            if wanted.end > end {
                break;
            }
            range = ranges.next();
        }
        at = end;
        Ok(())
    })
}

/// Of a view that goes through each element of its storage more often than this, expanded dimensions aside, it is computed how often it
/// goes through each.
const MOST_OVERLAPS: u64 = 16;

/// How many elements such a view may reach.
const MOST_REACHED: usize = 1 << 27;

/// The counts of a view whose elements share memory: each element of the storage is looked at once, and counts as often as the view
/// has it.
fn overlapping(
    tensor: &Tensor,
    view: &View,
    storage: &Storage,
    offset: usize,
    count_run: &dyn Fn(&[u8]) -> Counts,
) -> Result<Counts> {
    let Some(times) = view.times() else {
        return Err(Error::unsupported(format!("looking for NaN in {tensor:?}, most of whose elements share memory")));
    };
    let (size, mut counts, mut times) = (tensor.dtype().size(), Counts::default(), times.into_iter());
    let reached = (offset * size) as u64..((offset + times.len()) * size) as u64;
    pieces(storage, &mut std::iter::once(reached), size, &mut |run| {
        for (element, times) in run.chunks_exact(size).zip(times.by_ref()).filter(|(_, times)| *times > 0) {
            let found = count_run(element);
            counts.nan = counts.nan.saturating_add(found.nan.saturating_mul(times).saturating_mul(view.copies));
            counts.inf = counts.inf.saturating_add(found.inf.saturating_mul(times).saturating_mul(view.copies));
        }
    })?;
    Ok(counts)
}

fn ieee<const WIDTH: usize>(bytes: &[u8], parts: usize, infinity: u64) -> Counts {
    // All bits but the sign.
    let magnitude = u64::MAX >> (65 - 8 * WIDTH);
    let mut counts = Counts::default();
    for element in bytes.chunks_exact(WIDTH * parts) {
        let (mut nan, mut inf) = (false, false);
        for part in element.chunks_exact(WIDTH) {
            let mut bits = [0; 8];
            bits[..WIDTH].copy_from_slice(part);
            let bits = u64::from_le_bytes(bits) & magnitude;
            nan |= bits > infinity;
            inf |= bits == infinity;
        }
        counts.nan += u64::from(nan);
        counts.inf += u64::from(inf);
    }
    counts
}

/// The elements of a strided tensor as they lie in memory. The order does not matter here.
struct View {
    /// Length and stride, the longest stride first; neighbours are one dimension.
    dims: Vec<(usize, usize)>,
    /// The elements of those dimensions.
    numel: u64,
    /// How often expanded dimensions repeat each element.
    copies: u64,
}

impl View {
    fn of(shape: &[usize], stride: &[usize]) -> Self {
        let mut copies: u64 = 1;
        let mut dims = Vec::new();
        for (&length, &step) in shape.iter().zip(stride) {
            match (length, step) {
                (1, _) => {}
                (length, 0) => copies = copies.saturating_mul(length as u64),
                dim => dims.push(dim),
            }
        }
        dims.sort_by_key(|&(_, step)| std::cmp::Reverse(step));
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (length, step) in dims {
            match merged.last_mut() {
                Some((outer, wide)) if length.checked_mul(step) == Some(*wide) => {
                    *outer = outer.saturating_mul(length);
                    *wide = step;
                }
                _ => merged.push((length, step)),
            }
        }
        let numel = merged.iter().fold(1_u64, |product, &(length, _)| product.saturating_mul(length as u64));
        View { dims: merged, numel, copies }
    }

    /// How often each element of memory is in the view, from its first to its last; `None` where those are too many.
    fn times(&self) -> Option<Vec<u64>> {
        let reach = |reach: usize, (length, step): &(usize, usize)| reach.checked_add((length - 1).checked_mul(*step)?);
        let reached = self.dims.iter().try_fold(1_usize, reach).filter(|&reached| reached <= MOST_REACHED)?;
        let mut times = vec![0_u64; reached];
        *times.first_mut()? = 1;
        for &(length, step) in &self.dims {
            let before = times.clone();
            // Each is the sum of those that lie so many steps before it: one more, and one fewer.
            for at in step..reached {
                let more = times[at - step].saturating_add(before[at]);
                times[at] = match length.checked_mul(step).and_then(|all| at.checked_sub(all)) {
                    Some(left) => more.saturating_sub(before[left]),
                    None => more,
                };
            }
        }
        Some(times)
    }

    /// How many elements lie one behind the other, where those are all; 0 where there are none.
    fn single_run(&self) -> Option<usize> {
        match self.dims[..] {
            _ if self.numel == 0 || self.copies == 0 => Some(0),
            [] => Some(1),
            [(length, 1)] => Some(length),
            _ => None,
        }
    }

    /// Whether each run lies behind the one before it.
    fn ascends(&self) -> bool {
        // What the dimensions inside one reach, against its step.
        let mut reach = 1_usize;
        for &(length, step) in self.dims.iter().rev() {
            if step < reach {
                return false;
            }
            reach = reach.saturating_add((length - 1).saturating_mul(step));
        }
        true
    }

    /// The first element and the length of every run of neighbours.
    fn runs(&self, offset: usize) -> Runs<'_> {
        let (outer, run) = match self.dims.split_last() {
            Some((&(run, 1), outer)) => (outer, run),
            _ => (&self.dims[..], 1),
        };
        let first = (self.numel > 0 && self.copies > 0).then_some(offset);
        Runs { outer, run, place: vec![0; outer.len()], first }
    }
}

/// The runs of a view, the last dimension first.
struct Runs<'a> {
    outer: &'a [(usize, usize)],
    run: usize,
    place: Vec<usize>,
    /// Where the next begins.
    first: Option<usize>,
}

impl Iterator for Runs<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let first = self.first?;
        let mut next = first;
        self.first = None;
        for (&(length, step), at) in self.outer.iter().zip(&mut self.place).rev() {
            *at += 1;
            next += step;
            if *at < length {
                self.first = Some(next);
                break;
            }
            next -= step * length;
            *at = 0;
        }
        Some((first, self.run))
    }
}
