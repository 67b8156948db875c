//! Writing a folder as `save_pretrained` does: the same names, the same sizes.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::folder::{Files, WriteFile};
use crate::container::hf::index;
use crate::container::hf::names::{INDEX, MODELS};
use crate::container::hf::split::{DEFAULT_SHARD_SIZE, Split, Weight, split};
use crate::container::named::{Item, Metadata, Named};
use crate::container::safetensors::{self, FORMAT};
use crate::container::zip;
use crate::io;
use crate::{Dict, Error, IoResultExt as _, Result, SaveOptions, SaveReport, StateDict, Tensor, Value};

crate::settings! {
    /// How a model is split into files.
    #[derive(Clone, Debug)]
    pub struct ShardOptions {
        /// How many bytes of tensors one file may hold. Default 5 GB ([`DEFAULT_SHARD_SIZE`]).
        max_shard_size: u64 = DEFAULT_SHARD_SIZE,
        /// What the files are. Default safetensors.
        format: ShardFormat = ShardFormat::default(),
    }
}

/// What the files of a model are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShardFormat {
    /// `model.safetensors`.
    #[default]
    Safetensors,
    /// `pytorch_model.bin`, by `torch.save`.
    Bin,
}

impl ShardFormat {
    /// How the names of its files begin and end.
    fn ends(self) -> (&'static str, &'static str) {
        match self {
            ShardFormat::Safetensors => ("model", ".safetensors"),
            ShardFormat::Bin => ("pytorch_model", ".bin"),
        }
    }

    /// The name of the only file, or of one of several.
    fn file_name(self, shard: usize, shards: usize) -> String {
        let (stem, extension) = self.ends();
        match shards {
            1 => format!("{stem}{extension}"),
            _ => format!("{stem}-{:05}-of-{shards:05}{extension}", shard + 1),
        }
    }

    /// Whether `save_pretrained` could have given a file this name.
    fn owns(self, name: &str) -> bool {
        let (stem, extension) = self.ends();
        let Some(rest) = name.strip_prefix(stem) else { return false };
        let Some(suffix) = rest.strip_suffix(INDEX).unwrap_or(rest).strip_suffix(extension) else { return false };
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = suffix.strip_prefix('-').and_then(|numbers| numbers.split_once("-of-"));
        suffix.is_empty() || numbers.is_some_and(|(shard, shards)| digits(shard) && digits(shards))
    }
}

/// Writes a state dict as a folder of safetensors files of at most [`SaveOptions::max_shard_size`]: [`write_shards`].
///
/// # Errors
/// As [`write_shards`].
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let max_shard_size = options.max_shard_size.unwrap_or(DEFAULT_SHARD_SIZE);
    write_shards(root, path, options, &ShardOptions::default().max_shard_size(max_shard_size))
}

/// Writes a state dict as a folder. Files of an older model under the same names are replaced, others in the folder stay.
///
/// # Errors
/// As [`safetensors::write`](crate::container::safetensors::write) and [`zip::write`](crate::container::zip::write), whichever the files are;
/// [`ErrorKind::Exists`] when the folder holds a model that was not to be replaced, [`ErrorKind::Invalid`] when it holds
/// one that readers would prefer.
pub fn write_shards(root: &Value, path: &Path, options: &SaveOptions, shards: &ShardOptions) -> Result<SaveReport> {
    if let (ShardFormat::Bin, Some(preferred)) = (shards.format, preferred_file(path)) {
        let reason = format!(
            "the folder holds {preferred}, which readers prefer to the new file; remove it or choose another folder"
        );
        return Err(Error::invalid(reason));
    }
    let planned = match shards.format {
        ShardFormat::Safetensors => Planned::safetensors(root, shards)?,
        ShardFormat::Bin => Planned::bin(root, shards, options)?,
    };
    planned.commit(path, options, shards.format)
}

fn preferred_file(path: &Path) -> Option<String> {
    let name = MODELS[0];
    [name.to_owned(), format!("{name}{INDEX}")].into_iter().find(|name| path.join(name).exists())
}

/// The files of a model before any is written.
struct Planned<'a> {
    files: Vec<(String, WriteFile<'a>)>,
    /// What the index says where there are several.
    index: String,
    notes: Vec<String>,
}

