//! The checkpoint in a `torch.save` archive: `data.pkl`, whose storages are the records `data/<key>`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::labels::{self, Label};
use super::{Archive, ArchiveWriter, Record};
use crate::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use crate::container::{Container, Opened};
use crate::integrity::commit;
use crate::pickle::{self, Dialect, PersistentLoad, PickleOptions};
use crate::source::FileBytes;
use crate::{DType, Error, ErrorKind, Result, Source, Storage, Value};

/// The versions of the archive format that PyTorch 2.15 reads (`caffe2/serialize/versions.h`).
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=10;

/// Reads the checkpoint in an archive that holds `data.pkl`. PyTorch wants all records in one folder; here they may also lie
/// in none, as where somebody zipped the folder's contents.
pub(super) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    check_version(archive, options.verify)?;
    let big_endian = is_big_endian(archive, options.verify)?;
    let size =
        archive.find("data.pkl").and_then(|record| archive.records().get(record)).map_or(0, |record| record.size);
    if size > options.limits.pickle_bytes {
        return Err(Error::limit(format!("data.pkl of {size} bytes"), options.limits.pickle_bytes));
    }
    let pickle = archive.read("data.pkl", options.verify)?;
    let file_path = file.path().map(ToOwned::to_owned);
    let archive = Arc::clone(archive);
    let shared =
        Arc::new(Shared { archive, path: file_path, verify: options.verify, big_endian, labels: OnceLock::new() });
    let mut storages = Storages { shared: Arc::clone(&shared), by_key: HashMap::new() };
    let unpickled = pickle::read(&pickle, "data.pkl", &options.limits, &mut storages)?;
    shared.labels.get_or_init(|| storages.label(&unpickled.value));
    Ok(Opened {
        container: Container::Zip,
        value: unpickled.value,
        globals: unpickled.globals,
        bytes: file.len() as u64,
    })
}

/// Writes the records in PyTorch's order.
pub(super) fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let pickle_options = PickleOptions { dialect: Dialect::Zip, allow_objects: options.allow_objects };
    let pickled = pickle::write(root, &pickle_options)?;
    let mut bytes = 0;
    commit(path, options.overwrite, |out| {
        let mut archive = ArchiveWriter::new(out, &top_folder(path));
        archive.record("data.pkl", &pickled.bytes)?;
        // Version 1: the storages follow in the order of their keys, each where its predecessor's end puts it, so that
        // a loader can work their places out (`config.load.calculate_storage_offsets`).
        archive.record(".format_version", b"1")?;
        archive.record(".storage_alignment", ArchiveWriter::ALIGNMENT.to_string().as_bytes())?;
        archive.record("byteorder", b"little")?;
        for (key, storage) in pickled.storages.iter().enumerate() {
            archive.record(&format!("data/{key}"), &storage.bytes()?)?;
        }
        archive.record("version", b"3\n")?;
        let id = archive.content_id();
        archive.record(".data/serialization_id", id.as_bytes())?;
        bytes = archive.finish()?;
        Ok(())
    })?;
    Ok(SaveReport { bytes, notes: pickled.notes })
}

