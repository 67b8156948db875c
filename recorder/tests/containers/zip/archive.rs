//! The archive itself: whatever a zip writer may do, the records come out as they went in.

use rekindle_recorder::container::zip::{Archive, ArchiveWriter};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{ErrorKind, Limits};

use super::make::{Told, open, payload, plain_layout, torch_layout};

#[test]
fn what_is_written_is_read_back_aligned_and_uncopied() {
    let long = vec![7_u8; 300_000];
    let sizes = [0, 1, 63, 64, 65, 300_000];
    let names: Vec<String> = (0..sizes.len()).map(|i| format!("data/{i}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().zip(sizes).map(|(name, size)| (&**name, &long[..size])).collect();
    let bytes = torch_layout(&records);
    let file = FileBytes::from_vec("test", bytes);
    let archive = Archive::open(file.bytes(), &Limits::default()).unwrap();
    assert_eq!(archive.top(), "top");
    assert_eq!(archive.names().collect::<Vec<_>>(), names);
    for (name, written) in records {
        let read = archive.read(name, true).unwrap();
        assert_eq!(read, written);
        assert!(file.as_ptr_range().contains(&read.as_ptr()) || read.is_empty());
        assert_eq!(payload(&file, name) % 64, 0);
    }
    assert_eq!(archive.find("data/6"), None);
    assert!(matches!(archive.read("data/6", true).unwrap_err().kind(), ErrorKind::Damaged { .. }));
}

#[test]
fn other_writers_layouts_are_read() {
    let text = b"one two three ".repeat(1000);
    let records: [(&str, &[u8]); 3] = [("a/x", &text), ("a/empty", b""), ("a/b/y", b"abc")];
    let mut ways = vec![Told::Ahead, Told::BehindZip64];
    for (signature, wide) in [(true, true), (true, false), (false, true), (false, false)] {
        ways.push(Told::Behind { signature, wide });
    }
    for told in ways {
        for deflate in [false, true] {
            let bytes = plain_layout(&records, deflate, told);
            assert_eq!(deflate, bytes.len() < text.len());
            let archive = open(&bytes).unwrap();
            for (name, written) in records {
                let read = archive.read(name.strip_prefix("a/").unwrap(), true);
                assert_eq!(read.unwrap_or_else(|error| panic!("{told:?} {deflate} {name}: {error}")), written);
            }
        }
    }
}

#[test]
fn seventy_thousand_records_need_zip64_and_are_all_found() {
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(&mut bytes, "many");
    for i in 0..70_000_u32 {
        writer.record(&format!("data/{i}"), &i.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
    let archive = open(&bytes).unwrap();
    assert_eq!(archive.records().len(), 70_000);
    for i in (0..70_000_u32).step_by(997).chain([69_999]) {
        assert_eq!(archive.read(&format!("data/{i}"), true).unwrap(), i.to_le_bytes()[..]);
    }
    let few = {
        let mut limits = Limits::default();
        limits.records = 69_999;
        limits
    };
    assert!(matches!(Archive::open(bytes.into(), &few).unwrap_err().kind(), ErrorKind::Limit { .. }));
}

#[test]
fn bytes_after_the_end_are_passed_over_as_pytorch_does() {
    let bytes = torch_layout(&[("data.pkl", b"payload")]);
    // PyTorch 2.15 opens such a file with 69,000 bytes of junk and not with 69,600.
    for junk in [1, 22, 100, 65_535, 69_000] {
        let mut longer = bytes.clone();
        longer.extend(b"junk PK\x05\x06".iter().cycle().take(junk));
        assert_eq!(open(&longer).unwrap().read("data.pkl", true).unwrap(), &b"payload"[..], "{junk}");
    }
    let mut longer = bytes;
    longer.resize(longer.len() + 100_000, b'x');
    assert!(matches!(open(&longer).unwrap_err().kind(), ErrorKind::Truncated { .. }));
}

#[test]
fn a_comment_is_passed_over() {
    let mut bytes = plain_layout(&[("a/x", b"payload")], false, Told::Ahead);
    let at = bytes.len() - 2;
    bytes[at] = 7;
    bytes.extend(b"comment");
    assert_eq!(open(&bytes).unwrap().read("x", true).unwrap(), &b"payload"[..]);
}

#[test]
fn records_in_several_folders_or_none_go_by_their_whole_names() {
    let records: [(&str, &[u8]); 3] = [("a/x", b"1"), ("b/x", b"2"), ("y", b"3")];
    for count in [2, 3] {
        let archive = open(&plain_layout(&records[..count], false, Told::Ahead)).unwrap();
        assert_eq!(archive.top(), "");
        for (name, written) in &records[..count] {
            assert_eq!(archive.read(name, true).unwrap(), *written);
        }
    }
}

#[test]
fn names_that_are_no_unicode_stay_different() {
    let mut bytes = plain_layout(&[("a/x1", b"1"), ("a/x2", b"2")], false, Told::Ahead);
    // The last characters of the names become bytes of another encoding.
    for at in 0..bytes.len() - 4 {
        if bytes[at..].starts_with(b"a/x") {
            bytes[at + 2] = 0xff;
        }
    }
    let archive = open(&bytes).unwrap();
    assert_eq!(archive.read("\u{ff}2", true).unwrap(), &b"2"[..]);
}

#[test]
fn an_empty_archive_has_no_records() {
    let archive = open(&torch_layout(&[])).unwrap();
    assert!(archive.records().is_empty());
    assert_eq!(archive.top(), "");
}

#[test]
fn equal_content_gets_the_same_id_whatever_the_files_name() {
    let id = |top: &str, payload: &[u8]| {
        let mut bytes = Vec::new();
        let mut writer = ArchiveWriter::new(&mut bytes, top);
        writer.record("data.pkl", payload).unwrap();
        writer.content_id()
    };
    assert_eq!(id("a", b"same"), id("b", b"same"));
    assert_ne!(id("a", b"same"), id("a", b"other"));
    assert!(id("a", b"same").len() == 40 && id("a", b"same").bytes().all(|digit| digit.is_ascii_digit()));
}

#[test]
fn a_file_without_checksums_is_no_damaged_file() {
    let bytes = torch_layout(&[("data.pkl", b"pickle"), ("data/0", b"first"), ("data/1", b"second")]);
    let without = |names: &[&str]| {
        let mut bytes = bytes.clone();
        for name in names {
            let entry = super::make::directory_entry(&bytes, name);
            bytes[entry + 16..entry + 20].fill(0);
            let payload = payload(&bytes, name);
            // The descriptor follows the payload: signature, checksum.
            let end = payload + u32::from_le_bytes(bytes[entry + 20..entry + 24].try_into().unwrap()) as usize;
            bytes[end + 4..end + 8].fill(0);
        }
        open(&bytes).unwrap()
    };
    // As `config.save.compute_crc32 = False` writes it, and as `skip_data` does.
    let (none, not_of_storages) = (without(&["data.pkl", "data/0", "data/1"]), without(&["data/0", "data/1"]));
    for archive in [&none, &not_of_storages] {
        assert_eq!(archive.read("data/1", true).unwrap(), &b"second"[..]);
        assert!(!archive.has_checksum(1));
    }
    assert!(!none.has_checksum(0) && not_of_storages.has_checksum(0));
    // One record alone without a checksum is damage.
    let error = without(&["data/1"]).read("data/1", true).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Checksum) && error.place().as_deref() == Some("record data/1"),
        "{error}"
    );
}
