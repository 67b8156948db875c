//! The kinds of values: their definitions alone, which lead from one to the other and back. What they do is in the files
//! beside this one.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use indexmap::IndexMap;
use num_bigint::BigInt;

use crate::value::dtype::DType;
use crate::value::storage::Storage;

/// A Python object as data.
#[derive(Clone)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int` within 64 bits.
    Int(i64),
    /// `int` beyond 64 bits. A number that fits is always a [`Value::Int`].
    BigInt(Arc<BigInt>),
    /// `float`.
    Float(f64),
    /// `complex`: real, imaginary.
    Complex(f64, f64),
    /// `str`.
    Str(Arc<str>),
    /// A `str` with lone surrogates, which is no Unicode text: its bytes as Python's `surrogatepass` encodes them.
    SurrogateStr(Arc<[u8]>),
    /// `bytes`.
    Bytes(Arc<[u8]>),
    /// `bytearray`.
    ByteArray(Shared<Vec<u8>>),
    /// `list`.
    List(List),
    /// `tuple`.
    Tuple(Items),
    /// `dict` and `collections.OrderedDict`.
    Dict(Dict),
    /// `set`.
    Set(Shared<Vec<Value>>),
    /// `frozenset`.
    FrozenSet(Items),
    /// `torch.Size`.
    Size(Arc<[i64]>),
    /// `torch.device`.
    Device(Device),
    /// `torch.dtype`.
    Dtype(DType),
    /// `torch.Tensor`, and what is made of one: parameters, buffers, sparse and quantised tensors.
    Tensor(Tensor),
    /// A storage by itself.
    Storage(Storage),
    /// A class or a function, by its name. Never resolved.
    Global(Global),
    /// An object of any other class, kept whole.
    Object(Object),
}

/// A class or a function by its name, as a pickle spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Global {
    /// The module, such as `collections`.
    pub module: Arc<str>,
    /// The name in it, such as `OrderedDict`; dotted for nested names.
    pub name: Arc<str>,
}

impl Global {
    /// The global of this module and name.
    #[must_use]
    pub fn new(module: &str, name: &str) -> Self {
        Global { module: module.into(), name: name.into() }
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, module: &str, name: &str) -> bool {
        &*self.module == module && &*self.name == name
    }

    /// Whether it is a class that TorchScript compiled.
    pub(crate) fn is_scripted(&self) -> bool {
        self.module.split('.').next() == Some("__torch__")
    }
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// `torch.device`: a kind such as `cpu` or `cuda`, and which one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// The kind, such as `cpu`.
    pub kind: Arc<str>,
    /// Which one; `None` leaves it open.
    pub index: Option<i64>,
}

impl Device {
    /// From what `torch.device` takes as one text; `None` where the index is no number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, index) = text.split_once(':').map_or((text, None), |(kind, index)| (kind, Some(index)));
        Some(Device { kind: kind.into(), index: index.map(str::parse).transpose().ok()? })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}:{index}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// The items of a tuple or frozenset: clones are the same Python object.
#[derive(Clone)]
pub struct Items(pub(super) Arc<[Value]>);

impl Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl<T: Into<Arc<[Value]>>> From<T> for Items {
    fn from(items: T) -> Self {
        Items(items.into())
    }
}

impl FromIterator<Value> for Items {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Items(items.into_iter().collect())
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shared, changeable piece of data: clones are the same Python object.
pub struct Shared<T: Contents>(pub(super) Arc<RwLock<T>>);

impl<T: Contents> Shared<T> {
    /// A new object.
    pub fn new(data: T) -> Self {
        Shared(Arc::new(RwLock::new(data)))
    }

    /// The data, to read. Other readers may look on; a writer waits until the guard is dropped.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data, to change.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that tells this object from every other that is alive.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether both handles are the same object.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Contents> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: Contents> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:#x})", self.id())
    }
}

/// A Python list.
pub type List = Shared<Vec<Value>>;

/// An object of a class that is not read further, kept whole.
pub type Object = Shared<ObjectData>;

/// The inside of an [`Object`]: what a pickle says of how to make it.
#[derive(Clone, Debug)]
pub struct ObjectData {
    /// How it is made.
    pub construction: Construction,
    /// The class or function, almost always a [`Value::Global`].
    pub callable: Value,
    /// The arguments, almost always a tuple.
    pub args: Value,
    /// Keyword arguments, where it was made with any: a dict.
    pub kwargs: Option<Value>,
    /// What was appended to it, as to a list.
    pub items: Vec<Value>,
    /// What was put into it, as into a dict.
    pub entries: Vec<(Value, Value)>,
    /// The states given to it one after the other; almost always none or one.
    pub states: Vec<Value>,
}

/// How a pickle makes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Construction {
    /// `callable(*args)`.
    Call,
    /// `callable.__new__(callable, *args)`, with keyword arguments where there are any.
    New,
    /// An instance of a Python 2 class, as the opcodes INST and OBJ make it.
    Instance,
    /// What the program that reads the pickle puts in the place of a persistent id; the id is `args`.
    Persistent,
}

