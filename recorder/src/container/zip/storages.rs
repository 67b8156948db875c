//! The storages in an archive of PyTorch's: records that the pickles in it refer to by key.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::container::zip::archive::Archive;
use crate::container::zip::labels::{self, Label};
use crate::container::zip::record::Record;
use crate::pickle::{self, PersistentLoad, Unpickled};
use crate::value::Turned;
use crate::value::identity::ById;
use crate::{DType, Error, FileBytes, Limits, OpenOptions, Result, Source, Storage, Value};

/// The versions of the archive format that PyTorch 2.15 reads (`caffe2/serialize/versions.h`).
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=10;

/// PyTorch looks for `.data/version`, then for `version`, and refuses an archive without.
fn check_version(archive: &Archive, verify: bool) -> Result<()> {
    let name = if archive.find(".data/version").is_some() { ".data/version" } else { "version" };
    // Who copies a folder by hand may leave it behind.
    if archive.is_folder() && archive.find(name).is_none() {
        return Ok(());
    }
    let text = archive.read(name, verify)?;
    let version: Option<u64> = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    match version {
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(Error::unsupported(format!("version {version} of PyTorch's archive format"))
            .advise(format!("versions {} to {} are read", VERSIONS.start(), VERSIONS.end()))),
        None => Err(Error::damaged(format!("record {name}"), "it holds no number")),
    }
}

/// Before PyTorch 2.1 there was no such record: all files are little-endian then.
fn is_big_endian(archive: &Archive, verify: bool) -> Result<bool> {
    if archive.find("byteorder").is_none() {
        return Ok(false);
    }
    match &*archive.read("byteorder", verify)? {
        b"little" => Ok(false),
        b"big" => Ok(true),
        _ => Err(Error::damaged("record byteorder", "it says neither 'little' nor 'big'")),
    }
}

/// No document in JSON takes more than this many bytes in memory for each of its own.
const JSON_COST: u64 = 128;

/// What all storages of a file share.
struct Shared {
    archive: Arc<Archive>,
    path: Option<PathBuf>,
    verify: bool,
    big_endian: bool,
    /// What goes before the names of storages: an archive in a record of another says here which.
    outer: String,
    /// By record; set once the whole value is there.
    labels: OnceLock<ById<Label>>,
}

/// Makes the storages of an archive, one for each record and element type, and reads the pickles that refer to them.
pub(crate) struct Storages {
    shared: Arc<Shared>,
    limits: Limits,
    by_record: ById<Vec<Storage>>,
}

impl Storages {
    /// For an archive of a version that is known.
    pub(crate) fn new(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Self> {
        Storages::within(archive, "", file, options)
    }

    /// For an archive that is a record of another, with that record's name.
    pub(crate) fn within(archive: &Arc<Archive>, outer: &str, file: &FileBytes, options: &OpenOptions) -> Result<Self> {
        check_version(archive, options.verify)?;
        let shared = Shared {
            archive: Arc::clone(archive),
            path: file.path().map(ToOwned::to_owned),
            verify: options.verify,
            big_endian: is_big_endian(archive, options.verify)?,
            outer: if outer.is_empty() { String::new() } else { format!("{outer}/") },
            labels: OnceLock::new(),
        };
        let mut by_record = ById::default();
        by_record.reserve(archive.records().len());
        Ok(Storages { shared: Arc::new(shared), limits: options.limits.clone(), by_record })
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.shared.archive
    }

    /// Whether the storages' bytes are big-endian in the file.
    pub(crate) fn big_endian(&self) -> bool {
        self.shared.big_endian
    }

    /// The payload of a record that is read whole: a pickle or a text.
    pub(crate) fn read(&self, name: &str) -> Result<Bytes> {
        let archive = &self.shared.archive;
        let size = archive.find(name).and_then(|record| archive.records().get(record)).map_or(0, |record| record.size);
        if size > self.limits.pickle_bytes {
            return Err(Error::limit(format!("{name} of {size} bytes"), self.limits.pickle_bytes));
        }
        archive.read(name, self.shared.verify)
    }

    /// Reads a record that holds a document in JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text = self.read(name)?;
        let cost = (text.len() as u64).saturating_mul(JSON_COST);
        if cost > self.limits.value_bytes {
            return Err(Error::limit(format!("reading {name} of {} bytes", text.len()), self.limits.value_bytes));
        }
        serde_json::from_slice(&text).map_err(|error| Error::damaged(format!("record {name}"), error.to_string()))
    }

    /// Reads a pickle. The storage of a key is the record that `record_of` names.
    pub(crate) fn unpickle(&mut self, name: &str, record_of: impl Fn(&str) -> String) -> Result<Unpickled> {
        let pickle = self.read(name)?;
        let limits = self.limits.clone();
        pickle::read(&pickle, name, &limits, &mut Load { storages: self, pickle: name, record_of })
    }

    /// The storage that a record holds.
    pub(crate) fn storage(&mut self, record: usize, dtype: Option<DType>, location: impl Into<String>) -> Storage {
        // Element types without a storage class of their own are stored untyped.
        let dtype = dtype.filter(|dtype| dtype.storage_class().is_some());
        // To PyTorch an untyped storage is one of uint8. Under two other types it writes a storage only where it is empty.
        let typed = |dtype: Option<DType>| dtype.unwrap_or(DType::UInt8);
        let known = self.by_record.entry(record).or_default();
        if let Some(storage) = known.iter().find(|storage| typed(storage.dtype()) == typed(dtype)) {
            return storage.clone();
        }
        let len = self.shared.archive.records().get(record).map_or(0, |record| record.size);
        let source = StorageRecord::new(Arc::clone(&self.shared), record, len, dtype);
        let storage = Storage::from_source(dtype, location, source);
        known.push(storage.clone());
        storage
    }

