//! What the containers of nothing but named tensors share (safetensors, Hugging Face's shards, NumPy's archives): taking the
//! tensors out of a value, finding those that are one, saying what such a container cannot keep, and putting the value
//! together again.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::container::keeps::{Keeps, Order};
use crate::io::Ranges;
use crate::state_dict::module::is_module;
use crate::value::Array;
use crate::value::tensor::{TensorClass, TensorData, TensorParts, contiguous_stride};
use crate::walk::attributes;
use crate::{DType, Dict, Error, Limits, Result, ResultExt as _, Source, StateDict, Storage, Tensor, Value, walk};

/// The attribute of the root that holds what a file says of itself as text (safetensors' `__metadata__`).
pub(super) const METADATA: &str = "__metadata__";

/// What a file says of itself, in order.
pub(super) type Metadata = IndexMap<String, Value>;

/// How many names a note lists before it counts the rest.
const LISTED: usize = 5;

/// What a container of named tensors is called, and what it keeps of how they lie in memory.
pub(super) struct Target {
    /// For messages.
    pub(super) name: &'static str,
    pub(super) keeps: Keeps,
}

/// The tensors of a state dict, as a container takes them that keeps nothing else.
pub(super) struct Named {
    /// In the order of the state dict.
    pub(super) tensors: Vec<Item>,
    /// What the root's attribute `__metadata__` says.
    pub(super) metadata: Metadata,
    /// What will be lost, a sentence each.
    pub(super) notes: Vec<String>,
}

/// A tensor under its name.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) tensor: Tensor,
    /// The place of an earlier tensor that shows the very same elements of the same storage.
    pub(super) tied: Option<usize>,
}

impl Named {
    /// Takes the tensors out of a value: a dict of names and strided tensors, nothing else.
    pub(super) fn of(root: &Value, target: &Target) -> Result<Self> {
        if let Value::Tensor(_) = root {
            let advice = "put it into a dict under a name";
            let what = format!("writing a tensor without a name into {}", target.name);
            return Err(Error::unsupported(what).advise(advice));
        }
        let state_dict = StateDict::from_value(root)?;
        let mut tensors = Vec::with_capacity(state_dict.len());
        let mut gathered = Vec::new();
        for (name, value) in state_dict.values() {
            let Value::Tensor(tensor) = value else { return Err(not_a_tensor(root, name, value, target.name)) };
            let whole = tensor.whole_local();
            if whole.is_some() {
                gathered.push(name);
            }
            let tensor = whole.unwrap_or_else(|| tensor.clone());
            tensors.push(Item { name: name.into(), tensor, tied: None });
        }
        let mut named = Named::of_items(tensors, target)?;
        if !gathered.is_empty() {
            let names = listed(&gathered);
            let note = format!(
                "{names}: were distributed tensors of one process; their elements are written ({})",
                target.name
            );
            named.notes.insert(0, note);
        }
        named.take_attributes(root, target.name)?;
        Ok(named)
    }

    /// Tensors that have their names already.
    pub(super) fn of_items(tensors: Vec<Item>, target: &Target) -> Result<Self> {
        for item in &tensors {
            check_strided(&item.name, &item.tensor, target.name)?;
        }
        let mut named = Named { tensors, metadata: Metadata::new(), notes: Vec::new() };
        named.find_ties();
        named.note_losses(target);
        Ok(named)
    }

    /// A single tensor.
    pub(super) fn of_tensor(tensor: &Tensor, target: &Target) -> Result<Self> {
        let name: Arc<str> = "the tensor".into();
        check_strided(&name, tensor, target.name)?;
        let tensors = vec![Item { name, tensor: tensor.clone(), tied: None }];
        let mut named = Named { tensors, metadata: Metadata::new(), notes: Vec::new() };
        named.note_losses(target);
        Ok(named)
    }

    fn find_ties(&mut self) {
        let mut seen = HashMap::new();
        for (index, item) in self.tensors.iter_mut().enumerate() {
            if let Some(view) = shown(&item.tensor) {
                let first = *seen.entry(view).or_insert(index);
                item.tied = (first != index).then_some(first);
            }
        }
    }

