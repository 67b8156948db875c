//! The checkpoint in a `torch.save` archive: `data.pkl`, whose storages are the records `data/<key>`.

use std::io::Write;

use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

use crate::container::zip::archive::Archive;
use crate::container::zip::storages::Storages;
use crate::container::zip::writer::ArchiveWriter;
use crate::io::{Expected, Out, Ready};
use crate::pickle::{self, Dialect, PickleOptions, Pickled};
use crate::{Error, FileBytes, Format, OpenOptions, Opened, Result, SaveOptions, SaveReport, Storage, Value};

impl Format {
    /// What `torch.save` writes since PyTorch 1.6.
    pub const ZIP: Format = Format::named("zip");
}

/// Whether the bytes begin as a zip archive does. PyTorch accepts nothing before the first record.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// Whether an archive holds what `torch.save` writes, and not a single pickle that somebody packed.
pub(crate) fn is_archive(archive: &Archive) -> bool {
    let single = archive.records().len() == 1 && archive.top().is_empty();
    archive.find("data.pkl").is_some() && !single
}

/// Reads the checkpoint in an archive that holds `data.pkl`. PyTorch wants all records in one folder; here they may also lie
/// in none, as where somebody zipped the folder's contents.
pub(crate) fn read(archive: &Arc<Archive>, file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let mut storages = Storages::new(archive, file, options)?;
    let unpickled = storages.unpickle("data.pkl", |key| format!("data/{key}"))?;
    Storages::label([&storages], &unpickled.value);
    Ok(Opened::new(Format::ZIP, unpickled.value, unpickled.globals, file.len() as u64))
}

/// Writes a checkpoint as PyTorch 2.15 writes it, to the byte where the pickle is the same (but for the `serialization_id`):
/// plain `torch.load` opens it, with `mmap=True`, too. The file appears whole or not at all ([`commit`](crate::io::commit())).
///
/// Storages are fetched one after the other and none is kept, so that memory holds one at a time, of a compressed one a piece.
///
/// # Errors
/// An alignment of storages that is no power of two or more than [`ArchiveWriter::MAX_ALIGNMENT`]; what plain `torch.load` would refuse (unless [`SaveOptions::allow_objects`] is set), what a storage's bytes cannot be read
/// for, and what the file cannot be written for.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    ready(root, &top_folder(path), options)?.commit(path, options.overwrite)
}

/// As [`write`], of a value that nobody else needs: each storage is let go of once it is written. `between` is called before each piece
/// that is written.
pub(crate) fn write_letting_go(
    root: Value,
    path: &Path,
    options: &SaveOptions,
    between: &mut dyn FnMut(),
) -> Result<SaveReport> {
    let (notes, pickled) = pickle(&root, options)?;
    drop(root);
    let top = top_folder(path);
    let (expected, alignment) = (expected(&pickled), options.storage_alignment.unwrap_or_else(|| pages(&pickled)));
    let Pickled { bytes, storages, .. } = pickled;
    let put = |out: &mut dyn Out| put(Between { out, between }, &top, &bytes, storages, alignment);
    Ready::new(notes, put).expecting(expected).commit(path, options.overwrite)
}

/// An output before each piece of which something is called.
struct Between<'a> {
    out: &'a mut dyn Out,
    between: &'a mut dyn FnMut(),
}

impl Write for Between<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.between)();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Out for Between<'_> {
    fn keeps(&self, bytes: &Bytes) -> bool {
        self.out.keeps(bytes)
    }

    fn write_kept(&mut self, bytes: &Bytes) -> std::io::Result<()> {
        (self.between)();
        self.out.write_kept(bytes)
    }
}

/// A checkpoint whose records lie in this folder of the archive.
fn ready<'a>(root: &'a Value, top: &str, options: &SaveOptions) -> Result<Ready<'a>> {
    let (notes, pickled) = pickle(root, options)?;
    let top = top.to_owned();
    let (expected, alignment) = (expected(&pickled), options.storage_alignment.unwrap_or(ArchiveWriter::ALIGNMENT));
    let storages = pickled.storages;
    let put = move |out: &mut dyn Out| put(out, &top, &pickled.bytes, storages, alignment);
    Ok(Ready::new(notes, put).expecting(expected))
}

