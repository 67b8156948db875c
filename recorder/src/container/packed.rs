//! Archives around a checkpoint: a zip file as `torch.hub` publishes old ones, `NeMo`'s `.nemo` and physicsnemo's `.mdlus` (tar or
//! zip, the checkpoint beside its configuration), `.tar.gz`, a file that was compressed (`.pt.gz`). What they hold is read where it
//! is exactly one.

use bytes::Bytes;

use crate::container::zip::{self, Archive};
use crate::container::{content, gzip, tar};
use crate::walk::list_names;
use crate::{Error, ErrorKind, FileBytes, Format, OpenOptions, Opened, Result};

/// The files in an archive.
pub(super) struct Packed {
    /// What the archive is.
    what: &'static str,
    /// Their names and bytes.
    members: Vec<(String, Bytes)>,
    /// Why the archive could not be read further.
    problem: Option<Error>,
    /// The error where none of them is a checkpoint.
    none: Error,
}

/// How much is unpacked to see what is in a compressed file: the header of a tar archive.
const HEAD: usize = 512;

/// The files in an archive of any kind; `None` where the file is none.
///
/// # Errors
/// When it cannot be unpacked.
pub(super) fn members(file: &FileBytes, options: &OpenOptions) -> Result<Option<Packed>> {
    if zip::detect(file) {
        return zipped(file, options).map(Some);
    }
    if content::is_tar(file) {
        return Ok(Some(tarred(file, "a tar archive", options)));
    }
    if gzip::detect(file) {
        let head = file.within(gzip::head(file, HEAD).into());
        let unpacked = file.within(gzip::inflate(file, options)?);
        let tar = content::is_tar(&head);
        return Ok(Some(if tar { tarred(&unpacked, "a compressed tar archive", options) } else { gzipped(&unpacked) }));
    }
    Ok(None)
}

/// A file that was compressed by itself.
fn gzipped(unpacked: &FileBytes) -> Packed {
    let none = content::describe(unpacked).at("the gzip stream");
    Packed { what: "a compressed file", members: vec![(String::new(), unpacked.bytes())], problem: None, none }
}

fn tarred(file: &FileBytes, what: &'static str, options: &OpenOptions) -> Packed {
    let (members, problem) = tar::members(file, &options.limits);
    let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    let holds = if names.is_empty() { "it is empty".to_owned() } else { format!("it holds {}", list_names(&names)) };
    let none = Error::not_a_checkpoint(format!("it is {what} without a checkpoint in it; {holds}"));
    Packed { what, members, problem, none }
}

fn zipped(file: &FileBytes, options: &OpenOptions) -> Result<Packed> {
    let archive = Archive::open(file.bytes(), &options.limits)?;
    let none = Error::not_a_checkpoint(describe(&archive));
    // What PyTorch made of it is not looked for in its parts.
    let parts = archive.records().iter().any(|record| record.name.ends_with("/data.pkl"));
    let files = archive.records().iter().enumerate().filter(|(_, record)| !parts && !record.is_folder());
    let member =
        |(i, record): (usize, &zip::Record)| Ok((record.name.to_string(), archive.payload(i, options.verify)?));
    Ok(Packed { what: "a zip archive", members: files.map(member).collect::<Result<_>>()?, problem: None, none })
}

/// What a zip archive looks like that is no checkpoint.
fn describe(archive: &Archive) -> String {
    match archive.records() {
        [] => "it is an empty zip archive".to_owned(),
        records if records.iter().any(|record| record.name.ends_with("/data.pkl")) => {
            "it is a zip archive whose records do not all lie in one folder, as PyTorch's do".to_owned()
        }
        [first, ..] => format!("it is a zip archive without a record data.pkl (the first record is '{}')", first.name),
    }
}

impl Packed {
    /// Reads the only checkpoint among the files.
    ///
    /// # Errors
    /// When there is none or more than one, and when it is damaged.
    pub(super) fn read(
        self,
        file: &FileBytes,
        options: &OpenOptions,
        read: impl Fn(&FileBytes, &OpenOptions) -> Result<Option<Opened>>,
    ) -> Result<Opened> {
        let (mut found, mut damaged) = (Vec::new(), None);
        let single = self.members.len() == 1;
        for (name, bytes) in self.members {
            match read(&file.within(bytes), options) {
                // A pickle beside other files is some part of them.
                Ok(Some(opened)) if single || opened.format != Format::PICKLE => found.push((name, opened)),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotACheckpoint { .. }) => {}
                Err(error) => {
                    let error = if name.is_empty() { error } else { error.at(format_args!("member {name}")) };
                    damaged.get_or_insert(error);
                }
            }
        }
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        if names.len() > 1 {
            let reason = format!("it is {} with {} checkpoints in it ({})", self.what, names.len(), list_names(&names));
            return Err(Error::not_a_checkpoint(reason).advise("unpack it and open one of them"));
        }
        match (found.pop(), self.problem, damaged) {
            (_, Some(error), _) | (None, None, Some(error)) => Err(error),
            (Some((_, opened)), None, _) => Ok(Opened { bytes: file.len() as u64, ..opened }),
            (None, None, None) => Err(self.none),
        }
    }
}
