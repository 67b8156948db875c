//! The header of an array in NumPy's format (numpy.lib.format, NEP 1): versions 1 to 3, both ways.
//!
//! The crate npyz (0.8) reads headers, too, but none that NumPy wrote under Python 2 (`(2L, 3L)`, `u'<f4'`), and none of native
//! byte order (`=f4`); NumPy reads them all, and so does this.

use crate::container::numpy::literal::{self, Literal};
use crate::value::tensor::element_count;
use crate::{DType, Error, ErrorKind, Limits, Result};

/// The end of the names of an `.npz` archive's records.
pub(super) const EXTENSION: &str = ".npy";
/// What an array begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest prefix before a header: magic, version, length.
pub(super) const MAX_PREFIX: usize = 12;
/// A header longer than this is none of an array of numbers; NumPy itself trusts none longer than 10,000 characters.
const MAX_LEN: u64 = 1 << 20;
/// Headers are padded so that the data begins at a multiple of this.
const ALIGNMENT: usize = 64;
/// NumPy leaves space for the first dimension to grow to this many digits.
const GROWTH_DIGITS: usize = 21;

/// NumPy's spelling of the types that PyTorch has too, in little-endian.
const TYPES: [(&str, DType); 14] = [
    ("|b1", DType::Bool),
    ("|i1", DType::Int8),
    ("|u1", DType::UInt8),
    ("<i2", DType::Int16),
    ("<u2", DType::UInt16),
    ("<i4", DType::Int32),
    ("<u4", DType::UInt32),
    ("<i8", DType::Int64),
    ("<u8", DType::UInt64),
    ("<f2", DType::Float16),
    ("<f4", DType::Float32),
    ("<f8", DType::Float64),
    ("<c8", DType::Complex64),
    ("<c16", DType::Complex128),
];

/// What other types are, by their letter.
const OTHERS: [(char, &str); 8] = [
    ('U', "text"),
    ('S', "byte strings"),
    ('a', "byte strings"),
    ('O', "Python objects, which NumPy pickles"),
    ('M', "dates"),
    ('m', "time spans"),
    ('V', "raw bytes"),
    ('f', "floats of a size that PyTorch lacks"),
];

/// A header that was read.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) big_endian: bool,
    /// Whether the first dimension is the fastest.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

/// How many bytes magic, version, length and header take, told by the first [`MAX_PREFIX`] bytes.
pub(super) fn whole_len(start: &[u8], limits: &Limits) -> Result<usize> {
    let cut_off = || Error::truncated("the array's header is not whole");
    if !start.starts_with(MAGIC) {
        return Err(damaged("it does not begin as an array of NumPy's does"));
    }
    let (version, len) = match start.get(6..).unwrap_or_default() {
        [1, 0, rest @ ..] => (10, rest.first_chunk().map(|len| u64::from(u16::from_le_bytes(*len)))),
        [2 | 3, 0, rest @ ..] => (12, rest.first_chunk().map(|len| u64::from(u32::from_le_bytes(*len)))),
        [major, minor, ..] => {
            return Err(Error::unsupported(format!("version {major}.{minor} of NumPy's array format")));
        }
        _ => return Err(cut_off()),
    };
    let len = len.ok_or_else(cut_off)?;
    let limit = MAX_LEN.min(limits.value_bytes);
    match usize::try_from(len) {
        Ok(len) if len as u64 <= limit => Ok(version + len),
        _ => Err(Error::limit(format!("a header of {len} bytes"), limit)),
    }
}

