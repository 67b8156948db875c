//! What a file is, told by its first bytes: the formats without a module of their own, and what else people hand us.

use crate::container::zip;
use crate::{Error, FileBytes};

pub(crate) use crate::pickle::begins::{
    as_binary_pickle as is_binary_pickle, as_pickle as begins_as_pickle, as_whole_pickle as is_pickle,
};

/// A tar header's checksum is the sum of its bytes, the checksum itself taken as spaces (POSIX pax, "ustar Interchange").
pub(crate) fn is_tar(file: &FileBytes) -> bool {
    let Some(header) = file.first_chunk::<512>() else { return false };
    let (field, mut sum) = (&header[148..156], 8 * u32::from(b' '));
    let digits: Vec<u8> = field.iter().copied().filter(u8::is_ascii_digit).collect();
    sum += header[..148].iter().chain(&header[156..]).map(|&byte| u32::from(byte)).sum::<u32>();
    std::str::from_utf8(&digits).ok().and_then(|digits| u32::from_str_radix(digits, 8).ok()) == Some(sum)
}

const GZIP: &[u8] = b"\x1f\x8b";

/// Whether it is an archive or a compressed file that nothing here looks into.
pub(crate) fn is_packed(file: &FileBytes) -> bool {
    SIGNATURES.iter().any(|(signature, _, unpack)| unpack.is_some() && file.starts_with(signature))
}

/// What a file that is no checkpoint looks like instead, and what to do about it where that is known.
pub(crate) fn describe(file: &FileBytes) -> Error {
    let bytes: &[u8] = file;
    let text = head(file, 512);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    if bytes.is_empty() {
        return Error::not_a_checkpoint("it is empty");
    }
    if bytes.iter().take(1 << 16).all(|&byte| byte == 0) {
        let error = Error::not_a_checkpoint("it begins with nothing but zeros, as a download does that never finished");
        return error.advise("download it again");
    }
    if text.starts_with(b"version https://git-lfs.github.com/spec/") {
        let error = Error::not_a_checkpoint("it is a Git LFS pointer that stands for the real file");
        return error.advise("fetch that with `git lfs pull`");
    }
    if zip_is_near(file) {
        let error = Error::not_a_checkpoint("it is a zip archive with other bytes before it");
        return error.advise("PyTorch refuses such files, too");
    }
    if let Some((_, what, unpack)) = SIGNATURES.iter().find(|(signature, ..)| bytes.starts_with(signature)) {
        return unpack.iter().fold(Error::not_a_checkpoint(format!("it is {what}")), |error, how| error.advise(*how));
    }
    let lower = text.to_ascii_lowercase();
    if [&b"<!doctype"[..], b"<html", b"<head", b"<body", b"<?xml"].iter().any(|tag| lower.starts_with(tag)) {
        let reason = "it is a web page: the server answered with an error or a login page";
        return Error::not_a_checkpoint(reason).advise("download it again, from the file's own address");
    }
    match text.first() {
        Some(b'{' | b'[') => Error::not_a_checkpoint("it looks like a JSON file"),
        Some(_) if std::str::from_utf8(text).map_or_else(|error| error.error_len().is_none(), |_| true) => {
            let line = String::from_utf8_lossy(text.split(|&byte| byte == b'\n').next().unwrap_or_default());
            let start: String = line.chars().filter(|c| !c.is_control()).take(40).collect();
            Error::not_a_checkpoint(format!("it looks like a text file (it begins with '{start}')"))
        }
        _ => {
            let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let start = start.join(" ");
            Error::not_a_checkpoint(format!("its first bytes ({start}) are those of no format known here"))
        }
    }
}

/// What often goes by the name of a checkpoint, by its first bytes; and how it is unpacked, where it may hold one.
const SIGNATURES: &[(&[u8], &str, Option<&str>)] = &[
    (GZIP, "compressed with gzip", Some("unpack it with gunzip first")),
    (b"\xfd7zXZ\0", "compressed with xz", Some("unpack it with unxz first")),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", Some("unpack it with unzstd first")),
    (b"BZh", "compressed with bzip2", Some("unpack it with bunzip2 first")),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", Some("unpack it first")),
    (b"Rar!", "a RAR archive", Some("unpack it first")),
    (b"PK\x05\x06", "an empty zip archive", None),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes them", None),
    (b"GGUF", "a GGUF file, as llama.cpp reads them", None),
    (b"ggml", "a GGML file, as llama.cpp reads them", None),
    (b"\x08\x07\x12\x07pytorch", "an ONNX model", None),
    (b"\x89PNG", "a PNG image", None),
    (b"\xff\xd8\xff", "a JPEG image", None),
    (b"%PDF", "a PDF document", None),
    (b"\x7fELF", "a program or a library", None),
    (b"MZ", "a program or a library", None),
    (b"SQLite format 3", "an SQLite data base", None),
];

/// Whether a zip archive begins within the first few KiB, behind something else.
fn zip_is_near(file: &FileBytes) -> bool {
    !zip::detect(file) && head(file, 4096).windows(4).any(|window| window == b"PK\x03\x04")
}

fn head(file: &FileBytes, len: usize) -> &[u8] {
    file.get(..len).unwrap_or(file)
}
