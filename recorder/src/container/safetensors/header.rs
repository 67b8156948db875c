//! The JSON header of a safetensors file, accepted and refused exactly as the safetensors crate 0.8 does: entries in array
//! form, repeated names (the last one counts), unknown fields and padding pass; gaps, overlaps and trailing bytes do not.
//!
//! The crate's own reader (`SafeTensors::read_metadata`) gives the tensors in the order of their bytes, forgets that of the
//! header, which is the state dict's, and has no limits. Here entries are read one by one and unknown fields are not kept, so
//! that a header takes memory in proportion to the tensors that it names.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{DType, Error, Limits, Result};

/// The longest header that the safetensors crate reads or writes.
pub(super) const MAX_LEN: u64 = 100_000_000;
/// The header's length stands before it in this many bytes.
pub(super) const PREFIX: u64 = 8;
/// The key of the entry that is no tensor but a dict of texts.
pub(super) const METADATA: &str = "__metadata__";
/// In it, the key under which a header says what wrote it.
pub(crate) const FORMAT: &str = "format";

/// An element type of safetensors.
#[derive(Debug, PartialEq)]
pub(super) struct Type {
    /// Its name in a header.
    pub(super) name: &'static str,
    /// Bits of an element.
    pub(super) bits: usize,
    /// The type here.
    pub(super) dtype: DType,
}

macro_rules! types {
    ($($name:literal $bits:literal $dtype:expr;)*) => {
        /// All element types in the crate's order, by which tensors are laid out (the last first).
        pub(super) static TYPES: [Type; 22] = [$(Type { name: $name, bits: $bits, dtype: $dtype }),*];
    };
}

types! {
    "BOOL" 8 DType::Bool;
    // PyTorch's type is a pair of these: its last dimension is half as long.
    "F4" 4 DType::Float4E2M1FnX2;
    "F6_E2M3" 6 DType::Float6E2M3Fn;
    "F6_E3M2" 6 DType::Float6E3M2Fn;
    "U8" 8 DType::UInt8;
    "I8" 8 DType::Int8;
    "F8_E5M2" 8 DType::Float8E5M2;
    "F8_E4M3" 8 DType::Float8E4M3Fn;
    "F8_E8M0" 8 DType::Float8E8M0Fnu;
    "F8_E4M3FNUZ" 8 DType::Float8E4M3Fnuz;
    "F8_E5M2FNUZ" 8 DType::Float8E5M2Fnuz;
    "I16" 16 DType::Int16;
    "U16" 16 DType::UInt16;
    "F16" 16 DType::Float16;
    "BF16" 16 DType::BFloat16;
    "I32" 32 DType::Int32;
    "U32" 32 DType::UInt32;
    "F32" 32 DType::Float32;
    "C64" 64 DType::Complex64;
    "F64" 64 DType::Float64;
    "I64" 64 DType::Int64;
    "U64" 64 DType::UInt64;
}

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    /// The entries of `__metadata__`, in the header's order.
    pub(super) metadata: IndexMap<String, String>,
    /// The tensors, in the header's order.
    pub(super) tensors: IndexMap<String, Info>,
    /// The first byte of the data in the file.
    pub(super) data: u64,
}

/// What a header says of a tensor.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) kind: &'static Type,
    /// In elements, also for types below a byte.
    pub(super) shape: Vec<usize>,
    /// The first byte and the one after the last, counted from the start of the data.
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Header {
    /// Where the header ends, by its length, which the file begins with.
    pub(super) fn end(start: &[u8], limits: &Limits) -> Result<u64> {
        let Some(prefix) = start.first_chunk() else {
            return Err(Error::truncated(format!(
                "it has {} bytes, less than the length of a header takes",
                start.len()
            )));
        };
        let len = u64::from_le_bytes(*prefix);
        if len > MAX_LEN {
            return Err(damaged(format!("a length of {len} bytes exceeds the {MAX_LEN} that safetensors allows")));
        }
        if len > limits.value_bytes {
            return Err(Error::limit(format!("a header of {len} bytes"), limits.value_bytes));
        }
        Ok(PREFIX + len)
    }

    /// Reads and checks the header of a file of this length; `start` is what it begins with: all of the header, where the file has
    /// all of it.
    pub(super) fn read(start: &[u8], file_len: u64, limits: &Limits) -> Result<Self> {
        let data = Header::end(start, limits)?;
        let text = usize::try_from(data)
            .ok()
            .and_then(|data| start.get(8..data))
            .ok_or_else(|| Error::truncated(format!("its header ends at byte {data}, the file at byte {file_len}")))?;
        let text = std::str::from_utf8(text).map_err(|error| damaged(format!("it is no UTF-8 ({error})")))?;
        let mut budget = Budget { left: limits.values, exceeded: false };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Entries(&mut budget).deserialize(&mut json).and_then(|entries| json.end().map(|()| entries));
        if budget.exceeded {
            return Err(Error::limit("the number of entries of the header", limits.values));
        }
        let (metadata, tensors) = read.map_err(|error| damaged(format!("it is no header of safetensors ({error})")))?;
        let header = Header { metadata, tensors, data };
        header.check(file_len)?;
        Ok(header)
    }

    /// The tensors must fill the data without gap or overlap, each as its shape says.
    fn check(&self, file_len: u64) -> Result<()> {
        let mut by_offset: Vec<(&String, &Info)> = self.tensors.iter().collect();
        by_offset.sort_by_key(|(_, info)| (info.start, info.end));
        let mut expected = 0;
        for (name, info) in by_offset {
            let wrong = |reason: String| Error::damaged(format!("header, tensor '{name}'"), reason);
            if info.start != expected || info.end < info.start {
                let Info { start, end, .. } = info;
                return Err(wrong(format!(
                    "it lies at bytes {start} to {end} of the data, not from byte {expected} on"
                )));
            }
            let elements = info.shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
            let bits = elements.and_then(|elements| elements.checked_mul(info.kind.bits));
            let size = match bits {
                Some(bits) if bits % 8 == 0 => bits as u64 / 8,
                Some(_) => {
                    return Err(wrong(format!("{} elements of {:?} end inside a byte", info.kind.name, info.shape)));
                }
                None => return Err(wrong(format!("a shape of {:?} has more bytes than can be counted", info.shape))),
            };
            if info.end - info.start != size {
                let len = info.end - info.start;
                return Err(wrong(format!(
                    "{} {:?} takes {size} bytes, its place has {len}",
                    info.kind.name, info.shape
                )));
            }
            expected = info.end;
        }
        match self.data.checked_add(expected) {
            Some(end) if end == file_len => Ok(()),
            Some(end) if end < file_len => {
                Err(damaged(format!("the last tensor ends at byte {end}, and the file goes on to byte {file_len}")))
            }
            _ => {
                let end = u128::from(self.data) + u128::from(expected);
                Err(Error::truncated(format!("its tensors end at byte {end}, the file at byte {file_len}")))
            }
        }
    }
}

