//! The formats that are zip archives, told by the names of their records.

use std::sync::Arc;

use crate::container::kind::{Container, Opened};
use crate::container::zip::{self, Archive};
use crate::container::{export, numpy, open_nested, package, torchscript};
use crate::io::FileBytes;
use crate::options::OpenOptions;
use crate::{Error, ErrorKind, Limits, Result};

struct Kind {
    /// `None` where the content decides.
    container: Option<Container>,
    detect: fn(&Archive) -> bool,
    read: fn(&Arc<Archive>, &FileBytes, &OpenOptions) -> Result<Opened>,
}

/// The first that fits is taken. A package may hold a `data.pkl` of its own.
const KINDS: &[Kind] = &[
    Kind { container: Some(Container::Package), detect: package::is_archive, read: package::read },
    Kind { container: Some(Container::TorchScript), detect: torchscript::is_archive, read: torchscript::read },
    Kind { container: Some(Container::Numpy), detect: is_npz, read: numpy::read_archive },
    Kind { container: None, detect: is_wrapping, read: only_member },
    Kind { container: Some(Container::Zip), detect: |archive| archive.find("data.pkl").is_some(), read: zip::read },
    Kind { container: Some(Container::Pt2), detect: export::is_archive, read: export::read },
];

/// The format of a file where it is a zip archive; `None` where it is no archive, or none that is known.
pub(super) fn container_of(file: &FileBytes, limits: &Limits) -> Result<Option<Container>> {
    if !zip::detect(file) {
        return Ok(None);
    }
    let archive = Archive::open(file.bytes(), limits)?;
    Ok(KINDS.iter().find(|kind| (kind.detect)(&archive)).and_then(|kind| kind.container))
}

/// Reads the checkpoint in a zip archive. Only the directory and the pickle are touched; a storage's record is read, and
/// compared with its checksum, when the storage is.
///
/// # Errors
/// When the archive is cut off or damaged, holds no checkpoint, or one of a format that is not supported.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let archive = Archive::open(file.bytes(), &options.limits)?;
    match KINDS.iter().find(|kind| (kind.detect)(&archive)) {
        Some(kind) => (kind.read)(&Arc::new(archive), file, options),
        None => Err(Error::not_a_checkpoint(describe(&archive))),
    }
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
