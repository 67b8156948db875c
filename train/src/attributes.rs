//! `Attributes`: the named values of a Python dict, in its order, with typed access. What a param group holds beside its
//! parameters, and what a scheduler holds beside its optimizer.

use indexmap::IndexMap;
use rekindle_recorder::rebuild::plain_numbers;
use rekindle_recorder::{DType, Dict, Error, Result, Tensor, Value};

/// Named values in the order of the Python dict they stand for. Each keeps its Python type: `0` stays an `int` until a
/// `float` is put in its place.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Where they stand, for messages: `param_groups[0].`.
    place: String,
    entries: IndexMap<String, Value>,
}

impl Attributes {
    /// None yet; messages put `place` before a name.
    pub(crate) fn new(place: impl Into<String>) -> Self {
        Attributes { place: place.into(), entries: IndexMap::new() }
    }

    /// The entries of a dict; NumPy's scalars among them as Python's numbers.
    ///
    /// # Errors
    /// When it is no dict, or a key is no string.
    pub(crate) fn from_value(place: impl Into<String>, value: &Value) -> Result<Self> {
        let mut attributes = Attributes::new(place);
        let place = attributes.place.trim_end_matches('.').to_owned();
        let dict = value.as_dict().ok_or_else(|| wrong_type(&place, "a dict", value))?;
        for (key, value) in dict.entries() {
            let name = key.as_str().ok_or_else(|| wrong_type(&format!("a key of {place}"), "a str", &key))?;
            attributes.entries.insert(name.to_owned(), plain_numbers(&value));
        }
        Ok(attributes)
    }

    /// A new dict of the entries.
    pub(crate) fn to_dict(&self) -> Dict {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// Whether there is a value of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Puts a value: in the name's place if it is there, else at the end.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.entries.insert(name.to_owned(), value.into());
    }

    /// Puts a value at the end if there is none of this name (Python's `setdefault`).
    pub fn set_default(&mut self, name: &str, value: impl Into<Value>) {
        self.entries.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    /// Puts a number, as `torch.optim.lr_scheduler` does: a tensor stays a tensor of its type and shape, anything else becomes a
    /// `float`.
    pub fn set_float(&mut self, name: &str, number: f64) {
        let tensor = self.get(name).and_then(Value::as_tensor);
        let (dtype, shape) =
            (tensor.map(Tensor::dtype), tensor.map_or_else(Vec::new, |tensor| tensor.shape().to_vec()));
        let value = float_like(dtype, number);
        // A tensor of one element and of one dimension or more stays one.
        let shaped = value
            .as_tensor()
            .filter(|_| !shape.is_empty())
            .and_then(|scalar| Tensor::from_le_bytes(scalar.dtype(), &shape, scalar.to_le_bytes().ok()?).ok());
        self.set(name, shaped.map_or(value, Value::from));
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.entries.shift_remove(name)
    }

    /// Whether a flag that older releases did not write is there and true.
    ///
    /// # Errors
    /// When it is there and no flag.
    pub(crate) fn is_set(&self, name: &str) -> Result<bool> {
        if self.contains(name) { self.flag(name) } else { Ok(false) }
    }

    /// The count of this name; what is no count is more than any.
    ///
    /// # Errors
    /// When it is missing, or no integer.
    pub(crate) fn count(&self, name: &str) -> Result<usize> {
        Ok(usize::try_from(self.int(name)?).unwrap_or(usize::MAX))
    }

    fn typed<T>(&self, name: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let key = format!("{}{name}", self.place);
        match self.get(name) {
            Some(value) => read(value).ok_or_else(|| wrong_type(&key, expected, value)),
            None if self.entries.is_empty() => Err(Error::missing_key(key)),
            None => {
                let names = self.names().collect::<Vec<_>>().join(", ");
                Err(Error::missing_key(key).advise(format!("there are {names}")))
            }
        }
    }
}

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident -> $type:ty: $expected:literal, $read:expr;)*) => {
        impl Attributes { $(
            $(#[$doc])*
            ///
            /// # Errors
            #[doc = concat!("When it is missing, or not ", $expected, ".")]
            pub fn $name(&self, name: &str) -> Result<$type> {
                self.typed(name, $expected, $read)
            }
        )* }
    };
}

