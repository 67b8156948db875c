//! Files that are elsewhere, part by part: [`Near`] keeps what is small, [`WebRanges`] are ranges of a file on a server, all of one
//! version of it.

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::download::{ContentRange, Encoding, encoding, validator};
use super::error::FetchError;
use super::http::{Answer, Ask, Client, failed};
use super::patience::{Failure, Patience};
use super::url::Url;
use crate::format::HEAD;
use crate::io::Ranges;
use crate::{Error, Result, ResultExt as _};

/// What is asked for is at least so much: what lies near is often wanted next.
const LEAST: u64 = 64 << 10;

/// Parts of no more bytes are kept, so many of the last.
const SMALL: u64 = 2 * LEAST;
const KEPT: usize = 16;

/// Bytes are taken in pieces of this size.
const PIECE: usize = 256 << 10;

/// One version of a file, of which ranges can be had.
pub(super) trait Parts: fmt::Debug + Send + Sync {
    /// How many bytes it has.
    fn len(&self) -> u64;

    /// The bytes of a range in it, which is not empty.
    /// # Errors
    /// When they cannot be had, or the file is another one by now.
    fn fetch(&self, range: &Range<u64>) -> Result<Bytes>;
}

/// Parts, of which small ones are had with what lies near, and kept for a while.
#[derive(Debug)]
pub(super) struct Near<P> {
    parts: P,
    shown: String,
    /// Parts with their places, the oldest first.
    kept: Mutex<Vec<(u64, Bytes)>>,
}

impl<P: Parts> Near<P> {
    /// `shown` is what the user knows it by, `head` what is there of its beginning.
    pub(super) fn new(parts: P, shown: &str, head: Option<Bytes>) -> Self {
        let kept = head.into_iter().map(|head| (0, head)).collect();
        Near { parts, shown: shown.to_owned(), kept: Mutex::new(kept) }
    }

    /// The bytes of a range, where they are among those that are kept.
    fn kept(&self, range: &Range<u64>) -> Option<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
            (to <= bytes.len()).then(|| bytes.slice(from..to))
        })
    }

    fn keep(&self, start: u64, bytes: Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((start, bytes));
    }

    fn fetch(&self, range: &Range<u64>) -> Result<Bytes> {
        let bytes = self.parts.fetch(range).in_file(&self.shown)?;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let reason = format!("{} bytes came of the range from {} to {}", bytes.len(), range.start, range.end);
        Err(Error::truncated(reason).in_file(&self.shown))
    }
}

impl<P: Parts> Ranges for Near<P> {
    fn len(&self) -> u64 {
        self.parts.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.len() {
            let error = Error::truncated(format!("bytes {} to {} lie beyond its end", range.start, range.end));
            return Err(error.in_file(&self.shown));
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.kept(&range) {
            return Ok(bytes);
        }
        let wide = range.start..range.end.max(self.len().min(range.start.saturating_add(LEAST)));
        let bytes = self.fetch(&wide)?;
        if wide.end - wide.start <= SMALL {
            self.keep(wide.start, bytes.clone());
        }
        let asked = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        Ok(bytes.slice(..asked.min(bytes.len())))
    }
}

pub(super) struct WebRanges {
    client: Arc<Client>,
    url: Url,
    token: Option<String>,
    /// What the server calls these bytes: its `ETag`, or when they were changed.
    validator: String,
    len: u64,
}

impl fmt::Debug for WebRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebRanges({}, {} bytes)", self.url.text(), self.len)
    }
}

