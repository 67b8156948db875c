//! Putting a set of files into a folder so that a reader never takes half of it for the whole.

use std::fs;
use std::path::Path;

use crate::checkpoint::SaveReport;
use crate::{Error, ErrorKind, Result};

/// Writes one file, which is not there yet, under the path that it is given.
pub(super) type WriteFile<'a> = Box<dyn Fn(&Path) -> Result<SaveReport> + 'a>;

/// The files of a checkpoint, written in this order: the last one is what readers look for first (the index, or the only
/// file).
pub(super) struct Files<'a> {
    pub(super) in_order: Vec<(String, WriteFile<'a>)>,
    /// Whether a file of this name belongs to such a checkpoint, so that it goes when it is not replaced.
    pub(super) belongs: Box<dyn Fn(&str) -> bool + 'a>,
    /// Whether a file of this name is an index, without which the others are no checkpoint.
    pub(super) is_index: fn(&str) -> bool,
}

impl Files<'_> {
    /// A new folder appears whole, by one rename. In a folder that is there, all files are written beside the old ones
    /// first, and the new index takes its place last. Where none of the other files has the name of an old one, that one
    /// rename is the step from the old checkpoint to the new. Where one has, the old index goes first: should this be
    /// interrupted, the folder has no index, and reading it is an error.
    pub(super) fn commit(self, path: &Path, overwrite: bool) -> Result<SaveReport> {
        let replaces = path.is_dir();
        let old = if replaces { self.names_in(path)? } else { Vec::new() };
        if path.exists() && !replaces {
            return Err(ErrorKind::Invalid("a folder is written, and this is a file; name another place".into()).into());
        }
        if !overwrite && !old.is_empty() {
            return Err(ErrorKind::Exists.into());
        }
        let parent = match path.parent() {
            _ if replaces => path,
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let staged = stage(parent)?;
        let mut report = SaveReport::default();
        for (name, write) in &self.in_order {
            let written = write(&staged.path().join(name))?;
            report.bytes = report.bytes.saturating_add(written.bytes);
            report.notes.extend(written.notes);
        }
        if replaces {
            self.replace(path, staged.path(), &old)?;
            sync(path)?;
            return Ok(report);
        }
        fs::rename(staged.path(), path).map_err(|source| Error::io("cannot rename the finished folder", source))?;
        // It has another name now, which is not to be removed.
        let _ = staged.keep();
        sync(parent)?;
        Ok(report)
    }

    fn replace(&self, path: &Path, staged: &Path, old: &[String]) -> Result<()> {
        let remove = |name: &str| {
            fs::remove_file(path.join(name)).map_err(|source| Error::io("cannot remove an old file", source))
        };
        let is_new = |name: &String| self.in_order.iter().any(|(new, _)| new == name);
        let is_index = |name: &&String| (self.is_index)(name);
        if old.iter().any(|name| is_new(name) && !is_index(&name)) {
            for index in old.iter().filter(is_index) {
                remove(index)?;
            }
        }
        for (name, _) in &self.in_order {
            let renamed = fs::rename(staged.join(name), path.join(name));
            renamed.map_err(|source| Error::io("cannot rename a finished file", source))?;
        }
        for name in old.iter().filter(|name| !is_new(name) && path.join(name).exists()) {
            remove(name)?;
        }
        Ok(())
    }

    fn names_in(&self, path: &Path) -> Result<Vec<String>> {
        let failed = |source| Error::io("cannot list the folder", source);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok().filter(|name| (self.belongs)(name)));
        }
        Ok(names)
    }
}

/// A folder for files that are not finished; removed again unless it is kept.
fn stage(parent: &Path) -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rekindle-").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new folder; the user's mask still applies.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent).map_err(|source| Error::io("cannot make a folder beside the target", source))
}

/// Makes names in a folder durable.
fn sync(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io("cannot make the folder durable", source))?;
    let _ = folder;
    Ok(())
}
