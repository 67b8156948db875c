//! `Ranges`: a file that is not on this machine, of which parts are asked for.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::Result;

/// A file that is read part by part, wherever it is: on a server, in a store of one's own.
/// [`Checkpoint::open_ranges`](crate::Checkpoint::open_ranges) opens a checkpoint in one.
///
/// All parts are of the same file: where it changes meanwhile, [`Ranges::read`] has to fail.
pub trait Ranges: fmt::Debug + Send + Sync {
    /// How many bytes the file has.
    fn len(&self) -> u64;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range that lies in the file.
    ///
    /// # Errors
    /// When they cannot be had, or are of another file by now.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
}
