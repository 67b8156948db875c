//! Reading a folder, or the index in it.

use std::path::Path;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use crate::container::hf::agree::{self, Config};
use crate::container::hf::index::{INDEX, Index, MODELS};
use crate::container::named::Metadata;
use crate::container::safetensors;
use crate::format::{Read, add_new};
use crate::walk::list_names;
use crate::{
    Error, FileBytes, Format, Global, Limits, OpenOptions, Opened, Result, ResultExt as _, StateDict, Value, io,
};

impl Format {
    /// Shards with an index, as Hugging Face publishes large models.
    pub const HF: Format = Format::named("hf");
}

/// Whether a folder that has a file of this name is a model of Hugging Face's.
#[must_use]
pub fn detect_name(name: &str) -> bool {
    MODELS.contains(&name) || is_index_name(name)
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

fn is_index_name(name: &str) -> bool {
    name.strip_suffix(INDEX).is_some_and(|stem| matches!(stem.rsplit_once('.'), Some((_, "safetensors" | "bin"))))
}

/// Reads a folder, or the index in it; `open` reads the files. Tensors are read when they are asked for.
///
/// # Errors
/// [`ErrorKind::NotACheckpoint`](crate::ErrorKind::NotACheckpoint) when the folder holds no model,
/// [`ErrorKind::Missing`](crate::ErrorKind::Missing) when a shard is missing,
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when shards lack a tensor of the index that is tied to no other; as the shards' own formats
/// otherwise. An error names the file it is about.
pub(crate) fn read(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let path = folder.join(find(folder)?);
    let file = FileBytes::open(&path)?;
    let is_index = detect(&file) || path.to_str().is_some_and(is_index_name);
    let opened = if is_index { read_index(&file, options, open) } else { open(&file, options) };
    Ok(Opened { format: Format::HF, ..opened.in_file(&path)? })
}

/// The name of the model's file in a folder: a single file before an index of the same kind, known names before others.
fn find(folder: &Path) -> Result<String> {
    let names = io::names(folder)?;
    for model in MODELS {
        let index = format!("{model}{INDEX}");
        if let Some(name) = [model, &index].into_iter().find(|wanted| names.iter().any(|name| name == wanted)) {
            return Ok(name.to_owned());
        }
    }
    let mut others: Vec<String> = names.into_iter().filter(|name| is_index_name(name)).collect();
    match (others.pop(), others.is_empty()) {
        (Some(index), true) => Ok(index),
        (Some(_), false) => {
            Err(Error::not_a_checkpoint("the folder holds several indexes of shards; name one of them").in_file(folder))
        }
        (None, _) => {
            let reason = format!("the folder holds neither {} nor an index of shards", MODELS[..2].join(" nor "));
            Err(Error::not_a_checkpoint(reason).in_file(folder))
        }
    }
}

/// What is in one shard.
pub(super) struct Shard {
    pub(super) entries: IndexMap<Arc<str>, Value>,
    pub(super) metadata: Metadata,
    globals: Vec<Global>,
    bytes: u64,
}

/// Reads an index and the shards beside it.
pub(crate) fn read_index(file: &FileBytes, options: &OpenOptions, open: Read) -> Result<Opened> {
    let index = Index::read(file, &options.limits)?;
    let folder = file.path().and_then(Path::parent).unwrap_or(Path::new(""));
    let names: IndexSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut notes = missing(folder, &names, options)?;
    let mut metadata = index.metadata.clone();
    let (mut globals, mut bytes) = (Vec::new(), file.len() as u64);
    let mut shards = IndexMap::with_capacity(names.len());
    for name in names {
        let path = folder.join(name);
        if !path.exists() {
            shards.insert(name, None);
            continue;
        }
        let file = FileBytes::open(&path)?;
        let mut shard = read_shard(&file, options, open).in_file(&path)?;
        for (key, text) in &shard.metadata {
            metadata.entry(key.clone()).or_insert_with(|| text.clone());
        }
        add_new(&mut globals, std::mem::take(&mut shard.globals));
        bytes = bytes.saturating_add(shard.bytes);
        shards.insert(name, Some(shard));
    }
    let (entries, said) = agree::entries(&index, &shards, &Config::read(folder), options.lenient)?;
    notes.extend(said);
    let value = safetensors::restore_ties(entries, metadata)?;
    Ok(Opened { notes, ..Opened::new(Format::HF, value, globals, bytes) })
}

/// Looks for the shards that an index names and the folder lacks. A lenient reader goes on without them.
fn missing(folder: &Path, names: &IndexSet<&str>, options: &OpenOptions) -> Result<Vec<String>> {
    if let Some(name) = names.iter().find(|name| !io::is_below(name)) {
        return Err(Error::damaged("weight_map", format!("'{name}' is no name of a file in this folder")));
    }
    let missing: Vec<&str> = names.iter().filter(|name| !folder.join(name).exists()).copied().collect();
    let what = match &missing[..] {
        [] => return Ok(Vec::new()),
        [one] => format!("the shard {one}, which the index names, is missing"),
        several => format!("{} shards that the index names are missing: {}", several.len(), list_names(several)),
    };
    if options.lenient { Ok(vec![what + "; its tensors are left out"]) } else { Err(Error::missing(what)) }
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
    let opened = open(file, options)?;
    let state_dict = StateDict::from_value(&opened.value)?;
    let entries = state_dict.values().map(|(name, value)| (Arc::from(name), value.clone())).collect();
    Ok(Shard { entries, metadata: Metadata::new(), globals: opened.globals, bytes })
}
