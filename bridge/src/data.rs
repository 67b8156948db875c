//! Between PyTorch's tensors and Burn's `TensorData`: the same elements, row-major, on the host.

use burn::tensor::{BoolStore, DType as BurnDType, TensorData};
use bytes::Bytes;
use half::{bf16, f16};

use rekindle_recorder::{DType, Element, Error, ErrorKind, Result, Tensor};

/// The elements of a tensor as Burn takes them: row-major, of the same element type.
///
/// # Errors
/// As [`Tensor::to_le_bytes`]; and for element types that Burn has no tensors of (complex, 8-bit float, quantised, bits).
pub fn tensor_to_data(tensor: &Tensor) -> Result<TensorData> {
    elements_to_data(tensor.dtype(), tensor.shape(), &tensor.to_le_bytes()?)
}

/// The tensor of these elements: contiguous, on the CPU, asking for no gradient. The bytes are not copied.
///
/// # Errors
/// For Burn's quantised data, which lies in no way that PyTorch has.
pub fn data_to_tensor(data: TensorData) -> Result<Tensor> {
    let (dtype, shape) = (torch_dtype(data.dtype())?, data.shape().as_slice().to_vec());
    let bytes = match data.dtype() {
        // Some backends keep a bool in four bytes.
        BurnDType::Bool(BoolStore::U32) => {
            data.as_bytes().chunks_exact(4).map(|word| u8::from(word.iter().any(|&byte| byte != 0))).collect()
        }
        _ if cfg!(target_endian = "little") => Bytes::from_owner(Elements(data.into_bytes())),
        _ => {
            let mut bytes = data.as_bytes().to_vec();
            bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
            bytes.into()
        }
    };
    Tensor::from_le_bytes(dtype, &shape, bytes)
}

/// Burn's buffer, as the owner of the bytes.
struct Elements(burn::tensor::Bytes);

