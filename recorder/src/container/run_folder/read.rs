//! Reading a run's folder, file by file.

use std::path::Path;
use std::sync::Arc;

use super::json::{self, Style};
use super::names::{TRAINER_STATE, is_part, is_state};
use super::origin::{File, Kind, Origin};
use crate::container::ranks::deepspeed;
use crate::container::{dcp, hf, named};
use crate::format::{Read, add_new};
use crate::pickle::{Verdict, verdict};
use crate::{DType, Dict, Error, FileBytes, Format, Global, OpenOptions, Opened, Result, ResultExt as _, Value, io};

impl Format {
    /// A folder with a file for each part of a run, as transformers' Trainer and accelerate leave them.
    pub const RUN_FOLDER: Format = Format::named("run-folder");
}

/// A text of JSON that is longer is kept as its bytes, such as a tokenizer's; but for what says where the run is.
const LONGEST_JSON: usize = 1 << 20;

/// How deep folders are looked into.
const DEEPEST: usize = 16;

/// Whether a folder with these names is one of a run.
pub(crate) fn detect(folder: &Path, names: &[String]) -> bool {
    names.iter().any(|name| is_state(name) && folder.join(name).is_file())
}

/// Reads a folder; `open` reads the files that are checkpoints.
///
/// # Errors
/// As the files' own formats for the parts of the run, and when a shard is missing. An error names the file. Any other file
/// that cannot be read as a checkpoint is kept as its bytes.
pub(crate) fn read(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let names = text_names(folder)?;
    let mut reader = Reader { options, open, globals: Vec::new(), notes: Vec::new(), bytes: 0, files: 0 };
    let root = Dict::new();
    let mut origin = Origin::default();
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        found.push(if path.is_dir() { reader.folder(&path, name)? } else { reader.file(&path, name)? });
    }
    // Shards are read with their index.
    let shards: Vec<String> = found.iter().flat_map(|found| found.shards.clone()).collect();
    for Found { name, value, file, .. } in found {
        if !shards.contains(&name) {
            root.insert(name.as_str(), value);
            origin.files.insert(name, file);
        }
    }
    let opened = Opened::new(Format::RUN_FOLDER, root.into(), reader.globals, reader.bytes);
    Ok(Opened { notes: reader.notes, folder: Some(Arc::new(origin)), ..opened })
}

/// The names of what is in a folder; none may be lost.
fn text_names(folder: &Path) -> Result<Vec<String>> {
    let names = io::list(folder)?.into_iter().map(|name| {
        name.into_string().map_err(|name| {
            Error::unsupported(format!("the file name '{}', which is no text,", name.display())).in_file(folder)
        })
    });
    names.collect()
}

struct Reader<'a> {
    options: &'a OpenOptions,
    open: Read,
    globals: Vec<Global>,
    notes: Vec<String>,
    bytes: u64,
    files: u64,
}

/// What was found under a name.
struct Found {
    name: String,
    value: Value,
    file: File,
    /// The other files that it is read from.
    shards: Vec<String>,
}

impl Reader<'_> {
    fn open_file(&mut self, path: &Path) -> Result<FileBytes> {
        let file = FileBytes::open(path)?;
        self.bytes = self.bytes.saturating_add(file.len() as u64);
        self.files += 1;
        if self.files > self.options.limits.records {
            return Err(Error::limit("a folder of so many files", self.options.limits.records).in_file(path));
        }
        Ok(file)
    }

    fn file(&mut self, path: &Path, name: String) -> Result<Found> {
        let file = self.open_file(path)?;
        if hf::detect(&file) {
            return self.index(path, name, file);
        }
        let (kind, value) = match self.content(&file, &name).in_file(path) {
            Ok(content) => content,
            Err(error) if is_part(&name) => return Err(error),
            Err(_) => (Kind::Bytes, bytes(&file)?),
        };
        let bytes = vec![(name.clone(), file)];
        Ok(Found { file: File::new(kind, &value, bytes, Vec::new()), name, value, shards: Vec::new() })
    }

    fn content(&mut self, file: &FileBytes, name: &str) -> Result<(Kind, Value)> {
        if json::detect(file) && (name == TRAINER_STATE || file.len() <= LONGEST_JSON) {
            return Ok((Kind::Json(Style::of(file)), json::read(file, &self.options.limits)?));
        }
        let opened = (self.open)(file, self.options)?;
        let objects = opened.globals.iter().any(|global| verdict(global) != Verdict::Torch);
        add_new(&mut self.globals, opened.globals);
        Ok((Kind::Checkpoint(opened.format, objects), opened.value))
    }

    /// An index, and the shards that it names.
    fn index(&mut self, path: &Path, name: String, file: FileBytes) -> Result<Found> {
        let opened = hf::read_index(&file, self.options, self.open).in_file(path)?;
        self.notes.extend(opened.notes);
        add_new(&mut self.globals, opened.globals);
        let shards: Vec<String> = hf::shards(&file, &self.options.limits)?.into_iter().collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut bytes = vec![(name.clone(), file)];
        for shard in &shards {
            bytes.push((shard.clone(), FileBytes::open(&folder.join(shard))?));
        }
        let file = File::new(Kind::Shards, &opened.value, bytes, Vec::new());
        Ok(Found { name, value: opened.value, file, shards })
    }

    /// A folder inside: what a distributed checkpoint holds, or the bytes of each file.
    fn folder(&mut self, path: &Path, name: String) -> Result<Found> {
        let (mut bytes, mut folders) = (Vec::new(), vec![name.clone()]);
        let plain = self.files_in(path, &name, 0, &mut bytes, &mut folders)?;
        let value = if dcp::detect_folder(path, &text_names(path)?) {
            let opened = dcp::read(path, self.options).in_file(path)?;
            add_new(&mut self.globals, opened.globals);
            opened.value
        } else if deepspeed::detect(path, &text_names(path)?) {
            match deepspeed::read(path, self.options, self.open) {
                Ok(opened) => {
                    add_new(&mut self.globals, opened.globals);
                    self.notes.extend(opened.notes.into_iter().map(|note| format!("{name}: {note}")));
                    opened.value
                }
                // What is not needed to go on is kept as it is.
                Err(error) => {
                    self.notes.push(format!("{name}: not merged, and kept as the bytes of its files: {error}"));
                    plain
                }
            }
        } else {
            plain
        };
        let file = File::new(Kind::Folder, &value, bytes, folders);
        Ok(Found { name, value, file, shards: Vec::new() })
    }

    fn files_in(
        &mut self,
        path: &Path,
        here: &str,
        depth: usize,
        all: &mut Vec<(String, FileBytes)>,
        folders: &mut Vec<String>,
    ) -> Result<Value> {
        if depth > DEEPEST {
            return Err(Error::limit("the nesting of folders", DEEPEST as u64).in_file(path));
        }
        let dict = Dict::new();
        for name in text_names(path)? {
            let (inside, here) = (path.join(&name), format!("{here}/{name}"));
            if inside.is_dir() {
                folders.push(here.clone());
                dict.insert(name, self.files_in(&inside, &here, depth + 1, all, folders)?);
            } else {
                let file = self.open_file(&inside)?;
                dict.insert(name, bytes(&file)?);
                all.push((here, file));
            }
        }
        Ok(dict.into())
    }
}

/// A file's bytes as a tensor.
fn bytes(file: &FileBytes) -> Result<Value> {
    let name = file.path().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let slice = named::Slice::new(&name.unwrap_or_default(), file.bytes());
    named::tensor(DType::UInt8, vec![file.len()], slice).map(Value::from)
}