fn damaged(reason: String) -> Error {
    Error::damaged("header", reason)
}

/// How many entries may still come.
struct Budget {
    left: u64,
    exceeded: bool,
}

impl Budget {
    fn charge<E: de::Error>(&mut self) -> Result<(), E> {
        let Some(left) = self.left.checked_sub(1) else {
            self.exceeded = true;
            return Err(E::custom("too many entries"));
        };
        self.left = left;
        Ok(())
    }
}

/// The whole header.
struct Entries<'a>(&'a mut Budget);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = (IndexMap<String, String>, IndexMap<String, Info>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = (IndexMap<String, String>, IndexMap<String, Info>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that maps names to tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut tensors) = (None, IndexMap::new());
        while let Some(name) = map.next_key::<String>()? {
            self.0.charge()?;
            if name != METADATA {
                tensors.insert(name, map.next_value::<Info>()?);
            } else if metadata.replace(map.next_value::<Option<IndexMap<_, _>>>()?).is_some() {
                return Err(de::Error::duplicate_field(METADATA));
            }
        }
        Ok((metadata.flatten().unwrap_or_default(), tensors))
    }
}

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Info;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Info, A::Error> {
                let missing = |field| de::Error::missing_field(field);
                let kind = seq.next_element()?.ok_or_else(|| missing("dtype"))?;
                let shape = seq.next_element()?.ok_or_else(|| missing("shape"))?;
                let offsets = seq.next_element()?.ok_or_else(|| missing("data_offsets"))?;
                Ok(Info::new(kind, shape, offsets))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
                fn put<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
                    field: &mut Option<T>,
                    name: &'static str,
                    map: &mut A,
                ) -> Result<(), A::Error> {
                    match field.replace(map.next_value()?) {
                        None => Ok(()),
                        Some(_) => Err(de::Error::duplicate_field(name)),
                    }
                }

                let (mut kind, mut shape, mut offsets) = (None, None, None);
                while let Some(field) = map.next_key::<String>()? {
                    match field.as_str() {
                        "dtype" => put(&mut kind, "dtype", &mut map)?,
                        "shape" => put(&mut shape, "shape", &mut map)?,
                        "data_offsets" => put(&mut offsets, "data_offsets", &mut map)?,
                        _ => {
                            map.next_value::<Skipped>()?;
                        }
                    }
                }
                Ok(Info::new(
                    kind.ok_or_else(|| de::Error::missing_field("dtype"))?,
                    shape.ok_or_else(|| de::Error::missing_field("shape"))?,
                    offsets.ok_or_else(|| de::Error::missing_field("data_offsets"))?,
                ))
            }
        }
        deserializer.deserialize_struct("TensorInfo", &["dtype", "shape", "data_offsets"], Read)
    }
}

impl Info {
    fn new(Known(kind): Known, shape: Vec<usize>, (start, end): (usize, usize)) -> Self {
        Info { kind, shape, start: start as u64, end: end as u64 }
    }
}

/// An element type by its name.
struct Known(&'static Type);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Known;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an element type such as F32")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Known, E> {
                let found = TYPES.iter().find(|kind| kind.name == name);
                found.map(Known).ok_or_else(|| E::custom(format_args!("'{name}' is no element type of safetensors")))
            }

            /// serde's long spelling of an enum's variant, `{"F32": null}`, is accepted by the crate.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
                let Some((name, ())) = map.next_entry::<String, ()>()? else {
                    return Err(de::Error::custom("an element type is missing"));
                };
                match map.next_key::<String>()? {
                    None => self.visit_str(&name),
                    Some(_) => Err(de::Error::custom("more than one element type is given")),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

macro_rules! skipped {
    ($($visit:ident($ty:ty)),*) => { $(
        fn $visit<E>(self, _: $ty) -> Result<Skipped, E> {
            Ok(Skipped)
        }
    )* };
}

/// Any JSON value, checked and dropped. (serde's `IgnoredAny` checks less: it takes any depth and any number.)
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            skipped! { visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str) }

            fn visit_unit<E>(self) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Skipped, A::Error> {
                while seq.next_element::<Skipped>()?.is_some() {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
                while map.next_entry::<Skipped, Skipped>()?.is_some() {}
                Ok(Skipped)
            }
        }
        deserializer.deserialize_any(Read)
    }
}
