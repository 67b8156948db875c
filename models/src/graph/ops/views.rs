//! The same elements otherwise: views and copies, joining and parting, indexing.

use super::arithmetic::typed;
use super::row::{Undo, View, ops};
use crate::Result;
use crate::functional::{Array, Kind, Number, Padding, Update, inverse, refused, signed};
use crate::graph::item::Given;

/// The places that a `dim` argument names: one, several, or none.
fn dims(g: &Given<'_>) -> Result<Vec<i64>> {
    g.ints("dim")
}

fn converted(g: &Given<'_>) -> Result<Array> {
    typed(g)
}

fn padded(g: &Given<'_>) -> Result<Array> {
    let value = g.maybe_number("value")?.unwrap_or(Number::Int(0));
    let mode = match g.text("mode").unwrap_or("constant") {
        "constant" => Padding::Constant(value),
        "reflect" => Padding::Reflect,
        "replicate" => Padding::Replicate,
        "circular" => Padding::Circular,
        other => return Err(refused("pad", format!("there is no mode '{other}'"))),
    };
    let pad = if g.maybe_ints("pad")?.is_some() { g.ints("pad")? } else { g.ints("padding")? };
    g.tensor("self")?.pad(&pad, mode)
}

fn update_of(reduce: Option<&str>) -> Result<Update> {
    match reduce {
        None => Ok(Update::Assign),
        Some("add" | "sum") => Ok(Update::Add),
        Some("multiply" | "prod") => Ok(Update::Multiply),
        Some("amin") => Ok(Update::Min),
        Some("amax") => Ok(Update::Max),
        Some(other) => Err(refused("scatter", format!("'{other}' is not supported"))),
    }
}

fn scattered(g: &Given<'_>, update: Update) -> Result<Array> {
    let (x, index) = (g.tensor("self")?, g.tensor("index")?);
    let source = match g.maybe_tensor("src")? {
        Some(source) => source.clone(),
        None => Array::full(&[], g.number("value")?, x.dtype(), &x.device()),
    };
    x.scatter(g.int("dim", 0)?, index, &source, update)
}

fn difference(g: &Given<'_>) -> Result<Array> {
    let dim = g.int("dim", -1)?;
    let mut x = g.tensor("self")?.clone();
    let ends = [g.maybe_tensor("prepend")?.cloned(), Some(x.clone()), g.maybe_tensor("append")?.cloned()];
    let parts: Vec<Array> = ends.into_iter().flatten().collect();
    if parts.len() > 1 {
        x = Array::cat(&parts, dim)?;
    }
    for _ in 0..g.int("n", 1)? {
        let (later, sooner) = (x.slice(dim, Some(1), None, 1)?, x.slice(dim, None, Some(-1), 1)?);
        x = if x.kind() == Kind::Bool { later.ne(&sooner)? } else { later.sub(&sooner)? };
    }
    Ok(x)
}

const SAME: View = View::Always(Undo::Same);
const UNCHANGED: View = View::WhenUnchanged(Undo::Same);
const RESHAPED: View = View::Always(Undo::Reshape);
const PARTS: View = View::Always(Undo::Parts);

