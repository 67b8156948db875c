//! What `.metadata` says, taken out of the objects that its pickle holds: instances of the classes of
//! `torch.distributed.checkpoint`, known by name and never made.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::container::dcp::extent::Extent;
use crate::value::{Construction, Object};
use crate::{DType, Dict, Error, Result, Value};

/// The file that says what there is.
pub(crate) const METADATA: &str = ".metadata";

/// The root of a checkpoint's metadata.
pub(super) struct Metadata {
    /// Every item under its flattened name, in the order of the file.
    pub(super) entries: Vec<(Arc<str>, Entry)>,
    /// Where each item stands in the nested state dict; empty where the state dict was not flattened.
    pub(super) paths: HashMap<Arc<str>, Vec<Part>>,
    /// Where the bytes of each item are: by name, and by the first element of the chunk where it is a tensor.
    pub(super) locations: IndexMap<(Arc<str>, Option<Vec<usize>>), Location>,
}

/// One item of a state dict.
pub(super) enum Entry {
    Tensor(TensorEntry),
    /// Anything else.
    Bytes,
}

/// A tensor as a whole, and the chunks that it is saved in.
pub(super) struct TensorEntry {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// Whether its elements lie in memory one by one: it is not sparse.
    pub(super) strided: bool,
    pub(super) requires_grad: bool,
    /// The strides of the tensor, or of the part of it that a process held; older PyTorch does not say.
    pub(super) stride: Option<Vec<usize>>,
    pub(super) chunks: Vec<Extent>,
}

/// A step on the way to an item: the key of a dict or a place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key(Arc<str>),
    Index(usize),
}

impl Part {
    /// It as it stands in a path.
    pub(super) fn value(&self) -> Value {
        match self {
            Part::Key(key) => Value::Str(Arc::clone(key)),
            Part::Index(index) => Value::from(*index),
        }
    }
}

/// The bytes of an item: a file beside `.metadata`, and where in it.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) file: Arc<str>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Whether what was saved passed through extensions first, such as a compressor.
    pub(super) transformed: bool,
}

impl Metadata {
    pub(super) fn of(root: &Value) -> Result<Self> {
        let (_, root) = instance(root, "the root", &["Metadata"])?;
        let root = Attributes { dict: root, place: "Metadata".to_owned() };
        let entries = root.dict_of("state_dict_metadata")?.entries().into_iter();
        let entries = entries.map(|(name, entry)| {
            let name = text(&name, "state_dict_metadata, a name")?;
            let entry = Entry::of(&name, &entry)?;
            Ok((name, entry))
        });
        Ok(Metadata { entries: entries.collect::<Result<_>>()?, paths: paths(&root)?, locations: locations(&root)? })
    }
}

impl Entry {
    fn of(name: &str, value: &Value) -> Result<Self> {
        let place = format!("'{name}'");
        let (class, attributes) = instance(value, &place, &["TensorStorageMetadata", "BytesStorageMetadata"])?;
        if class == "BytesStorageMetadata" {
            return Ok(Entry::Bytes);
        }
        let attributes = Attributes { dict: attributes, place };
        let place = &attributes.place;
        let shape = counts(&attributes.get("size")?, place)?;
        let chunks = attributes.get("chunks")?;
        let Some(chunks) = chunks.items() else {
            return Err(Error::damaged(place, format!("its chunks are {}, not a list", chunks.describe())));
        };
        let chunk = |value: Value| {
            let (_, chunk) = instance(&value, place, &["ChunkStorageMetadata"])?;
            let chunk = Attributes { dict: chunk, place: place.clone() };
            let extent =
                Extent { offsets: counts(&chunk.get("offsets")?, place)?, sizes: counts(&chunk.get("sizes")?, place)? };
            if extent.offsets.len() != shape.len() || extent.sizes.len() != shape.len() {
                return Err(Error::damaged(place, format!("{extent} has another number of dimensions than {shape:?}")));
            }
            Ok(extent)
        };
        let chunks = chunks.into_iter().map(chunk).collect::<Result<_>>()?;
        let properties = attributes.get("properties")?;
        Self::tensor(&properties, place, shape, chunks)
    }

    /// `TensorProperties` are a tuple: type, layout, `requires_grad`, memory format, pinned, and in newer PyTorch the strides.
    fn tensor(properties: &Value, place: &str, shape: Vec<usize>, chunks: Vec<Extent>) -> Result<Self> {
        let object = known(properties, place, &["TensorProperties"])?.1;
        let state = object.and_then(|object| object.read().states.last().cloned());
        let state = state.as_ref().and_then(Value::items).unwrap_or_default();
        let ([dtype, layout, requires_grad, _, _], rest) = state.split_first_chunk::<5>().ok_or_else(|| {
            Error::damaged(place, format!("its properties are {} values, where 5 or 6 are expected", state.len()))
        })?;
        let Value::Dtype(dtype) = dtype else {
            return Err(Error::damaged(place, format!("its element type is {}", dtype.describe())));
        };
        let stride = match rest.first() {
            None | Some(Value::None) => None,
            Some(stride) => Some(counts(stride, place)?),
        };
        Ok(Entry::Tensor(TensorEntry {
            dtype: *dtype,
            shape,
            strided: is_strided(layout),
            requires_grad: matches!(requires_grad, Value::Bool(true)),
            stride,
            chunks,
        }))
    }
}

/// `torch.serialization._get_layout('torch.strided')`.
fn is_strided(layout: &Value) -> bool {
    match layout {
        Value::Object(layout) => matches!(layout.read().arguments(), [Value::Str(name)] if **name == *"torch.strided"),
        _ => false,
    }
}

