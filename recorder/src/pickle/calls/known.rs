//! Calls that a pickle makes and whose outcome is a value of its own: Python's containers, bytes and numbers. Torch's are
//! in `torch.rs`. A call whose arguments are not as expected is left to be kept as an object.

use std::sync::Arc;

use indexmap::IndexSet;

use crate::pickle::calls::making::{Make, Making};
use crate::pickle::calls::{devices, old, subclass, torch};
use crate::pickle::names::verdict;
use crate::pickle::text::to_latin1;
use crate::value::{Dict, Global, Key, List, Shared};
use crate::{Result, Value};

/// By module and name in Python 3's spelling.
const CALLS: &[(&str, &str, Make)] = &[
    ("collections", "OrderedDict", ordered_dict),
    ("builtins", "set", set),
    ("builtins", "frozenset", frozenset),
    ("builtins", "complex", complex),
    ("builtins", "bytearray", bytearray),
    ("builtins", "bytes", bytes),
    ("_codecs", "encode", encode),
];

/// What calls of this function make here.
fn find(global: &Global) -> Option<Make> {
    let row = |module: &str, name: &str| {
        let mut rows = torch::CALLS.iter().chain(devices::CALLS).chain(CALLS);
        rows.find(|row| row.1 == name && row.0 == module).map(|row| row.2)
    };
    row(&global.module, &global.name).or_else(|| {
        let (module, name) = verdict::python3_name(&global.module, &global.name);
        row(module, name)
    })
}

/// `callable(*args)`, where the outcome is known.
pub(crate) fn call(callable: &Value, args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    match callable {
        Value::Global(global) => match find(global) {
            Some(make) => make(args, making),
            None => match subclass::call(global, args, making)? {
                Some(made) => Ok(Some(made)),
                None => old::call(global, args, making),
            },
        },
        _ => Ok(None),
    }
}

/// `()`, or Python 2's `([[key, value], ...],)`.
fn ordered_dict(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let dict = Dict::ordered();
    match args {
        [] => {}
        [Value::List(pairs)] => {
            making.budget.copies(pairs.read().len())?;
            // A copy: one of the pairs may be the list itself.
            let pairs = pairs.read().clone();
            for pair in pairs {
                let Some([key, value]) = pair_of(&pair) else { return Ok(None) };
                making.budget.key(&key, dict.len())?;
                dict.insert(key, value);
            }
        }
        _ => return Ok(None),
    }
    Ok(Some(dict.into()))
}

fn pair_of(pair: &Value) -> Option<[Value; 2]> {
    match pair {
        Value::List(items) => <&[Value; 2]>::try_from(items.read().as_slice()).ok().cloned(),
        Value::Tuple(items) => <&[Value; 2]>::try_from(&**items).ok().cloned(),
        _ => None,
    }
}

fn set(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(elements(args, making)?.map(|items| Value::Set(List::new(items))))
}

fn frozenset(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(elements(args, making)?.map(|items| Value::FrozenSet(items.into())))
}

/// The elements of a new set, each once.
fn elements(args: &[Value], making: &mut Making<'_>) -> Result<Option<Vec<Value>>> {
    match args {
        [] => Ok(Some(Vec::new())),
        [Value::List(items)] => distinct(&items.read(), making).map(Some),
        [Value::Tuple(items)] => distinct(items, making).map(Some),
        _ => Ok(None),
    }
}

/// The items, each once, in order.
pub(crate) fn distinct(items: &[Value], making: &mut Making<'_>) -> Result<Vec<Value>> {
    making.budget.copies(items.len())?;
    let mut found = IndexSet::with_capacity(items.len());
    for item in items {
        making.budget.key(item, found.len())?;
        found.insert(Key(item.clone()));
    }
    Ok(found.into_iter().map(|key| key.0).collect())
}

fn complex(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(match args {
        [Value::Float(re), Value::Float(im)] => Some(Value::Complex(*re, *im)),
        _ => None,
    })
}

/// `()`, `(bytes,)`, or `(str, 'latin-1')` before protocol 3.
fn bytearray(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let content = match args {
        [] => Some(Vec::new()),
        [Value::Bytes(bytes)] => {
            making.budget.bytes(bytes.len() as u64)?;
            Some(bytes.to_vec())
        }
        [Value::Str(_), Value::Str(_)] => return Ok(latin1(args, making)?.map(|b| Value::ByteArray(Shared::new(b)))),
        _ => None,
    };
    Ok(content.map(|content| Value::ByteArray(Shared::new(content))))
}

/// `()`, `(bytes,)` or `([int, ...],)`.
fn bytes(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(match args {
        [] => Some(Value::Bytes([].into())),
        [Value::Bytes(bytes)] => Some(Value::Bytes(Arc::clone(bytes))),
        [Value::List(items)] => {
            let items = items.read();
            making.budget.copies(items.len())?;
            let bytes: Option<Vec<u8>> = items.iter().map(|item| u8::try_from(item.as_i64()?).ok()).collect();
            bytes.map(|bytes| Value::Bytes(bytes.into()))
        }
        _ => None,
    })
}

/// `(str, 'latin1')`: how `bytes` are written before protocol 3.
fn encode(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(latin1(args, making)?.map(|bytes| Value::Bytes(bytes.into())))
}

fn latin1(args: &[Value], making: &mut Making<'_>) -> Result<Option<Vec<u8>>> {
    let [Value::Str(text), Value::Str(codec)] = args else { return Ok(None) };
    if !matches!(&**codec, "latin1" | "latin-1") {
        return Ok(None);
    }
    making.budget.bytes(text.len() as u64)?;
    Ok(to_latin1(text))
}
