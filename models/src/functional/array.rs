//! `Array`: a tensor whose number of dimensions and element type are known at run time, as PyTorch's tensors are.
//!
//! Burn's `Tensor<D>` fixes both when the program is compiled; a program that was exported fixes them when it is read. An
//! `Array` is Burn's own primitive below `Tensor<D>`, with the shape that PyTorch would say: Burn has no tensors without
//! dimensions, so a scalar is kept as `[1]`. Gradients flow through it: what a `Tensor<D>` tracks, an `Array` made of it
//! tracks, too.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor, FloatDType, IntDType, Scalar, TensorMetadata};
use burn::tensor::{BoolStore, DType, Device, Shape, Slice, Tensor, TensorData, try_read_sync};

use super::device::{check_dtype, is_on_cpu, plain, stored, stored_as};
use super::number::Number;
use crate::{ModelError, Result};

/// What kind of numbers a tensor has, in PyTorch's order of promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// True or false.
    Bool,
    /// Whole numbers.
    Int,
    /// Floating-point numbers.
    Float,
}

/// The element type of truth values, however a device stores them.
pub const BOOL: DType = DType::Bool(BoolStore::Native);

/// A tensor of any shape and element type.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use rekindle_models::functional::Array;
///
/// let x = Array::from_floats(&[1.0, 2.0, 3.0], &[3], DType::F32, &Device::flex())?;
/// assert_eq!(x.sum(&[], false)?.floats()?, [6.0]);
/// assert!(x.sum(&[], false)?.shape().is_empty());
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Array {
    inner: DispatchTensor,
    shape: Vec<usize>,
}

/// Calls the operation of the array's kind.
macro_rules! of_kind {
    ($array:expr, $float:ident, $int:ident, $bool:ident, ($first:expr $(, $arg:expr)*)) => {
        match $array.kind() {
            Kind::Float => Dispatch::$float($first $(, $arg)*),
            Kind::Int => Dispatch::$int($first $(, $arg)*),
            Kind::Bool => Dispatch::$bool($first $(, $arg)*),
        }
    };
}
pub(super) use of_kind;

impl Array {
    /// Burn's primitive, under the shape that PyTorch would say.
    pub(super) fn new(inner: DispatchTensor, shape: &[usize]) -> Self {
        debug_assert_eq!(inner.shape().num_elements(), shape.iter().product::<usize>());
        Array { inner, shape: shape.to_vec() }
    }

    /// Burn's primitive, whose own shape it is.
    pub(super) fn of(inner: DispatchTensor) -> Self {
        let shape = inner.shape().as_slice().to_vec();
        Array { inner, shape }
    }

    /// A tensor of Burn's.
    #[must_use]
    pub fn from_float<const D: usize>(tensor: Tensor<D>) -> Self {
        Array::of(tensor.into_dispatch())
    }

    /// A tensor of Burn's, of whole numbers.
    #[must_use]
    pub fn from_int<const D: usize>(tensor: Tensor<D, burn::tensor::Int>) -> Self {
        Array::of(tensor.into_dispatch())
    }

    /// A tensor of Burn's, of truth values.
    #[must_use]
    pub fn from_bool<const D: usize>(tensor: Tensor<D, burn::tensor::Bool>) -> Self {
        Array::of(tensor.into_dispatch())
    }

    /// The tensor as one of Burn's with `D` dimensions; a scalar is `[1]`.
    ///
    /// # Errors
    /// When it has another number of dimensions, or no floating-point numbers.
    pub fn into_float<const D: usize>(self) -> Result<Tensor<D>> {
        self.checked(D, Kind::Float).map(Tensor::from_dispatch)
    }

    /// As [`into_float`](Self::into_float), of whole numbers.
    ///
    /// # Errors
    /// As there.
    pub fn into_int<const D: usize>(self) -> Result<Tensor<D, burn::tensor::Int>> {
        self.checked(D, Kind::Int).map(Tensor::from_dispatch)
    }

    /// As [`into_float`](Self::into_float), of truth values.
    ///
    /// # Errors
    /// As there.
    pub fn into_bool<const D: usize>(self) -> Result<Tensor<D, burn::tensor::Bool>> {
        self.checked(D, Kind::Bool).map(Tensor::from_dispatch)
    }

