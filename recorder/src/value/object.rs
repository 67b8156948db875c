//! `Value`: any Python object that a checkpoint can hold, as data.
//!
//! Containers, objects, tensors and storages are shared handles, as in Python: cloning a [`Value`] gives the same object,
//! what is changed through one handle is seen through all, and the writers keep the sharing. Objects of classes that
//! nobody here knows are kept whole (how they were made, from what, their state and items) and written back as they came.
//! Cycles can be represented; they are freed only when [`Value::clear`] takes them apart.

use std::fmt;
use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

use crate::value::array;
use crate::value::data::{Device, Dict, DictKind, Global, List, ObjectData, Shared, Tensor, Value};
use crate::value::dtype::DType;
use crate::value::storage::Storage;

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
            Value::Object(object) => {
                array::describe(self).or_else(|| uninitialized(self)).unwrap_or_else(|| match object.read().class() {
                    Some(class) => format!("<class {class}>"),
                    None => "an object".to_owned(),
                })
            }
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

crate::from! { Value:
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
    Arc<str>: x => Value::Str(x);
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

/// What a lazy module of PyTorch's saves before it has seen an input: a parameter or buffer of which nothing is known, not even its
/// shape. `None` for every other value.
pub(crate) fn uninitialized(value: &Value) -> Option<String> {
    let Value::Object(object) = value else { return None };
    let data = object.read();
    let what = ["Parameter", "Buffer"].into_iter().find(|what| {
        data.class().is_some_and(|class| class.is("torch.nn.parameter", &format!("Uninitialized{what}")))
    })?;
    Some(format!("an uninitialized {} of a lazy module", what.to_lowercase()))
}
