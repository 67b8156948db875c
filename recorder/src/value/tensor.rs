//! `Tensor`: what PyTorch keeps of a tensor. Almost always a typed, strided view of a [`Storage`]; also the sparse, nested
//! and meta tensors, quantised ones, and the Python class around each (`Parameter`, `Buffer`, attributes).
//!
//! A view is checked against its storage when it is made, so that reading elements later cannot leave it.

use std::fmt;
use std::sync::Arc;

pub use crate::value::data::{MadeBy, Quantizer, SparseLayout, Tensor, TensorClass, TensorData, TensorParts};
use crate::value::dtype::DType;
use crate::value::storage::Storage;
use crate::{Error, ErrorKind, Result};

/// What a tensor looks at: see [`Tensor::view`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    storage: usize,
    dtype: DType,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
    conj: bool,
    neg: bool,
}

/// The strides of a row-major tensor of this shape, as PyTorch computes them (a dimension of length 0 counts as 1).
#[must_use]
pub fn contiguous_stride(shape: &[usize]) -> Vec<usize> {
    let mut stride = vec![1_usize; shape.len()];
    for i in (1..shape.len()).rev() {
        stride[i - 1] = stride[i].saturating_mul(shape[i].max(1));
    }
    stride
}

/// The number of elements of this shape, or `None` where it does not fit.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n))
}

impl Tensor {
    /// Makes a tensor of its parts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTensor`](crate::ErrorKind::InvalidTensor) when shape and strides do not go together, or an
    /// element would lie outside the storage.
    pub fn new(parts: TensorParts) -> Result<Self> {
        let invalid = |reason| {
            let tensor = format!("a tensor of {} {:?}", parts.dtype, parts.shape);
            Error::new(ErrorKind::InvalidTensor { tensor, reason })
        };
        if element_count(&parts.shape).is_none() {
            return Err(invalid("its shape has more elements than can be counted".to_owned()));
        }
        if let TensorData::Strided { stride, .. } | TensorData::Meta { stride } | TensorData::Wrapper { stride, .. } =
            &parts.data
            && stride.len() != parts.shape.len()
        {
            let reason = format!("it has {} dimensions and {} strides", parts.shape.len(), stride.len());
            return Err(invalid(reason));
        }
        if let TensorData::Strided { storage, offset, stride } = &parts.data {
            let end = extent(&parts.shape, stride, *offset);
            let fits =
                end.and_then(|end| parts.dtype.bytes_for(end)).is_some_and(|bytes| bytes as u64 <= storage.len());
            if !fits {
                let reason = format!(
                    "offset {offset} and strides {stride:?} lead outside its storage of {} bytes",
                    storage.len()
                );
                return Err(invalid(reason));
            }
        }
        Ok(Tensor(Arc::new(parts)))
    }

