//! Burn's element types: how records spell them, and PyTorch's type for each. One table; quantised types have no row.

use std::fmt;

use crate::DType;

/// A Burn element type that PyTorch has, too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BurnType {
    /// The variant's name, such as `F32`.
    pub(crate) name: &'static str,
    /// How a `Bool` is stored; `None` for all others, and for the plain `Bool` of Burn 0.20 and before.
    pub(crate) store: Option<&'static str>,
    /// PyTorch's type.
    pub(crate) dtype: DType,
    /// Bytes of one element.
    pub(crate) size: usize,
}

macro_rules! types {
    ($($name:literal $store:expr => $dtype:ident $size:literal;)*) => {
        /// All of them. The first row of a PyTorch type is the one it is written as.
        static TYPES: &[BurnType] =
            &[$(BurnType { name: $name, store: $store, dtype: DType::$dtype, size: $size },)*];
    };
}

types! {
    "F64" None => Float64 8;
    "F32" None => Float32 4;
    "Flex32" None => Float32 4;
    "F16" None => Float16 2;
    "BF16" None => BFloat16 2;
    "I64" None => Int64 8;
    "I32" None => Int32 4;
    "I16" None => Int16 2;
    "I8" None => Int8 1;
    "U64" None => UInt64 8;
    "U32" None => UInt32 4;
    "U16" None => UInt16 2;
    "U8" None => UInt8 1;
    "Bool" Some("Native") => Bool 1;
    "Bool" Some("U8") => Bool 1;
    "Bool" Some("U32") => Bool 4;
    "Bool" None => Bool 1;
}

impl BurnType {
    /// The type of this name, and of this way to store a `Bool`.
    pub(crate) fn find(name: &str, store: Option<&str>) -> Option<&'static BurnType> {
        TYPES.iter().find(|row| row.name == name && row.store == store)
    }

    /// The type that `Display` spells so, such as `F32` or `Bool(U8)`.
    pub(crate) fn parse(text: &str) -> Option<&'static BurnType> {
        match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, store)) => BurnType::find(name, Some(store)),
            None => BurnType::find(text, None),
        }
    }

    /// The type that elements of a PyTorch type are written as; `None` where Burn has none.
    pub(crate) fn of(dtype: DType) -> Option<&'static BurnType> {
        TYPES.iter().find(|row| row.dtype == dtype)
    }

    /// Bytes of so many elements, or `None` where that cannot be counted.
    pub(crate) fn bytes_for(&self, elements: u64) -> Option<u64> {
        elements.checked_mul(self.size as u64)
    }
}

impl fmt::Display for BurnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            Some(store) => write!(f, "{}({store})", self.name),
            None => f.write_str(self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_leads_back_to_its_type() {
        for row in TYPES {
            assert_eq!(BurnType::parse(&row.to_string()), Some(row));
            assert_eq!(BurnType::find(row.name, row.store), Some(row));
        }
        assert_eq!(BurnType::parse("Bool(U16)"), None);
        assert_eq!(BurnType::of(DType::Bool).unwrap().to_string(), "Bool(Native)");
        assert_eq!(BurnType::of(DType::Complex64), None);
    }
}
