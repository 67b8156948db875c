//! The corpora beside the workspace: unpacked where they are, skipped where they are not; and how long each file takes.

use std::path::Path;
use std::time::Duration;

use flate2::bufread::GzDecoder;

use crate::Computed;

/// What one file may take of a thread, scanned or opened.
const LONGEST: Duration = Duration::from_secs(2);
/// What a build without optimisation may take of it more.
const DEBUG_FACTOR: u32 = if cfg!(debug_assertions) { 5 } else { 1 };

/// Unpacks a corpus into a new folder.
pub fn unpack(name: &str) -> Option<tempfile::TempDir> {
    // Beside the workspace; a worktree of it lies one folder deeper.
    let places = ["../../shared/corpora", "../../../shared/corpora"];
    let place = |place: &&str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(place).join(name)).ok();
    let Some(packed) = places.iter().find_map(place) else {
        eprintln!("skipped: there is no {name} in ../shared/corpora");
        return None;
    };
    let folder = crate::scratch();
    tar::Archive::new(GzDecoder::new(&*packed)).unpack(folder.path()).unwrap();
    Some(folder)
}

/// How long each file took.
#[derive(Debug, Default)]
pub struct Times(Vec<(Duration, String)>);

impl Times {
    /// What was done with a file, from `start` on.
    pub fn note(&mut self, doing: &str, file: &str, start: Computed) {
        self.0.push((start.elapsed(), format!("{doing} {file}")));
    }

    /// Prints the slowest, and fails where one took too long.
    pub fn report(mut self) {
        self.0.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        for (time, what) in self.0.iter().take(5) {
            eprintln!("{:8.1} ms  {what}", time.as_secs_f64() * 1e3);
        }
        if let Some((time, what)) = self.0.first() {
            // Each number above is of one file, in this build.
            assert!(*time < LONGEST * DEBUG_FACTOR, "{what} took {time:?}");
        }
    }
}
