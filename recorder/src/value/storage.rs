//! `Storage`: a run of bytes that tensors view. It knows where its bytes are (in memory, in a mapped file, in a compressed
//! record, in pieces elsewhere) and fetches them when they are asked for, once.
//!
//! A storage has an identity: two tensors that share memory in PyTorch share one `Storage` handle here, and the writers
//! give them one record.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{DType, Error, Result};

/// Where a storage's bytes come from when they are not in memory yet.
///
/// An implementation yields exactly [`Source::len`] bytes, verified against whatever checksum its container keeps.
/// A mapped file answers without a copy.
pub trait Source: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All the bytes, little-endian.
    ///
    /// # Errors
    /// When the file cannot be read, or its bytes are not those that were written.
    fn read(&self) -> Result<Bytes>;

    /// Hands the bytes on in order, piece by piece: an implementation that has to unpack them keeps no more than a piece in memory.
    /// By default all of them are read.
    ///
    /// # Errors
    /// As [`Source::read`], and what `sink` gives.
    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        sink(&self.read()?)
    }

    /// What the container calls this storage, such as the key `17` of record `data/17`.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Whether [`Source::read`] makes a new copy in memory each time (a compressed record does, a mapped file does not).
    /// Such bytes are not kept after use.
    fn copies(&self) -> bool {
        false
    }
}

/// Hands bytes on with each number's own turned round, as they come from a file of the other byte order.
pub(crate) struct Turned<'a> {
    /// How many bytes a number has; with 1 nothing is turned.
    unit: usize,
    /// What came, up to a whole number.
    begun: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<'a> Turned<'a> {
    pub(crate) fn new(unit: usize, sink: &'a mut dyn FnMut(&[u8]) -> Result<()>) -> Self {
        Turned { unit, begun: Vec::new(), sink }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        const PIECE: usize = 256 << 10;
        if self.unit <= 1 {
            return (self.sink)(bytes);
        }
        for piece in bytes.chunks(PIECE) {
            self.begun.extend_from_slice(piece);
            let whole = self.begun.len() - self.begun.len() % self.unit;
            if let Some(whole) = self.begun.get_mut(..whole) {
                whole.chunks_exact_mut(self.unit).for_each(<[u8]>::reverse);
                (self.sink)(whole)?;
            }
            self.begun.drain(..whole);
        }
        Ok(())
    }
}

/// A shared handle on a run of bytes that tensors view; clones are the same storage.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    dtype: Option<DType>,
    location: String,
    bytes: Place,
}

enum Place {
    Memory(Bytes),
    Lazy { source: Box<dyn Source>, read: OnceLock<Bytes> },
}

impl Storage {
    /// A storage over bytes in memory, on the device `cpu`. `dtype` is the element type that PyTorch's storage class names;
    /// `None` stands for an `UntypedStorage`.
    #[must_use]
    pub fn from_bytes(dtype: impl Into<Option<DType>>, bytes: impl Into<Bytes>) -> Self {
        Storage(Arc::new(Inner { dtype: dtype.into(), location: "cpu".to_owned(), bytes: Place::Memory(bytes.into()) }))
    }

    /// A storage whose bytes are fetched when they are asked for.
    #[must_use]
    pub fn from_source(
        dtype: impl Into<Option<DType>>,
        location: impl Into<String>,
        source: impl Source + 'static,
    ) -> Self {
        let bytes = Place::Lazy { source: Box::new(source), read: OnceLock::new() };
        Storage(Arc::new(Inner { dtype: dtype.into(), location: location.into(), bytes }))
    }

    /// The same bytes as a new storage, tagged with another device such as `cpu` or `cuda:0`.
    #[must_use]
    pub fn with_location(&self, location: impl Into<String>) -> Self {
        let this = self.clone();
        let dtype = self.0.dtype;
        Storage::from_source(dtype, location, Relocated(this))
    }

    /// The element type that the storage's class names; `None` for an untyped storage.
    #[must_use]
    pub fn dtype(&self) -> Option<DType> {
        self.0.dtype
    }

    /// The device tag that PyTorch wrote, such as `cpu` or `cuda:0`.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.0.location
    }

    /// What its container calls it, such as the key `17` of record `data/17`; `None` for a storage made in memory.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0.bytes {
            Place::Memory(_) => None,
            Place::Lazy { source, .. } => source.name(),
        }
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0.bytes {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Lazy { source, .. } => source.len(),
        }
    }

    /// Whether it holds no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, little-endian. Reads and verifies them the first time; of a mapped file they are no copy.
    ///
    /// # Errors
    /// When the file cannot be read, or its bytes are not those that were written.
    pub fn bytes(&self) -> Result<Bytes> {
        match &self.0.bytes {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::Lazy { source, read } => {
                if let Some(bytes) = read.get() {
                    return Ok(bytes.clone());
                }
                let bytes = source.read()?;
                if bytes.len() as u64 != source.len() {
                    let reason = format!("{} bytes were expected, {} came", source.len(), bytes.len());
                    return Err(Error::damaged("a storage", reason));
                }
                Ok(if source.copies() { bytes } else { read.get_or_init(|| bytes).clone() })
            }
        }
    }

    /// Hands the bytes on in order, piece by piece, without all of them in memory where they are compressed.
    ///
    /// # Errors
    /// As [`Storage::bytes`], and what `sink` gives.
    pub fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &self.0.bytes {
            Place::Lazy { source, .. } if self.copies() => {
                let mut length = 0;
                source.stream(&mut |bytes| {
                    length += bytes.len() as u64;
                    sink(bytes)
                })?;
                if length != source.len() {
                    let reason = format!("{} bytes were expected, {length} came", source.len());
                    return Err(Error::damaged("a storage", reason));
                }
                Ok(())
            }
            _ => sink(&self.bytes()?),
        }
    }

    /// Whether reading it makes a new copy of it in memory, as of a compressed record.
    pub(crate) fn copies(&self) -> bool {
        matches!(&self.0.bytes, Place::Lazy { source, read } if source.copies() && read.get().is_none())
    }

    /// Whether its bytes are in memory, and not in a file that is there only as long as it is not replaced.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.0.bytes, Place::Memory(_))
    }

    /// Whether both handles are the same storage.
    #[must_use]
    pub fn same(&self, other: &Storage) -> bool {
        self.id() == other.id()
    }

    /// A number that tells this storage from every other that is alive.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

struct Relocated(Storage);

impl Source for Relocated {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self) -> Result<Bytes> {
        self.0.bytes()
    }

    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.0.stream(sink)
    }

    fn copies(&self) -> bool {
        match &self.0.0.bytes {
            Place::Memory(_) => false,
            Place::Lazy { source, .. } => source.copies(),
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = self.0.dtype.map_or("untyped", DType::name);
        write!(f, "Storage({dtype}, {} bytes, {})", self.len(), self.0.location)
    }
}
