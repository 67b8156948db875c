//! What PyTorch checks of a tensor when plain `torch.load` reads it, beyond that its view lies inside its storage: the indices of
//! sparse tensors (`torch._validate_sparse_coo_tensor_args`, `torch._validate_sparse_compressed_tensor_args`) and the parameters of
//! quantised ones (`torch._utils._rebuild_qtensor`).

use crate::value::tensor::{Quantizer, SparseLayout, TensorData, TensorParts, element_count};
use crate::{DType, Result, Tensor};

/// Why plain `torch.load` refuses this tensor; `None` where it does not.
///
/// # Errors
/// When indices cannot be read.
pub(crate) fn refusal(tensor: &Tensor) -> Result<Option<String>> {
    let parts = tensor.parts();
    let found = match &parts.data {
        TensorData::Sparse { layout: SparseLayout::Coo, indices, values, coalesced } => match indices.as_slice() {
            [indices] => coordinates(parts, indices, values, *coalesced == Some(true)),
            _ => Err(Refusal::because("it has no indices")),
        },
        TensorData::Sparse { layout, indices, values, .. } => match indices.as_slice() {
            [compressed, plain] => compressed_layout(parts, *layout, compressed, plain, values),
            _ => Err(Refusal::because("it has no indices")),
        },
        _ => quantizer(parts),
    };
    match found {
        Ok(()) => Ok(None),
        Err(Refusal::Because(reason)) => Ok(Some(reason)),
        Err(Refusal::Unread(error)) => Err(error),
    }
}

enum Refusal {
    Because(String),
    Unread(crate::Error),
}

impl Refusal {
    fn because(reason: impl Into<String>) -> Self {
        Refusal::Because(reason.into())
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Refusal::Unread(error)
    }
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Because(reason())) }
}

fn quantizer(parts: &TensorParts) -> Result<(), Refusal> {
    let Some(Quantizer::PerChannel { scales, zero_points, axis, .. }) = &parts.quantizer else { return Ok(()) };
    let length = usize::try_from(*axis).ok().and_then(|axis| parts.shape.get(axis).copied());
    let Some(length) = length else {
        return Err(Refusal::Because(format!("its axis {axis} is no dimension of {:?}", parts.shape)));
    };
    ensure(scales.numel() == length && zero_points.numel() == length, || {
        let (scales, zero_points) = (scales.numel(), zero_points.numel());
        format!("it has {scales} scales and {zero_points} zero points for {length} channels")
    })
}

/// How many indices are read of a tensor that is larger than its storage.
const EXPANDED: usize = 1 << 24;

/// The elements of a tensor of indices.
fn integers(indices: &Tensor, name: &str) -> Result<Vec<i64>, Refusal> {
    let held = indices.storage().map_or(0, |storage| storage.len() / indices.dtype().size() as u64);
    ensure(indices.storage().is_some(), || format!("its {name} have no elements"))?;
    ensure(indices.numel() as u64 <= held || indices.numel() <= EXPANDED, || {
        format!("its {name} are {} places of a storage of {held}", indices.numel())
    })?;
    Ok(match indices.dtype() {
        DType::Int64 => indices.to_vec()?,
        DType::Int32 => indices.to_vec::<i32>()?.into_iter().map(i64::from).collect(),
        // PyTorch takes other numbers for coordinates and cuts them to integers.
        #[allow(clippy::cast_possible_truncation)]
        _ => indices.to_f64_vec()?.into_iter().map(|number| number as i64).collect(),
    })
}

/// The coordinates' rules: `indices` is `[sparse dimensions, nnz]`, `values` is `[nnz, dense dimensions...]`.
fn coordinates(parts: &TensorParts, indices: &Tensor, values: &Tensor, coalesced: bool) -> Result<(), Refusal> {
    let &[dims, count] = indices.shape() else {
        return Err(Refusal::Because(format!("its indices have the shape {:?}, not two dimensions", indices.shape())));
    };
    let fits = values.shape().split_first().is_some_and(|(&nnz, dense)| {
        nnz == count && dims <= parts.shape.len() && parts.shape.get(dims..) == Some(dense)
    });
    ensure(fits, || {
        let (indices, values) = (indices.shape(), values.shape());
        format!("indices of {indices:?} and values of {values:?} do not go together in the shape {:?}", parts.shape)
    })?;
    let places = integers(indices, "indices")?;
    if count == 0 {
        return Ok(());
    }
    for (dim, row) in places.chunks(count).enumerate() {
        let length = parts.shape.get(dim).copied().unwrap_or(0);
        let outside = row.iter().find(|&&place| usize::try_from(place).map_or(true, |place| place >= length));
        if let Some(place) = outside {
            return Err(Refusal::Because(format!(
                "the index {place} is outside of dimension {dim}, which has {length}"
            )));
        }
    }
    if coalesced {
        let place = |at: usize| (0..dims).map(move |dim| dim * count + at).filter_map(|at| places.get(at));
        let ordered = (1..count).all(|at| place(at - 1).lt(place(at)));
        ensure(ordered, || "it is said to be coalesced, and its indices are not in order or repeat".to_owned())?;
    }
    Ok(())
}

