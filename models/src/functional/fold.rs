//! Elements at computed places: windows of images as columns and back, diagonals, strides of memory, what a mask picks, and
//! reductions of what falls on one place.

use burn::tensor::DType;

use super::array::{Array, BOOL, Kind, refused};
use super::broadcast::{broadcast_shape, select};
use super::index::{Update, signed};
use super::number::Number;
use super::shape::Padding;
use crate::Result;

/// The windows of `im2col` and `col2im`: two numbers each, for height and width.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Their size.
    pub kernel: [usize; 2],
    /// How far apart a window's elements are. Default 1.
    pub dilation: [usize; 2],
    /// What is added on both sides. Default 0.
    pub padding: [usize; 2],
    /// How far apart they are. Default 1.
    pub stride: [usize; 2],
}

impl Blocks {
    /// How many windows there are along each dimension of an image.
    fn counts(&self, size: [usize; 2]) -> Result<[usize; 2]> {
        let count = |at: usize| {
            let reach = self.dilation[at] * self.kernel[at].saturating_sub(1) + 1;
            let free = (size[at] + 2 * self.padding[at]).checked_sub(reach).filter(|_| self.stride[at] > 0);
            free.map(|free| free / self.stride[at] + 1)
                .ok_or_else(|| refused("unfold", format!("{:?} has no windows of {:?}", size, self.kernel)))
        };
        Ok([count(0)?, count(1)?])
    }

    /// For each element of each window (those of one place of the window together) its place in the padded image.
    fn places(&self, size: [usize; 2]) -> Result<Vec<i64>> {
        let [rows, columns] = self.counts(size)?;
        let width = size[1] + 2 * self.padding[1];
        let mut places = Vec::with_capacity(self.kernel[0] * self.kernel[1] * rows * columns);
        for element in 0..self.kernel[0] * self.kernel[1] {
            let (y, x) = (element / self.kernel[1] * self.dilation[0], element % self.kernel[1] * self.dilation[1]);
            for window in 0..rows * columns {
                let (row, column) = (window / columns * self.stride[0], window % columns * self.stride[1]);
                places.push(signed((row + y) * width + column + x));
            }
        }
        Ok(places)
    }
}

impl Array {
    /// `torch.nn.functional.unfold` (`im2col`): `[n, c, h, w]` to `[n, c ky kx, windows]`.
    ///
    /// # Errors
    /// When there are no such windows.
    pub fn im2col(&self, blocks: &Blocks) -> Result<Self> {
        if self.rank() == 3 {
            return self.unsqueeze(0)?.im2col(blocks)?.squeeze(Some(&[0]));
        }
        let &[n, c, height, width] = self.shape() else {
            return Err(refused("unfold", format!("{:?} are no images", self.shape())));
        };
        let places = blocks.places([height, width])?;
        let [top, left] = blocks.padding.map(signed);
        let x = self.pad(&[left, left, top, top], Padding::Constant(Number::Int(0)))?.flatten(2, 3)?;
        let columns = x.taken(2, &Array::from_ints(&places, &[places.len()], &x.device())?)?;
        let elements = blocks.kernel[0] * blocks.kernel[1];
        columns.reshaped(&[n, c * elements, places.len() / elements.max(1)])
    }

    /// `torch.nn.functional.fold` (`col2im`): `[n, c ky kx, windows]` to images of this size, in which windows are added.
    ///
    /// # Errors
    /// When the windows do not make up such images.
    pub fn col2im(&self, size: [usize; 2], blocks: &Blocks) -> Result<Self> {
        if self.rank() == 2 {
            return self.unsqueeze(0)?.col2im(size, blocks)?.squeeze(Some(&[0]));
        }
        let &[n, rows, windows] = self.shape() else {
            return Err(refused("fold", format!("{:?} are no columns", self.shape())));
        };
        let places = blocks.places(size)?;
        let elements = blocks.kernel[0] * blocks.kernel[1];
        if elements == 0 || rows % elements != 0 || elements * windows != places.len() {
            return Err(refused("fold", format!("{:?} does not make up images of {size:?}", self.shape())));
        }
        let c = rows / elements;
        let [height, width] = [0, 1].map(|at| size[at] + 2 * blocks.padding[at]);
        let whole = Array::full(&[n * c, height * width], Number::Int(0), self.dtype(), &self.device());
        let index = Array::from_ints(&places, &[places.len()], &self.device())?;
        let image = whole.index_update(1, &index, &self.reshaped(&[n * c, places.len()])?, Update::Add)?;
        let [top, left] = blocks.padding.map(|by| -signed(by));
        image.reshaped(&[n, c, height, width])?.pad(&[left, left, top, top], Padding::Constant(Number::Int(0)))
    }

