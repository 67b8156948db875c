//! Elements by their indices: gather and scatter, PyTorch's advanced indexing, embeddings.
//!
//! What is written to by index goes through one row of all elements: an index of several dimensions becomes a place in it.

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, IndexingUpdateOp};

use super::array::{Array, BOOL, Kind, refused};
use super::broadcast::{broadcast_shape, select};
use super::device::is_on_cpu;
use super::number::Number;
use crate::Result;

/// What becomes of an element that something is scattered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// It is replaced; of several the last counts.
    Assign,
    /// Something is added to it.
    Add,
    /// It is multiplied.
    Multiply,
    /// The smallest stays.
    Min,
    /// The largest stays.
    Max,
}

impl Update {
    fn op(self) -> IndexingUpdateOp {
        match self {
            Update::Assign => IndexingUpdateOp::Assign,
            Update::Add => IndexingUpdateOp::Add,
            Update::Multiply => IndexingUpdateOp::Mul,
            Update::Min => IndexingUpdateOp::Min,
            Update::Max => IndexingUpdateOp::Max,
        }
    }
}

/// Says which number names no element along a dimension, as PyTorch does. Devices other than the CPU are not asked for what they
/// hold: there [`Array::unless_outside`] marks what was picked.
fn check(index: &Array, from: i64, dim: usize, length: usize, op: &'static str) -> Result<()> {
    if !is_on_cpu(index) {
        return Ok(());
    }
    let odd = index.ints()?.into_iter().find(|&number| number < from || number >= signed(length));
    odd.map_or(Ok(()), |odd| {
        Err(refused(op, format!("index {odd} is out of bounds for dimension {dim} with size {length}")))
    })
}

impl Array {
    /// What was picked by an index that goes along with it, with NaN where a number names no element, on the devices that would give
    /// another one: that a program is wrong must not stay unseen, and asking the device for the index would hold everything up.
    fn unless_outside(self, index: &Array, length: usize) -> Result<Self> {
        if is_on_cpu(&self) || self.kind() != Kind::Float || self.numel() == 0 {
            return Ok(self);
        }
        let outside = index.lt(0)?.logical_or(&index.ge(signed(length))?)?;
        select(&outside, f64::NAN, &self)
    }

    /// `torch.gather(self, dim, index)`. On a device other than the CPU a number that names no element gives NaN.
    ///
    /// # Errors
    /// When the index has other dimensions, or is longer than the tensor in one that is not gathered; on the CPU when a number
    /// names no element.
    pub fn gather(&self, dim: i64, index: &Array) -> Result<Self> {
        let at = self.dim(dim)?;
        let in_a_row = self.rank() == 0 || index.rank() == 0;
        let length = if in_a_row { self.numel() } else { self.shape()[at] };
        if in_a_row || self.rank() == index.rank() {
            check(index, 0, at, length, "gather")?;
        }
        self.gathered(dim, index)?.unless_outside(index, length)
    }

    /// The same by an index of our own, whose numbers all name elements: it is not looked at.
    pub(super) fn gathered(&self, dim: i64, index: &Array) -> Result<Self> {
        let at = self.dim(dim)?;
        if index.numel() == 0 {
            return Ok(Array::nothing(index.shape(), self.dtype(), &[self]));
        }
        if self.rank() == 0 || index.rank() == 0 {
            return self
                .reshaped(&[self.numel()])?
                .taken(0, &index.reshaped(&[index.numel()])?)?
                .reshaped(index.shape());
        }
        if self.rank() != index.rank() {
            return Err(refused("gather", "the index needs as many dimensions as the tensor"));
        }
        let mut x = self.clone();
        for (other, &length) in index.shape().iter().enumerate().filter(|(other, _)| *other != at) {
            if length > x.shape()[other] {
                return Err(refused(
                    "gather",
                    format!("an index of {:?} is too long for {:?}", index.shape(), self.shape()),
                ));
            }
            x = x.sliced(other, 0, length, 1);
        }
        Ok(match x.kind() {
            Kind::Float => Array::new(Dispatch::float_gather(at, x.prim(), index.prim()), index.shape()),
            Kind::Int => Array::new(Dispatch::int_gather(at, x.prim(), index.prim()), index.shape()),
            Kind::Bool => {
                let bytes = x.as_bytes();
                Array::new(Dispatch::int_gather(at, bytes.prim(), index.prim()), index.shape()).as_truth()
            }
        })
    }

