//! `Value` -> a burnpack file, as burn-pack 0.22.1 writes it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::container::burnpack::attributes::{ATTRIBUTE, DTYPES, PARAM_IDS, SIGNED};
use crate::container::burnpack::dtype::BurnType;
use crate::container::burnpack::header::{self, Descriptor, Metadata, Scalar};
use crate::container::keeps::{Keeps, Values};
use crate::container::named::{self, Item, METADATA, Named, Target, refused};
use crate::io::Ready;
use crate::io::commit::Counted;
use crate::state_dict::module;
use crate::{Dict, Error, Result, SaveOptions, SaveReport, StateDict, Value};

/// Every name has bytes of its own.
pub(crate) const TARGET: Target =
    Target { name: "burnpack", keeps: Keeps { values: Values::TensorsAndNumbers, ..Keeps::TENSORS } };

/// burn-pack 0.22.1 opens no file with more than these.
const MAX_METADATA: u64 = 100 << 20;
const MAX_TENSORS: usize = 100_000;
const MAX_TENSOR: u64 = 10 << 30;
const MAX_FILE: u64 = 100 << 30;

/// Writes a dict of tensors and numbers as a burnpack file that Burn 0.20 and later open. The file is whole or it is not
/// there.
///
/// Tensors are written in the order of the dict, row by row. Names that share memory get a copy each, which the report says.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for what burnpack or Burn cannot hold (texts, containers, sparse and quantised tensors, types
/// that Burn lacks), by name; [`Io`](crate::ErrorKind::Io) and [`Exists`](crate::ErrorKind::Exists) for the file.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    ready(root, options)?.commit(path, options.overwrite)
}

pub(crate) fn ready<'a>(root: &'a Value, _: &SaveOptions) -> Result<Ready<'a>> {
    let plan = Plan::of(root)?;
    let mut metadata = plan.metadata;
    let cbor = header::write(&mut metadata)?;
    let size = cbor.len() as u64;
    if size > MAX_METADATA {
        return Err(Error::unsupported(format!(
            "a burnpack file with {size} bytes of names (Burn reads {MAX_METADATA})"
        )));
    }
    let data = (header::HEADER + size).next_multiple_of(header::ALIGNMENT);
    let end = data + plan.end;
    if end > MAX_FILE {
        return Err(Error::unsupported(format!("a burnpack file of {end} bytes (Burn reads {MAX_FILE})")));
    }
    // Below the limit of 100 MiB.
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    Ok(Ready::new(plan.notes, move |out| {
        let mut out = Counted::new(out);
        out.put(&header::MAGIC.to_le_bytes())?;
        out.put(&header::VERSION.to_le_bytes())?;
        out.put(&size.to_le_bytes())?;
        out.put(&cbor)?;
        pad(&mut out, data)?;
        for placed in &plan.tensors {
            pad(&mut out, data + placed.start)?;
            out.put(&placed.bytes()?)?;
        }
        Ok(end)
    }))
}

/// Zeros up to this place, which is less than an alignment away.
fn pad(out: &mut Counted<'_>, offset: u64) -> Result<()> {
    const ZEROS: [u8; 256] = [0; 256];
    let missing = usize::try_from(offset.saturating_sub(out.written())).unwrap_or(usize::MAX);
    out.put(ZEROS.get(..missing).unwrap_or(&ZEROS))
}

/// A file before it is written.
struct Plan {
    metadata: Metadata,
    /// In the order of the dict, which is that of their bytes.
    tensors: Vec<Placed>,
    /// The length of the data section.
    end: u64,
    notes: Vec<String>,
}

struct Placed {
    item: Item,
    dtype: &'static BurnType,
    start: u64,
}

impl Placed {
    /// The bytes as Burn has them.
    fn bytes(&self) -> Result<bytes::Bytes> {
        let bytes = self.item.tensor.to_le_bytes()?;
        if self.dtype.size == self.item.tensor.dtype().size() {
            return Ok(bytes);
        }
        // The one type that is wider in Burn is the boolean of four bytes.
        Ok(bytes.iter().flat_map(|&bit| u32::from(bit != 0).to_le_bytes()).collect())
    }
}

