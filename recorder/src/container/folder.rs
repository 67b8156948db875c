//! Putting a set of files into a folder so that a reader never takes half of it for the whole.

use std::fs;
use std::path::{Path, PathBuf};

use crate::io::commit::sync_folder;
use crate::io::staged::StagedFolder;
use crate::{Error, ErrorKind, IoResultExt as _, Result, SaveReport, io};

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
    /// rename is the step from the old checkpoint to the new. Where one has, the old folder changes places with a new one, by
    /// one rename. Where the system cannot do that, the old index goes, the files take their places, and the new index comes
    /// last: should this be interrupted, the folder has no index, and reading it is an error.
    pub(super) fn commit(self, path: &Path, overwrite: bool) -> Result<SaveReport> {
        let replaces = path.is_dir();
        let mut old = if replaces { io::names(path)? } else { Vec::new() };
        old.retain(|name| (self.belongs)(name));
        if path.exists() && !replaces {
            return Err(Error::invalid("a folder is written, and this is a file; name another place"));
        }
        if !overwrite && !old.is_empty() {
            return Err(ErrorKind::Exists.into());
        }
        let exchanges = self.replaces_in_steps(&old);
        let (staged, target) = stage(path, replaces, exchanges)?;
        let mut report = SaveReport::default();
        for (name, write) in &self.in_order {
            let written = write(&staged.path().join(name))?;
            report.bytes = report.bytes.saturating_add(written.bytes);
            report.notes.extend(written.notes);
        }
        if !replaces {
            staged.publish(&target)?;
            sync(target.parent().unwrap_or(&target))?;
            return Ok(report);
        }
        let staged = if exchanges {
            match staged.exchange(&target, |name| !old.iter().any(|old| old == name)) {
                Ok(()) => {
                    sync(target.parent().unwrap_or(&target))?;
                    return Ok(report);
                }
                Err(staged) => staged,
            }
        } else {
            staged
        };
        self.replace(path, staged.path(), &old)?;
        sync(path)?;
        Ok(report)
    }

    /// Whether files before the last one have the names of old ones: no order of renaming them one by one is then without a
    /// moment at which the folder is half of each.
    fn replaces_in_steps(&self, old: &[String]) -> bool {
        let before_last = self.in_order.split_last().map_or(&[][..], |(_, files)| files);
        before_last.iter().any(|(name, _)| old.contains(name))
    }

    fn replace(&self, path: &Path, staged: &Path, old: &[String]) -> Result<()> {
        let remove = |name: &str| fs::remove_file(path.join(name)).doing("cannot remove an old file");
        let is_new = |name: &String| self.in_order.iter().any(|(new, _)| new == name);
        let is_index = |name: &&String| (self.is_index)(name);
        if old.iter().any(|name| is_new(name) && !is_index(&name)) {
            for index in old.iter().filter(is_index) {
                remove(index)?;
            }
        }
        for (name, _) in &self.in_order {
            let renamed = fs::rename(staged.join(name), path.join(name));
            renamed.doing("cannot rename a finished file")?;
        }
        for name in old.iter().filter(|name| !is_new(name) && path.join(name).exists()) {
            remove(name)?;
        }
        Ok(())
    }
}

/// A folder for files that are not finished, and the target by the name that it really has: in the target where its files are
/// replaced one by one, else beside it.
fn stage(path: &Path, replaces: bool, exchanges: bool) -> Result<(StagedFolder, PathBuf)> {
    let target = if replaces { path.canonicalize().doing("cannot find the folder")? } else { path.to_owned() };
    let name = target.file_name().unwrap_or_default();
    let beside = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => &target,
    };
    if !replaces {
        return Ok((StagedFolder::create(beside, name)?, target));
    }
    // Only a folder of the same file system can change places, which a target that is mounted has none beside it of.
    let mut staged = StagedFolder::create(&target, name)?;
    if exchanges && cfg!(target_os = "linux") {
        staged.try_move(beside, name);
    }
    Ok((staged, target))
}

/// Makes names in a folder durable.
fn sync(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    sync_folder(folder).doing("cannot make the folder durable")
}