/// Reads magic, version, length and header, no more and no less.
pub(super) fn parse(bytes: &[u8]) -> Result<Header> {
    // `whole_len` saw these.
    let (version, skip) = (bytes.get(6).copied().unwrap_or_default(), if bytes.get(6) == Some(&1) { 10 } else { 12 });
    let text = bytes.get(skip..).unwrap_or_default();
    let text = match version {
        3 => String::from_utf8(text.to_vec()).map_err(|_| damaged("its header is no UTF-8"))?,
        // Latin-1.
        _ => text.iter().copied().map(char::from).collect(),
    };
    let Some(Literal::Dict(entries)) = literal::parse(&text) else {
        return Err(damaged("its header is no dict of Python literals"));
    };
    let get = |wanted: &str| {
        let found = entries.iter().find(|(key, _)| matches!(key, Literal::Str(key) if key == wanted));
        found.map(|(_, value)| value)
    };
    let (Some(descr), Some(Literal::Bool(fortran)), Some(Literal::Tuple(shape)), 3) =
        (get("descr"), get("fortran_order"), get("shape"), entries.len())
    else {
        return Err(damaged("its header does not hold just descr, fortran_order and shape"));
    };
    let dimension = |n: &Literal| match n {
        Literal::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    let shape: Option<Vec<usize>> = shape.iter().map(dimension).collect();
    let shape = shape.ok_or_else(|| damaged("its shape holds something else than lengths"))?;
    let (dtype, big_endian) = dtype(descr)?;
    Ok(Header { dtype, big_endian, fortran: *fortran, shape })
}

fn dtype(descr: &Literal) -> Result<(DType, bool)> {
    let descr = match descr {
        Literal::Str(descr) => descr.as_str(),
        Literal::List(_) => {
            let error = Error::unsupported("an array of records (a structured dtype)");
            return Err(error.advise("save each of its fields as an array"));
        }
        _ => return Err(damaged("its descr is no element type")),
    };
    let (order, kind) = match descr.strip_prefix(['<', '>', '|', '=']) {
        Some(kind) => (descr.chars().next(), kind),
        None => (None, descr),
    };
    if let Some((_, dtype)) = TYPES.iter().find(|(known, _)| known.get(1..) == Some(kind)) {
        return Ok((*dtype, order == Some('>') && dtype.swap_unit() > 1));
    }
    match OTHERS.iter().find(|(letter, _)| kind.starts_with(*letter)) {
        Some((_, what)) => {
            let error = Error::unsupported(format!("an array of {what} ('{descr}')"));
            Err(error.advise("leave it out, or save it as numbers"))
        }
        None => Err(damaged("its descr is no element type")),
    }
}

impl Header {
    /// The number of bytes of the elements.
    pub(super) fn data_len(&self) -> Result<u64> {
        let len = element_count(&self.shape).and_then(|count| self.dtype.bytes_for(count));
        len.map(|len| len as u64).ok_or_else(|| damaged("its shape has more elements than can be counted"))
    }

    /// The distance between neighbours along each dimension.
    pub(super) fn stride(&self) -> Vec<usize> {
        let contiguous = crate::value::tensor::contiguous_stride;
        if !self.fortran {
            return contiguous(&self.shape);
        }
        let mut stride = contiguous(&self.shape.iter().rev().copied().collect::<Vec<_>>());
        stride.reverse();
        stride
    }
}

/// The magic, the version and the header that `np.save` writes for an array; `None` where NumPy has no such type.
pub(super) fn write(dtype: DType, fortran: bool, shape: &[usize]) -> Option<Vec<u8>> {
    let (descr, _) = TYPES.iter().find(|(_, known)| *known == dtype)?;
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    let tuple = match lengths.as_slice() {
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    };
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {tuple}, }}");
    if let Some(growing) = if fortran { lengths.last() } else { lengths.first() } {
        header.push_str(&" ".repeat(GROWTH_DIGITS.saturating_sub(growing.len())));
    }
    // Of version 1, whose length has 16 bits; that is enough for thousands of dimensions, where NumPy allows 64.
    let prefix = MAGIC.len() + 4;
    let padding = ALIGNMENT - (prefix + header.len() + 1) % ALIGNMENT;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let len = u16::try_from(header.len()).ok()?;
    Some([MAGIC, &[1, 0], &len.to_le_bytes(), header.as_bytes()].concat())
}

fn damaged(reason: &str) -> Error {
    ErrorKind::Damaged { reason: reason.to_owned() }.into()
}
