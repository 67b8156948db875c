//! Elements at computed places: windows as columns, diagonals, strides, masks, and reductions of what falls on one place.

use super::row::{Call, Undo, View, ops};
use crate::Result;
use crate::functional::{Array, Blocks, Kind, Reduce, Update, broadcast_shape, refused, select, signed};
use crate::graph::item::Given;

fn blocks(g: &Given<'_>) -> Result<Blocks> {
    let pair = |name: &str, default: usize| -> Result<[usize; 2]> {
        match *g.sizes(name, &[default, default])? {
            [one] => Ok([one; 2]),
            [one, other] => Ok([one, other]),
            _ => Err(refused("unfold", format!("'{name}' needs two numbers"))),
        }
    };
    Ok(Blocks {
        kernel: pair("kernel_size", 1)?,
        dilation: pair("dilation", 1)?,
        padding: pair("padding", 0)?,
        stride: pair("stride", 1)?,
    })
}

fn columns_added(g: &Given<'_>) -> Result<Array> {
    let [height, width] = *g.sizes("output_size", &[])? else {
        return Err(refused("fold", "'output_size' needs two numbers"));
    };
    g.tensor("self")?.col2im([height, width], &blocks(g)?)
}

fn unpooled(g: &Given<'_>) -> Result<Array> {
    g.tensor("self")?.max_unpool(g.tensor("indices")?, &g.sizes("output_size", &[])?)
}

/// As its elements lie in memory: the dimensions in this order.
fn laid(x: &Array, order: &[usize]) -> Result<Array> {
    if order.is_empty() { Ok(x.clone()) } else { x.permute(&order.iter().map(|&dim| signed(dim)).collect::<Vec<_>>()) }
}

fn strided(c: &Call<'_>) -> Result<Array> {
    let g = &c.given;
    let offset = g.size("storage_offset", 0)?;
    laid(g.tensor("self")?, c.order)?.as_strided(&g.sizes("size", &[])?, &g.sizes("stride", &[])?, offset)
}

fn strided_scattered(c: &Call<'_>) -> Result<Array> {
    let g = &c.given;
    let (size, stride) = (g.sizes("size", &[])?, g.sizes("stride", &[])?);
    let x = laid(g.tensor("self")?, c.order)?;
    let order: Vec<i64> = crate::functional::inverse(c.order).into_iter().map(signed).collect();
    let new = x.as_strided_scatter(g.tensor("src")?, &size, &stride, g.size("storage_offset", 0)?)?;
    if order.is_empty() { Ok(new) } else { new.permute(&order) }
}

fn reduce_of(name: Option<&str>) -> Result<Reduce> {
    match name.unwrap_or_default() {
        "sum" => Ok(Reduce::Sum),
        "prod" => Ok(Reduce::Product),
        "mean" => Ok(Reduce::Mean),
        "amax" => Ok(Reduce::Largest),
        "amin" => Ok(Reduce::Smallest),
        other => Err(refused("scatter_reduce", format!("'{other}' is not supported"))),
    }
}

fn scatter_reduced(g: &Given<'_>) -> Result<Array> {
    let include_self = g.flag("include_self", true)?;
    let reduce = reduce_of(g.text("reduce"))?;
    g.tensor("self")?.scatter_reduce(g.int("dim", 0)?, g.tensor("index")?, g.tensor("src")?, reduce, include_self)
}

/// Along one dimension, with one index for each of its places.
fn index_reduced(g: &Given<'_>) -> Result<Array> {
    let (x, source, dim) = (g.tensor("self")?, g.tensor("source")?, g.int("dim", 0)?);
    let index = g.tensor("index")?;
    let mut shape = vec![1; source.rank()];
    if let Some(length) = shape.get_mut(x.dim(dim)?) {
        *length = index.numel();
    }
    let index = index.reshaped(&shape)?.expanded(source.shape())?;
    x.scatter_reduce(dim, &index, source, reduce_of(g.text("reduce"))?, g.flag("include_self", true)?)
}