fn paths(root: &Attributes) -> Result<HashMap<Arc<str>, Vec<Part>>> {
    // Planners of users' own may keep here what they like.
    let Some(Value::Dict(data)) = root.dict.get("planner_data") else { return Ok(HashMap::new()) };
    let path = |(name, path): (Value, Value)| {
        let name = text(&name, "planner_data, a name")?;
        let place = || format!("planner_data, '{name}'");
        let Some(parts) = path.items() else {
            return Err(Error::damaged(place(), format!("its path is {}, not a tuple", path.describe())));
        };
        let part = |part: &Value| match part {
            Value::Str(key) => Ok(Part::Key(Arc::clone(key))),
            other => Ok(Part::Index(count(other, &place())?)),
        };
        Ok((Arc::clone(&name), parts.iter().map(part).collect::<Result<Vec<_>>>()?))
    };
    data.entries().into_iter().map(path).collect()
}

fn locations(root: &Attributes) -> Result<IndexMap<(Arc<str>, Option<Vec<usize>>), Location>> {
    let data = root.dict_of("storage_data")?;
    let mut locations = IndexMap::with_capacity(data.len());
    for (index, info) in data.entries() {
        let (_, index) = instance(&index, "storage_data, a key", &["MetadataIndex"])?;
        let name = text(&index.get("fqn").unwrap_or(Value::None), "storage_data, a name")?;
        let place = format!("storage_data, '{name}'");
        let offset = match index.get("offset") {
            None | Some(Value::None) => None,
            Some(offset) => Some(counts(&offset, &place)?),
        };
        let (_, info) = instance(&info, &place, &["_StorageInfo"])?;
        let info = Attributes { dict: info, place };
        let number = |key| Ok::<_, Error>(count(&info.get(key)?, &info.place)? as u64);
        let descriptors = info.dict.get("transform_descriptors").as_ref().and_then(Value::items);
        let found = Location {
            file: text(&info.get("relative_path")?, &info.place)?,
            offset: number("offset")?,
            length: number("length")?,
            transformed: descriptors.is_some_and(|all| !all.is_empty()),
        };
        if locations.insert((name, offset), found).is_some() {
            return Err(Error::damaged(info.place, "it has two places"));
        }
    }
    Ok(locations)
}

/// The attributes of an instance, and how messages call it.
struct Attributes {
    dict: Dict,
    place: String,
}

impl Attributes {
    fn get(&self, name: &str) -> Result<Value> {
        self.dict.get(name).ok_or_else(|| Error::damaged(&self.place, format!("it has no {name}")))
    }

    fn dict_of(&self, name: &str) -> Result<Dict> {
        match self.get(name)? {
            Value::Dict(dict) => Ok(dict),
            other => Err(Error::damaged(&self.place, format!("its {name} is {}, not a dict", other.describe()))),
        }
    }
}

/// Which of these classes of PyTorch's distributed checkpoints a value is an instance of, and the attributes that it has.
fn instance<'a>(value: &Value, place: &str, classes: &[&'a str]) -> Result<(&'a str, Dict)> {
    let (class, object) = known(value, place, classes)?;
    let state = object.and_then(|object| object.read().states.last().cloned());
    match state {
        None => Ok((class, Dict::new())),
        Some(Value::Dict(attributes)) => Ok((class, attributes)),
        Some(other) => Err(Error::damaged(place, format!("the attributes of a {class} are {}", other.describe()))),
    }
}

fn known<'a>(value: &Value, place: &str, classes: &[&'a str]) -> Result<(&'a str, Option<Object>)> {
    let Value::Object(object) = value else {
        return Err(Error::damaged(
            place,
            format!("it is {}, where {} is expected", value.describe(), one_of(classes)),
        ));
    };
    let data = object.read();
    // `copyreg._reconstructor(class, object, None)`: how protocols 0 and 1 make instances.
    let class = match (data.construction, data.class(), data.arguments()) {
        (Construction::Call, Some(function), [Value::Global(class), ..])
            if matches!(&*function.module, "copyreg" | "copy_reg") =>
        {
            Some(class)
        }
        (_, class, _) => class,
    };
    let of_torch = class.filter(|class| class.module.starts_with("torch.distributed."));
    match classes.iter().find(|name| of_torch.is_some_and(|class| *class.name == ***name)) {
        Some(name) => Ok((name, Some(object.clone()))),
        None => {
            let class = class.map_or_else(|| "an object of no class".to_owned(), |class| format!("the class {class}"));
            let what = format!("{class}, in the place of {} ({place}),", one_of(classes));
            Err(Error::unsupported(what))
        }
    }
}

fn one_of(classes: &[&str]) -> String {
    format!("a {}", classes.join(" or a "))
}

fn text(value: &Value, place: &str) -> Result<Arc<str>> {
    match value {
        Value::Str(text) => Ok(Arc::clone(text)),
        other => Err(Error::damaged(place, format!("it is {}, not a str", other.describe()))),
    }
}

/// A number that counts something.
fn count(value: &Value, place: &str) -> Result<usize> {
    let number = match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    number.ok_or_else(|| Error::damaged(place, format!("{value:?} is no length, place or offset")))
}

/// The lengths of a `torch.Size` or tuple.
fn counts(value: &Value, place: &str) -> Result<Vec<usize>> {
    let Some(items) = value.items() else {
        return Err(Error::damaged(place, format!("{} stands where lengths are expected", value.describe())));
    };
    items.iter().map(|item| count(item, place)).collect()
}
