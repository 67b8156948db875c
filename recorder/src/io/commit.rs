//! Files that are whole or not there: [`commit`] stages a new file beside its target and moves it there in one step.
//! Folders: `staged.rs`.

use std::fs::{File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::early::{self, Expected};
use super::out::Out;
use crate::{ErrorKind, IoResultExt as _, Result, ResultExt as _};

/// Between the file's name and a random part in the names of staged files.
pub(super) const MARK: &str = ".rekindle-";
/// The end of the names of staged files.
pub(super) const SUFFIX: &str = ".tmp";
/// As many symbolic links are followed one after the other as Linux follows.
const MAX_LINKS: usize = 40;

/// An output that counts.
pub(crate) struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Counted { out, written: 0 }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).doing("cannot write the file")?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The number of bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }
}

/// Writes a file so that at any moment, under its name, there is the old file whole or the new one whole.
///
/// `write` fills a file in the same folder; when it is done, the file is flushed to the disk, renamed to `path`, and the
/// folder is flushed, too. On any error nothing is left behind and what was at `path` is untouched.
///
/// - A reader that has the old file open or mapped keeps it.
/// - A symbolic link at `path` stays; the file that it leads to is replaced.
/// - A new file gets the mode that any new file would get (`0666` less the umask); one that replaces another keeps its mode.
/// - Without `overwrite`, a file that appears at `path` meanwhile is not replaced either.
/// - On Linux the staged file has no name until it is complete, so that a process killed at work leaves nothing. Elsewhere,
///   on file systems that cannot do this, and in the moment (some 50 microseconds) between naming and renaming, a kill leaves a file
///   `.<name>.rekindle-<pid>-<random>.tmp`, which the next commit to the same target removes. A live process holds a
///   lock on the file it stages, so nobody removes that.
///
/// # Errors
/// [`ErrorKind::Exists`] when there is a file and `overwrite` is false; [`ErrorKind::Io`] when the folder is missing or cannot
/// be written, the disk is full, or `path` is a folder or a device; whatever `write` returns.
///
/// ```
/// # use std::io::Write;
/// # use rekindle_recorder::{IoResultExt, io::commit};
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("epoch");
/// commit(&path, true, |out| {
///     out.write_all(b"5").doing("cannot write the file")
/// })?;
/// assert_eq!(std::fs::read(&path)?, b"5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn commit(path: &Path, overwrite: bool, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    commit_with(path, overwrite, Expected::default(), |out| write(out))
}

/// Commits a file of which this is known, and gives what `write` gives.
pub(crate) fn commit_with<T>(
    path: &Path,
    overwrite: bool,
    expected: Expected,
    write: impl FnOnce(&mut dyn Out) -> Result<T>,
) -> Result<T> {
    commit_file(path, overwrite, expected, write).in_file(path)
}

/// Writes these bytes as [`commit`] does.
pub(crate) fn commit_bytes(path: &Path, overwrite: bool, bytes: &[u8]) -> Result<()> {
    commit(path, overwrite, |out| Counted::new(out).put(bytes))
}

fn commit_file<T>(
    path: &Path,
    overwrite: bool,
    expected: Expected,
    write: impl FnOnce(&mut dyn Out) -> Result<T>,
) -> Result<T> {
    let target = Target::resolve(path)?;
    if target.old.is_some() && !overwrite {
        return Err(ErrorKind::Exists.into());
    }
    target.sweep();
    let staged = Staged::create(&target)?;
    if target.old.is_some() {
        early::make_room(&target.path, expected);
    }
    let written = early::fill(staged.file(), expected, write)?;
    if let Some(old) = &target.old {
        staged.file().set_permissions(old.permissions()).doing("cannot write the file")?;
    }
    staged.file().sync_all().doing("cannot write the file")?;
    staged.publish(&target, overwrite)?;
    sync_folder(&target.folder).doing("cannot flush the folder to the disk")?;
    Ok(written)
}

/// How the names of what is staged for a target of this name begin.
pub(super) fn prefix(name: &std::ffi::OsStr) -> String {
    // A name may take 255 bytes on the usual file systems; the staged one is longer than the target's.
    let mut name = name.to_string_lossy().into_owned();
    name.truncate(name.floor_char_boundary(160));
    format!(".{name}{MARK}")
}

/// Where the new file goes.
struct Target {
    path: PathBuf,
    folder: PathBuf,
    /// How the names of its staged files begin.
    prefix: String,
    /// The file that is there.
    old: Option<Metadata>,
}

