//! Archives that are cut off, damaged, or made to deceive.

use rekindle_recorder::container::zip::Archive;
use rekindle_recorder::{Error, ErrorKind, Limits};

use super::make::{Told, deflated, directory_entry, local_header, open, payload, plain_layout, put, torch_layout};

const RECORDS: [(&str, &[u8]); 4] =
    [("data.pkl", b"a pickle"), ("data/0", &[5; 100]), ("data/1", b""), ("version", b"3\n")];

fn read_all(bytes: &[u8], verify: bool) -> Vec<Result<bytes::Bytes, Error>> {
    match open(bytes) {
        Ok(archive) => RECORDS.iter().map(|(name, _)| archive.read(name, verify)).collect(),
        Err(error) => vec![Err(error)],
    }
}

#[test]
fn an_archive_cut_off_anywhere_is_said_to_be_cut_off() {
    let bytes = torch_layout(&RECORDS);
    for len in 0..bytes.len() {
        let error = open(&bytes[..len]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{len}: {error}");
        assert!(error.to_string().contains("cut off"));
    }
}

#[test]
fn an_archive_cut_off_behind_an_archive_in_it_is_cut_off() {
    let inner = torch_layout(&[("data.pkl", b"inner")]);
    let bytes = torch_layout(&[("data/0", &inner), ("data/1", b"rest")]);
    let end = payload(&bytes, "data/0") + inner.len();
    assert_eq!(open(&bytes).unwrap().read("data/0", true).unwrap(), inner);
    for len in [end + 1, end + 16, end + 40] {
        assert!(matches!(open(&bytes[..len]).unwrap_err().kind(), ErrorKind::Truncated { .. }));
    }
    // Cut exactly at the inner end, the end record closes the file but contradicts it.
    assert!(matches!(open(&bytes[..end]).unwrap_err().kind(), ErrorKind::Damaged { .. }));
}

#[test]
fn no_flipped_bit_changes_what_is_read() {
    for bytes in [torch_layout(&RECORDS), plain_layout(&RECORDS.map(|(n, p)| (in_top(n), p)), true, Told::Ahead)] {
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[i] ^= 1 << bit;
                for (read, (_, written)) in read_all(&flipped, true).into_iter().zip(RECORDS) {
                    assert!(read.is_err() || *read.unwrap() == *written, "byte {i}, bit {bit}");
                }
                // Without verification other bytes may come; nothing else may happen.
                read_all(&flipped, false);
            }
        }
    }
}

