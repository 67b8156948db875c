//! From a [`Value`] to Rust.

use std::cell::Cell;
use std::fmt::{self, Display};

use ::serde::de::value::BytesDeserializer;
use ::serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use num_traits::ToPrimitive as _;

use crate::serde::{leaf, scalar};
use crate::state_dict::report::nearest;
use crate::value::Array;
use crate::walk::{self, list_names, repr};
use crate::{Error, Value};

/// How deep values may nest: a type that holds itself, read from a value that does, would never end.
const DEPTH: usize = 128;

/// How many values may be read at once: containers that share parts can spell out to any number.
const VALUES: u64 = 50_000_000;

/// Why a value could not be read, and where in it.
#[derive(Debug)]
pub(super) struct Failure {
    /// The path from the value on: empty, or beginning with `.` or `[`.
    path: String,
    what: What,
}

#[derive(Debug)]
enum What {
    WrongType {
        expected: String,
        found: String,
    },
    MissingField {
        name: &'static str,
        advice: Option<String>,
    },
    /// In the words of the type that is read.
    Custom(String),
    Other(Error),
}

impl Failure {
    fn new(what: What) -> Self {
        Failure { path: String::new(), what }
    }

    fn inside(mut self, key: &Value) -> Self {
        let label = match key {
            Value::Str(key) => format!(".{key}"),
            key => format!("[{}]", repr(key)),
        };
        self.path.insert_str(0, &label);
        self
    }

