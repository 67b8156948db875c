//! Reading: the header now, a tensor when it is asked for.

use std::sync::Arc;

use indexmap::IndexMap;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::named::{self, Metadata, Slice};
use crate::container::safetensors::header::{Header, Info, MAX_LEN};
use crate::container::safetensors::ties;
use crate::container::values;
use crate::{DType, Error, FileBytes, Format, OpenOptions, Opened, Result, Tensor, Value};

impl Format {
    /// A `.safetensors` file.
    pub const SAFETENSORS: Format = Format::named("safetensors");
}

/// Whether the file looks like safetensors: the length of a header, and a header that begins as JSON does.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    let len = file.first_chunk().map(|prefix| u64::from_le_bytes(*prefix));
    let first = file.get(8..).unwrap_or_default().iter().find(|byte| !b" \t\r\n".contains(byte));
    len.is_some_and(|len| (2..=MAX_LEN).contains(&len)) && first == Some(&b'{')
}

/// Reads a file: its header now, the tensors when they are asked for. Each is a storage of its own, a slice of the file.
///
/// # Errors
/// Where the safetensors crate refuses the file: [`ErrorKind::Truncated`] when bytes are missing, [`ErrorKind::Damaged`] when
/// the header contradicts itself or the file. [`ErrorKind::Limit`] when the header names too much.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let (tensors, metadata) = read_tensors(file, options)?;
    let value = ties::restore(tensors, metadata)?;
    values::unpacked(Opened::new(Format::SAFETENSORS, value, Vec::new(), file.len() as u64), options)
}

/// The tensors and texts of a file as they stand there.
pub(crate) fn read_tensors(file: &FileBytes, options: &OpenOptions) -> Result<(IndexMap<Arc<str>, Value>, Metadata)> {
    let header = Header::read(file, &options.limits)?;
    let mut tensors = IndexMap::with_capacity(header.tensors.len());
    for (name, info) in &header.tensors {
        tensors.insert(Arc::from(name.as_str()), tensor(file, name, info, header.data)?.into());
    }
    let metadata = header.metadata.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
    Ok((tensors, metadata))
}

fn tensor(file: &FileBytes, name: &str, info: &Info, data: u64) -> Result<Tensor> {
    let mut dtype = info.kind.dtype;
    let mut shape = info.shape.clone();
    if dtype == DType::Float4E2M1FnX2 {
        match shape.last_mut() {
            Some(last) if *last % 2 == 0 => *last /= 2,
            // PyTorch, which packs pairs along the last dimension, has no tensor for it.
            _ => dtype = DType::Float4E2M1Fn,
        }
    }
    let bytes = file
        .slice(data + info.start..data + info.end)
        .ok_or_else(|| Error::damaged(format!("tensor '{name}'"), "it lies outside the file"))?;
    named::tensor(dtype, shape, Slice::new(name, bytes))
}