/// The alignment for a file that is written beside other work: pages, at which a disk takes bytes from where they are, if all that it
/// costs is a thousandth of the file.
fn pages(pickled: &Pickled) -> u64 {
    const PAGE: u64 = 4096;
    let cost = PAGE.saturating_mul(pickled.storages.len() as u64);
    if expected(pickled).bytes / 1000 >= cost { PAGE } else { ArchiveWriter::ALIGNMENT }
}

/// What is known of the archive.
fn expected(pickled: &Pickled) -> Expected {
    let bytes =
        pickled.storages.iter().fold(pickled.bytes.len() as u64, |sum, storage| sum.saturating_add(storage.len()));
    Expected { bytes, in_memory: pickled.storages.iter().all(Storage::is_in_memory) }
}

/// The pickle, and what a user should know of it.
fn pickle(root: &Value, options: &SaveOptions) -> Result<(Vec<String>, Pickled)> {
    let alignments = 1..=ArchiveWriter::MAX_ALIGNMENT;
    if let Some(alignment) = options.storage_alignment
        && !(alignment.is_power_of_two() && alignments.contains(&alignment))
    {
        let reason = format!("storages cannot be aligned at multiples of {alignment}");
        let advice = format!("storage_alignment is a power of two, at most {}", ArchiveWriter::MAX_ALIGNMENT);
        return Err(Error::invalid(reason).advise(advice));
    }
    let pickle_options = PickleOptions { dialect: Dialect::Zip, allow_objects: options.allow_objects };
    let mut pickled = pickle::write(root, &pickle_options)?;
    Ok((std::mem::take(&mut pickled.notes), pickled))
}

/// The same for a stream, which has no name: PyTorch then calls the folder `archive`.
pub(crate) fn ready_for_stream<'a>(root: &'a Value, options: &SaveOptions) -> Result<Ready<'a>> {
    ready(root, "archive", options)
}

/// Writes the records in PyTorch's order, and gives the length of the archive.
pub(crate) fn write_records(out: impl Out, top: &str, pickled: &Pickled) -> Result<u64> {
    put(out, top, &pickled.bytes, pickled.storages.iter().cloned(), ArchiveWriter::ALIGNMENT)
}

/// The same of a pickle and its storages, none of which is held longer than it takes.
fn put(
    out: impl Out,
    top: &str,
    pickle: &[u8],
    storages: impl IntoIterator<Item = Storage>,
    alignment: u64,
) -> Result<u64> {
    let mut archive = ArchiveWriter::aligned(out, top, alignment);
    archive.record("data.pkl", pickle)?;
    // Version 1: the storages follow in the order of their keys, each where its predecessor's end puts it, so that
    // a loader can work their places out (`config.load.calculate_storage_offsets`).
    archive.record(".format_version", b"1")?;
    archive.record(".storage_alignment", alignment.to_string().as_bytes())?;
    archive.record("byteorder", b"little")?;
    for (key, storage) in storages.into_iter().enumerate() {
        let name = format!("data/{key}");
        if storage.is_in_memory() {
            archive.record_kept(&name, &storage.bytes()?)?;
        } else {
            archive.record_stream(&name, storage.len(), &mut |put| storage.stream(put))?;
        }
    }
    archive.record("version", b"3\n")?;
    let id = archive.content_id();
    archive.record(".data/serialization_id", id.as_bytes())?;
    archive.finish()
}

/// The archive's folder, which PyTorch names after the file: without what follows the last dot. It writes `archive` for a
/// path that is not ASCII; here that also stands for a name that would be left empty, which PyTorch refuses.
fn top_folder(path: &Path) -> String {
    let name = path.to_str().filter(|path| path.is_ascii()).and_then(|path| path.rsplit(['/', '\\']).next());
    let stem = name.map(|name| name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    stem.filter(|stem| !stem.is_empty()).unwrap_or("archive").to_owned()
}
