//! Reading `.npy` files, and `.npz` archives of them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::container::named::{self, Metadata};
use crate::container::numpy::header::{self, EXTENSION, Header, MAGIC, MAX_PREFIX};
use crate::container::zip::Archive;
use crate::value::Turned;
use crate::value::tensor::TensorParts;
use crate::{
    Error, ErrorKind, FileBytes, Format, Limits, OpenOptions, Opened, Result, ResultExt as _, Source, Tensor, Value,
};

impl Format {
    /// NumPy's `.npy` and `.npz`.
    pub const NUMPY: Format = Format::named("numpy");
}

/// Whether the file is an `.npy` file. (An `.npz` file is a zip archive, and read by way of [`container::read`](crate::container::read).)
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    file.starts_with(MAGIC)
}

/// Reads an `.npy` file. The elements are read when they are asked for.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for arrays of anything else than numbers and truth values, [`ErrorKind::Truncated`] and
/// [`ErrorKind::Damaged`] when header and file do not agree.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let name = file.path().and_then(|path| path.file_name()).map(|name| name.to_string_lossy()).unwrap_or_default();
    let start = read_header(&options.limits, file.len() as u64, |len| Ok(file.get(..len).map(<[u8]>::to_vec)))?;
    let rest = file.get(start.data..).unwrap_or_default();
    let (wanted, held) = (start.header.data_len()?, rest.len() as u64);
    if wanted < held {
        let more = rest.get(usize::try_from(wanted).unwrap_or_default()..).unwrap_or_default();
        if more.starts_with(MAGIC) {
            let advice = "save them as one .npz file";
            return Err(Error::unsupported("a file of several arrays").advise(advice));
        }
    }
    start.check(held)?;
    let bytes = file.bytes().slice(start.data..);
    let value = start.tensor(&name, Held::Slice(bytes))?.into();
    Ok(Opened::new(Format::NUMPY, value, Vec::new(), file.len() as u64))
}

/// Where the elements of an array begin.
pub(crate) fn data_start(file: &FileBytes, limits: &Limits) -> Result<usize> {
    header::whole_len(file.get(..MAX_PREFIX).unwrap_or(file), limits)
}

/// Whether every record of an archive is an array.
pub(crate) fn is_archive(archive: &Archive) -> bool {
    let is_array = |name: &str| name.rsplit_once('.').is_some_and(|(_, extension)| extension == "npy");
    !archive.records().is_empty() && archive.records().iter().all(|record| is_array(&record.name))
}

/// Reads an `.npz` archive: the headers now, the elements when they are asked for.
pub(crate) fn read_archive(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let mut arrays: Vec<(Arc<str>, Value)> = Vec::with_capacity(archive.records().len());
    for (number, record) in archive.records().iter().enumerate() {
        let name = record.name.strip_suffix(EXTENSION).unwrap_or(&record.name);
        let array = || {
            let prefix = |len| archive.prefix(number, len).map(|bytes| bytes.map(Vec::from));
            let start = read_header(&options.limits, record.size, prefix)?;
            start.check(record.size.saturating_sub(start.data as u64))?;
            let path = file.path().map(ToOwned::to_owned);
            let record =
                Record { archive: Arc::clone(archive), path, number, skip: start.data, verify: options.verify };
            start.tensor(name, Held::Record(record))
        };
        let tensor = array().map_err(|error| error.inside(format_args!("array '{name}'")))?;
        arrays.push((name.into(), tensor.into()));
    }
    let value = named::root(arrays, Metadata::new());
    Ok(Opened::new(Format::NUMPY, value, Vec::new(), file.len() as u64))
}

/// What stands before an array's elements.
struct Start {
    header: Header,
    /// The first byte of the elements.
    data: usize,
}

/// Reads the header of an array of `size` bytes in all; `prefix` gives its first bytes, `None` where there are fewer.
fn read_header(limits: &Limits, size: u64, prefix: impl Fn(usize) -> Result<Option<Vec<u8>>>) -> Result<Start> {
    let short = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_PREFIX);
    let data = header::whole_len(&prefix(short)?.unwrap_or_default(), limits)?;
    let whole = prefix(data)?.ok_or_else(|| Error::truncated("the array's header is not whole"))?;
    Ok(Start { header: header::parse(&whole)?, data })
}

impl Start {
    fn check(&self, held: u64) -> Result<()> {
        let wanted = self.header.data_len()?;
        if held < wanted {
            return Err(Error::truncated(format!("the array's elements take {wanted} bytes, {held} are there")));
        }
        if held > wanted {
            let reason = format!("{} bytes follow its elements", held - wanted);
            return Err(ErrorKind::Damaged { reason }.into());
        }
        Ok(())
    }

    fn tensor(self, name: &str, held: Held) -> Result<Tensor> {
        let (len, stride) = (self.header.data_len()?, self.header.stride());
        let Header { dtype, big_endian, shape, .. } = self.header;
        let swap_unit = if big_endian { dtype.swap_unit() } else { 1 };
        let storage = named::storage(dtype, Elements { name: name.into(), len, swap_unit, held });
        Tensor::new(TensorParts::strided(dtype, shape, storage, 0, stride))
    }
}

/// The elements of an array.
struct Elements {
    name: Box<str>,
    len: u64,
    /// How many bytes are reversed together; 1 where nothing is.
    swap_unit: usize,
    held: Held,
}

/// Where the elements are.
enum Held {
    Slice(Bytes),
    Record(Record),
}

/// A record of an `.npz` archive.
struct Record {
    archive: Arc<Archive>,
    path: Option<PathBuf>,
    /// Its number in the archive.
    number: usize,
    /// The bytes of the array's header.
    skip: usize,
    verify: bool,
}

impl Record {
    fn read(&self) -> Result<Bytes> {
        let payload = self.archive.payload(self.number, self.verify);
        let payload = payload.in_file_if(self.path.as_deref())?;
        if payload.len() < self.skip {
            return Err(Error::damaged("array", "it is shorter than its header"));
        }
        Ok(payload.slice(self.skip..))
    }
}

impl Source for Elements {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        let plain = match &self.held {
            Held::Slice(bytes) => bytes.clone(),
            Held::Record(record) => record.read()?,
        };
        if self.swap_unit == 1 {
            return Ok(plain);
        }
        let mut bytes = Vec::from(plain);
        bytes.chunks_exact_mut(self.swap_unit).for_each(<[u8]>::reverse);
        Ok(bytes.into())
    }

    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut turned = Turned::new(self.swap_unit, sink);
        match &self.held {
            Held::Slice(bytes) => turned.put(bytes),
            Held::Record(Record { archive, path, number, skip, verify }) => {
                let mut header = *skip;
                let streamed = archive.stream(*number, *verify, &mut |bytes| {
                    let (passed, elements) = bytes.split_at(header.min(bytes.len()));
                    header -= passed.len();
                    turned.put(elements)
                });
                streamed.in_file_if(path.as_deref())
            }
        }
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn copies(&self) -> bool {
        let (packed, remote) = match &self.held {
            Held::Slice(_) => (false, false),
            Held::Record(Record { archive, number, .. }) => {
                (archive.records().get(*number).is_some_and(|record| record.deflated), archive.is_remote())
            }
        };
        (packed || self.swap_unit > 1) && !remote
    }
}
