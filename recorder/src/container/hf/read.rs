//! Reading a folder, or the index in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use crate::container::hf::agree::{self, Config};
use crate::container::hf::index::Index;
use crate::container::hf::names::{self, Found, is_index_name};
use crate::container::named::Metadata;
use crate::container::safetensors;
use crate::format::{HEAD, Read, ReadRanges, add_new};
use crate::io::Ranges;
use crate::walk::list_names;
use crate::{
    Error, FileBytes, Format, Global, Limits, OpenOptions, Opened, Result, ResultExt as _, StateDict, Value, io,
};

impl Format {
    /// Shards with an index, as Hugging Face publishes large models.
    pub const HF: Format = Format::named("hf");
}

/// Whether a file looks like an index: JSON with a `weight_map`.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    /// The metadata before the map is short.
    const HEAD: usize = 1 << 20;
    const KEY: &[u8] = b"\"weight_map\"";
    let start = file.get(..HEAD.min(file.len())).unwrap_or_default();
    start.trim_ascii_start().first() == Some(&b'{') && start.windows(KEY.len()).any(|window| window == KEY)
}

/// Reads a folder, or the index in it; `open` reads the files. Tensors are read when they are asked for.
///
/// # Errors
/// [`ErrorKind::NotACheckpoint`](crate::ErrorKind::NotACheckpoint) when the folder holds no model,
/// [`ErrorKind::Missing`](crate::ErrorKind::Missing) when a shard is missing,
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when shards lack a tensor of the index that is tied to no other; as the shards' own formats
/// otherwise. An error names the file it is about.
pub(crate) fn read(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let (name, said) = match names::find(folder)? {
        Found::File(name, said) => (name, said),
        Found::Shards(shards) => return read_without_index(folder, &shards, options, open).in_file(folder),
    };
    let path = folder.join(name);
    let file = FileBytes::open(&path)?;
    let is_index = detect(&file) || path.file_name().and_then(|name| name.to_str()).is_some_and(is_index_name);
    let opened = if is_index { read_index(&file, options, open) } else { open(&file, options) };
    let mut opened = opened.in_file(&path)?;
    opened.notes.splice(0..0, said);
    Ok(Opened { format: Format::HF, ..opened })
}

/// What is in one shard.
pub(super) struct Shard {
    pub(super) entries: IndexMap<Arc<str>, Value>,
    pub(super) metadata: Metadata,
    globals: Vec<Global>,
    bytes: u64,
}

/// Where a shard is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On this machine.
    Path(PathBuf),
    /// Elsewhere, with what it is called in messages; it is read part by part.
    Ranges(PathBuf, Arc<dyn Ranges>),
}

/// How shards are found and read.
struct Beside<'a> {
    /// Where the one of a name is; `None` where it is missing.
    place: &'a dyn Fn(&str) -> Option<Place>,
    options: &'a OpenOptions,
    open: Read,
    open_ranges: ReadRanges,
}

/// Reads an index and the shards beside it.
pub(crate) fn read_index(file: &FileBytes, options: &OpenOptions, open: Read) -> Result<Opened> {
    let folder = file.path().and_then(Path::parent).unwrap_or(Path::new(""));
    read_index_from(file, &Beside { place: &in_folder(folder), options, open, open_ranges: |_, _, _| Ok(None) })
}

/// Reads an index whose shards may be elsewhere; what belongs to it else lies beside it.
pub(crate) fn read_index_of_ranges(
    file: &FileBytes,
    place: &dyn Fn(&str) -> Option<Place>,
    options: &OpenOptions,
    open: Read,
    open_ranges: ReadRanges,
) -> Result<Opened> {
    read_index_from(file, &Beside { place, options, open, open_ranges })
}

fn read_index_from(file: &FileBytes, beside: &Beside<'_>) -> Result<Opened> {
    let options = beside.options;
    let index = Index::read(file, &options.limits)?;
    let folder = file.path().and_then(Path::parent).unwrap_or(Path::new(""));
    let names: IndexSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let notes = missing(beside, &names)?;
    let shards = Shards::open(names, beside)?;
    shards.merged(&index, folder, file.len() as u64, notes, options.lenient)
}

fn in_folder(folder: &Path) -> impl Fn(&str) -> Option<Place> + '_ {
    move |name| Some(folder.join(name)).filter(|path| path.exists()).map(Place::Path)
}

/// Reads shards of which no index says where each tensor is: all that they hold, where the reader is lenient.
fn read_without_index(folder: &Path, names: &[String], options: &OpenOptions, open: Read) -> Result<Opened> {
    let first = names.first().map(String::as_str).unwrap_or_default();
    let lacking = match names::lacking(names) {
        0 => String::new(),
        1 => ", and a shard is missing".to_owned(),
        count => format!(", and {count} shards are missing"),
    };
    let what = format!("the index of the shards ({first}, ...) is missing{lacking}");
    if !options.lenient {
        return Err(Error::missing(what).advise("pass `OpenOptions::lenient(true)` to read what the shards hold"));
    }
    let beside = Beside { place: &in_folder(folder), options, open, open_ranges: |_, _, _| Ok(None) };
    let shards = Shards::open(names.iter().map(String::as_str).collect(), &beside)?;
    let mut index = Index { metadata: Metadata::new(), total_size: None, weight_map: IndexMap::new() };
    for (file, shard) in &shards.read {
        for name in shard.iter().flat_map(|shard| shard.entries.keys()) {
            index.weight_map.entry(name.to_string()).or_insert_with(|| (*file).to_owned());
        }
    }
    let notes = vec![format!("{what}: all that the shards hold is read, in their order")];
    shards.merged(&index, folder, 0, notes, true)
}

