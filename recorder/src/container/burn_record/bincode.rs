//! Records in bincode 2 (`standard()`: little-endian, lengths and indices as variable-length integers). Such a file says
//! nothing of itself but the five texts at its beginning. What can be found in the rest are parameters: an id's text, then the
//! tensor's bytes with their length, its shape and its type, all of which must agree.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use crate::container::burn_record::param_id;
use crate::container::burn_record::record::{Record, before_014};
use crate::container::burnpack::{self, Budget, BurnType};
use crate::value::tensor::element_count;
use crate::{Dict, Error, Limits, Result, Value};

/// The texts that a record begins with.
const METADATA: [&str; 5] = ["float", "int", "format", "version", "settings"];
/// The longest of them that is believed.
const MAX_TEXT: u64 = 1024;
/// Burn's tensors have at most this many dimensions; more than its backends take.
const MAX_RANK: u64 = 16;

/// The variants of Burn's `DType` in their order, which is all that bincode keeps of them, and the releases with that order.
/// `Flex32` and `U16` came later; since 0.21 `Bool` says how it is stored.
const TYPES: [(RangeInclusive<u32>, &[&str]); 3] = [
    (14..=15, &["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U8", "Bool", "QFloat"]),
    (16..=16, &["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "Bool", "QFloat"]),
    (
        17..=u32::MAX,
        &[
            "F64", "F32", "Flex32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "Bool",
            "QFloat",
        ],
    ),
];
/// The release since which a `Bool` is followed by how it is stored, and the ways.
const STORES: (u32, [&str; 3]) = (21, ["Native", "U8", "U32"]);

/// Whether five texts stand at the beginning, and the third is the name of a recorder.
pub(super) fn detect(head: &[u8]) -> bool {
    let mut cursor = Cursor { bytes: head, at: 0 };
    header(&mut cursor).is_some_and(|texts| {
        texts.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
            && matches!(texts, [_, _, format, ..] if format.contains("Recorder"))
    })
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Option<[&'a str; 5]> {
    let mut texts = [""; 5];
    for text in &mut texts {
        let len = cursor.number().filter(|&len| len <= MAX_TEXT)?;
        *text = std::str::from_utf8(cursor.take(len)?).ok()?;
    }
    Some(texts)
}

/// Reads a record: its parameters in order, by number.
pub(super) fn read(file: &Bytes, limits: &Limits) -> Result<Value> {
    let mut budget = Budget::new(limits);
    let mut cursor = Cursor { bytes: file, at: 0 };
    let Some(texts) = header(&mut cursor) else { return Err(Error::truncated("it ends inside its metadata")) };
    let [_, _, _, version, _] = texts;
    let Some(layout) = Layout::of(version) else {
        return Err(before_014("item"));
    };
    let metadata: Dict = METADATA.into_iter().zip(texts).collect();
    let mut record = Record::new(metadata);
    let mut found = 0_usize;
    while let Some(id) = cursor.next_id() {
        let name = found.to_string();
        budget.value()?;
        budget.bytes(id.len() as u64)?;
        let here = || format!("parameter {name} (id {id}) at byte {}", cursor.at);
        let param = match Param::read(&mut cursor.clone(), &layout) {
            Ok(param) => param,
            Err(Unread::Cut) => return Err(Error::truncated(format!("it ends inside {}", here()))),
            Err(Unread::Quantised) => return Err(burnpack::quantised(&here())),
            Err(Unread::Other) if found == 0 => return Err(no_parameters()),
            Err(Unread::Other) => {
                return Err(Error::damaged(here(), "what follows its id is no tensor"));
            }
        };
        let bytes = file.slice(param.bytes.clone());
        cursor.at = param.end;
        record.insert_param(&name, id, burnpack::from_bytes(&name, param.dtype, param.shape, bytes)?)?;
        found += 1;
    }
    if cursor.ends_inside_an_id() {
        return Err(Error::truncated(format!("it ends inside the id of parameter {found}")));
    }
    if found == 0 { Err(no_parameters()) } else { Ok(record.into_value()) }
}

fn no_parameters() -> Error {
    let what = "a .bin record without parameters (an optimizer's or a scheduler's)".to_owned();
    let advice =
        "its fields have neither names nor types: save it as .mpk or .json with the Burn that wrote it".to_owned();
    Error::unsupported(what).advise(advice)
}

/// What depends on the release that wrote the file.
struct Layout {
    types: &'static [&'static str],
    stores: Option<[&'static str; 3]>,
}

impl Layout {
    /// That of a version such as `0.21.0`; `None` before 0.14, which recorded tensors without their types.
    fn of(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
        let minor = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(0), Some(minor)) => minor,
            _ => u32::MAX,
        };
        let (_, types) = TYPES.iter().find(|(minors, _)| minors.contains(&minor))?;
        Some(Layout { types, stores: (minor >= STORES.0).then_some(STORES.1) })
    }
}

struct Param {
    bytes: Range<usize>,
    shape: Vec<usize>,
    dtype: &'static BurnType,
    /// The first byte behind it.
    end: usize,
}

/// Why something behind an id is no tensor.
enum Unread {
    /// The file ends there.
    Cut,
    Quantised,
    Other,
}

impl Param {
    fn read(cursor: &mut Cursor<'_>, layout: &Layout) -> Result<Self, Unread> {
        let len = cursor.number().ok_or(Unread::Cut)?;
        let start = cursor.at;
        cursor.take(len).ok_or(Unread::Cut)?;
        let bytes = start..cursor.at;
        let rank = cursor.number().ok_or(Unread::Cut)?;
        if rank > MAX_RANK {
            return Err(Unread::Other);
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let n = cursor.number().ok_or(Unread::Cut)?;
            shape.push(usize::try_from(n).map_err(|_| Unread::Other)?);
        }
        let variant = cursor.number().ok_or(Unread::Cut)?;
        let name = *usize::try_from(variant).ok().and_then(|i| layout.types.get(i)).ok_or(Unread::Other)?;
        if name == "QFloat" {
            return Err(Unread::Quantised);
        }
        let store = match layout.stores {
            Some(stores) if name == "Bool" => {
                let variant = cursor.number().ok_or(Unread::Cut)?;
                Some(*usize::try_from(variant).ok().and_then(|i| stores.get(i)).ok_or(Unread::Other)?)
            }
            _ => None,
        };
        let dtype = BurnType::find(name, store).ok_or(Unread::Other)?;
        let wanted = element_count(&shape).and_then(|count| dtype.bytes_for(count as u64));
        if wanted != Some(bytes.len() as u64) {
            return Err(Unread::Other);
        }
        Ok(Param { bytes, shape, dtype, end: cursor.at })
    }
}

#[derive(Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(len).ok()?)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Below 251 one byte; 251, 252 and 253 announce two, four and eight. (bincode 2 specification, "`VarintEncoding`".)
    fn number(&mut self) -> Option<u64> {
        let [first] = *self.take(1)? else { return None };
        let len = match first {
            0..=250 => return Some(first.into()),
            251 => 2,
            252 => 4,
            253 => 8,
            _ => return None,
        };
        let bytes = self.take(len)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Goes behind the next text that is an id. What lies before it are the tags of options, lengths of sequences and places
    /// of variants.
    fn next_id(&mut self) -> Option<&'a str> {
        let rest = self.bytes.get(self.at..)?;
        for (skipped, &len) in rest.iter().enumerate() {
            if !param_id::LENGTHS.contains(&len) {
                continue;
            }
            let start = self.at + skipped + 1;
            let Some(text) = self.bytes.get(start..start + usize::from(len)).filter(|text| param_id::is_id(text))
            else {
                continue;
            };
            self.at = start + text.len();
            return std::str::from_utf8(text).ok();
        }
        None
    }

    /// Whether the bytes that are left end with the beginning of an id.
    fn ends_inside_an_id(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        (0..rest.len().min(usize::from(u8::MAX))).any(|digits| {
            let (front, text) = rest.split_at(rest.len() - digits);
            front.last().is_some_and(|len| param_id::LENGTHS.contains(len) && usize::from(*len) > digits)
                && text.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        })
    }
}
