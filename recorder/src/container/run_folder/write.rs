//! Writing a run's folder: what is as it was is copied, everything else written as it was.

use std::path::Path;

use indexmap::IndexMap;

use super::json::{self, Style};
use super::names::{belongs, is_state};
use super::origin::{File, Kind, Origin};
use crate::container::folder::{Files, WriteFile};
use crate::container::named::METADATA;
use crate::container::{hf, safetensors};
use crate::io::commit::commit_bytes;
use crate::{
    DType, Dict, Error, FileBytes, Format, IoResultExt as _, Limits, OpenOptions, Result, ResultExt as _, SaveOptions,
    SaveReport, StateDict, Tensor, Value, io,
};

/// Writes a value in a format.
pub(crate) type Save = fn(&Value, Format, &Path, &SaveOptions) -> Result<SaveReport>;

/// Writes a dict with a value for each file under its name, in the formats that they had in the folder that it came from. A
/// file that was not there is written as its name says: safetensors, JSON, the bytes of a tensor of bytes, else as
/// `torch.save` does.
///
/// # Errors
/// When it is no such dict, or a value cannot be written in the format of its file; [`Exists`](crate::ErrorKind::Exists) when
/// the folder holds a run that is not to be replaced.
pub(crate) fn write(
    root: &Value,
    origin: Option<&Origin>,
    path: &Path,
    options: &SaveOptions,
    save: Save,
) -> Result<SaveReport> {
    let Value::Dict(dict) = root else {
        let reason =
            format!("a run's folder is written from a dict with a value for each file, not {}", root.describe());
        return Err(Error::invalid(reason));
    };
    // What is written into the folder is new there.
    let options = &options.clone().overwrite(true);
    let mut in_order: Vec<(String, WriteFile)> = Vec::new();
    for (name, value) in dict.entries() {
        let name = name.as_str().filter(|name| io::is_below(name) && !name.contains('/')).map(str::to_owned);
        let name = name.ok_or_else(|| Error::invalid("a key of a run's folder is no name of a file"))?;
        let before = origin.and_then(|origin| origin.files.get(&name));
        match before {
            Some(file) if file.still_holds(&value) => copy(file, &name, &mut in_order),
            Some(file) if file.kind == Kind::Shards => shards(file, &value, options, save, &mut in_order)?,
            before => {
                let kind = before.map_or_else(|| kind_of(&name, &value), |file| file.kind);
                let write = changed(&name, value, kind, options, save)?;
                in_order.push((name, write));
            }
        }
    }
    // A folder without states is none of a run's.
    in_order.sort_by_key(|(name, _)| is_state(name));
    let names: Vec<String> = in_order.iter().map(|(name, _)| name.clone()).collect();
    let files = Files {
        in_order,
        belongs: Box::new(move |name| belongs(name) || names.iter().any(|new| new == name)),
        is_index: is_state,
    };
    files.commit(path, options.overwrite)
}

/// How a file that was not there is written.
fn kind_of(name: &str, value: &Value) -> Kind {
    let bytes = |tensor: &Tensor| tensor.dtype() == DType::UInt8 && tensor.shape().len() == 1;
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "safetensors" => Kind::Checkpoint(Format::SAFETENSORS, false),
        "json" => Kind::Json(Style::TRANSFORMERS),
        "pt" | "pth" | "bin" | "pkl" | "ckpt" => Kind::Checkpoint(Format::ZIP, false),
        _ if value.as_tensor().is_some_and(bytes) => Kind::Bytes,
        _ => Kind::Checkpoint(Format::ZIP, false),
    }
}

/// Writes the files of a value as they were.
fn copy<'a>(file: &'a File, name: &str, in_order: &mut Vec<(String, WriteFile<'a>)>) {
    if file.kind == Kind::Folder {
        in_order.push((name.to_owned(), Box::new(move |path: &Path| copy_folder(file, path))));
        return;
    }
    // An index comes after what it names.
    for (name, bytes) in file.bytes.iter().rev() {
        in_order.push((name.clone(), Box::new(move |path: &Path| copy_file(bytes, path))));
    }
}

fn copy_file(bytes: &FileBytes, path: &Path) -> Result<SaveReport> {
    commit_bytes(path, true, bytes)?;
    Ok(SaveReport { bytes: bytes.len() as u64, notes: Vec::new() })
}