    /// A row-major tensor on the CPU over these elements.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape.
    ///
    /// ```
    /// # use rekindle_recorder::Tensor;
    /// let weight = Tensor::from_vec(&[2, 3], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
    /// assert_eq!(weight.shape(), [2, 3]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn from_vec<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Self> {
        if element_count(shape) != Some(elements.len()) {
            let reason = format!("{} elements were given", elements.len());
            let tensor = format!("a tensor of {} {shape:?}", T::DTYPE);
            return Err(ErrorKind::InvalidTensor { tensor, reason }.into());
        }
        Tensor::from_le_bytes(T::DTYPE, shape, T::to_le_vec(&elements))
    }

    /// A row-major tensor on the CPU over the little-endian bytes of its elements.
    ///
    /// # Errors
    /// When there are fewer bytes than the shape needs.
    pub fn from_le_bytes(dtype: DType, shape: &[usize], bytes: impl Into<bytes::Bytes>) -> Result<Self> {
        let storage = Storage::from_bytes(dtype.storage_class().and(Some(dtype)), bytes);
        Tensor::new(TensorParts::strided(dtype, shape.to_vec(), storage, 0, contiguous_stride(shape)))
    }

    /// A tensor of no dimensions, as `torch.tensor(x)` makes one.
    #[must_use]
    pub fn scalar<T: Element>(x: T) -> Self {
        let bytes = T::to_le_vec(&[x]);
        let storage = Storage::from_bytes(T::DTYPE.storage_class().and(Some(T::DTYPE)), bytes);
        // One element of its own type always fits its storage.
        Tensor(Arc::new(TensorParts::strided(T::DTYPE, Vec::new(), storage, 0, Vec::new())))
    }

    /// All its parts.
    #[must_use]
    pub fn parts(&self) -> &TensorParts {
        &self.0
    }

    /// Its parts, where this is the only handle on it.
    pub(crate) fn parts_mut(&mut self) -> Option<&mut TensorParts> {
        Arc::get_mut(&mut self.0)
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The length of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The number of elements of its shape.
    #[must_use]
    pub fn numel(&self) -> usize {
        // `new` refused shapes that cannot be counted.
        element_count(&self.0.shape).unwrap_or(usize::MAX)
    }

    /// The strides in elements; `None` for sparse and nested tensors.
    #[must_use]
    pub fn stride(&self) -> Option<&[usize]> {
        match &self.0.data {
            TensorData::Strided { stride, .. } | TensorData::Meta { stride } | TensorData::Wrapper { stride, .. } => {
                Some(stride)
            }
            _ => None,
        }
    }

    /// The first element's place in the storage, in elements; 0 where there is no storage.
    #[must_use]
    pub fn offset(&self) -> usize {
        match &self.0.data {
            TensorData::Strided { offset, .. } | TensorData::Wrapper { offset, .. } => *offset,
            _ => 0,
        }
    }

    /// The storage it views; `None` for meta, sparse and nested tensors, and for subclasses without elements of their own.
    #[must_use]
    pub fn storage(&self) -> Option<&Storage> {
        match &self.0.data {
            TensorData::Strided { storage, .. } => Some(storage),
            _ => None,
        }
    }

    /// Whether autograd follows it.
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        self.0.requires_grad
    }

    /// Whether it is a `torch.nn.Parameter`.
    #[must_use]
    pub fn is_parameter(&self) -> bool {
        matches!(self.0.class, TensorClass::Parameter { .. })
            || matches!(self.0.made_by, Some(MadeBy::Parameter { .. }))
    }

    /// The device tag in the file: that of its storage or of the call that makes it, or `meta`.
    #[must_use]
    pub fn device(&self) -> &str {
        if let Some(device) = self.0.made_by.as_ref().and_then(MadeBy::device) {
            return device;
        }
        match &self.0.data {
            TensorData::Wrapper { device, .. } => device,
            TensorData::Strided { storage, .. } => storage.location(),
            TensorData::Meta { .. } => "meta",
            TensorData::Sparse { values, .. } | TensorData::Jagged { values, .. } => values.device(),
            TensorData::Nested { buffer, .. } => buffer.device(),
        }
    }

    /// Whether the elements lie in row-major order without gaps.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let TensorData::Strided { stride, .. } = &self.0.data else { return false };
        let shape = &self.0.shape;
        let expected = contiguous_stride(shape);
        self.numel() == 0 || (0..shape.len()).all(|i| shape[i] == 1 || stride[i] == expected[i])
    }

    /// Whether both handles are the same Python object.
    #[must_use]
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A number that tells this tensor object from every other that is alive.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Another tensor object over the same elements, as `state_dict()` gives for tied weights.
    #[must_use]
    pub fn alias(&self) -> Tensor {
        Tensor(Arc::new((*self.0).clone()))
    }

    /// What it looks at: equal for tensors that are the same elements of one storage, seen alike. Two names of one parameter
    /// have equal views, two slices of one buffer have not. A tensor without a storage, or with an empty one, is a view of its
    /// own.
    #[must_use]
    pub fn view(&self) -> View {
        let TensorParts { dtype, conj, neg, .. } = *self.0;
        let storage = self.storage().filter(|storage| !storage.is_empty()).map_or_else(|| self.id(), Storage::id);
        let (shape, stride) = (self.shape().to_vec(), self.stride().unwrap_or_default().to_vec());
        View { storage, dtype, offset: self.offset(), shape, stride, conj, neg }
    }

    /// The same view as a plain tensor that asks for no gradient, as `state_dict()` gives it. A subclass without elements of its
    /// own stays what it is: they are in its attributes.
    #[must_use]
    pub fn detach(&self) -> Tensor {
        if matches!(self.0.data, TensorData::Wrapper { .. } | TensorData::Jagged { .. }) {
            if !self.0.requires_grad {
                return self.clone();
            }
            return Tensor(Arc::new(TensorParts { requires_grad: false, ..(*self.0).clone() }));
        }
        if !self.0.requires_grad && matches!(self.0.class, TensorClass::Tensor) && self.0.backward_hooks.is_none() {
            return self.clone();
        }
        let parts = TensorParts {
            requires_grad: false,
            class: TensorClass::Tensor,
            backward_hooks: None,
            class_by: None,
            made_by: self.0.made_by.clone().filter(|made_by| made_by.device().is_some()),
            ..(*self.0).clone()
        };
        Tensor(Arc::new(parts))
    }
}