impl AsRef<[u8]> for Elements {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Row-major little-endian elements as Burn takes them. `bytes` must be as long as the shape says.
pub(super) fn elements_to_data(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<TensorData> {
    macro_rules! data {
        ($($dtype:ident => $ty:ty),* $(,)?) => {
            match dtype {
                $(DType::$dtype => TensorData::new(<$ty>::from_le_slice(bytes), shape.to_vec()),)*
                other => return Err(unsupported(&format!("a Burn tensor of {other}"))),
            }
        };
    }
    if rekindle_recorder::tensor::element_count(shape).and_then(|count| dtype.bytes_for(count)) != Some(bytes.len()) {
        return Err(Error::invalid_tensor(
            format!("a tensor of {dtype} {shape:?}"),
            format!("it has {} bytes", bytes.len()),
        ));
    }
    Ok(data! {
        Float64 => f64, Float32 => f32, Float16 => f16, BFloat16 => bf16,
        Int64 => i64, Int32 => i32, Int16 => i16, Int8 => i8,
        UInt64 => u64, UInt32 => u32, UInt16 => u16, UInt8 => u8, Bool => bool,
    })
}

/// PyTorch's name of a Burn element type.
pub(super) fn torch_dtype(dtype: BurnDType) -> Result<DType> {
    Ok(match dtype {
        BurnDType::F64 => DType::Float64,
        // The host's copy of a flex32 tensor is single precision.
        BurnDType::F32 | BurnDType::Flex32 => DType::Float32,
        BurnDType::F16 => DType::Float16,
        BurnDType::BF16 => DType::BFloat16,
        BurnDType::I64 => DType::Int64,
        BurnDType::I32 => DType::Int32,
        BurnDType::I16 => DType::Int16,
        BurnDType::I8 => DType::Int8,
        BurnDType::U64 => DType::UInt64,
        BurnDType::U32 => DType::UInt32,
        BurnDType::U16 => DType::UInt16,
        BurnDType::U8 => DType::UInt8,
        BurnDType::Bool(_) => DType::Bool,
        BurnDType::QFloat(_) => return Err(unsupported("a quantised Burn tensor")),
    })
}

/// Burn's name of an element type that [`elements_to_data`] takes.
pub(super) fn burn_dtype(dtype: DType) -> Option<BurnDType> {
    Some(match dtype {
        DType::Float64 => BurnDType::F64,
        DType::Float32 => BurnDType::F32,
        DType::Float16 => BurnDType::F16,
        DType::BFloat16 => BurnDType::BF16,
        DType::Int64 => BurnDType::I64,
        DType::Int32 => BurnDType::I32,
        DType::Int16 => BurnDType::I16,
        DType::Int8 => BurnDType::I8,
        DType::UInt64 => BurnDType::U64,
        DType::UInt32 => BurnDType::U32,
        DType::UInt16 => BurnDType::U16,
        DType::UInt8 => BurnDType::U8,
        DType::Bool => BurnDType::Bool(BoolStore::Native),
        _ => return None,
    })
}

fn unsupported(what: &str) -> Error {
    let advice = "; PyTorch and Burn share float64, float32, float16, bfloat16, the integers and bool".to_owned();
    ErrorKind::Unsupported { what: what.to_owned(), advice }.into()
}

/// A tensor with its elements converted, as `Tensor.copy_` converts them; the handle itself where nothing changes.
/// `float64` reaches the 16-bit types by way of `float32`, as in PyTorch.
///
/// # Errors
/// When it cannot be read, is no tensor of real numbers, or holds a number that the integer type `to` does not have.
pub(super) fn cast(tensor: &Tensor, to: DType) -> Result<Tensor> {
    let from = tensor.dtype();
    if from == to {
        return Ok(tensor.clone());
    }
    let bytes = tensor.to_le_bytes()?;
    let converted = if from.is_floating_point() && to.is_floating_point() {
        floats(from, to, &bytes)
    } else {
        numbers(from, &bytes).and_then(|numbers| from_numbers(to, numbers.into_iter()))
    };
    match converted {
        Some(bytes) => Tensor::from_le_bytes(to, tensor.shape(), bytes),
        None => Err(ErrorKind::Invalid(format!("its {from} elements cannot be taken as {to}")).into()),
    }
}

/// Between floating-point types; each pair but the one that is none goes through `float32` without further rounding.
fn floats(from: DType, to: DType, bytes: &[u8]) -> Option<Vec<u8>> {
    let singles: Vec<f32> = match from {
        #[allow(clippy::cast_possible_truncation)] // rounding to single precision is what is asked for
        DType::Float64 => f64::from_le_slice(bytes).into_iter().map(|x| x as f32).collect(),
        DType::Float32 => f32::from_le_slice(bytes),
        DType::Float16 => f16::from_le_slice(bytes).into_iter().map(f16::to_f32).collect(),
        DType::BFloat16 => bf16::from_le_slice(bytes).into_iter().map(bf16::to_f32).collect(),
        _ => return None,
    };
    Some(match to {
        DType::Float64 => f64::to_le_vec(&singles.into_iter().map(f64::from).collect::<Vec<_>>()),
        DType::Float32 => f32::to_le_vec(&singles),
        DType::Float16 => f16::to_le_vec(&singles.into_iter().map(f16::from_f32).collect::<Vec<_>>()),
        DType::BFloat16 => bf16::to_le_vec(&singles.into_iter().map(bf16::from_f32).collect::<Vec<_>>()),
        _ => return None,
    })
}

/// A real number on its way from one element type to another.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Integer(i128),
}

fn numbers(from: DType, bytes: &[u8]) -> Option<Vec<Number>> {
    macro_rules! read {
        (float: $($float:ident => $f:ty),*; integer: $($integer:ident => $i:ty),* $(,)?) => {
            match from {
                $(DType::$float => <$f>::from_le_slice(bytes).into_iter().map(|x| Number::Float(x.into())).collect(),)*
                $(DType::$integer => <$i>::from_le_slice(bytes).into_iter().map(|x| Number::Integer(x.into())).collect(),)*
                _ => return None,
            }
        };
    }
    Some(read! {
        float: Float64 => f64, Float32 => f32, Float16 => f16, BFloat16 => bf16;
        integer: Int64 => i64, Int32 => i32, Int16 => i16, Int8 => i8,
        UInt64 => u64, UInt32 => u32, UInt16 => u16, UInt8 => u8, Bool => bool,
    })
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // rounding is what a cast to float is
fn from_numbers(to: DType, numbers: impl Iterator<Item = Number>) -> Option<Vec<u8>> {
    macro_rules! integers {
        ($ty:ty) => {
            numbers
                .map(|number| match number {
                    Number::Integer(i) => <$ty>::try_from(i).ok(),
                    // Towards zero, as C converts. (No f64 within i128's range is lost on the way.)
                    Number::Float(x) if x.is_finite() && x.abs() < 1e30 => <$ty>::try_from(x as i128).ok(),
                    Number::Float(_) => None,
                })
                .collect::<Option<Vec<$ty>>>()
                .map(|all| <$ty>::to_le_vec(&all))
        };
    }
    let float = |number| match number {
        Number::Float(x) => x as f32,
        Number::Integer(i) => i as f32,
    };
    match to {
        DType::Float64 => {
            let doubles = numbers.map(|number| match number {
                Number::Float(x) => x,
                Number::Integer(i) => i as f64,
            });
            Some(f64::to_le_vec(&doubles.collect::<Vec<_>>()))
        }
        DType::Float32 => Some(f32::to_le_vec(&numbers.map(float).collect::<Vec<_>>())),
        DType::Float16 => Some(f16::to_le_vec(&numbers.map(|n| f16::from_f32(float(n))).collect::<Vec<_>>())),
        DType::BFloat16 => Some(bf16::to_le_vec(&numbers.map(|n| bf16::from_f32(float(n))).collect::<Vec<_>>())),
        DType::Int64 => integers!(i64),
        DType::Int32 => integers!(i32),
        DType::Int16 => integers!(i16),
        DType::Int8 => integers!(i8),
        DType::UInt64 => integers!(u64),
        DType::UInt32 => integers!(u32),
        DType::UInt16 => integers!(u16),
        DType::UInt8 => integers!(u8),
        DType::Bool => {
            let truths = numbers.map(|number| match number {
                Number::Float(x) => x != 0.0,
                Number::Integer(i) => i != 0,
            });
            Some(bool::to_le_vec(&truths.collect::<Vec<_>>()))
        }
        _ => None,
    }
}

/// The elements of a row-major `[rows, columns]` matrix as the row-major `[columns, rows]` one.
pub(super) fn transpose(bytes: &[u8], rows: usize, columns: usize, size: usize) -> Vec<u8> {
    match size {
        1 => transpose_elements::<1>(bytes, rows, columns),
        2 => transpose_elements::<2>(bytes, rows, columns),
        4 => transpose_elements::<4>(bytes, rows, columns),
        // Nothing that Burn has tensors of is wider.
        _ => transpose_elements::<8>(bytes, rows, columns),
    }
}

fn transpose_elements<const N: usize>(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    /// A square of this many elements either way stays in the nearest cache while it is turned.
    const SQUARE: usize = 32;
    let (elements, _) = bytes.as_chunks::<N>();
    let mut out = vec![[0_u8; N]; elements.len()];
    for row_start in (0..rows).step_by(SQUARE) {
        let row_end = rows.min(row_start + SQUARE);
        for column_start in (0..columns).step_by(SQUARE) {
            for column in column_start..columns.min(column_start + SQUARE) {
                for row in row_start..row_end {
                    out[column * rows + row] = elements[row * columns + column];
                }
            }
        }
    }
    out.into_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shared_element_type_goes_to_burn_and_back() {
        let bytes: Vec<u8> = (0..48).map(|i| i % 2).collect();
        for dtype in
            "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split(' ')
        {
            let dtype: DType = dtype.parse().unwrap();
            let count = 48 / dtype.size();
            let tensor = Tensor::from_le_bytes(dtype, &[2, count / 2], bytes.clone()).unwrap();
            let data = tensor_to_data(&tensor).unwrap();
            assert_eq!(data.shape().as_slice(), tensor.shape(), "{dtype}");
            let back = data_to_tensor(data).unwrap();
            assert_eq!((back.dtype(), back.shape()), (dtype, tensor.shape()));
            assert_eq!(&*back.to_le_bytes().unwrap(), &bytes, "{dtype}");
        }
    }

    #[test]
    fn element_types_that_burn_lacks_are_refused_by_name() {
        let tensor = Tensor::from_le_bytes(DType::Complex64, &[1], vec![0; 8]).unwrap();
        let error = tensor_to_data(&tensor).unwrap_err();
        assert!(error.to_string().contains("a Burn tensor of complex64 is not supported"), "{error}");
    }

    #[test]
    fn casts_round_as_pytorch_does() {
        // 1 + 2^-11 + 2^-40: straight from double it would round up to the next half, by way of float it ties to even.
        let x = Tensor::from_vec(&[1], vec![1.0 + 2f64.powi(-11) + 2f64.powi(-40)]).unwrap();
        assert_eq!(cast(&x, DType::Float16).unwrap().to_vec::<f16>().unwrap(), [f16::ONE]);
        let x = Tensor::from_vec(&[3], vec![-1.75_f32, 0.0, 2.5]).unwrap();
        assert_eq!(cast(&x, DType::Int32).unwrap().to_vec::<i32>().unwrap(), [-1, 0, 2]);
        assert_eq!(cast(&x, DType::Bool).unwrap().to_vec::<bool>().unwrap(), [true, false, true]);
        let big = Tensor::from_vec(&[1], vec![1_i64 << 40]).unwrap();
        assert_eq!(cast(&big, DType::Float32).unwrap().to_vec::<f32>().unwrap(), [2f32.powi(40)]);
        assert_eq!(cast(&big, DType::Int32).unwrap_err().to_string(), "its int64 elements cannot be taken as int32");
    }

    #[test]
    fn a_transposed_matrix_has_each_element_at_its_mirrored_place() {
        let (rows, columns) = (37, 70);
        let elements: Vec<u16> = (0..rows * columns).map(|i| u16::try_from(i).unwrap()).collect();
        let turned = u16::from_le_slice(&transpose(&u16::to_le_vec(&elements), rows, columns, 2));
        for row in 0..rows {
            for column in 0..columns {
                assert_eq!(turned[column * rows + row], elements[row * columns + column]);
            }
        }
    }
}
