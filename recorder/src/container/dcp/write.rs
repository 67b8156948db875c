//! Writing a folder as one process does with `dcp.save(..., no_dist=True)`: one `.distcp` file and `.metadata`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::dcp::describe;
use crate::container::dcp::item::permuted;
use crate::container::dcp::metadata::{Location, METADATA};
use crate::container::dcp::nested::{Flat, Leaf};
use crate::container::folder::{Files, WriteFile};
use crate::container::keeps::Keeps;
use crate::container::named::{self, Item, Named, Target};
use crate::container::zip;
use crate::io::commit::{commit, commit_bytes};
use crate::pickle::{self, Dialect, PickleOptions, Pickled};
use crate::value::tensor::TensorParts;
use crate::{Error, Result, ResultExt as _, SaveOptions, SaveReport, Tensor, Value};

/// Every item has bytes of its own.
pub(crate) const TARGET: Target =
    Target { name: "a distributed checkpoint", keeps: Keeps { ties: false, ..Keeps::ALL } };

/// What the data files' names end with.
const SUFFIX: &str = ".distcp";

/// Writes a nested state dict as a folder that `dcp.load` and `dcp_to_torch_save` take: dicts, and lists that hold dicts or tensors, are
/// taken apart; every tensor and every other value is an item of its own, named by the keys that lead to it.
///
/// A new folder appears whole. In one that is there, `.metadata` is replaced in one step after everything else was
/// written under names that are not taken; then the files of the old checkpoint go, and others stay.
///
/// The report names what such a checkpoint cannot keep: shared memory, views with gaps, keys that are no strings, dicts
/// without entries, attributes and classes of dicts and tensors.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a root that is no dict and for sparse, quantised, nested and meta tensors, by name;
/// [`ErrorKind::Invalid`] when two items would have the same name; [`ErrorKind::Refused`] for what plain `torch.load` refuses
/// (unless [`SaveOptions::allow_objects`] is set); [`ErrorKind::Exists`] and [`ErrorKind::Io`] for the folder.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let mut flat = Flat::of(root)?;
    let leaves = std::mem::take(&mut flat.leaves);
    check_names(&leaves)?;
    let tensors = leaves.iter().filter_map(|leaf| {
        let tensor = leaf.value.as_tensor()?.clone();
        Some(Item { name: Arc::clone(&leaf.name), tensor, tied: None })
    });
    let Named { notes, .. } = Named::of_items(tensors.collect(), &TARGET)?;
    let mut notes = [flat.notes(), notes].concat();
    let planned = plan(&leaves, options, &mut notes)?;
    let data: Arc<str> = free_name(path).into();
    let locations = RefCell::new(Vec::new());
    let write_data: WriteFile<'_> = Box::new(|path| {
        let mut end = 0;
        commit(path, false, |out| {
            for (leaf, pickled) in &planned {
                let length = write_item(out, leaf, pickled.as_ref()).at(format_args!("'{}'", leaf.name))?;
                let location = Location { file: Arc::clone(&data), offset: end, length, transformed: false };
                locations.borrow_mut().push((*leaf, location));
                end += length;
            }
            Ok(())
        })?;
        Ok(SaveReport { bytes: end, notes: Vec::new() })
    });
    let write_metadata: WriteFile<'_> = Box::new(|path| {
        let mut locations = locations.borrow().clone();
        let order: HashMap<&str, usize> = leaves.iter().enumerate().map(|(i, leaf)| (&*leaf.name, i)).collect();
        locations.sort_by_key(|(leaf, _)| order.get(&*leaf.name).copied());
        let options = PickleOptions { dialect: Dialect::Plain, allow_objects: true };
        let pickled = pickle::write(&describe::metadata(&locations), &options)?;
        commit_bytes(path, false, &pickled.bytes)?;
        Ok(SaveReport { bytes: pickled.bytes.len() as u64, notes: Vec::new() })
    });
    let files = vec![(data.to_string(), write_data), (METADATA.to_owned(), write_metadata)];
    let files = Files { in_order: files, belongs: Box::new(belongs), is_index: |name| name == METADATA };
    let mut report = files.commit(path, options.overwrite)?;
    report.notes.splice(0..0, notes);
    Ok(report)
}

/// Two paths may lead to one flattened name: `{"a": {"b": 1}, "a.b": 2}`.
fn check_names(leaves: &[Leaf]) -> Result<()> {
    let mut seen = HashSet::with_capacity(leaves.len());
    match leaves.iter().find(|leaf| !seen.insert(&leaf.name)) {
        None => Ok(()),
        Some(twice) => {
            let reason =
                format!("two values would be called '{}', as which they are flattened; rename one", twice.name);
            Err(Error::invalid(reason))
        }
    }
}