ops! {
    "aten.alias.default" (self) [SAME] |c| c.given.tensor("self")?.clone();
    "aten.detach.default" (self) [SAME] |c| c.given.tensor("self")?.detach();
    "aten.view.default" (self, size) [RESHAPED] |c| c.given.tensor("self")?.reshape(&c.given.ints("size")?)?;
    "aten._unsafe_view.default" (self, size) |c| c.given.tensor("self")?.reshape(&c.given.ints("size")?)?;
    "aten.view_as.default" (self, other) [RESHAPED] |c| c.given.tensor("self")?.reshaped(c.given.tensor("other")?.shape())?;
    "aten.reshape.default" (self, shape) [View::WhenUnchanged(Undo::Reshape)] |c| c.given.tensor("self")?.reshape(&c.given.ints("shape")?)?;
    "aten.reshape_as.default" (self, other) [View::WhenUnchanged(Undo::Reshape)] |c| c.given.tensor("self")?.reshaped(c.given.tensor("other")?.shape())?;
    "aten.flatten.using_ints" (self, start_dim, end_dim) [View::WhenUnchanged(Undo::Reshape)] |c| c.given.tensor("self")?.flatten(c.given.int("start_dim", 0)?, c.given.int("end_dim", -1)?)?;
    "aten.ravel.default" (self) [View::WhenUnchanged(Undo::Reshape)] |c| c.given.tensor("self")?.flatten(0, -1)?;
    "aten.unflatten.int" (self, dim, sizes) [RESHAPED] |c| c.given.tensor("self")?.unflatten(c.given.int("dim", 0)?, &c.given.ints("sizes")?)?;
    "aten.unsqueeze.default" (self, dim) [RESHAPED] |c| c.given.tensor("self")?.unsqueeze(c.given.int("dim", 0)?)?;
    "aten.squeeze.default" (self) [RESHAPED] |c| c.given.tensor("self")?.squeeze(None)?;
    "aten.squeeze.dim" (self, dim) [RESHAPED] |c| c.given.tensor("self")?.squeeze(Some(&dims(&c.given)?))?;
    "aten.squeeze.dims" (self, dim) [RESHAPED] |c| c.given.tensor("self")?.squeeze(Some(&dims(&c.given)?))?;
    "aten.transpose.int" (self, dim0, dim1) [View::Always(Undo::Transpose)] |c| c.given.tensor("self")?.transpose(c.given.int("dim0", 0)?, c.given.int("dim1", 1)?)?;
    "aten.swapaxes.default" (self, axis0, axis1) [View::Always(Undo::Transpose)] |c| c.given.tensor("self")?.transpose(c.given.int("axis0", 0)?, c.given.int("axis1", 1)?)?;
    "aten.t.default" (self) [View::Always(Undo::Reverse)] |c| {
        let x = c.given.tensor("self")?;
        if x.rank() < 2 { x.clone() } else { x.transpose(0, 1)? }
    };
    "aten.numpy_T.default" (self) [View::Always(Undo::Reverse)] |c| {
        let x = c.given.tensor("self")?;
        let order: Vec<i64> = (0..i64::try_from(x.rank()).unwrap_or(0)).rev().collect();
        x.permute(&order)?
    };
    "aten.mT.default" (self) [View::Always(Undo::TransposeLast)] |c| c.given.tensor("self")?.transpose(-2, -1)?;
    "aten.adjoint.default" (self) [View::Always(Undo::TransposeLast)] |c| c.given.tensor("self")?.transpose(-2, -1)?;
    "aten.permute.default" (self, dims) [View::Always(Undo::Permute)] |c| c.given.tensor("self")?.permute(&c.given.ints("dims")?)?;
    "aten.movedim.int" (self, source, destination) [View::Always(Undo::Move)] |c| c.given.tensor("self")?.movedim(&c.given.ints("source")?, &c.given.ints("destination")?)?;
    "aten.movedim.intlist" (self, source, destination) [View::Always(Undo::Move)] |c| c.given.tensor("self")?.movedim(&c.given.ints("source")?, &c.given.ints("destination")?)?;
    "aten.expand.default" (self, size, implicit) [View::Always(Undo::Refused)] |c| c.given.tensor("self")?.expand(&c.given.ints("size")?)?;
    "aten.expand_as.default" (self, other) [View::Always(Undo::Refused)] |c| {
        let shape: Vec<i64> = c.given.tensor("other")?.shape().iter().map(|&length| i64::try_from(length).unwrap_or(i64::MAX)).collect();
        c.given.tensor("self")?.expand(&shape)?
    };
    "aten.broadcast_to.default" (self, size) [View::Always(Undo::Refused)] |c| c.given.tensor("self")?.expand(&c.given.ints("size")?)?;
    "aten.broadcast_tensors.default" (tensors) [View::Always(Undo::Refused)] |c| {
        let all = c.given.tensors("tensors")?;
        let shape = all.iter().try_fold(Vec::new(), |shape, array| crate::functional::broadcast_shape(&shape, array.shape()))?;
        all.iter().map(|array| array.expanded(&shape)).collect::<Result<Vec<_>>>()?
    };
    "aten.select.int" (self, dim, index) [View::Always(Undo::Select)] |c| c.given.tensor("self")?.select(c.given.int("dim", 0)?, c.given.int("index", 0)?)?;
    "aten.slice.Tensor" (self, dim, start, end, step) [View::Always(Undo::Slice)] |c| c.given.tensor("self")?.slice(c.given.int("dim", 0)?, c.given.maybe_int("start")?, c.given.maybe_int("end")?, c.given.int("step", 1)?)?;
    "aten.narrow.default" (self, dim, start, length) [View::Always(Undo::Narrow)] |c| c.given.tensor("self")?.narrow(c.given.int("dim", 0)?, c.given.int("start", 0)?, c.given.int("length", 0)?)?;
    "aten.split.Tensor" (self, split_size, dim) [PARTS] |c| c.given.tensor("self")?.split(c.given.int("split_size", 1)?, c.given.int("dim", 0)?)?;
    "aten.split.sizes" (self, split_size, dim) [PARTS] |c| c.given.tensor("self")?.split_with_sizes(&c.given.ints("split_size")?, c.given.int("dim", 0)?)?;
    "aten.split_with_sizes.default" (self, split_sizes, dim) [PARTS] |c| c.given.tensor("self")?.split_with_sizes(&c.given.ints("split_sizes")?, c.given.int("dim", 0)?)?;
    "aten.chunk.default" (self, chunks, dim) [PARTS] |c| c.given.tensor("self")?.chunk(c.given.int("chunks", 1)?, c.given.int("dim", 0)?)?;
    "aten.tensor_split.sections" (self, sections, dim) [PARTS] |c| c.given.tensor("self")?.tensor_split(c.given.int("sections", 1)?, c.given.int("dim", 0)?)?;
    "aten.tensor_split.indices" (self, indices, dim) [PARTS] |c| c.given.tensor("self")?.tensor_split_at(&c.given.ints("indices")?, c.given.int("dim", 0)?)?;
    "aten.tensor_split.tensor_indices_or_sections" (self, tensor_indices_or_sections, dim) [View::Always(Undo::Index)] |c| {
        let (x, dim, given) = (c.given.tensor("self")?, c.given.int("dim", 0)?, c.given.tensor("tensor_indices_or_sections")?);
        if given.rank() == 0 { x.tensor_split(given.item()?.int(), dim)? } else { x.tensor_split_at(&given.ints()?, dim)? }
    };
    "aten.hsplit.int" (self, sections) [View::Always(Undo::Index)] |c| split_along(&c.given, 'h')?;
    "aten.hsplit.array" (self, indices) [View::Always(Undo::Index)] |c| split_along(&c.given, 'h')?;
    "aten.vsplit.int" (self, sections) [View::Always(Undo::Index)] |c| split_along(&c.given, 'v')?;
    "aten.vsplit.array" (self, indices) [View::Always(Undo::Index)] |c| split_along(&c.given, 'v')?;
    "aten.dsplit.int" (self, sections) [View::Always(Undo::Index)] |c| split_along(&c.given, 'd')?;
    "aten.dsplit.array" (self, indices) [View::Always(Undo::Index)] |c| split_along(&c.given, 'd')?;
    "aten.atleast_1d.default" (self) [View::Always(Undo::Reshape)] |c| at_least(c.given.tensor("self")?, 1)?;
    "aten.atleast_2d.default" (self) [View::Always(Undo::Reshape)] |c| at_least(c.given.tensor("self")?, 2)?;
    "aten.atleast_3d.default" (self) [View::Always(Undo::Reshape)] |c| at_least(c.given.tensor("self")?, 3)?;
    "aten.atleast_1d.Sequence" (tensors) |c| c.given.tensors("tensors")?.iter().map(|x| at_least(x, 1)).collect::<Result<Vec<_>>>()?;
    "aten.atleast_2d.Sequence" (tensors) |c| c.given.tensors("tensors")?.iter().map(|x| at_least(x, 2)).collect::<Result<Vec<_>>>()?;
    "aten.atleast_3d.Sequence" (tensors) |c| c.given.tensors("tensors")?.iter().map(|x| at_least(x, 3)).collect::<Result<Vec<_>>>()?;
    "aten.swapdims.default" (self, dim0, dim1) [View::Always(Undo::Transpose)] |c| c.given.tensor("self")?.transpose(c.given.int("dim0", 0)?, c.given.int("dim1", 1)?)?;
    "aten.unbind.int" (self, dim) [View::Always(Undo::Places)] |c| c.given.tensor("self")?.unbind(c.given.int("dim", 0)?)?;
    "aten.unfold.default" (self, dimension, size, step) [View::Always(Undo::Index)] |c| c.given.tensor("self")?.unfold(c.given.int("dimension", 0)?, c.given.size("size", 1)?, c.given.size("step", 1)?)?;
    "aten.contiguous.default" (self, memory_format) [UNCHANGED] |c| c.given.tensor("self")?.clone();
    "aten.clone.default" (self, memory_format) |c| c.given.tensor("self")?.clone();
    "aten.lift_fresh_copy.default" (self) |c| c.given.tensor("self")?.clone();
    "aten.lift_fresh.default" (self) [SAME] |c| c.given.tensor("self")?.clone();
    "aten.positive.default" (self) [SAME] |c| c.given.tensor("self")?.clone();
    "aten.to.dtype" (self, dtype, non_blocking, copy, memory_format) [UNCHANGED] |c| converted(&c.given)?;
    "aten.to.dtype_layout" (self, dtype, layout, device, pin_memory, non_blocking, copy, memory_format) [UNCHANGED] |c| converted(&c.given)?;
    "aten.to.device" (self, device, dtype, non_blocking, copy, memory_format) [UNCHANGED] |c| converted(&c.given)?;
    "aten.to.prim_Device" (self, device, dtype, non_blocking, copy) [UNCHANGED] |c| converted(&c.given)?;
    "aten.to.other" (self, other, non_blocking, copy, memory_format) [UNCHANGED] |c| c.given.tensor("self")?.cast(c.given.tensor("other")?.dtype())?;
    "aten.type_as.default" (self, other) [UNCHANGED] |c| c.given.tensor("self")?.cast(c.given.tensor("other")?.dtype())?;
    "aten._to_copy.default" (self, dtype, layout, device, pin_memory, non_blocking, memory_format) |c| converted(&c.given)?;
    "aten.repeat.default" (self, repeats) |c| c.given.tensor("self")?.repeat(&c.given.ints("repeats")?)?;
    "aten.tile.default" (self, dims) |c| {
        let x = c.given.tensor("self")?;
        let mut times = c.given.ints("dims")?;
        while times.len() < x.rank() { times.insert(0, 1); }
        x.repeat(&times)?
    };
    "aten.repeat_interleave.self_int" (self, repeats, dim, output_size) |c| c.given.tensor("self")?.repeat_interleave(c.given.size("repeats", 1)?, c.given.maybe_int("dim")?)?;
    "aten.cat.default" (tensors, dim) |c| Array::cat(&c.given.tensors("tensors")?, c.given.int("dim", 0)?)?;
    "aten.stack.default" (tensors, dim) |c| Array::stack(&c.given.tensors("tensors")?, c.given.int("dim", 0)?)?;
    "aten.hstack.default" (tensors) |c| {
        let all = c.given.tensors("tensors")?;
        let dim = i64::from(all.first().is_some_and(|first| first.rank() > 1));
        Array::cat(&all, dim)?
    };
    "aten.dstack.default" (tensors) |c| {
        let deep = |array: &Array| match *array.shape() {
            [] | [_] => array.reshaped(&[1, array.numel(), 1]),
            [rows, columns] => array.reshaped(&[rows, columns, 1]),
            _ => Ok(array.clone()),
        };
        Array::cat(&c.given.tensors("tensors")?.iter().map(deep).collect::<Result<Vec<_>>>()?, 2)?
    };
    "aten.vstack.default" (tensors) |c| {
        let rows = |array: &Array| if array.rank() < 2 { array.reshaped(&[1, array.numel()]) } else { Ok(array.clone()) };
        Array::cat(&c.given.tensors("tensors")?.iter().map(rows).collect::<Result<Vec<_>>>()?, 0)?
    };
    "aten.column_stack.default" (tensors) |c| {
        let columns = |array: &Array| if array.rank() < 2 { array.reshaped(&[array.numel(), 1]) } else { Ok(array.clone()) };
        Array::cat(&c.given.tensors("tensors")?.iter().map(columns).collect::<Result<Vec<_>>>()?, 1)?
    };
    "aten.fliplr.default" (self) |c| c.given.tensor("self")?.flip(&[1])?;
    "aten.flipud.default" (self) |c| c.given.tensor("self")?.flip(&[0])?;
    "aten.take.default" (self, index) |c| {
        let (x, index) = (c.given.tensor("self")?, c.given.tensor("index")?);
        x.reshaped(&[x.numel()])?.index(&[Some(index.clone())])?
    };
    "aten.flip.default" (self, dims) |c| c.given.tensor("self")?.flip(&c.given.ints("dims")?)?;
    "aten.roll.default" (self, shifts, dims) |c| c.given.tensor("self")?.roll(&c.given.ints("shifts")?, &c.given.ints("dims")?)?;
    "aten.tril.default" (self, diagonal) |c| c.given.tensor("self")?.triangle(c.given.int("diagonal", 0)?, true)?;
    "aten.triu.default" (self, diagonal) |c| c.given.tensor("self")?.triangle(c.given.int("diagonal", 0)?, false)?;
    "aten.pad.default" (self, pad, mode, value) |c| padded(&c.given)?;
    "aten.constant_pad_nd.default" (self, pad, value) |c| padded(&c.given)?;
    "aten.reflection_pad1d.default" (self, padding) |c| c.given.tensor("self")?.pad(&c.given.ints("padding")?, Padding::Reflect)?;
    "aten.reflection_pad2d.default" (self, padding) |c| c.given.tensor("self")?.pad(&c.given.ints("padding")?, Padding::Reflect)?;
    "aten.replication_pad1d.default" (self, padding) |c| c.given.tensor("self")?.pad(&c.given.ints("padding")?, Padding::Replicate)?;
    "aten.replication_pad2d.default" (self, padding) |c| c.given.tensor("self")?.pad(&c.given.ints("padding")?, Padding::Replicate)?;
    "aten.diff.default" (self, n, dim, prepend, append) |c| difference(&c.given)?;
    "aten.index.Tensor" (self, indices) |c| c.given.tensor("self")?.index(&c.given.maybe_tensors("indices")?)?;
    "aten._unsafe_index.Tensor" (self, indices) |c| c.given.tensor("self")?.index(&c.given.maybe_tensors("indices")?)?;
    "aten.index_put.default" (self, indices, values, accumulate) |c| c.given.tensor("self")?.index_put(&c.given.maybe_tensors("indices")?, c.given.tensor("values")?, c.given.flag("accumulate", false)?)?;
    "aten.index_select.default" (self, dim, index) |c| c.given.tensor("self")?.index_select(c.given.int("dim", 0)?, c.given.tensor("index")?)?;
    "aten.gather.default" (self, dim, index, sparse_grad) |c| c.given.tensor("self")?.gather(c.given.int("dim", 0)?, c.given.tensor("index")?)?;
    "aten.scatter.src" (self, dim, index, src) |c| scattered(&c.given, Update::Assign)?;
    "aten.scatter.value" (self, dim, index, value) |c| scattered(&c.given, Update::Assign)?;
    "aten.scatter.reduce" (self, dim, index, src, reduce) |c| scattered(&c.given, update_of(c.given.text("reduce"))?)?;
    "aten.scatter.value_reduce" (self, dim, index, value, reduce) |c| scattered(&c.given, update_of(c.given.text("reduce"))?)?;
    "aten.scatter_add.default" (self, dim, index, src) |c| scattered(&c.given, Update::Add)?;
    "aten.index_add.default" (self, dim, index, source, alpha) |c| {
        let source = c.given.tensor("source")?;
        let alpha = c.given.maybe_number("alpha")?.unwrap_or(Number::Int(1));
        let source = if alpha.float() == 1.0 { source.clone() } else { source.mul(crate::functional::Operand::Number(alpha))? };
        c.given.tensor("self")?.index_update(c.given.int("dim", 0)?, c.given.tensor("index")?, &source, Update::Add)?
    };
    "aten.index_copy.default" (self, dim, index, source) |c| c.given.tensor("self")?.index_update(c.given.int("dim", 0)?, c.given.tensor("index")?, c.given.tensor("source")?, Update::Assign)?;
    "aten.nonzero.default" (self) |c| c.given.tensor("self")?.nonzero()?;
    "aten.select_scatter.default" (self, src, dim, index) |c| c.given.tensor("self")?.select_scatter(c.given.tensor("src")?, c.given.int("dim", 0)?, c.given.int("index", 0)?)?;
    "aten.slice_scatter.default" (self, src, dim, start, end, step) |c| c.given.tensor("self")?.slice_scatter(c.given.tensor("src")?, c.given.int("dim", 0)?, c.given.maybe_int("start")?, c.given.maybe_int("end")?, c.given.int("step", 1)?)?;
    "aten.copy.default" (self, src, non_blocking) |c| {
        let x = c.given.tensor("self")?;
        c.given.tensor("src")?.cast(x.dtype())?.expanded(x.shape())?
    };
    "aten.one_hot.default" (self, num_classes) |c| {
        let classes = c.given.int("num_classes", -1)?;
        c.given.tensor("self")?.one_hot(usize::try_from(classes).ok())?
    };
    "aten.pixel_shuffle.default" (self, upscale_factor) |c| c.given.tensor("self")?.pixel_shuffle(c.given.size("upscale_factor", 1)?)?;
    "aten.pixel_unshuffle.default" (self, downscale_factor) |c| c.given.tensor("self")?.pixel_unshuffle(c.given.size("downscale_factor", 1)?)?;
    "aten.channel_shuffle.default" (self, groups) |c| {
        let x = c.given.tensor("self")?;
        let groups = c.given.int("groups", 1)?;
        x.unflatten(1, &[groups, -1])?.transpose(1, 2)?.flatten(1, 2)?
    };
    "aten.meshgrid.indexing" (tensors, indexing) |c| mesh(&c.given)?;
    "aten.meshgrid.default" (tensors) |c| mesh(&c.given)?;
}