typed! {
    /// The number of this name: a `bool`, `int`, `float` or a tensor of one element.
    float -> f64: "a number", number;
    /// The integer of this name.
    int -> i64: "an int", Value::as_i64;
    /// Whether the value of this name is true: `None` is not, a number other than 0 is.
    flag -> bool: "a bool", |value| match value {
        Value::None => Some(false),
        other => other.as_f64().map(|number| number != 0.0),
    };
    /// The two numbers of this name, such as `betas`.
    pair -> (f64, f64): "a tuple of two numbers", |value| match &value.items()?[..] {
        [a, b] => Some((number(a)?, number(b)?)),
        _ => None,
    };
    /// The numbers of this name.
    floats -> Vec<f64>: "a list of numbers", |value| value.items()?.iter().map(number).collect();
    /// The integers of this name.
    ints -> Vec<i64>: "a list of ints", |value| value.items()?.iter().map(Value::as_i64).collect();
    /// The text of this name.
    text -> String: "a str", |value| value.as_str().map(str::to_owned);
}

/// A number as PyTorch keeps one: a tensor of no dimensions where there was one of this type, else a `float`.
pub(crate) fn float_like(dtype: Option<DType>, number: f64) -> Value {
    match dtype {
        #[allow(clippy::cast_possible_truncation)]
        Some(DType::Float32) => Tensor::scalar(number as f32).into(),
        Some(DType::Float64) => Tensor::scalar(number).into(),
        _ => number.into(),
    }
}

/// The number that a value is: `item()` of a tensor with one element.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Tensor(tensor) => match tensor.to_f64_vec().ok()?[..] {
            [number] => Some(number),
            _ => None,
        },
        other => other.as_f64(),
    }
}

pub(crate) fn wrong_type(key: &str, expected: &str, found: &Value) -> Error {
    Error::wrong_type(key.to_owned(), expected.to_owned(), found.describe())
}

pub(crate) fn invalid(reason: impl Into<String>) -> Error {
    Error::invalid(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_stays_a_tensor_when_a_number_is_put_in_its_place() {
        let mut attributes = Attributes::new("param_groups[0].");
        attributes.set("lr", Tensor::scalar(0.5_f32));
        attributes.set("weight_decay", 0);
        attributes.set("betas", Tensor::from_vec(&[1], vec![0.5_f32]).ok().map_or(Value::None, Value::from));
        attributes.set_float("betas", 0.75);
        assert_eq!(attributes.get("betas").and_then(Value::as_tensor).map(Tensor::shape), Some(&[1][..]));
        assert_eq!(attributes.float("betas").ok(), Some(0.75));
        attributes.set_float("lr", 0.25);
        attributes.set_float("weight_decay", 0.5);
        assert_eq!(attributes.get("lr").and_then(Value::as_tensor).map(Tensor::dtype), Some(DType::Float32));
        assert_eq!(attributes.float("lr").ok(), Some(0.25));
        assert!(matches!(attributes.get("weight_decay"), Some(Value::Float(_))));
    }

    #[test]
    fn an_error_says_where_and_what() {
        let mut attributes = Attributes::new("param_groups[0].");
        attributes.set("betas", 0.9);
        let found = attributes.pair("betas").unwrap_err().to_string();
        assert_eq!(found, "param_groups[0].betas is a float, where a tuple of two numbers is expected");
        let missing = attributes.float("lr").unwrap_err().to_string();
        assert_eq!(missing, "there is no 'param_groups[0].lr'; there are betas");
    }
}