    fn note_losses(&mut self, target: &Target) {
        let container = target.name;
        let strided: Lost = match target.keeps.order {
            Order::RowMajor => |tensor| !tensor.is_contiguous(),
            Order::Fortran => |tensor| !tensor.is_contiguous() && !is_fortran(tensor),
            Order::Any => |tensor| {
                let order = tensor.stride().and_then(|stride| memory_order(tensor.shape(), stride));
                !tensor.is_contiguous() && order.is_none()
            },
        };
        let table: [(Lost, &str); 6] = [
            (strided, "were strided views and are written in row-major order"),
            (
                |tensor| tensor.parts().conj || tensor.parts().neg,
                "had the conjugate or negative bit; the numbers themselves are written",
            ),
            (
                |tensor| tensor.requires_grad() || tensor.is_parameter(),
                "were parameters or required a gradient, which is not kept",
            ),
            (has_attributes, "had attributes, which are not kept"),
            (|tensor| tensor.device() != "cpu", "were tagged with another device than cpu, which is not kept"),
            (|tensor| tensor.parts().backward_hooks.is_some(), "had backward hooks, which are not kept"),
        ];
        let mut notes: Vec<String> = Vec::new();
        for (lost, what) in table {
            let names: Vec<&str> =
                self.tensors.iter().filter(|item| lost(&item.tensor)).map(|item| &*item.name).collect();
            if !names.is_empty() {
                notes.push(format!("{}: {what} ({container})", listed(&names)));
            }
        }
        let mut classes: IndexMap<String, Vec<&str>> = IndexMap::new();
        for Item { name, tensor, .. } in &self.tensors {
            if let TensorClass::Other { class, .. } = &tensor.parts().class
                && !class.is("torch", "Tensor")
            {
                classes.entry(class.to_string()).or_default().push(name);
            }
        }
        notes.extend(classes.into_iter().map(|(class, names)| class_is_lost(&class, &listed(&names), container)));
        let tied: Vec<String> = self.ties().map(|(name, first)| format!("'{name}' (is '{first}')")).collect();
        if !tied.is_empty() {
            notes.push(if target.keeps.ties {
                let what = "written once, under the first name; the other names are dropped, and noted in the metadata";
                format!("{}: {what}", shortened(&tied))
            } else {
                let what = "were one tensor under several names; each name has its own copy";
                format!("{}: {what} ({container})", shortened(&tied))
            });
        }
        let (overlapping, partial) = self.shared_storages();
        for group in overlapping {
            let names: Vec<String> = group.iter().map(|name| format!("'{name}'")).collect();
            let names = names.join(", ");
            notes.push(format!("{names}: overlapped in memory; in {container} each has its own copy"));
        }
        if !partial.is_empty() {
            notes.push(format!(
                "{}: showed a part of a larger storage; only what they show is written ({container})",
                listed(&partial)
            ));
        }
        self.notes.extend(notes);
    }

