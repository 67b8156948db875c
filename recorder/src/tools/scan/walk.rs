//! The way through files, archives and streams to the pickles in them.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};

use crate::container::{content, hf, legacy, numpy, table, tar, zip};
use crate::pickle::{self, Names, Use, Verdict, verdict_of_use};
use crate::tools::scan::items::{self, Items};
use crate::tools::scan::{Found, UNPACKED};
use crate::{Error, ErrorKind, FileBytes, Global, IoResultExt as _, Limits, Result, io};

/// Archives in archives are followed this far, and folders in folders.
const DEEPEST: usize = 8;
/// The memory for what is known of one pickle: the stack, the memo, the names.
const MEMORY: u64 = 64 << 20;
/// How much of a record tells whether it may be a pickle or hold some.
const HEAD: u64 = 512;
/// Records and files with these extensions are meant to be loaded: where they cannot be scanned, that is a problem.
const EXTENSIONS: &[&str] = &["pkl", "pickle", "pt", "pth", "ckpt", "joblib", "distcp"];

/// Scans a file or folder.
pub(super) fn path(path: &Path, limits: &Limits, found: &mut Found) -> Result<()> {
    let pickle_limits = Limits { value_bytes: limits.value_bytes.min(MEMORY), ..limits.clone() };
    let mut scanner = Scanner { limits, pickle_limits, found, unpacked: 0, followed: 0 };
    if path.is_dir() {
        return scanner.folder(path, "", 0);
    }
    let file = FileBytes::open(path)?;
    if hf::detect(&file) {
        return scanner.shards(&file, path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(items::EXTENSION)
        && scanner.items(&file, &name, "", &Items::of(path.parent().unwrap_or(Path::new("")), limits))
    {
        return Ok(());
    }
    if scanner.content(&file, "", true, 0) {
        return Ok(());
    }
    Err(content::describe(&file))
}

pub(super) struct Scanner<'a> {
    limits: &'a Limits,
    /// Those for one pickle.
    pickle_limits: Limits,
    pub(super) found: &'a mut Found,
    /// Bytes that were unpacked so far.
    unpacked: u64,
    /// Bytes that were followed in pickles of broken archives so far.
    followed: u64,
}

impl Scanner<'_> {
    fn folder(&mut self, path: &Path, place: &str, depth: usize) -> Result<()> {
        let items = Items::of(path, &self.pickle_limits);
        for name in io::list(path)? {
            let (path, place) = (path.join(&name), join(place, &name.to_string_lossy()));
            // A link to a folder may lead round in a circle; one to a file is how the Hugging Face cache keeps files.
            let is_link = path.symlink_metadata().doing("cannot list the folder")?.is_symlink();
            match path.metadata() {
                Ok(kind) if kind.is_dir() && is_link => {}
                Ok(kind) if kind.is_dir() && depth >= DEEPEST => self.too_deep(&place),
                Ok(kind) if kind.is_dir() => self.folder(&path, &place, depth + 1)?,
                Ok(kind) if kind.is_file() => match FileBytes::open(&path) {
                    Ok(file) if self.items(&file, &name.to_string_lossy(), &place, &items) => {}
                    Ok(file) => self.file_in_folder(&file, &place),
                    Err(error) => self.found.problem(&place, error),
                },
                Ok(_) => {}
                Err(source) => {
                    let refused = ErrorKind::Io { doing: "cannot open the file", source };
                    self.found.problem(&place, Error::new(refused).in_file(&path));
                }
            }
        }
        Ok(())
    }

    /// Scans the files that an index of shards names.
    fn shards(&mut self, index: &FileBytes, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let shards = hf::shards(index, self.limits)?;
        for name in shards {
            match FileBytes::open(&folder.join(&name)) {
                Ok(file) => self.file_in_folder(&file, &name),
                Err(error) => self.found.problem(&name, error),
            }
        }
        Ok(())
    }

    fn file_in_folder(&mut self, file: &FileBytes, place: &str) {
        let asked = has_extension(place) || content::is_binary_pickle(file);
        if !self.content(file, place, asked, 0) && (asked || content::is_packed(file)) {
            self.found.problem(place, content::describe(file));
        }
    }

    /// Scans some bytes, whatever they are. False where they are nothing that is known. `asked` says that they are meant to be a
    /// checkpoint.
    pub(super) fn content(&mut self, file: &FileBytes, place: &str, asked: bool, depth: usize) -> bool {
        if depth > DEEPEST {
            self.too_deep(place);
            return true;
        }
        if zip::detect(file) {
            self.archive(file, place, depth);
            return true;
        }
        if zip::ends_as_archive(file) {
            self.salvage(&file.bytes(), place, depth);
        }
        let mut known = self.packed(file, place, depth);
        if content::is_tar(file) {
            self.tar(file, place, depth);
            known = true;
        }
        if numpy::detect(file) {
            self.array(file, place);
            known = true;
        }
        known |= table::has_no_pickles(file);
        let stream = legacy::detect(file);
        let found = self.pickles(file, place, asked && !known, stream);
        if stream {
            self.behind(file, place, depth);
        }
        found || known
    }

    /// Scans what follows the storages of a stream: several may have been saved into one file.
    fn behind(&mut self, file: &FileBytes, place: &str, depth: usize) {
        match legacy::end(file, &self.pickle_limits) {
            Ok(end) => {
                let rest = file.bytes().slice(end.min(file.len())..);
                if !rest.trim_ascii().is_empty() {
                    let place = format!("{place} (byte {end})");
                    self.content(&file.within(rest), place.trim_start(), false, depth + 1);
                }
            }
            // Where it ends cannot be told, so that what follows is not looked through.
            Err(error) => self.found.problem(place, error),
        }
    }

    /// Scans the pickles that the bytes begin with, one after the other. `stream` says that they are those of a stream, after which
    /// come the bytes of its storages.
    fn pickles(&mut self, file: &FileBytes, place: &str, asked: bool, stream: bool) -> bool {
        let most = if stream { legacy::PICKLES } else { self.limits.records };
        let longest = usize::try_from(self.limits.pickle_bytes).unwrap_or(usize::MAX);
        let (mut at, mut count) = (0, 0);
        while let Some(rest) = file.get(at..).filter(|rest| !rest.is_empty()) {
            let trusted = asked && (count == 0 && content::is_pickle(rest) || stream);
            let place = if at == 0 { place.to_owned() } else { format!("{place} (byte {at})").trim_start().to_owned() };
            let here = if place.is_empty() { "the pickle" } else { &place };
            let names = pickle::names(rest.get(..longest).unwrap_or(rest), here, &self.pickle_limits);
            let (end, whole) = (names.end, names.problem.is_none());
            if !self.take(names, here, trusted) {
                break;
            }
            count += 1;
            let after = file.get(at + end..).unwrap_or_default();
            at += end + (after.len() - after.trim_ascii_start().len());
            if !whole && !stream || count >= most {
                break;
            }
        }
        count > 0
    }

    /// Notes what a pickle names, if it is one. What only looks a little like one, and breaks off, counts where a name in it is
    /// dangerous.
    fn take(&mut self, names: Names, place: &str, trusted: bool) -> bool {
        let Names { globals, uses, problem, deception, .. } = names;
        let mut globals: Vec<(Global, Use)> = globals.into_iter().zip(uses).collect();
        if problem.is_some() && !trusted {
            globals.retain(|(name, _)| is_plausible(name));
            if !globals.iter().any(|(name, used)| verdict_of_use(name, *used).0 == Verdict::Dangerous) {
                return false;
            }
        }
        self.found.pickles += 1;
        self.found.names(globals, place);
        match (deception, problem) {
            (Some(error), _) => self.found.deception(place, error),
            (None, Some(error)) => self.found.problem(place, error),
            (None, None) => {}
        }
        true
    }

    fn archive(&mut self, file: &FileBytes, place: &str, depth: usize) {
        let (bytes, archives) = (file.bytes(), zip::archives(&file.bytes()));
        let end = archives.iter().map(Bytes::len).sum::<usize>();
        // Without one, its error says what is wrong.
        let found = if archives.is_empty() { vec![bytes.clone()] } else { archives };
        for archive in found {
            match zip::Archive::open(archive.clone(), self.limits) {
                Ok(archive) => self.records(&archive, file, place, depth),
                Err(error) => {
                    self.found.problem(place, error);
                    self.salvage(&archive, place, depth);
                }
            }
        }
        let rest = bytes.slice(end..);
        if end > 0 && !rest.is_empty() {
            self.content(&file.within(rest), format!("{place} (byte {end})").trim_start(), false, depth + 1);
        }
    }

    fn records(&mut self, archive: &zip::Archive, file: &FileBytes, place: &str, depth: usize) {
        let mut broken = false;
        for (number, record) in archive.records().iter().enumerate().filter(|(_, record)| !record.is_folder()) {
            let name = record.inside(archive.top()).unwrap_or(&record.name);
            let place = join(place, name);
            let asked = has_extension(name);
            let payload = match self.payload(archive, number, &place, asked) {
                Ok(Some(payload)) => payload,
                Ok(None) => continue,
                Err(error) => {
                    broken = true;
                    self.found.problem(&place, error);
                    continue;
                }
            };
            let inner = file.within(payload);
            if !self.content(&inner, &place, asked, depth + 1) && asked {
                self.found.problem(&place, content::describe(&inner));
            }
        }
        if broken {
            self.salvage(&file.bytes(), place, depth);
        }
    }

    /// A record, if it may hold pickles.
    fn payload(&mut self, archive: &zip::Archive, number: usize, place: &str, asked: bool) -> Result<Option<Bytes>> {
        let Some(record) = archive.records().get(number) else { return Ok(None) };
        let head = archive.prefix(number, usize::try_from(record.size.min(HEAD)).unwrap_or_default())?;
        if !asked && head.as_ref().is_some_and(|head| !may_hold_pickles(head)) {
            return Ok(None);
        }
        if record.deflated {
            self.charge(record.size)?;
        }
        match archive.payload(number, true) {
            Err(error) if matches!(error.kind(), ErrorKind::Checksum) => {
                self.found.problem(place, error);
                archive.payload(number, false).map(Some)
            }
            payload => payload.map(Some),
        }
    }

    fn charge(&mut self, unpacked: u64) -> Result<()> {
        self.unpacked = self.unpacked.saturating_add(unpacked);
        if unpacked > UNPACKED || self.unpacked > self.limits.inflated_bytes {
            return Err(Error::limit(format!("unpacking {unpacked} bytes to scan them"), UNPACKED));
        }
        Ok(())
    }

    /// Scans what lies behind the local headers of an archive that contradicts itself: other readers may go by those.
    fn salvage(&mut self, bytes: &Bytes, place: &str, depth: usize) {
        let most = 4 * bytes.len() as u64 + MEMORY;
        let mut from = 0;
        while let Some(record) = zip::salvage(bytes, from, MEMORY.min(most - self.followed.min(most))) {
            from = record.next;
            let payload = FileBytes::from_vec(&record.name, Vec::new()).within(record.payload);
            let place = join(place, record.name.split_once('/').map_or(&*record.name, |(_, name)| name));
            if numpy::detect(&payload) {
                self.array(&payload, &place);
            } else if !zip::detect(&payload) && depth <= DEEPEST {
                let within = payload.get(..self.limits.pickle_bytes.try_into().unwrap_or(usize::MAX));
                let names = pickle::names(within.unwrap_or(&payload), &place, &self.pickle_limits);
                self.followed += names.end as u64;
                self.take(names, &place, false);
            }
            self.followed += HEAD;
            if self.followed > most {
                return self.found.problem(&place, Error::limit("following the records of a broken archive", most));
            }
        }
    }

    /// Scans a compressed stream. False where it is none.
    fn packed(&mut self, file: &FileBytes, place: &str, depth: usize) -> bool {
        let bytes: &[u8] = file;
        let stream: Box<dyn Read + '_> = match bytes {
            [0x1f, 0x8b, 8, ..] => Box::new(GzDecoder::new(bytes)),
            // What joblib writes by default where it compresses.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Box::new(ZlibDecoder::new(bytes)),
            _ => return false,
        };
        let mut unpacked = Vec::new();
        let read = stream.take(UNPACKED + 1).read_to_end(&mut unpacked);
        let problems = self.found.problems.len();
        if let Err(error) = self.charge(unpacked.len() as u64) {
            self.found.problem(place, error);
            unpacked.truncate(MEMORY.try_into().unwrap_or(usize::MAX));
        } else if let Err(error) = read {
            // Two bytes are a weak sign.
            if unpacked.is_empty() {
                return false;
            }
            self.found.problem(place, Error::truncated(format!("the compressed stream breaks off ({error})")));
        }
        let inner = file.within(unpacked.into());
        self.content(&inner, place, false, depth + 1) || self.found.problems.len() > problems
    }

    fn tar(&mut self, file: &FileBytes, place: &str, depth: usize) {
        let (members, problem) = tar::members(file, self.limits);
        if let Some(error) = problem {
            self.found.problem(place, error);
        }
        for (name, bytes) in members {
            let place = join(place, &name);
            if let Some(stream) = tar::pickles(&name, bytes.clone(), self.limits) {
                self.found.pickles += 1;
                self.found.names(stream.globals.into_iter().map(|name| (name, Use::default())), &place);
                if let Some(rest) = stream.rest {
                    self.pickles(&file.within(rest), &place, true, false);
                }
                continue;
            }
            let (inner, asked) = (file.within(bytes), has_extension(&name));
            if !self.content(&inner, &place, asked, depth + 1) && (asked || content::is_packed(&inner)) {
                self.found.problem(&place, content::describe(&inner));
            }
        }
    }

    /// Scans an array: one of Python objects is a pickle behind its header.
    fn array(&mut self, file: &FileBytes, place: &str) {
        match numpy::data_start(file, self.limits) {
            Ok(start) => {
                let (header, data) = (file.get(..start).unwrap_or_default(), file.get(start..).unwrap_or_default());
                let objects = header.windows(2).any(|letters| letters == b"O'");
                let place = if place.is_empty() { "the array" } else { place };
                let names = pickle::names(data, place, &self.pickle_limits);
                self.take(names, place, objects);
            }
            Err(error) => self.found.problem(place, error),
        }
    }

    fn too_deep(&mut self, place: &str) {
        self.found.problem(place, Error::limit("archives or folders within each other", DEEPEST as u64));
    }
}

/// Whether a name that was found in what may be no pickle may be one.
fn is_plausible(name: &Global) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    [&name.module, &name.name].iter().all(|text| text.split('.').all(part))
}

fn may_hold_pickles(head: &Bytes) -> bool {
    let file = FileBytes::from_vec("", Vec::new()).within(head.clone());
    content::begins_as_pickle(head)
        || zip::detect(&file)
        || numpy::detect(&file)
        || content::is_tar(&file)
        || head.starts_with(&[0x1f, 0x8b, 8])
}

fn has_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}
