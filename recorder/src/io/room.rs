//! How much room a disk has.

use std::path::Path;

use crate::{Error, Result};

/// Bytes that a folder's disk has room for; `None` where nobody tells.
fn room(folder: &Path) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let told = rustix::fs::statvfs(folder).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        None
    }
}

/// Makes sure that a folder's disk has room for so many bytes, as far as anybody tells.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where it has not.
pub(crate) fn needs_room(folder: &Path, bytes: u64) -> Result<()> {
    match room(folder) {
        Some(room) if room < bytes => {
            let reason = format!("{bytes} bytes are to be written, and the disk has room for {room}");
            Err(Error::invalid(reason).advise("free some, or name another place"))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(needs_room(folder.path(), 1).is_ok());
        let error = needs_room(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("the disk has room for"), "{error}");
    }
}
