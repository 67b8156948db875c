//! `Value`: any Python object that a checkpoint can hold, as data.
//!
//! Containers, objects, tensors and storages are shared handles, as in Python: cloning a [`Value`] gives the same object,
//! what is changed through one handle is seen through all, and the writers keep the sharing. Objects of classes that
//! nobody here knows are kept whole (how they were made, from what, their state and items) and written back as they came.
//! Cycles can be represented; they are freed only when [`Value::clear`] takes them apart.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

use crate::value::dict::{Dict, DictKind};
use crate::value::free::Contents;
use crate::{DType, Storage, Tensor};

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

impl Value {
    /// A number that tells this object from every other that is alive; `None` for values without an identity of their own
    /// (numbers, strings, names).
    #[must_use]
    pub fn id(&self) -> Option<usize> {
        match self {
            Value::ByteArray(x) => Some(x.id()),
            Value::List(x) | Value::Set(x) => Some(x.id()),
            Value::Tuple(x) | Value::FrozenSet(x) if !x.is_empty() => Some(x.as_ptr().addr()),
            Value::Dict(x) => Some(x.id()),
            Value::Tensor(x) => Some(x.id()),
            Value::Storage(x) => Some(x.id()),
            Value::Object(x) => Some(x.id()),
            _ => None,
        }
    }

    /// What Python calls its class, for messages: `a dict`, `an int`, `<class a.b.C>`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a bool".to_owned(),
            Value::Int(_) | Value::BigInt(_) => "an int".to_owned(),
            Value::Float(_) => "a float".to_owned(),
            Value::Complex(..) => "a complex number".to_owned(),
            Value::Str(_) | Value::SurrogateStr(_) => "a str".to_owned(),
            Value::Bytes(_) => "bytes".to_owned(),
            Value::ByteArray(_) => "a bytearray".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::Dict(dict) => match dict.kind() {
                DictKind::Dict => "a dict".to_owned(),
                DictKind::OrderedDict => "an OrderedDict".to_owned(),
            },
            Value::Set(_) => "a set".to_owned(),
            Value::FrozenSet(_) => "a frozenset".to_owned(),
            Value::Size(_) => "a torch.Size".to_owned(),
            Value::Device(_) => "a torch.device".to_owned(),
            Value::Dtype(_) => "a torch.dtype".to_owned(),
            Value::Tensor(tensor) => format!("a tensor of {} {:?}", tensor.dtype(), tensor.shape()),
            Value::Storage(_) => "a storage".to_owned(),
            Value::Global(global) => format!("<class {global}>"),
            Value::Object(object) => match object.read().class() {
                Some(class) => format!("<class {class}>"),
                None => "an object".to_owned(),
            },
        }
    }

    /// A tuple of these values.
    #[must_use]
    pub fn tuple(items: impl IntoIterator<Item = Value>) -> Value {
        Value::Tuple(items.into_iter().collect())
    }

    /// A new list of these values.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(List::new(items.into_iter().collect()))
    }

    /// The integer, where it is one within 64 bits (`bool` is an `int` in Python).
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Int(i) => Some(i),
            Value::Bool(b) => Some(i64::from(b)),
            _ => None,
        }
    }

    /// The number as a double, where it is a `bool`, `int` or `float`.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::BigInt(big) => big.to_f64(),
            Value::Float(x) => Some(*x),
            #[allow(clippy::cast_precision_loss)]
            other => other.as_i64().map(|i| i as f64),
        }
    }

    /// The text, where it is a `str`.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The dict, where it is a `dict` or `OrderedDict`.
    #[must_use]
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The tensor, where it is one.
    #[must_use]
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Value>> {
        match self {
            Value::List(list) => Some(list.read().clone()),
            Value::Tuple(items) => Some(items.to_vec()),
            Value::Size(items) => Some(items.iter().map(|&i| Value::Int(i)).collect()),
            _ => None,
        }
    }

    /// Empties a container or object, so that a cycle through it can be freed.
    pub fn clear(&self) {
        // What is taken out is dropped after the lock is released: it may hold the last handle on something locked.
        match self {
            Value::List(list) | Value::Set(list) => drop(std::mem::take(&mut *list.write())),
            Value::Dict(dict) => drop(std::mem::take(&mut *dict.write())),
            Value::Object(object) => {
                let empty = ObjectData::call(Value::None, Vec::new());
                drop(std::mem::replace(&mut *object.write(), empty));
            }
            _ => {}
        }
    }
}

macro_rules! into_value {
    ($($ty:ty: $x:ident => $value:expr;)*) => { $(
        impl From<$ty> for Value {
            fn from($x: $ty) -> Self {
                $value
            }
        }
    )* };
}

into_value! {
    bool: x => Value::Bool(x);
    i64: x => Value::Int(x);
    i32: x => Value::Int(x.into());
    u32: x => Value::Int(x.into());
    u64: x => BigInt::from(x).into();
    usize: x => BigInt::from(x).into();
    f64: x => Value::Float(x);
    f32: x => Value::Float(x.into());
    &str: x => Value::Str(x.into());
    String: x => Value::Str(x.into());
    &[u8]: x => Value::Bytes(x.into());
    Dict: x => Value::Dict(x);
    Tensor: x => Value::Tensor(x);
    Storage: x => Value::Storage(x);
    DType: x => Value::Dtype(x);
    Device: x => Value::Device(x);
    Global: x => Value::Global(x);
    ObjectData: x => Value::Object(Shared::new(x));
}

impl From<BigInt> for Value {
    fn from(big: BigInt) -> Self {
        match i64::try_from(&big) {
            Ok(small) => Value::Int(small),
            Err(_) => Value::BigInt(Arc::new(big)),
        }
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::list(items.into_iter().map(Into::into))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(x: Option<T>) -> Self {
        x.map_or(Value::None, Into::into)
    }
}

/// Shows scalars as they are and containers by kind and size: a value may be cyclic.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{}", if *b { "True" } else { "False" }),
            Value::Int(i) => write!(f, "{i}"),
            Value::BigInt(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Complex(re, im) => write!(f, "({re:?}{im:+?}j)"),
            Value::Str(s) => write!(f, "{s:?}"),
            Value::Bytes(b) => write!(f, "b\"{}\"", b.escape_ascii()),
            Value::List(list) => write!(f, "list of {}", list.read().len()),
            Value::Tuple(items) => write!(f, "tuple of {}", items.len()),
            Value::Dict(dict) => write!(f, "{:?}", &*dict.read()),
            Value::Size(size) => write!(f, "torch.Size({size:?})"),
            Value::Device(device) => write!(f, "device({device})"),
            Value::Dtype(dtype) => write!(f, "torch.{dtype}"),
            Value::Tensor(tensor) => write!(f, "{tensor:?}"),
            Value::Storage(storage) => write!(f, "{storage:?}"),
            other => f.write_str(&other.describe()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_through_one_handle_is_seen_through_the_other() {
        let dict = Dict::new();
        let again = Value::from(dict.clone());
        dict.insert("epoch", 3);
        assert_eq!(again.as_dict().unwrap().get("epoch").unwrap().as_i64(), Some(3));
    }

    #[test]
    fn an_integer_that_fits_is_never_big() {
        assert!(matches!(Value::from(BigInt::from(7)), Value::Int(7)));
        assert!(matches!(Value::from(u64::MAX), Value::BigInt(_)));
    }
}
