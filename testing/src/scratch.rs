//! Folders for what a test writes only to read it again.

use tempfile::TempDir;

/// A folder that goes away; in memory, where the system has room there: a save waits until its bytes are on the disk, and
/// thousands of saves are a long wait that says nothing.
pub fn scratch() -> TempDir {
    in_memory().unwrap_or_else(|| tempfile::tempdir().unwrap())
}

#[cfg(target_os = "linux")]
fn in_memory() -> Option<TempDir> {
    /// What no test here writes.
    const ENOUGH: u64 = 1 << 30;
    let memory = "/dev/shm";
    let about = rustix::fs::statvfs(memory).ok()?;
    (about.f_bavail * about.f_frsize > ENOUGH).then(|| tempfile::tempdir_in(memory).ok())?
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> Option<TempDir> {
    None
}
