//! The same elements in another shape or order: views and copies, with PyTorch's way of counting dimensions.

use burn::backend::Dispatch;
use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};

use super::array::{Array, Kind, dim_of, of_kind, refused};
use super::autocast::single;
use super::number::Number;
use crate::Result;

impl Array {
    /// `self.reshape(shape)`: one length may be -1.
    ///
    /// # Errors
    /// When the shape has another number of elements.
    pub fn reshape(&self, shape: &[i64]) -> Result<Self> {
        let known: usize = shape.iter().filter_map(|&length| usize::try_from(length).ok()).product();
        let unknown = shape.iter().filter(|&&length| length == -1).count();
        let invalid = || refused("reshape", format!("{shape:?} is no shape for {} elements", self.numel()));
        if unknown > 1 || shape.iter().any(|&length| length < -1) {
            return Err(invalid());
        }
        let rest = if unknown == 1 && known > 0 { self.numel() / known } else { 0 };
        let lengths: Vec<usize> = shape.iter().map(|&length| usize::try_from(length).unwrap_or(rest)).collect();
        if lengths.iter().product::<usize>() != self.numel() {
            return Err(invalid());
        }
        self.reshaped(&lengths)
    }

    /// `self.permute(dims)`.
    ///
    /// # Errors
    /// When these are not all dimensions.
    pub fn permute(&self, dims: &[i64]) -> Result<Self> {
        let order: Vec<usize> = dims.iter().map(|&dim| self.dim(dim)).collect::<Result<_>>()?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.rank()) {
            return Err(refused("permute", format!("{dims:?} are not the dimensions of {:?}", self.shape())));
        }
        Ok(self.permuted(&order))
    }

    /// `self.transpose(one, other)`.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn transpose(&self, one: i64, other: i64) -> Result<Self> {
        let (one, other) = (self.dim(one)?, self.dim(other)?);
        let mut order: Vec<usize> = (0..self.rank()).collect();
        if self.rank() > 0 {
            order.swap(one, other);
        }
        Ok(self.permuted(&order))
    }

    /// `torch.movedim(self, from, to)`.
    ///
    /// # Errors
    /// When there are no such dimensions, or not as many of both.
    pub fn movedim(&self, from: &[i64], to: &[i64]) -> Result<Self> {
        let places = |dims: &[i64]| dims.iter().map(|&dim| self.dim(dim)).collect::<Result<Vec<usize>>>();
        let (from, to) = (places(from)?, places(to)?);
        if from.len() != to.len() {
            return Err(refused("movedim", "as many places as dimensions are needed"));
        }
        let mut rest = (0..self.rank()).filter(|dim| !from.contains(dim));
        let source = |at: usize| to.iter().position(|&place| place == at).map(|index| from[index]);
        let order: Option<Vec<usize>> = (0..self.rank()).map(|at| source(at).or_else(|| rest.next())).collect();
        Ok(self.permuted(&order.ok_or_else(|| refused("movedim", "a dimension is named twice"))?))
    }

    /// `self.unsqueeze(dim)`: a dimension of length 1 there.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn unsqueeze(&self, dim: i64) -> Result<Self> {
        let at = dim_of(dim, self.rank() + 1)?;
        let mut shape = self.shape().to_vec();
        shape.insert(at, 1);
        self.reshaped(&shape)
    }

    /// `self.squeeze(dims)`: without these dimensions where they have length 1; without all such where none is named.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn squeeze(&self, dims: Option<&[i64]>) -> Result<Self> {
        let named: Vec<usize> = match dims {
            Some(dims) => dims.iter().map(|&dim| self.dim(dim)).collect::<Result<_>>()?,
            None => (0..self.rank()).collect(),
        };
        let lengths = self.shape().iter().enumerate();
        let kept = lengths.filter(|(dim, length)| **length != 1 || !named.contains(dim));
        let shape: Vec<usize> = kept.map(|(_, &length)| length).collect();
        self.reshaped(&shape)
    }

    /// `self.flatten(start, end)`.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn flatten(&self, start: i64, end: i64) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshaped(&[1]);
        }
        let (start, end) = (self.dim(start)?, self.dim(end)?);
        if start > end {
            return Err(refused("flatten", "the first dimension comes after the last"));
        }
        let mut shape = self.shape()[..start].to_vec();
        shape.push(self.shape()[start..=end].iter().product());
        shape.extend(&self.shape()[end + 1..]);
        self.reshaped(&shape)
    }

    /// `self.unflatten(dim, sizes)`: one size may be -1.
    ///
    /// # Errors
    /// When the sizes do not make up the dimension.
    pub fn unflatten(&self, dim: i64, sizes: &[i64]) -> Result<Self> {
        let at = self.dim(dim)?;
        let signed = |length: &usize| i64::try_from(*length).unwrap_or(i64::MAX);
        let known: i64 = sizes.iter().filter(|&&size| size >= 0).product();
        let length = self.shape().get(at).map_or(1, signed);
        let rest = if known > 0 { length / known } else { 0 };
        let mut shape: Vec<i64> = self.shape()[..at].iter().map(signed).collect();
        shape.extend(sizes.iter().map(|&size| if size == -1 { rest } else { size }));
        shape.extend(self.shape()[at + 1..].iter().map(signed));
        self.reshape(&shape)
    }

    /// `self.expand(shape)`: -1 keeps a length.
    ///
    /// # Errors
    /// When a dimension that is not 1 would change.
    pub fn expand(&self, shape: &[i64]) -> Result<Self> {
        let front = shape.len().saturating_sub(self.rank());
        let length = |(at, &length): (usize, &i64)| match (usize::try_from(length), at.checked_sub(front)) {
            (Ok(length), _) => Ok(length),
            (Err(_), Some(own)) if length == -1 => Ok(self.shape()[own]),
            _ => Err(refused("expand", format!("{shape:?} is no shape"))),
        };
        let lengths: Vec<usize> = shape.iter().enumerate().map(length).collect::<Result<_>>()?;
        self.expanded(&lengths)
    }

    /// `self.repeat(times)`.
    ///
    /// # Errors
    /// When fewer numbers are given than it has dimensions.
    pub fn repeat(&self, times: &[i64]) -> Result<Self> {
        if times.len() < self.rank() {
            return Err(refused("repeat", "a number for each dimension is needed"));
        }
        let x = self.lifted(times.len())?;
        let times: Vec<usize> = times.iter().map(|&times| usize::try_from(times).unwrap_or(0)).collect();
        // Each dimension gets one of its own before it, along which it is repeated.
        let pairs = |front: &dyn Fn(usize) -> usize| {
            x.shape().iter().enumerate().flat_map(|(dim, &length)| [front(dim), length]).collect::<Vec<_>>()
        };
        let shape: Vec<usize> = x.shape().iter().zip(&times).map(|(length, times)| length * times).collect();
        x.reshaped(&pairs(&|_| 1))?.expanded(&pairs(&|dim| times[dim]))?.reshaped(&shape)
    }

    /// `torch.repeat_interleave(self, repeats, dim)` with one number.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn repeat_interleave(&self, repeats: usize, dim: Option<i64>) -> Result<Self> {
        let (x, dim) = match dim {
            Some(dim) => (self.clone(), self.dim(dim)?),
            None => (self.reshaped(&[self.numel()])?, 0),
        };
        let mut wide = x.shape().to_vec();
        wide.insert(dim + 1, 1);
        let single = x.reshaped(&wide)?;
        wide[dim + 1] = repeats;
        let mut shape = x.shape().to_vec();
        shape[dim] *= repeats;
        single.expanded(&wide)?.reshaped(&shape)
    }

    /// `torch.cat(arrays, dim)`: types are promoted, an empty tensor of one dimension is passed over.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn cat(arrays: &[Array], dim: i64) -> Result<Self> {
        let dtype = super::number::result_type(&arrays.iter().map(Into::into).collect::<Vec<_>>());
        let is_counted = |array: &&Array| !(array.rank() == 1 && array.numel() == 0);
        let mut counted: Vec<Array> =
            arrays.iter().filter(is_counted).map(|array| array.cast(dtype)).collect::<Result<_>>()?;
        if counted.is_empty() {
            counted.extend(arrays.first().map(|array| array.cast(dtype)).transpose()?);
        }
        let Some(first) = counted.first() else { return Err(refused("cat", "it needs a tensor")) };
        Array::joined(&counted, first.dim(dim)?)
    }

    /// `torch.stack(arrays, dim)`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn stack(arrays: &[Array], dim: i64) -> Result<Self> {
        let Some(first) = arrays.first() else { return Err(refused("stack", "it needs a tensor")) };
        let at = dim_of(dim, first.rank() + 1)?;
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        Array::cat(&arrays.iter().map(|array| array.unsqueeze(at)).collect::<Result<Vec<_>>>()?, at)
    }

    /// `self.select(dim, index)`: the dimension is gone.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn select(&self, dim: i64, index: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        let Some(&length) = self.shape().get(at) else { return Err(refused("select", "a scalar has no places")) };
        let place = place_of(index, length)
            .ok_or_else(|| refused("select", format!("there is no place {index} along a dimension of {length}")))?;
        let mut shape = self.shape().to_vec();
        shape.remove(at);
        self.sliced(at, place, place + 1, 1).reshaped(&shape)
    }

    /// The value in place of `self.select(dim, index)`.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn select_scatter(&self, value: &Array, dim: i64, index: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        let Some(place) = self.shape().get(at).and_then(|&length| place_of(index, length)) else {
            return Err(refused("select_scatter", format!("there is no place {index}")));
        };
        let mut shape = self.shape().to_vec();
        shape[at] = 1;
        let mut without = shape.clone();
        without.remove(at);
        let value = value.cast(self.dtype())?.expanded(&without)?.reshaped(&shape)?;
        Ok(self.slice_assigned(at, place, place + 1, 1, &value))
    }

    /// `self[start:end:step]` along a dimension.
    ///
    /// # Errors
    /// When there is no such dimension, or the step is not positive.
    pub fn slice(&self, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Self> {
        let (at, start, end, step) = self.range(dim, start, end, step)?;
        Ok(self.sliced(at, start, end, step))
    }

    /// The value in place of [`slice`](Self::slice).
    ///
    /// # Errors
    /// As [`slice`](Self::slice), and when the value cannot be expanded to it.
    pub fn slice_scatter(
        &self,
        value: &Array,
        dim: i64,
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    ) -> Result<Self> {
        let (at, start, end, step) = self.range(dim, start, end, step)?;
        let mut shape = self.shape().to_vec();
        shape[at] = end.saturating_sub(start).div_ceil(step);
        let value = value.cast(self.dtype())?.expanded(&shape)?;
        Ok(self.slice_assigned(at, start, end, step, &value))
    }

    fn range(&self, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<(usize, usize, usize, usize)> {
        let at = self.dim(dim)?;
        let (Some(&length), Ok(step @ 1..)) = (self.shape().get(at), usize::try_from(step)) else {
            return Err(refused("slice", "it needs a dimension and a step of 1 or more"));
        };
        let bound = |bound: i64| {
            let bound = if bound < 0 { bound.saturating_add(i64::try_from(length).unwrap_or(i64::MAX)) } else { bound };
            usize::try_from(bound.max(0)).unwrap_or(usize::MAX).min(length)
        };
        let start = bound(start.unwrap_or(0));
        let end = bound(end.unwrap_or(i64::MAX)).max(start);
        Ok((at, start, end, step))
    }

    /// `self.narrow(dim, start, length)`.
    ///
    /// # Errors
    /// When the part is not within the dimension.
    pub fn narrow(&self, dim: i64, start: i64, length: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        let whole = self.shape().get(at).copied().unwrap_or_default();
        let first = if start < 0 { start.saturating_add(i64::try_from(whole).unwrap_or(0)) } else { start };
        let part = usize::try_from(first).ok().zip(usize::try_from(length).ok());
        match part.filter(|(first, length)| first.checked_add(*length).is_some_and(|end| end <= whole)) {
            Some((first, length)) => Ok(self.sliced(at, first, first + length, 1)),
            None => Err(refused("narrow", format!("{length} from {start} on are not within a dimension of {whole}"))),
        }
    }

    /// `self.split(sizes, dim)`.
    ///
    /// # Errors
    /// When the sizes do not make up the dimension.
    pub fn split_with_sizes(&self, sizes: &[i64], dim: i64) -> Result<Vec<Self>> {
        let at = self.dim(dim)?;
        let whole = self.shape().get(at).copied().unwrap_or_default();
        let mut start = 0i64;
        let mut parts = Vec::with_capacity(sizes.len());
        for &size in sizes {
            parts.push(self.narrow(dim, start, size)?);
            start = start.saturating_add(size);
        }
        if usize::try_from(start).ok() != Some(whole) {
            return Err(refused("split", format!("{sizes:?} do not make up a dimension of {whole}")));
        }
        Ok(parts)
    }

    /// `self.split(size, dim)`: the last part may be smaller.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn split(&self, size: i64, dim: i64) -> Result<Vec<Self>> {
        let at = self.dim(dim)?;
        let whole = self.shape().get(at).copied().unwrap_or_default();
        let Ok(size @ 1..) = usize::try_from(size) else {
            return Err(refused("split", "a part has at least one place"));
        };
        let starts = (0..whole.max(1)).step_by(size);
        Ok(starts.map(|start| self.sliced(at, start, (start + size).min(whole), 1)).collect())
    }

    /// `self.chunk(chunks, dim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn chunk(&self, chunks: i64, dim: i64) -> Result<Vec<Self>> {
        let whole = self.shape().get(self.dim(dim)?).copied().unwrap_or_default();
        let chunks = usize::try_from(chunks).unwrap_or(1).max(1);
        self.split(i64::try_from(whole.div_ceil(chunks).max(1)).unwrap_or(i64::MAX), dim)
    }

    /// `torch.tensor_split(self, sections, dim)`: the first parts are the larger ones.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn tensor_split(&self, sections: i64, dim: i64) -> Result<Vec<Self>> {
        let at = self.dim(dim)?;
        let whole = self.shape().get(at).copied().unwrap_or_default();
        let sections = usize::try_from(sections).unwrap_or(1).max(1);
        let mut start = 0;
        let size = |index: usize| whole / sections + usize::from(index < whole % sections);
        let part = |index| {
            let end = start + size(index);
            let part = self.sliced(at, start, end, 1);
            start = end;
            part
        };
        Ok((0..sections).map(part).collect())
    }

    /// `torch.tensor_split(self, indices, dim)`: parted before these places.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn tensor_split_at(&self, indices: &[i64], dim: i64) -> Result<Vec<Self>> {
        let starts = std::iter::once(None).chain(indices.iter().copied().map(Some));
        let ends = indices.iter().copied().map(Some).chain([None]);
        starts.zip(ends).map(|(start, end)| self.slice(dim, start, end, 1)).collect()
    }

    /// `self.unbind(dim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn unbind(&self, dim: i64) -> Result<Vec<Self>> {
        let length = self.shape().get(self.dim(dim)?).copied().unwrap_or_default();
        (0..length).map(|place| self.select(dim, i64::try_from(place).unwrap_or(i64::MAX))).collect()
    }

    /// `torch.flip(self, dims)`.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn flip(&self, dims: &[i64]) -> Result<Self> {
        let dims: Vec<usize> = dims.iter().map(|&dim| self.dim(dim)).collect::<Result<_>>()?;
        if self.rank() == 0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        let inner = of_kind!(self, float_flip, int_flip, bool_flip, (self.prim(), &dims));
        Ok(Array::new(inner, self.shape()))
    }

    /// `torch.roll(self, shifts, dims)`; without dimensions over the elements in a row.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn roll(&self, shifts: &[i64], dims: &[i64]) -> Result<Self> {
        if dims.is_empty() {
            let row = self.reshaped(&[self.numel()])?.roll(shifts, &[0])?;
            return row.reshaped(self.shape());
        }
        let mut x = self.clone();
        for (&shift, &dim) in shifts.iter().zip(dims) {
            let at = x.dim(dim)?;
            let Some(length) = x.shape().get(at).copied().filter(|&length| length > 0) else { continue };
            let cut = usize::try_from((-shift).rem_euclid(i64::try_from(length).unwrap_or(1))).unwrap_or(0);
            x = Array::joined(&[x.sliced(at, cut, length, 1), x.sliced(at, 0, cut, 1)], at)?;
        }
        Ok(x)
    }

    /// `torch.diagonal(self, offset, dim1, dim2)`: the diagonal comes last.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn diagonal(&self, offset: i64, dim1: i64, dim2: i64) -> Result<Self> {
        let (one, other) = (self.dim(dim1)?, self.dim(dim2)?);
        if one == other || self.rank() < 2 {
            return Err(refused("diagonal", "it needs two dimensions"));
        }
        let mut order: Vec<usize> = (0..self.rank()).filter(|dim| ![one, other].contains(dim)).collect();
        order.extend([one, other]);
        let x = self.permuted(&order);
        let rank = x.rank();
        let (rows, columns) = (x.shape()[rank - 2], x.shape()[rank - 1]);
        let skip = |by: i64| usize::try_from(by.max(0)).unwrap_or(usize::MAX);
        let (row, column) = (skip(offset.saturating_neg()), skip(offset));
        let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
        let places = (0..length).map(|at| i64::try_from((row + at) * columns + column + at).unwrap_or(i64::MAX));
        let mut flat = x.shape()[..rank - 2].to_vec();
        flat.push(rows * columns);
        let indices = Array::from_ints(&places.collect::<Vec<_>>(), &[length], &x.device())?;
        x.reshaped(&flat)?.taken(-1, &indices)
    }

    /// `self.unfold(dim, size, step)`: windows of the dimension, which come last.
    ///
    /// # Errors
    /// When a window is longer than the dimension.
    pub fn unfold(&self, dim: i64, size: usize, step: usize) -> Result<Self> {
        let at = self.dim(dim)?;
        let length = self.shape().get(at).copied().unwrap_or(1);
        if size > length || step == 0 {
            return Err(refused("unfold", format!("a dimension of {length} has no windows of {size}")));
        }
        let windows = (length - size) / step + 1;
        let place = |index: usize| i64::try_from((index / size) * step + index % size).unwrap_or(i64::MAX);
        let places: Vec<i64> = (0..windows * size).map(place).collect();
        let indices = Array::from_ints(&places, &[windows * size], &self.device())?;
        let rows = self.lifted(self.rank().max(1))?.taken(dim, &indices)?;
        if self.rank() == 0 {
            return rows.reshaped(&[size]);
        }
        let mut shape = rows.shape().to_vec();
        shape[at] = windows;
        shape.insert(at + 1, size);
        let rows = rows.reshaped(&shape)?;
        let mut order: Vec<usize> = (0..shape.len()).filter(|&dim| dim != at + 1).collect();
        order.push(at + 1);
        Ok(rows.permuted(&order))
    }

    /// `torch.tril(self, diagonal)` or `torch.triu(self, diagonal)`: the rest is 0.
    ///
    /// # Errors
    /// When it is no matrix.
    pub fn triangle(&self, diagonal: i64, lower: bool) -> Result<Self> {
        let [.., rows, columns] = *self.shape() else { return Err(refused("tril", "it needs a matrix")) };
        let kept = |row: usize, column: usize| {
            let distance = i64::try_from(column).unwrap_or(i64::MAX) - i64::try_from(row).unwrap_or(i64::MAX);
            if lower { distance <= diagonal } else { distance >= diagonal }
        };
        let gone: Vec<bool> = (0..rows * columns).map(|at| !kept(at / columns.max(1), at % columns.max(1))).collect();
        let gone = Array::from_bools(&gone, &[rows, columns], &self.device())?;
        self.fill_where(&gone, Number::Int(0))
    }

    /// `torch.nn.functional.pad(self, pad, mode, value)`: a pair a dimension, the last dimension first; a negative number cuts
    /// off.
    ///
    /// # Errors
    /// When there are more pairs than dimensions, or a mode cannot reach so far.
    pub fn pad(&self, pad: &[i64], mode: Padding) -> Result<Self> {
        if !pad.len().is_multiple_of(2) || pad.len() / 2 > self.rank() {
            return Err(refused("pad", format!("{pad:?} are no pairs for the dimensions of {:?}", self.shape())));
        }
        // As `reflection_pad3d` is not, the operators behind the others are on autocast's list.
        let mut x = match mode {
            Padding::Reflect if pad.len() <= 4 => single([self])?[0].clone(),
            Padding::Replicate => single([self])?[0].clone(),
            _ => self.clone(),
        };
        for (index, pair) in pad.chunks(2).enumerate() {
            let dim = x.rank() - 1 - index;
            x = x.padded_along(dim, pair[0], pair[1], mode)?;
        }
        Ok(x)
    }

    fn padded_along(&self, dim: usize, before: i64, after: i64, mode: Padding) -> Result<Self> {
        let length = self.shape()[dim];
        let size = |by: i64| usize::try_from(by.max(0)).unwrap_or(0);
        let (cut_before, cut_after) = (size(-before), size(-after));
        if cut_before + cut_after > length + size(before) + size(after) {
            return Err(refused("pad", format!("more would be cut off than the {length} there are")));
        }
        if mode == Padding::Circular && (cut_before > 0 || cut_after > 0) && cut_before + cut_after <= length {
            let rest = self.sliced(dim, cut_before, length - cut_after, 1);
            return rest.padded_along(dim, before.max(0), after.max(0), mode);
        }
        if let Padding::Constant(value) = mode {
            let x = self.sliced(
                dim,
                cut_before.min(length),
                length.saturating_sub(cut_after).max(cut_before.min(length)),
                1,
            );
            if before <= 0 && after <= 0 {
                return Ok(x);
            }
            let block = |length: usize| {
                let mut shape = x.shape().to_vec();
                shape[dim] = length;
                Array::full(&shape, value, x.dtype(), &x.device())
            };
            return Array::joined(&[block(size(before)), x.clone(), block(size(after))], dim);
        }
        if before == 0 && after == 0 {
            return Ok(self.clone());
        }
        let reach = match mode {
            Padding::Reflect => length.saturating_sub(1),
            Padding::Circular => length,
            _ if length == 0 => 0,
            _ => usize::MAX,
        };
        if size(before) > reach || size(after) > reach {
            return Err(refused("pad", format!("{before} and {after} are too many beside {length}")));
        }
        let last = i64::try_from(length).unwrap_or(0) - 1;
        let source = |at: i64| match mode {
            Padding::Reflect if at < 0 => -at,
            Padding::Reflect if at > last => 2 * last - at,
            Padding::Circular => at.rem_euclid(last + 1),
            _ => at.clamp(0, last),
        };
        let places: Vec<i64> = (-before..=last.saturating_add(after)).map(source).collect();
        let indices = Array::from_ints(&places, &[places.len()], &self.device())?;
        self.taken(i64::try_from(dim).unwrap_or(0), &indices)
    }
}

/// What a tensor is padded with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    /// A number.
    Constant(Number),
    /// The elements before the border, mirrored; the border is not repeated.
    Reflect,
    /// The element at the border.
    Replicate,
    /// The elements of the other side.
    Circular,
}

/// A place along a dimension, counted from the end where negative.
fn place_of(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let place = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(place).ok().filter(|_| place < length)
}