    /// `torch.as_strided(self, size, stride, offset)` over elements that lie row-major.
    ///
    /// # Errors
    /// When it reaches beyond them.
    pub fn as_strided(&self, size: &[usize], stride: &[usize], offset: usize) -> Result<Self> {
        let places = self.strided_places(size, stride, offset)?;
        self.reshaped(&[self.numel()])?.index_select(0, &places)?.reshaped(size)
    }

    /// The value in place of [`as_strided`](Self::as_strided).
    ///
    /// # Errors
    /// As there, and when the value cannot be expanded to it.
    pub fn as_strided_scatter(&self, value: &Array, size: &[usize], stride: &[usize], offset: usize) -> Result<Self> {
        let places = self.strided_places(size, stride, offset)?;
        let value = value.expanded(size)?.reshaped(&[places.numel()])?;
        self.reshaped(&[self.numel()])?.scatter(0, &places, &value, Update::Assign)?.reshaped(self.shape())
    }

    fn strided_places(&self, size: &[usize], stride: &[usize], offset: usize) -> Result<Self> {
        if size.len() != stride.len() {
            return Err(refused("as_strided", "a stride for each length is needed"));
        }
        let mut places = vec![offset];
        for (&length, &step) in size.iter().zip(stride) {
            places = places.iter().flat_map(|&place| (0..length).map(move |at| place + at * step)).collect();
        }
        if let Some(place) = places.iter().find(|&&place| place >= self.numel()) {
            return Err(refused("as_strided", format!("there is no element {place} of {}", self.numel())));
        }
        let places: Vec<i64> = places.into_iter().map(signed).collect();
        Array::from_ints(&places, &[places.len()], &self.device())
    }

    /// `torch.diagonal_scatter(self, value, offset, dim1, dim2)`: the value in place of that diagonal.
    ///
    /// # Errors
    /// When there are no such dimensions, or the value does not fit.
    pub fn diagonal_scatter(&self, value: &Array, offset: i64, dim1: i64, dim2: i64) -> Result<Self> {
        let (one, other) = (self.dim(dim1)?, self.dim(dim2)?);
        if one == other || self.rank() < 2 {
            return Err(refused("diagonal", "it needs two dimensions"));
        }
        let (from, to) = ([signed(one), signed(other)], [-2, -1]);
        let x = self.movedim(&from, &to)?;
        let (rows, columns) = (x.shape()[x.rank() - 2], x.shape()[x.rank() - 1]);
        // Each row has its element of the diagonal in all columns, of which one is taken.
        let before = offset.min(0).saturating_neg();
        let length = value.shape().last().copied().map_or(1, signed);
        let wide = value
            .cast(self.dtype())?
            .pad(&[before, signed(rows) - before - length], Padding::Constant(Number::Int(0)))?;
        let on = (0..rows * columns).map(|at| signed(at % columns.max(1)) - signed(at / columns.max(1)) == offset);
        let on = Array::from_bools(&on.collect::<Vec<_>>(), &[rows, columns], &self.device())?;
        select(&on, &wide.unsqueeze(-1)?, &x)?.movedim(&to, &from)
    }

    /// `torch.diag_embed(self, offset, dim1, dim2)`: the last dimension on the diagonals of matrices of zeros.
    ///
    /// # Errors
    /// When there are no such dimensions.
    pub fn diag_embed(&self, offset: i64, dim1: i64, dim2: i64) -> Result<Self> {
        let x = self.lifted(1)?;
        let rank = x.rank() + 1;
        let (one, other) = (super::array::dim_of(dim1, rank)?, super::array::dim_of(dim2, rank)?);
        let mut shape = x.shape().to_vec();
        let side = shape.pop().unwrap_or(1) + usize::try_from(offset.unsigned_abs()).unwrap_or(0);
        shape.extend([side, side]);
        let zeros = Array::full(&shape, Number::Int(0), x.dtype(), &x.device());
        // The diagonal goes down from dim1 to dim2.
        let matrix = zeros.diagonal_scatter(&x, offset, -2, -1)?;
        matrix.movedim(&[-2, -1], &[signed(one), signed(other)])
    }