fn in_top(name: &'static str) -> &'static str {
    match name {
        "data.pkl" => "top/data.pkl",
        "data/0" => "top/data/0",
        "data/1" => "top/data/1",
        _ => "top/version",
    }
}

#[test]
fn a_flipped_bit_in_a_payload_names_its_record() {
    let mut bytes = torch_layout(&RECORDS);
    let at = payload(&bytes, "data/0") + 50;
    bytes[at] ^= 0x10;
    let archive = open(&bytes).unwrap();
    let error = archive.read("data/0", true).unwrap_err();
    assert!(error.to_string().starts_with("record data/0: checksum mismatch"), "{error}");
    assert_eq!(archive.read("data/0", false).unwrap()[50], 5 ^ 0x10);
    assert!(archive.read("data.pkl", true).is_ok());
}

/// Damages one place of an archive and gives the error of opening it and reading `data/0`.
fn damaged(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Error {
    put(&mut bytes, at, new);
    open(&bytes).and_then(|archive| archive.read("data/0", true)).unwrap_err()
}

#[test]
fn lies_in_the_directory_and_the_headers_are_found() {
    let bytes = torch_layout(&RECORDS);
    let entry = directory_entry(&bytes, "data/0");
    let local = local_header(&bytes, "data/0");
    let other = local_header(&bytes, "version");
    let pickle = local_header(&bytes, "data.pkl");
    let end = bytes.len() - 22;
    let u32s = |x: usize| u32::try_from(x).unwrap().to_le_bytes();
    for (name, at, new) in [
        ("size beyond the file", entry + 24, &u32s(bytes.len())[..]),
        ("stored and whole size differ", entry + 24, &u32s(99)),
        ("stored size beyond the file", entry + 20, &u32s(bytes.len())),
        ("header beyond the file", entry + 42, &u32s(bytes.len())),
        ("header of another record", entry + 42, &u32s(other)),
        ("header of the record before", entry + 42, &u32s(pickle)),
        ("header inside a payload", entry + 42, &u32s(payload(&bytes, "data/0"))),
        ("wide size that is not there", entry + 24, &[255; 4]),
        ("no entry", entry, b"PK\x01\x03"),
        ("name beyond the directory", entry + 28, &[255; 2]),
        ("on another disk", entry + 34, &[1]),
        ("another name in the local header", local + 30 + 4, b"dato"),
        ("another method in the local header", local + 8, &[8]),
        ("encrypted in the local header only", local + 6, &[9]),
        ("no local header", local, b"PK\x03\x05"),
        ("local extra field into the next record", local + 28, &[255; 2]),
        ("size in the local header", local + 22, &u32s(7)),
        ("checksum in the local header", local + 14, &u32s(7)),
        ("checksum in the descriptor", payload(&bytes, "data/0") + 100 + 4, &u32s(7)),
        ("size in the descriptor", payload(&bytes, "data/0") + 100 + 12, &u32s(7)),
        ("more entries than there are", end + 8, &[5, 0, 5, 0]),
        ("another directory", end + 16, &u32s(0)),
        ("entries in the wide end record", end - 20 - 56 + 24, &[3]),
        ("disk in the wide end record", end - 20 - 56 + 16, &[1]),
    ] {
        let error = damaged(bytes.clone(), at, new);
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{name}: {error}");
    }
}

#[test]
fn records_of_one_name_are_refused() {
    let mut bytes = torch_layout(&[("data/0", b"one"), ("data/1", b"two")]);
    for at in [local_header(&bytes, "data/1") + 30, directory_entry(&bytes, "data/1") + 46] {
        put(&mut bytes, at, b"top/data/0");
    }
    let error = open(&bytes).unwrap_err();
    assert!(error.to_string().contains("record data/0: two records have this name"), "{error}");
}

#[test]
fn overlapping_records_are_refused() {
    // Two entries for one local header, and one whose payload swallows the next record: both make small files inflate to huge ones.
    let plain = plain_layout(&[("top/data/0", &[1; 50]), ("top/data/1", &[2; 50])], false, Told::Ahead);
    let mut twice = plain.clone();
    let at = directory_entry(&twice, "data/1") + 42;
    put(&mut twice, at, &[0; 4]);
    let mut swallowing = plain;
    let entry = directory_entry(&swallowing, "data/0");
    put(&mut swallowing, entry + 20, &[60, 0, 0, 0, 60]);
    for bytes in [twice, swallowing] {
        let error = open(&bytes).unwrap_err();
        assert!(error.to_string().contains("it overlaps another record"), "{error}");
    }
}

#[test]
fn a_deflated_record_inflates_to_what_it_says_and_no_further() {
    let zeros = vec![0_u8; 1_000_000];
    let bytes = plain_layout(&[("top/data/0", &zeros)], true, Told::Behind { signature: true, wide: false });
    let stored = deflated(&zeros).len();
    assert!(stored * 900 < zeros.len());
    assert_eq!(open(&bytes).unwrap().read("data/0", true).unwrap(), zeros);
    let entry = directory_entry(&bytes, "data/0");
    // Unverified, so that the descriptor is not asked.
    let lying = |size: u32| {
        let mut bytes = bytes.clone();
        put(&mut bytes, entry + 24, &size.to_le_bytes());
        open(&bytes).unwrap().read("data/0", false).unwrap_err()
    };
    for size in [0, 1, 999_999, 1_000_001, 1_000_100] {
        let error = lying(size);
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{size}: {error}");
        assert!(error.to_string().contains("inflate"), "{size}: {error}");
    }
    let error = lying(2_000_000_000);
    assert!(error.to_string().contains("more than deflate can"), "{error}");
    let mut limits = Limits::default();
    limits.inflated_bytes = 999_999;
    let error = Archive::open(bytes.clone().into(), &limits).unwrap().read("data/0", true).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    // No deflate stream.
    let error = damaged(bytes.clone(), payload(&bytes, "data/0") + 3, &[0xff; 8]);
    assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{error}");
}

#[test]
fn encryption_and_other_methods_are_named() {
    let bytes = plain_layout(&[("top/data/0", b"payload")], false, Told::Ahead);
    let (entry, local) = (directory_entry(&bytes, "data/0"), local_header(&bytes, "data/0"));
    for (central, header, new, words) in [
        (entry + 8, local + 6, 1, "an encrypted zip archive (record data/0) is not supported"),
        (entry + 10, local + 8, 12, "zip compression method 12 (bzip2, record data/0) is not supported"),
        (entry + 10, local + 8, 77, "zip compression method 77 (unknown, record data/0) is not supported"),
    ] {
        let mut bytes = bytes.clone();
        bytes[header] = new;
        let error = damaged(bytes, central, &[new]);
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

#[test]
fn a_deflated_record_is_checked_piece_by_piece() {
    let zeros = vec![0_u8; 20 << 20];
    let bytes = plain_layout(&[("a/data.pkl", b"N."), ("a/data/0", &zeros)], true, Told::Ahead);
    let archive = open(&bytes).unwrap();
    let record = archive.find("data/0").unwrap();
    let (mut total, mut longest) = (0, 0);
    archive
        .stream(record, true, &mut |piece| {
            total += piece.len();
            longest = longest.max(piece.len());
            Ok(())
        })
        .unwrap();
    assert_eq!(total, zeros.len());
    assert!(longest < 1 << 20, "{longest}");
    // What ends the stream is an error of the caller's own.
    let ended = archive.stream(record, true, &mut |_| Err(ErrorKind::Exists.into())).unwrap_err();
    assert!(matches!(ended.kind(), ErrorKind::Exists));
}
