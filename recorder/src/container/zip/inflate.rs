//! Unpacking a deflated record, whole or piece by piece, never beyond the size that its directory entry promises.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::container::zip::record::Record;
use crate::{Error, ErrorKind, Limits, Result};

/// Deflate cannot do better than 1032 to 1; a record that promises more than this lies.
const MAX_RATIO: u64 = 1100;

/// How much is unpacked at a time where nothing of it is kept.
const CHUNK: usize = 256 << 10;

/// The unpacked payload of a record: exactly as long as its directory entry says.
pub(super) fn inflate(stored: &[u8], record: &Record, limits: &Limits) -> Result<Bytes> {
    check_size(record, limits)?;
    let mut out = Vec::new();
    let reserved = usize::try_from(record.size).ok().filter(|&size| out.try_reserve_exact(size).is_ok());
    if reserved.is_none() {
        return Err(no_memory(record));
    }
    stream(stored, record, limits, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(out.into())
}

/// Hands the unpacked payload on piece by piece, and checks that it is as long as the directory entry says.
pub(super) fn stream(
    stored: &[u8],
    record: &Record,
    limits: &Limits,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    check_size(record, limits)?;
    let damaged = |reason: &str| Error::damaged(record.place(), reason);
    let mut buffer = vec![0; CHUNK];
    let mut machine = Decompress::new(false);
    loop {
        let (taken, made) = (machine.total_in(), machine.total_out());
        let rest = usize::try_from(taken).ok().and_then(|taken| stored.get(taken..)).unwrap_or_default();
        let status = machine.decompress(rest, &mut buffer, FlushDecompress::None);
        let Ok(status) = status else { return Err(damaged("its compressed bytes cannot be unpacked")) };
        // No more than the buffer was filled.
        let fresh = usize::try_from(machine.total_out() - made).ok().and_then(|fresh| buffer.get(..fresh));
        if machine.total_out() > record.size {
            return Err(damaged("it inflates to more than the directory says"));
        }
        sink(fresh.unwrap_or_default())?;
        if status == Status::StreamEnd {
            break;
        }
        if (machine.total_in(), machine.total_out()) == (taken, made) {
            return Err(damaged("its compressed bytes cannot be unpacked"));
        }
    }
    if machine.total_out() != record.size {
        return Err(damaged("it does not inflate to the size that the directory says"));
    }
    if machine.total_in() != record.stored {
        return Err(damaged("bytes follow its compressed stream"));
    }
    Ok(())
}

fn check_size(record: &Record, limits: &Limits) -> Result<()> {
    if record.size > limits.inflated_bytes {
        return Err(Error::limit(
            format!("inflating {} to {} bytes", record.place(), record.size),
            limits.inflated_bytes,
        ));
    }
    if record.size > record.stored.saturating_mul(MAX_RATIO) {
        return Err(Error::damaged(record.place(), "it is said to inflate to more than deflate can"));
    }
    Ok(())
}

/// The system has no room for a payload that the limits allow.
fn no_memory(record: &Record) -> Error {
    let reason = format!("it takes {} bytes, and the system gives no such memory", record.size);
    let source = std::io::Error::new(std::io::ErrorKind::OutOfMemory, reason);
    Error::new(ErrorKind::Io { doing: "cannot unpack it in memory", source }).at(record.place())
}

/// The first `len` bytes that a deflated payload unpacks to; `None` where there are fewer.
pub(super) fn prefix(stored: &[u8], len: usize) -> Option<Bytes> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).ok()?;
    let mut machine = Decompress::new(false);
    while out.len() < len {
        let (taken, made) = (machine.total_in(), machine.total_out());
        let rest = usize::try_from(taken).ok().and_then(|taken| stored.get(taken..)).unwrap_or_default();
        machine.decompress_vec(rest, &mut out, FlushDecompress::None).ok()?;
        if (machine.total_in(), machine.total_out()) == (taken, made) {
            return None;
        }
    }
    out.truncate(len);
    Some(out.into())
}