/// Along a dimension, where the indices may be counted from the end; over all elements without one.
fn taken_along(g: &Given<'_>) -> Result<Array> {
    let (x, indices) = (g.tensor("self")?, g.tensor("indices")?);
    let Some(dim) = g.maybe_int("dim")? else {
        return x.reshaped(&[x.numel()])?.gather(0, &from_start(&indices.reshaped(&[indices.numel()])?, x.numel())?);
    };
    let at = x.dim(dim)?;
    let length = x.shape().get(at).copied().unwrap_or(1);
    let without = |array: &Array| {
        let mut shape = array.shape().to_vec();
        if let Some(length) = shape.get_mut(at) {
            *length = 1;
        }
        shape
    };
    let shape = broadcast_shape(&without(x), &without(indices))?;
    let with = |length: usize| {
        let mut shape = shape.clone();
        if let Some(place) = shape.get_mut(at) {
            *place = length;
        }
        shape
    };
    let places = indices.expanded(&with(indices.shape().get(at).copied().unwrap_or(1)))?;
    x.expanded(&with(length))?.gather(dim, &from_start(&places, length)?)
}

/// Indices of which those below 0 are counted from the end.
fn from_start(indices: &Array, length: usize) -> Result<Array> {
    select(&indices.lt(0)?, &indices.add(signed(length))?, indices)
}

/// Elements at places of all elements in a row.
fn put(g: &Given<'_>) -> Result<Array> {
    let (x, index, source) = (g.tensor("self")?, g.tensor("index")?, g.tensor("source")?);
    let row = |x: &Array| x.reshaped(&[x.numel()]);
    let places = from_start(&row(index)?, x.numel())?;
    let update = if g.flag("accumulate", false)? { Update::Add } else { Update::Assign };
    row(x)?.scatter(0, &places, &row(source)?, update)?.reshaped(x.shape())
}

fn filled_at(g: &Given<'_>) -> Result<Array> {
    let (x, index, dim) = (g.tensor("self")?, g.tensor("index")?, g.int("dim", 0)?);
    let at = x.dim(dim)?;
    let mut shape = x.shape().to_vec();
    if let Some(length) = shape.get_mut(at) {
        *length = index.numel();
    }
    let value = match g.operand("value")? {
        crate::functional::Operand::Number(value) => Array::full(&[], value, x.dtype(), &x.device()),
        crate::functional::Operand::Array(value) => value.cast(x.dtype())?.reshaped(&[])?,
    };
    let places = from_start(index, x.shape().get(at).copied().unwrap_or(1))?;
    if x.rank() == 0 {
        return Ok(if index.numel() == 0 { x.clone() } else { value });
    }
    // By a mask: what is named twice is filled once, and counts once in the gradient.
    let zeros = Array::full(x.shape(), crate::functional::Number::Int(0), burn::tensor::DType::I64, &x.device());
    let ones = Array::full(&shape, crate::functional::Number::Int(1), burn::tensor::DType::I64, &x.device());
    select(&zeros.index_update(dim, &places, &ones, Update::Assign)?.ne(0)?, &value, x)
}

/// The number of the diagonal, and between which dimensions it goes.
fn diagonal(g: &Given<'_>, last: bool) -> Result<(i64, i64, i64)> {
    let (one, other) = if last { (-2, -1) } else { (0, 1) };
    Ok((g.int("offset", 0)?, g.int("dim1", one)?, g.int("dim2", other)?))
}

/// The diagonal of a matrix, or of all dimensions, in place.
fn diagonal_filled(g: &Given<'_>) -> Result<Array> {
    let x = g.tensor("self")?;
    if x.rank() != 2 {
        return Err(refused("fill_diagonal_", "it is supported for matrices"));
    }
    let (rows, columns) = (x.shape()[0], x.shape()[1]);
    let wrap = g.flag("wrap", false)?;
    let every = columns + 1;
    let on = |place: usize| place.is_multiple_of(every.max(1)) && (wrap || place / columns.max(1) < columns);
    let places: Vec<bool> = (0..rows * columns).map(on).collect();
    x.fill_where(&Array::from_bools(&places, x.shape(), &x.device())?, g.number("fill_value")?)
}

/// The places of a triangle of a matrix: rows above columns.
fn triangle_places(c: &Call<'_>, lower: bool) -> Result<Array> {
    let g = &c.given;
    let (rows, columns, offset) = (g.size("row", 0)?, g.size("col", 0)?, g.int("offset", 0)?);
    let inside = |place: &usize| {
        let distance = signed(place % columns) - signed(place / columns);
        if lower { distance <= offset } else { distance >= offset }
    };
    let places: Vec<usize> = (0..rows * columns).filter(inside).collect();
    let row = places.iter().map(|place| signed(place / columns));
    let all: Vec<i64> = row.chain(places.iter().map(|place| signed(place % columns))).collect();
    let dtype = g.dtype("dtype").unwrap_or(burn::tensor::DType::I64);
    Array::from_ints(&all, &[2, places.len()], c.device)?.cast(dtype)
}

