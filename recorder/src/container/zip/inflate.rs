//! Unpacking a deflated record, never beyond the size that its directory entry promises.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::container::zip::record::Record;
use crate::{Error, Limits, Result};

/// Deflate cannot do better than 1032 to 1; a record that promises more than this lies.
const MAX_RATIO: u64 = 1100;

/// The unpacked payload of a record: exactly as long as its directory entry says.
pub(super) fn inflate(stored: &[u8], record: &Record, limits: &Limits) -> Result<Bytes> {
    if record.size > limits.inflated_bytes {
        return Err(Error::limit(
            format!("inflating {} to {} bytes", record.place(), record.size),
            limits.inflated_bytes,
        ));
    }
    let damaged = |reason: &str| Error::damaged(record.place(), reason);
    if record.size > record.stored.saturating_mul(MAX_RATIO) {
        return Err(damaged("it is said to inflate to more than deflate can"));
    }
    let Ok(size) = usize::try_from(record.size) else {
        return Err(damaged("it inflates to more than can be addressed"));
    };
    // `decompress_vec` fills what is reserved and never grows it. The spare byte shows a stream that would go on.
    let mut out = Vec::new();
    if out.try_reserve_exact(size.saturating_add(1)).is_err() {
        return Err(Error::limit(format!("inflating {} to {size} bytes", record.place()), limits.inflated_bytes));
    }
    let mut machine = Decompress::new(false);
    loop {
        let (taken, made) = (machine.total_in(), machine.total_out());
        let rest = usize::try_from(taken).ok().and_then(|taken| stored.get(taken..)).unwrap_or_default();
        let status = machine.decompress_vec(rest, &mut out, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) => break,
            Ok(_) if out.len() <= size && (machine.total_in(), machine.total_out()) != (taken, made) => {}
            Ok(_) if out.len() > size => return Err(damaged("it inflates to more than the directory says")),
            Ok(_) | Err(_) => return Err(damaged("its compressed bytes cannot be unpacked")),
        }
    }
    if out.len() != size {
        return Err(damaged("it does not inflate to the size that the directory says"));
    }
    if machine.total_in() != record.stored {
        return Err(damaged("bytes follow its compressed stream"));
    }
    Ok(out.into())
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
