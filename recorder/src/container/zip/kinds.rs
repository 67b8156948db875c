//! What a zip archive holds, told by the names of its records.

use std::sync::Arc;

use super::{Archive, torch};
use crate::checkpoint::OpenOptions;
use crate::container::{Opened, numpy, open_nested};
use crate::source::FileBytes;
use crate::{Error, ErrorKind, Result};

struct Kind {
    /// For messages.
    name: &'static str,
    detect: fn(&Archive) -> bool,
    /// `None` where it cannot be read yet.
    read: Option<Read>,
}

type Read = fn(&Arc<Archive>, &FileBytes, &OpenOptions) -> Result<Opened>;

/// The first that fits is taken.
const KINDS: &[Kind] = &[
    Kind { name: "a TorchScript archive", detect: is_torchscript, read: None },
    Kind { name: "a NumPy archive (.npz)", detect: is_npz, read: Some(numpy::read_archive) },
    Kind { name: "a zipped checkpoint", detect: is_wrapping, read: Some(only_member) },
    Kind {
        name: "a torch.save archive",
        detect: |archive| archive.find("data.pkl").is_some(),
        read: Some(torch::read),
    },
    Kind { name: "a torch.export archive (.pt2)", detect: is_export, read: None },
    Kind { name: "a torch.package archive", detect: is_package, read: None },
];

/// Reads the checkpoint in an archive.
pub(super) fn read(archive: Archive, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    match KINDS.iter().find(|kind| (kind.detect)(&archive)) {
        Some(Kind { read: Some(read), .. }) => read(&Arc::new(archive), file, options),
        Some(Kind { name, .. }) => Err(Error::unsupported(format!("reading {name}"))),
        None => Err(Error::not_a_checkpoint(describe(&archive))),
    }
}

/// `torch.jit.save` puts the constants beside the pickle; before 1.4 it wrote no pickle but a `model.json`.
fn is_torchscript(archive: &Archive) -> bool {
    let has = |name| archive.find(name).is_some();
    has("data.pkl") && has("constants.pkl")
        || has("model.json") && archive.names().any(|name| name.starts_with("tensors/"))
}

fn is_export(archive: &Archive) -> bool {
    archive.find("archive_format").is_some()
        || archive.names().any(|name| name.starts_with("models/") && has_extension(name, "json"))
}

fn is_package(archive: &Archive) -> bool {
    archive.find(".data/extern_modules").is_some() || archive.find(".data/python_version").is_some()
}

fn is_npz(archive: &Archive) -> bool {
    !archive.records().is_empty() && archive.records().iter().all(|record| has_extension(&record.name, "npy"))
}

/// One record, and not the pickle of an archive that lacks everything else.
fn is_wrapping(archive: &Archive) -> bool {
    archive.records().len() == 1 && (archive.top().is_empty() || archive.find("data.pkl").is_none())
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// The only member of an archive is a checkpoint itself, as `torch.hub` publishes old ones.
fn only_member(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let member = file.within(archive.payload(0, options.verify)?);
    let opened = open_nested(&member, options).map_err(|error| match error.kind() {
        ErrorKind::NotACheckpoint { .. } => Error::not_a_checkpoint(describe(archive)),
        _ => error,
    })?;
    Ok(Opened { bytes: file.len() as u64, ..opened })
}

fn describe(archive: &Archive) -> String {
    match archive.records() {
        [] => "it is an empty zip archive".to_owned(),
        records if records.iter().any(|record| record.name.ends_with("/data.pkl")) => {
            "it is a zip archive whose records do not all lie in one folder, as PyTorch's do".to_owned()
        }
        [first, ..] => format!("it is a zip archive without a record data.pkl (the first record is '{}')", first.name),
    }
}
