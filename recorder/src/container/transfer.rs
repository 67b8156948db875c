//! Damage that a transfer in text mode does, told by the bytes of a file that cannot be read: no binary file has them by chance.

use crate::container::content;
use crate::{Error, ErrorKind, FileBytes};

/// How much of a file is looked at.
const LOOKED_AT: usize = 64 << 20;
/// How often something must be expected before its absence says anything.
const EXPECTED: usize = 24;

/// The error of reading a file; where the bytes show that a transfer in text mode damaged it, one that says so.
pub(crate) fn blame(error: Error, file: &FileBytes) -> Error {
    let broken = matches!(
        error.kind(),
        ErrorKind::NotACheckpoint { .. }
            | ErrorKind::Truncated { .. }
            | ErrorKind::Damaged { .. }
            | ErrorKind::Pickle { .. }
            | ErrorKind::InvalidTensor { .. }
            | ErrorKind::Limit { .. }
    );
    let looked_at = file.get(..LOOKED_AT).unwrap_or(file);
    match broken.then(|| change(looked_at)).flatten().filter(|_| !content::is_packed(file)) {
        None => error,
        Some(change) => {
            let reason = format!("it was transferred as text, and {change}");
            let again = "transfer it again as binary (FTP: `binary`; git: mark it as `binary` in .gitattributes)";
            Error::from(ErrorKind::Damaged { reason }).advise(again).in_file_if(error.file())
        }
    }
}

/// What became of the bytes.
fn change(bytes: &[u8]) -> Option<&'static str> {
    let mut counts = [0_usize; 256];
    let (mut pairs, mut before) = (0, 0);
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
        pairs += usize::from((before, byte) == (b'\r', b'\n'));
        before = byte;
    }
    let count = |byte: u8| counts[usize::from(byte)];
    let (cr, lf) = (count(b'\r'), count(b'\n'));
    // Text has no such bytes.
    let binary = count(0) > 0 || counts[0x80..].iter().any(|&count| count > 0);
    if !binary {
        return None;
    }
    if lf >= 8 && pairs == lf {
        return Some("every line feed became CR LF");
    }
    let neighbours = [0x0b, 0x0c, 0x0e, 0x0f].map(count);
    if cr == 0 && neighbours.iter().all(|&count| count >= EXPECTED) {
        return Some("every CR was taken out");
    }
    if pairs == 0 && cr.saturating_mul(lf) / bytes.len().max(1) >= EXPECTED {
        return Some("every CR LF became a line feed");
    }
    let replaced = bytes.windows(3).filter(|window| *window == "\u{fffd}".as_bytes()).count();
    let is_text = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    if count(0) == 0 || !is_text {
        return None;
    }
    if replaced >= 8 {
        return Some("what is no text in it was replaced by U+FFFD");
    }
    // Bytes from 0x80 on begin with one of two in UTF-8.
    let leading: usize = counts[0xc0..].iter().sum();
    (leading >= 16 && count(0xc2) + count(0xc3) == leading).then_some("every byte beyond ASCII was written as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_files_have_none_of_the_signs() {
        // A generator's bytes, as good as random.
        let mut state = 1_u64;
        let random: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        assert_eq!(change(&random), None);
        assert_eq!(change(&vec![0; 1 << 20]), None);
        assert_eq!(change(b"two\r\nlines\r\nof\r\ntext\r\n\r\n\r\n\r\n\r\n\r\n"), None);
        let text = |from: &str, to: &str| -> Vec<u8> {
            let mut out = Vec::new();
            let mut rest = &random[..];
            while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
                out.extend([&rest[..at], to.as_bytes()].concat());
                rest = &rest[at + from.len()..];
            }
            [&out, rest].concat()
        };
        let latin: String = random.iter().map(|&byte| char::from(byte)).collect();
        assert_eq!(change(latin.as_bytes()), Some("every byte beyond ASCII was written as UTF-8"));
        assert_eq!(change(&text("\n", "\r\n")), Some("every line feed became CR LF"));
        assert_eq!(change(&text("\r", "")), Some("every CR was taken out"));
        let pairs = [&random[..], &b"\r\n".repeat(4096)].concat();
        assert_eq!(change(&pairs), None);
    }
}
