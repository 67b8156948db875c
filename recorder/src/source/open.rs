//! Where a source is opened: in a cache, part by part where it is, or once it has been fetched.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::options::FetchOptions;
use crate::container::table;
use crate::{OpenOptions, Opened, Result};

/// Opens a source, and gives what it is called: its path on this machine, or its own name where it was not fetched.
///
/// # Errors
/// As [`table::open`], and when it cannot be had.
pub(crate) fn open(source: &Path, options: &OpenOptions, fetch: &FetchOptions) -> Result<(Opened, PathBuf)> {
    match Address::of_path(source)? {
        Address::Path(path) if fetch.sha256.is_none() => Ok((table::open(&path, options)?, path)),
        address => open_address(&address, source, options, fetch),
    }
}

#[cfg(not(feature = "fetch"))]
fn open_address(_: &Address, source: &Path, options: &OpenOptions, fetch: &FetchOptions) -> Result<(Opened, PathBuf)> {
    // It says which feature is missing.
    let fetched = super::fetch(source, fetch)?;
    Ok((table::open(&fetched.path, options)?, fetched.path))
}

#[cfg(feature = "fetch")]
fn open_address(
    address: &Address,
    source: &Path,
    options: &OpenOptions,
    fetch: &FetchOptions,
) -> Result<(Opened, PathBuf)> {
    use super::access::{Access, access};
    use crate::ResultExt as _;

    let shown = source.to_string_lossy();
    let fetched = match access(address, &shown, fetch)? {
        Access::Here(fetched) => fetched,
        Access::Ranges(name, ranges) => {
            let name = PathBuf::from(name);
            match table::read_ranges(&name, &ranges, options).in_file(&name)? {
                Some(opened) => return Ok((opened, name)),
                None => super::fetch(source, fetch)?,
            }
        }
        Access::Index(index, place) => {
            let opened = table::read_index_of_ranges(&index, &place, options)?;
            return Ok((opened, source.to_owned()));
        }
    };
    let mut opened = table::open(&fetched.path, options)?;
    opened.notes.splice(0..0, fetched.notes);
    Ok((opened, fetched.path))
}
