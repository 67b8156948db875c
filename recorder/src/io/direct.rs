//! A large file written past the memory that the system keeps of files: the program's own memory is left to it, and copying into the
//! system's costs nothing. What lies in memory as in the file goes to the disk from where it is; the rest is copied into pieces that are
//! aligned as disks want them, one being written while the next is filled.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::out::Out;
use crate::{Error, IoResultExt as _, Result};

/// Places in the file are multiples of this, and those of pieces in memory: more than any disk asks for.
const ALIGNMENT: usize = 4096;
/// Bytes that nobody copied begin in memory at multiples of this: a sector, which disks that ask for anything ask for.
const SECTOR: usize = 512;
/// Fewer bytes are copied, and go with others.
const FEW: usize = 64 << 10;
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
    W: FnOnce(&mut dyn Out) -> Result<T>,
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
        let mut out = Pieces::new(to_disk, free);
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

/// Whole blocks of the disk, on their way there.
enum Blocks {
    /// So many bytes of a piece.
    Copied(Piece, usize),
    /// From where they are.
    Kept(Bytes),
}

/// Writes blocks at their places as they come, and gives the pieces back.
fn disk(file: &File, filled: &Receiver<(Blocks, u64)>, back: &Sender<Piece>) -> io::Result<()> {
    for (blocks, at) in filled {
        let bytes = match &blocks {
            Blocks::Copied(piece, len) => &piece.bytes()[..*len],
            Blocks::Kept(bytes) => bytes,
        };
        match file.write_all_at(bytes, at) {
            // As a file system says it that takes the flag and cannot do it, or not here.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(file, false).and_then(|()| file.write_all_at(bytes, at))?;
            }
            written => written?,
        }
        if let Blocks::Copied(piece, _) = blocks {
            // Nobody takes the last ones.
            let _ = back.send(piece);
        }
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
    to_disk: SyncSender<(Blocks, u64)>,
    free: Receiver<Piece>,
}

impl Pieces {
    fn new(to_disk: SyncSender<(Blocks, u64)>, free: Receiver<Piece>) -> Self {
        Pieces { piece: Piece::new(), len: 0, at: 0, made: 1, to_disk, free }
    }

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

impl Pieces {
    /// Sends what comes next in the file, which is whole blocks.
    fn send(&mut self, blocks: Blocks, len: usize) -> io::Result<()> {
        self.to_disk.send((blocks, self.at)).map_err(|_| io::Error::other("the disk takes no more"))?;
        self.at += len as u64;
        Ok(())
    }

    /// Sends what the piece has so far.
    fn send_piece(&mut self) -> io::Result<()> {
        let next = self.another()?;
        let (piece, len) = (std::mem::replace(&mut self.piece, next), std::mem::take(&mut self.len));
        self.send(Blocks::Copied(piece, len), len)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len == PIECE {
            self.send_piece()?;
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

impl Out for Pieces {
    fn keeps(&self, bytes: &Bytes) -> bool {
        // Pieces begin at blocks of the disk: their length says whether the next byte does.
        bytes.len() >= FEW && self.len.is_multiple_of(ALIGNMENT) && bytes.as_ptr().align_offset(SECTOR) == 0
    }

    fn write_kept(&mut self, bytes: &Bytes) -> io::Result<()> {
        if !self.keeps(bytes) {
            return self.write_all(bytes);
        }
        if self.len > 0 {
            self.send_piece()?;
        }
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        self.send(Blocks::Kept(bytes.slice(..whole)), whole)?;
        self.write_all(&bytes[whole..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes that begin so far behind a multiple of [`ALIGNMENT`] in memory.
    fn bytes(len: usize, behind: usize) -> Bytes {
        let bytes = Bytes::from_iter((0..=250).cycle().take(len + 2 * ALIGNMENT));
        let start = bytes.as_ptr().align_offset(ALIGNMENT) + behind;
        bytes.slice(start..start + len)
    }

    /// What goes to the disk of these bytes, of which some may be kept, and how much of it was not copied.
    fn written(parts: &[(Bytes, bool)]) -> usize {
        let (to_disk, filled) = sync_channel(1000);
        let (back, free) = channel();
        (0..1000).for_each(|_| back.send(Piece::new()).unwrap());
        let mut out = Pieces::new(to_disk, free);
        for (part, kept) in parts {
            if *kept { out.write_kept(part).unwrap() } else { out.write_all(part).unwrap() }
        }
        let Pieces { piece, len, at, .. } = out;
        let (mut found, mut not_copied) = (Vec::new(), 0);
        for (blocks, at) in filled.try_iter() {
            assert_eq!(at, found.len() as u64);
            let bytes = match &blocks {
                Blocks::Copied(piece, len) => &piece.bytes()[..*len],
                Blocks::Kept(bytes) => {
                    not_copied += bytes.len();
                    bytes
                }
            };
            let aligned = bytes.as_ptr().align_offset(SECTOR) == 0 && bytes.len().is_multiple_of(ALIGNMENT);
            assert!(aligned && at.is_multiple_of(ALIGNMENT as u64), "{} bytes at {at}", bytes.len());
            found.extend_from_slice(bytes);
        }
        assert_eq!(at, found.len() as u64);
        found.extend_from_slice(&piece.bytes()[..len]);
        assert!(found == parts.iter().flat_map(|(part, _)| part.iter().copied()).collect::<Vec<u8>>());
        not_copied
    }

    #[test]
    fn what_lies_in_memory_as_on_the_disk_is_not_copied() {
        const MIB: usize = 1 << 20;
        let head = (bytes(ALIGNMENT, 1), false);
        let tail = (bytes(77, 0), true);
        for (len, behind, not_copied) in
            [(MIB, 0, MIB), (MIB + 5, SECTOR, MIB), (MIB, 64, 0), (FEW, 0, FEW), (FEW - 1, 0, 0), (5 * MIB, 0, 5 * MIB)]
        {
            let kept = (bytes(len, behind), true);
            assert_eq!(
                written(&[head.clone(), kept.clone(), tail.clone()]),
                not_copied,
                "{len} bytes, {behind} behind"
            );
            assert_eq!(written(std::slice::from_ref(&kept)), not_copied);
            // Its place in the file is no block's.
            assert_eq!(written(&[tail.clone(), kept.clone()]), 0);
            // Pieces that are full.
            assert_eq!(written(&[(bytes(PIECE, 3), false), kept.clone()]), not_copied);
            let before = (bytes(2 * PIECE - ALIGNMENT, 3), false);
            assert!(written(&[before, kept.clone(), kept]) >= not_copied);
        }
    }
}
