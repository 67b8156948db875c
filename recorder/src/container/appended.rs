//! Several saves in one file, one behind the other, as `open(path, "ab")` leaves them: archives, streams and pickles in any order.
//! Without a word PyTorch reads the first of them, if it reads the file at all.

use bytes::Bytes;

use crate::container::{content, legacy, zip};
use crate::{FileBytes, Limits, pickle};

/// How many places behind a save are tried for the next one, where other bytes lie between them.
const TRIED: usize = 16;

/// The saves that the bytes begin with, one behind the other; the last is all that is left where nothing tells its end. None where
/// they begin with no save. Bytes between two that are no save's are passed over, where an archive or a stream follows them.
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
        } else if let Some(end) = pickle_end(&rest, limits) {
            found.push(file.within(rest.slice(..end)));
            Some(end)
        } else {
            // What the bytes begin with is looked for by whoever has a save before them.
            let next = if found.is_empty() { None } else { gap(&here) };
            let Some(next) = next else { break };
            rest = rest.slice(next..);
            continue;
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

/// Where the pickle ends that the bytes begin with; none where they only look like one.
fn pickle_end(bytes: &[u8], limits: &Limits) -> Option<usize> {
    let names = content::is_binary_pickle(bytes).then(|| pickle::names(bytes, "a pickle", limits))?;
    names.problem.is_none().then_some(names.end)
}

/// The saves behind another one, of which these bytes are the rest of the file.
pub(super) fn behind(file: &FileBytes, limits: &Limits) -> Vec<FileBytes> {
    let there = saves(file, limits);
    if !there.is_empty() {
        return there;
    }
    gap(file).map_or_else(Vec::new, |gap| saves(&file.within(file.bytes().slice(gap..)), limits))
}

/// Where in the bytes the next archive or stream begins.
fn gap(file: &FileBytes) -> Option<usize> {
    let bytes = file.bytes();
    let begins = |at: &usize| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.starts_with(b"PK\x03\x04") || rest.first() == Some(&0x80) && legacy::begins(rest)
    };
    // What looks like an archive's beginning may be anything.
    let is_save = |at: &usize| {
        let rest = bytes.slice(*at..);
        legacy::begins(&rest) || !zip::archives(&rest).is_empty()
    };
    (1..bytes.len()).filter(begins).take(TRIED).find(is_save)
}

/// The first of several archives, and how many saves there are; `None` where the file is a single one.
pub(super) fn first_archive(file: &FileBytes, limits: &Limits) -> Option<(FileBytes, usize)> {
    let archives = zip::archives(&file.bytes());
    let end: usize = archives.iter().map(Bytes::len).sum();
    let first = archives.first().filter(|first| first.len() < file.len())?.clone();
    let behind = behind(&file.within(file.bytes().slice(end..)), limits).len();
    let count = archives.len() + behind;
    (count > 1).then(|| (file.within(first), count))
}

/// What is said of a file with so many saves, of which the first was read.
pub(super) fn note(count: usize) -> String {
    format!(
        "the file holds {count} saves, one behind the other, and the first is read; `OpenOptions::nth` reads another (1 to {count})"
    )
}