impl Plan {
    fn of(root: &Value) -> Result<Self> {
        let mut state_dict = StateDict::from_value(root)?;
        let mut plan = Plan { metadata: Metadata::default(), tensors: Vec::new(), end: 0, notes: Vec::new() };
        let attributes = state_dict.to_value().as_dict().and_then(Dict::state);
        let hints = Hints::of(attributes.as_ref().and_then(Value::as_dict));
        let scalars = &mut plan.metadata.scalars;
        state_dict.retain(|name, value| {
            let scalar = scalar(value, hints.signed.contains(name));
            let keep = scalar.is_none();
            scalars.extend(scalar.map(|scalar| (name.to_owned(), scalar)));
            keep
        });
        let whole = root;
        let root = state_dict.to_value();
        if let Some(dict) = root.as_dict() {
            let others = attributes.as_ref().and_then(Value::as_dict).map(without_hints);
            dict.write().state = others.map(Value::from);
        }
        let named = Named::of(&root, &TARGET)?;
        for (key, text) in named.metadata {
            let Value::Str(text) = text else {
                return Err(Error::wrong_type(format!("{METADATA}.{key}"), "a str", text.describe()));
            };
            plan.metadata.texts.push((key, text.as_ref().to_owned()));
        }
        plan.notes = named.notes;
        plan.notes.extend(named::lost_class_of_root(whole, TARGET.name));
        if module::is_module(whole) {
            let tensors = named.tensors.iter().map(|item| &*item.name);
            let kept: HashSet<&str> = tensors.chain(plan.metadata.scalars.iter().map(|(name, _)| &**name)).collect();
            plan.notes.extend(named::lost_of_module(whole, &|name| kept.contains(name), TARGET.name)?);
        }
        if named.tensors.len() > MAX_TENSORS {
            let what = format!("a burnpack file of {} tensors (Burn reads {MAX_TENSORS})", named.tensors.len());
            return Err(Error::unsupported(what));
        }
        named.tensors.into_iter().try_for_each(|item| plan.add(item, &hints))?;
        Ok(plan)
    }

    fn add(&mut self, item: Item, hints: &Hints) -> Result<()> {
        let (name, tensor) = (&*item.name, &item.tensor);
        let dtype = match hints.dtypes.get(name) {
            Some(dtype) if dtype.dtype == tensor.dtype() => Some(*dtype),
            _ => BurnType::of(tensor.dtype()),
        };
        let Some(dtype) = dtype else {
            let advice = "Burn has no such element type, cast it first";
            return Err(refused(name, &format!("a tensor of {}", tensor.dtype()), TARGET.name, advice));
        };
        let bytes = dtype.bytes_for(tensor.numel() as u64).filter(|&bytes| bytes <= MAX_TENSOR);
        let start = self.end.next_multiple_of(header::ALIGNMENT);
        let Some(end) = bytes.and_then(|bytes| start.checked_add(bytes)) else {
            let kind = format!("a tensor of {} {:?}", tensor.dtype(), tensor.shape());
            return Err(refused(name, &kind, TARGET.name, "Burn reads tensors of up to 10 GiB"));
        };
        let descriptor = Descriptor {
            dtype: Some(dtype),
            spelled: dtype.name.to_owned(),
            shape: tensor.shape().iter().map(|&n| n as u64).collect(),
            start,
            end,
            param_id: hints.ids.get(name).copied(),
        };
        self.metadata.tensors.push((name.to_owned(), descriptor));
        self.tensors.push(Placed { item, dtype, start });
        self.end = end;
        Ok(())
    }
}

fn scalar(value: &Value, signed: bool) -> Option<Scalar> {
    Some(match value {
        Value::Bool(bit) => Scalar::Bool(*bit),
        Value::Int(number) => match u64::try_from(*number) {
            Ok(number) if !signed => Scalar::UInt(number),
            _ => Scalar::Int(*number),
        },
        Value::BigInt(number) => Scalar::UInt(u64::try_from(&**number).ok()?),
        Value::Float(number) => Scalar::Float(*number),
        _ => return None,
    })
}

/// What the attribute `_burnpack` says. Of names that are gone, and of what is not understood, nothing is kept.
#[derive(Default)]
struct Hints {
    ids: HashMap<String, u64>,
    dtypes: HashMap<String, &'static BurnType>,
    signed: HashSet<String>,
}

impl Hints {
    fn of(attributes: Option<&Dict>) -> Self {
        let mut hints = Hints::default();
        let Some(Value::Dict(own)) = attributes.and_then(|attributes| attributes.get(ATTRIBUTE)) else { return hints };
        let entries = |name| own.get(name).as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
        for (name, id) in entries(PARAM_IDS) {
            if let (Some(name), Some(Scalar::UInt(id))) = (name.as_str(), scalar(&id, false)) {
                hints.ids.insert(name.to_owned(), id);
            }
        }
        for (name, dtype) in entries(DTYPES) {
            if let (Some(name), Some(dtype)) = (name.as_str(), dtype.as_str().and_then(BurnType::parse)) {
                hints.dtypes.insert(name.to_owned(), dtype);
            }
        }
        let signed = own.get(SIGNED).and_then(|names| names.items()).unwrap_or_default();
        hints.signed.extend(signed.iter().filter_map(Value::as_str).map(str::to_owned));
        hints
    }
}

/// The attributes but `_burnpack`, which has its place in the file.
fn without_hints(attributes: &Dict) -> Dict {
    attributes.entries().into_iter().filter(|(name, _)| name.as_str() != Some(ATTRIBUTE)).collect()
}
