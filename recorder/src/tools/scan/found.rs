//! What a scan finds, and the report of it.

use indexmap::{IndexMap, IndexSet};

use crate::pickle::{Use, Verdict, verdict_of_use};
use crate::{Error, Global};

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

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    names: IndexMap<(Global, Use), IndexSet<String>>,
    pub(super) problems: Vec<ScanProblem>,
    pub(super) pickles: u64,
}

impl Found {
    pub(super) fn names(&mut self, names: impl IntoIterator<Item = (Global, Use)>, place: &str) {
        for name in names {
            self.names.entry(name).or_default().insert(place.to_owned());
        }
    }

    pub(super) fn problem(&mut self, place: &str, error: Error) {
        self.problems.push(ScanProblem { place: place.to_owned(), error, deceives: false });
    }

    pub(super) fn deception(&mut self, place: &str, error: Error) {
        self.problems.push(ScanProblem { place: place.to_owned(), error, deceives: true });
    }

    pub(super) fn report(self) -> ScanReport {
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
