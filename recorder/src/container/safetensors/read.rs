//! Reading: the header now, a tensor when it is asked for.

use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::named::{self, Metadata, Slice};
use crate::container::safetensors::header::{Header, Info, MAX_LEN, PREFIX};
use crate::container::safetensors::ties;
use crate::container::values;
use crate::io::Ranges;
use crate::{DType, Error, FileBytes, Format, OpenOptions, Opened, Result, Tensor, Value};

impl Format {
    /// A `.safetensors` file.
    pub const SAFETENSORS: Format = Format::named("safetensors");
}

/// Whether the file looks like safetensors: the length of a header, and a header that begins as JSON does.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    let len = file.first_chunk().map(|prefix| u64::from_le_bytes(*prefix));
    let first = file.get(8..).unwrap_or_default().iter().find(|byte| !b" \t\r\n".contains(byte));
    len.is_some_and(|len| (2..=MAX_LEN).contains(&len)) && first == Some(&b'{')
}

/// Reads a file: its header now, the tensors when they are asked for. Each is a storage of its own, a slice of the file.
///
/// # Errors
/// Where the safetensors crate refuses the file: [`ErrorKind::Truncated`] when bytes are missing, [`ErrorKind::Damaged`] when
/// the header contradicts itself or the file. [`ErrorKind::Limit`] when the header names too much.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    opened(read_tensors(file, options)?, file.len() as u64, options)
}

/// The same of a file that is read part by part.
pub(crate) fn read_ranges(ranges: &Arc<dyn Ranges>, options: &OpenOptions) -> Result<Opened> {
    opened(read_tensors_of_ranges(ranges, options)?, ranges.len(), options)
}

/// The tensors and texts of a file as they stand there.
pub(crate) type Named = (IndexMap<Arc<str>, Value>, Metadata);

fn opened((tensors, metadata): Named, bytes: u64, options: &OpenOptions) -> Result<Opened> {
    let value = ties::restore(tensors, metadata)?;
    values::unpacked(Opened::new(Format::SAFETENSORS, value, Vec::new(), bytes), options)
}

/// Those of a whole file.
pub(crate) fn read_tensors(file: &FileBytes, options: &OpenOptions) -> Result<Named> {
    let header = Header::read(file, file.len() as u64, &options.limits)?;
    of_header(header, |name, range| file.slice(range).map(|bytes| Slice::new(name, bytes)))
}

/// The same of a file that is read part by part.
pub(crate) fn read_tensors_of_ranges(ranges: &Arc<dyn Ranges>, options: &OpenOptions) -> Result<Named> {
    let start = ranges.read(0..PREFIX.min(ranges.len()))?;
    let end = Header::end(&start, &options.limits)?;
    let start = ranges.read(0..end.min(ranges.len()))?;
    let header = Header::read(&start, ranges.len(), &options.limits)?;
    of_header(header, |name, range| Slice::of_ranges(name, ranges, range))
}

/// What a header names; `part` gives the bytes of a range of the file.
fn of_header(header: Header, part: impl Fn(&str, Range<u64>) -> Option<Slice>) -> Result<Named> {
    let mut tensors = IndexMap::with_capacity(header.tensors.len());
    for (name, info) in &header.tensors {
        let part = part(name, header.data + info.start..header.data + info.end);
        let part = part.ok_or_else(|| Error::damaged(format!("tensor '{name}'"), "it lies outside the file"))?;
        tensors.insert(Arc::from(name.as_str()), tensor(info, part)?.into());
    }
    let metadata = header.metadata.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
    Ok((tensors, metadata))
}

fn tensor(info: &Info, part: Slice) -> Result<Tensor> {
    let mut dtype = info.kind.dtype;
    let mut shape = info.shape.clone();
    if dtype == DType::Float4E2M1FnX2 {
        match shape.last_mut() {
            Some(last) if *last % 2 == 0 => *last /= 2,
            // PyTorch, which packs pairs along the last dimension, has no tensor for it.
            _ => dtype = DType::Float4E2M1Fn,
        }
    }
    named::tensor(dtype, shape, part)
}
