//! The header of a burnpack file: ten bytes, then CBOR that names each tensor, its type, shape and place, the metadata and
//! the scalars. (burn-pack 0.22.1, `lib.rs` and `base.rs`.)

use ciborium_ll::{Decoder, Encoder, Header as Item, simple};

use crate::container::burnpack::budget::Budget;
use crate::container::burnpack::dtype::BurnType;
use crate::{Error, ErrorKind, Limits, Result, ResultExt as _};

/// The first four bytes, little-endian.
pub(super) const MAGIC: u32 = 0x4255_524E;
/// The newest version of the format.
pub(super) const VERSION: u16 = 1;
/// Magic, version, and the metadata's length.
pub(super) const HEADER: u64 = 10;
/// The data section and each tensor begin at a multiple of this.
pub(super) const ALIGNMENT: u64 = 256;
/// How deep CBOR may nest that is skipped; burn-pack's own limit.
const DEPTH: usize = 128;

/// What the CBOR says.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// The tensors.
    pub(super) tensors: Vec<(String, Descriptor)>,
    /// Texts by name.
    pub(super) texts: Vec<(String, String)>,
    /// Numbers by name.
    pub(super) scalars: Vec<(String, Scalar)>,
}

/// What the CBOR says of one tensor.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// `None` for a quantised type, or one that is not known.
    pub(super) dtype: Option<&'static BurnType>,
    /// The type as it is spelled.
    pub(super) spelled: String,
    pub(super) shape: Vec<u64>,
    /// Its first byte in the data section, and the one after its last.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) param_id: Option<u64>,
}

/// A number in a burnpack file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Int(i64),
    UInt(u64),
    Float(f64),
    Bool(bool),
}

/// Reads the CBOR.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Metadata> {
    let mut reader = Reader { decoder: Decoder::from(bytes), budget: Budget::new(limits) };
    let mut metadata = Metadata::default();
    let mut seen = [false; 3];
    let mut found_tensors = false;
    let len = reader.map("the metadata")?;
    reader.items(len, |reader| {
        let key = reader.text()?;
        let known_key = ["tensors", "metadata", "scalars"].iter().position(|known| *known == key);
        if let Some(seen) = known_key.and_then(|known_key| seen.get_mut(known_key))
            && std::mem::replace(seen, true)
        {
            return Err(reader.wrong(&format!("'{key}' stands there twice")));
        }
        match known_key {
            Some(0) => {
                found_tensors = true;
                reader.entries(&mut metadata.tensors, Reader::descriptor)
            }
            Some(1) => reader.entries(&mut metadata.texts, Reader::text),
            Some(2) => reader.entries(&mut metadata.scalars, Reader::scalar),
            _ => reader.skip(DEPTH),
        }
    })?;
    if found_tensors { Ok(metadata) } else { Err(reader.wrong("there is no table of tensors")) }
}

struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    budget: Budget<'a>,
}

