//! `Ready`: a file before it is written. What can be refused has been refused; what is left is fetching and writing bytes, into
//! a file that appears whole or into a stream.

use std::io::Write;
use std::path::Path;

use crate::io::commit::commit_with;
use crate::io::early::Expected;
use crate::io::out::Out;
use crate::options::SaveReport;
use crate::{IoResultExt as _, Result};

/// Writes all bytes, and gives their number.
type Put<'a> = Box<dyn FnOnce(&mut dyn Out) -> Result<u64> + 'a>;

/// A file that is ready to be written.
pub(crate) struct Ready<'a> {
    notes: Vec<String>,
    expected: Expected,
    put: Put<'a>,
}

impl<'a> Ready<'a> {
    /// A file that `put` writes, and what a user should know of it.
    pub(crate) fn new(notes: Vec<String>, put: impl FnOnce(&mut dyn Out) -> Result<u64> + 'a) -> Self {
        Ready { notes, expected: Expected::default(), put: Box::new(put) }
    }

    /// Of which this is known.
    pub(crate) fn expecting(self, expected: Expected) -> Self {
        Ready { expected, ..self }
    }

    /// Writes it as a file that is whole or not there: [`commit`](crate::io::commit()).
    pub(crate) fn commit(self, path: &Path, overwrite: bool) -> Result<SaveReport> {
        let bytes = commit_with(path, overwrite, self.expected, self.put)?;
        Ok(SaveReport { bytes, notes: self.notes })
    }

    /// Writes it to a stream.
    pub(crate) fn write_to(self, mut out: &mut dyn Write) -> Result<SaveReport> {
        let bytes = (self.put)(&mut out)?;
        out.flush().doing("cannot write the file")?;
        Ok(SaveReport { bytes, notes: self.notes })
    }
}
