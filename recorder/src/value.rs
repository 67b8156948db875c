//! `Value`: any Python object that a checkpoint can hold, as data.
//!
//! Containers, objects, tensors and storages are shared handles, as in Python: cloning a [`Value`] gives the same object,
//! what is changed through one handle is seen through all, and the writers keep the sharing. Objects of classes that
//! nobody here knows are kept whole (how they were made, from what, their state and items) and written back as they came.
//! Cycles can be represented; they are freed only when [`Value::clear`] takes them apart.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use indexmap::IndexMap;
use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

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
    Tuple(Arc<[Value]>),
    /// `dict` and `collections.OrderedDict`.
    Dict(Dict),
    /// `set`.
    Set(Shared<Vec<Value>>),
    /// `frozenset`.
    FrozenSet(Arc<[Value]>),
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

/// A shared, changeable piece of data: clones are the same Python object.
pub struct Shared<T>(Arc<RwLock<T>>);

impl<T> Shared<T> {
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

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:#x})", self.id())
    }
}

/// A Python list.
pub type List = Shared<Vec<Value>>;

/// A Python dict, in the order of its keys.
#[derive(Clone, Debug)]
pub struct Dict(Shared<DictData>);

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

impl Dict {
    /// An empty `dict`.
    #[must_use]
    pub fn new() -> Self {
        Dict(Shared::new(DictData::default()))
    }

    /// An empty `collections.OrderedDict`.
    #[must_use]
    pub fn ordered() -> Self {
        Dict(Shared::new(DictData { kind: DictKind::OrderedDict, ..DictData::default() }))
    }

    /// The data, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, DictData> {
        self.0.read()
    }

    /// The data, to change.
    pub fn write(&self) -> RwLockWriteGuard<'_, DictData> {
        self.0.write()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `dict` or `OrderedDict`.
    #[must_use]
    pub fn kind(&self) -> DictKind {
        self.read().kind
    }

    /// The value under a string key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.read().entries.get(&StrKey(key)).cloned()
    }

    /// The value under any key.
    #[must_use]
    pub fn get_key(&self, key: &Value) -> Option<Value> {
        self.read().entries.get(&Key(key.clone())).cloned()
    }

    /// Puts a value under a key: in the key's place if it is there, else at the end. Gives the value that was there.
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Option<Value> {
        self.write().entries.insert(Key(key.into()), value.into())
    }

    /// Takes an entry out; the others keep their order.
    pub fn remove(&self, key: &str) -> Option<Value> {
        self.write().entries.shift_remove(&StrKey(key))
    }

    /// The entries as they are now, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<(Value, Value)> {
        self.read().entries.iter().map(|(key, value)| (key.0.clone(), value.clone())).collect()
    }

    /// The attributes of the instance, where it has any (a state dict keeps its `_metadata` there).
    #[must_use]
    pub fn state(&self) -> Option<Value> {
        self.read().state.clone()
    }

    /// A number that tells this dict from every other that is alive.
    #[must_use]
    pub fn id(&self) -> usize {
        self.0.id()
    }

    /// Whether both handles are the same dict.
    #[must_use]
    pub fn same(&self, other: &Dict) -> bool {
        self.0.same(&other.0)
    }
}

impl Default for Dict {
    fn default() -> Self {
        Dict::new()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let dict = Dict::new();
        dict.write().entries.extend(entries.into_iter().map(|(key, value)| (Key(key.into()), value.into())));
        dict
    }
}

impl fmt::Debug for DictData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} entries", self.kind, self.entries.len())
    }
}

/// A dict's key. Keys are equal as in Python: `1`, `1.0` and `True` are one key, tuples compare by content, objects by
/// identity. (NaN equals itself here.)
#[derive(Clone, Debug)]
pub struct Key(pub Value);

/// A string, to look up a [`Key`] without making one.
struct StrKey<'a>(&'a str);

const STR_TAG: u8 = 1;

impl Hash for StrKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        STR_TAG.hash(state);
        self.0.hash(state);
    }
}

