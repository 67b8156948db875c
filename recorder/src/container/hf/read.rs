//! Reading a folder, or the index in it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use crate::container::hf::index::{INDEX, Index, MODELS};
use crate::container::named::Metadata;
use crate::container::safetensors;
use crate::{
    Error, FileBytes, Format, Global, Limits, OpenOptions, Opened, Result, ResultExt as _, StateDict, Value, io,
};

impl Format {
    /// Shards with an index, as Hugging Face publishes large models.
    pub const HF: Format = Format::named("hf");
}

/// Reads a file of any format.
type Read = fn(&FileBytes, &OpenOptions) -> Result<Opened>;

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
/// [`ErrorKind::Truncated`](crate::ErrorKind::Truncated) when a shard is missing,
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when a shard lacks a tensor of the index or holds one that is not in it; as the shards'
/// own formats otherwise. An error names the file it is about.
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
struct Shard {
    entries: IndexMap<Arc<str>, Value>,
    metadata: Metadata,
    globals: Vec<Global>,
    bytes: u64,
}

/// Reads an index and the shards beside it.
pub(crate) fn read_index(file: &FileBytes, options: &OpenOptions, open: Read) -> Result<Opened> {
    let index = Index::read(file, &options.limits)?;
    let folder = file.path().and_then(Path::parent).unwrap_or(Path::new(""));
    let mut shards: HashMap<&str, Shard> = HashMap::new();
    let mut metadata = index.metadata;
    let (mut globals, mut bytes) = (Vec::new(), file.len() as u64);
    let mut entries = IndexMap::with_capacity(index.weight_map.len());
    for (name, shard_name) in &index.weight_map {
        if !shards.contains_key(shard_name.as_str()) {
            let shard = open_shard(folder, shard_name, options, open)?;
            check_all_named(&shard, shard_name, &index.weight_map).in_file(folder.join(shard_name))?;
            for (key, text) in &shard.metadata {
                metadata.entry(key.clone()).or_insert_with(|| text.clone());
            }
            globals
                .extend(shard.globals.iter().filter(|global| !globals.contains(*global)).cloned().collect::<Vec<_>>());
            bytes = bytes.saturating_add(shard.bytes);
            shards.insert(shard_name, shard);
        }
        let value = shards.get(shard_name.as_str()).and_then(|shard| shard.entries.get(name.as_str()));
        let Some(value) = value else {
            return Err(Error::damaged(format!("weight_map, '{name}'"), format!("{shard_name} holds no such tensor")));
        };
        entries.insert(Arc::from(name.as_str()), value.clone());
    }
    let value = safetensors::restore_ties(entries, metadata)?;
    Ok(Opened { format: Format::HF, value, globals, bytes, folder: None })
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

fn open_shard(folder: &Path, name: &str, options: &OpenOptions, open: Read) -> Result<Shard> {
    if !io::is_below(name) {
        return Err(Error::damaged("weight_map", format!("'{name}' is no name of a file in this folder")));
    }
    let path = folder.join(name);
    if !path.exists() {
        return Err(Error::truncated(format!("the shard {name}, which the index names, is missing")));
    }
    let file = FileBytes::open(&path)?;
    read_shard(&file, options, open).in_file(&path)
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

/// What a shard holds must stand in the index, under this shard's name.
fn check_all_named(shard: &Shard, shard_name: &str, weight_map: &IndexMap<String, String>) -> Result<()> {
    for name in shard.entries.keys() {
        let reason = match weight_map.get(&**name) {
            Some(named) if named == shard_name => continue,
            Some(named) => format!("the index says that it is in {named}"),
            None => "the index does not name it".to_owned(),
        };
        return Err(Error::damaged(format!("tensor '{name}'"), reason));
    }
    Ok(())
}