    /// `torch.masked_scatter(self, mask, source)`: where the mask is true the source's elements, one after the other.
    ///
    /// # Errors
    /// When the source has too few, or the shapes do not go together.
    pub fn masked_scatter(&self, mask: &Array, source: &Array) -> Result<Self> {
        let shape = broadcast_shape(self.shape(), mask.shape())?;
        let mask = mask.cast(BOOL)?.expanded(&shape)?;
        let places = mask.reshaped(&[mask.numel()])?.nonzero()?;
        let count = places.numel();
        let source = source.reshaped(&[source.numel()])?;
        if source.numel() < count {
            return Err(refused("masked_scatter", format!("{} elements are too few for {count}", source.numel())));
        }
        let x = self.expanded(&shape)?;
        let row = x.reshaped(&[x.numel()])?;
        let source = source.slice(0, None, Some(signed(count)), 1)?;
        row.index_put(&[Some(places.reshaped(&[count])?)], &source, false)?.reshaped(&shape)
    }

    /// `torch.repeat_interleave(self, repeats, dim)`, with a number for each place of the dimension.
    ///
    /// # Errors
    /// When there are not as many numbers as places.
    pub fn repeat_each(&self, repeats: &Array, dim: Option<i64>) -> Result<Self> {
        let (x, dim) = match dim {
            Some(dim) => (self.lifted(1)?, dim),
            None => (self.reshaped(&[self.numel()])?, 0),
        };
        let length = x.shape()[x.dim(dim)?];
        let repeats = repeats.reshaped(&[repeats.numel()])?.expanded(&[length])?;
        x.taken(dim, &repeats.repeated_places()?)
    }

    /// `torch.repeat_interleave(repeats)`: each place as often as its number says.
    ///
    /// # Errors
    /// When a number is negative, or the device does not give them.
    pub fn repeated_places(&self) -> Result<Self> {
        let mut places = Vec::new();
        for (place, times) in self.ints()?.into_iter().enumerate() {
            let times = usize::try_from(times).map_err(|_| refused("repeat_interleave", "a number is negative"))?;
            places.extend(std::iter::repeat_n(signed(place), times));
        }
        Array::from_ints(&places, &[places.len()], &self.device())
    }

    /// `torch.scatter_reduce(self, dim, index, source, reduce, include_self)`: sum, product, mean or extreme of what falls on one
    /// place; equal extremes share the gradient.
    ///
    /// # Errors
    /// When the index does not fit.
    pub fn scatter_reduce(
        &self,
        dim: i64,
        index: &Array,
        source: &Array,
        reduce: Reduce,
        include_self: bool,
    ) -> Result<Self> {
        let source = source.cast(self.dtype())?;
        // As much of the source as the index has places.
        let mut part = source.lifted(index.rank())?;
        for (at, &length) in index.shape().iter().enumerate() {
            part = part.slice(signed(at), None, Some(signed(length)), 1)?;
        }
        let source = part.reshaped(index.shape())?;
        let ones = |x: &Array, dtype: DType| Array::full(x.shape(), Number::Int(1), dtype, &x.device());
        let counts = Array::full(self.shape(), Number::Int(i64::from(include_self)), DType::I64, &self.device())
            .scatter(dim, index, &ones(index, DType::I64), Update::Add)?;
        let touched =
            self.zeros_like().cast(DType::I64)?.scatter(dim, index, &ones(index, DType::I64), Update::Add)?.ne(0)?;
        // What is there does not count where something falls.
        let neutral = match reduce {
            Reduce::Sum | Reduce::Mean => Number::Int(0),
            Reduce::Product => Number::Int(1),
            Reduce::Largest => bound_of(self.dtype(), false),
            Reduce::Smallest => bound_of(self.dtype(), true),
        };
        let base = if include_self { self.clone() } else { self.fill_where(&touched, neutral)? };
        match reduce {
            Reduce::Sum => base.scatter(dim, index, &source, Update::Add),
            Reduce::Mean => {
                let sum = base.scatter(dim, index, &source, Update::Add)?;
                let counts = counts.clamp(Some(Number::Int(1)), None)?.cast(self.dtype())?;
                if self.kind() == Kind::Float {
                    sum.div(&counts)
                } else {
                    sum.floor_divide(&counts)?.cast(self.dtype())
                }
            }
            Reduce::Product if self.kind() != Kind::Float => base.scatter(dim, index, &source, Update::Multiply),
            Reduce::Product => base.scattered_product(dim, index, &source),
            Reduce::Largest | Reduce::Smallest => {
                let update = if reduce == Reduce::Largest { Update::Max } else { Update::Min };
                base.scattered_extreme(dim, index, &source, update)
            }
        }
    }

