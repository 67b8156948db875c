//! Tensors whose elements lie in pieces in several others. They are put together when they are asked for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use crate::container::named;
use crate::value::tensor::element_count;
use crate::{DType, Error, Result, Source, Tensor};

/// Tensors of one dimension, one behind the other.
#[derive(Clone, Default)]
pub(super) struct Flat(Vec<Tensor>);

/// Some elements of a tensor: the first, and how many.
type Piece = (Tensor, usize, usize);

impl Flat {
    pub(super) fn of(tensors: impl IntoIterator<Item = Tensor>) -> Self {
        Flat(tensors.into_iter().collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Tensor::numel).sum()
    }

    /// The elements of a range; fewer where it leads beyond the end.
    pub(super) fn range(&self, mut start: usize, mut len: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for tensor in &self.0 {
            let numel = tensor.numel();
            if start < numel && len > 0 {
                let taken = len.min(numel - start);
                pieces.push((tensor.clone(), start, taken));
                len -= taken;
                start = 0;
            } else {
                start -= start.min(numel);
            }
        }
        pieces
    }
}

/// A tensor of this shape, row by row, out of pieces. What they have too much is left.
pub(super) fn tensor(name: &str, shape: Vec<usize>, pieces: Vec<Piece>) -> Result<Tensor> {
    let dtype = pieces.first().map_or(DType::Float32, |(tensor, ..)| tensor.dtype());
    let wanted = element_count(&shape).unwrap_or(usize::MAX);
    let found: usize = pieces.iter().map(|(.., len)| len).sum();
    let reason = if found < wanted {
        format!("its shape {shape:?} takes {wanted} elements, and the ranks have {found}")
    } else if pieces.iter().any(|(tensor, ..)| tensor.dtype() != dtype) {
        "its parts have different element types".to_owned()
    } else {
        return named::tensor(dtype, shape, Joined { name: name.into(), size: dtype.size(), wanted, pieces });
    };
    Err(Error::damaged(format!("'{name}'"), reason))
}

/// The parts of a tensor one behind the other along an axis; their other lengths are equal.
pub(super) fn along(name: &str, axis: usize, parts: &[Tensor]) -> Result<Tensor> {
    let Some(first) = parts.first() else { return Err(Error::damaged(format!("'{name}'"), "it has no parts")) };
    let mut shape = first.shape().to_vec();
    let lengths: Vec<usize> = parts.iter().filter_map(|part| part.shape().get(axis).copied()).collect();
    let others = |part: &Tensor| {
        let mut shape = part.shape().to_vec();
        if axis < shape.len() {
            shape.remove(axis);
        }
        shape
    };
    if lengths.len() < parts.len() || parts.iter().any(|part| others(part) != others(first)) {
        let shapes: Vec<String> = parts.iter().map(|part| format!("{:?}", part.shape())).collect();
        let reason = format!("its parts {} cannot be joined along axis {axis}", shapes.join(", "));
        return Err(Error::damaged(format!("'{name}'"), reason));
    }
    shape[axis] = lengths.iter().sum();
    let outer: usize = first.shape()[..axis].iter().product();
    let inner: usize = first.shape()[axis + 1..].iter().product();
    let rows = (0..outer).flat_map(|row| {
        parts.iter().zip(&lengths).map(move |(part, length)| (part.clone(), row * length * inner, length * inner))
    });
    tensor(name, shape, rows.collect())
}

struct Joined {
    name: Box<str>,
    /// Bytes of an element.
    size: usize,
    /// How many elements there are.
    wanted: usize,
    pieces: Vec<Piece>,
}

impl Source for Joined {
    fn len(&self) -> u64 {
        (self.wanted as u64).saturating_mul(self.size as u64)
    }

    fn read(&self) -> Result<Bytes> {
        let len = self.wanted * self.size;
        // A part whose bytes are unpacked anew each time is unpacked once.
        let mut parts: HashMap<usize, Bytes> = HashMap::new();
        let mut slice = |(tensor, start, count): &Piece| {
            let bytes = match parts.entry(tensor.id()) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => entry.insert(tensor.to_le_bytes()?).clone(),
            };
            let range = start * self.size..(start + count) * self.size;
            if range.end > bytes.len() {
                return Err(Error::damaged(format!("'{}'", self.name), "one of its parts is shorter than its shape"));
            }
            Ok(bytes.slice(range))
        };
        if let [only] = &self.pieces[..] {
            return slice(only).map(|bytes| bytes.slice(..len.min(bytes.len())));
        }
        let mut all = Vec::with_capacity(len);
        for piece in &self.pieces {
            all.extend_from_slice(&slice(piece)?);
        }
        all.truncate(len);
        Ok(all.into())
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn copies(&self) -> bool {
        self.pieces.len() > 1
    }
}
