//! Single numbers in a wrapping: NumPy scalars, which training scripts leave in checkpoints unawares
//! (`best_acc = np.mean(...)`), and tensors of no dimensions. They are read as the plain values they stand for, and made again
//! for other numbers.

use std::sync::Arc;

use half::{bf16, f16};
use num_bigint::BigInt;

use crate::value::array_type::ArrayType;
use crate::value::tensor::{TensorData, TensorParts};
use crate::value::{ObjectData, Shared};
use crate::{DType, Result, Storage, Tensor, Value};

/// The plain value that a NumPy scalar stands for; `None` for every other value. A pickle holds such a scalar as a call of
/// `scalar` with the dtype and the bytes.
pub(crate) fn of_numpy(value: &Value) -> Option<Value> {
    let Value::Object(object) = value else { return None };
    let (dtype, bytes) = parts(&object.read())?;
    dtype.decode(&bytes)
}

/// A NumPy scalar of the same type for another number; `None` where `like` is none or the number does not fit.
pub(crate) fn numpy_like(like: &Value, number: &Value) -> Option<Value> {
    let Value::Object(object) = like else { return None };
    let data = object.read();
    let (dtype, _) = parts(&data)?;
    let name = match dtype.kind {
        'f' => "float",
        'i' => "int",
        'u' => "uint",
        _ => return None,
    };
    let mut bytes = encode(format!("{name}{}", 8 * dtype.size).parse().ok()?, number)?;
    if dtype.big_endian {
        bytes.reverse();
    }
    let args = Value::tuple([data.arguments().first()?.clone(), Value::Bytes(bytes.into())]);
    Some(Value::Object(Shared::new(ObjectData { args, ..data.clone() })))
}

fn parts(data: &ObjectData) -> Option<(ArrayType, Arc<[u8]>)> {
    let class = data.class()?;
    if &*class.name != "scalar" || !matches!(&*class.module, "numpy.core.multiarray" | "numpy._core.multiarray") {
        return None;
    }
    let [dtype, Value::Bytes(bytes)] = data.arguments() else { return None };
    let dtype = ArrayType::of(dtype)?;
    (bytes.len() == dtype.size).then(|| (dtype, bytes.clone()))
}

/// The number in a tensor of no dimensions: a bool, an integer or a float, exactly. `None` for every other tensor.
pub(crate) fn of_tensor(tensor: &Tensor) -> Option<Result<Value>> {
    if !tensor.shape().is_empty() || tensor.storage().is_none() {
        return None;
    }
    Some(match tensor.dtype() {
        dtype if dtype.is_floating_point() => tensor.item().map(Value::Float),
        DType::Bool => tensor.to_le_bytes().map(|bytes| Value::Bool(bytes.iter().any(|&byte| byte != 0))),
        DType::Int64 | DType::Int32 | DType::Int16 | DType::Int8 => {
            tensor.to_le_bytes().map(|bytes| BigInt::from_signed_bytes_le(&bytes).into())
        }
        DType::UInt64 | DType::UInt32 | DType::UInt16 | DType::UInt8 => {
            tensor.to_le_bytes().map(|bytes| BigInt::from_bytes_le(num_bigint::Sign::Plus, &bytes).into())
        }
        _ => return None,
    })
}

/// A tensor of no dimensions like this one (element type, device tag, class) for another number; `None` where `like` is none
/// or the number does not fit.
pub(crate) fn tensor_like(like: &Tensor, number: &Value) -> Option<Tensor> {
    let storage = like.storage().filter(|_| like.shape().is_empty())?;
    let bytes = encode(like.dtype(), number)?;
    let storage = Storage::from_bytes(storage.dtype(), bytes).with_location(storage.location());
    let data = TensorData::Strided { storage, offset: 0, stride: Vec::new() };
    Tensor::new(TensorParts { data, conj: false, neg: false, ..like.parts().clone() }).ok()
}

/// A number as one little-endian element; `None` where an integer does not fit.
fn encode(dtype: DType, number: &Value) -> Option<Vec<u8>> {
    #[allow(clippy::cast_possible_truncation)] // a narrower float was chosen by whoever wrote the file
    let float = || number.as_f64().map(|x| (x, x as f32));
    let signed = match dtype {
        DType::Float64 => return Some(float()?.0.to_le_bytes().to_vec()),
        DType::Float32 => return Some(float()?.1.to_le_bytes().to_vec()),
        DType::Float16 => return Some(f16::from_f64(float()?.0).to_le_bytes().to_vec()),
        DType::BFloat16 => return Some(bf16::from_f64(float()?.0).to_le_bytes().to_vec()),
        DType::Int64 | DType::Int32 | DType::Int16 | DType::Int8 => true,
        DType::UInt64 | DType::UInt32 | DType::UInt16 | DType::UInt8 => false,
        _ => return None,
    };
    let whole = number.as_i64()?;
    let kept = i128::from(whole).to_le_bytes().get(..dtype.size())?.to_vec();
    let back =
        if signed { BigInt::from_signed_bytes_le(&kept) } else { BigInt::from_bytes_le(num_bigint::Sign::Plus, &kept) };
    (back == BigInt::from(whole)).then_some(kept)
}
