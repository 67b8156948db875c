//! A zip archive around one file that is a checkpoint itself, as `torch.hub` publishes old ones; and what an archive is that
//! holds no checkpoint.

use crate::container::zip::archive::Archive;
use crate::{Error, ErrorKind, FileBytes, OpenOptions, Opened, Result};

/// One record, and not the pickle of an archive that lacks everything else.
pub(crate) fn is_wrapping(archive: &Archive) -> bool {
    archive.records().len() == 1 && (archive.top().is_empty() || archive.find("data.pkl").is_none())
}

/// Reads the only record of an archive; `read` reads what is in it.
pub(crate) fn read_wrapped(
    archive: &Archive,
    file: &FileBytes,
    options: &OpenOptions,
    read: fn(&FileBytes, &OpenOptions) -> Result<Opened>,
) -> Result<Opened> {
    let member = file.within(archive.payload(0, options.verify)?);
    let opened = read(&member, options).map_err(|error| match error.kind() {
        ErrorKind::NotACheckpoint { .. } => Error::not_a_checkpoint(describe(archive)),
        _ => error,
    })?;
    Ok(Opened { bytes: file.len() as u64, ..opened })
}

/// What an archive looks like that is no checkpoint.
pub(crate) fn describe(archive: &Archive) -> String {
    match archive.records() {
        [] => "it is an empty zip archive".to_owned(),
        records if records.iter().any(|record| record.name.ends_with("/data.pkl")) => {
            "it is a zip archive whose records do not all lie in one folder, as PyTorch's do".to_owned()
        }
        [first, ..] => format!("it is a zip archive without a record data.pkl (the first record is '{}')", first.name),
    }
}