    fn checked(self, rank: usize, kind: Kind) -> Result<DispatchTensor> {
        if self.inner.shape().num_dims() != rank {
            let (place, expected, found) = ("the tensor".to_owned(), rank.to_string(), self.rank());
            return Err(ModelError::Rank { place, expected, found, shape: self.shape });
        }
        if self.kind() != kind {
            return Err(refused("a tensor of Burn's", format!("its elements are {}", self.dtype_name())));
        }
        Ok(self.inner)
    }

    /// These elements, row-major, in this shape, on the device.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape, or the device does not compute with such.
    pub fn from_data(data: TensorData, shape: &[usize], device: &Device) -> Result<Self> {
        let elements = data.shape().num_elements();
        if elements != shape.iter().product::<usize>() {
            return Err(ModelError::Elements { elements, shape: shape.to_vec() });
        }
        let dtype = data.dtype();
        check_dtype(dtype, device)?;
        let data = TensorData::from_bytes(data.into_bytes(), padded(shape), dtype);
        let device = plain(device);
        let inner = match kind_of(dtype) {
            Kind::Float => Dispatch::float_from_data(data, &device),
            Kind::Int => Dispatch::int_from_data(data, &device),
            Kind::Bool => Dispatch::bool_from_data(data.convert_dtype(stored(&device).into()), &device),
        };
        Ok(Array::new(inner, shape))
    }

    /// These floating-point numbers as elements of the type.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape.
    pub fn from_floats(elements: &[f64], shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let data = TensorData::new(elements.to_vec(), padded_for(elements.len(), shape));
        Array::from_data(data.convert_dtype(dtype), shape, device)
    }

    /// These whole numbers, as 64-bit integers.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape.
    pub fn from_ints(elements: &[i64], shape: &[usize], device: &Device) -> Result<Self> {
        Array::from_data(TensorData::new(elements.to_vec(), padded_for(elements.len(), shape)), shape, device)
    }

    /// These truth values.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape.
    pub fn from_bools(elements: &[bool], shape: &[usize], device: &Device) -> Result<Self> {
        Array::from_data(TensorData::new(elements.to_vec(), padded_for(elements.len(), shape)), shape, device)
    }

    /// `torch.full(shape, value, dtype=...)`.
    #[must_use]
    pub fn full(shape: &[usize], value: Number, dtype: DType, device: &Device) -> Self {
        let (padded, device) = (Shape::from(padded(shape)), plain(device));
        let inner = match kind_of(dtype) {
            Kind::Float => Dispatch::float_full(padded, value.scalar(), &device, FloatDType::from(dtype)),
            Kind::Int => Dispatch::int_full(padded, Scalar::Int(value.wrapped(dtype)), &device, IntDType::from(dtype)),
            Kind::Bool if value.is_true() => Dispatch::bool_ones(padded, &device, stored(&device)),
            Kind::Bool => Dispatch::bool_zeros(padded, &device, stored(&device)),
        };
        Array::new(inner, shape)
    }