/// How many bytes of its storage a strided tensor needs; `None` for others, and where it is more than can be counted.
pub(crate) fn reach(tensor: &Tensor) -> Option<u64> {
    let TensorData::Strided { offset, stride, .. } = &tensor.0.data else { return None };
    let end = extent(&tensor.0.shape, stride, *offset)?;
    tensor.0.dtype.bytes_for(end).map(|bytes| bytes as u64)
}

/// The number of elements from the storage's start to the last one that the view touches, plus one.
fn extent(shape: &[usize], stride: &[usize], offset: usize) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut last = offset;
    for (&n, &step) in shape.iter().zip(stride) {
        last = last.checked_add((n - 1).checked_mul(step)?)?;
    }
    last.checked_add(1)
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TensorParts { dtype, shape, .. } = &*self.0;
        let kind = match &self.0.data {
            TensorData::Strided { .. } => self.device(),
            TensorData::Meta { .. } => "meta",
            TensorData::Sparse { layout, .. } => layout.name(),
            TensorData::Nested { .. } => "nested",
            TensorData::Jagged { .. } => "torch.jagged",
            TensorData::Wrapper { .. } => match &self.0.class {
                TensorClass::Other { class, .. } => return write!(f, "Tensor({dtype} {shape:?}, {class})"),
                _ => "a wrapper",
            },
        };
        write!(f, "Tensor({dtype} {shape:?}, {kind})")
    }
}

/// A Rust type that is an element type of PyTorch's.
pub trait Element: Copy + Send + Sync + 'static {
    /// Its element type.
    const DTYPE: DType;

    /// The elements' bytes, little-endian.
    fn to_le_vec(elements: &[Self]) -> Vec<u8>;

    /// The elements from whole little-endian elements' bytes.
    fn from_le_slice(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),* $(,)?) => { $(
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;

            fn to_le_vec(elements: &[Self]) -> Vec<u8> {
                elements.iter().flat_map(|x| x.to_le_bytes()).collect()
            }

            fn from_le_slice(bytes: &[u8]) -> Vec<Self> {
                let (chunks, _) = bytes.as_chunks();
                chunks.iter().map(|chunk| <$ty>::from_le_bytes(*chunk)).collect()
            }
        }
    )* };
}

elements! {
    f64 => Float64, f32 => Float32, half::f16 => Float16, half::bf16 => BFloat16,
    i64 => Int64, i32 => Int32, i16 => Int16, i8 => Int8,
    u64 => UInt64, u32 => UInt32, u16 => UInt16, u8 => UInt8,
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn to_le_vec(elements: &[Self]) -> Vec<u8> {
        elements.iter().map(|&x| u8::from(x)).collect()
    }

    fn from_le_slice(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&x| x != 0).collect()
    }
}
