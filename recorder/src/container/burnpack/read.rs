//! A burnpack file -> `Value`.

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::burnpack::attributes::{ATTRIBUTE, DTYPES, PARAM_IDS, SIGNED};
use crate::container::burnpack::dtype::BurnType;
use crate::container::burnpack::header::{self, Descriptor, Metadata, Scalar};
use crate::container::named::{self, METADATA, Slice};
use crate::value::tensor::element_count;
use crate::{Dict, Error, FileBytes, Format, OpenOptions, Opened, Result, ResultExt as _, Source, Tensor, Value};

impl Format {
    /// A `.bpk` file of Burn 0.20 and later.
    pub const BURNPACK: Format = Format::named("burnpack");
}

/// Whether it begins as a burnpack file does.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    file.starts_with(&header::MAGIC.to_le_bytes())
}

/// Reads a burnpack file; the bytes of its tensors stay where they are.
///
/// # Errors
/// [`ErrorKind::Truncated`] when it is cut off, [`ErrorKind::Damaged`] and [`ErrorKind::InvalidTensor`] when its header
/// contradicts itself or the file, [`ErrorKind::Unsupported`] for quantised tensors and for a later version of the format.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let len = file.len() as u64;
    let Some(&[_, _, _, _, v0, v1, s0, s1, s2, s3]) = file.first_chunk() else {
        return Err(Error::truncated(format!("it has {len} bytes, less than a header")));
    };
    let version = u16::from_le_bytes([v0, v1]);
    if version > header::VERSION {
        let advice = format!("version {} is the newest known here", header::VERSION);
        return Err(Error::unsupported(format!("version {version} of burnpack")).advise(advice));
    }
    let size = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
    if size > options.limits.pickle_bytes {
        return Err(Error::limit(format!("the metadata ({size} bytes)"), options.limits.pickle_bytes));
    }
    let end = header::HEADER + size;
    let Some(cbor) = file.slice(header::HEADER..end) else {
        return Err(Error::truncated(format!("its metadata should end at byte {end}, the file has {len}")));
    };
    let metadata = header::read(&cbor, &options.limits).at("the metadata")?;
    let data = if is_packed(&metadata) { end } else { end.next_multiple_of(header::ALIGNMENT) };
    let last = metadata.tensors.iter().map(|(_, tensor)| data.saturating_add(tensor.end)).fold(end, u64::max);
    let value = root(file, data, metadata)?;
    // Burn writes nothing behind the last tensor; zeros up to where another would begin are let pass.
    let behind = file.slice(last.min(len)..len).unwrap_or_default();
    if behind.len() as u64 >= header::ALIGNMENT || behind.iter().any(|&byte| byte != 0) {
        let reason = format!("the last tensor ends at byte {last}, and the file goes on to byte {len}");
        return Err(Error::damaged("the tensors", reason));
    }
    Ok(Opened::new(Format::BURNPACK, value, Vec::new(), len))
}

/// burn-store 0.19 wrote the data right behind the metadata, without padding. The files say who wrote them.
fn is_packed(metadata: &Metadata) -> bool {
    metadata.texts.iter().any(|(name, text)| name == "version" && text.starts_with("0.19."))
}

fn root(file: &FileBytes, data: u64, mut metadata: Metadata) -> Result<Value> {
    // The order of the bytes is the order in which the module was visited; the header is sorted by name.
    metadata.tensors.sort_by_key(|(_, tensor)| (tensor.start, tensor.end));
    let root = Dict::ordered();
    let (ids, dtypes, mut signed) = (Dict::new(), Dict::new(), Vec::new());
    for (name, descriptor) in metadata.tensors {
        let dtype = burn_type(&name, &descriptor)?;
        if let Some(id) = descriptor.param_id {
            ids.insert(&*name, id);
        }
        if BurnType::of(dtype.dtype) != Some(dtype) {
            dtypes.insert(&*name, dtype.to_string());
        }
        let tensor = tensor(file, data, &name, dtype, &descriptor)?;
        root.insert(name, tensor);
    }
    for (name, scalar) in metadata.scalars {
        let value = match scalar {
            Scalar::Int(number) => {
                if number >= 0 {
                    signed.push(name.clone());
                }
                Value::from(number)
            }
            Scalar::UInt(number) => number.into(),
            Scalar::Float(number) => number.into(),
            Scalar::Bool(bit) => bit.into(),
        };
        if root.insert(&*name, value).is_some() {
            let what = format!("a burnpack file with a tensor and a scalar of one name ('{name}')");
            return Err(Error::unsupported(what));
        }
    }
    let own = Dict::new();
    for (name, dict) in [(PARAM_IDS, ids), (DTYPES, dtypes)] {
        if !dict.is_empty() {
            own.insert(name, dict);
        }
    }
    if !signed.is_empty() {
        own.insert(SIGNED, signed);
    }
    let attributes = Dict::new();
    if !metadata.texts.is_empty() {
        attributes.insert(METADATA, metadata.texts.into_iter().collect::<Dict>());
    }
    if !own.is_empty() {
        attributes.insert(ATTRIBUTE, own);
    }
    if !attributes.is_empty() {
        root.write().state = Some(attributes.into());
    }
    Ok(root.into())
}

