//! An archive that somebody has unpacked into a folder: `data.pkl`, `data/0`, `version`, ... It is read as the archive it was.

use std::path::Path;

use crate::container::zip::archive::Archive;
use crate::{Error, FileBytes, IoResultExt as _, OpenOptions, Result, ResultExt as _, io};

/// The records that tell such folders.
const SIGNS: [&str; 2] = ["data.pkl", "archive_format"];

/// How deep folders may nest: `models/model.json` of a program in the folder that the archive is named after.
const DEPTH: usize = 16;

/// Whether a folder with these names in it is an unpacked archive, or has nothing in it but one.
pub(crate) fn is_unpacked(folder: &Path, names: &[String]) -> bool {
    let has = |folder: &Path| SIGNS.iter().any(|sign| folder.join(sign).is_file());
    has(folder) || matches!(names, [only] if has(&folder.join(only)))
}

/// The archive that the folder was, and its name for messages. Large files are mapped.
///
/// # Errors
/// When a file cannot be read, or there are too many.
pub(crate) fn open(folder: &Path, options: &OpenOptions) -> Result<(Archive, FileBytes)> {
    let mut files = Vec::new();
    collect(folder, "", DEPTH, &mut files, options)?;
    let name = folder.to_string_lossy();
    Ok((Archive::unpacked(files, &options.limits)?, FileBytes::from_vec(&name, Vec::new())))
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, bytes::Bytes)>,
    options: &OpenOptions,
) -> Result<()> {
    if depth == 0 {
        return Err(Error::limit("the nesting of folders", DEPTH as u64));
    }
    for name in io::names(folder)? {
        let path = folder.join(&name);
        let kind = std::fs::metadata(&path).doing("cannot read what it is").in_file(&path)?;
        if kind.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), depth - 1, files, options)?;
        } else if kind.is_file() {
            if files.len() as u64 >= options.limits.records {
                return Err(Error::limit("the number of files of an archive", options.limits.records));
            }
            files.push((format!("{prefix}{name}"), FileBytes::open(&path)?.bytes()));
        }
    }
    Ok(())
}