    /// The product of what is at a place and what falls there: each factor's gradient is the product of the others.
    fn scattered_product(&self, dim: i64, index: &Array, source: &Array) -> Result<Self> {
        let (base, parts) = (self.detach(), source.detach());
        let update = |x: &Array, parts: &Array, update| x.scatter(dim, index, parts, update);
        let value = update(&base, &parts, Update::Multiply)?;
        // Without the factors that are 0, and how many those are.
        let one = |x: &Array| x.fill_where(&x.eq(0.0)?, Number::Float(1.0));
        let zeros = |x: &Array| x.eq(0.0)?.cast(x.dtype());
        let rest = update(&one(&base)?, &one(&parts)?, Update::Multiply)?;
        let count = update(&zeros(&base)?, &zeros(&parts)?, Update::Add)?;
        let others = |x: &Array, rest: &Array, count: &Array| {
            rest.div(&one(x)?)?.fill_where(&count.sub(&zeros(x)?)?.gt(0.0)?, Number::Float(0.0))
        };
        let at = |x: &Array| x.gather(dim, index);
        let (of_base, of_parts) = (others(&base, &rest, &count)?, others(&parts, &at(&rest)?, &at(&count)?)?);
        let by_base = self.first_order(&value, |change| change.mul(&of_base))?;
        let by_parts = source.first_order(&value, |change| {
            value.zeros_like().scatter(dim, index, &change.mul(&of_parts)?, Update::Add)
        })?;
        by_base.add(&by_parts.sub(&value)?.fill_where(&value.detach().sub(&value)?.ne(0.0)?, Number::Float(0.0))?)
    }

    fn scattered_extreme(&self, dim: i64, index: &Array, source: &Array, update: Update) -> Result<Self> {
        let value = self.detach().scatter(dim, index, &source.detach(), update)?;
        if self.kind() != Kind::Float {
            return Ok(value);
        }
        let here = self.detach().eq(&value)?.cast(self.dtype())?;
        let there = source.detach().eq(&value.gather(dim, index)?)?.cast(self.dtype())?;
        let count = here.scatter(dim, index, &there, Update::Add)?.clamp(Some(Number::Float(1.0)), None)?;
        let by_base = self.first_order(&value, |change| change.mul(&here)?.div(&count))?;
        let by_source = source.first_order(&value, |change| {
            let share = change.mul(&there)?.div(&count.gather(dim, index)?)?;
            value.zeros_like().scatter(dim, index, &share, Update::Add)
        })?;
        by_base.add(&by_source.sub(&value)?.fill_where(&value.sub(&value)?.ne(0.0)?, Number::Float(0.0))?)
    }

    /// `torch.combinations(self, r, with_replacement)`.
    ///
    /// # Errors
    /// When this is no row.
    pub fn combinations(&self, r: usize, with_replacement: bool) -> Result<Self> {
        let &[length] = self.shape() else { return Err(refused("combinations", "it needs a row")) };
        if r == 0 {
            return Ok(Array::full(&[0], Number::Int(0), self.dtype(), &self.device()));
        }
        let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
        for _ in 0..r {
            let next = |row: &Vec<usize>| {
                let first = row.last().map_or(0, |&last| if with_replacement { last } else { last + 1 });
                (first..length).map(|place| [row.clone(), vec![place]].concat()).collect::<Vec<_>>()
            };
            rows = rows.iter().flat_map(next).collect();
        }
        let count = rows.len();
        let places: Vec<i64> = rows.into_iter().flatten().map(signed).collect();
        self.index_select(0, &Array::from_ints(&places, &[count * r], &self.device())?)?.reshaped(&[count, r])
    }
}

/// What becomes of several elements that fall on one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// Their product.
    Product,
    /// Their mean.
    Mean,
    /// The largest.
    Largest,
    /// The smallest.
    Smallest,
}

/// The lowest number of a type, or the highest.
pub(super) fn bound_of(dtype: DType, highest: bool) -> Number {
    let (low, high) = match dtype {
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DType::U8 => (0, i64::from(u8::MAX)),
        DType::U16 => (0, i64::from(u16::MAX)),
        DType::U32 => (0, i64::from(u32::MAX)),
        DType::Bool(_) => (0, 1),
        dtype if super::kind_of(dtype) == Kind::Int => (i64::MIN, i64::MAX),
        _ => return Number::Float(if highest { f64::INFINITY } else { f64::NEG_INFINITY }),
    };
    Number::Int(if highest { high } else { low })
}
