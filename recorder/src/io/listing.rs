//! What a folder holds, and reading it as it was at one moment.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::path::{Component, Path};

use super::{commit, staged};
use crate::{Error, ErrorKind, IoResultExt as _, Result, ResultExt as _};

/// The names of what is in a folder, sorted; but for what a save has not finished, or a killed one has left.
pub(crate) fn list(folder: &Path) -> Result<Vec<OsString>> {
    let mut names = list_all(folder)?;
    names.retain(|name| !is_unfinished(name));
    Ok(names)
}

/// All of them.
pub(crate) fn list_all(folder: &Path) -> Result<Vec<OsString>> {
    let names = std::fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect());
    let mut names: Vec<OsString> = names.doing("cannot list the folder").in_file(folder)?;
    names.sort_unstable();
    Ok(names)
}

/// Those that are text, as all of a checkpoint's are.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    Ok(list(folder)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// How often a folder may be replaced while it is read.
const REPLACED: usize = 100;

/// How often something may not be where it was listed, before it is said to be missing.
const GONE: usize = 5;

/// What `read` makes of a folder's files, all of one folder: `read` finds them by path, one after the other, and where another
/// folder took this one's place meanwhile, as a save does in one step, some would be of the old one and some of the new one. It
/// is then read again; and a few times where something is not there that was, as somebody may just have taken it away.
pub(crate) fn read_steadily<T>(folder: &Path, read: impl Fn() -> Result<T>) -> Result<T> {
    let mut gone = 0;
    for _ in 0..REPLACED {
        // It is held open meanwhile, or a third folder could have its number in the file system.
        let Ok(held) = File::open(folder) else { return read() };
        let result = read();
        let now = std::fs::metadata(folder);
        if matches!((held.metadata(), now), (Ok(held), Ok(now)) if is_same(&held, &now)) {
            let is_gone = result.as_ref().err().is_some_and(|error| match error.kind() {
                ErrorKind::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
                _ => false,
            });
            gone += 1;
            if !is_gone || gone == GONE {
                return result;
            }
        }
    }
    Err(Error::unsupported(format!("a folder that is replaced {REPLACED} times while it is read")))
}

/// Whether both are one file, or one folder.
#[cfg(unix)]
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Folders change places on Linux only, and where files have no numbers, one that is open keeps its name.
#[cfg(not(unix))]
pub(crate) fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Whether a name is one that a file or folder has until it is finished.
fn is_unfinished(name: &OsString) -> bool {
    let staged = |name: &str| name.starts_with('.') && name.contains(commit::MARK);
    name.to_str()
        .is_some_and(|name| staged(name) && [commit::SUFFIX, staged::SUFFIX].iter().any(|end| name.ends_with(end)))
}

/// Whether a name, as a file gives it, leads to a file in its own folder or below it.
pub(crate) fn is_below(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) && !name.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_folder_that_is_replaced_while_it_is_read_is_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("checkpoint");
        let with = |content: &str| {
            std::fs::create_dir(&folder).unwrap();
            ["a", "b"].into_iter().for_each(|name| std::fs::write(folder.join(name), content).unwrap());
        };
        with("old");
        let reads = std::cell::Cell::new(0);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let both = read_steadily(&folder, || {
            let first = read("a");
            reads.set(reads.get() + 1);
            if reads.get() == 1 {
                std::fs::rename(&folder, parent.path().join("before")).unwrap();
                with("new");
            }
            Ok((first, read("b")))
        });
        assert_eq!(both.unwrap(), ("new".to_owned(), "new".to_owned()));
        assert_eq!(reads.get(), 2);
    }

    #[test]
    fn what_is_gone_when_it_is_read_is_looked_for_again_and_then_missing() {
        let folder = tempfile::tempdir().unwrap();
        let reads = std::cell::Cell::new(0);
        let read = |there: usize| {
            reads.set(0);
            read_steadily(folder.path(), || {
                reads.set(reads.get() + 1);
                let path = folder.path().join(if reads.get() < there { "gone" } else { "" });
                std::fs::metadata(path).doing("cannot read").map(drop)
            })
        };
        assert!(read(3).is_ok());
        assert_eq!(reads.get(), 3);
        assert!(read(usize::MAX).is_err());
        assert_eq!(reads.get(), GONE);
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_is_never_at_rest_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("checkpoint");
        std::fs::create_dir(&folder).unwrap();
        let read = read_steadily(&folder, || {
            let next = parent.path().join("next");
            std::fs::create_dir(&next).unwrap();
            std::fs::remove_dir(&folder).unwrap();
            std::fs::rename(next, &folder).unwrap();
            Ok(())
        });
        assert!(read.unwrap_err().to_string().contains("replaced 100 times"));
    }
}