/// Parts of columns (`hsplit`), of rows, or of what is deeper.
fn split_along(g: &Given<'_>, which: char) -> Result<Vec<Array>> {
    let x = g.tensor("self")?;
    let dim = match which {
        'h' if x.rank() == 1 => 0,
        'h' => 1,
        'v' => 0,
        _ => 2,
    };
    match g.maybe_ints("indices")? {
        Some(indices) => x.tensor_split_at(&indices, dim),
        None => x.tensor_split(g.int("sections", 1)?, dim),
    }
}

/// With at least so many dimensions, as NumPy adds them.
fn at_least(x: &Array, rank: usize) -> Result<Array> {
    match (x.shape(), rank) {
        ([], _) => x.reshaped(&vec![1; rank]),
        (&[length], 2) => x.reshaped(&[1, length]),
        (&[length], 3) => x.reshaped(&[1, length, 1]),
        (&[rows, columns], 3) => x.reshaped(&[rows, columns, 1]),
        _ => Ok(x.clone()),
    }
}

/// A grid of all combinations.
fn mesh(g: &Given<'_>) -> Result<Vec<Array>> {
    let all = g.tensors("tensors")?;
    let swapped = g.text("indexing") == Some("xy") && all.len() > 1;
    let lengths: Vec<usize> = all.iter().map(Array::numel).collect();
    let grid = |(at, array): (usize, &Array)| {
        let mut shape = vec![1; lengths.len()];
        shape[at] = array.numel();
        array.reshaped(&shape)?.expanded(&lengths)
    };
    let grids = all.iter().enumerate().map(grid).collect::<Result<Vec<_>>>()?;
    if swapped { grids.iter().map(|grid| grid.transpose(0, 1)).collect() } else { Ok(grids) }
}