    /// The same for a record of whose length nothing is known but that it holds whole elements.
    pub(crate) fn storage_of(&mut self, record: usize, dtype: DType, location: impl Into<String>) -> Result<Storage> {
        if let Some(entry) = self.shared.archive.records().get(record)
            && entry.size % (dtype.size().max(1) as u64) != 0
        {
            let reason = format!("it holds {} bytes, which are no whole elements of {dtype}", entry.size);
            return Err(Error::damaged(entry.place(), reason));
        }
        Ok(self.storage(record, Some(dtype), location))
    }

    /// The records by the identities of their storages.
    pub(crate) fn records(&self) -> HashMap<usize, usize> {
        let of = |(&record, storages): (&usize, &Vec<Storage>)| {
            storages.iter().map(|storage| (storage.id(), record)).collect::<Vec<_>>()
        };
        self.by_record.iter().flat_map(of).collect()
    }

    /// Tells the storages which tensors of the whole value are in them: for messages, and for the byte order of those that are
    /// untyped.
    pub(crate) fn label<'a>(all: impl IntoIterator<Item = &'a Storages>, root: &Value) {
        let all: Vec<&Storages> = all.into_iter().collect();
        let mut by_storage = labels::collect(root, all.iter().map(|storages| storages.by_record.len()).sum());
        for Storages { shared, by_record, .. } in all {
            let storages = by_record.iter().flat_map(|(record, all)| all.iter().map(move |storage| (record, storage)));
            let labels = storages.filter_map(|(record, storage)| Some((*record, by_storage.remove(&storage.id())?)));
            let labels = labels.collect();
            shared.labels.get_or_init(|| labels);
        }
    }
}

/// Puts a storage in the place of each persistent id of a pickle.
struct Load<'a, F> {
    storages: &'a mut Storages,
    pickle: &'a str,
    record_of: F,
}

impl<F: Fn(&str) -> String> PersistentLoad for Load<'_, F> {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        let name = (self.record_of)(&id.key);
        let place = || format!("record {name}");
        let archive = self.storages.archive();
        let Some(record) = archive.find(&name) else {
            return Err(Error::damaged(place(), "it is missing"));
        };
        let held = archive.records().get(record).map_or(0, |record| record.size);
        let wanted = id.numel.checked_mul(id.dtype.map_or(1, DType::size) as u64);
        if wanted != Some(held) {
            let wanted = wanted.map_or_else(|| format!("{} elements", id.numel), |bytes| format!("{bytes} bytes"));
            let reason = format!("it holds {held} bytes, where {} expects {wanted}", self.pickle);
            return Err(Error::damaged(place(), reason));
        }
        Ok(Some(Value::Storage(self.storages.storage(record, id.dtype, id.location))))
    }
}

/// A storage's bytes in the archive.
struct StorageRecord {
    shared: Arc<Shared>,
    record: usize,
    name: Box<str>,
    len: u64,
    dtype: Option<DType>,
}

impl StorageRecord {
    fn new(shared: Arc<Shared>, record: usize, len: u64, dtype: Option<DType>) -> Self {
        let archive = &shared.archive;
        let name = archive.records().get(record).and_then(|entry| entry.inside(archive.top())).unwrap_or_default();
        let name = format!("{}{}", shared.outer, name.strip_prefix("data/").unwrap_or(name)).into();
        StorageRecord { shared, record, name, len, dtype }
    }

    fn entry(&self) -> Option<&Record> {
        self.shared.archive.records().get(self.record)
    }

    fn label(&self) -> Option<&Label> {
        self.shared.labels.get()?.get(&self.record)
    }

    /// How many bytes are swapped at a time; 1 where nothing is. The storage's class says it, or else the tensors in it.
    fn swap_unit(&self) -> Result<usize> {
        if !self.shared.big_endian {
            return Ok(1);
        }
        match (self.dtype, self.label()) {
            (Some(dtype), _) => Ok(dtype.swap_unit()),
            (None, None) => Ok(1),
            (None, Some(label)) => label
                .swap_unit
                .ok_or_else(|| Error::unsupported("a big-endian storage under element types of several sizes")),
        }
    }

    fn fetch(&self) -> Result<Bytes> {
        let payload = self.shared.archive.payload(self.record, self.shared.verify)?;
        let unit = self.swap_unit()?;
        if unit == 1 {
            return Ok(payload);
        }
        let mut bytes = Vec::from(payload);
        bytes.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        Ok(bytes.into())
    }

    /// The same error with the name of the tensor, of the record around the archive, and of the file.
    fn named(&self, error: Error) -> Error {
        let label = self.label().filter(|label| !label.path.is_empty());
        let error = label.into_iter().fold(error, |error, label| error.of_tensor(&*label.path));
        let outer = self.shared.outer.strip_suffix('/').into_iter();
        let error = outer.fold(error, |error, outer| error.at(format_args!("record {outer}")));
        error.in_file_if(self.shared.path.as_deref())
    }
}

impl Source for StorageRecord {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        self.fetch().map_err(|error| self.named(error))
    }

    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Shared { archive, verify, .. } = &*self.shared;
        let mut turned = Turned::new(self.swap_unit().map_err(|error| self.named(error))?, sink);
        archive.stream(self.record, *verify, &mut |bytes| turned.put(bytes)).map_err(|error| self.named(error))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn copies(&self) -> bool {
        let is_changed =
            self.entry().is_some_and(|record| record.deflated) || self.swap_unit().is_ok_and(|unit| unit > 1);
        is_changed && !self.shared.archive.is_remote()
    }
}