/// All combinations of the elements of rows.
fn product_of_rows(g: &Given<'_>) -> Result<Array> {
    let all = g.tensors("tensors")?;
    if let [only] = &*all {
        return Ok(only.clone());
    }
    let lengths: Vec<usize> = all.iter().map(Array::numel).collect();
    let grid = |(at, array): (usize, &Array)| {
        let mut shape = vec![1; lengths.len()];
        shape[at] = array.numel();
        array.reshaped(&shape)?.expanded(&lengths)?.flatten(0, -1)
    };
    Array::stack(&all.iter().enumerate().map(grid).collect::<Result<Vec<_>>>()?, 1)
}

/// Turned by quarters.
fn turned(g: &Given<'_>) -> Result<Array> {
    let x = g.tensor("self")?;
    let dims = g.maybe_ints("dims")?.unwrap_or_else(|| vec![0, 1]);
    let &[one, other] = &*dims else { return Err(refused("rot90", "it needs two dimensions")) };
    match g.int("k", 1)?.rem_euclid(4) {
        1 => x.flip(&[other])?.transpose(one, other),
        2 => x.flip(&[one, other]),
        3 => x.flip(&[one])?.transpose(one, other),
        _ => Ok(x.clone()),
    }
}

/// Summed to a shape that can be expanded to this one.
fn summed_to(g: &Given<'_>) -> Result<Array> {
    let (x, shape) = (g.tensor("self")?, g.sizes("size", &[])?);
    let Some(front) = x.rank().checked_sub(shape.len()) else {
        return Err(refused("sum_to_size", format!("{:?} cannot be summed to {shape:?}", x.shape())));
    };
    let dims: Vec<i64> = (0..x.rank())
        .filter(|&dim| dim < front || (shape[dim - front] == 1 && x.shape()[dim] != 1))
        .map(signed)
        .collect();
    if dims.is_empty() { x.reshaped(&shape) } else { x.sum(&dims, true)?.reshaped(&shape) }
}

const DIAGONAL: View = View::Always(Undo::Diagonal);