impl Reader<'_> {
    fn wrong(&mut self, reason: &str) -> Error {
        Error::damaged(format_args!("byte {}", HEADER + self.decoder.offset() as u64), reason)
    }

    fn pull(&mut self) -> Result<Item> {
        self.decoder.pull().map_err(cbor)
    }

    /// Goes through a map's or an array's items; `each` takes one item.
    fn items(&mut self, len: Option<usize>, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut left = len;
        loop {
            match &mut left {
                Some(0) => return Ok(()),
                Some(left) => *left -= 1,
                None => match self.pull()? {
                    Item::Break => return Ok(()),
                    item => self.decoder.push(item),
                },
            }
            self.budget.value()?;
            each(self)?;
        }
    }

    fn map(&mut self, what: &str) -> Result<Option<usize>> {
        match self.pull()? {
            Item::Map(len) => Ok(len),
            _ => Err(self.wrong(&format!("{what} is no map"))),
        }
    }

    /// A map from names to something; each name once.
    fn entries<T>(&mut self, into: &mut Vec<(String, T)>, value: fn(&mut Self) -> Result<T>) -> Result<()> {
        let len = self.map("a table")?;
        self.items(len, |reader| {
            let name = reader.text()?;
            let value = value(reader).at(format_args!("'{name}'"))?;
            into.push((name, value));
            Ok(())
        })?;
        into.sort_by(|(a, _), (b, _)| a.cmp(b));
        match into.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            Some([(name, _), ..]) => Err(self.wrong(&format!("'{name}' stands there twice"))),
            _ => Ok(()),
        }
    }

    fn text(&mut self) -> Result<String> {
        let Item::Text(len) = self.pull()? else { return Err(self.wrong("a text is expected here")) };
        let mut text = String::new();
        let mut buffer = [0; 1024];
        let mut segments = self.decoder.text(len);
        while let Some(mut segment) = segments.pull().map_err(cbor)? {
            while let Some(chunk) = segment.pull(&mut buffer).map_err(cbor)? {
                self.budget.bytes(chunk.len() as u64)?;
                text.push_str(chunk);
            }
        }
        Ok(text)
    }

    fn unsigned(&mut self) -> Result<u64> {
        match self.pull()? {
            Item::Positive(number) => Ok(number),
            _ => Err(self.wrong("a number that is not negative is expected here")),
        }
    }

    fn descriptor(&mut self) -> Result<Descriptor> {
        let (mut dtype, mut shape, mut offsets, mut param_id) = (None, None, None, None);
        let len = self.map("the descriptor")?;
        self.items(len, |reader| {
            match &*reader.text()? {
                "dtype" => dtype = Some(reader.dtype()?),
                "shape" => shape = Some(reader.numbers()?),
                "data_offsets" => offsets = Some(reader.numbers()?),
                "param_id" => param_id = reader.optional()?,
                _ => reader.skip(DEPTH)?,
            }
            Ok(())
        })?;
        match (dtype, shape, offsets.as_deref()) {
            (Some((dtype, spelled)), Some(shape), Some(&[start, end])) => {
                Ok(Descriptor { dtype, spelled, shape, start, end, param_id })
            }
            _ => Err(self.wrong("it has no dtype, no shape or no pair of data_offsets")),
        }
    }

    fn numbers(&mut self) -> Result<Vec<u64>> {
        let Item::Array(len) = self.pull()? else { return Err(self.wrong("a list of numbers is expected here")) };
        let mut numbers = Vec::new();
        self.items(len, |reader| {
            numbers.push(reader.unsigned()?);
            Ok(())
        })?;
        Ok(numbers)
    }

    fn optional(&mut self) -> Result<Option<u64>> {
        match self.pull()? {
            Item::Positive(number) => Ok(Some(number)),
            Item::Simple(simple::NULL | simple::UNDEFINED) => Ok(None),
            _ => Err(self.wrong("a number that is not negative is expected here")),
        }
    }

    /// A unit variant is its name, any other a map of one entry.
    fn dtype(&mut self) -> Result<(Option<&'static BurnType>, String)> {
        let item = self.pull()?;
        self.decoder.push(item);
        if let Item::Text(_) = item {
            let name = self.text()?;
            return Ok((BurnType::find(&name, None), name));
        }
        let (mut name, mut store) = (String::new(), None);
        let len = self.map("the dtype")?;
        self.items(len, |reader| {
            name = reader.text()?;
            let item = reader.pull()?;
            reader.decoder.push(item);
            match item {
                Item::Text(_) => store = Some(reader.text()?),
                _ => reader.skip(DEPTH)?,
            }
            Ok(())
        })?;
        let dtype = store.as_deref().and_then(|store| BurnType::find(&name, Some(store)));
        Ok((dtype, name))
    }

    fn scalar(&mut self) -> Result<Scalar> {
        let mut scalar = None;
        let len = self.map("a scalar")?;
        self.items(len, |reader| {
            let kind = reader.text()?;
            let item = reader.pull()?;
            scalar = match (&*kind, item) {
                ("Int", Item::Positive(number)) => i64::try_from(number).ok().map(Scalar::Int),
                // CBOR keeps -1 - n as n.
                ("Int", Item::Negative(number)) => i64::try_from(number).ok().map(|number| Scalar::Int(!number)),
                ("UInt", Item::Positive(number)) => Some(Scalar::UInt(number)),
                ("Float", Item::Float(number)) => Some(Scalar::Float(number)),
                ("Bool", Item::Simple(simple::FALSE)) => Some(Scalar::Bool(false)),
                ("Bool", Item::Simple(simple::TRUE)) => Some(Scalar::Bool(true)),
                _ => None,
            };
            if scalar.is_some() { Ok(()) } else { Err(reader.wrong("it is no Int, UInt, Float or Bool")) }
        })?;
        scalar.ok_or_else(|| self.wrong("it is empty"))
    }

    /// Leaves out one item, whatever it is.
    fn skip(&mut self, depth: usize) -> Result<()> {
        let Some(inside) = depth.checked_sub(1) else { return Err(self.wrong("it nests too deep")) };
        match self.pull()? {
            Item::Array(len) => self.items(len, |reader| reader.skip(inside)),
            Item::Map(len) => self.items(len, |reader| {
                reader.skip(inside)?;
                reader.skip(inside)
            }),
            Item::Tag(_) => self.skip(inside),
            Item::Text(len) => {
                self.decoder.push(Item::Text(len));
                self.text().map(drop)
            }
            Item::Bytes(len) => {
                let mut buffer = [0; 1024];
                let mut segments = self.decoder.bytes(len);
                while let Some(mut segment) = segments.pull().map_err(cbor)? {
                    while segment.pull(&mut buffer).map_err(cbor)?.is_some() {}
                }
                Ok(())
            }
            Item::Break => Err(self.wrong("a list ends that never began")),
            _ => Ok(()),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn cbor<E>(error: ciborium_ll::Error<E>) -> Error {
    match error {
        ciborium_ll::Error::Io(_) => {
            let reason = "it goes on beyond the length that the header gives".to_owned();
            ErrorKind::Damaged { reason }.into()
        }
        ciborium_ll::Error::Syntax(offset) => {
            Error::damaged(format_args!("byte {}", HEADER + offset as u64), "this is no CBOR")
        }
    }
}

/// Writes the CBOR as burn-pack's serde does: names are sorted; a missing id, empty metadata and scalars are left out.
pub(super) fn write(metadata: &mut Metadata) -> Result<Vec<u8>> {
    metadata.tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    metadata.texts.sort();
    metadata.scalars.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut bytes = Vec::new();
    Writer { encoder: Encoder::from(&mut bytes) }.metadata(metadata)?;
    Ok(bytes)
}

struct Writer<'a> {
    encoder: Encoder<&'a mut Vec<u8>>,
}

impl Writer<'_> {
    fn item(&mut self, item: Item) -> Result<()> {
        self.encoder.push(item).map_err(|_| Error::unsupported("a header that does not fit in memory"))
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.encoder.text(text, None).map_err(|_| Error::unsupported("a header that does not fit in memory"))
    }

    fn metadata(&mut self, metadata: &Metadata) -> Result<()> {
        let tables = 1 + usize::from(!metadata.texts.is_empty()) + usize::from(!metadata.scalars.is_empty());
        self.item(Item::Map(Some(tables)))?;
        self.table("tensors", &metadata.tensors, Self::descriptor)?;
        if !metadata.texts.is_empty() {
            self.table("metadata", &metadata.texts, |writer, text| writer.text(text))?;
        }
        if !metadata.scalars.is_empty() {
            self.table("scalars", &metadata.scalars, |writer, &scalar| writer.scalar(scalar))?;
        }
        Ok(())
    }

    fn table<T>(&mut self, name: &str, entries: &[(String, T)], each: fn(&mut Self, &T) -> Result<()>) -> Result<()> {
        self.text(name)?;
        self.item(Item::Map(Some(entries.len())))?;
        entries.iter().try_for_each(|(name, value)| {
            self.text(name)?;
            each(self, value)
        })
    }

    fn descriptor(&mut self, tensor: &Descriptor) -> Result<()> {
        self.item(Item::Map(Some(3 + usize::from(tensor.param_id.is_some()))))?;
        self.text("dtype")?;
        let store = tensor.dtype.and_then(|dtype| dtype.store);
        if store.is_some() {
            self.item(Item::Map(Some(1)))?;
        }
        self.text(&tensor.spelled)?;
        store.map_or(Ok(()), |store| self.text(store))?;
        self.text("shape")?;
        self.numbers(&tensor.shape)?;
        self.text("data_offsets")?;
        self.numbers(&[tensor.start, tensor.end])?;
        if let Some(id) = tensor.param_id {
            self.text("param_id")?;
            self.item(Item::Positive(id))?;
        }
        Ok(())
    }

    fn numbers(&mut self, numbers: &[u64]) -> Result<()> {
        self.item(Item::Array(Some(numbers.len())))?;
        numbers.iter().try_for_each(|&number| self.item(Item::Positive(number)))
    }

    fn scalar(&mut self, scalar: Scalar) -> Result<()> {
        let (kind, item) = match scalar {
            // CBOR keeps -1 - n as n, which is the number with all its bits inverted.
            Scalar::Int(number) => {
                ("Int", u64::try_from(number).map_or(Item::Negative((!number).cast_unsigned()), Item::Positive))
            }
            Scalar::UInt(number) => ("UInt", Item::Positive(number)),
            Scalar::Float(number) => ("Float", Item::Float(number)),
            Scalar::Bool(bit) => ("Bool", Item::Simple(if bit { simple::TRUE } else { simple::FALSE })),
        };
        self.item(Item::Map(Some(1)))?;
        self.text(kind)?;
        self.item(item)
    }
}