    /// `torch.index_select(self, dim, index)`. On a device other than the CPU a number that names no element gives NaN.
    ///
    /// # Errors
    /// When there is no such dimension, or the index has several; on the CPU when a number names no element.
    pub fn index_select(&self, dim: i64, index: &Array) -> Result<Self> {
        let at = self.dim(dim)?;
        if index.rank() <= 1 {
            check(index, 0, at, self.lifted(1)?.shape()[at], "index_select")?;
        }
        self.picked(dim, index)
    }

    /// The same by an index that was looked at, where it is on the CPU.
    fn picked(&self, dim: i64, index: &Array) -> Result<Self> {
        let at = self.dim(dim)?;
        let picked = self.taken(dim, index)?;
        let mut along = vec![1; picked.rank()];
        along.iter_mut().skip(at).take(1).for_each(|length| *length = index.numel());
        picked.unless_outside(&index.reshaped(&along)?, self.lifted(1)?.shape()[at])
    }

    /// The same by an index of our own, whose numbers all name elements: it is not looked at.
    pub(super) fn taken(&self, dim: i64, index: &Array) -> Result<Self> {
        let at = self.dim(dim)?;
        let x = self.lifted(1)?;
        if index.rank() > 1 {
            return Err(refused("index_select", "the index has one dimension"));
        }
        let index = index.lifted(1)?;
        if index.numel() == 0 || x.numel() == 0 {
            let mut shape = x.shape().to_vec();
            shape[at] = index.numel();
            return Ok(Array::nothing(&shape, x.dtype(), &[&x]));
        }
        let taken = x.selected(at, &index);
        if self.rank() == 0 && index.numel() == 1 { taken.reshaped(&[]) } else { Ok(taken) }
    }

    /// The place in a row of all elements that each index along `dim` names; the other coordinates are the index's own.
    fn places(&self, dim: usize, index: &Array) -> Result<Self> {
        let strides = strides(self.shape());
        let mut places = index.cast(DType::I64)?.mul(signed(strides[dim]))?;
        for (other, &length) in index.shape().iter().enumerate() {
            if other == dim || length == 1 {
                continue;
            }
            let mut shape = vec![1; index.rank()];
            shape[other] = length;
            let steps: Vec<i64> = (0..length).map(|step| signed(step * strides[other])).collect();
            places = places.add(&Array::from_ints(&steps, &shape, &index.device())?)?;
        }
        places.reshaped(&[index.numel()])
    }

    /// `self.scatter(dim, index, source)` and its kin.
    ///
    /// # Errors
    /// When the index does not fit the tensor or the source.
    pub fn scatter(&self, dim: i64, index: &Array, source: &Array, update: Update) -> Result<Self> {
        let at = self.dim(dim)?;
        let (x, index) = (self.lifted(1)?, index.lifted(1)?);
        let fits =
            |shape: &[usize]| shape.len() == index.rank() && index.shape().iter().zip(shape).all(|(a, b)| a <= b);
        let mut source = source.cast(self.dtype())?.lifted(1)?;
        if source.numel() == 1 && source.shape() != index.shape() {
            source = source.reshaped(&vec![1; index.rank()])?.expanded(index.shape())?;
        }
        if x.rank() != index.rank() || !fits(source.shape()) {
            let reason =
                format!("an index of {:?} does not fit {:?} and {:?}", index.shape(), x.shape(), source.shape());
            return Err(refused("scatter", reason));
        }
        if index.numel() == 0 {
            return if self.kind() == Kind::Float {
                self.add(&Array::nothing(self.shape(), self.dtype(), &[&source]))
            } else {
                Ok(self.clone())
            };
        }
        for (dim, &length) in index.shape().iter().enumerate() {
            source = source.sliced(dim, 0, length, 1);
        }
        check(&index, 0, at, x.shape()[at], "scatter")?;
        if update != Update::Assign && !is_on_cpu(&x) {
            return x.updated_along(at, &index, &source, update, 0)?.reshaped(self.shape());
        }
        let places = x.places(at, &index)?;
        x.put_row(&places, &source.reshaped(&[index.numel()])?, update)?.reshaped(self.shape())
    }