impl ObjectData {
    /// `callable(*args)`.
    #[must_use]
    pub fn call(callable: impl Into<Value>, args: Vec<Value>) -> Self {
        ObjectData {
            construction: Construction::Call,
            callable: callable.into(),
            args: Value::Tuple(args.into()),
            kwargs: None,
            items: Vec::new(),
            entries: Vec::new(),
            states: Vec::new(),
        }
    }

    /// The class or function that makes it, where it is named.
    #[must_use]
    pub fn class(&self) -> Option<&Global> {
        match &self.callable {
            Value::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The arguments as a slice, where they are a tuple.
    #[must_use]
    pub fn arguments(&self) -> &[Value] {
        match &self.args {
            Value::Tuple(items) => items,
            _ => &[],
        }
    }
}

/// What can be inside a [`Shared`].
pub trait Contents {
    /// Takes out what holds other values in turn.
    #[doc(hidden)]
    fn take_nested(&mut self) -> Vec<Value>;
}

/// A Python dict, in the order of its keys.
#[derive(Clone, Debug)]
pub struct Dict(pub(super) Shared<DictData>);

/// The inside of a [`Dict`].
#[derive(Clone, Default)]
pub struct DictData {
    /// `dict` or `OrderedDict`.
    pub kind: DictKind,
    /// The entries, in order.
    pub entries: IndexMap<Key, Value>,
    /// The attributes of the instance, where it has any: a state dict keeps its `_metadata` here.
    pub state: Option<Value>,
}

/// Which class of dict it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DictKind {
    /// `dict`.
    #[default]
    Dict,
    /// `collections.OrderedDict`.
    OrderedDict,
}

/// A dict's key. Keys are equal as in Python: `1`, `1.0` and `True` are one key, tuples compare by content, objects by
/// identity. Each NaN is a key of its own, which no other NaN finds.
#[derive(Clone, Debug)]
pub struct Key(pub Value);

/// A shared handle on a tensor; clones are the same Python object.
#[derive(Clone)]
pub struct Tensor(pub(super) Arc<TensorParts>);

/// The parts of a [`Tensor`], all public: what [`Tensor::new`] takes and [`Tensor::parts`] shows.
#[derive(Clone, Debug)]
pub struct TensorParts {
    /// The element type.
    pub dtype: DType,
    /// The length of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where the elements are.
    pub data: TensorData,
    /// Whether autograd follows it.
    pub requires_grad: bool,
    /// The Python class, with the attributes a user gave it.
    pub class: TensorClass,
    /// The conjugate bit: the elements are the conjugates of what is stored.
    pub conj: bool,
    /// The negative bit: the elements are the negatives of what is stored.
    pub neg: bool,
    /// What turns quantised integers into numbers.
    pub quantizer: Option<Quantizer>,
    /// `OrderedDict` of backward hooks as it stood in the file, where it was not empty.
    pub backward_hooks: Option<Value>,
    /// By which call it is made, where that is none of those for tensors whose storage is on their device.
    pub made_by: Option<MadeBy>,
    /// By which function a tensor of another class gets that class, where it is not `torch._tensor._rebuild_from_type_v2`.
    pub class_by: Option<Global>,
}

/// A call around a tensor: one that puts it on a device whose storages no file holds, or makes a parameter of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MadeBy {
    /// `torch._utils._rebuild_device_tensor_from_cpu_tensor`: how XLA's, MAIA's and MTIA's tensors are written.
    Device {
        /// The device, such as `xla:0`.
        device: Arc<str>,
    },
    /// `torch._utils._rebuild_parameter` around a tensor of another class, which stays what it is and becomes a parameter.
    Parameter {
        /// Whether the tensor itself asked for a gradient.
        inner_requires_grad: bool,
        /// The hooks of the parameter.
        hooks: Option<Value>,
        /// The attributes of the parameter, where it has some.
        state: Option<Value>,
    },
    /// A library's own function that takes what `_rebuild_tensor_v2` takes, and more:
    /// `torch_npu.utils.storage._rebuild_npu_tensor`.
    Function {
        /// The function.
        function: Global,
        /// The device that it means, such as `npu`.
        device: Arc<str>,
        /// The arguments behind those of `_rebuild_tensor_v2`.
        more: Vec<Value>,
    },
}

impl MadeBy {
    /// The device on which the tensor is; `None` where it is that of its storage.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        match self {
            MadeBy::Device { device } | MadeBy::Function { device, .. } => Some(device),
            MadeBy::Parameter { .. } => None,
        }
    }
}

