//! What programs keep beside a distributed checkpoint: in Lightning's `meta.pt` and Megatron's `common.pt` is everything that no process
//! has a part of. Each is put together with the checkpoint as the program itself does.

use std::path::{Path, PathBuf};

use super::read::{detect_folder, read};
use crate::container::named;
use crate::format::{Read, add_new};
use crate::{Dict, FileBytes, OpenOptions, Opened, Result, ResultExt as _, Value, io};

/// The files with the rest of a checkpoint.
const FILES: [&str; 2] = ["meta.pt", "common.pt"];
/// Other files of a checkpoint's, which are said not to be read.
const OTHERS: [&str; 6] = ["pt", "pth", "bin", "ckpt", "pkl", "safetensors"];

/// The file in which Megatron-LM says which of its folders is the newest.
const NEWEST: &str = "latest_checkpointed_iteration.txt";

/// The folder of the newest iteration, where this is the one around Megatron's and that a distributed checkpoint.
fn newest(folder: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(folder.join(NEWEST)).ok()?;
    let name = match text.trim() {
        "release" => "release".to_owned(),
        number => format!("iter_{:07}", number.parse::<u64>().ok()?),
    };
    let inside = folder.join(name);
    io::names(&inside).is_ok_and(|names| detect_folder(&inside, &names)).then_some(inside)
}

/// Whether a folder holds the metadata of a distributed checkpoint, or is the one around Megatron's.
pub(crate) fn detect(folder: &Path, names: &[String]) -> bool {
    detect_folder(folder, names) || newest(folder).is_some()
}

/// Reads a folder, and what is beside the checkpoint in it; `open` reads a file.
///
/// # Errors
/// As [`read`], and as the files' own formats.
pub(crate) fn read_folder(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let names = io::names(folder)?;
    let inside = if detect_folder(folder, &names) { None } else { newest(folder) };
    let folder = inside.as_deref().unwrap_or(folder);
    let mut opened = read(folder, options)?;
    let mut unread = Vec::new();
    for name in io::names(folder)? {
        let path = folder.join(&name);
        let is_other = Path::new(&name).extension().is_some_and(|it| OTHERS.iter().any(|other| it == *other));
        if !FILES.contains(&&*name) {
            if is_other && path.is_file() {
                unread.push(name);
            }
            continue;
        }
        let more = FileBytes::open(&path).and_then(|file| open(&file, options)).in_file(&path)?;
        let (Some(root), Some(rest)) = (opened.value.as_dict(), more.value.as_dict()) else {
            unread.push(name);
            continue;
        };
        opened.notes.push(format!("{}: read from {name}, beside the parts", named::listed(&keys(rest))));
        opened.value = together(root, rest).into();
        opened.bytes = opened.bytes.saturating_add(more.bytes);
        add_new(&mut opened.globals, more.globals);
    }
    if !unread.is_empty() {
        opened.notes.push(format!("{}: in the folder beside the checkpoint, and not read", named::listed(&unread)));
    }
    Ok(opened)
}

fn keys(dict: &Dict) -> Vec<String> {
    dict.entries().iter().filter_map(|(key, _)| key.as_str().map(str::to_owned)).collect()
}

/// A checkpoint and the rest of it; of Lightning's Trainer under the names that it gave them.
fn together(root: &Dict, rest: &Dict) -> Dict {
    let all = Dict::new();
    let of_trainer = rest.get("pytorch-lightning_version").is_some() && root.get("state_dict").is_none();
    let mut optimizers = Vec::new();
    for (key, value) in root.entries() {
        match key.as_str() {
            Some("model") if of_trainer => drop(all.insert("state_dict", value)),
            Some(name) if of_trainer && is_optimizer(name) => optimizers.push(value),
            _ => drop(all.insert(key, value)),
        }
    }
    if !optimizers.is_empty() {
        all.insert("optimizer_states", Value::list(optimizers));
    }
    add(&all, rest);
    all
}

/// `optimizer_0`, `optimizer_1`, ...
fn is_optimizer(name: &str) -> bool {
    name.strip_prefix("optimizer_").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Adds what is not there; of dicts in both what is in them.
fn add(all: &Dict, rest: &Dict) {
    for (key, value) in rest.entries() {
        match (all.get_key(&key), &value) {
            (Some(Value::Dict(there)), Value::Dict(more)) => add(&there, more),
            (Some(_), _) => {}
            (None, _) => drop(all.insert(key, value)),
        }
    }
}
