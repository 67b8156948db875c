//! Work that is done is not lost: where a step fails, or saving at the end, what was done until then is saved elsewhere.

use std::path::Path;

use rekindle::recorder::Result;
use rekindle::recorder::checkpoint::SaveReport;

use super::answer::{Anything, sentence, usage};

/// What `result` gives; where it is an error, what was done is written beside what was to be, or else into the folder for
/// temporary files, and the error says where.
pub(super) fn or_rescued<T>(
    result: Anything<T>,
    save: &Path,
    step: i64,
    write: impl Fn(&Path) -> Result<SaveReport>,
) -> Anything<T> {
    result.map_err(|error| {
        let stem = save.file_stem().unwrap_or_default().to_string_lossy();
        let extension = save.extension().map_or_else(String::new, |ext| format!(".{}", ext.to_string_lossy()));
        let name = format!("{stem}-until-step-{step}{extension}");
        let mut lost = String::new();
        for path in [save.with_file_name(&name), std::env::temp_dir().join(&name)] {
            match write(&path) {
                Ok(_) => {
                    return usage(format!("{}; what was done until then is in {}", sentence(&*error), path.display()));
                }
                Err(error) => lost = error.to_string(),
            }
        }
        usage(format!("{}; what was done until then could not be saved: {lost}", sentence(&*error)))
    })
}
