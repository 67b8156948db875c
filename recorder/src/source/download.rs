//! One file from a server into its place: a partial file beside it, which is gone on with after a break, held against its hash, and
//! renamed when it is whole.
//!
//! [`Target`] is that place, for whatever brings the bytes.

use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ureq::http::HeaderMap;

use super::digest::Expected;
use super::error::FetchError;
use super::held::Held;
use super::http::{Answer, Ask, Client, failed};
use super::options::FetchEvent;
use super::patience::{Failure, Patience};
use super::url::Url;
use crate::io::commit::sync_folder;
use crate::{Error, IoResultExt as _, Result, ResultExt as _, io};

/// What is to be fetched.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) url: &'a Url,
    /// What the user knows it by: for messages.
    pub(super) shown: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) expected: Option<Expected>,
}

/// Where it goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Where it grows.
    pub(super) partial: PathBuf,
}

impl Target {
    /// In a folder, under a name.
    pub(super) fn new(path: PathBuf) -> Self {
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        Target { path, partial: partial.into() }
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What the server called the bytes of the partial file.
    pub(super) fn validator(&self) -> PathBuf {
        let mut path = self.partial.clone().into_os_string();
        path.push(".etag");
        path.into()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Takes the partial file for this process once nobody else has it; `None` where `done` says by then that there is nothing to do.
    pub(super) fn hold(&self, client: &Client, done: impl Fn() -> bool) -> Result<Option<Held>> {
        let folder = self.folder();
        fs::create_dir_all(folder).doing("cannot make the folder").in_file(folder)?;
        let name = self.name();
        Held::take(&self.partial, done, || client.options.tell(FetchEvent::Waiting { name: &name }))
    }

    /// Whether the disk has room for so many bytes more.
    pub(super) fn needs_room(&self, bytes: u64) -> Result<()> {
        io::needs_room(self.folder(), bytes).in_file(&self.path)
    }

    /// Gives the partial file, which is whole, its name.
    pub(super) fn place(&self, held: &Held) -> Result<()> {
        let place = || -> std::io::Result<()> {
            held.file().sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            sync_folder(self.folder())
        };
        place().doing("cannot put the file in its place").in_file(&self.path)
    }

    /// What only the partial file needed is gone.
    pub(super) fn done(&self, client: &Client) {
        let _ = fs::remove_file(self.validator());
        client.options.tell(FetchEvent::Done);
    }

    /// Takes away what cannot be gone on with.
    pub(super) fn discard(&self) {
        let _ = fs::remove_file(&self.partial);
        let _ = fs::remove_file(self.validator());
    }
}

/// Bytes are written in pieces of this size.
const PIECE: usize = 256 << 10;

/// Fetches a file, unless it is in its place by the time that nobody else fetches it. Gives the bytes that were moved.
///
/// The partial file is held while it grows: whoever wants the same file waits. After a break it stays, and the next one goes on
/// from there, where the server still has the same bytes.
pub(super) fn download(client: &Client, wanted: &Wanted<'_>, target: &Target, anew: bool) -> Result<u64> {
    let Some(held) = target.hold(client, || !anew && target.path.exists())? else { return Ok(0) };
    let mut transfer = Transfer { client, wanted, target, file: held.file(), name: &target.name(), moved: 0 };
    match transfer.run() {
        Ok(()) => {
            target.place(&held)?;
            target.done(client);
            Ok(transfer.moved)
        }
        Err(error) => {
            if transfer.is_useless(&error) {
                target.discard();
            }
            Err(error.in_file(wanted.shown))
        }
    }
}

struct Transfer<'a> {
    client: &'a Client,
    wanted: &'a Wanted<'a>,
    target: &'a Target,
    file: &'a File,
    name: &'a str,
    moved: u64,
}

/// A try that came to its end.
enum Tried {
    /// The file is whole, as far as the server says.
    Whole,
    /// What was there is not what the server has: from the beginning.
    Stale,
}

impl Transfer<'_> {
    /// Fetches all bytes, and holds them against the hash.
    fn run(&mut self) -> Result<()> {
        let mut patience = Patience::new(&self.client.options);
        let mut stale = 0;
        loop {
            let resumed = self.length()? > 0;
            match self.attempt(&mut patience)? {
                Ok(Tried::Whole) => {}
                Ok(Tried::Stale) => {
                    self.cut(0)?;
                    stale += 1;
                    // A server that takes back every range that it gives.
                    if stale > 2 {
                        let reason = "it sends other bytes than it is asked for".to_owned();
                        return Err(FetchError::Protocol { host: self.wanted.url.authority.clone(), reason }.into());
                    }
                    continue;
                }
                Err(failure) => {
                    patience.fails(failure)?;
                    continue;
                }
            }
            let Some(expected) = &self.wanted.expected else { return Ok(()) };
            match expected.check(self.file).doing("cannot read the file").in_file(&self.target.partial)? {
                // What was there from before may be the bytes that are wrong.
                Err(_) if resumed => self.cut(0)?,
                checked => return Ok(checked?),
            }
        }
    }