    /// The error, for a value at this path.
    pub(super) fn at(self, path: &str) -> Error {
        let mut key = path.to_owned();
        key.push_str(if path.is_empty() { self.path.strip_prefix('.').unwrap_or(&self.path) } else { &self.path });
        match self.what {
            What::MissingField { name, advice } => {
                let separator = if key.is_empty() { "" } else { "." };
                advice.into_iter().fold(Error::missing_key(format!("{key}{separator}{name}")), Error::advise)
            }
            What::WrongType { expected, found } => {
                Error::wrong_type(if key.is_empty() { "the value" } else { &key }, expected, found)
            }
            What::Custom(reason) if key.is_empty() => Error::invalid(reason),
            What::Custom(reason) => Error::invalid(reason).at(key),
            What::Other(error) => error,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.what {
            What::WrongType { expected, found } => write!(f, " is {found}, where {expected} is expected"),
            What::MissingField { name, .. } => write!(f, " has no '{name}'"),
            What::Custom(reason) => write!(f, ": {reason}"),
            What::Other(error) => write!(f, ": {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Failure::new(What::Custom(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Failure::new(What::WrongType { expected: expected.to_string(), found: found.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Failure::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let found = format!("{length} {}", if length == 1 { "item" } else { "items" });
        Failure::new(What::WrongType { expected: expected.to_string(), found })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let expected = format!("one of {}", list_names(expected));
        Failure::new(What::WrongType { expected, found: format!("'{variant}'") })
    }

    fn missing_field(name: &'static str) -> Self {
        Failure::new(What::MissingField { name, advice: None })
    }
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// What all readers of one call have in common.
pub(super) struct Context {
    values: Cell<u64>,
}

impl Context {
    pub(super) fn new() -> Self {
        Context { values: Cell::new(VALUES) }
    }
}

/// Reads one value.
pub(super) struct Reader<'c> {
    value: Value,
    depth: usize,
    context: &'c Context,
}

impl<'c> Reader<'c> {
    pub(super) fn new(value: Value, context: &'c Context) -> Self {
        Reader { value, depth: 0, context }
    }

    fn child(context: &'c Context, depth: usize, value: Value) -> Result<Self> {
        let Some(left) = context.values.get().checked_sub(1) else {
            return Err(Failure::new(What::Other(Error::limit("the number of values", VALUES))));
        };
        if depth > DEPTH {
            let error = Error::limit("the nesting of containers (one may hold itself)", DEPTH as u64);
            return Err(Failure::new(What::Other(error)));
        }
        context.values.set(left);
        Ok(Reader { value, depth, context })
    }

    fn wrong(&self, expected: &dyn Expected) -> Failure {
        Failure::new(What::WrongType { expected: expected.to_string(), found: self.value.describe() })
    }

    /// The plain value inside a NumPy scalar or a tensor of no dimensions, and whether it was a tensor.
    fn plain(&self) -> Result<(Value, bool)> {
        match &self.value {
            Value::Tensor(tensor) => match scalar::of_tensor(tensor) {
                Some(number) => Ok((number.map_err(|error| Failure::new(What::Other(error)))?, true)),
                None => Ok((self.value.clone(), false)),
            },
            other => {
                let of_array = || Array::of(other).filter(|array| array.shape().is_empty())?.to_lists();
                let scalar = scalar::of_numpy(other).or_else(of_array);
                Ok((scalar.unwrap_or_else(|| other.clone()), false))
            }
        }
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain()? {
            (Value::Bool(x), _) => visitor.visit_i64(x.into()),
            (Value::Int(x), _) => visitor.visit_i64(x),
            (Value::BigInt(x), _) => match (x.to_u64(), x.to_i128(), x.to_u128()) {
                (Some(x), ..) => visitor.visit_u64(x),
                (_, Some(x), _) => visitor.visit_i128(x),
                (.., Some(x)) => visitor.visit_u128(x),
                _ => Err(Failure::invalid_type(Unexpected::Other(&format!("an int of {} bits", x.bits())), &visitor)),
            },
            #[allow(clippy::cast_possible_truncation)] // it is whole and within 2^53
            (Value::Float(x), true) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => {
                visitor.visit_i64(x as i64)
            }
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain()?.0.as_f64() {
            Some(x) => visitor.visit_f64(x),
            None => Err(self.wrong(&visitor)),
        }
    }

    /// The items of whatever is a sequence.
    fn items(&self) -> Option<Vec<Value>> {
        match &self.value {
            Value::Set(items) => Some(items.read().clone()),
            Value::FrozenSet(items) => Some(items.to_vec()),
            Value::Bytes(bytes) => Some(bytes.iter().map(|&byte| Value::Int(byte.into())).collect()),
            Value::ByteArray(bytes) => Some(bytes.read().iter().map(|&byte| Value::Int(byte.into())).collect()),
            Value::Complex(re, im) => Some(vec![Value::Float(*re), Value::Float(*im)]),
            Value::Object(object) if !object.read().items.is_empty() => Some(object.read().items.clone()),
            Value::Object(object) if object.read().class().is_some_and(|class| class.is("collections", "deque")) => {
                Some(Vec::new())
            }
            other => match Array::of(other) {
                Some(array) => array.to_lists()?.items(),
                None => other.items(),
            },
        }
    }

    fn sequence<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Some(items) = self.items() else { return Err(self.wrong(&visitor)) };
        let length = items.len();
        let mut reader = Items { rest: items.into_iter(), next: 0, depth: self.depth, context: self.context };
        let read = visitor.visit_seq(&mut reader)?;
        // A tuple or struct that is shorter than the sequence would lose the rest.
        if reader.rest.len() > 0 { Err(Failure::invalid_length(length, &"no more")) } else { Ok(read) }
    }

    fn mapping<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Some(entries) = walk::entries(&self.value) else { return Err(self.wrong(&visitor)) };
        let names: Vec<Value> = entries.iter().map(|(key, _)| key.clone()).collect();
        let reader = Entries { rest: entries.into_iter(), next: None, depth: self.depth, context: self.context };
        visitor.visit_map(reader).map_err(|mut failure| {
            if let What::MissingField { name, advice } = &mut failure.what
                && failure.path.is_empty()
            {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                *advice = match nearest(name, names.iter().copied()) {
                    Some(near) => Some(format!("did you mean '{near}'?")),
                    None if names.is_empty() => None,
                    None => Some(format!("there are {}", list_names(&names))),
                };
            }
            failure
        })
    }

    /// Hands over the value itself, to a type that can take it. `keep`: that type may ask for it later.
    fn itself<'de, V: Visitor<'de>>(self, visitor: V, keep: bool) -> Result<V::Value> {
        let described = self.value.describe();
        let ticket =
            leaf::Ticket::of(self.value).ok_or_else(|| Failure::custom("a value is read outside of its scope"))?;
        let read = visitor.visit_newtype_struct(BytesDeserializer::<Failure>::new(&ticket.bytes()));
        if !keep {
            ticket.give_back();
        }
        read.map_err(|mut failure| {
            if let What::WrongType { found, .. } = &mut failure.what
                && *found == Unexpected::NewtypeStruct.to_string()
            {
                *found = described;
            }
            failure
        })
    }
}

macro_rules! read_as {
    ($($method:ident)* => $read:ident) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.$read(visitor)
        }
    )* };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if let Some(plain) = scalar::of_numpy(&self.value) {
            return Reader { value: plain, ..self }.deserialize_any(visitor);
        }
        match &self.value {
            Value::None => visitor.visit_unit(),
            Value::Bool(x) => visitor.visit_bool(*x),
            Value::Int(_) => self.integer(visitor),
            Value::BigInt(x) if x.bits() <= 127 => self.integer(visitor),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Str(x) => visitor.visit_str(x),
            Value::Device(device) => visitor.visit_string(device.to_string()),
            Value::Dtype(dtype) => visitor.visit_str(dtype.name()),
            Value::Bytes(x) => visitor.visit_bytes(x),
            Value::ByteArray(x) => visitor.visit_byte_buf(x.read().clone()),
            Value::Dict(_) => self.mapping(visitor),
            Value::Object(object) if object.read().items.is_empty() && walk::entries(&self.value).is_some() => {
                self.mapping(visitor)
            }
            Value::Tensor(_) | Value::Storage(_) | Value::Global(_) => self.itself(visitor, true),
            _ if self.items().is_some() => self.sequence(visitor),
            _ => self.itself(visitor, true),
        }
    }

    read_as! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 => integer
    }
    read_as! { deserialize_f32 deserialize_f64 => float }
    read_as! { deserialize_string deserialize_char => deserialize_str }
    read_as! { deserialize_byte_buf => deserialize_bytes }
    read_as! { deserialize_identifier => deserialize_any }
    read_as! { deserialize_seq => sequence }
    read_as! { deserialize_map => mapping }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain()? {
            (Value::Bool(x), _) => visitor.visit_bool(x),
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain()?.0 {
            Value::Str(x) => visitor.visit_str(&x),
            Value::Device(device) => visitor.visit_string(device.to_string()),
            Value::Dtype(dtype) => visitor.visit_str(dtype.name()),
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain()?.0 {
            Value::Bytes(x) => visitor.visit_bytes(&x),
            Value::ByteArray(x) => visitor.visit_byte_buf(x.read().clone()),
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::None => visitor.visit_unit(),
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == leaf::NAME { self.itself(visitor, false) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.sequence(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value {
            Value::List(_) | Value::Tuple(_) => self.sequence(visitor),
            _ => self.mapping(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (variant, content) = match &self.value {
            Value::Dict(dict) if dict.len() == 1 => {
                let Some((variant, content)) = dict.entries().pop() else { return Err(self.wrong(&visitor)) };
                (variant, Some(content))
            }
            Value::Str(_) => (self.value.clone(), None),
            _ => return Err(self.wrong(&visitor)),
        };
        let content = content.map(|content| Reader::child(self.context, self.depth + 1, content)).transpose()?;
        let variant = Reader { value: variant, ..self };
        visitor.visit_enum(Variant { variant, content })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

struct Items<'c> {
    rest: std::vec::IntoIter<Value>,
    next: i64,
    depth: usize,
    context: &'c Context,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(item) = self.rest.next() else { return Ok(None) };
        let path = Value::Int(self.next);
        self.next += 1;
        let reader = Reader::child(self.context, self.depth + 1, item)?;
        seed.deserialize(reader).map(Some).map_err(|failure| failure.inside(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'c> {
    rest: std::vec::IntoIter<(Value, Value)>,
    next: Option<(Value, Value)>,
    depth: usize,
    context: &'c Context,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else { return Ok(None) };
        let reader = Reader::child(self.context, self.depth + 1, key.clone())?;
        let described = |mut failure: Failure| {
            if let What::WrongType { found, .. } = &mut failure.what {
                *found = format!("{found} for a key");
            }
            failure.inside(key)
        };
        seed.deserialize(reader).map(Some).map_err(described)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let Some((key, value)) = self.next.take() else {
            return Err(Failure::custom("a map's value was asked for before its key"));
        };
        let reader = Reader::child(self.context, self.depth + 1, value)?;
        seed.deserialize(reader).map_err(|failure| failure.inside(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Variant<'c> {
    variant: Reader<'c>,
    content: Option<Reader<'c>>,
}

impl<'de, 'c> EnumAccess<'de> for Variant<'c> {
    type Error = Failure;
    type Variant = Content<'c>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Content<'c>)> {
        let name = self.variant.value.clone();
        Ok((seed.deserialize(self.variant)?, Content { name, content: self.content }))
    }
}

struct Content<'c> {
    name: Value,
    content: Option<Reader<'c>>,
}

impl<'c> Content<'c> {
    fn read<T>(self, read: impl FnOnce(Reader<'c>) -> Result<T>) -> Result<T> {
        match self.content {
            Some(content) => read(content).map_err(|failure| failure.inside(&self.name)),
            None => Err(Failure::invalid_type(Unexpected::UnitVariant, &"a dict of the variant and its content")),
        }
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<()> {
        match self.content {
            Some(content) => {
                de::Deserialize::deserialize(content).map_err(|failure: Failure| failure.inside(&self.name))
            }
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        self.read(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.read(|content| content.sequence(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.read(|content| content.mapping(visitor))
    }
}