ops! {
    "aten.im2col.default" (self, kernel_size, dilation, padding, stride) |c| c.given.tensor("self")?.im2col(&blocks(&c.given)?)?;
    "aten.col2im.default" (self, output_size, kernel_size, dilation, padding, stride) |c| columns_added(&c.given)?;
    "aten.max_unpool2d.default" (self, indices, output_size) |c| unpooled(&c.given)?;
    "aten.max_unpool3d.default" (self, indices, output_size, stride, padding) |c| unpooled(&c.given)?;
    "aten.as_strided.default" (self, size, stride, storage_offset) [View::Always(Undo::Index)] |c| strided(c)?;
    "aten.as_strided_copy.default" (self, size, stride, storage_offset) |c| strided(c)?;
    "aten.as_strided_scatter.default" (self, src, size, stride, storage_offset) |c| strided_scattered(c)?;
    "aten.diagonal.default" (self, offset, dim1, dim2) [DIAGONAL] |c| {
        let (offset, one, other) = diagonal(&c.given, false)?;
        c.given.tensor("self")?.diagonal(offset, one, other)?
    };
    "aten.diagonal_copy.default" (self, offset, dim1, dim2) |c| {
        let (offset, one, other) = diagonal(&c.given, false)?;
        c.given.tensor("self")?.diagonal(offset, one, other)?
    };
    "aten.diagonal_scatter.default" (self, src, offset, dim1, dim2) |c| {
        let (offset, one, other) = diagonal(&c.given, false)?;
        c.given.tensor("self")?.diagonal_scatter(c.given.tensor("src")?, offset, one, other)?
    };
    "aten.diag_embed.default" (self, offset, dim1, dim2) |c| {
        let (offset, one, other) = diagonal(&c.given, true)?;
        c.given.tensor("self")?.diag_embed(offset, one, other)?
    };
    "aten.diag.default" (self, diagonal) |c| {
        let (x, offset) = (c.given.tensor("self")?, c.given.int("diagonal", 0)?);
        if x.rank() == 1 { x.diag_embed(offset, 0, 1)? } else { x.diagonal(offset, 0, 1)? }
    };
    "aten.diagflat.default" (self, offset) |c| {
        let x = c.given.tensor("self")?;
        x.reshaped(&[x.numel()])?.diag_embed(c.given.int("offset", 0)?, 0, 1)?
    };
    "aten.fill_diagonal.default" (self, fill_value, wrap) |c| diagonal_filled(&c.given)?;
    "aten.masked_select.default" (self, mask) |c| {
        let (x, mask) = (c.given.tensor("self")?, c.given.tensor("mask")?);
        let shape = broadcast_shape(x.shape(), mask.shape())?;
        let flat = |x: &Array| x.expanded(&shape)?.reshaped(&[shape.iter().product()]);
        flat(x)?.index(&[Some(flat(&mask.cast(crate::functional::BOOL)?)?)])?
    };
    "aten.masked_scatter.default" (self, mask, source) |c| c.given.tensor("self")?.masked_scatter(c.given.tensor("mask")?, c.given.tensor("source")?)?;
    "aten.repeat_interleave.Tensor" (repeats, output_size) |c| c.given.tensor("repeats")?.repeated_places()?;
    "aten.repeat_interleave.self_Tensor" (self, repeats, dim, output_size) |c| c.given.tensor("self")?.repeat_each(c.given.tensor("repeats")?, c.given.maybe_int("dim")?)?;
    "aten.scatter_reduce.two" (self, dim, index, src, reduce, include_self) |c| scatter_reduced(&c.given)?;
    "aten.index_reduce.default" (self, dim, index, source, reduce, include_self) |c| index_reduced(&c.given)?;
    "aten.take_along_dim.default" (self, indices, dim) |c| taken_along(&c.given)?;
    "aten.put.default" (self, index, source, accumulate) |c| put(&c.given)?;
    "aten.index_fill.int_Scalar" (self, dim, index, value) |c| filled_at(&c.given)?;
    "aten.index_fill.int_Tensor" (self, dim, index, value) |c| filled_at(&c.given)?;
    "aten.combinations.default" (self, r, with_replacement) |c| c.given.tensor("self")?.combinations(c.given.size("r", 2)?, c.given.flag("with_replacement", false)?)?;
    "aten.cartesian_prod.default" (tensors) |c| product_of_rows(&c.given)?;
    "aten.tril_indices.default" (row, col, offset, dtype, layout, device, pin_memory) |c| triangle_places(c, true)?;
    "aten.triu_indices.default" (row, col, offset, dtype, layout, device, pin_memory) |c| triangle_places(c, false)?;
    "aten.rot90.default" (self, k, dims) |c| turned(&c.given)?;
    "aten.sum_to_size.default" (self, size) |c| summed_to(&c.given)?;
    "aten.argwhere.default" (self) |c| c.given.tensor("self")?.nonzero()?;
    "aten.nonzero_numpy.default" (self) |c| {
        let x = c.given.tensor("self")?;
        if x.rank() == 0 { x.unsqueeze(0)?.nonzero()?.unbind(1)? } else { x.nonzero()?.unbind(1)? }
    };
    "aten.trace.default" (self) |c| {
        let diagonal = c.given.tensor("self")?.diagonal(0, 0, 1)?;
        if diagonal.kind() == Kind::Bool { diagonal.cast(burn::tensor::DType::I64)?.sum(&[], false)? } else { diagonal.sum(&[], false)? }
    };
    "aten.pdist.default" (self, p) |c| {
        let x = c.given.tensor("self")?;
        let rows = x.shape().first().copied().unwrap_or(0);
        let pairs: Vec<(usize, usize)> = (0..rows).flat_map(|one| (one + 1..rows).map(move |other| (one, other))).collect();
        let picked = |side: fn(&(usize, usize)) -> usize| {
            let places: Vec<i64> = pairs.iter().map(|pair| signed(side(pair))).collect();
            x.index_select(0, &Array::from_ints(&places, &[places.len()], &x.device())?)
        };
        picked(|pair| pair.0)?.sub(&picked(|pair| pair.1)?)?.vector_norm(c.given.float("p", 2.0)?, &[-1], false)?
    };
}
