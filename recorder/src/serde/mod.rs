//! Typed access through serde: a [`Value`] read into any type that derives `Deserialize`, and any type that derives `Serialize`
//! made a `Value`.
//!
//! | Rust | Python, when read | Python, when written |
//! |---|---|---|
//! | `bool` | `bool` | `bool` |
//! | integers to 128 bits | `int`, `bool` | `int` |
//! | `f32`, `f64` | `float`, `int` | `float` |
//! | `String`, `char` | `str`; `torch.device` and `torch.dtype` as text | `str` |
//! | bytes (`serde_bytes`) | `bytes`, `bytearray` | `bytes` |
//! | `Option` | `None` or the value | `None` or the value |
//! | sequences | `list`, `tuple`, `set`, `torch.Size`, `bytes`, `deque`, NumPy arrays | `list` |
//! | tuples | the same, of that length | `tuple` |
//! | maps, keys of any type | `dict`, `OrderedDict`, `Counter`, `defaultdict`; the attributes of an object | `dict` |
//! | structs | the same, by their string keys | `dict` |
//! | enums | `str` for a unit variant, else a `dict` of the variant's name and its content | the same |
//! | [`Tensor`](crate::Tensor), [`StateDict`](crate::StateDict) | a tensor or a NumPy array of numbers, a state dict | the same object |
//! | [`Value`] | anything | the same object |
//!
//! Where a number is asked for, a tensor of no dimensions and a NumPy scalar are read as the number in them; a float tensor is
//! also read as an integer if its number is whole (optimizers count their steps so).
//!
//! [`Tensor`](crate::Tensor), [`StateDict`](crate::StateDict) and [`Value`] go through as the very objects, so tied tensors stay tied. They cannot go through
//! another format; its serializer gets an error that says so. (Only plain data can be read into a `Value` from elsewhere.)
//! Under `#[serde(flatten)]` serde itself takes containers apart: there a `Value` is a copy, with `list` for tuples and `dict`
//! for its subclasses.

mod de;
mod leaf;
pub(crate) mod scalar;
mod ser;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::{Result, Value};

/// Reads a value into any type that serde can make of data.
///
/// # Errors
/// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) and [`ErrorKind::MissingKey`](crate::ErrorKind::MissingKey) with the
/// path inside the value, [`ErrorKind::Limit`](crate::ErrorKind::Limit) for containers that hold themselves.
///
/// ```
/// # use rekindle_recorder::{Dict, serde::from_value};
/// #[derive(serde::Deserialize)]
/// struct Group { lr: f64, betas: (f64, f64), foreach: Option<bool> }
///
/// let group = Dict::new(); // {"lr": 1e-3, "betas": [0.9, 0.999]}
/// group.insert("lr", 1e-3);
/// group.insert("betas", vec![0.9, 0.999]);
/// let group: Group = from_value(&group.into())?;
/// assert_eq!((group.lr, group.betas.1, group.foreach), (1e-3, 0.999, None));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T> {
    from_value_at(value, "")
}

/// The same, with the path of the value for errors.
pub(crate) fn from_value_at<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    let _scope = leaf::Scope::enter();
    let context = de::Context::new();
    T::deserialize(de::Reader::new(value.clone(), &context)).map_err(|failure| failure.at(path))
}

/// Makes a value of anything that serde can take apart.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when a map's key cannot be one in Python (a list, say), and whatever the
/// type's own `Serialize` reports.
///
/// ```
/// # use rekindle_recorder::serde::to_value;
/// #[derive(serde::Serialize)]
/// struct Config { n_layer: u32, bias: bool }
///
/// let config = to_value(&Config { n_layer: 6, bias: false })?;
/// assert_eq!(config.as_dict().unwrap().get("n_layer").unwrap().as_i64(), Some(6));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(x: &T) -> Result<Value> {
    let _scope = leaf::Scope::enter();
    x.serialize(ser::Writer).map_err(Into::into)
}
