//! Folders that appear whole: a new one is filled beside its place and moved there, or changes places with the old one, in
//! one step.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::io::commit::prefix;
use crate::{IoResultExt as _, Result};

/// The end of the names of staged folders.
pub(super) const SUFFIX: &str = ".partial";

/// A folder for files that are not finished. Dropping it removes it; a process that is killed leaves it, until the next commit
/// to the same target finds that nobody holds its lock.
pub(crate) struct StagedFolder {
    path: PathBuf,
    _lock: Option<File>,
}

impl StagedFolder {
    /// A staged folder in `parent` for a target of this name. What killed processes left there for that target goes first.
    pub(crate) fn create(parent: &Path, name: &OsStr) -> Result<Self> {
        let prefix = prefix(name);
        sweep(parent, &prefix);
        let prefix = format!("{prefix}{}-", std::process::id());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(8);
        #[cfg(unix)]
        // As for any new folder; the user's mask still applies.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        loop {
            let path = builder.tempdir_in(parent).doing("cannot make a folder beside the target")?.keep();
            // Until it is locked, another commit may take it for litter. Where folders cannot be locked, none is ever taken.
            let lock = File::open(&path).ok();
            if let Some(lock) = &lock {
                let _ = lock.try_lock();
            }
            let staged = StagedFolder { path, _lock: lock };
            if staged.path.exists() {
                return Ok(staged);
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it, while it is empty, into another folder for the same target; where that cannot be done, it stays.
    pub(crate) fn try_move(&mut self, parent: &Path, name: &OsStr) {
        sweep(parent, &prefix(name));
        if let Some(own) = self.path.file_name() {
            let path = parent.join(own);
            if fs::rename(&self.path, &path).is_ok() {
                self.path = path;
            }
        }
    }

    /// Moves it to its place, where nothing is.
    pub(crate) fn publish(mut self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).doing("cannot rename the finished folder")?;
        // It has another name now, which is not to be removed.
        self.path = PathBuf::new();
        Ok(())
    }

    /// Takes over what is to stay of the folder `old`, as links to the same files, and changes places with it in one step; the
    /// old one is then removed. Gives itself back where the system cannot do this, and `old` is as it was.
    #[cfg(target_os = "linux")]
    pub(crate) fn exchange(self, old: &Path, stays: impl Fn(&str) -> bool) -> std::result::Result<(), Self> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};

        let exchanged = link_all(old, self.path(), &stays)
            .and_then(|()| fs::set_permissions(self.path(), fs::metadata(old)?.permissions()))
            .and_then(|()| File::open(self.path())?.sync_all())
            .and_then(|()| Ok(renameat_with(CWD, self.path(), CWD, old, RenameFlags::EXCHANGE)?));
        exchanged.map_err(|_| self)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn exchange(self, _: &Path, _: impl Fn(&str) -> bool) -> std::result::Result<(), Self> {
        Err(self)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes staged folders whose processes are gone. What cannot be removed does not matter here.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let staged = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX));
        if staged && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Gives the files in a folder, and in the folders in it, names in another as well.
#[cfg(target_os = "linux")]
fn link_all(from: &Path, to: &Path, stays: &dyn Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        // A name that is no text is none of a checkpoint's.
        if name.to_str().is_some_and(|name| !stays(name)) {
            continue;
        }
        let to = to.join(&name);
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            link_all(&entry.path(), &to, &|_| true)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())?;
        } else {
            fs::hard_link(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_a_live_one_fills_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join(".model.rekindle-1-abcdefgh.partial");
        let unrelated = parent.path().join(".other.rekindle-1-abcdefgh.partial");
        fs::create_dir(&dead).unwrap();
        fs::create_dir(&unrelated).unwrap();
        fs::write(dead.join("file"), "half").unwrap();
        let alive = StagedFolder::create(parent.path(), "model".as_ref()).unwrap();
        let other = StagedFolder::create(parent.path(), "model".as_ref()).unwrap();
        assert!(!dead.exists() && unrelated.exists() && alive.path().exists() && other.path().exists());
        drop((alive, other));
        assert_eq!(names(parent.path()), [".other.rekindle-1-abcdefgh.partial"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn folders_change_places_and_what_stays_goes_along() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

        let parent = tempfile::tempdir().unwrap();
        let old = parent.path().join("model");
        fs::create_dir_all(old.join("logs/deep")).unwrap();
        for name in ["a.bin", "config.json", "logs/deep/events"] {
            fs::write(old.join(name), name).unwrap();
        }
        symlink("nowhere", old.join("link")).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o750)).unwrap();
        let inode = fs::metadata(old.join("config.json")).unwrap().ino();
        let staged = StagedFolder::create(parent.path(), "model".as_ref()).unwrap();
        fs::write(staged.path().join("a.bin"), "new").unwrap();
        staged.exchange(&old, |name| name != "a.bin").map_err(|_| "a file system of Linux can").unwrap();
        assert_eq!(names(parent.path()), ["model"]);
        assert_eq!(names(&old), ["a.bin", "config.json", "link", "logs"]);
        assert_eq!(fs::read(old.join("a.bin")).unwrap(), b"new");
        assert_eq!(fs::read(old.join("logs/deep/events")).unwrap(), b"logs/deep/events");
        assert!(fs::symlink_metadata(old.join("link")).unwrap().is_symlink());
        assert_eq!(fs::metadata(old.join("config.json")).unwrap().ino(), inode);
        assert_eq!(fs::metadata(&old).unwrap().mode() & 0o777, 0o750);
    }
}