impl Flat {
    /// What is lost when a state dict is flattened, a sentence each.
    fn notes(&self) -> Vec<String> {
        let container = TARGET.name;
        let table = [
            (&self.keys, "had keys that are no strings and become ones"),
            (&self.empty, "had no entries, and nothing in such a checkpoint stands for a dict without entries"),
            (&self.attributes, "had attributes, which are left out"),
        ];
        let named = table.into_iter().filter(|(paths, _)| !paths.is_empty());
        let classes = self.classes.iter().map(|(class, paths)| {
            format!("{}: the class {class} is not kept, a plain dict is written ({container})", named::listed(paths))
        });
        named.map(|(paths, what)| format!("{}: {what} ({container})", named::listed(paths))).chain(classes).collect()
    }
}

/// What is written, in the order of the file: values, then tensors. Values are pickled now, so that one that cannot be
/// written is found before any file is.
fn plan<'a>(
    leaves: &'a [Leaf],
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<(&'a Leaf, Option<Pickled>)>> {
    let mut owners: HashMap<usize, &str> = HashMap::new();
    let (tensors, values): (Vec<&Leaf>, Vec<&Leaf>) = leaves.iter().partition(|leaf| leaf.value.as_tensor().is_some());
    for leaf in &tensors {
        if let Some(storage) = leaf.value.as_tensor().and_then(Tensor::storage) {
            owners.entry(storage.id()).or_insert(&leaf.name);
        }
    }
    let mut planned = Vec::with_capacity(leaves.len());
    let options = PickleOptions { dialect: Dialect::Zip, allow_objects: options.allow_objects };
    for leaf in values {
        let pickled = pickle::write(&leaf.value, &options).at(format_args!("'{}'", leaf.name))?;
        notes.extend(pickled.notes.iter().map(|note| format!("'{}': {note}", leaf.name)));
        for storage in &pickled.storages {
            let owner = *owners.entry(storage.id()).or_insert(&leaf.name);
            if owner != &*leaf.name {
                notes.push(format!(
                    "'{}' and '{owner}': shared memory; in {} each has its own copy",
                    leaf.name, TARGET.name
                ));
            }
        }
        planned.push((leaf, Some(pickled)));
    }
    planned.extend(tensors.into_iter().map(|leaf| (leaf, None)));
    Ok(planned)
}

/// Writes an item as `torch.save` does, and gives its length.
fn write_item(out: &mut dyn Write, leaf: &Leaf, pickled: Option<&Pickled>) -> Result<u64> {
    /// What `torch.save` calls the folder in an archive without a file name.
    const TOP: &str = "archive";
    match (pickled, &leaf.value) {
        (None, Value::Tensor(tensor)) => {
            let copy = Value::from(compact(tensor)?);
            let options = PickleOptions { dialect: Dialect::Zip, allow_objects: false };
            zip::write_records(out, TOP, &pickle::write(&copy, &options)?)
        }
        (Some(pickled), _) => zip::write_records(out, TOP, pickled),
        (None, other) => Err(Error::wrong_type(&*leaf.name, "a tensor", other.describe())),
    }
}

/// The tensor over a storage of its own that holds its elements and nothing else, as `clone()` makes it: the dimensions keep
/// their order in memory where there are no gaps.
fn compact(tensor: &Tensor) -> Result<Tensor> {
    let order =
        tensor.stride().and_then(|stride| Some((named::memory_order(tensor.shape(), stride)?, stride.to_vec())));
    let Some((order, stride)) = order else {
        return Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), tensor.to_le_bytes()?);
    };
    let flat = permuted(tensor, &order)?;
    let flat = Tensor::from_le_bytes(flat.dtype(), flat.shape(), flat.to_le_bytes()?)?;
    match flat.storage() {
        Some(storage) => {
            let shape = tensor.shape().to_vec();
            Tensor::new(TensorParts::strided(tensor.dtype(), shape, storage.clone(), 0, stride))
        }
        None => Ok(flat),
    }
}

/// The first name for the data that no file has: the old checkpoint keeps its own until it is replaced.
fn free_name(folder: &Path) -> String {
    let mut names = (0_u64..).map(|number| format!("__0_{number}{SUFFIX}"));
    // There is always one more number.
    names.find(|name| !folder.join(name).exists()).unwrap_or_default()
}

/// Whether PyTorch could have given a file of a checkpoint this name.
fn belongs(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = name.strip_prefix("__") else { return name == METADATA };
    let data = rest.strip_suffix(SUFFIX).and_then(|numbers| numbers.split_once('_'));
    rest.strip_suffix(METADATA).is_some_and(digits) || data.is_some_and(|(rank, number)| digits(rank) && digits(number))
}
