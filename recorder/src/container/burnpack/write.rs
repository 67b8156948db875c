//! `Value` -> a burnpack file, as burn-pack 0.22.1 writes it.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::header::{self, Descriptor, Metadata, Scalar};
use super::{ATTRIBUTE, BurnType, DTYPES, METADATA, PARAM_IDS, SIGNED};
use crate::checkpoint::{SaveOptions, SaveReport};
use crate::{Dict, Error, ErrorKind, Result, Tensor, Value, integrity};

/// burn-pack 0.22.1 opens no file with more than these.
const MAX_METADATA: u64 = 100 << 20;
const MAX_TENSORS: usize = 100_000;
const MAX_TENSOR: u64 = 10 << 30;
const MAX_FILE: u64 = 100 << 30;

/// How many names a note lists before it counts the rest.
const LISTED: usize = 5;

/// Writes a dict of tensors and numbers as a burnpack file that Burn 0.20 and later open. The file is whole or it is not
/// there.
///
/// Tensors are written in the order of the dict, row by row. Names that share memory get a copy each, which the report says.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for what burnpack or Burn cannot hold (texts, containers, sparse and quantised tensors, types
/// that Burn lacks), by name; [`ErrorKind::Io`] and [`ErrorKind::Exists`] for the file.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let plan = Plan::of(root)?;
    let mut metadata = plan.metadata;
    let cbor = header::write(&mut metadata)?;
    let size = cbor.len() as u64;
    if size > MAX_METADATA {
        return Err(Error::unsupported(format!("a burnpack file with {size} bytes of names (Burn reads {MAX_METADATA})")));
    }
    let data = (header::HEADER + size).next_multiple_of(header::ALIGNMENT);
    let end = data + plan.end;
    if end > MAX_FILE {
        return Err(Error::unsupported(format!("a burnpack file of {end} bytes (Burn reads {MAX_FILE})")));
    }
    // Below the limit of 100 MiB.
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    integrity::commit(path, options.overwrite, |out| {
        let mut out = Counted { out, written: 0 };
        out.put(&header::MAGIC.to_le_bytes())?;
        out.put(&header::VERSION.to_le_bytes())?;
        out.put(&size.to_le_bytes())?;
        out.put(&cbor)?;
        out.pad(data)?;
        for tensor in &plan.tensors {
            out.pad(data + tensor.start)?;
            out.put(&tensor.bytes()?)?;
        }
        Ok(())
    })?;
    Ok(SaveReport { bytes: end, notes: plan.notes })
}

/// Writes and counts.
struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Counted<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::io("cannot write the file", source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Zeros up to this place, which is less than an alignment away.
    fn pad(&mut self, place: u64) -> Result<()> {
        const ZEROS: [u8; header::ALIGNMENT as usize] = [0; header::ALIGNMENT as usize];
        let missing = usize::try_from(place.saturating_sub(self.written)).unwrap_or(usize::MAX);
        self.put(ZEROS.get(..missing).unwrap_or(&ZEROS))
    }
}

/// A file before it is written.
struct Plan {
    metadata: Metadata,
    tensors: Vec<Planned>,
    /// The length of the data section.
    end: u64,
    notes: Vec<String>,
}

struct Planned {
    name: String,
    tensor: Tensor,
    dtype: &'static BurnType,
    start: u64,
}

impl Planned {
    /// The bytes as Burn has them.
    fn bytes(&self) -> Result<bytes::Bytes> {
        let bytes = self.tensor.to_le_bytes()?;
        if self.dtype.size == self.tensor.dtype().size() {
            return Ok(bytes);
        }
        // The one type that is wider in Burn is the boolean of four bytes.
        Ok(bytes.iter().flat_map(|&bit| u32::from(bit != 0).to_le_bytes()).collect())
    }
}

impl Plan {
    fn of(root: &Value) -> Result<Self> {
        let Value::Dict(dict) = root else {
            return Err(Error::wrong_type("what burnpack holds", "a dict of tensors", root.describe()));
        };
        let attributes = Attributes::of(dict)?;
        let mut plan = Plan { metadata: Metadata::default(), tensors: Vec::new(), end: 0, notes: Vec::new() };
        for (key, value) in dict.entries() {
            let Some(name) = key.as_str() else {
                return Err(Error::unsupported(format!("a name that is no str ({key:?}) in burnpack")));
            };
            match &value {
                Value::Tensor(tensor) => plan.add(name, tensor, &attributes)?,
                other => match scalar(other, attributes.signed.contains_key(name)) {
                    Some(scalar) => plan.metadata.scalars.push((name.to_owned(), scalar)),
                    None => return Err(misplaced(dict, name, other)),
                },
            }
        }
        if plan.tensors.len() > MAX_TENSORS {
            let what = format!("a burnpack file of {} tensors (Burn reads {MAX_TENSORS})", plan.tensors.len());
            return Err(Error::unsupported(what));
        }
        plan.metadata.metadata = attributes.metadata;
        plan.note(&attributes.lost);
        Ok(plan)
    }