    fn length(&self) -> Result<u64> {
        self.file.metadata().map(|file| file.len()).doing("cannot read the file").in_file(&self.target.partial)
    }

    /// Keeps so many bytes of what is there.
    fn cut(&self, length: u64) -> Result<()> {
        self.file.set_len(length).doing("cannot write the file").in_file(&self.target.partial)
    }

    /// Whether what is there is of no use for another time.
    fn is_useless(&self, error: &Error) -> bool {
        let is_wrong = match error.kind() {
            crate::ErrorKind::Fetch(error) => {
                matches!(**error, FetchError::Hash { .. } | FetchError::TooLarge { .. } | FetchError::Protocol { .. })
            }
            _ => false,
        };
        let nothing = self.length().is_ok_and(|length| length == 0);
        let resumes = self.wanted.expected.is_some() || self.target.validator().exists();
        is_wrong || nothing || !resumes
    }

    /// Asks once, and takes what comes.
    fn attempt(&mut self, patience: &mut Patience<'_>) -> Result<std::result::Result<Tried, Failure>> {
        let validator = fs::read_to_string(self.target.validator()).ok();
        let mut at = self.length()?;
        if at > 0 && validator.is_none() && self.wanted.expected.is_none() {
            // Nothing says that these are bytes of the same file.
            self.cut(0)?;
            at = 0;
        }
        let mut ask = Ask { token: self.wanted.token, takes: &[416], ..Ask::get(self.wanted.url) };
        if at > 0 {
            ask.headers.push(("range", format!("bytes={at}-")));
            ask.headers.extend(validator.map(|validator| ("if-range", validator)));
        }
        let answer = match self.client.ask(&ask) {
            Ok(answer) => answer,
            Err(failure) => return Ok(Err(failure)),
        };
        let range = answer.header("content-range").and_then(ContentRange::parse);
        match answer.status {
            206 if range.as_ref().is_some_and(|range| range.start == Some(at))
                && encoding(&answer) == Encoding::Plain => {}
            206 => return Ok(Ok(Tried::Stale)),
            // All of it was there.
            416 if at > 0 && range.as_ref().is_some_and(|range| range.total == Some(at)) => {
                return Ok(Ok(Tried::Whole));
            }
            416 if at > 0 => return Ok(Ok(Tried::Stale)),
            200 => {
                self.cut(0)?;
                at = 0;
            }
            status => {
                let reason = format!("the status {status}");
                return Ok(Err(FetchError::Protocol { host: answer.host, reason }.into()));
            }
        }
        let length = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let total = match encoding(&answer) {
            Encoding::Plain => length.map(|length| at.saturating_add(length)),
            Encoding::Gzip => None,
            Encoding::Other(name) => {
                let reason = format!("a body in the encoding '{name}', which was not asked for");
                return Ok(Err(FetchError::Protocol { host: answer.host, reason }.into()));
            }
        };
        if let Err(error) = self.admit(at, total)? {
            return Ok(Err(error.into()));
        }
        self.note_validator(&answer)?;
        self.client.options.tell(FetchEvent::Begin { name: self.name, at, total });
        self.take(answer, at, total, patience)
    }