/// The rules of compressed rows and columns, with or without blocks, numbered as in PyTorch's sources.
fn compressed_layout(
    parts: &TensorParts,
    layout: SparseLayout,
    compressed: &Tensor,
    plain: &Tensor,
    values: &Tensor,
) -> Result<(), Refusal> {
    let blocked = matches!(layout, SparseLayout::Bsr | SparseLayout::Bsc);
    let by_row = matches!(layout, SparseLayout::Csr | SparseLayout::Bsr);
    let [compressed_name, plain_name] =
        if by_row { ["crow_indices", "col_indices"] } else { ["ccol_indices", "row_indices"] };
    let shape = &parts.shape;
    let shapes = || {
        let (compressed, plain, values) = (compressed.shape(), plain.shape(), values.shape());
        format!(
            "{compressed_name} of {compressed:?}, {plain_name} of {plain:?} and values of {values:?} do not go together in \
             the shape {shape:?}"
        )
    };
    let misfit = || Refusal::Because(shapes());
    let batch = compressed.shape().len().checked_sub(1).ok_or_else(misfit)?;
    let block_dims = if blocked { 2 } else { 0 };
    let dense = values.shape().len().checked_sub(batch + block_dims + 1).ok_or_else(misfit)?;
    ensure(plain.shape().len() == batch + 1 && shape.len() == batch + 2 + dense, shapes)?;
    let batches = shape.get(..batch).unwrap_or_default();
    let same_batch = |tensor: &Tensor| tensor.shape().get(..batch) == Some(batches);
    ensure([compressed, plain, values].into_iter().all(same_batch), shapes)?;
    let block = match values.shape().get(batch + 1..batch + 1 + block_dims) {
        Some(&[rows, columns]) => [rows, columns],
        _ => [1, 1],
    };
    let [rows, columns] = [shape.get(batch).copied().unwrap_or(0), shape.get(batch + 1).copied().unwrap_or(0)];
    // PyTorch counts blocks of no length as if they were of one.
    let [height, breadth] = block.map(|length| length.max(1));
    ensure(rows % height == 0 && columns % breadth == 0, || {
        format!("blocks of {block:?} do not divide {rows} by {columns}")
    })?;
    let [rows, columns] = [rows / height, columns / breadth];
    let (slices, width) = if by_row { (rows, columns) } else { (columns, rows) };
    let nnz = plain.shape().last().copied().unwrap_or(0);
    // How long the dense dimensions of the values are, PyTorch does not ask.
    let fits = compressed.shape().last() == Some(&(slices + 1)) && values.shape().get(batch) == Some(&nnz);
    ensure(fits, shapes)?;
    let integral = |tensor: &Tensor| matches!(tensor.dtype(), DType::Int32 | DType::Int64);
    ensure(integral(compressed) && compressed.dtype() == plain.dtype(), || {
        format!("{compressed_name} are {}, {plain_name} are {}", compressed.dtype(), plain.dtype())
    })?;
    let (starts, places) = (integers(compressed, compressed_name)?, integers(plain, plain_name)?);
    let count = element_count(batches).unwrap_or(usize::MAX);
    for number in 0..count {
        let starts = starts.chunks(slices + 1).nth(number).unwrap_or_default();
        let places = if nnz == 0 { &[][..] } else { places.chunks(nnz).nth(number).unwrap_or_default() };
        one_batch(starts, places, width, [compressed_name, plain_name])?;
    }
    Ok(())
}

/// Rules 5.1 to 5.6 for one matrix: where each slice begins, and the places in it.
fn one_batch(starts: &[i64], places: &[i64], width: usize, names: [&str; 2]) -> Result<(), Refusal> {
    let [compressed, plain] = names;
    let first = starts.first().copied().unwrap_or(0);
    ensure(first == 0, || format!("{compressed}[0] is {first}, where it must be 0"))?;
    let last = starts.last().copied().unwrap_or(0);
    let nnz = places.len();
    ensure(usize::try_from(last).ok() == Some(nnz), || format!("{compressed}[-1] is {last}, where it must be {nnz}"))?;
    for (slice, pair) in starts.windows(2).enumerate() {
        let length = pair[1].checked_sub(pair[0]).and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|&length| length <= width) else {
            let reason = format!(
                "{compressed}[{}] - {compressed}[{slice}] is {}, which is not in 0 to {width}",
                slice + 1,
                pair[1].wrapping_sub(pair[0])
            );
            return Err(Refusal::Because(reason));
        };
        // The starts so far rise from 0, and the last of all is the number of places.
        let from = usize::try_from(pair[0]).unwrap_or(usize::MAX);
        let Some(inside) = from.checked_add(length).and_then(|end| places.get(from..end)) else {
            return Err(Refusal::Because(format!("{compressed}[{}] is {}, of {nnz}", slice + 1, pair[1])));
        };
        for place in inside {
            let is_there = usize::try_from(*place).is_ok_and(|place| place < width);
            ensure(is_there, || format!("{plain} has {place}, which is not in 0 to {width}"))?;
        }
        ensure(inside.is_sorted_by(|a, b| a < b), || format!("{plain} are not in order, or repeat, in slice {slice}"))?;
    }
    Ok(())
}
