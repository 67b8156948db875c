//! The names of element types: `torch.float32` and the like, and the classes of storages.

use crate::{DType, Global};

/// The element types that have no storage class in Python, as TorchScript's own pickler spells theirs.
const CPP_STORAGES: &[(&str, DType)] = &[
    ("ComplexHalfStorage", DType::Complex32),
    ("BComplex32Storage", DType::BComplex32),
    ("Float8_e5m2Storage", DType::Float8E5M2),
    ("Float8_e4m3fnStorage", DType::Float8E4M3Fn),
    ("Float8_e5m2fnuzStorage", DType::Float8E5M2Fnuz),
    ("Float8_e4m3fnuzStorage", DType::Float8E4M3Fnuz),
    ("Float8_e8m0fnuStorage", DType::Float8E8M0Fnu),
    ("Float4_e2m1fn_x2Storage", DType::Float4E2M1FnX2),
    ("UInt16Storage", DType::UInt16),
    ("UInt32Storage", DType::UInt32),
    ("UInt64Storage", DType::UInt64),
    ("Bits8Storage", DType::Bits8),
    ("Bits16Storage", DType::Bits16),
    ("Bits1x8Storage", DType::Bits1x8),
    ("Bits2x4Storage", DType::Bits2x4),
    ("Bits4x2Storage", DType::Bits4x2),
];

/// The element type that a name in module `torch` stands for.
pub(crate) fn dtype(module: &str, name: &str) -> Option<DType> {
    if module != "torch" {
        return None;
    }
    DType::ALL.iter().copied().find(|dtype| dtype.name() == name)
}

/// The element type of a storage class such as `torch.FloatStorage` or `torch.cuda.FloatStorage`: `Some(None)` for the
/// untyped one, `None` where it is no storage class.
pub(crate) fn storage_class(class: &Global) -> Option<Option<DType>> {
    match &*class.name {
        "UntypedStorage" => Some(None),
        name => {
            let cpp = || CPP_STORAGES.iter().find(|row| row.0 == name).map(|row| row.1);
            DType::from_storage_class(name).or_else(cpp).map(Some)
        }
    }
}
