//! What a checkpoint holds, as a list: every tensor with its dtype, shape, strides and storage, and every other value.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::value::tensor::{TensorClass, TensorData};
use crate::value::{Global, Part, shard};
use crate::walk::{self, Place, UnknownTensor};
use crate::{Checkpoint, Format, Limits, Result, ResultExt as _, Tensor, Value};

/// The contents of a checkpoint. No tensor's bytes are read but for [`TensorEntry::sha256`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The container's name, such as `zip`; `memory` for a checkpoint that came from no file.
    pub container: &'static str,
    /// The layout's name, such as `tutorial`.
    pub layout: &'static str,
    /// The size of the file or folder.
    pub bytes: u64,
    /// The tensors, in the file's order; those in attributes of a tensor after it.
    pub tensors: Vec<TensorEntry>,
    /// Tensors in a form that is not known here. What they are made of is among the tensors and values.
    pub unknown: Vec<UnknownTensor>,
    /// Everything else: its path and the value, in the file's order.
    pub values: Vec<(String, Value)>,
}

/// A tensor of an [`Inspection`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TensorEntry {
    /// Its path from the root.
    pub name: String,
    /// The element type, such as `float32`.
    pub dtype: &'static str,
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// The strides in elements; `None` for sparse and nested tensors.
    pub stride: Option<Vec<usize>>,
    /// The first element's place in the storage, in elements.
    pub offset: usize,
    /// The storage's name within the file: tensors that share memory have the same. `None` where there is no storage.
    pub storage: Option<String>,
    /// The device tag in the file.
    pub device: String,
    /// The Python class, where it is another than `torch.Tensor` and `torch.nn.Parameter`.
    pub class: Option<String>,
    /// Which part of which whole it is, where it belongs to a tensor that several processes hold.
    pub part: Option<Part>,
    /// Whether autograd follows it.
    pub requires_grad: bool,
    /// How many elements its shape has.
    pub elements: u64,
    /// The sparse layout's name, where it is sparse.
    pub sparse: Option<&'static str>,
    /// The name of an earlier tensor that views the same storage.
    pub tied_to: Option<String>,
    /// SHA-256 of the elements in row-major order, little-endian, in hexadecimal; of a sparse tensor of its indices, then
    /// its values. Only where it was asked for.
    pub sha256: Option<String>,
}

impl Inspection {
    /// Lists what a checkpoint holds; with `hash`, reads every tensor.
    ///
    /// # Errors
    /// When the checkpoint has more values than the limits allow, or a tensor that is to be read cannot be.
    pub fn of(checkpoint: &Checkpoint, hash: bool) -> Result<Self> {
        let mut tensors: Vec<TensorEntry> = Vec::new();
        let mut values = Vec::new();
        let mut unknown = Vec::new();
        let mut first_views: HashMap<usize, usize> = HashMap::new();
        let mut parts: HashMap<usize, Part> = HashMap::new();
        walk::each(checkpoint.root(), &Limits::default(), &mut |path, place, value| {
            match value {
                Value::Object(object) if place == Place::Container => {
                    parts.extend(shard::of_object(object).into_iter().map(|(local, part)| (local.id(), part)));
                    let function = walk::maker(&object.read());
                    unknown.extend(function.map(|function| UnknownTensor { name: path.to_owned(), function }));
                }
                _ if place == Place::Container => {}
                Value::Tensor(tensor) => {
                    parts.extend(tensor.local_parts().into_iter().map(|(local, part)| (local.id(), part)));
                    let mut entry = entry(path, tensor, &first_views, &tensors);
                    entry.part = parts.get(&tensor.id()).cloned();
                    if let Some(storage) = tensor.storage() {
                        first_views.entry(storage.id()).or_insert(tensors.len());
                    }
                    if hash {
                        entry.sha256 = sha256(tensor).of_tensor(path)?;
                    }
                    tensors.push(entry);
                }
                other => values.push((path.to_owned(), other.clone())),
            }
            Ok(())
        })
        .in_file_if(checkpoint.path())?;
        Ok(Inspection {
            container: checkpoint.format().map_or("memory", Format::name),
            layout: checkpoint.layout().name(),
            bytes: checkpoint.bytes(),
            tensors,
            unknown,
            values,
        })
    }
}

fn entry(path: &str, tensor: &Tensor, first_views: &HashMap<usize, usize>, earlier: &[TensorEntry]) -> TensorEntry {
    let storage = tensor.storage();
    let first = storage.and_then(|storage| first_views.get(&storage.id())).and_then(|&i| earlier.get(i));
    let sparse = match &tensor.parts().data {
        TensorData::Sparse { layout, .. } => Some(layout.name()),
        _ => None,
    };
    TensorEntry {
        name: path.to_owned(),
        dtype: tensor.dtype().name(),
        shape: tensor.shape().to_vec(),
        stride: tensor.stride().map(<[usize]>::to_vec),
        offset: tensor.offset(),
        // A storage without a name in its file gets the number of the first tensor that views it.
        storage: storage.map(|storage| match (storage.name(), first) {
            (Some(name), _) => name.to_owned(),
            (None, Some(first)) => first.storage.clone().unwrap_or_default(),
            (None, None) => first_views.len().to_string(),
        }),
        device: tensor.device().to_owned(),
        class: class(tensor).map(ToString::to_string),
        part: None,
        requires_grad: tensor.requires_grad(),
        elements: tensor.numel() as u64,
        sparse,
        tied_to: first.map(|first| first.name.clone()),
        sha256: None,
    }
}

/// The class of a tensor, where it is one of its own. Attributes alone make none.
pub(super) fn class(tensor: &Tensor) -> Option<&Global> {
    match &tensor.parts().class {
        TensorClass::Other { class, .. } if !class.is("torch", "Tensor") => Some(class),
        _ => None,
    }
}

/// The digest of a tensor's elements; `None` for one that has none, on the device meta or in its attributes alone.
fn sha256(tensor: &Tensor) -> Result<Option<String>> {
    let mut hasher = Sha256::new();
    match &tensor.parts().data {
        TensorData::Strided { .. } => hasher.update(tensor.to_le_bytes()?),
        TensorData::Wrapper { .. } => match tensor.whole_local() {
            Some(local) => hasher.update(local.to_le_bytes()?),
            None => return Ok(None),
        },
        TensorData::Meta { .. } => return Ok(None),
        TensorData::Sparse { indices, values, .. } => {
            for part in indices.iter().chain([values]) {
                hasher.update(part.to_le_bytes()?);
            }
        }
        TensorData::Jagged { values, offsets, lengths, .. } => {
            for part in [offsets].into_iter().chain(lengths).chain([values]) {
                hasher.update(part.to_le_bytes()?);
            }
        }
        TensorData::Nested { buffer, sizes, .. } => {
            hasher.update(sizes.to_le_bytes()?);
            hasher.update(buffer.to_le_bytes()?);
        }
    }
    Ok(Some(format!("{:x}", hasher.finalize())))
}