/// Shards that were read, by their names; `None` for one that is missing.
struct Shards<'a> {
    read: IndexMap<&'a str, Option<Shard>>,
    globals: Vec<Global>,
    bytes: u64,
}

impl<'a> Shards<'a> {
    fn open(names: IndexSet<&'a str>, beside: &Beside<'_>) -> Result<Self> {
        let mut shards = Shards { read: IndexMap::with_capacity(names.len()), globals: Vec::new(), bytes: 0 };
        for name in names {
            let Some(place) = (beside.place)(name) else {
                shards.read.insert(name, None);
                continue;
            };
            let mut shard = match &place {
                Place::Path(path) => {
                    let file = FileBytes::open(path)?;
                    read_shard(&file, beside.options, beside.open).in_file(path)?
                }
                Place::Ranges(name, ranges) => read_shard_of_ranges(name, ranges, beside).in_file(name)?,
            };
            add_new(&mut shards.globals, std::mem::take(&mut shard.globals));
            shards.bytes = shards.bytes.saturating_add(shard.bytes);
            shards.read.insert(name, Some(shard));
        }
        Ok(shards)
    }

    /// The whole model, with the bytes of the index.
    fn merged(self, index: &Index, folder: &Path, bytes: u64, mut notes: Vec<String>, lenient: bool) -> Result<Opened> {
        let mut metadata = index.metadata.clone();
        for (key, text) in self.read.values().flatten().flat_map(|shard| &shard.metadata) {
            metadata.entry(key.clone()).or_insert_with(|| text.clone());
        }
        let (entries, said) = agree::entries(index, &self.read, &Config::read(folder), lenient)?;
        notes.extend(said);
        let value = safetensors::restore_ties(entries, metadata)?;
        let opened = Opened::new(Format::HF, value, self.globals, self.bytes.saturating_add(bytes));
        Ok(Opened { notes, ..opened })
    }
}

/// Looks for the shards that an index names and the folder lacks. A lenient reader goes on without them.
fn missing(beside: &Beside<'_>, names: &IndexSet<&str>) -> Result<Vec<String>> {
    if let Some(name) = names.iter().find(|name| !io::is_below(name)) {
        return Err(Error::damaged("weight_map", format!("'{name}' is no name of a file in this folder")));
    }
    let missing: Vec<&str> = names.iter().filter(|name| (beside.place)(name).is_none()).copied().collect();
    let what = match &missing[..] {
        [] => return Ok(Vec::new()),
        [one] => format!("the shard {one}, which the index names, is missing"),
        several => format!("{} shards that the index names are missing: {}", several.len(), list_names(several)),
    };
    if beside.options.lenient { Ok(vec![what + "; its tensors are left out"]) } else { Err(Error::missing(what)) }
}

/// The files that an index names, each once, below its folder.
pub(crate) fn shards(index: &FileBytes, limits: &Limits) -> Result<IndexSet<String>> {
    let shards = weight_map(index, limits)?.into_values();
    Ok(shards.filter(|name| io::is_below(name)).collect())
}

/// The file that an index names for each tensor.
pub(crate) fn weight_map(index: &FileBytes, limits: &Limits) -> Result<IndexMap<String, String>> {
    Index::read(index, limits).map(|index| index.weight_map)
}

fn read_shard(file: &FileBytes, options: &OpenOptions, open: Read) -> Result<Shard> {
    let bytes = file.len() as u64;
    if safetensors::detect(file) {
        let (entries, metadata) = safetensors::read_tensors(file, options)?;
        return Ok(Shard { entries, metadata, globals: Vec::new(), bytes });
    }
    if detect(file) {
        return Err(Error::damaged("the shard", "it is an index itself"));
    }
    shard_of(open(file, options)?, bytes)
}

fn read_shard_of_ranges(name: &Path, ranges: &Arc<dyn Ranges>, beside: &Beside<'_>) -> Result<Shard> {
    let (options, bytes) = (beside.options, ranges.len());
    let head = FileBytes::unnamed(ranges.read(0..bytes.min(HEAD))?);
    if safetensors::detect(&head) {
        let (entries, metadata) = safetensors::read_tensors_of_ranges(ranges, options)?;
        return Ok(Shard { entries, metadata, globals: Vec::new(), bytes });
    }
    match (beside.open_ranges)(name, ranges, options)? {
        Some(opened) => shard_of(opened, bytes),
        // What cannot be read part by part is read whole.
        None => read_shard(&FileBytes::unnamed(ranges.read(0..bytes)?), options, beside.open),
    }
}

/// What was read of a shard that is a checkpoint of its own.
fn shard_of(opened: Opened, bytes: u64) -> Result<Shard> {
    let state_dict = StateDict::from_value(&opened.value)?;
    let entries = state_dict.values().map(|(name, value)| (Arc::from(name), value.clone())).collect();
    Ok(Shard { entries, metadata: Metadata::new(), globals: opened.globals, bytes })
}
