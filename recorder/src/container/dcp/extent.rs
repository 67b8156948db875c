//! Boxes: which part of a tensor a chunk is, whether chunks cover a tensor exactly once, and how the elements of one are put
//! in their places.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::value::tensor::element_count;

/// A part of a tensor: its first element, and its length along each dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    pub(super) offsets: Vec<usize>,
    pub(super) sizes: Vec<usize>,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the chunk {:?} at {:?}", self.sizes, self.offsets)
    }
}

impl Extent {
    pub(super) fn is_empty(&self) -> bool {
        self.sizes.contains(&0)
    }

    fn fits(&self, shape: &[usize]) -> bool {
        let mut dimensions = self.offsets.iter().zip(&self.sizes).zip(shape);
        dimensions.all(|((&offset, &size), &length)| offset.checked_add(size).is_some_and(|end| end <= length))
    }
}

/// Why chunks are not a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// This chunk reaches out of the tensor.
    Outside(Extent),
    /// The element at this place is in no chunk.
    Missing(Vec<usize>),
    /// The element at this place is in so many chunks.
    Overlap(Vec<usize>, i64),
    /// Checking would take so many steps.
    TooManySteps(u64),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Outside(extent) => write!(f, "{extent} reaches out of the tensor"),
            Flaw::Missing(at) => write!(f, "the element at {at:?} is in no chunk"),
            Flaw::Overlap(at, count) => write!(f, "the element at {at:?} is in {count} chunks"),
            Flaw::TooManySteps(steps) => write!(f, "comparing its chunks takes {steps} steps"),
        }
    }
}

/// Takes out what is there twice, as where several processes held the same part, and what is empty.
pub(super) fn distinct(chunks: &mut Vec<Extent>) {
    let mut seen = HashSet::with_capacity(chunks.len());
    chunks.retain(|chunk| !chunk.is_empty() && seen.insert(chunk.clone()));
}

/// Checks that every element of a tensor of this shape is in one chunk, in time linear in the number of chunks.
///
/// How many chunks an element is in is a sum of boxes, and a box is told by its corners, each counted with the sign of its
/// parity: summing over all corners below an element gives 1 inside the box and 0 outside. So the chunks cover the tensor
/// exactly once where their signed corners add up to the tensor's own. Where they do not, the first corner (in row-major
/// order) that is left over is an element with nothing but balanced corners before it: what is left there is by how much
/// its count is off.
pub(super) fn check_tiling(shape: &[usize], chunks: &[Extent], max_steps: u64) -> Result<(), Flaw> {
    if let Some(chunk) = chunks.iter().find(|chunk| !chunk.fits(shape)) {
        return Err(Flaw::Outside(chunk.clone()));
    }
    if element_count(shape) == Some(0) {
        return Ok(());
    }
    // Along the other dimensions every chunk is as long as the tensor.
    let split: Vec<usize> =
        (0..shape.len()).filter(|&d| chunks.iter().any(|chunk| chunk.sizes.get(d) != shape.get(d))).collect();
    let corners = 1_u64.checked_shl(u32::try_from(split.len()).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
    let steps = corners.saturating_mul(chunks.len() as u64);
    if steps > max_steps {
        return Err(Flaw::TooManySteps(steps));
    }
    let whole = Extent { offsets: vec![0; shape.len()], sizes: shape.to_vec() };
    let mut left: HashMap<Vec<usize>, i64> = HashMap::new();
    let boxes = chunks.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| (chunk, 1)).chain([(&whole, -1)]);
    for (extent, sign) in boxes {
        for corner in 0..corners {
            let element = split.iter().enumerate().map(|(bit, &d)| {
                let start = extent.offsets.get(d).copied().unwrap_or_default();
                let size = extent.sizes.get(d).copied().unwrap_or_default();
                // `fits` has shown that the end can be counted.
                start + if corner >> bit & 1 == 1 { size } else { 0 }
            });
            let sign = if corner.count_ones() % 2 == 0 { sign } else { -sign };
            *left.entry(element.collect()).or_default() += sign;
        }
    }
    let Some((at, &off)) = left.iter().filter(|(_, off)| **off != 0).min() else { return Ok(()) };
    let mut element = vec![0; shape.len()];
    for (&d, &at) in split.iter().zip(at) {
        if let Some(element) = element.get_mut(d) {
            *element = at;
        }
    }
    Err(if off < 0 { Flaw::Missing(element) } else { Flaw::Overlap(element, off + 1) })
}