    /// Zeros as this one's: its shape, element type and device.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        Array::full(&self.shape, Number::Int(0), self.dtype(), &self.device())
    }

    /// A number as a tensor without dimensions.
    #[must_use]
    pub fn scalar(value: Number, dtype: DType, device: &Device) -> Self {
        Array::full(&[], value, dtype, device)
    }

    /// Its lengths; none for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// How many elements it has.
    #[must_use]
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self.inner.dtype() {
            DType::Bool(_) => BOOL,
            dtype => dtype,
        }
    }

    /// The type of its elements, as PyTorch calls it.
    #[must_use]
    pub fn dtype_name(&self) -> &'static str {
        dtype_name(self.dtype())
    }

    /// Whether its elements are truth values, whole or floating-point numbers.
    #[must_use]
    pub fn kind(&self) -> Kind {
        kind_of(self.dtype())
    }

    /// Where it is.
    #[must_use]
    pub fn device(&self) -> Device {
        Device::new(self.inner.device())
    }

    /// The same elements on the device.
    #[must_use]
    pub fn to_device(&self, device: &Device) -> Self {
        if plain(&self.device()) == plain(device) {
            return self.clone();
        }
        if self.kind() == Kind::Bool {
            // Burn 0.22 takes them along as this device stores them, which the other may not.
            let numbers = Array::new(Dispatch::bool_into_int(self.prim(), IntDType::I32), &self.shape);
            return numbers.to_device(device).as_truth();
        }
        let device = plain(device);
        let inner = of_kind!(self, float_to_device, int_to_device, bool_to_device, (self.prim(), &device));
        Array::new(inner, &self.shape)
    }

    /// Burn's primitive.
    pub(super) fn prim(&self) -> DispatchTensor {
        self.inner.clone()
    }

    /// Its elements, row-major, on the CPU.
    ///
    /// # Errors
    /// When the device does not give them.
    pub fn data(&self) -> Result<TensorData> {
        let read = match self.kind() {
            Kind::Float => try_read_sync(Dispatch::float_into_data(self.prim())),
            Kind::Int => try_read_sync(Dispatch::int_into_data(self.prim())),
            Kind::Bool => try_read_sync(Dispatch::bool_into_data(self.prim())),
        };
        let data = read
            .ok_or_else(|| refused("reading a tensor", "the device gives its elements later only"))?
            .map_err(|error| refused("reading a tensor", error.to_string()))?;
        let data = if self.kind() == Kind::Bool { data.convert_dtype(BOOL) } else { data };
        // A scalar is `[1]` in Burn.
        let dtype = data.dtype();
        Ok(TensorData::from_bytes(data.into_bytes(), self.shape.clone(), dtype))
    }

    /// Its elements as numbers of 64 bits.
    ///
    /// # Errors
    /// When the device does not give them.
    pub fn floats(&self) -> Result<Vec<f64>> {
        Ok(self.data()?.iter::<f64>().collect())
    }

    /// Its elements as whole numbers.
    ///
    /// # Errors
    /// When the device does not give them.
    pub fn ints(&self) -> Result<Vec<i64>> {
        Ok(self.data()?.iter::<i64>().collect())
    }

    /// The only element.
    ///
    /// # Errors
    /// When there are more or none, or the device does not give it.
    pub fn item(&self) -> Result<Number> {
        if self.numel() != 1 {
            return Err(refused("item", format!("a tensor of {:?} has not one element", self.shape)));
        }
        let data = self.data()?;
        let float = data.iter::<f64>().next().unwrap_or_default();
        let int = data.iter::<i64>().next().unwrap_or_default();
        Ok(match self.kind() {
            Kind::Float => Number::Float(float),
            Kind::Int => Number::Int(int),
            Kind::Bool => Number::Bool(int != 0),
        })
    }

    /// The same elements without what led to them: no gradient goes through.
    #[must_use]
    pub fn detach(&self) -> Self {
        match self.kind() {
            Kind::Float => Array::new(Dispatch::float_detach(self.prim()), &self.shape),
            _ => self.clone(),
        }
    }

    /// `tensor.to(dtype)`. A float becomes an integer by leaving off what is behind the point, and true where it is not 0.
    ///
    /// # Errors
    /// When the device does not compute with such numbers.
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        let from = self.dtype();
        if from == dtype || (self.kind() == Kind::Bool && kind_of(dtype) == Kind::Bool) {
            return Ok(self.clone());
        }
        if !is_on_cpu(self) {
            check_dtype(dtype, &self.device())?;
        }
        let x = self.prim();
        let inner = match (self.kind(), kind_of(dtype)) {
            (Kind::Float, Kind::Float) => Dispatch::float_cast(x, FloatDType::from(dtype)),
            (Kind::Float, Kind::Int) => Dispatch::float_into_int(x, IntDType::from(dtype)),
            (Kind::Float, Kind::Bool) => {
                let out = stored_as(&x);
                Dispatch::float_not_equal_elem(x, Scalar::Float(0.0), out)
            }
            (Kind::Int, Kind::Float) => Dispatch::int_into_float(x, FloatDType::from(dtype)),
            (Kind::Int, Kind::Int) => Dispatch::int_cast(x, IntDType::from(dtype)),
            (Kind::Int, Kind::Bool) => {
                let out = stored_as(&x);
                Dispatch::int_not_equal_elem(x, Scalar::Int(0), out)
            }
            (Kind::Bool, Kind::Float) => Dispatch::bool_into_float(x, FloatDType::from(dtype)),
            (Kind::Bool, Kind::Int) => Dispatch::bool_into_int(x, IntDType::from(dtype)),
            (Kind::Bool, Kind::Bool) => x,
        };
        Ok(Array::new(inner, &self.shape))
    }

    /// The same elements in another shape of as many.
    ///
    /// # Errors
    /// When the shape has not as many.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        if self.numel() != shape.iter().product::<usize>() {
            return Err(ModelError::Elements { elements: self.numel(), shape: shape.to_vec() });
        }
        let lengths = padded(shape);
        if self.inner.shape().as_slice() == lengths {
            return Ok(Array { inner: self.prim(), shape: shape.to_vec() });
        }
        let lengths = Shape::from(lengths);
        let inner = of_kind!(self, float_reshape, int_reshape, bool_reshape, (self.prim(), lengths));
        Ok(Array::new(inner, shape))
    }

    /// The dimensions in this order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        if order.iter().copied().eq(0..order.len()) {
            return self.clone();
        }
        let inner = of_kind!(self, float_permute, int_permute, bool_permute, (self.prim(), order));
        let shape: Vec<usize> = order.iter().map(|&dim| self.shape[dim]).collect();
        Array::new(inner, &shape)
    }

    /// Repeated along dimensions of length 1, as broadcasting does; more dimensions come in front.
    pub(crate) fn expanded(&self, shape: &[usize]) -> Result<Self> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        let front = shape.len().checked_sub(self.rank());
        let fits = |front: usize| shape[front..].iter().zip(&self.shape).all(|(&to, &from)| from == to || from == 1);
        let Some(front) = front.filter(|&front| fits(front)) else {
            return Err(refused("expand", format!("a tensor of {:?} cannot be expanded to {shape:?}", self.shape)));
        };
        if shape.contains(&0) {
            return Ok(Array::nothing(shape, self.dtype(), &[self]));
        }
        let mut aligned = vec![1; front];
        aligned.extend(&self.shape);
        let x = self.reshaped(&aligned)?;
        if x.inner.shape().as_slice() == padded(shape) {
            return Ok(Array::new(x.inner, shape));
        }
        let lengths = Shape::from(padded(shape));
        let inner = of_kind!(x, float_expand, int_expand, bool_expand, (x.prim(), lengths));
        Ok(Array::new(inner, shape))
    }

    /// The part from `start` to `end` of one dimension, each `step`-th of it.
    pub(super) fn sliced(&self, dim: usize, start: usize, end: usize, step: usize) -> Self {
        let length = self.shape[dim];
        if (start, end, step) == (0, length, 1) {
            return self.clone();
        }
        let mut shape = self.shape.clone();
        shape[dim] = end.saturating_sub(start).div_ceil(step);
        if shape.contains(&0) {
            return Array::nothing(&shape, self.dtype(), &[self]);
        }
        let slices = self.slices(dim, start, end, step);
        let inner = of_kind!(self, float_slice, int_slice, bool_slice, (self.prim(), &slices));
        Array::new(inner, &shape)
    }

    /// With these values in the place of such a part.
    pub(super) fn slice_assigned(&self, dim: usize, start: usize, end: usize, step: usize, value: &Array) -> Self {
        if value.numel() == 0 {
            return self.clone();
        }
        let slices = self.slices(dim, start, end, step);
        let inner = of_kind!(
            self,
            float_slice_assign,
            int_slice_assign,
            bool_slice_assign,
            (self.prim(), &slices, value.prim())
        );
        Array::new(inner, &self.shape)
    }

    fn slices(&self, dim: usize, start: usize, end: usize, step: usize) -> Vec<Slice> {
        let whole = |length: usize| Slice::new(0, Some(signed(length)), 1);
        let mut slices: Vec<Slice> = self.shape.iter().map(|&length| whole(length)).collect();
        slices[dim] = Slice::new(signed(start), Some(signed(end)), signed(step));
        slices
    }

    /// One after the other along a dimension; all of one type and one number of dimensions.
    pub(super) fn joined(arrays: &[Array], dim: usize) -> Result<Self> {
        let Some(first) = arrays.first() else { return Err(refused("cat", "it needs a tensor")) };
        if first.rank() == 0 {
            return Err(refused("cat", "tensors without dimensions cannot be joined; stack them"));
        }
        if arrays.len() == 1 {
            return Ok(first.clone());
        }
        let mut shape = first.shape.clone();
        for array in &arrays[1..] {
            let fits = array.rank() == first.rank()
                && array.shape.iter().zip(&first.shape).enumerate().all(|(at, (one, other))| at == dim || one == other);
            if !fits {
                let reason = format!("tensors of {:?} and {:?} do not go together", first.shape, array.shape);
                return Err(refused("cat", reason));
            }
            shape[dim] += array.shape[dim];
        }
        let parts: Vec<_> = arrays.iter().filter(|array| array.numel() > 0).map(Array::prim).collect();
        if parts.is_empty() {
            return Ok(Array::nothing(&shape, first.dtype(), &arrays.iter().collect::<Vec<_>>()));
        }
        Ok(Array::new(of_kind!(first, float_cat, int_cat, bool_cat, (parts, dim)), &shape))
    }

    /// The places along a dimension that the indices (whole numbers from 0 on, one dimension) name.
    pub(super) fn selected(&self, dim: usize, indices: &Array) -> Self {
        if self.kind() == Kind::Bool {
            // Burn 0.22's dispatch takes the indices of truth values for truth values.
            return self.as_bytes().selected(dim, indices).as_truth();
        }
        let inner = of_kind!(self, float_select, int_select, bool_select, (self.prim(), dim, indices.prim()));
        Array::of(inner)
    }

    /// Truth values as numbers: of 8 bits on the CPU, where they take as much memory, and of 32 elsewhere, as not every device has
    /// such small ones.
    pub(super) fn as_bytes(&self) -> Self {
        let dtype = if is_on_cpu(self) { IntDType::U8 } else { IntDType::I32 };
        Array::new(Dispatch::bool_into_int(self.prim(), dtype), &self.shape)
    }

    /// Numbers as truth values.
    pub(super) fn as_truth(&self) -> Self {
        let truth = Dispatch::int_not_equal_elem(self.prim(), Scalar::Int(0), stored_as(&self.inner));
        Array::new(truth, &self.shape)
    }

    /// Where the mask is true, the other's elements; all of one shape and type.
    pub(super) fn masked(&self, mask: &Array, other: &Array) -> Self {
        let inner =
            of_kind!(self, float_mask_where, int_mask_where, bool_mask_where, (self.prim(), mask.prim(), other.prim()));
        Array::new(inner, &self.shape)
    }

    /// The index of a dimension that may be counted from the end.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn dim(&self, dim: i64) -> Result<usize> {
        dim_of(dim, self.rank())
    }
}

