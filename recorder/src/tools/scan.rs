//! What the pickles in a file name, with a verdict on each name and a reason: what `rekindle scan` prints. It is a gate: what nobody
//! here knows is not known to be safe.
//!
//! A file is looked through as whoever might load it would: every pickle in it, one after the other; every record of an
//! archive and every archive in a record; what follows a break. Extensions count for nothing. A file may be several things at
//! once, and then is scanned as each of them.
//!
//! Nothing is loaded, so the cost follows from the file's size: compressed records are unpacked up to [`UNPACKED`] bytes,
//! and of a pickle only the places of its strings are kept.

mod items;
mod walk;

use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use crate::pickle::{Use, Verdict, verdict_of_use};
use crate::{Error, Global, Limits, Result, ResultExt as _};

/// Compressed records and streams that unpack to more bytes are not looked through, and reported as problems: 128 MiB.
pub const UNPACKED: u64 = 128 << 20;

/// What the pickles in a file or folder name.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// Every name, the dangerous ones first, each once.
    pub entries: Vec<ScanEntry>,
    /// What could not be looked through, and what misleads whoever looks.
    pub problems: Vec<ScanProblem>,
    /// How many pickles there are.
    pub pickles: u64,
}

/// A name in pickles.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanEntry {
    /// The class or function.
    pub name: Global,
    /// What Python would make of it, used as it is here.
    pub verdict: Verdict,
    /// Why: what it does, said of it.
    pub reason: &'static str,
    /// The pickles that name it: records of the archive, files of the folder, with the byte where a pickle is not the first in its
    /// place.
    pub places: Vec<String>,
}

/// A part of a file that could not be looked through, or not be trusted.
#[derive(Debug)]
#[non_exhaustive]
pub struct ScanProblem {
    /// Where: a record, a file of the folder.
    pub place: String,
    /// What is wrong there.
    pub error: Error,
    /// Whether it hides from a reader what Python would load. No honest program writes such a pickle, so it counts as dangerous.
    pub deceives: bool,
}

impl ScanReport {
    /// Whether all of it could be looked through, and plain `torch.load` takes every name in it, or it is known to be harmless.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.problems.is_empty() && !self.is_dangerous() && !self.is_unknown()
    }

    /// Whether it names something that Python would import and nobody here knows: it is then not known to be safe.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.entries.iter().any(|entry| entry.verdict == Verdict::Unknown)
    }

    /// Whether unpickling it in Python could run code, or reach files, processes or the network.
    #[must_use]
    pub fn is_dangerous(&self) -> bool {
        self.entries.iter().any(|entry| entry.verdict == Verdict::Dangerous)
            || self.problems.iter().any(|problem| problem.deceives)
    }
}

/// Lists every name in every pickle of a file or folder. In a folder, files that hold no pickles are passed over.
///
/// What is wrong with a part of it goes into [`ScanReport::problems`], and the rest is scanned. Memory stays below 512 MiB.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be read, [`ErrorKind::NotACheckpoint`](crate::ErrorKind::NotACheckpoint)
/// when it is a file of no known format.
///
/// ```
/// # use rekindle_recorder::{Limits, scan::scan};
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.pt");
/// std::fs::write(&path, b"cposix\nsystem\n(S'echo pwned'\ntR.")?;
/// let report = scan(&path, &Limits::default())?;
/// assert_eq!(report.entries[0].name.to_string(), "posix.system");
/// assert!(report.is_dangerous());
/// assert_eq!(report.entries[0].reason, "reaches the system, processes or threads");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scan(path: impl AsRef<Path>, limits: &Limits) -> Result<ScanReport> {
    let path = path.as_ref();
    let mut found = Found::default();
    walk::path(path, limits, &mut found).in_file(path)?;
    Ok(found.report())
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    names: IndexMap<(Global, Use), IndexSet<String>>,
    problems: Vec<ScanProblem>,
    pickles: u64,
}

impl Found {
    fn names(&mut self, names: impl IntoIterator<Item = (Global, Use)>, place: &str) {
        for name in names {
            self.names.entry(name).or_default().insert(place.to_owned());
        }
    }

    fn problem(&mut self, place: &str, error: Error) {
        self.problems.push(ScanProblem { place: place.to_owned(), error, deceives: false });
    }

    fn deception(&mut self, place: &str, error: Error) {
        self.problems.push(ScanProblem { place: place.to_owned(), error, deceives: true });
    }

    fn report(self) -> ScanReport {
        let mut found: IndexMap<(Global, Verdict, &'static str), IndexSet<String>> = IndexMap::new();
        for ((name, used), places) in self.names {
            let (verdict, reason) = verdict_of_use(&name, used);
            found.entry((name, verdict, reason)).or_default().extend(places);
        }
        let entry = |((name, verdict, reason), places): ((Global, Verdict, &'static str), IndexSet<String>)| {
            ScanEntry { name, verdict, reason, places: places.into_iter().collect() }
        };
        let mut entries: Vec<ScanEntry> = found.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.verdict));
        ScanReport { entries, problems: self.problems, pickles: self.pickles }
    }
}
