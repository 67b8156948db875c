//! Reading a tensor's elements: in row-major order whatever its strides, as bytes or as Rust numbers.

use bytes::Bytes;

use crate::value::tensor::TensorData;
use crate::{DType, Element, Error, ErrorKind, Result, Tensor};

/// An expanded tensor (stride 0) can be larger than its storage; beyond this many bytes it is not written out.
const EXPANDED_LIMIT: u64 = 16 << 30;

impl Tensor {
    /// The elements in row-major order, little-endian, with the conjugate and negative bits applied. No copy when the
    /// tensor lies so already. Of a distributed tensor, those of the whole, where one process held it.
    ///
    /// # Errors
    /// When the storage cannot be read or fails its checksum; for meta, sparse and nested tensors, parts of distributed ones and
    /// other subclasses without elements of their own, which have no such bytes;
    /// for packed elements (`quint4x2`, `quint2x4`) that are not contiguous from the storage's start.
    pub fn to_le_bytes(&self) -> Result<Bytes> {
        let TensorData::Strided { storage, offset, stride } = &self.parts().data else {
            return match self.whole_local() {
                Some(local) => local.to_le_bytes(),
                None => Err(Error::unsupported(format!("reading the elements of {self:?}"))),
            };
        };
        let size = self.dtype().size();
        let Some(wanted) = self.dtype().bytes_for(self.numel()) else {
            let reason = "it has more bytes than can be counted".to_owned();
            return Err(ErrorKind::InvalidTensor { tensor: format!("{self:?}"), reason }.into());
        };
        let all = storage.bytes()?;
        let plain = if self.is_contiguous() && (self.dtype().packed() == 1 || *offset == 0) {
            let start = if wanted == 0 { 0 } else { offset * size };
            // `Tensor::new` checked that the view ends inside its storage.
            all.slice(start..start + wanted)
        } else if self.dtype().packed() != 1 {
            return Err(Error::unsupported(format!("reading a strided view of packed elements ({self:?})")));
        } else {
            if wanted as u64 > storage.len().max(EXPANDED_LIMIT) {
                return Err(Error::limit(format!("writing out {self:?}, an expanded view,"), EXPANDED_LIMIT));
            }
            Bytes::from(gather(&all, self.shape(), stride, *offset, size))
        };
        Ok(self.apply_bits(plain))
    }

    /// The elements in row-major order, as they are.
    ///
    /// # Errors
    /// As [`Tensor::to_le_bytes`], and when the tensor is of another element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.dtype() != T::DTYPE {
            return Err(Error::wrong_type("a tensor", T::DTYPE.name(), self.dtype().name()));
        }
        Ok(T::from_le_slice(&self.to_le_bytes()?))
    }

    /// The elements in row-major order as doubles: every real type of PyTorch's but the packed and 8-bit float ones.
    /// `uint64` and `int64` beyond 2^53 are rounded.
    ///
    /// # Errors
    /// As [`Tensor::to_le_bytes`], and for element types that are no real numbers.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        let bytes = self.to_le_bytes()?;
        #[allow(clippy::cast_precision_loss)]
        Ok(match self.dtype() {
            DType::Float64 => f64::from_le_slice(&bytes),
            DType::Float32 => convert(&bytes, |x: f32| f64::from(x)),
            DType::Float16 => convert(&bytes, |x: half::f16| x.to_f64()),
            DType::BFloat16 => convert(&bytes, |x: half::bf16| x.to_f64()),
            DType::Int64 => convert(&bytes, |x: i64| x as f64),
            DType::UInt64 => convert(&bytes, |x: u64| x as f64),
            DType::Int32 | DType::QInt32 => convert(&bytes, |x: i32| f64::from(x)),
            DType::UInt32 => convert(&bytes, |x: u32| f64::from(x)),
            DType::Int16 => convert(&bytes, |x: i16| f64::from(x)),
            DType::UInt16 => convert(&bytes, |x: u16| f64::from(x)),
            DType::Int8 | DType::QInt8 => convert(&bytes, |x: i8| f64::from(x)),
            DType::UInt8 | DType::QUInt8 => convert(&bytes, |x: u8| f64::from(x)),
            DType::Bool => convert(&bytes, |x: bool| f64::from(u8::from(x))),
            other => return Err(Error::unsupported(format!("reading {other} elements as numbers"))),
        })
    }

    /// The one element of a tensor that holds one, as a double (`tensor.item()`).
    ///
    /// # Errors
    /// When it holds more or fewer, or no real number.
    pub fn item(&self) -> Result<f64> {
        match self.to_f64_vec()?.as_slice() {
            [x] => Ok(*x),
            _ => Err(Error::wrong_type("a tensor", "one element", format!("{self:?}"))),
        }
    }

    /// Applies the conjugate and negative bits: both only flip signs.
    fn apply_bits(&self, plain: Bytes) -> Bytes {
        let parts = self.parts();
        if !parts.conj && !parts.neg {
            return plain;
        }
        let unit = self.dtype().swap_unit();
        let mut bytes = plain.to_vec();
        for (i, number) in bytes.chunks_exact_mut(unit).enumerate() {
            let imaginary = self.dtype().is_complex() && i % 2 == 1;
            if parts.neg != (parts.conj && imaginary)
                && let Some(top) = number.last_mut()
            {
                *top ^= 0x80;
            }
        }
        Bytes::from(bytes)
    }
}

fn convert<T: Element>(bytes: &[u8], to_f64: impl Fn(T) -> f64) -> Vec<f64> {
    T::from_le_slice(bytes).into_iter().map(to_f64).collect()
}

/// Copies the elements of a view that `Tensor::new` has checked into row-major order.
fn gather(all: &[u8], shape: &[usize], stride: &[usize], offset: usize, size: usize) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(count * size);
    let (Some(&inner), Some(&step)) = (shape.last(), stride.last()) else {
        return all[offset * size..][..size].to_vec();
    };
    let outer = shape.len() - 1;
    let mut index = vec![0_usize; outer];
    let mut start = offset;
    for _ in 0..count.checked_div(inner).unwrap_or(0) {
        if step == 1 {
            out.extend_from_slice(&all[start * size..][..inner * size]);
        } else {
            for i in 0..inner {
                out.extend_from_slice(&all[(start + i * step) * size..][..size]);
            }
        }
        for d in (0..outer).rev() {
            index[d] += 1;
            start += stride[d];
            if index[d] < shape[d] {
                break;
            }
            start -= stride[d] * shape[d];
            index[d] = 0;
        }
    }
    out
}

/// A little-endian float of 16, 32 or 64 bits.
pub(crate) fn float_from_le(bytes: &[u8]) -> Option<f64> {
    Some(match bytes.len() {
        2 => half::f16::from_le_bytes(bytes.try_into().ok()?).to_f64(),
        4 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        8 => f64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}
