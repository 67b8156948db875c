//! How a [`Value`], [`Tensor`] or [`StateDict`] goes through serde as the very object: it is put into a table of this thread,
//! and a ticket with its place in the table goes through serde's data model as a newtype of a name that nobody else has.
//!
//! The table lives as long as the outermost `from_value` or `to_value` of the thread. Outside of one, a tensor meets another
//! format, and says that it cannot be written there.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;

use ::serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use ::serde::ser::{Error as _, Serialize, Serializer};

use crate::value::Array;
use crate::{Dict, Key, StateDict, Tensor, Value};

/// The name of the newtype.
pub(super) const NAME: &str = "$rekindle::Value";

/// What a ticket's bytes begin with: chosen anew by each process, so that no file's bytes can be taken for one.
static MARK: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let random = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut mark = [0; 16];
    mark[..8].copy_from_slice(&random());
    mark[8..].copy_from_slice(&random());
    mark
});

thread_local! {
    static TABLE: RefCell<Table> = const { RefCell::new(Table { scopes: 0, values: Vec::new() }) };
}

struct Table {
    scopes: usize,
    values: Vec<Value>,
}

/// A `from_value` or `to_value` at work on this thread.
pub(super) struct Scope(());

impl Scope {
    pub(super) fn enter() -> Self {
        TABLE.with_borrow_mut(|table| table.scopes += 1);
        Scope(())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let done = TABLE.with_borrow_mut(|table| {
            table.scopes -= 1;
            if table.scopes == 0 { std::mem::take(&mut table.values) } else { Vec::new() }
        });
        // The values go after the table is free again.
        drop(done);
    }
}

/// A place in the table.
pub(super) struct Ticket(u64);

impl Ticket {
    /// Puts a value into the table; `None` outside of a scope.
    pub(super) fn of(value: Value) -> Option<Self> {
        TABLE.with_borrow_mut(|table| {
            (table.scopes > 0).then(|| {
                table.values.push(value);
                Ticket(table.values.len() as u64 - 1)
            })
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [&MARK[..], &self.0.to_le_bytes()].concat()
    }

    /// The value that these bytes are a ticket for. It stays in the table: serde may try several types on it.
    pub(super) fn value(bytes: &[u8]) -> Option<Value> {
        let index = u64::from_le_bytes(bytes.strip_prefix(&MARK[..])?.try_into().ok()?);
        TABLE.with_borrow(|table| table.values.get(usize::try_from(index).ok()?).cloned())
    }

    /// Takes a value out again that was put in last and is no longer needed.
    pub(super) fn give_back(self) {
        let done = TABLE
            .with_borrow_mut(|table| (table.values.len() as u64 == self.0 + 1).then(|| table.values.pop()).flatten());
        drop(done);
    }
}

impl Serialize for Ticket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes())
    }
}

fn hand_over<S: Serializer>(value: Value, what: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(ticket) = Ticket::of(value) else {
        let advice = "save it as a checkpoint, or take its elements out with to_vec";
        return Err(S::Error::custom(format!(
            "{what} can be serialized with rekindle_recorder::serde::to_value only, not into another format; {advice}"
        )));
    };
    serializer.serialize_newtype_struct(NAME, &ticket)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hand_over(self.clone(), "a Value", serializer)
    }
}

impl Serialize for Tensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hand_over(self.clone().into(), "a Tensor", serializer)
    }
}

impl Serialize for StateDict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hand_over(self.to_value(), "a StateDict", serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, AnyValue)
    }
}

impl<'de> Deserialize<'de> for Tensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_newtype_struct(NAME, AnyValue)? {
            Value::Tensor(tensor) => Ok(tensor),
            other => match Array::of(&other) {
                Some(array) => array.to_tensor().map_err(de::Error::custom),
                None => {
                    Err(de::Error::invalid_type(de::Unexpected::Other(&other.describe()), &"a tensor of a checkpoint"))
                }
            },
        }
    }
}

impl<'de> Deserialize<'de> for StateDict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_newtype_struct(NAME, AnyValue)?;
        StateDict::from_value(&value).map_err(de::Error::custom)
    }
}

/// Takes the value of a ticket, or makes one of plain data that comes from elsewhere.
struct AnyValue;

macro_rules! plain {
    ($($visit:ident($ty:ty) => |$x:ident| $value:expr;)*) => { $(
        fn $visit<E: de::Error>(self, $x: $ty) -> Result<Value, E> {
            Ok($value)
        }
    )* };
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a checkpoint, or plain data")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }

    plain! {
        visit_bool(bool) => |x| x.into();
        visit_i64(i64) => |x| x.into();
        visit_u64(u64) => |x| x.into();
        visit_i128(i128) => |x| num_bigint::BigInt::from(x).into();
        visit_u128(u128) => |x| num_bigint::BigInt::from(x).into();
        visit_f64(f64) => |x| x.into();
        visit_str(&str) => |x| x.into();
        visit_bytes(&[u8]) => |x| Ticket::value(x).unwrap_or_else(|| x.into());
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Value>()? {
            list.push(item);
        }
        Ok(Value::list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let dict = Dict::new();
        while let Some((key, value)) = entries.next_entry::<Value, Value>()? {
            dict.write().entries.insert(Key(key), value);
        }
        Ok(dict.into())
    }
}