/// The index of a dimension, counted from the end where negative. A scalar has dimension 0, too.
pub(super) fn dim_of(dim: i64, rank: usize) -> Result<usize> {
    let count = signed(rank.max(1));
    let index = if dim < 0 { dim.checked_add(count as i64) } else { Some(dim) };
    index
        .filter(|&index| (0..count as i64).contains(&index))
        .and_then(|index| usize::try_from(index).ok())
        .ok_or_else(|| refused("a dimension", format!("there is no dimension {dim} of {rank}")))
}

/// An error of an operation.
pub(crate) fn refused(operation: impl Into<String>, reason: impl Into<String>) -> ModelError {
    ModelError::Operation { operation: operation.into(), reason: reason.into() }
}

/// The kind of an element type.
#[must_use]
pub fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::Bool(_) => Kind::Bool,
        dtype if dtype.is_float() => Kind::Float,
        _ => Kind::Int,
    }
}

/// An element type, as PyTorch calls it.
#[must_use]
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U64 => "uint64",
        DType::U32 => "uint32",
        DType::U16 => "uint16",
        DType::U8 => "uint8",
        DType::Bool(_) => "bool",
        other => other.name(),
    }
}

/// Burn's shape of it: a scalar is `[1]`.
fn padded(shape: &[usize]) -> Vec<usize> {
    if shape.is_empty() { vec![1] } else { shape.to_vec() }
}

/// The shape where it holds so many elements, else one dimension: that it does not is found later.
fn padded_for(elements: usize, shape: &[usize]) -> Vec<usize> {
    if shape.iter().product::<usize>() == elements { padded(shape) } else { vec![elements] }
}

#[allow(clippy::cast_possible_wrap)] // a length in memory
fn signed(length: usize) -> isize {
    length as isize
}