/// Copies the elements of a chunk, in row-major order, to their places in a row-major tensor of this shape. The chunk lies
/// inside the tensor.
pub(super) fn put(whole: &mut [u8], shape: &[usize], chunk: &Extent, elements: &[u8], size: usize) {
    // The last dimensions that the chunk covers, and one before them, are one run of bytes.
    let covered = shape.iter().zip(&chunk.sizes).rev().take_while(|(length, size)| length == size).count();
    let outer = shape.len().saturating_sub(covered + 1);
    let bytes_from = |lengths: &[usize], from: usize| lengths.iter().skip(from).product::<usize>() * size;
    let run = bytes_from(&chunk.sizes, outer);
    if run == 0 {
        return;
    }
    // How far the next element along each dimension is, in bytes.
    let steps: Vec<usize> = (0..shape.len()).map(|d| bytes_from(shape, d + 1)).collect();
    let start: usize = chunk.offsets.iter().zip(&steps).map(|(offset, step)| offset * step).sum();
    let mut index = vec![0_usize; outer];
    for source in elements.chunks_exact(run) {
        let at = start + index.iter().zip(&steps).map(|(i, step)| i * step).sum::<usize>();
        if let Some(target) = whole.get_mut(at..at + run) {
            target.copy_from_slice(source);
        }
        for (i, &size) in index.iter_mut().zip(&chunk.sizes).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn extent(offsets: &[usize], sizes: &[usize]) -> Extent {
        Extent { offsets: offsets.to_vec(), sizes: sizes.to_vec() }
    }

    /// How many chunks each element is in, counted one by one.
    fn counts(shape: &[usize], chunks: &[Extent]) -> Vec<(Vec<usize>, i64)> {
        let mut elements = vec![Vec::new()];
        for &length in shape {
            elements = elements.iter().flat_map(|element| (0..length).map(|i| [&**element, &[i]].concat())).collect();
        }
        let inside = |element: &[usize], chunk: &Extent| {
            let mut dimensions = element.iter().zip(&chunk.offsets).zip(&chunk.sizes);
            dimensions.all(|((&at, &offset), &size)| (offset..offset + size).contains(&at))
        };
        let count = |element: &[usize]| chunks.iter().filter(|chunk| inside(element, chunk)).count();
        elements.into_iter().map(|element| (element.clone(), i64::try_from(count(&element)).unwrap())).collect()
    }

    #[test]
    fn a_pinwheel_covers_a_square_though_no_line_divides_it() {
        let pinwheel = [
            extent(&[0, 0], &[1, 2]),
            extent(&[0, 2], &[2, 1]),
            extent(&[2, 1], &[1, 2]),
            extent(&[1, 0], &[2, 1]),
            extent(&[1, 1], &[1, 1]),
        ];
        assert_eq!(check_tiling(&[3, 3], &pinwheel, 1000), Ok(()));
        assert_eq!(check_tiling(&[3, 3], &pinwheel[..4], 1000), Err(Flaw::Missing(vec![1, 1])));
        assert_eq!(check_tiling(&[3, 3], &pinwheel, 10), Err(Flaw::TooManySteps(20)));
        assert_eq!(check_tiling(&[3, 2], &pinwheel, 1000), Err(Flaw::Outside(pinwheel[1].clone())));
    }

    #[test]
    fn scalars_and_tensors_without_elements_have_one_chunk_or_none() {
        let scalar = extent(&[], &[]);
        assert_eq!(check_tiling(&[], std::slice::from_ref(&scalar), 9), Ok(()));
        assert_eq!(check_tiling(&[], &[], 9), Err(Flaw::Missing(vec![])));
        assert_eq!(check_tiling(&[], &[scalar.clone(), scalar], 9), Err(Flaw::Overlap(vec![], 2)));
        assert_eq!(check_tiling(&[0, usize::MAX], &[], 9), Ok(()));
        let beyond = extent(&[0, usize::MAX], &[0, 1]);
        assert_eq!(check_tiling(&[0, 3], std::slice::from_ref(&beyond), 9), Err(Flaw::Outside(beyond)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn the_first_element_that_is_not_in_one_chunk_is_found(
            shape in prop::collection::vec(1_usize..5, 1..4),
            numbers in prop::collection::vec((0_usize..5, 0_usize..6), 0..24),
        ) {
            let chunk = |numbers: &[(usize, usize)]| {
                let bounds = shape.iter().zip(numbers).map(|(&n, &(a, b))| (a.min(n), b.min(n - a.min(n))));
                let (offsets, sizes) = bounds.unzip();
                Extent { offsets, sizes }
            };
            let chunks: Vec<Extent> = numbers.chunks_exact(shape.len()).map(chunk).collect();
            let wrong = counts(&shape, &chunks).into_iter().find(|(_, count)| *count != 1);
            let expected = match wrong {
                None => Ok(()),
                Some((element, 0)) => Err(Flaw::Missing(element)),
                Some((element, count)) => Err(Flaw::Overlap(element, count)),
            };
            prop_assert_eq!(check_tiling(&shape, &chunks, 1000), expected);
        }
    }
}