    /// What is scattered along a dimension, on a device whose threads would lose each other's updates of one place in a row: here one
    /// goes along the dimension. Of the dimensions from `from` on, the index may have less than there is.
    fn updated_along(&self, dim: usize, index: &Array, source: &Array, update: Update, from: usize) -> Result<Self> {
        let shorter = |&at: &usize| at != dim && index.shape()[at] < self.shape()[at];
        if let Some(at) = (from..self.rank()).find(shorter) {
            let length = index.shape()[at];
            let part = self.sliced(at, 0, length, 1).updated_along(dim, index, source, update, at + 1)?;
            return Ok(self.slice_assigned(at, 0, length, 1, &part));
        }
        if self.kind() == Kind::Bool {
            let [x, source] = [self, source].map(|x| x.cast(DType::I32));
            return x?.updated_along(dim, index, &source?, update, from)?.cast(BOOL);
        }
        let (x, index, source, op) = (self.prim(), index.prim(), source.prim(), update.op());
        let inner = match self.kind() {
            Kind::Float => Dispatch::float_scatter(dim, x, index, source, op),
            _ => Dispatch::int_scatter(dim, x, index, source, op),
        };
        Ok(Array::new(inner, self.shape()))
    }

    /// The values at these places of a row of all elements.
    fn put_row(&self, places: &Array, values: &Array, update: Update) -> Result<Self> {
        let (row, op) = (self.reshaped(&[self.numel()])?, update.op());
        if row.kind() == Kind::Bool {
            // Truth values as numbers: of one and the other, any and all are the largest and the smallest.
            let put = row.cast(DType::I32)?.put_row(places, &values.cast(DType::I32)?, update)?.cast(BOOL)?;
            return put.reshaped(self.shape());
        }
        let places = places.reshaped(&[places.numel(), 1])?;
        let inner = match row.kind() {
            Kind::Float => Dispatch::float_scatter_nd(row.prim(), places.prim(), values.prim(), op),
            _ => Dispatch::int_scatter_nd(row.prim(), places.prim(), values.prim(), op),
        };
        Array::new(inner, row.shape()).reshaped(self.shape())
    }

    /// `self.index_add(dim, index, source)`, and with other updates.
    ///
    /// # Errors
    /// When the source does not fit.
    pub fn index_update(&self, dim: i64, index: &Array, source: &Array, update: Update) -> Result<Self> {
        let at = self.dim(dim)?;
        let mut shape = vec![1; source.rank().max(1)];
        shape[at] = index.numel();
        let index = index.reshaped(&shape)?.expanded(source.lifted(1)?.shape())?;
        self.scatter(dim, &index, source, update)
    }

    /// `self[indices]`, PyTorch's advanced indexing: `None` stands for `:`, a mask of truth values for where it is true;
    /// indices that stand together stay in their place, others move to the front.
    ///
    /// # Errors
    /// When there are more indices than dimensions, or they do not go together.
    pub fn index(&self, indices: &[Option<Array>]) -> Result<Self> {
        let plan = Indexed::new(self, indices)?;
        let rows = self.permuted(&plan.order).reshaped(&[plan.rows, plan.width])?;
        let places = plan.places.reshaped(&[plan.places.numel()])?;
        let picked = rows.picked(0, &places)?;
        let mut shape = plan.places.shape().to_vec();
        shape.extend(&plan.rest);
        Ok(picked.reshaped(&shape)?.permuted(&plan.back()))
    }