fn burn_type(name: &str, descriptor: &Descriptor) -> Result<&'static BurnType> {
    descriptor.dtype.ok_or_else(|| match &*descriptor.spelled {
        "QFloat" => quantised(name),
        other => Error::unsupported(format!("'{name}', a tensor of Burn's type {other},")),
    })
}

/// A quantised tensor of Burn's: packed integers with their scales behind them.
pub(crate) fn quantised(name: &str) -> Error {
    let advice = "dequantize the module in Burn and save it again";
    Error::unsupported(format!("'{name}', a tensor that Burn quantised (QFloat),")).advise(advice)
}

fn tensor(file: &FileBytes, data: u64, name: &str, dtype: &'static BurnType, found: &Descriptor) -> Result<Tensor> {
    let range = found
        .end
        .checked_sub(found.start)
        .and_then(|_| Some(data.checked_add(found.start)?..data.checked_add(found.end)?));
    let Some(range) = range else {
        return Err(Error::invalid_tensor(name, format!("its bytes are said to be {}..{}", found.start, found.end)));
    };
    let shape: Option<Vec<usize>> = found.shape.iter().map(|&n| usize::try_from(n).ok()).collect();
    let Some(shape) = shape else {
        return Err(Error::invalid_tensor(name, format!("its shape {:?} is too large for this machine", found.shape)));
    };
    let wanted = element_count(&shape).and_then(|count| dtype.bytes_for(count as u64));
    if wanted != Some(range.end - range.start) {
        let reason = format!("{} bytes are no {:?} of {dtype}", range.end - range.start, found.shape);
        return Err(Error::invalid_tensor(name, reason));
    }
    let Some(bytes) = file.slice(range.clone()) else {
        let reason = format!("'{name}' should end at byte {}, the file has {}", range.end, file.len());
        return Err(Error::truncated(reason));
    };
    from_bytes(name, dtype, shape, bytes)
}

/// A row-major tensor over the bytes of a Burn type, which the caller has counted.
pub(crate) fn from_bytes(
    name: &str,
    dtype: &'static BurnType,
    shape: Vec<usize>,
    bytes: bytes::Bytes,
) -> Result<Tensor> {
    let slice = Slice::new(name, bytes);
    let tensor = if dtype.size == dtype.dtype.size() {
        named::tensor(dtype.dtype, shape, slice)
    } else {
        named::tensor(dtype.dtype, shape, WideBool(slice))
    };
    tensor.at(name)
}

/// Booleans of four bytes each, as PyTorch's of one.
struct WideBool(Slice);

impl Source for WideBool {
    fn len(&self) -> u64 {
        self.0.len() / 4
    }

    fn read(&self) -> Result<bytes::Bytes> {
        Ok(self.0.read()?.chunks_exact(4).map(|bit| u8::from(bit != [0; 4])).collect())
    }

    fn name(&self) -> Option<&str> {
        self.0.name()
    }

    fn copies(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn booleans_of_four_bytes_are_read_as_pytorchs_of_one() {
        let bytes = [1_u32, 0, 1].iter().flat_map(|bit| bit.to_le_bytes()).collect::<Vec<_>>().into();
        let wide = BurnType::parse("Bool(U32)").unwrap();
        let tensor = from_bytes("mask", wide, vec![3], bytes).unwrap();
        assert_eq!(tensor.dtype(), DType::Bool);
        assert_eq!(tensor.to_vec::<bool>().unwrap(), [true, false, true]);
    }
}
