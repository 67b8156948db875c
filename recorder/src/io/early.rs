//! A large file on its way to the disk while it is still being written: its place is reserved, another thread sees to it that the disk
//! has work from the beginning on, and what the system keeps in memory of the file that it replaces makes room first. At the end
//! little is left to be waited for.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::out::Out;
use crate::{IoResultExt as _, Result};

/// What is known of a file before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// It will have so many bytes, or more.
    pub(crate) bytes: u64,
    /// Whether all of it is in the program's memory, so that none of it is read from the file which it replaces.
    pub(crate) in_memory: bool,
}

/// Writes are gathered up to this size.
const BUFFER: usize = 256 * 1024;

/// Fills a new file.
pub(super) fn fill<T>(file: &File, expected: Expected, write: impl FnOnce(&mut dyn Out) -> Result<T>) -> Result<T> {
    #[cfg(target_os = "linux")]
    if linux::pays(file, expected) {
        return linux::fill(file, expected, write);
    }
    let _ = expected;
    buffered(file, write)
}

fn buffered<T>(file: impl Write, write: impl FnOnce(&mut dyn Out) -> Result<T>) -> Result<T> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    let written = write(&mut out)?;
    out.flush().doing("cannot write the file")?;
    Ok(written)
}

/// Lets go of what the system keeps in memory of the file that is going to be replaced: the new one has use for the memory, and so it
/// is not given back and asked for anew. The file itself stays.
pub(super) fn make_room(old: &std::path::Path, expected: Expected) {
    #[cfg(target_os = "linux")]
    if expected.in_memory && expected.bytes >= linux::LARGE {
        linux::forget(old);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (old, expected);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, Seek, Write};
    use std::path::Path;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread;

    use rustix::fs::{Advice, FallocateFlags};

    use super::super::direct;
    use super::super::out::Out;
    use super::{Expected, buffered};
    use crate::{Error, IoResultExt as _, Result};

    /// Smaller files are on the disk in no time.
    pub(super) const LARGE: u64 = 64 << 20;
    /// After so many bytes the disk is told to go on.
    const EACH: usize = 32 << 20;
    /// The kind of file system that is in memory.
    const TMPFS: u64 = 0x0102_1994;

    /// Whether a file is large, and on a disk.
    pub(super) fn pays(file: &File, expected: Expected) -> bool {
        let in_memory = |kind: rustix::fs::StatFs| u64::try_from(kind.f_type).ok() == Some(TMPFS);
        expected.bytes >= LARGE && rustix::fs::fstatfs(file).is_ok_and(|kind| !in_memory(kind))
    }

    pub(super) fn forget(old: &Path) {
        if let Ok(file) = File::open(old) {
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
    }

    pub(super) fn fill<T>(file: &File, expected: Expected, write: impl FnOnce(&mut dyn Out) -> Result<T>) -> Result<T> {
        // Not every file system can; a disk that is full says so when it is written to.
        let _ = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, expected.bytes);
        // What is copied from another file is likely to be read again, as that was, and so is kept in the system's memory.
        let written = if expected.in_memory { direct::fill(file, write) } else { Err(write) };
        let (written, end) = match written {
            Ok(written) => written?,
            Err(write) => kept(file, write)?,
        };
        if end < expected.bytes {
            file.set_len(end).doing("cannot write the file")?;
        }
        Ok(written)
    }

    /// Through the system's memory, and gives the length, too.
    fn kept<T>(mut file: &File, write: impl FnOnce(&mut dyn Out) -> Result<T>) -> Result<(T, u64)> {
        let written = thread::scope(|scope| {
            let (tell, told) = sync_channel(1);
            let flush = move || -> io::Result<()> { told.iter().try_for_each(|()| file.sync_data()) };
            // Without another thread it waits at the end.
            let flusher = thread::Builder::new().name("rekindle-flush".to_owned()).spawn_scoped(scope, flush).ok();
            let written = buffered(Telling { file, since: 0, tell }, write)?;
            // An error of the disk is told once, and here it may have been told already.
            match flusher.map(thread::ScopedJoinHandle::join) {
                None => {}
                Some(Ok(flushed)) => flushed.doing("cannot write the file")?,
                Some(Err(_)) => return Err(Error::invalid("whoever flushed the file panicked")),
            }
            Ok(written)
        })?;
        let end = file.stream_position().doing("cannot write the file")?;
        Ok((written, end))
    }

    /// The file, and whoever is told that more of it was written.
    struct Telling<'a> {
        file: &'a File,
        since: usize,
        tell: SyncSender<()>,
    }

    impl Write for Telling<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.file.write(bytes)?;
            self.since += written;
            if self.since >= EACH {
                self.since = 0;
                // One that is at work already goes on afterwards; one that failed says so at the end.
                let _ = self.tell.try_send(());
            }
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// A file of this length, filled in pieces, of which so many bytes were expected.
    fn filled(len: usize, expected: u64, in_memory: bool) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let expected = Expected { bytes: expected, in_memory };
        let written = fill(&file, expected, |out| {
            bytes.chunks(1_000_003).try_for_each(|piece| out.write_all(piece).doing("cannot write the file"))?;
            Ok(7)
        });
        assert_eq!(written.unwrap(), 7);
        let found = std::fs::read(&path).unwrap();
        assert!(found == bytes, "{len} bytes, {expected:?}");
        make_room(&path, expected);
        assert!(std::fs::read(path).unwrap() == bytes, "its memory is let go of, the file is there");
        found
    }

    #[test]
    fn a_large_file_is_what_was_written_whatever_was_expected() {
        let large = 70 << 20;
        for (len, expected) in [(0, 0), (5, 0), (large, 0), (large, large as u64), (large, 65 << 20), (9, large as u64)]
        {
            for in_memory in [true, false] {
                assert_eq!(filled(len, expected, in_memory).len(), len);
            }
        }
    }

    #[test]
    fn what_fails_in_a_large_file_is_told() {
        for in_memory in [true, false] {
            let file = tempfile::tempfile().unwrap();
            let expected = Expected { bytes: 65 << 20, in_memory };
            let failed = fill(&file, expected, |_| Err::<(), _>(Error::invalid("no more".to_owned())));
            assert_eq!(failed.unwrap_err().to_string(), "no more");
            // What the disk says, not what followed from it.
            let read_only = File::open(std::env::current_exe().unwrap()).unwrap();
            let bytes = vec![0; 65 << 20];
            let failed = fill(&read_only, expected, |out| out.write_all(&bytes).doing("cannot write the file"));
            let error = failed.unwrap_err().to_string();
            assert!(error.contains("Bad file descriptor"), "{error}");
        }
    }
}
