//! The zip format's constants and fields (PKWARE's APPNOTE 6.3.10), and what PyTorch's writer puts into them.

/// Signature of a local file header (APPNOTE 4.3.7).
pub(super) const LOCAL: u32 = 0x0403_4b50;
/// Signature of a data descriptor (4.3.9).
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
/// Signature of a central directory header (4.3.12).
pub(super) const CENTRAL: u32 = 0x0201_4b50;
/// Signature of the zip64 end of central directory record (4.3.14).
pub(super) const END64: u32 = 0x0606_4b50;
/// Signature of the zip64 end of central directory locator (4.3.15).
pub(super) const LOCATOR64: u32 = 0x0706_4b50;
/// Signature of the end of central directory record (4.3.16).
pub(super) const END: u32 = 0x0605_4b50;

/// Lengths of the records above without their variable parts.
pub(super) const LOCAL_LEN: usize = 30;
pub(super) const CENTRAL_LEN: usize = 46;
pub(super) const END64_LEN: usize = 56;
pub(super) const LOCATOR64_LEN: usize = 20;
pub(super) const END_LEN: usize = 22;

/// General purpose flag: the payload is encrypted.
pub(super) const ENCRYPTED: u16 = 1;
/// General purpose flag: CRC and sizes stand in a data descriptor after the payload.
pub(super) const DESCRIBED: u16 = 1 << 3;
/// General purpose flag: the name is UTF-8.
pub(super) const UTF8: u16 = 1 << 11;

/// The id of the extra field that holds 64-bit sizes and offsets.
pub(super) const ZIP64_EXTRA: u16 = 1;
/// The id of the extra field with which PyTorch pads a header, so that the payload is aligned.
pub(super) const PADDING_EXTRA: [u8; 2] = *b"FB";

/// A 32-bit field of this value stands in the zip64 extra field instead; PyTorch's writer moves it there from this value on.
pub(super) const MOVED_32: u32 = u32::MAX;
/// The same for the 16-bit counts.
pub(super) const MOVED_16: u16 = u16::MAX;

/// Compression methods by number (4.4.5), for messages.
pub(super) const METHODS: [(u16, &str); 12] = [
    (1, "shrink"),
    (2, "reduce"),
    (6, "implode"),
    (9, "deflate64"),
    (12, "bzip2"),
    (14, "lzma"),
    (20, "zstd"),
    (93, "zstd"),
    (95, "xz"),
    (96, "jpeg"),
    (97, "wavpack"),
    (99, "AE-x encryption"),
];

/// A little-endian number of two bytes, where they are there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian number of four bytes, where they are there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian number of eight bytes, where they are there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The data of the extra field with this id; `None` where there is none, or where the fields before it are broken.
pub(super) fn extra_field(mut extra: &[u8], id: u16) -> Option<&[u8]> {
    loop {
        let (this, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        if this == id {
            return extra.get(4..4 + len);
        }
        extra = extra.get(4 + len..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_fields_are_found_behind_others_and_never_past_the_end() {
        let extra = b"FB\x02\0ZZ\x01\0\x08\x0012345678";
        assert_eq!(extra_field(extra, ZIP64_EXTRA), Some(&b"12345678"[..]));
        assert_eq!(extra_field(&extra[..17], ZIP64_EXTRA), None);
        assert_eq!(extra_field(extra, 7), None);
        assert_eq!(extra_field(b"", ZIP64_EXTRA), None);
    }

    #[test]
    fn fields_past_the_end_are_absent() {
        assert_eq!(u32_at(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!((u16_at(&[1, 0], 1), u64_at(&[0; 8], usize::MAX)), (None, None));
    }
}