impl WebRanges {
    /// Asks for the first bytes. `None` where the server gives no ranges, or does not say by what it would be seen that the file
    /// is another one.
    pub(super) fn open(
        client: &Arc<Client>,
        url: &Url,
        shown: &str,
        token: Option<&str>,
    ) -> Result<Option<Near<Self>>> {
        let first = Patience::with(&client.options, || {
            let mut ask = Ask { token, takes: &[416], ..Ask::get(url) };
            ask.headers.push(("range", format!("bytes=0-{}", HEAD - 1)));
            let answer = client.ask(&ask)?;
            let range = answer.header("content-range").and_then(ContentRange::parse);
            let (Some(ContentRange { start: Some(0), last: Some(last), total: Some(len) }), Some(validator)) =
                (range, validator(&answer.headers))
            else {
                return Ok(None);
            };
            let is_part = answer.status == 206 && encoding(&answer) == Encoding::Plain;
            if !is_part || last >= len || last >= HEAD {
                return Ok(None);
            }
            let mut head = Vec::new();
            take(answer, last + 1, &mut head, &mut |_| {})?;
            Ok(Some((validator, len, head)))
        });
        let Some((validator, len, head)) = first? else { return Ok(None) };
        let limit = client.options.limit;
        if len > limit {
            return Err(FetchError::TooLarge { bytes: len, at_least: false, limit }.into());
        }
        let (client, token) = (Arc::clone(client), token.map(str::to_owned));
        let ranges = WebRanges { client, url: url.clone(), token, validator, len };
        Ok(Some(Near::new(ranges, shown, Some(head.into()))))
    }

    fn attempt(
        &self,
        range: &Range<u64>,
        bytes: &mut Vec<u8>,
        patience: &mut Patience<'_>,
    ) -> std::result::Result<(), Failure> {
        let (from, last) = (range.start + bytes.len() as u64, range.end - 1);
        let mut ask = Ask { token: self.token.as_deref(), takes: &[412, 416], ..Ask::get(&self.url) };
        ask.headers.push(("range", format!("bytes={from}-{last}")));
        ask.headers.push(("if-range", self.validator.clone()));
        let answer = self.client.ask(&ask)?;
        let host = answer.host.clone();
        let is_other = validator(&answer.headers).is_some_and(|validator| validator != self.validator);
        if is_other || matches!(answer.status, 412 | 416) {
            return Err(FetchError::Changed { host }.into());
        }
        let sent = answer.header("content-range").and_then(ContentRange::parse);
        let asked = ContentRange { start: Some(from), last: Some(last), total: Some(self.len) };
        let is_asked = sent.is_some_and(|sent| ContentRange { total: sent.total.or(asked.total), ..sent } == asked);
        if answer.status != 206 || !is_asked || encoding(&answer) != Encoding::Plain {
            let reason = format!("other bytes than those from {from} to {last}, which it was asked for");
            return Err(FetchError::Protocol { host, reason }.into());
        }
        take(answer, range.end - from, bytes, &mut |read| patience.saw(read))
    }
}

/// Takes so many bytes of a body, which may have no more.
fn take(
    answer: Answer,
    length: u64,
    bytes: &mut Vec<u8>,
    saw: &mut dyn FnMut(u64),
) -> std::result::Result<(), Failure> {
    let host = answer.host;
    let mut body = answer.body.into_reader();
    let mut piece = vec![0; PIECE];
    let mut left = length;
    loop {
        let read = match body.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&host, ureq::Error::from(error))),
        };
        match (read as u64, left) {
            (0, 0) => return Ok(()),
            (0, _) => {
                let error = FetchError::Cut { received: length - left, expected: Some(length) };
                return Err(Failure { error, may_pass: true, after: None });
            }
            (read, left) if read > left => {
                let reason = "more bytes than the range has that it was asked for".to_owned();
                return Err(FetchError::Protocol { host, reason }.into());
            }
            _ => {}
        }
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
        left -= read as u64;
        saw(read as u64);
    }
}

impl Parts for WebRanges {
    fn len(&self) -> u64 {
        self.len
    }

    /// Asks for a range, and after a break for the rest of it.
    fn fetch(&self, range: &Range<u64>) -> Result<Bytes> {
        let mut patience = Patience::new(&self.client.options);
        let mut bytes = Vec::new();
        loop {
            match self.attempt(range, &mut bytes, &mut patience) {
                Ok(()) => return Ok(bytes.into()),
                Err(failure) => patience.fails(failure)?,
            }
        }
    }
}
