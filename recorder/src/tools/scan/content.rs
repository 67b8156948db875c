//! The way through bytes, archives and streams to the pickles in them.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};

use crate::container::{content, legacy, numpy, table, tar, zip};
use crate::pickle::{self, Inner, InnerBytes, Names, Use, Verdict, verdict_of_use};
use crate::tools::scan::found::{Found, UNPACKED};
use crate::{Error, ErrorKind, FileBytes, Global, Limits, Result};

/// Archives in archives are followed this far, bytes in pickles, and folders in folders.
pub(super) const DEEPEST: usize = 8;
/// The memory for what is known of one pickle: the stack, the memo, the names.
const MEMORY: u64 = 64 << 20;
/// How much of a record tells whether it may be a pickle or hold some.
const HEAD: u64 = 512;
/// Records and files with these extensions are meant to be loaded: where they cannot be scanned, that is a problem.
const EXTENSIONS: &[&str] = &["pkl", "pickle", "pt", "pth", "ckpt", "joblib", "distcp"];

pub(super) struct Scanner<'a> {
    pub(super) limits: &'a Limits,
    /// Those for one pickle.
    pub(super) pickle_limits: Limits,
    pub(super) found: &'a mut Found,
    /// Bytes that were unpacked so far.
    unpacked: u64,
    /// Bytes that were followed in pickles of broken archives so far.
    followed: u64,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(limits: &'a Limits, found: &'a mut Found) -> Self {
        let pickle_limits = Limits { value_bytes: limits.value_bytes.min(MEMORY), ..limits.clone() };
        Scanner { limits, pickle_limits, found, unpacked: 0, followed: 0 }
    }
}

impl Scanner<'_> {
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
            self.array(file, place, depth);
            known = true;
        }
        known |= table::has_no_pickles(file);
        let stream = legacy::detect(file);
        let found = self.pickles(file, place, asked && !known, stream, depth);
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
    fn pickles(&mut self, file: &FileBytes, place: &str, asked: bool, stream: bool, depth: usize) -> bool {
        let most = if stream { legacy::PICKLES } else { self.limits.records };
        let longest = usize::try_from(self.limits.pickle_bytes).unwrap_or(usize::MAX);
        let (mut at, mut count) = (0, 0);
        while let Some(rest) = file.get(at..).filter(|rest| !rest.is_empty()) {
            let trusted = asked && (count == 0 && content::is_pickle(rest) || stream);
            let place = if at == 0 { place.to_owned() } else { format!("{place} (byte {at})").trim_start().to_owned() };
            let here = if place.is_empty() { "the pickle" } else { &place };
            let mut names = pickle::names(rest.get(..longest).unwrap_or(rest), here, &self.pickle_limits);
            let (end, whole, inner) = (names.end, names.problem.is_none(), std::mem::take(&mut names.inner));
            if !self.take(names, here, trusted) {
                break;
            }
            self.inside(inner, file, at, here, depth);
            count += 1;
            let after = file.get(at + end..).unwrap_or_default();
            at += end + (after.len() - after.trim_ascii_start().len());
            if !whole && !stream || count >= most {
                break;
            }
        }
        count > 0
    }

    /// Scans the bytes that a pickle carries, which begins at byte `from` of the file. What nothing in the pickle loads counts where
    /// something in it is named.
    fn inside(&mut self, inner: Vec<Inner>, file: &FileBytes, from: usize, place: &str, depth: usize) {
        for Inner { at, bytes, loaded, .. } in inner {
            let bytes = match bytes {
                InnerBytes::There(range) => file.slice((from + range.start) as u64..(from + range.end) as u64),
                InnerBytes::Decoded(bytes) => Some(Bytes::from(bytes)),
            };
            let Some(bytes) = bytes else { continue };
            let (place, bytes) = (format!("{place} (bytes at {at})"), file.within(bytes));
            let before = self.found.problems.len();
            let known = self.content(&bytes, &place, loaded, depth + 1);
            if loaded && !known && !bytes.is_empty() {
                self.found.problem(&place, content::describe(&bytes));
            } else if !loaded {
                let new = self.found.problems.split_off(before.min(self.found.problems.len()));
                self.found.problems.extend(new.into_iter().filter(|problem| problem.deceives));
            }
        }
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
                Ok(None) => {
                    let head = archive.prefix(number, 8).ok().flatten().map(|head| file.within(head));
                    if let Some(head) = head.filter(|head| is_sealed(name, head)) {
                        self.found.problem(&place, content::describe(&head));
                    }
                    continue;
                }
                Err(error) => {
                    broken = true;
                    self.found.problem(&place, error);
                    continue;
                }
            };
            let inner = file.within(payload);
            if !self.content(&inner, &place, asked, depth + 1) && (asked || is_sealed(name, &inner)) {
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
                self.array(&payload, &place, depth);
            } else if !zip::detect(&payload) && depth <= DEEPEST {
                let within = payload.get(..self.limits.pickle_bytes.try_into().unwrap_or(usize::MAX));
                let mut names = pickle::names(within.unwrap_or(&payload), &place, &self.pickle_limits);
                self.followed += names.end as u64;
                let inner = std::mem::take(&mut names.inner);
                if self.take(names, &place, false) {
                    self.inside(inner, &payload, 0, &place, depth);
                }
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
                    self.pickles(&file.within(rest), &place, true, false, depth);
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
    fn array(&mut self, file: &FileBytes, place: &str, depth: usize) {
        match numpy::data_start(file, self.limits) {
            Ok(start) => {
                let (header, data) = (file.get(..start).unwrap_or_default(), file.get(start..).unwrap_or_default());
                let objects = header.windows(2).any(|letters| letters == b"O'");
                let place = if place.is_empty() { "the array" } else { place };
                let mut names = pickle::names(data, place, &self.pickle_limits);
                let inner = std::mem::take(&mut names.inner);
                if self.take(names, place, objects) {
                    self.inside(inner, file, start, place, depth);
                }
            }
            Err(error) => self.found.problem(place, error),
        }
    }

    pub(super) fn too_deep(&mut self, place: &str) {
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

/// Whether a record is compressed in a way that is not unpacked here. The elements of a storage may look like anything.
fn is_sealed(name: &str, bytes: &FileBytes) -> bool {
    !name.starts_with("data/") && content::is_packed(bytes)
}

pub(super) fn has_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}