    /// `self.index_put(indices, values, accumulate)`: where an index comes twice, the last value stays or all are added.
    ///
    /// # Errors
    /// As [`index`](Self::index), and when the values cannot be expanded to what is indexed.
    pub fn index_put(&self, indices: &[Option<Array>], values: &Array, accumulate: bool) -> Result<Self> {
        let plan = Indexed::new(self, indices)?;
        let mut shape = plan.places.shape().to_vec();
        shape.extend(&plan.rest);
        let back = plan.back();
        let outer: Vec<usize> = back.iter().map(|&dim| shape[dim]).collect();
        let values = values.cast(self.dtype())?.expanded(&outer)?.permuted(&inverse(&back));
        let count = plan.places.numel();
        if count * plan.width == 0 {
            return Ok(self.clone());
        }
        let x = self.permuted(&plan.order);
        if accumulate && !is_on_cpu(self) {
            let rows = x.reshaped(&[plan.rows, plan.width])?;
            let places = plan.places.reshaped(&[count, 1])?.expanded(&[count, plan.width])?;
            let values = values.reshaped(&[count, plan.width])?;
            let put = rows.updated_along(0, &places, &values, Update::Add, 0)?.reshaped(x.shape())?;
            return Ok(put.permuted(&inverse(&plan.order)));
        }
        let columns: Vec<i64> = (0..plan.width).map(signed).collect();
        let columns = Array::from_ints(&columns, &[1, plan.width], &self.device())?;
        let places = plan.places.reshaped(&[count, 1])?.mul(signed(plan.width))?.add(&columns)?;
        let update = if accumulate { Update::Add } else { Update::Assign };
        let flat = [count * plan.width];
        let put = x.put_row(&places.reshaped(&flat)?, &values.reshaped(&flat)?, update)?;
        Ok(put.permuted(&inverse(&plan.order)))
    }

    /// `torch.nonzero(self)`: a row of coordinates for each element that is not 0. The device is asked for the elements.
    ///
    /// # Errors
    /// When the device does not give them.
    pub fn nonzero(&self) -> Result<Self> {
        let truth = self.cast(BOOL)?;
        let places: Vec<usize> =
            truth.ints()?.iter().enumerate().filter(|(_, value)| **value != 0).map(|(at, _)| at).collect();
        let strides = strides(self.shape());
        let coordinate = |place: usize, dim: usize| signed((place / strides[dim]) % self.shape()[dim]);
        let rows = places.iter().flat_map(|&place| (0..self.rank()).map(move |dim| (place, dim)));
        let coordinates: Vec<i64> = rows.map(|(place, dim)| coordinate(place, dim)).collect();
        Array::from_ints(&coordinates, &[places.len(), self.rank()], &self.device())
    }

    /// `torch.nn.functional.embedding(index, self, padding_idx)`: rows of this matrix. The row of `padding_idx` gets no
    /// gradient.
    ///
    /// # Errors
    /// When this is no matrix; on the CPU when a number has no row, which gives NaN on other devices.
    pub fn embedding(&self, index: &Array, padding_idx: Option<i64>) -> Result<Self> {
        let [rows, width] = *self.shape() else { return Err(refused("embedding", "the weight must be a matrix")) };
        let is_odd = |&number: &i64| number < 0 || number >= signed(rows);
        if is_on_cpu(index)
            && let Some(odd) = index.ints()?.into_iter().find(is_odd)
        {
            return Err(refused("embedding", format!("there is no row {odd} of {rows}")));
        }
        let mut shape = index.shape().to_vec();
        shape.push(width);
        let picked = self.picked(0, &index.reshaped(&[index.numel()])?)?.reshaped(&shape)?;
        let padding = match padding_idx {
            Some(padding) if padding < 0 => padding + signed(rows),
            Some(padding) => padding,
            None => return Ok(picked),
        };
        let is_padding = index.eq(padding)?.unsqueeze(-1)?;
        select(&is_padding, &picked.detach(), &picked)
    }

