//! Folders of PyTorch's `HuggingFaceStorageWriter(save_distributed=True)`: each process writes its chunks as a safetensors
//! file, `shard-00001-model-00001-of-00001.safetensors`, whose metadata say where in the tensors they belong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::container::dcp::extent::{Extent, check_tiling};
use crate::container::dcp::item::{Assembled, Piece};
use crate::container::named::{self, Metadata};
use crate::container::safetensors;
use crate::value::tensor::element_count;
use crate::{Error, FileBytes, Format, OpenOptions, Opened, Result, ResultExt as _, Tensor, Value, io};

/// The text in a file's metadata that says where its chunks begin: `{name: {"saved_offsets": [...]}}`.
const SHARDING: &str = "DCP_SHARDING_INFO";

/// Whether such a writer gives this name to a file.
fn detect_name(name: &str) -> bool {
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = || {
        let rest = name.strip_prefix("shard-")?.strip_suffix(".safetensors")?;
        let (shard, rest) = rest.split_once("-model-")?;
        let (file, files) = rest.split_once("-of-")?;
        Some([shard, file, files].into_iter().all(digits))
    };
    numbers().unwrap_or_default()
}

/// Whether such a file is in a folder.
pub(crate) fn detect_shards(_: &Path, names: &[String]) -> bool {
    names.iter().any(|name| detect_name(name))
}

#[derive(serde::Deserialize)]
struct Offsets {
    saved_offsets: Vec<usize>,
}

/// Reads a folder: an `OrderedDict` of tensors, in the order in which the files name them.
///
/// # Errors
/// As [`safetensors::read`] for each file; [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when chunks are of several types, or overlap or
/// leave a gap.
pub(crate) fn read_shards(folder: &Path, options: &OpenOptions) -> Result<Opened> {
    let mut all: IndexMap<Arc<str>, Vec<(Extent, Tensor)>> = IndexMap::new();
    let mut bytes = 0_u64;
    for name in io::names(folder)?.into_iter().filter(|name| detect_name(name)) {
        let file = FileBytes::open(&folder.join(name))?;
        bytes = bytes.saturating_add(file.len() as u64);
        read_file(&file, options, &mut all).in_file_if(file.path())?;
    }
    let tensors = all.into_iter().map(|(name, chunks)| {
        let tensor = assemble(&name, chunks, options)?;
        Ok((name, Value::Tensor(tensor)))
    });
    let value = named::root(tensors.collect::<Result<Vec<_>>>()?, Metadata::new());
    Ok(Opened::new(Format::DCP, value, Vec::new(), bytes))
}

/// Adds the chunks in a file.
fn read_file(
    file: &FileBytes,
    options: &OpenOptions,
    all: &mut IndexMap<Arc<str>, Vec<(Extent, Tensor)>>,
) -> Result<()> {
    let (tensors, metadata) = safetensors::read_tensors(file, options)?;
    let offsets: HashMap<String, Offsets> = match metadata.get(SHARDING).and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).map_err(|error| Error::damaged(SHARDING, error.to_string()))?,
        None => HashMap::new(),
    };
    for (name, value) in tensors {
        let Value::Tensor(tensor) = value else { continue };
        let sizes = tensor.shape().to_vec();
        let offsets = offsets.get(&*name).map_or_else(|| vec![0; sizes.len()], |found| found.saved_offsets.clone());
        let extent = Extent { offsets, sizes };
        let known = all.entry(Arc::clone(&name)).or_default();
        let (dtype, dimensions) =
            known.first().map_or((tensor.dtype(), extent.sizes.len()), |(first, x)| (x.dtype(), first.sizes.len()));
        if tensor.dtype() != dtype || extent.offsets.len() != dimensions || extent.sizes.len() != dimensions {
            let reason = format!("{extent} of {} is no part of a tensor of {dtype}", tensor.dtype());
            let reason = format!("{reason} with {dimensions} dimensions, as another file says");
            return Err(Error::damaged(format!("'{name}'"), reason));
        }
        known.push((extent, tensor));
    }
    Ok(())
}

/// One tensor of its chunks. Nothing says how large it is: it ends where the last chunk does.
fn assemble(name: &Arc<str>, mut chunks: Vec<(Extent, Tensor)>, options: &OpenOptions) -> Result<Tensor> {
    let (dtype, dimensions) = match &*chunks {
        [(extent, tensor)] if extent.offsets.iter().all(|&offset| offset == 0) => return Ok(tensor.clone()),
        [(extent, tensor), ..] => (tensor.dtype(), extent.sizes.len()),
        [] => return Err(Error::damaged(format!("'{name}'"), "it has no chunks")),
    };
    let end = |d: usize| {
        let ends = chunks.iter().map(|(extent, _)| Some((extent.offsets.get(d)?, extent.sizes.get(d)?)));
        ends.flatten().map(|(offset, size)| offset.saturating_add(*size)).max().unwrap_or_default()
    };
    let shape: Vec<usize> = (0..dimensions).map(end).collect();
    // The same part may have been in several processes.
    let mut seen = std::collections::HashSet::new();
    chunks.retain(|(extent, _)| !extent.is_empty() && seen.insert(extent.clone()));
    let extents: Vec<Extent> = chunks.iter().map(|(extent, _)| extent.clone()).collect();
    check_tiling(&shape, &extents, options.limits.values)
        .map_err(|flaw| Error::damaged(format!("'{name}'"), format!("of its shape {shape:?}, {flaw}")))?;
    let len = element_count(&shape).and_then(|count| dtype.bytes_for(count)).unwrap_or(usize::MAX) as u64;
    let source = Assembled {
        name: Arc::clone(name),
        dtype,
        shape: shape.clone(),
        order: (0..dimensions).collect(),
        len,
        pieces: chunks.into_iter().map(|(extent, tensor)| (extent, Piece::Tensor(tensor))).collect(),
        options: options.clone(),
    };
    named::tensor(dtype, shape, source)
}
