//! What gzip has packed. It is inflated whole, never beyond the limit.

use std::io::{ErrorKind, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::{Error, OpenOptions, Result};

/// DEFLATE makes at most 1032 bytes of one (RFC 1951: a match of 258 bytes takes at least two bits).
const MAX_RATIO: u64 = 1100;

pub(crate) fn detect(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// The first bytes inside, as many as there are.
pub(crate) fn head(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut head = Vec::new();
    // An error leaves what came before it, which is what is asked for.
    let _ = GzDecoder::new(bytes).take(len as u64).read_to_end(&mut head);
    head
}

/// All bytes inside.
pub(crate) fn inflate(bytes: &[u8], options: &OpenOptions) -> Result<Bytes> {
    let limit = options.limits.inflated_bytes.min(MAX_RATIO.saturating_mul(bytes.len() as u64));
    let mut decoder = GzDecoder::new(bytes);
    let mut inflated = Vec::new();
    match decoder.by_ref().take(limit.saturating_add(1)).read_to_end(&mut inflated) {
        Ok(_) if inflated.len() as u64 > limit => Err(Error::limit("the inflated bytes", limit)),
        Ok(_) => match decoder.into_inner() {
            [] => Ok(inflated.into()),
            rest => Err(Error::damaged("the end of the gzip stream", format!("{} more bytes follow it", rest.len()))),
        },
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof => {
                Err(Error::truncated(format!("the gzip stream ends after {} inflated bytes", inflated.len())))
            }
            // flate2 says so of a wrong checksum or length, once all bytes are there.
            ErrorKind::InvalidInput if error.to_string().contains("checksum") => {
                if options.verify {
                    Err(Error::new(crate::ErrorKind::Checksum).at("the gzip stream"))
                } else {
                    Ok(inflated.into())
                }
            }
            _ => {
                let place = format!("the gzip stream, after {} inflated bytes", inflated.len());
                Err(Error::damaged(place, error.to_string()))
            }
        },
    }
}
