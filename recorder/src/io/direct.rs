//! A large file written past the memory that the system keeps of files: pieces that are aligned as disks want them, one being written while
//! the next is filled. The program's own memory is left to it, and copying into the system's costs nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::{Error, IoResultExt as _, Result};

/// Places in memory and in the file are multiples of this: more than any disk asks for.
const ALIGNMENT: usize = 4096;
/// How much is written at once.
const PIECE: usize = 2 << 20;
/// Copied at once. The system's copy of more is one instruction, which on AMD's Zen 4 takes ten times as long where the two places are nearly
/// the same in their pages of memory: 1.6 GB a second.
const COPIED: usize = 4096;
/// So many pieces there are at most: one is filled, one is written, others wait.
const PIECES: usize = 4;

/// Memory that begins at a multiple of [`ALIGNMENT`], `PIECE` bytes long.
struct Piece {
    memory: Vec<u8>,
    start: usize,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Piece { memory, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..PIECE]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..PIECE]
    }
}

/// Whether writes go past the system's memory from now on; not every file system can.
fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

/// Fills a new file from its beginning on, and gives its length, too; gives `write` back, and calls nothing, where the file cannot be written so.
pub(super) fn fill<T, W>(file: &File, write: W) -> std::result::Result<Result<(T, u64)>, W>
where
    W: FnOnce(&mut dyn Write) -> Result<T>,
{
    if set_direct(file, true).is_err() {
        return Err(write);
    }
    thread::scope(|scope| {
        let (to_disk, filled) = sync_channel(PIECES);
        let (back, free) = channel();
        let at_disk = move || disk(file, &filled, &back);
        let disk = match thread::Builder::new().name("rekindle-disk".to_owned()).spawn_scoped(scope, at_disk) {
            Ok(disk) => disk,
            Err(_) if set_direct(file, false).is_ok() => return Err(write),
            Err(error) => return Ok(Err(error).doing("cannot begin to write the file")),
        };
        let mut out = Pieces { piece: Piece::new(), len: 0, at: 0, made: 1, to_disk, free };
        let written = write(&mut out);
        let Pieces { piece, len, at, to_disk, .. } = out;
        drop(to_disk);
        let at_disk = disk.join();
        let end = || -> Result<(T, u64)> {
            // The disk's own error comes first: what failed with it is told by nobody else.
            match at_disk {
                Ok(flushed) => flushed.doing("cannot write the file")?,
                Err(_) => return Err(Error::invalid("whoever wrote the file panicked")),
            }
            let written = written?;
            // What is left need not fill a block of the disk.
            set_direct(file, false)
                .and_then(|()| file.write_all_at(&piece.bytes()[..len], at))
                .doing("cannot write the file")?;
            Ok((written, at + len as u64))
        };
        Ok(end())
    })
}

/// Writes the pieces at their places as they come, and gives them back.
fn disk(file: &File, filled: &Receiver<(Piece, u64)>, back: &Sender<Piece>) -> io::Result<()> {
    for (piece, at) in filled {
        let written = match file.write_all_at(piece.bytes(), at) {
            // As a file system says it that takes the flag and cannot do it, or not here.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(file, false).and_then(|()| file.write_all_at(piece.bytes(), at))
            }
            written => written,
        };
        written?;
        // Nobody takes the last ones.
        let _ = back.send(piece);
    }
    Ok(())
}

/// The pieces that a file is cut into.
struct Pieces {
    piece: Piece,
    /// So much of the piece is filled.
    len: usize,
    /// Where it goes.
    at: u64,
    /// How many there are.
    made: usize,
    to_disk: SyncSender<(Piece, u64)>,
    free: Receiver<Piece>,
}

impl Pieces {
    /// Another piece, once there is one.
    fn another(&mut self) -> io::Result<Piece> {
        match self.free.try_recv() {
            Ok(piece) => return Ok(piece),
            Err(_) if self.made < PIECES => {
                self.made += 1;
                return Ok(Piece::new());
            }
            Err(_) => {}
        }
        self.free.recv().map_err(|_| io::Error::other("the disk takes no more"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len == PIECE {
            let next = self.another()?;
            let full = std::mem::replace(&mut self.piece, next);
            self.to_disk.send((full, self.at)).map_err(|_| io::Error::other("the disk takes no more"))?;
            self.at += PIECE as u64;
            self.len = 0;
        }
        let taken = bytes.len().min(PIECE - self.len);
        let to = self.piece.bytes_mut()[self.len..][..taken].chunks_mut(COPIED);
        to.zip(bytes[..taken].chunks(COPIED)).for_each(|(to, from)| to.copy_from_slice(from));
        self.len += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