impl indexmap::Equivalent<Key> for StrKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        matches!(&key.0, Value::Str(s) if **s == *self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Value::Str(s) => StrKey(s).hash(state),
            Value::Bytes(b) => (2_u8, b).hash(state),
            Value::Tuple(items) | Value::FrozenSet(items) => {
                (3_u8, items.len()).hash(state);
                // A frozenset's items have no order, so only a tuple's go in.
                if matches!(self.0, Value::Tuple(_)) {
                    items.iter().for_each(|item| Key(item.clone()).hash(state));
                }
            }
            Value::Size(items) => {
                (3_u8, items.len()).hash(state);
                items.iter().for_each(|&item| Key(Value::Int(item)).hash(state));
            }
            other => match (number(other), other.id()) {
                (Some(number), _) => (4_u8, number.to_bits()).hash(state),
                (None, Some(id)) => (5_u8, id).hash(state),
                // The remaining few (None, classes, dtypes, devices, big integers) may share a bucket.
                (None, None) => 6_u8.hash(state),
            },
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let all = |a: &[Value], b: &[Value]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Key(a.clone()) == Key(b.clone()))
        };
        match (&self.0, &other.0) {
            (Value::None, Value::None) => true,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::SurrogateStr(a), Value::SurrogateStr(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::BigInt(a), Value::BigInt(b)) => a == b,
            (Value::Complex(a, b), Value::Complex(c, d)) => (a.to_bits(), b.to_bits()) == (c.to_bits(), d.to_bits()),
            (Value::Tuple(a), Value::Tuple(b)) => all(a, b),
            (Value::FrozenSet(a), Value::FrozenSet(b)) => {
                a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| Key(x.clone()) == Key(y.clone())))
            }
            (Value::Size(a), Value::Size(b)) => a == b,
            (Value::Device(a), Value::Device(b)) => a == b,
            (Value::Dtype(a), Value::Dtype(b)) => a == b,
            (Value::Global(a), Value::Global(b)) => a == b,
            (a, b) => match (number(a), number(b)) {
                (Some(x), Some(y)) => x.to_bits() == y.to_bits() && fits_a_double(a) && fits_a_double(b),
                (None, None) => a.id().is_some() && a.id() == b.id(),
                _ => false,
            },
        }
    }
}

impl Eq for Key {}

/// Numbers that Python takes for equal keys, as one double. (Integers beyond 2^53 may meet here; `==` tells them apart.)
#[allow(clippy::cast_precision_loss)]
fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Bool(b) => Some(f64::from(u8::from(b))),
        Value::Int(i) => Some(i as f64),
        Value::Float(x) => Some(if x == 0.0 { 0.0 } else { x }),
        _ => None,
    }
}

/// Whether a number as a double is the number itself, as it is not for most integers beyond 2^53.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn fits_a_double(value: &Value) -> bool {
    !matches!(*value, Value::Int(i) if i as f64 as i128 != i128::from(i))
}

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
    fn keys_are_equal_as_in_python() {
        let dict = Dict::new();
        dict.insert(1_i64, "one");
        dict.insert(true, "true");
        dict.insert(1.0, "float");
        assert_eq!(dict.len(), 1);
        assert_eq!(dict.get_key(&Value::Int(1)).unwrap().as_str(), Some("float"));
        dict.insert(Value::tuple([Value::Int(1), Value::None]), "tuple");
        assert!(dict.get_key(&Value::tuple([Value::Float(1.0), Value::None])).is_some());
        dict.insert(i64::MAX, "a");
        dict.insert(i64::MAX - 1, "b");
        assert_eq!(dict.len(), 4);
        // 2^53 + 1 is no double, 2^53 is.
        dict.insert((1_i64 << 53) + 1, "c");
        dict.insert(9_007_199_254_740_992.0, "d");
        dict.insert(1_i64 << 53, "e");
        assert_eq!(dict.len(), 6);
        assert_eq!(dict.get_key(&Value::Float(9_007_199_254_740_992.0)).unwrap().as_str(), Some("e"));
    }

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