impl<'a> Planned<'a> {
    fn safetensors(root: &Value, shards: &ShardOptions) -> Result<Self> {
        let named = Named::of(root, &safetensors::TARGET)?;
        let metadata = safetensors::record_ties(&named)?;
        let Named { tensors, notes, .. } = named;
        let kept: Vec<Item> = tensors.into_iter().filter(|item| item.tied.is_none()).collect();
        let layout = Layout::of(kept.iter().map(|item| (&*item.name, Some(&item.tensor))), shards);
        let index = layout.index(&metadata)?;
        // Several files tell only the format; the rest is said once, in the index.
        let of_file = if layout.files.len() == 1 { metadata } else { only_format(metadata) };
        let kept = Arc::new(kept);
        let file = |(name, members): (String, Vec<usize>)| {
            let (kept, metadata) = (Arc::clone(&kept), of_file.clone());
            // Laid out twice, so that a tensor that cannot be written is found before any file is.
            safetensors::File::lay_out(members.iter().map(|&member| &kept[member]), &metadata)?;
            let write = move |path: &Path| {
                let file = safetensors::File::lay_out(members.iter().map(|&member| &kept[member]), &metadata)?;
                io::commit(path, false, |out| file.write(out))?;
                Ok(SaveReport { bytes: file.bytes, notes: Vec::new() })
            };
            Ok((name, Box::new(write) as WriteFile<'a>))
        };
        Ok(Planned { files: layout.files.into_iter().map(file).collect::<Result<_>>()?, index, notes })
    }

    fn bin(root: &Value, shards: &ShardOptions, options: &'a SaveOptions) -> Result<Self> {
        let state_dict = StateDict::from_value(root)?;
        let layout = Layout::of(state_dict.values().map(|(name, value)| (name, value.as_tensor())), shards);
        let index = layout.index(&Metadata::new())?;
        let whole = layout.files.len() == 1;
        let entries: Vec<(&str, &Value)> = state_dict.values().collect();
        let file = |(name, members): (String, Vec<usize>)| {
            let part =
                || members.iter().map(|&member| (entries[member].0, entries[member].1.clone())).collect::<Dict>();
            let part = if whole { root.clone() } else { part().into() };
            (name, Box::new(move |path: &Path| zip::write(&part, path, options)) as WriteFile<'a>)
        };
        let files = layout.files.iter().cloned().map(file).collect();
        Ok(Planned { files, index, notes: Vec::new() })
    }

    fn commit(mut self, path: &Path, options: &SaveOptions, format: ShardFormat) -> Result<SaveReport> {
        if self.files.len() > 1 {
            let text = self.index;
            let write = move |path: &Path| {
                io::commit(path, false, |out| out.write_all(text.as_bytes()).doing("cannot write the index"))?;
                Ok(SaveReport { bytes: text.len() as u64, notes: Vec::new() })
            };
            self.files.push((format!("{}{INDEX}", format.file_name(0, 1)), Box::new(write)));
        }
        let files = Files {
            in_order: self.files,
            belongs: Box::new(move |name| format.owns(name)),
            is_index: |name| name.ends_with(INDEX),
        };
        let mut report = files.commit(path, options.overwrite)?;
        report.notes.splice(0..0, self.notes);
        Ok(report)
    }
}

fn only_format(metadata: Metadata) -> Metadata {
    metadata.into_iter().filter(|(key, _)| key == FORMAT).collect()
}

/// Which tensor goes into which file.
struct Layout {
    /// Each file with the places of its tensors, which keep the order of the state dict.
    files: Vec<(String, Vec<usize>)>,
    weight_map: IndexMap<String, String>,
    total_size: u64,
}

impl Layout {
    fn of<'t>(tensors: impl Iterator<Item = (&'t str, Option<&'t Tensor>)>, options: &ShardOptions) -> Self {
        let (names, weights): (Vec<&str>, Vec<Weight>) =
            tensors.map(|(name, tensor)| (name, Weight::of(tensor))).unzip();
        let Split { mut shards, total_size } = split(&weights, options.max_shard_size);
        if shards.is_empty() {
            shards.push(Vec::new());
        }
        let count = shards.len();
        let mut weight_map: IndexMap<String, String> =
            names.iter().map(|&name| (name.to_owned(), String::new())).collect();
        let mut files = Vec::with_capacity(count);
        for (number, mut members) in shards.into_iter().enumerate() {
            let file = options.format.file_name(number, count);
            members.sort_unstable();
            for &member in &members {
                weight_map[member].clone_from(&file);
            }
            files.push((file, members));
        }
        Layout { files, weight_map, total_size }
    }

    fn index(&self, metadata: &Metadata) -> Result<String> {
        let said = metadata.iter().filter(|(key, _)| *key != FORMAT).map(|(key, value)| (key.clone(), value.clone()));
        index::text(&said.collect(), self.total_size, self.weight_map.clone())
    }
}