/// What is written to a view, in the tensor that it is a view of.
pub(in crate::graph) fn written_back(
    undo: Undo,
    g: &Given<'_>,
    whole: &Array,
    new: &Array,
    part: usize,
) -> Result<Array> {
    let int = |name: &str, default: i64| g.int(name, default);
    match undo {
        Undo::Same => Ok(new.clone()),
        Undo::Reshape => new.reshaped(whole.shape()),
        Undo::Transpose => {
            let dim = |one: &str, other: &str, default: i64| -> Result<i64> {
                Ok(g.maybe_int(one)?.or(g.maybe_int(other)?).unwrap_or(default))
            };
            new.transpose(dim("dim0", "axis0", 0)?, dim("dim1", "axis1", 1)?)
        }
        Undo::TransposeLast => new.transpose(-2, -1),
        Undo::Reverse => {
            let order: Vec<i64> = (0..i64::try_from(new.rank()).unwrap_or(0)).rev().collect();
            new.permute(&order)
        }
        Undo::Move => new.movedim(&g.ints("destination")?, &g.ints("source")?),
        Undo::Permute => {
            let order = g.ints("dims")?.into_iter().map(|dim| whole.dim(dim)).collect::<Result<Vec<_>>>()?;
            new.permute(&inverse(&order).into_iter().map(signed).collect::<Vec<_>>())
        }
        Undo::Slice => {
            whole.slice_scatter(new, int("dim", 0)?, g.maybe_int("start")?, g.maybe_int("end")?, int("step", 1)?)
        }
        Undo::Narrow => {
            let (start, length) = (int("start", 0)?, int("length", 0)?);
            whole.slice_scatter(new, int("dim", 0)?, Some(start), Some(start.saturating_add(length)), 1)
        }
        Undo::Select => whole.select_scatter(new, int("dim", 0)?, int("index", 0)?),
        Undo::Places => whole.select_scatter(new, int("dim", 0)?, i64::try_from(part).unwrap_or(0)),
        Undo::Parts => {
            let dim = int("dim", 0)?;
            let at = whole.dim(dim)?;
            // The parts before this one have their own lengths.
            let (length, own) = (whole.shape()[at], new.shape()[at]);
            let start = parts_before(g, length, part)?;
            whole.slice_scatter(new, dim, Some(signed(start)), Some(signed(start + own)), 1)
        }
        Undo::Diagonal => whole.diagonal_scatter(new, int("offset", 0)?, int("dim1", 0)?, int("dim2", 1)?),
        Undo::Index | Undo::Refused => Err(refused("a program", "it writes to a view of a kind that is not supported")),
    }
}

/// Where a part of a split dimension begins.
fn parts_before(g: &Given<'_>, length: usize, part: usize) -> Result<usize> {
    for name in ["split_sizes", "split_size"] {
        if let Some(sizes) = g.maybe_ints(name)? {
            let size =
                |index: usize| sizes.get(index).or(sizes.first().filter(|_| sizes.len() == 1)).copied().unwrap_or(0);
            return Ok((0..part).map(|index| usize::try_from(size(index)).unwrap_or(0)).sum());
        }
    }
    if let Some(starts) = g.maybe_ints("indices")? {
        let whole = signed(length);
        let start = part.checked_sub(1).and_then(|before| starts.get(before)).copied().unwrap_or(0);
        return Ok(usize::try_from(if start < 0 { start + whole } else { start.min(whole) }).unwrap_or(0));
    }
    if let Some(chunks) = g.maybe_int("chunks")? {
        return Ok(part * length.div_ceil(usize::try_from(chunks).unwrap_or(1).max(1)));
    }
    let sections = g.size("sections", 1)?.max(1);
    Ok(part * (length / sections) + part.min(length % sections))
}
