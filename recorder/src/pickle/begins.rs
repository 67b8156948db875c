//! What the first bytes say: whether a pickle may begin there, or a file that holds some.

/// A pickle of protocol 2 or later begins with its number.
pub(crate) fn as_binary_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

/// Whether the first byte is an opcode that makes something, or the second gives a protocol.
pub(crate) fn as_pickle(bytes: &[u8]) -> bool {
    /// MARK, the empty containers, numbers, strings, names and persistent ids.
    const FIRST: &[u8] = b"()]}cILFSVNKJMXTUGPl\x88\x89\x8a\x8c";
    as_binary_pickle(bytes) || bytes.first().is_some_and(|first| FIRST.contains(first))
}

/// Protocols 0 and 1 have no signature: any file may be one that begins with an opcode that makes something, and ends with
/// STOP. The reader then decides.
pub(crate) fn as_whole_pickle(bytes: &[u8]) -> bool {
    as_binary_pickle(bytes) || as_pickle(bytes) && bytes.trim_ascii_end().last() == Some(&b'.')
}

/// Whether bytes within a pickle may be a pickle themselves, or an archive, a compressed stream or an array that holds one.
pub(crate) fn as_file(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 4] = [b"PK\x03\x04", b"\x1f\x8b\x08", b"\x93NUMPY", b"PK\x05\x06"];
    as_whole_pickle(bytes)
        || SIGNATURES.iter().any(|signature| bytes.starts_with(signature))
        || bytes.get(257..262) == Some(b"ustar")
}
