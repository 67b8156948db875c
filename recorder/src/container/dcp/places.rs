//! Where a distributed checkpoint's items are, for those who only ask that.

use crate::container::dcp::metadata::{METADATA, Metadata};
use crate::pickle::{self, KeepIds};
use crate::{FileBytes, Limits, Result};

/// A run of bytes in a file of the folder: its name, the first byte, how many.
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The places of all items that the metadata name.
///
/// # Errors
/// When they are no metadata of a distributed checkpoint.
pub(crate) fn places(file: &FileBytes, limits: &Limits) -> Result<Vec<Place>> {
    let unpickled = pickle::read(file, METADATA, limits, &mut KeepIds)?;
    let metadata = Metadata::of(&unpickled.value)?;
    let mut places: Vec<Place> = metadata
        .locations
        .into_values()
        .map(|location| Place { file: location.file.to_string(), offset: location.offset, length: location.length })
        .collect();
    places.sort_by(|a, b| (&a.file, a.offset, a.length).cmp(&(&b.file, b.offset, b.length)));
    Ok(places)
}
