//! What a folder holds.

use std::ffi::OsString;
use std::path::{Component, Path};

use crate::{IoResultExt as _, Result, ResultExt as _};

/// The names of what is in a folder, sorted.
pub(crate) fn list(folder: &Path) -> Result<Vec<OsString>> {
    let names = std::fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect());
    let mut names: Vec<OsString> = names.doing("cannot list the folder").in_file(folder)?;
    names.sort_unstable();
    Ok(names)
}

/// Those that are text, as all of a checkpoint's are.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    Ok(list(folder)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Whether a name, as a file gives it, leads to a file in its own folder or below it.
pub(crate) fn is_below(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) && !name.contains('\\')
}
