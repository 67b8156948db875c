//! A whole file of parts into its place: a partial file beside it, which is gone on with after a break, held against its hash, and
//! renamed when it is whole.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};

use super::digest::Expected;
use super::download::Target;
use super::error::FetchError;
use super::held::Held;
use super::http::Client;
use super::options::FetchEvent;
use super::ranges::Parts;
use crate::{Error, ErrorKind, IoResultExt as _, Result, ResultExt as _};

/// So much is asked for at a time.
const PIECE: u64 = 8 << 20;

/// Fetches a file, unless `done` says that somebody else has, once nobody fetches it; `noted` is called with the
/// whole file before it has its name. Gives
/// the bytes that were moved.
pub(super) fn copy(
    client: &Client,
    parts: &dyn Parts,
    version: &str,
    target: &Target,
    expected: Option<&Expected>,
    (done, noted): (&dyn Fn() -> bool, &dyn Fn(&File) -> Result<()>),
) -> Result<u64> {
    let Some(held) = target.hold(client, done)? else { return Ok(0) };
    let taken = take(client, parts, version, target, &held).and_then(|moved| {
        if let Some(expected) = expected {
            expected.check(held.file()).doing("cannot read the file").in_file(&target.partial)??;
        }
        Ok(moved)
    });
    match taken {
        Ok(moved) => {
            noted(held.file())?;
            target.place(&held)?;
            target.done(client);
            Ok(moved)
        }
        Err(error) => {
            let nothing = held.file().metadata().is_ok_and(|file| file.len() == 0);
            let is_wrong = matches!(error.kind(), ErrorKind::Fetch(error)
                if matches!(**error, FetchError::Hash { .. } | FetchError::Changed { .. }));
            if nothing || is_wrong {
                target.discard();
            }
            Err(error)
        }
    }
}

fn take(client: &Client, parts: &dyn Parts, version: &str, target: &Target, held: &Held) -> Result<u64> {
    let mut file: &File = held.file();
    let write = |error: std::io::Result<()>| error.doing("cannot write the file").in_file(&target.partial);
    let length = || file.metadata().map(|file| file.len()).doing("cannot read the file").in_file(&target.partial);
    let is_same = fs::read_to_string(target.validator()).is_ok_and(|known| known == version);
    let begun = if is_same { length()?.min(parts.len()) } else { 0 };
    write(file.set_len(begun))?;
    write(fs::write(target.validator(), version))?;
    target.needs_room(parts.len() - begun)?;
    client.options.tell(FetchEvent::Begin { name: &target.name(), at: begun, total: Some(parts.len()) });
    write(file.seek(SeekFrom::Start(begun)).map(drop))?;
    let mut at = begun;
    while at < parts.len() {
        let end = parts.len().min(at + PIECE);
        let bytes = parts.fetch(&(at..end))?;
        if bytes.len() as u64 != end - at {
            return Err(Error::from(FetchError::Cut {
                received: at + bytes.len() as u64,
                expected: Some(parts.len()),
            }));
        }
        write(file.write_all(&bytes))?;
        at = end;
        client.options.tell(FetchEvent::At(at));
    }
    Ok(parts.len() - begun)
}
