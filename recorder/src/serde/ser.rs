//! From Rust to a [`Value`].

use std::fmt::Display;

use ::serde::ser::{self, Serialize, Serializer};
use num_bigint::BigInt;

use crate::serde::leaf;
use crate::{Dict, Error, Value};

/// What a type's own `Serialize` reports.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(String);

impl ser::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Failure(message.to_string())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::invalid(failure.0)
    }
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Makes a value of whatever it is given.
pub(super) struct Writer;

macro_rules! scalars {
    ($($method:ident($ty:ty) => |$x:ident| $value:expr;)*) => { $(
        fn $method(self, $x: $ty) -> Result<Value> {
            Ok($value)
        }
    )* };
}

impl Serializer for Writer {
    type Ok = Value;
    type Error = Failure;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    scalars! {
        serialize_bool(bool) => |x| x.into();
        serialize_i8(i8) => |x| Value::Int(x.into());
        serialize_i16(i16) => |x| Value::Int(x.into());
        serialize_i32(i32) => |x| x.into();
        serialize_i64(i64) => |x| x.into();
        serialize_i128(i128) => |x| BigInt::from(x).into();
        serialize_u8(u8) => |x| Value::Int(x.into());
        serialize_u16(u16) => |x| Value::Int(x.into());
        serialize_u32(u32) => |x| x.into();
        serialize_u64(u64) => |x| x.into();
        serialize_u128(u128) => |x| BigInt::from(x).into();
        serialize_f32(f32) => |x| x.into();
        serialize_f64(f64) => |x| x.into();
        serialize_char(char) => |x| x.to_string().into();
        serialize_str(&str) => |x| x.into();
        serialize_bytes(&[u8]) => |x| x.into();
        serialize_unit_struct(&'static str) => |_name| Value::None;
    }

    fn serialize_none(self) -> Result<Value> {
        Ok(Value::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, x: &T) -> Result<Value> {
        x.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value> {
        Ok(Value::None)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, x: &T) -> Result<Value> {
        let value = x.serialize(self)?;
        if name != leaf::NAME {
            return Ok(value);
        }
        let handed_over = if let Value::Bytes(bytes) = &value { leaf::Ticket::value(bytes) } else { None };
        handed_over.ok_or_else(|| Failure(format!("the name '{name}' is taken by rekindle's own types")))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        x: &T,
    ) -> Result<Value> {
        Ok(Dict::from_iter([(variant, x.serialize(self)?)]).into())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items> {
        Ok(Items { made: Vec::new(), tuple: false, variant: None })
    }

    fn serialize_tuple(self, _: usize) -> Result<Items> {
        Ok(Items { made: Vec::new(), tuple: true, variant: None })
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Items> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Items> {
        Ok(Items { made: Vec::new(), tuple: true, variant: Some(variant) })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries> {
        Ok(Entries { dict: Dict::new(), key: Value::None, variant: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Entries> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Entries> {
        Ok(Entries { dict: Dict::new(), key: Value::None, variant: Some(variant) })
    }
}

fn in_variant(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(variant) => Dict::from_iter([(variant, value)]).into(),
        None => value,
    }
}

/// A list or tuple in the making.
pub(super) struct Items {
    made: Vec<Value>,
    tuple: bool,
    variant: Option<&'static str>,
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, x: &T) -> Result<()> {
        self.made.push(x.serialize(Writer)?);
        Ok(())
    }

    fn finish(self) -> Value {
        in_variant(self.variant, if self.tuple { Value::tuple(self.made) } else { Value::list(self.made) })
    }
}

macro_rules! items {
    ($($trait:ident::$method:ident),*) => { $(
        impl ser::$trait for Items {
            type Ok = Value;
            type Error = Failure;

            fn $method<T: Serialize + ?Sized>(&mut self, x: &T) -> Result<()> {
                self.push(x)
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    )* };
}

items! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

/// A dict in the making.
pub(super) struct Entries {
    dict: Dict,
    key: Value,
    variant: Option<&'static str>,
}

impl Entries {
    fn insert<T: Serialize + ?Sized>(&mut self, key: &'static str, x: &T) -> Result<()> {
        self.dict.insert(key, x.serialize(Writer)?);
        Ok(())
    }

    fn finish(self) -> Value {
        in_variant(self.variant, self.dict.into())
    }
}

impl ser::SerializeMap for Entries {
    type Ok = Value;
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = key.serialize(Writer)?;
        match &self.key {
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::ByteArray(_) => {
                Err(Failure(format!("{} cannot be the key of a dict in Python; use a tuple", self.key.describe())))
            }
            _ => Ok(()),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, x: &T) -> Result<()> {
        let key = std::mem::replace(&mut self.key, Value::None);
        self.dict.insert(key, x.serialize(Writer)?);
        Ok(())
    }

    fn end(self) -> Result<Value> {
        Ok(self.finish())
    }
}

macro_rules! fields {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Entries {
            type Ok = Value;
            type Error = Failure;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, x: &T) -> Result<()> {
                self.insert(key, x)
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    )* };
}

fields! { SerializeStruct, SerializeStructVariant }