    /// Whether the limit and the disk have room for it.
    fn admit(&self, at: u64, total: Option<u64>) -> Result<std::result::Result<(), FetchError>> {
        let limit = self.client.options.limit;
        match total {
            Some(bytes) if bytes > limit => Ok(Err(FetchError::TooLarge { bytes, at_least: false, limit })),
            Some(bytes) => {
                self.target.needs_room(bytes.saturating_sub(at))?;
                Ok(Ok(()))
            }
            None => Ok(Ok(())),
        }
    }

    /// Remembers what the server calls these bytes, by which it is asked for the rest of them.
    fn note_validator(&self, answer: &Answer) -> Result<()> {
        let path = self.target.validator();
        let written = match validator(&answer.headers).filter(|_| encoding(answer) == Encoding::Plain) {
            Some(validator) => fs::write(&path, validator),
            None if path.exists() => fs::remove_file(&path),
            None => Ok(()),
        };
        written.doing("cannot write the file").in_file(&path)
    }

    fn take(
        &mut self,
        answer: Answer,
        at: u64,
        total: Option<u64>,
        patience: &mut Patience<'_>,
    ) -> Result<std::result::Result<Tried, Failure>> {
        let is_packed = encoding(&answer) == Encoding::Gzip;
        let host = answer.host;
        let body = answer.body.into_reader();
        let mut reader: Box<dyn Read> = if is_packed { Box::new(MultiGzDecoder::new(body)) } else { Box::new(body) };
        let written = "cannot write the file";
        let mut file = self.file;
        file.seek(SeekFrom::Start(at)).doing(written).in_file(&self.target.partial)?;
        let mut there = at;
        let mut piece = vec![0; PIECE];
        let end = loop {
            let read = match reader.read(&mut piece) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(failed(&host, ureq::Error::from(error))),
            };
            if read == 0 {
                break Ok(());
            }
            there += read as u64;
            self.moved += read as u64;
            let limit = self.client.options.limit;
            if there > limit {
                return Ok(Err(FetchError::TooLarge { bytes: there, at_least: true, limit }.into()));
            }
            // Where it is written is said, so that two that both hold a file without locks write the same bytes to the same place.
            file.write_all(piece.get(..read).unwrap_or_default()).doing(written).in_file(&self.target.partial)?;
            patience.saw(read as u64);
            self.client.options.tell(FetchEvent::At(there));
        };
        let is_whole = end.is_ok() && total.is_none_or(|total| total == there);
        if is_whole {
            return Ok(Ok(Tried::Whole));
        }
        if is_packed {
            // No range of the packed bytes is known of what was unpacked.
            self.cut(0)?;
        }
        Ok(Err(match end {
            Err(failure @ Failure { error: FetchError::TimedOut { .. }, .. }) => failure,
            _ => Failure { error: FetchError::Cut { received: there, expected: total }, may_pass: true, after: None },
        }))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Other(String),
}

pub(super) fn encoding(answer: &Answer) -> Encoding {
    match answer.header("content-encoding").map(|name| name.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Encoding::Plain,
        Some("gzip" | "x-gzip") => Encoding::Gzip,
        Some(other) => Encoding::Other(other.to_owned()),
    }
}

/// What `If-Range` may be asked with: a strong `ETag`, or the date of the last change.
pub(super) fn validator(headers: &HeaderMap) -> Option<String> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    header("etag").filter(|etag| etag.starts_with('"')).or_else(|| header("last-modified"))
}

/// `bytes 5-9/10`, `bytes */10`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: Option<u64>,
    /// The last byte.
    pub(super) last: Option<u64>,
    pub(super) total: Option<u64>,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (start, last) = range.split_once('-').unwrap_or_default();
        let number = |text: &str| text.trim().parse().ok();
        Some(ContentRange { start: number(start), last: number(last), total: number(total) })
    }
}

#[cfg(test)]
mod tests {
    use super::ContentRange;

    #[test]
    fn a_content_range_says_where_it_begins_and_how_long_the_whole_is() {
        let range = |text| ContentRange::parse(text).map(|range| (range.start, range.last, range.total));
        assert_eq!(range("bytes 5-9/10"), Some((Some(5), Some(9), Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((Some(5), Some(9), None)));
        assert_eq!(range("bytes */10"), Some((None, None, Some(10))));
        assert_eq!(range("lines 1-2/3"), None);
    }
}
