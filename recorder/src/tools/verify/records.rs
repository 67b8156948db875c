//! The records of the archives in a checkpoint, compared with their checksums; and all views that leave their storages.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

use crate::container::zip::{self, Archive};
use crate::pickle::{self, PersistentLoad};
use crate::tools::verify::{VerifyReport, parts};
use crate::value::tensor::reach;
use crate::{DType, Error, FileBytes, OpenOptions, Result, Source, Storage, Value, io, walk};

/// Archives in archives are followed this far.
const DEEPEST: usize = 4;
/// Folders in folders are looked into this far.
const DEEPEST_FOLDER: usize = 16;
/// A compressed archive in another is unpacked up to this many bytes.
const UNPACKED: u64 = 1 << 30;

/// Compares every record of every archive of a file or folder.
pub(super) fn check(
    path: &Path,
    options: &OpenOptions,
    first_views: &HashMap<&str, &str>,
    report: &mut VerifyReport,
) -> Result<()> {
    let is_folder = path.is_dir();
    let root = path;
    let mut files = Vec::new();
    if is_folder {
        list(path, 0, &mut files)?;
    } else {
        files.push(path.to_owned());
    }
    for path in files {
        let inside = path.strip_prefix(root).unwrap_or(&path);
        let outer = if is_folder { inside.to_string_lossy().into_owned() } else { String::new() };
        let deeper = inside.components().count() > 1;
        check_file(&FileBytes::open(&path)?, &outer, deeper, options, first_views, report);
    }
    Ok(())
}

/// Compares every record of the archives in a file; `outer` is the file's name in its folder, `deeper` whether it is in a folder of
/// its own there.
pub(super) fn check_file(
    file: &FileBytes,
    outer: &str,
    deeper: bool,
    options: &OpenOptions,
    first_views: &HashMap<&str, &str>,
    report: &mut VerifyReport,
) {
    report.files += 1;
    if !zip::detect(file) {
        return;
    }
    // What is no archive at all was found when the checkpoint was opened, if it belongs to it: in a folder of its own it may not.
    let mut archives: Vec<Bytes> = zip::archives(&file.bytes()).into_iter().collect();
    if archives.is_empty() && deeper {
        archives.push(file.bytes());
    }
    for bytes in archives {
        let mut records = Records { options, first_views, report: &mut *report, file };
        records.archive(bytes, outer, 0);
    }
}

/// The files of a folder and of those in it.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in io::list(folder)?.into_iter().map(|name| folder.join(name)) {
        if path.is_file() {
            files.push(path);
        } else if path.is_dir() && depth < DEEPEST_FOLDER {
            list(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

/// What there is to say of each number below `count`, in order; all cores share the work.
fn on_all_cores<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, cores) = (AtomicUsize::new(0), thread::available_parallelism().map_or(1, NonZero::get));
    let work = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|number| *number < count).map(|number| (number, of(number))).collect::<Vec<_>>()
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(count)).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, said)| said).collect()
}

struct Records<'a> {
    options: &'a OpenOptions,
    first_views: &'a HashMap<&'a str, &'a str>,
    report: &'a mut VerifyReport,
    file: &'a FileBytes,
}

impl Records<'_> {
    fn archive(&mut self, bytes: Bytes, outer: &str, depth: usize) {
        let archive = match Archive::open(bytes, &self.options.limits) {
            Ok(archive) => archive,
            Err(error) => return self.report.problem(outer, None, None, error.in_file_if(self.file.path())),
        };
        let sums = on_all_cores(archive.records().len(), |number| archive.stream(number, true, &mut |_| Ok(())));
        for ((number, record), sum) in archive.records().iter().enumerate().zip(sums) {
            let name = record.inside(archive.top()).unwrap_or(&record.name);
            let place = if outer.is_empty() { name.to_owned() } else { format!("{outer}/{name}") };
            let storage = name.strip_prefix("data/").unwrap_or(name);
            let of_storage = |name: &str| self.first_views.get(name).map(|tensor| (*tensor).to_owned());
            let tensor = of_storage(storage).or_else(|| of_storage(&format!("{outer}/{storage}")));
            if archive.has_checksum(number) {
                self.report.records += 1;
            } else {
                self.report.unchecked += 1;
            }
            if let Err(error) = sum {
                let error = tensor.iter().fold(error, Error::of_tensor);
                self.report.problem(place, tensor, Some(record.header), error.in_file_if(self.file.path()));
                continue;
            }
            let is_archive =
                depth < DEEPEST && matches!(archive.prefix(number, 4), Ok(Some(head)) if *head == *b"PK\x03\x04");
            if is_archive && record.deflated && record.size > UNPACKED {
                self.report.unopened.push(place);
            } else if is_archive && let Ok(payload) = archive.payload(number, false) {
                // What only looks like an archive may be any data.
                if Archive::open(payload.clone(), &self.options.limits).is_ok() {
                    self.archive(payload, &place, depth + 1);
                }
            }
        }
        if archive.find("data.pkl").is_some() && !self.report.is_sound() {
            self.views(&archive, outer);
        }
    }

    /// Names every view that leaves its storage: the pickle is read as if the storages had no end. What cannot be read even
    /// so was reported when the checkpoint was opened.
    fn views(&mut self, archive: &Archive, outer: &str) {
        let Ok(bytes) = archive.read("data.pkl", false) else { return };
        let mut endless = Endless::default();
        let Ok(unpickled) = pickle::read(&bytes, "data.pkl", &self.options.limits, &mut endless) else { return };
        let Ok(tensors) = walk::tensors(&unpickled.value, &self.options.limits) else { return };
        for (name, tensor) in &tensors {
            for part in parts(tensor) {
                let (Some(storage), Some(end)) = (part.storage(), reach(part)) else { continue };
                let Some(key) = storage.name() else { continue };
                let record = format!("data/{key}");
                let Some(held) = archive.find(&record).and_then(|number| archive.records().get(number)) else {
                    let error = Error::damaged(format_args!("record {record}"), "it is missing").of_tensor(name);
                    self.report.problem(record, Some(name.clone()), None, error.in_file_if(self.file.path()));
                    continue;
                };
                if end > held.size {
                    let reason = format!("it reaches to byte {end} of its storage {key}, which has {}", held.size);
                    let error = Error::invalid_tensor(name, reason).in_file_if(self.file.path());
                    let place = if outer.is_empty() { record } else { format!("{outer}/{record}") };
                    self.report.problem(place, Some(name.clone()), Some(end), error);
                }
            }
        }
    }
}

/// Storages that no view can leave, by their keys.
#[derive(Default)]
struct Endless(HashMap<String, Storage>);

impl PersistentLoad for Endless {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        let dtype: Option<DType> = id.dtype;
        let make = || Storage::from_source(dtype, id.location.clone(), NoEnd(id.key.clone()));
        Ok(Some(self.0.entry(id.key.clone()).or_insert_with(make).clone().into()))
    }
}

struct NoEnd(String);

impl Source for NoEnd {
    fn len(&self) -> u64 {
        u64::MAX
    }

    fn read(&self) -> Result<Bytes> {
        Err(Error::unsupported("reading a storage without an end"))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.0)
    }
}