    fn add(&mut self, name: &str, tensor: &Tensor, attributes: &Attributes) -> Result<()> {
        let refuse = |what: String, advice: &str| -> Error {
            ErrorKind::Unsupported { what: format!("writing '{name}', {what}, into burnpack"), advice: advice.to_owned() }
                .into()
        };
        if tensor.storage().is_none() {
            return Err(refuse(format!("{tensor:?}"), "; only dense tensors have bytes that it can hold"));
        }
        let dtype = match attributes.dtypes.get(name) {
            Some(dtype) if dtype.dtype == tensor.dtype() => Some(*dtype),
            _ => BurnType::of(tensor.dtype()),
        };
        let Some(dtype) = dtype else {
            return Err(refuse(format!("a tensor of {}", tensor.dtype()), "; Burn has no such element type"));
        };
        let bytes = dtype.bytes_for(tensor.numel() as u64).filter(|&bytes| bytes <= MAX_TENSOR);
        let start = self.end.next_multiple_of(header::ALIGNMENT);
        let Some(end) = bytes.and_then(|bytes| start.checked_add(bytes)) else {
            return Err(refuse(format!("{tensor:?}"), "; Burn reads tensors of up to 10 GiB"));
        };
        let descriptor = Descriptor {
            dtype: Some(dtype),
            spelled: dtype.name.to_owned(),
            shape: tensor.shape().iter().map(|&n| n as u64).collect(),
            start,
            end,
            param_id: attributes.ids.get(name).copied(),
        };
        self.metadata.tensors.push((name.to_owned(), descriptor));
        self.tensors.push(Planned { name: name.to_owned(), tensor: tensor.clone(), dtype, start });
        self.end = end;
        Ok(())
    }

    /// Says what burnpack cannot keep.
    fn note(&mut self, lost: &[String]) {
        let mut storages: HashMap<usize, Vec<&str>> = HashMap::new();
        let mut views = Vec::new();
        for planned in &self.tensors {
            let Some(storage) = planned.tensor.storage().filter(|storage| !storage.is_empty()) else { continue };
            storages.entry(storage.id()).or_default().push(&planned.name);
            if !planned.tensor.is_contiguous() {
                views.push(&*planned.name);
            }
        }
        let mut shared: Vec<Vec<&str>> = storages.into_values().filter(|names| names.len() > 1).collect();
        shared.sort();
        let mut notes: Vec<String> = shared
            .iter()
            .map(|names| format!("{} share memory; burnpack holds a copy of each", listed(names)))
            .collect();
        if !views.is_empty() {
            notes.push(format!("{}: strided views, written row by row", listed(&views)));
        }
        notes.extend(lost.iter().map(|name| format!("the attribute '{name}' of the dict has no place in burnpack")));
        self.notes = notes;
    }
}

/// `'a', 'b' and 3 more`.
fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("'{name}'")).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
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

/// Something that is neither tensor nor number. Where a dict of tensors lies beside it, that is most likely what is meant.
fn misplaced(root: &Dict, name: &str, value: &Value) -> Error {
    let is_state_dict =
        |dict: &Dict| !dict.is_empty() && dict.entries().iter().all(|(_, value)| value.as_tensor().is_some());
    let inner = root.entries().into_iter().find(|(_, value)| value.as_dict().is_some_and(is_state_dict));
    let advice = match inner.as_ref().and_then(|(key, _)| key.as_str()) {
        Some(key) => format!("; it holds tensors and numbers: write '{key}' alone (--key {key})"),
        None => "; it holds tensors and numbers by name".to_owned(),
    };
    ErrorKind::Unsupported { what: format!("writing '{name}' ({}) into burnpack", value.describe()), advice }.into()
}

/// What the dict's attributes say.
#[derive(Default)]
struct Attributes {
    metadata: Vec<(String, String)>,
    ids: HashMap<String, u64>,
    dtypes: HashMap<String, &'static BurnType>,
    signed: HashMap<String, ()>,
    /// Attributes that burnpack has no place for.
    lost: Vec<String>,
}

impl Attributes {
    fn of(dict: &Dict) -> Result<Self> {
        let mut all = Attributes::default();
        let state = dict.state();
        for (key, value) in state.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default() {
            match (key.as_str(), value.as_dict()) {
                (Some(METADATA), Some(texts)) => {
                    for (key, text) in texts.entries() {
                        let (Some(key), Some(text)) = (key.as_str(), text.as_str()) else {
                            return Err(Error::wrong_type(METADATA, "a dict of str", format!("{key:?}: {text:?}")));
                        };
                        all.metadata.push((key.to_owned(), text.to_owned()));
                    }
                }
                (Some(ATTRIBUTE), Some(own)) => all.take_own(own),
                (name, _) => all.lost.push(name.map_or_else(|| format!("{key:?}"), str::to_owned)),
            }
        }
        Ok(all)
    }

    /// Of names that are not there any more, and of what is not understood, nothing is kept: these are hints.
    fn take_own(&mut self, own: &Dict) {
        let entries = |name| own.get(name).as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
        for (name, id) in entries(PARAM_IDS) {
            if let (Some(name), Some(Scalar::UInt(id))) = (name.as_str(), scalar(&id, false)) {
                self.ids.insert(name.to_owned(), id);
            }
        }
        for (name, dtype) in entries(DTYPES) {
            if let (Some(name), Some(dtype)) = (name.as_str(), dtype.as_str().and_then(BurnType::parse)) {
                self.dtypes.insert(name.to_owned(), dtype);
            }
        }
        for name in own.get(SIGNED).and_then(|names| names.items()).unwrap_or_default() {
            if let Some(name) = name.as_str() {
                self.signed.insert(name.to_owned(), ());
            }
        }
    }
}