/// The archive's folder, which PyTorch names after the file: without what follows the last dot. It writes `archive` for a
/// path that is not ASCII; here that also stands for a name that would be left empty, which PyTorch refuses.
fn top_folder(path: &Path) -> String {
    let name = path.to_str().filter(|path| path.is_ascii()).and_then(|path| path.rsplit(['/', '\\']).next());
    let stem = name.map(|name| name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    stem.filter(|stem| !stem.is_empty()).unwrap_or("archive").to_owned()
}

/// PyTorch looks for `.data/version`, then for `version`, and refuses an archive without.
fn check_version(archive: &Archive, verify: bool) -> Result<()> {
    let name = if archive.find(".data/version").is_some() { ".data/version" } else { "version" };
    let text = archive.read(name, verify)?;
    let version: Option<u64> = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    match version {
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(ErrorKind::Unsupported {
            what: format!("version {version} of PyTorch's archive format"),
            advice: format!("; versions {} to {} are read", VERSIONS.start(), VERSIONS.end()),
        }
        .into()),
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

/// What all storages of a file share.
struct Shared {
    archive: Arc<Archive>,
    path: Option<PathBuf>,
    verify: bool,
    big_endian: bool,
    /// By record; set once the whole value is there.
    labels: OnceLock<HashMap<usize, Label>>,
}

/// Puts a storage in the place of each persistent id, one for each record.
struct Storages {
    shared: Arc<Shared>,
    by_key: HashMap<String, Vec<(usize, Storage)>>,
}

impl PersistentLoad for Storages {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        let name = format!("data/{}", id.key);
        let place = || format!("record {name}");
        let Some(record) = self.shared.archive.find(&name) else {
            return Err(Error::damaged(place(), "it is missing"));
        };
        let held = self.shared.archive.records().get(record).map_or(0, |record| record.size);
        let wanted = id.numel.checked_mul(id.dtype.map_or(1, DType::size) as u64);
        if wanted != Some(held) {
            let wanted = wanted.map_or_else(|| format!("{} elements", id.numel), |bytes| format!("{bytes} bytes"));
            return Err(Error::damaged(place(), format!("it holds {held} bytes, where data.pkl expects {wanted}")));
        }
        // To PyTorch an untyped storage is one of uint8. Under two other types it writes a storage only where it is empty.
        let typed = |dtype: Option<DType>| dtype.unwrap_or(DType::UInt8);
        let known = self.by_key.entry(id.key).or_default();
        if let Some((_, storage)) = known.iter().find(|(_, storage)| typed(storage.dtype()) == typed(id.dtype)) {
            return Ok(Some(Value::Storage(storage.clone())));
        }
        let source = StorageRecord { shared: Arc::clone(&self.shared), record, len: held, dtype: id.dtype };
        let storage = Storage::from_source(id.dtype, id.location, source);
        known.push((record, storage.clone()));
        Ok(Some(Value::Storage(storage)))
    }
}

impl Storages {
    fn label(&self, root: &Value) -> HashMap<usize, Label> {
        let mut by_storage = labels::collect(root);
        let storages = self.by_key.values().flatten();
        storages.filter_map(|(record, storage)| Some((*record, by_storage.remove(&storage.id())?))).collect()
    }
}

/// A storage's bytes in the archive.
struct StorageRecord {
    shared: Arc<Shared>,
    record: usize,
    len: u64,
    dtype: Option<DType>,
}

impl StorageRecord {
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
            (None, Some(label)) => label.swap_unit.ok_or_else(|| {
                let what = format!("a big-endian storage under element types of several sizes ({})", label.path);
                Error::unsupported(what)
            }),
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

    /// The same error with the name of the tensor, and of the file.
    fn named(&self, error: Error) -> Error {
        let place = |place: &str| match self.label() {
            Some(label) if !label.path.is_empty() => format!("{place} ({})", label.path),
            _ => place.to_owned(),
        };
        let error = match error.kind() {
            ErrorKind::Checksum { place: record } => ErrorKind::Checksum { place: place(record) }.into(),
            ErrorKind::Damaged { place: record, reason } => Error::damaged(place(record), reason),
            _ => error,
        };
        match &self.shared.path {
            Some(path) => error.in_file(path),
            None => error,
        }
    }
}

impl Source for StorageRecord {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        self.fetch().map_err(|error| self.named(error))
    }

    fn name(&self) -> Option<&str> {
        self.entry()?.inside(self.shared.archive.top())?.strip_prefix("data/")
    }

    fn copies(&self) -> bool {
        self.entry().is_some_and(|record| record.deflated) || self.swap_unit().is_ok_and(|unit| unit > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_as_pytorch_names_it() {
        for (path, top) in [
            ("run.pt", "run"),
            ("/a.b/my.model.v1.pt", "my.model.v1"),
            ("noext", "noext"),
            ("x.", "x"),
            ("dir\\x.pt", "x"),
            (".hidden", "archive"),
            ("\u{e9}t\u{e9}.pt", "archive"),
            ("\u{e9}/run.pt", "archive"),
        ] {
            assert_eq!(top_folder(Path::new(path)), top, "{path}");
        }
    }
}
