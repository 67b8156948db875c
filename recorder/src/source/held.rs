//! `Held`: a file that one process holds at a time, so that several that want the same do it once.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::io::is_same;
use crate::{IoResultExt as _, Result, ResultExt as _};

/// An open file with its lock, which ends with it, however the process ends.
#[derive(Debug)]
pub(super) struct Held(File);

impl Held {
    /// Opens the file of this name, and waits until nobody else holds it; `waits` is called once where somebody does. `None` as
    /// soon as `done` says that there is nothing left to do.
    ///
    /// It is `flock` on Unix, as Python's filelock has it. Where a file system has no locks, everybody holds it.
    pub(super) fn take(path: &Path, done: impl Fn() -> bool, waits: impl FnOnce()) -> Result<Option<Self>> {
        let mut waits = Some(waits);
        loop {
            if done() {
                return Ok(None);
            }
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = opened.doing("cannot create the file").in_file(path)?;
            let locked = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    waits.take().into_iter().for_each(|waits| waits());
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            match locked {
                Err(error) if error.kind() != std::io::ErrorKind::Unsupported => {
                    return Err(error).doing("cannot lock the file").in_file(path);
                }
                _ => {}
            }
            // Whoever held it may have given it another name, or removed it.
            let is_it = matches!((file.metadata(), std::fs::metadata(path)), (Ok(a), Ok(b)) if is_same(&a, &b));
            if is_it && done() {
                // It is the one just made, and has nothing in it.
                std::fs::remove_file(path).doing("cannot remove the file").in_file(path)?;
                return Ok(None);
            }
            if is_it {
                return Ok(Some(Held(file)));
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }
}
