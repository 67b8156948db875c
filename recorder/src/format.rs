//! `Format`: the name of a format of checkpoints, which its own module gives it; `Opened`: a checkpoint as it was read from one.

use std::path::Path;
use std::sync::Arc;

use crate::container::run_folder::origin::Origin;
use crate::io::Ranges;
use crate::{FileBytes, Global, OpenOptions, Result, Value};

/// A format of checkpoints. `Display` gives its name (`zip`, `burn-record`), `FromStr` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format(&'static str);

impl Format {
    /// The format of this name. Each has one, in the module that reads it.
    pub(crate) const fn named(name: &'static str) -> Self {
        Format(name)
    }

    /// Its name, such as `zip`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

crate::display_is_name!(Format);

/// A checkpoint as it was read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The format it was in.
    pub format: Format,
    /// What it holds.
    pub value: Value,
    /// Every class or function that its pickles name, each once, as first seen.
    pub globals: Vec<Global>,
    /// Its size: of the file, or of all files of the folder.
    pub bytes: u64,
    /// What a user should know of the reading, a sentence each: what the files contradict each other in, what was taken for
    /// what, what was left out.
    pub notes: Vec<String>,
    /// Where in the file it ends, where it is of a format of which several may lie one behind the other.
    pub(crate) end: Option<usize>,
    /// How many saves the file holds, one behind the other.
    pub(crate) saves: usize,
    /// What it was read from, where that is a folder of files of many formats.
    pub(crate) folder: Option<Arc<Origin>>,
}

impl Opened {
    /// What was read in a format, without a word to add.
    pub(crate) fn new(format: Format, value: Value, globals: Vec<Global>, bytes: u64) -> Self {
        Opened { format, value, globals, bytes, notes: Vec::new(), end: None, saves: 1, folder: None }
    }
}

/// Reads a file of any format.
pub(crate) type Read = fn(&FileBytes, &OpenOptions) -> Result<Opened>;

/// Reads a file of any format part by part, with what it is called; `None` where it has to be read whole.
pub(crate) type ReadRanges = fn(&Path, &Arc<dyn Ranges>, &OpenOptions) -> Result<Option<Opened>>;

/// As much is read of the beginning of a file that is read part by part: its format is told by that, and most pickles lie in it.
pub(crate) const HEAD: u64 = 64 << 10;

/// Adds the names that are not among the known ones yet.
pub(crate) fn add_new(known: &mut Vec<Global>, more: Vec<Global>) {
    for global in more {
        if !known.contains(&global) {
            known.push(global);
        }
    }
}
