//! safetensors: a JSON header and the tensors' bytes, nothing else. Read and written by the rules of the safetensors crate
//! 0.8, which are those of its Python package too.
//!
//! **Value.** A file is an `OrderedDict` of tensors in the order of the header (files of the crate have one order
//! for header and data, which is the order of `load_file`). `__metadata__` is an attribute of that dict, a dict of texts
//! under the same name, and is written back from there; `format: pt` is added where no format is given.
//!
//! **Layout.** Tensors lie as the crate lays them out: larger element types first, then by name. The header names them
//! in the order of the state dict, so that it comes back.
//!
//! **Ties.** The format has no shared memory. Of tensors that show the same elements of one storage, the first in
//! the state dict is written, and `__metadata__` maps each other name to it, as `save_model` and `huggingface_hub` do; where
//! they are not the last of the state dict, `rekindle.places` tells their places. Reading puts them back on one
//! storage. Tensors that overlap in any other way become copies, and the report names them.

mod header;
mod ties;
mod write;

use std::sync::Arc;

use indexmap::IndexMap;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::kind::{Container, Opened};
use crate::container::named::{self, Metadata, Slice};
use crate::io::FileBytes;
use crate::options::OpenOptions;
use crate::value::tensor::{TensorParts, contiguous_stride};
use crate::{DType, Error, Result, Tensor, Value};

use header::{Header, Info, MAX_LEN};
pub(super) use ties::{record as record_ties, restore as restore_ties};
pub use write::write;
pub(super) use write::{FORMAT, File, TARGET};

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
/// the header contradicts itself or the file. [`ErrorKind::Unsupported`] for element types that PyTorch lacks,
/// [`ErrorKind::Limit`] when the header names too much.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let (tensors, metadata) = read_tensors(file, options)?;
    let value = ties::restore(tensors, metadata)?;
    Ok(Opened { container: Container::Safetensors, value, globals: Vec::new(), bytes: file.len() as u64 })
}

/// The tensors and texts of a file as they stand there.
pub(super) fn read_tensors(file: &FileBytes, options: &OpenOptions) -> Result<(IndexMap<Arc<str>, Value>, Metadata)> {
    let header = Header::read(file, &options.limits)?;
    let mut tensors = IndexMap::with_capacity(header.tensors.len());
    for (name, info) in &header.tensors {
        tensors.insert(Arc::from(name.as_str()), tensor(file, name, info, header.data)?.into());
    }
    let metadata = header.metadata.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
    Ok((tensors, metadata))
}

fn tensor(file: &FileBytes, name: &str, info: &Info, data: u64) -> Result<Tensor> {
    let Some(dtype) = info.kind.dtype else {
        let what = format!("the element type {} of tensor '{name}', which PyTorch lacks,", info.kind.name);
        return Err(Error::unsupported(what).advise("read it with the safetensors crate"));
    };
    let mut shape = info.shape.clone();
    if dtype == DType::Float4E2M1FnX2 {
        match shape.last_mut() {
            Some(last) if *last % 2 == 0 => *last /= 2,
            _ => {
                let what = format!(
                    "tensor '{name}', F4 {shape:?}: PyTorch packs pairs of 4-bit floats, and its last dimension"
                );
                return Err(Error::unsupported(format!("{what} is odd, which")));
            }
        }
    }
    let bytes = file
        .slice(data + info.start..data + info.end)
        .ok_or_else(|| Error::damaged(format!("tensor '{name}'"), "it lies outside the file"))?;
    let storage = named::storage(dtype, Slice::new(name, bytes));
    let stride = contiguous_stride(&shape);
    Tensor::new(TensorParts::strided(dtype, shape, storage, 0, stride))
}