/// Where a tensor's elements are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TensorData {
    /// A view of a storage.
    Strided {
        /// The storage viewed.
        storage: Storage,
        /// The first element's place, in elements.
        offset: usize,
        /// The distance between neighbours along each dimension, in elements; 0 where a dimension is expanded.
        stride: Vec<usize>,
    },
    /// A tensor on the device `meta`: it has a shape and no elements.
    Meta {
        /// The strides it would have.
        stride: Vec<usize>,
    },
    /// Only the elements that are not zero.
    Sparse {
        /// How their places are told.
        layout: SparseLayout,
        /// COO: one tensor `[dimensions, nnz]`; the compressed layouts: compressed, then plain indices.
        indices: Vec<Tensor>,
        /// The elements.
        values: Tensor,
        /// COO: whether each place occurs once and in order; `None` where the file does not say (before 2.1).
        coalesced: Option<bool>,
    },
    /// Tensors of unlike shapes in one buffer (strided layout).
    Nested {
        /// All elements, one-dimensional.
        buffer: Tensor,
        /// The shape of each, `[count, dimensions]`.
        sizes: Tensor,
        /// The strides of each, `[count, dimensions]`.
        strides: Tensor,
        /// The first element of each, `[count]`.
        offsets: Tensor,
    },
    /// Tensors of unlike lengths along one dimension, one behind the other (the layout `torch.jagged`).
    Jagged {
        /// All elements, the ragged dimension in one.
        values: Tensor,
        /// Where each begins along it, and where the last ends: `[count + 1]`.
        offsets: Tensor,
        /// How long each is, where they do not lie without gaps: `[count]`.
        lengths: Option<Tensor>,
        /// Which dimension is the ragged one.
        ragged_dim: i64,
        /// What PyTorch keeps beside them: the shortest and the longest length.
        cache: Value,
    },
    /// A subclass that has no elements of its own, made by `_rebuild_wrapper_subclass` (`DTensor`, `ShardedTensor`, torchao's):
    /// what it stands for is in the attributes of its class.
    Wrapper {
        /// The strides that it says it has.
        stride: Vec<usize>,
        /// The offset that it says it has.
        offset: usize,
        /// PyTorch's name of the layout, such as `torch.strided`.
        layout: Arc<str>,
        /// The device that it says it is on.
        device: Arc<str>,
    },
}

/// How a sparse tensor tells the places of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SparseLayout {
    /// Coordinates.
    Coo,
    /// Compressed rows.
    Csr,
    /// Compressed columns.
    Csc,
    /// Compressed rows of blocks.
    Bsr,
    /// Compressed columns of blocks.
    Bsc,
}

impl SparseLayout {
    /// All layouts with PyTorch's names.
    pub const NAMES: [(SparseLayout, &'static str); 5] = [
        (SparseLayout::Coo, "torch.sparse_coo"),
        (SparseLayout::Csr, "torch.sparse_csr"),
        (SparseLayout::Csc, "torch.sparse_csc"),
        (SparseLayout::Bsr, "torch.sparse_bsr"),
        (SparseLayout::Bsc, "torch.sparse_bsc"),
    ];

    /// PyTorch's name, such as `torch.sparse_coo`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// The Python class of a tensor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TensorClass {
    /// `torch.Tensor`.
    Tensor,
    /// `torch.nn.Parameter`, with its Python attributes where it has any.
    Parameter {
        /// The attributes: a dict, or a pair of a dict and the slots.
        state: Option<Value>,
    },
    /// Another class, or a tensor with attributes, as `_rebuild_from_type_v2` makes it (`torch.nn.Buffer` is one).
    Other {
        /// The class.
        class: Global,
        /// Its attributes.
        state: Value,
    },
}

/// What turns quantised integers into numbers: `(integer - zero_point) * scale`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Quantizer {
    /// One scale for all elements.
    PerTensor {
        /// The scale.
        scale: f64,
        /// The integer that stands for zero.
        zero_point: i64,
    },
    /// A scale for each place along one dimension.
    PerChannel {
        /// `torch.per_channel_affine` or `torch.per_channel_affine_float_qparams`.
        scheme: Global,
        /// One scale a channel.
        scales: Tensor,
        /// One zero point a channel.
        zero_points: Tensor,
        /// The dimension of the channels.
        axis: i64,
    },
}

impl TensorParts {
    /// The parts of a plain strided tensor.
    #[must_use]
    pub fn strided(dtype: DType, shape: Vec<usize>, storage: Storage, offset: usize, stride: Vec<usize>) -> Self {
        TensorParts::plain(dtype, shape, TensorData::Strided { storage, offset, stride })
    }

    /// The parts of a tensor with nothing but elements.
    pub(crate) fn plain(dtype: DType, shape: Vec<usize>, data: TensorData) -> Self {
        TensorParts {
            dtype,
            shape,
            data,
            requires_grad: false,
            class: TensorClass::Tensor,
            conj: false,
            neg: false,
            quantizer: None,
            backward_hooks: None,
            made_by: None,
            class_by: None,
        }
    }
}
