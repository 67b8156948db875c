//! The items of distributed checkpoints: whole archives, each where the metadata beside its file say. A reader goes by these, and
//! not by what the file looks like from its front on; so does the scan, and it looks into what is between them, too.

use std::path::Path;

use crate::container::dcp;
use crate::tools::scan::content::{Scanner, join};
use crate::{Error, FileBytes, io};

/// What a file of items is called.
pub(super) const EXTENSION: &str = ".distcp";

/// Where the items of a folder's files are.
#[derive(Default)]
pub(super) struct Items(Vec<dcp::Place>);

impl Items {
    /// Those that the metadata in a folder name; none where there are no metadata that can be read (which the scan then says of
    /// them).
    pub(super) fn of(folder: &Path, limits: &crate::Limits) -> Items {
        let names = io::names(folder).unwrap_or_default();
        let metadata = names.iter().filter(|name| *name == dcp::METADATA || name.ends_with(dcp::METADATA));
        let files = metadata.filter_map(|name| FileBytes::open(&folder.join(name)).ok());
        Items(files.filter_map(|file| dcp::places(&file, limits).ok()).flatten().collect())
    }
}

impl Scanner<'_> {
    /// Scans a file item by item. False where no metadata name any in it.
    pub(super) fn items(&mut self, file: &FileBytes, name: &str, place: &str, items: &Items) -> bool {
        let mut at = 0_u64;
        let mut found = false;
        for item in items.0.iter().filter(|item| item.file == name) {
            found = true;
            let here = format!("{place} (byte {})", item.offset);
            if item.offset > at {
                self.between(file, place, at, item.offset);
            }
            let end = item.offset.saturating_add(item.length);
            match file.slice(item.offset..end) {
                Some(bytes) => {
                    let inner = file.within(bytes);
                    if !self.content(&inner, &here, true, 1) && !inner.is_empty() {
                        self.found.problem(&here, crate::container::content::describe(&inner));
                    }
                }
                None => self.found.problem(
                    &here,
                    Error::truncated(format!("the item takes {} bytes, and they are not all there", item.length)),
                ),
            }
            at = at.max(end);
        }
        if found {
            self.between(file, place, at, file.len() as u64);
        }
        found
    }

    /// Scans what no item is in.
    fn between(&mut self, file: &FileBytes, place: &str, from: u64, to: u64) {
        if let Some(bytes) = file.slice(from..to).filter(|bytes| !bytes.is_empty()) {
            self.content(&file.within(bytes), &join(place, &format!("(byte {from})")), false, 1);
        }
    }
}