impl Target {
    fn resolve(path: &Path) -> Result<Self> {
        let failed = |error| Err::<Self, _>(error).doing("cannot write the file");
        let refused = |reason| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason));
        let mut path = path.to_owned();
        let mut links = 0;
        let old = loop {
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() && links < MAX_LINKS => {
                    let leads_to = std::fs::read_link(&path).doing("cannot write the file")?;
                    path = path.parent().unwrap_or(Path::new("")).join(leads_to);
                    links += 1;
                }
                Ok(found) if found.is_symlink() => return refused("too many symbolic links follow one another"),
                Ok(found) if found.is_dir() => return refused("there is a folder of this name"),
                Ok(found) if !found.is_file() => return refused("there is a device or a pipe of this name"),
                Ok(found) => break Some(found),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break None,
                Err(error) => return failed(error),
            }
        };
        let Some(name) = path.file_name() else {
            return refused("this is no name of a file");
        };
        let prefix = prefix(name);
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Target { path, folder, prefix, old })
    }

    /// Removes staged files of this target whose processes are gone. What cannot be removed does not matter here.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !name.starts_with(&self.prefix) || !name.ends_with(SUFFIX) {
                continue;
            }
            // A lock ends with the process that held it, however it ended, in other containers and on other hosts, too.
            let opened = File::options().read(true).write(true).open(entry.path());
            if opened.is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn staged_prefix(&self) -> String {
        format!("{}{}-", self.prefix, std::process::id())
    }

    fn in_place(&self, file: std::io::Result<()>) -> Result<()> {
        match file {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(ErrorKind::Exists.into()),
            file => file.doing("cannot put the new file in its place").in_file(&self.path),
        }
    }
}

/// The new file before it has its name. Dropping it removes it.
enum Staged {
    /// A file without any name.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// A file under a name of its own.
    Named(tempfile::NamedTempFile),
}

impl Staged {
    fn create(target: &Target) -> Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = linux::create_unnamed(&target.folder) {
            return Ok(Staged::Unnamed(file));
        }
        Ok(Staged::Named(create_named(target).doing("cannot create a file in the folder")?))
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Staged::Unnamed(file) => file,
            Staged::Named(file) => file.as_file(),
        }
    }

    fn publish(self, target: &Target, overwrite: bool) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Staged::Unnamed(file) => linux::publish(&file, target, overwrite),
            Staged::Named(file) if overwrite => {
                target.in_place(file.persist(&target.path).map(drop).map_err(|e| e.error))
            }
            Staged::Named(file) => target.in_place(file.persist_noclobber(&target.path).map(drop).map_err(|e| e.error)),
        }
    }
}

fn create_named(target: &Target) -> std::io::Result<tempfile::NamedTempFile> {
    let prefix = target.staged_prefix();
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(8);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(&target.folder)?;
        // Until it is locked, another commit may take it for litter. A file system without locks has no such commits.
        let _ = file.as_file().try_lock();
        if file.path().exists() {
            return Ok(file);
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    //! Files without a name (`O_TMPFILE`), and how they get one.

    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    use rustix::fs::{AtFlags, CWD, Mode, OFlags};

    use super::{SUFFIX, Target};
    use crate::Result;

    /// A file without a name in this folder; `None` where the file system cannot do it (or nothing can be created there,
    /// which creating a named file will tell).
    pub(super) fn create_unnamed(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(CWD, folder, flags, Mode::from_raw_mode(0o666)).ok()?);
        // It gets its name through /proc, which may not be mounted.
        by_descriptor(&file).exists().then_some(file)
    }

    /// Gives the file its name. Where there is a file to be replaced, a link cannot do it: it gets a name of its own
    /// first, and is renamed at once.
    pub(super) fn publish(file: &File, target: &Target, overwrite: bool) -> Result<()> {
        if target.old.is_none() || !overwrite {
            match link(file, &target.path) {
                Err(error) if overwrite && error.kind() == std::io::ErrorKind::AlreadyExists => {}
                linked => return target.in_place(linked),
            }
        }
        let _ = file.try_lock();
        let mut builder = tempfile::Builder::new();
        let prefix = target.staged_prefix();
        let builder = builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(8);
        let named = builder.make_in(&target.folder, |path| link(file, path));
        target.in_place(named.and_then(|named| named.persist(&target.path).map(drop).map_err(|error| error.error)))
    }

    fn link(file: &File, path: &Path) -> std::io::Result<()> {
        Ok(rustix::fs::linkat(CWD, by_descriptor(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn by_descriptor(file: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to flush for a folder, and say so.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        flushed => flushed,
    }
}

/// Windows flushes a folder with the files in it.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_unnamed_files_is_served_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.pt");
        let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        for (overwrite, content) in [(false, b"one"), (true, b"two"), (false, b"two")] {
            let target = Target::resolve(&path).unwrap();
            let staged = Staged::Named(create_named(&target).unwrap());
            let name = names().find(|name| name != "run.pt").unwrap().into_string().unwrap();
            assert!(name.starts_with(&target.staged_prefix()) && name.ends_with(SUFFIX), "{name}");
            // Another commit leaves it alone.
            target.sweep();
            staged.file().write_all(content).unwrap();
            let published = staged.publish(&target, overwrite);
            assert_eq!(published.is_ok(), overwrite || target.old.is_none());
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(names().count(), 1);
        }
    }

    #[test]
    fn a_name_as_long_as_names_can_be_has_room_for_the_staged_one() {
        let folder = tempfile::tempdir().unwrap();
        let name = "\u{e9}".repeat(127);
        let target = Target::resolve(&folder.path().join(name)).unwrap();
        create_named(&target).unwrap();
    }
}