fn copy_folder(file: &File, path: &Path) -> Result<SaveReport> {
    let mut report = SaveReport::default();
    // Their paths begin with the name of this folder.
    let inside = |name: &str| name.split_once('/').map_or_else(|| path.to_owned(), |(_, rest)| path.join(rest));
    for folder in &file.folders {
        std::fs::create_dir(inside(folder)).doing("cannot make the folder").in_file(inside(folder))?;
    }
    for (name, bytes) in &file.bytes {
        report.bytes = report.bytes.saturating_add(copy_file(bytes, &inside(name))?.bytes);
    }
    Ok(report)
}

/// Writes a value that is not as it was.
fn changed<'a>(name: &str, value: Value, kind: Kind, options: &SaveOptions, save: Save) -> Result<WriteFile<'a>> {
    match kind {
        Kind::Checkpoint(format, objects) => {
            let options = options.clone().allow_objects(options.allow_objects || objects).format(None);
            Ok(Box::new(move |path: &Path| save(&value, format, path, &options)))
        }
        Kind::Json(style) => {
            let text = json::text(&value, style).at(name)?;
            Ok(Box::new(move |path: &Path| {
                commit_bytes(path, true, text.as_bytes())?;
                Ok(SaveReport { bytes: text.len() as u64, notes: Vec::new() })
            }))
        }
        Kind::Bytes => {
            let bytes = value.as_tensor().filter(|tensor| tensor.dtype() == DType::UInt8).map(Tensor::to_le_bytes);
            let Some(bytes) = bytes.transpose()? else {
                let reason = format!("a tensor of bytes is written as this file, not {}", value.describe());
                return Err(Error::invalid(reason).at(name));
            };
            Ok(Box::new(move |path: &Path| {
                commit_bytes(path, true, &bytes)?;
                Ok(SaveReport { bytes: bytes.len() as u64, notes: Vec::new() })
            }))
        }
        Kind::Folder | Kind::Shards => {
            let what = format!("writing the folder {name}, in which something was changed,");
            Err(Error::unsupported(what).advise("it can only be copied as it is"))
        }
    }
}

/// Writes the shards with the tensors that the index says, and the index as it was.
fn shards<'a>(
    file: &'a File,
    value: &Value,
    options: &SaveOptions,
    save: Save,
    in_order: &mut Vec<(String, WriteFile<'a>)>,
) -> Result<()> {
    let [(index_name, index), shards @ ..] = &*file.bytes else { return Ok(()) };
    let weight_map = hf::weight_map(index, &Limits::default())?;
    let state_dict = StateDict::from_value(value)?;
    let mut parts: IndexMap<&str, Dict> = shards.iter().map(|(name, _)| (name.as_str(), Dict::ordered())).collect();
    for (name, tensor) in state_dict.values() {
        let part = weight_map.get(name).and_then(|shard| parts.get_mut(shard.as_str()));
        match part {
            Some(part) => drop(part.insert(name, tensor.clone())),
            // A tied weight is in the file once.
            None if value_is_twice(&state_dict, name, &weight_map) => {}
            None => {
                let reason = format!("'{name}' is new, and the index of the shards names no file for it");
                return Err(Error::invalid(reason).at(index_name));
            }
        }
    }
    for (name, bytes) in shards {
        let part = parts.shift_remove(name.as_str()).unwrap_or_default();
        let format = if safetensors::detect(bytes) { Format::SAFETENSORS } else { Format::ZIP };
        if format == Format::SAFETENSORS {
            let (_, metadata) = safetensors::read_tensors(bytes, &OpenOptions::default())?;
            let metadata = Value::from(metadata.into_iter().collect::<Dict>());
            part.write().state = Some(Dict::from_iter([(METADATA, metadata)]).into());
        }
        let (part, options) = (Value::from(part), options.clone().format(None));
        in_order.push((name.clone(), Box::new(move |path: &Path| save(&part, format, path, &options))));
    }
    in_order.push((index_name.clone(), Box::new(move |path: &Path| copy_file(index, path))));
    Ok(())
}

/// Whether a tensor is in the index under another name.
fn value_is_twice(state_dict: &StateDict, name: &str, weight_map: &IndexMap<String, String>) -> bool {
    let Some(view) = state_dict.get(name).map(Tensor::view) else { return false };
    state_dict.iter().any(|(other, tensor)| weight_map.contains_key(other) && tensor.view() == view)
}
