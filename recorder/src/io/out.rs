//! `Out`: where the bytes of a file go, which may take some of them without a copy.

use std::io::{self, Write};

use bytes::Bytes;

/// An output that may be handed bytes to keep.
pub(crate) trait Out: Write {
    /// Whether [`Out::write_kept`] of bytes that begin like these makes no copy of them. By default it does.
    fn keeps(&self, bytes: &Bytes) -> bool {
        let _ = bytes;
        false
    }

    /// Writes bytes that nobody changes, for as long as the output holds them. By default as any others.
    fn write_kept(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.write_all(bytes)
    }
}

impl Out for &mut dyn Write {}

impl Out for &mut dyn Out {
    fn keeps(&self, bytes: &Bytes) -> bool {
        (**self).keeps(bytes)
    }

    fn write_kept(&mut self, bytes: &Bytes) -> io::Result<()> {
        (**self).write_kept(bytes)
    }
}

impl<W: Write> Out for io::BufWriter<W> {}