    /// Names that overlap without being one, in groups; and names that show a part of their storage.
    fn shared_storages(&self) -> (Vec<Vec<&str>>, Vec<&str>) {
        let mut storages: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut partial = Vec::new();
        for (index, item) in self.tensors.iter().enumerate() {
            let Some(storage) = item.tensor.storage() else { continue };
            let range = byte_range(&item.tensor);
            if !range.is_empty() && (range.start, range.end) != (0, storage.len()) {
                partial.push(&*item.name);
            }
            if item.tied.is_none() && !range.is_empty() {
                storages.entry(storage.id()).or_default().push(index);
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for mut indices in storages.into_values().filter(|indices| indices.len() > 1) {
            indices.sort_by_key(|&index| byte_range(&self.tensors[index].tensor).start);
            let mut end = 0;
            let mut group: Vec<usize> = Vec::new();
            for index in indices {
                let range = byte_range(&self.tensors[index].tensor);
                if range.start >= end {
                    groups.push(std::mem::take(&mut group));
                }
                end = end.max(range.end);
                group.push(index);
            }
            groups.push(group);
        }
        groups.retain(|group| group.len() > 1);
        for group in &mut groups {
            group.sort_unstable();
        }
        groups.sort_unstable();
        let name = |&index: &usize| &*self.tensors[index].name;
        (groups.iter().map(|group| group.iter().map(name).collect()).collect(), partial)
    }

    /// Keeps `__metadata__`; the other attributes of the root have no place.
    fn take_attributes(&mut self, root: &Value, container: &str) -> Result<()> {
        let attributes = match root {
            Value::Dict(dict) => dict.state(),
            Value::Object(object) => object.read().states.first().cloned(),
            _ => None,
        };
        let entries = attributes.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
        self.notes.extend(lost_class_of_root(root, container));
        if is_module(root) {
            let kept: HashSet<&str> = self.tensors.iter().map(|item| &*item.name).collect();
            let lost = lost_of_module(root, &|name| kept.contains(name), container)?;
            self.notes.extend(lost);
            return Ok(());
        }
        let lost: Vec<&str> =
            entries.iter().filter_map(|(key, _)| key.as_str().filter(|key| *key != METADATA)).collect();
        if !lost.is_empty() {
            self.notes.push(format!("attributes of the state dict, left out: {} ({container})", listed(&lost)));
        }
        for (key, value) in entries {
            if key.as_str() != Some(METADATA) {
                continue;
            }
            let Some(dict) = value.as_dict() else {
                return Err(Error::wrong_type(METADATA, "a dict of texts", value.describe()));
            };
            for (key, value) in dict.entries() {
                let Some(name) = key.as_str() else {
                    return Err(Error::wrong_type(METADATA, "a dict of texts", format!("a dict with the key {key:?}")));
                };
                self.metadata.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Tied names, each with the name it is kept under.
    pub(super) fn ties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors.iter().filter_map(|item| Some((&*item.name, &*self.tensors[item.tied?].name)))
    }
}

/// Whether a tensor loses something when it is written.
type Lost = fn(&Tensor) -> bool;

/// Whether it has attributes beside those by which `nn.Module` tells buffers and parameters.
fn has_attributes(tensor: &Tensor) -> bool {
    const REGISTERED: [&str; 3] = ["persistent", "_is_buffer", "_is_param"];
    match tensor.parts().attributes() {
        None | Some(Value::None) => false,
        Some(state) => match attributes(state) {
            Some(dicts) => dicts
                .iter()
                .flat_map(Dict::entries)
                .any(|(key, _)| !key.as_str().is_some_and(|key| REGISTERED.contains(&key))),
            None => true,
        },
    }
}

/// Which elements of which storage a tensor shows. Two equal ones are tied; tensors without elements are not.
fn shown(tensor: &Tensor) -> Option<impl Eq + Hash + use<>> {
    let TensorParts {
        dtype, ref shape, data: TensorData::Strided { ref storage, offset, ref stride }, conj, neg, ..
    } = *tensor.parts()
    else {
        return None;
    };
    // The stride of a dimension of length 1 leads nowhere.
    let stride: Vec<usize> = shape.iter().zip(stride).map(|(&n, &step)| if n == 1 { 0 } else { step }).collect();
    (tensor.numel() > 0).then(|| (storage.id(), dtype, offset, shape.clone(), stride, conj, neg))
}

/// The bytes of its storage from the first that a tensor shows to the last; empty where it shows none.
fn byte_range(tensor: &Tensor) -> Range<u64> {
    let (Some(stride), false) = (tensor.stride(), tensor.numel() == 0) else { return 0..0 };
    if tensor.dtype().packed() > 1 {
        // Several elements in a byte are written from the storage's start alone.
        return 0..tensor.dtype().bytes_for(tensor.numel()).unwrap_or(usize::MAX) as u64;
    }
    // `Tensor::new` checked that the last element lies inside the storage.
    let last: usize = tensor.shape().iter().zip(stride).map(|(&n, &step)| (n - 1) * step).sum();
    let (start, end) = (tensor.offset() * tensor.dtype().size(), (tensor.offset() + last + 1) * tensor.dtype().size());
    start as u64..end as u64
}

/// Whether the elements lie in column-major order without gaps, and not in row-major order.
pub(super) fn is_fortran(tensor: &Tensor) -> bool {
    if tensor.is_contiguous() {
        return false;
    }
    let Some(stride) = tensor.stride() else { return false };
    let mut expected = 1_usize;
    tensor.shape().iter().zip(stride).all(|(&n, &step)| {
        let fits = n == 1 || step == expected;
        expected = expected.saturating_mul(n);
        fits
    })
}

/// The dimensions from the one whose neighbours are farthest apart to the one where they are nearest, where the elements lie
/// without gaps and each once; `None` where they do not.
pub(super) fn memory_order(shape: &[usize], stride: &[usize]) -> Option<Vec<usize>> {
    if shape.len() != stride.len() || shape.contains(&0) {
        return None;
    }
    let mut dimensions: Vec<(usize, usize, usize)> =
        shape.iter().zip(stride).enumerate().map(|(d, (&n, &step))| (d, n, step)).collect();
    // The stride of a dimension of length 1 leads nowhere: these go last.
    dimensions.sort_by_key(|&(_, n, step)| (n == 1, std::cmp::Reverse(step)));
    let mut expected = 1_usize;
    for &(_, n, step) in dimensions.iter().rev().filter(|(_, n, _)| *n != 1) {
        if step != expected {
            return None;
        }
        expected = expected.checked_mul(n)?;
    }
    Some(dimensions.into_iter().map(|(d, _, _)| d).collect())
}

/// What of a whole module is in no state dict: tensors that are no parameters and no persistent buffers, each by its name, and
/// everything else in one line.
pub(crate) fn lost_of_module(root: &Value, is_kept: &dyn Fn(&str) -> bool, container: &str) -> Result<Vec<String>> {
    let (mut tensors, mut values) = (Vec::new(), Vec::new());
    let state_dict = StateDict::from_value(root)?;
    let written: HashSet<_> = state_dict.iter().map(|(_, tensor)| tensor.view()).collect();
    walk::walk(root, &Limits::default(), &mut |path, value| {
        // What hangs on a tensor is said where the tensor is written.
        let tensor = path.split(['@', '(']).next().unwrap_or_default();
        match value {
            _ if is_kept(path) || is_kept(tensor) => {}
            // A recurrent layer lists its parameters once more.
            Value::Tensor(tensor) if written.contains(&tensor.view()) => {}
            Value::Tensor(_) => tensors.push(path.to_owned()),
            _ => values.push(path.to_owned()),
        }
        Ok(())
    })?;
    let mut notes = Vec::new();
    if !tensors.is_empty() {
        let count = if tensors.len() == 1 { "a tensor".to_owned() } else { format!("{} tensors", tensors.len()) };
        notes.push(format!(
            "{}: {count} of the module, left out: state_dict() does not have such ({container})",
            listed(&tensors)
        ));
    }
    if !values.is_empty() {
        let count =
            if values.len() == 1 { "1 other value".to_owned() } else { format!("{} other values", values.len()) };
        notes.push(format!("{count} of the module, left out: {} ({container})", listed(&values)));
    }
    Ok(notes)
}

/// The class of the root, where what is in it is written and it is not.
pub(crate) fn lost_class_of_root(root: &Value, container: &str) -> Option<String> {
    let Value::Object(object) = root else { return None };
    let class = object.read().class()?.to_string();
    Some(class_is_lost(&class, ROOT, container))
}

/// The classes of objects of which only tensors and numbers in them are written, a line each; of whole modules that of the outermost.
pub(crate) fn lost_classes(root: &Value, container: &str) -> Result<Vec<String>> {
    let mut classes: IndexMap<String, Vec<String>> = IndexMap::new();
    let mut modules: Vec<String> = Vec::new();
    walk::each(root, &Limits::default(), &mut |path, _, value| {
        let inside = |module: &String| {
            path.strip_prefix(module.as_str())
                .is_some_and(|rest| module.is_empty() || !rest.starts_with(char::is_alphanumeric))
        };
        let Value::Object(object) = value else { return Ok(()) };
        if Array::of(value).is_some() || modules.iter().any(inside) {
            return Ok(());
        }
        if is_module(value) {
            modules.push(path.to_owned());
        }
        // A scalar of NumPy's is the number that it is.
        let class = object.read().class().filter(|class| !class.module.starts_with("numpy")).map(ToString::to_string);
        let Some(class) = class else { return Ok(()) };
        let places = classes.entry(class).or_default();
        let place = if path.is_empty() { ROOT.to_owned() } else { format!("'{path}'") };
        if !places.contains(&place) {
            places.push(place);
        }
        Ok(())
    })?;
    Ok(classes.into_iter().map(|(class, places)| class_is_lost(&class, &shortened(&places), container)).collect())
}

/// For notes, what has no path.
const ROOT: &str = "the root";

fn class_is_lost(class: &str, places: &str, container: &str) -> String {
    format!("{places}: the class {class} is not kept ({container})")
}

/// `'a', 'b' and 3 more`.
pub(crate) fn listed(names: &[impl AsRef<str>]) -> String {
    shortened(&names.iter().map(|name| format!("'{}'", name.as_ref())).collect::<Vec<_>>())
}

/// The first few of them, and how many more there are.
fn shortened(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

fn not_a_tensor(root: &Value, name: &str, value: &Value, container: &str) -> Error {
    // A dict of tensors inside is most likely what is meant.
    let meant = root.as_dict().map(Dict::entries).unwrap_or_default().into_iter().find_map(|(key, value)| {
        let dict = value.as_dict()?;
        let only_tensors = !dict.is_empty() && dict.entries().iter().all(|(_, item)| item.as_tensor().is_some());
        only_tensors.then(|| key.as_str().map(str::to_owned)).flatten()
    });
    let advice = match meant {
        Some(key) => format!("write the state dict alone (`Conversion::key({key:?})`)"),
        None => "write a state dict alone, for example with `Conversion::key(\"model_state_dict\")`".to_owned(),
    };
    let what = format!("writing '{name}' ({}) into {container}, which keeps tensors only,", value.describe());
    Error::unsupported(what).advise(advice)
}

fn check_strided(name: &str, tensor: &Tensor, container: &str) -> Result<()> {
    let (kind, advice) = match &tensor.parts().data {
        TensorData::Strided { .. } if tensor.dtype().is_quantized() => ("a quantised tensor", "dequantize it first"),
        TensorData::Strided { .. } => return Ok(()),
        TensorData::Meta { .. } => ("a tensor on the device meta, which has no elements", "leave it out"),
        TensorData::Sparse { .. } => ("a sparse tensor", "make it dense first (to_dense())"),
        TensorData::Nested { .. } | TensorData::Jagged { .. } => {
            ("a nested tensor", "pad it or write its parts one by one")
        }
        TensorData::Wrapper { .. } if tensor.local_parts().is_empty() => (
            "a tensor of a class that keeps its elements in its attributes",
            "write those, or what `dequantize()` gives",
        ),
        TensorData::Wrapper { .. } => {
            ("a part of a tensor that several processes hold", "gather it first (full_tensor())")
        }
    };
    Err(refused(name, kind, container, advice))
}

/// A tensor that a container has no way to hold.
pub(super) fn refused(name: &str, kind: &str, container: &str, advice: &str) -> Error {
    Error::unsupported(format!("writing '{name}', {kind}, into {container}")).advise(advice.to_owned())
}

/// A named part of a file as a storage's bytes; no copy.
pub(super) struct Slice {
    name: Box<str>,
    bytes: Part,
}

/// Where a part of a file is.
enum Part {
    Here(Bytes),
    There(Arc<dyn Ranges>, Range<u64>),
}

impl Slice {
    pub(super) fn new(name: &str, bytes: Bytes) -> Self {
        Slice { name: name.into(), bytes: Part::Here(bytes) }
    }

    /// A part of a file that is read when it is asked for; `None` where it is none.
    pub(super) fn of_ranges(name: &str, ranges: &Arc<dyn Ranges>, range: Range<u64>) -> Option<Self> {
        let is_part = range.start <= range.end && range.end <= ranges.len();
        is_part.then(|| Slice { name: name.into(), bytes: Part::There(Arc::clone(ranges), range) })
    }
}

impl Source for Slice {
    fn len(&self) -> u64 {
        match &self.bytes {
            Part::Here(bytes) => bytes.len() as u64,
            Part::There(_, range) => range.end - range.start,
        }
    }

    fn read(&self) -> Result<Bytes> {
        match &self.bytes {
            Part::Here(bytes) => Ok(bytes.clone()),
            Part::There(ranges, range) => ranges.read(range.clone()).of_tensor(&*self.name),
        }
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

/// A storage on the CPU as a container without devices has it.
pub(super) fn storage(dtype: DType, source: impl Source + 'static) -> Storage {
    Storage::from_source(dtype.storage_class().and(Some(dtype)), "cpu", source)
}

/// A row-major tensor on the CPU over these bytes.
pub(super) fn tensor(dtype: DType, shape: Vec<usize>, source: impl Source + 'static) -> Result<Tensor> {
    let stride = contiguous_stride(&shape);
    Tensor::new(TensorParts::strided(dtype, shape, storage(dtype, source), 0, stride))
}

/// The root of a container of named tensors: an `OrderedDict`, with `__metadata__` as its attribute where there is any.
pub(super) fn root(tensors: impl IntoIterator<Item = (Arc<str>, Value)>, metadata: Metadata) -> Value {
    let mut dict = Dict::ordered();
    dict.extend(tensors);
    if !metadata.is_empty() {
        let attribute = Value::from(metadata.into_iter().collect::<Dict>());
        dict.write().state = Some(Dict::from_iter([(METADATA, attribute)]).into());
    }
    dict.into()
}
