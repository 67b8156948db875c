//! `.metadata` as the objects that PyTorch pickles, for a checkpoint of one process.

use std::sync::Arc;

use crate::container::dcp::metadata::{Location, Part};
use crate::container::dcp::nested::Leaf;
use crate::value::{Construction, Global, Key, Object, ObjectData, Shared};
use crate::{Dict, Value};

/// Where the classes are.
const MODULE: &str = "torch.distributed.checkpoint.metadata";
/// What PyTorch 2.15 says of the format.
const VERSION: &str = "1.0.0";

/// The metadata of items, each with its place.
pub(super) fn metadata(items: &[(&Leaf, Location)]) -> Value {
    let shared = Properties::new();
    let (entries, paths) = (Dict::new(), Dict::new());
    // In the order of the state dict; their places in the order of the file.
    for (leaf, _) in items {
        let name = Value::Str(Arc::clone(&leaf.name));
        let entry = match &leaf.value {
            Value::Tensor(tensor) => {
                let size = size(tensor.shape());
                let chunk = [("offsets", zeros(tensor.shape())), ("sizes", size.clone())];
                let chunk = instance(MODULE, "ChunkStorageMetadata", Some(dict(chunk)));
                let properties = shared.of(tensor);
                let fields = [("properties", properties), ("size", size), ("chunks", Value::list([chunk]))];
                instance(MODULE, "TensorStorageMetadata", Some(dict(fields)))
            }
            _ => instance(MODULE, "BytesStorageMetadata", None),
        };
        entries.insert(name.clone(), entry);
        paths.insert(name, Value::tuple(leaf.path.iter().map(Part::value)));
    }
    let mut by_offset: Vec<&(&Leaf, Location)> = items.iter().collect();
    by_offset.sort_by_key(|(_, location)| location.offset);
    let locations = Dict::new();
    for (leaf, location) in by_offset {
        let name = Value::Str(Arc::clone(&leaf.name));
        let index = match &leaf.value {
            Value::Tensor(tensor) => dict([("fqn", name), ("index", Value::Int(0)), ("offset", zeros(tensor.shape()))]),
            _ => dict([("fqn", name), ("index", Value::None)]),
        };
        let info = [
            ("relative_path", Value::Str(Arc::clone(&location.file))),
            ("offset", location.offset.into()),
            ("length", location.length.into()),
        ];
        let info = instance("torch.distributed.checkpoint.filesystem", "_StorageInfo", Some(dict(info)));
        locations.write().entries.insert(Key(instance(MODULE, "MetadataIndex", Some(index))), info);
    }
    let fields = [
        ("state_dict_metadata", entries.into()),
        ("planner_data", paths.into()),
        ("storage_data", locations.into()),
        // The folder's own name would stand here, and a number drawn at random.
        ("storage_meta", Value::None),
        ("version", VERSION.into()),
    ];
    instance(MODULE, "Metadata", Some(dict(fields)))
}

fn dict<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Dict(fields.into_iter().collect())
}

fn size(lengths: &[usize]) -> Value {
    // A length beyond this belongs to a tensor without elements, and no `torch.Size` could hold it.
    Value::Size(lengths.iter().map(|&length| i64::try_from(length).unwrap_or(i64::MAX)).collect())
}

fn zeros(shape: &[usize]) -> Value {
    size(&vec![0; shape.len()])
}

/// An instance made without a call, with these attributes.
fn instance(module: &str, class: &str, attributes: Option<Value>) -> Value {
    let mut object = ObjectData::call(Global::new(module, class), Vec::new());
    object.construction = Construction::New;
    object.states.extend(attributes);
    object.into()
}

/// What all `TensorProperties` share, so that it is written once.
struct Properties {
    layout: Object,
    format: Object,
}

impl Properties {
    fn new() -> Self {
        let call = |module, name, arg| Shared::new(ObjectData::call(Global::new(module, name), vec![arg]));
        Properties {
            layout: call("torch.serialization", "_get_layout", "torch.strided".into()),
            format: call(MODULE, "_MEM_FORMAT_ENCODING", Value::Int(0)),
        }
    }

    fn of(&self, tensor: &crate::Tensor) -> Value {
        let stride = tensor.stride().unwrap_or_default().iter().map(|&step| Value::from(step));
        let state = [
            tensor.dtype().into(),
            Value::Object(self.layout.clone()),
            tensor.requires_grad().into(),
            Value::Object(self.format.clone()),
            // Not pinned.
            Value::Bool(false),
            Value::tuple(stride),
        ];
        instance(MODULE, "TensorProperties", Some(Value::tuple(state)))
    }
}
