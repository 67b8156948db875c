//! An archive's programs with all that belongs to each: what they compute (as the JSON document that torch wrote), their
//! weights, constants and sample inputs. Nothing is interpreted here.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::program::{Export, is_archive};
#[cfg(doc)]
use crate::ErrorKind;
use crate::container::zip::{Archive, Storages, detect};
use crate::{Error, FileBytes, OpenOptions, Result, ResultExt as _, Value};

/// A program of a `.pt2` archive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportedProgram {
    /// Its name: `model` where nobody gave another.
    pub name: Arc<str>,
    /// The document that says what it computes, as JSON (`ExportedProgram` of `torch/_export/serde/schema.py`).
    pub document: Bytes,
    /// Its parameters and persistent buffers by name, in order.
    pub weights: Vec<(Arc<str>, Value)>,
    /// Its constants by name: buffers that are no part of the state dict, tensors in its code, objects.
    pub constants: Vec<(Arc<str>, Value)>,
    /// The inputs it was exported with, where they were saved: `((args...), {kwargs})`.
    pub sample_inputs: Option<Value>,
}

/// Reads the programs of a `.pt2` archive, of PyTorch 2.1 or later.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when it holds compiled code and no program; [`ErrorKind::NotACheckpoint`] when it is no such archive;
/// whatever reading its weights says.
pub fn programs(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Vec<ExportedProgram>> {
    let path = path.as_ref();
    FileBytes::open(path).and_then(|file| read(&file, options)).in_file(path)
}

fn read(file: &FileBytes, options: &OpenOptions) -> Result<Vec<ExportedProgram>> {
    let archive = if detect(file) { Some(Arc::new(Archive::open(file.bytes(), &options.limits)?)) } else { None };
    let Some(archive) = archive.filter(|archive| is_archive(archive)) else {
        return Err(Error::invalid("the file is no archive of torch.export's (.pt2)"));
    };
    if archive.names().any(|name| name.starts_with("data/aotinductor/")) && !has_programs(&archive) {
        let what = "an archive of compiled code (AOTInductor) without a program; save what torch.export.export gave";
        return Err(Error::unsupported(what));
    }
    let export = Export::read(&archive, file, options)?;
    let mut programs = Vec::new();
    for (name, weights, constants) in export.into_programs() {
        let (document, samples) = match archive.find(OLD_DOCUMENT) {
            Some(_) => (OLD_DOCUMENT.to_owned(), "serialized_example_inputs.pt".to_owned()),
            None => (format!("models/{name}.json"), format!("data/sample_inputs/{name}.pt")),
        };
        if archive.find(&document).is_none() {
            continue;
        }
        let sample_inputs = archive.find(&samples).map(|record| nested(&archive, record, &samples, file, options));
        programs.push(ExportedProgram {
            document: archive.read(&document, options.verify)?,
            name,
            weights,
            constants,
            sample_inputs: sample_inputs.transpose()?.flatten(),
        });
    }
    Ok(programs)
}

/// Where PyTorch up to 2.7 kept the program.
const OLD_DOCUMENT: &str = "serialized_exported_program.json";

fn has_programs(archive: &Archive) -> bool {
    archive.names().any(|name| name.starts_with("models/") || name == OLD_DOCUMENT)
}

/// A record that is a file of `torch.save`'s; `None` where it is empty.
fn nested(
    archive: &Arc<Archive>,
    record: usize,
    name: &str,
    file: &FileBytes,
    options: &OpenOptions,
) -> Result<Option<Value>> {
    let bytes = archive.payload(record, options.verify)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let inner = || {
        let inner = Arc::new(Archive::open(bytes, &options.limits)?);
        let mut storages = Storages::within(&inner, name, file, options)?;
        Ok(storages.unpickle("data.pkl", |key| format!("data/{key}"))?.value)
    };
    inner().map(Some).map_err(|error: Error| error.inside(format_args!("record {name}")))
}
