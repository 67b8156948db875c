//! `DType`: every element type that a PyTorch storage can hold, and the names PyTorch gives each of them.
//!
//! One table says it all: `torch.<name>`, the bytes of an element, the storage class that stands in a pickle (`None` where
//! PyTorch writes an `UntypedStorage` and puts the dtype into `_rebuild_tensor_v3`), and safetensors' spelling.

use std::str::FromStr;

macro_rules! dtypes {
    (
        pytorch { $($(#[$doc:meta])* $variant:ident $name:literal $size:literal $swap:literal $storage:expr;)* }
        others { $($(#[$other_doc:meta])* $other:ident $other_name:literal $other_size:literal;)* }
    ) => {
        /// The element type of a tensor, by PyTorch's name.
        ///
        /// `Display` gives PyTorch's name without `torch.` (`float32`); `FromStr` takes it with or without.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DType { $($(#[$doc])* $variant,)* $($(#[$other_doc])* $other,)* }

        impl DType {
            /// All element types of PyTorch's, in the order of the table.
            pub const ALL: &'static [DType] = &[$(DType::$variant),*];

            const fn row(self) -> Row {
                match self {
                    $(DType::$variant => Row { name: $name, size: $size, swap: $swap, storage: $storage },)*
                    $(DType::$other => Row { name: $other_name, size: $other_size, swap: 1, storage: None },)*
                }
            }

            /// Whether PyTorch has this element type. Those that it lacks come from other formats, and go to no pickle.
            #[must_use]
            pub const fn is_in_pytorch(self) -> bool {
                !matches!(self, $(DType::$other)|*)
            }
        }
    };
}

struct Row {
    name: &'static str,
    size: usize,
    swap: usize,
    storage: Option<&'static str>,
}

dtypes! {
    pytorch {
        /// IEEE double.
        Float64 "float64" 8 8 Some("DoubleStorage");
        /// IEEE single.
        Float32 "float32" 4 4 Some("FloatStorage");
        /// IEEE half.
        Float16 "float16" 2 2 Some("HalfStorage");
        /// The upper half of an IEEE single.
        BFloat16 "bfloat16" 2 2 Some("BFloat16Storage");
        /// Signed 64-bit integer.
        Int64 "int64" 8 8 Some("LongStorage");
        /// Signed 32-bit integer.
        Int32 "int32" 4 4 Some("IntStorage");
        /// Signed 16-bit integer.
        Int16 "int16" 2 2 Some("ShortStorage");
        /// Signed 8-bit integer.
        Int8 "int8" 1 1 Some("CharStorage");
        /// Unsigned 8-bit integer.
        UInt8 "uint8" 1 1 Some("ByteStorage");
        /// One byte, 0 or 1.
        Bool "bool" 1 1 Some("BoolStorage");
        /// Two doubles, real then imaginary.
        Complex128 "complex128" 16 8 Some("ComplexDoubleStorage");
        /// Two singles, real then imaginary.
        Complex64 "complex64" 8 4 Some("ComplexFloatStorage");
        /// Two halves, real then imaginary.
        Complex32 "complex32" 4 2 None;
        /// Two bfloat16, real then imaginary.
        BComplex32 "bcomplex32" 4 2 None;
        /// Five exponent bits, two of mantissa.
        Float8E5M2 "float8_e5m2" 1 1 None;
        /// Four exponent bits, three of mantissa, no infinities.
        Float8E4M3Fn "float8_e4m3fn" 1 1 None;
        /// As `float8_e5m2`, one zero and one NaN.
        Float8E5M2Fnuz "float8_e5m2fnuz" 1 1 None;
        /// As `float8_e4m3fn`, one zero and one NaN.
        Float8E4M3Fnuz "float8_e4m3fnuz" 1 1 None;
        /// Eight exponent bits: a scale.
        Float8E8M0Fnu "float8_e8m0fnu" 1 1 None;
        /// Two 4-bit floats in a byte; shapes count bytes.
        Float4E2M1FnX2 "float4_e2m1fn_x2" 1 1 None;
        /// Unsigned 16-bit integer.
        UInt16 "uint16" 2 2 None;
        /// Unsigned 32-bit integer.
        UInt32 "uint32" 4 4 None;
        /// Unsigned 64-bit integer.
        UInt64 "uint64" 8 8 None;
        /// Eight bits without a meaning.
        Bits8 "bits8" 1 1 None;
        /// Sixteen bits without a meaning.
        Bits16 "bits16" 2 2 None;
        /// Eight 1-bit fields in a byte.
        Bits1x8 "bits1x8" 1 1 None;
        /// Four 2-bit fields in a byte.
        Bits2x4 "bits2x4" 1 1 None;
        /// Two 4-bit fields in a byte.
        Bits4x2 "bits4x2" 1 1 None;
        /// Quantised signed 8-bit integer.
        QInt8 "qint8" 1 1 Some("QInt8Storage");
        /// Quantised signed 32-bit integer.
        QInt32 "qint32" 4 4 Some("QInt32Storage");
        /// Quantised unsigned 8-bit integer.
        QUInt8 "quint8" 1 1 Some("QUInt8Storage");
        /// Quantised 4-bit integers, two in a byte; shapes count elements.
        QUInt4x2 "quint4x2" 1 1 Some("QUInt4x2Storage");
        /// Quantised 2-bit integers, four in a byte; shapes count elements.
        QUInt2x4 "quint2x4" 1 1 Some("QUInt2x4Storage");
    }
    others {
        /// Two exponent bits, one of mantissa: safetensors' `F4`, where its last dimension is odd and PyTorch's pairs do not fit. Two in
        /// a byte; shapes count elements.
        Float4E2M1Fn "float4_e2m1fn" 1;
        /// Two exponent bits, three of mantissa: safetensors' `F6_E2M3`. Four in three bytes; shapes count elements.
        Float6E2M3Fn "float6_e2m3fn" 3;
        /// Three exponent bits, two of mantissa: safetensors' `F6_E3M2`. Four in three bytes; shapes count elements.
        Float6E3M2Fn "float6_e3m2fn" 3;
    }
}

impl DType {
    /// PyTorch's name without `torch.`, such as `float32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Bytes of one stored element (of one byte's worth for the packed types).
    #[must_use]
    pub const fn size(self) -> usize {
        self.row().size
    }

    /// How many consecutive elements of a shape share one stored element: 2 for `quint4x2` and single 4-bit floats, 4 for `quint2x4` and the 6-bit floats,
    /// else 1.
    #[must_use]
    pub const fn packed(self) -> usize {
        match self {
            DType::QUInt4x2 | DType::Float4E2M1Fn => 2,
            DType::QUInt2x4 | DType::Float6E2M3Fn | DType::Float6E3M2Fn => 4,
            _ => 1,
        }
    }

    /// Bytes that `elements` consecutive elements take, or `None` where that does not fit a `usize`.
    #[must_use]
    pub fn bytes_for(self, elements: usize) -> Option<usize> {
        elements.div_ceil(self.packed()).checked_mul(self.size())
    }

    /// The unit whose bytes are reversed between big and little endian: a complex element is swapped by component.
    #[must_use]
    pub const fn swap_unit(self) -> usize {
        self.row().swap
    }

    /// The class in module `torch` that PyTorch names in a storage's persistent id, such as `FloatStorage`; `None` for
    /// the types it stores untyped.
    #[must_use]
    pub const fn storage_class(self) -> Option<&'static str> {
        self.row().storage
    }

    /// The type whose storages have this class name, such as `FloatStorage`.
    #[must_use]
    pub fn from_storage_class(class: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|dtype| dtype.storage_class() == Some(class))
    }

    /// Whether the elements are real floating-point numbers of 16 bits or more, which optimizers work on.
    #[must_use]
    pub const fn is_floating_point(self) -> bool {
        matches!(self, DType::Float64 | DType::Float32 | DType::Float16 | DType::BFloat16)
    }

    /// Whether the elements are complex numbers.
    #[must_use]
    pub const fn is_complex(self) -> bool {
        matches!(self, DType::Complex128 | DType::Complex64 | DType::Complex32 | DType::BComplex32)
    }

    /// Whether the elements are quantised integers.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        matches!(self, DType::QInt8 | DType::QInt32 | DType::QUInt8 | DType::QUInt4x2 | DType::QUInt2x4)
    }
}

crate::display_is_name!(DType);

/// A name that is no element type of PyTorch's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no torch dtype; one of float32, float16, bfloat16, float64, int64, ... is expected")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let bare = name.strip_prefix("torch.").unwrap_or(name);
        // Python's second names for the same objects.
        let bare = match bare {
            "float" => "float32",
            "double" => "float64",
            "half" => "float16",
            "long" => "int64",
            "int" => "int32",
            "short" => "int16",
            "chalf" => "complex32",
            "cfloat" => "complex64",
            "cdouble" => "complex128",
            other => other,
        };
        DType::ALL.iter().copied().find(|dtype| dtype.name() == bare).ok_or_else(|| UnknownDType(name.to_owned()))
    }
}
