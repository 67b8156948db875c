//! Several saves in one file, one behind the other, as `open(path, "ab")` leaves them: archives, streams and pickles in any order.
//! Without a word PyTorch reads the first of them, if it reads the file at all.

use bytes::Bytes;

use crate::container::{content, legacy, zip};
use crate::{FileBytes, Limits, pickle};

/// The saves that the bytes begin with, one behind the other; the last is all that is left where nothing tells its end. None where
/// they begin with no save.
pub(super) fn saves(file: &FileBytes, limits: &Limits) -> Vec<FileBytes> {
    let mut found: Vec<FileBytes> = Vec::new();
    let mut rest = file.bytes();
    while !rest.is_empty() && (found.len() as u64) < limits.records {
        let here = file.within(rest.clone());
        let end = if zip::detect(&here) {
            let archives = zip::archives(&rest);
            let end = archives.iter().map(Bytes::len).sum();
            found.extend(archives.into_iter().map(|bytes| file.within(bytes)));
            // One that is cut off.
            if end == 0 { None } else { Some(end) }
        } else if legacy::detect(&here) {
            let end = legacy::end(&here, limits).ok();
            found.extend(end.map(|end| file.within(rest.slice(..end))));
            end
        } else if content::is_binary_pickle(&rest) {
            let names = pickle::names(&rest, "a pickle", limits);
            if names.problem.is_some() {
                // It only looks like one.
                break;
            }
            found.push(file.within(rest.slice(..names.end)));
            Some(names.end)
        } else {
            break;
        };
        match end.filter(|end| *end > 0) {
            Some(end) => rest = rest.slice(end.min(rest.len())..),
            None => {
                found.push(here);
                break;
            }
        }
    }
    found
}

/// The first of several archives, and how many saves there are; `None` where the file is a single one.
pub(super) fn first_archive(file: &FileBytes, limits: &Limits) -> Option<(FileBytes, usize)> {
    let archives = zip::archives(&file.bytes());
    let end: usize = archives.iter().map(Bytes::len).sum();
    let first = archives.first().filter(|first| first.len() < file.len())?.clone();
    let behind = saves(&file.within(file.bytes().slice(end..)), limits).len();
    let count = archives.len() + behind;
    (count > 1).then(|| (file.within(first), count))
}

/// What is said of a file with so many saves, of which the first was read.
pub(super) fn note(count: usize) -> String {
    format!(
        "the file holds {count} saves, one behind the other, and the first is read; `OpenOptions::nth` reads another (1 to {count})"
    )
}