    /// `torch.nn.functional.one_hot(self, classes)`.
    ///
    /// # Errors
    /// When the elements are not asked for and the number of classes is not said.
    pub fn one_hot(&self, classes: Option<usize>) -> Result<Self> {
        let classes = match classes {
            Some(classes) => classes,
            None => self.ints()?.into_iter().max().and_then(|max| usize::try_from(max + 1).ok()).unwrap_or(0),
        };
        let numbers: Vec<i64> = (0..classes).map(signed).collect();
        let numbers = Array::from_ints(&numbers, &[classes], &self.device())?;
        self.unsqueeze(-1)?.eq(&numbers)?.cast(DType::I64)
    }
}

/// How a tensor is indexed: its indexed dimensions in front as one, the others behind them as one.
struct Indexed {
    /// The order of dimensions, the indexed ones first.
    order: Vec<usize>,
    /// How many rows the indexed dimensions make, and how long the rest of a row is.
    rows: usize,
    width: usize,
    /// The lengths of the dimensions that are not indexed.
    rest: Vec<usize>,
    /// Which rows are meant, in the shape that the indices have together.
    places: Array,
    /// How many dimensions that are not indexed stand before the places in the result.
    before: usize,
}

impl Indexed {
    fn new(x: &Array, indices: &[Option<Array>]) -> Result<Self> {
        let mut given: Vec<(usize, Array)> = Vec::new();
        let mut dim = 0;
        for index in indices {
            let Some(index) = index else {
                dim += 1;
                continue;
            };
            if index.kind() == Kind::Bool || index.dtype() == DType::U8 {
                if index.shape() != x.shape().get(dim..dim + index.rank()).unwrap_or_default() {
                    let reason = format!("a mask of {:?} does not fit {:?}", index.shape(), x.shape());
                    return Err(refused("indexing", reason));
                }
                for (offset, column) in index.nonzero()?.unbind(1)?.into_iter().enumerate() {
                    given.push((dim + offset, column));
                }
                dim += index.rank();
            } else {
                given.push((dim, index.cast(DType::I64)?));
                dim += 1;
            }
        }
        if dim > x.rank() {
            return Err(refused("indexing", format!("{dim} indices are too many for {:?}", x.shape())));
        }
        let (Some(first), Some(last)) = (given.first().map(|row| row.0), given.last().map(|row| row.0)) else {
            return Err(refused("indexing", "it needs an index"));
        };
        let indexed: Vec<usize> = given.iter().map(|row| row.0).collect();
        let others: Vec<usize> = (0..x.rank()).filter(|dim| !indexed.contains(dim)).collect();
        let lengths = |dims: &[usize]| dims.iter().map(|&dim| x.shape()[dim]).collect::<Vec<usize>>();
        let (inner, rest) = (lengths(&indexed), lengths(&others));
        let shape = given.iter().try_fold(Vec::new(), |shape, (_, index)| broadcast_shape(&shape, index.shape()))?;
        let mut places = Array::full(&shape, Number::Int(0), DType::I64, &x.device());
        for ((dim, index), (&length, &stride)) in given.iter().zip(inner.iter().zip(&strides(&inner))) {
            check(index, -signed(length), *dim, length, "indexing")?;
            let wrapped = select(&index.lt(0)?, &index.add(signed(length))?, index)?;
            places = places.add(&wrapped.mul(signed(stride))?)?;
        }
        // Together, they stay where they were.
        let together = last - first + 1 == given.len();
        let order = indexed.into_iter().chain(others).collect();
        let (rows, width) = (inner.iter().product(), rest.iter().product());
        Ok(Indexed { order, rows, width, rest, places, before: if together { first } else { 0 } })
    }

    /// The order of dimensions that brings places and rest to where the result has them.
    fn back(&self) -> Vec<usize> {
        let places = self.places.rank();
        let rest = |dim: usize| places + dim;
        let before = (0..self.before).map(rest);
        before.chain(0..places).chain((self.before..self.rest.len()).map(rest)).collect()
    }
}

/// The order that undoes this one.
pub(crate) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, &dim)| inverse[dim] = at);
    inverse
}

/// How far apart neighbours along each dimension lie in a row of all elements.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim] * shape[dim].max(1);
    }
    strides
}

pub(crate) fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
