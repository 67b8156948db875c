//! Files, mapped or read.

use std::path::Path;

use rekindle_recorder::ErrorKind;
use rekindle_recorder::io::FileBytes;

#[test]
fn small_and_large_files_give_the_same_slices() {
    let folder = tempfile::tempdir().unwrap();
    for len in [0, 1, 65_535, 65_536, 200_000] {
        let content: Vec<u8> = (0..len).map(|i: u32| i.to_le_bytes()[0]).collect();
        let path = folder.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let bytes = FileBytes::open(&path).unwrap();
        assert_eq!(*bytes, content);
        assert_eq!(bytes.path(), Some(&*path));
        let end = u64::from(len);
        assert_eq!(bytes.slice(end / 2..end).unwrap(), content[content.len() / 2..]);
        assert!(bytes.slice(0..end + 1).is_none() && bytes.slice(u64::MAX..u64::MAX).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = bytes.slice(1..0);
        assert!(reversed.is_none());
    }
}

#[test]
fn a_mapped_file_outlives_its_name_and_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, vec![7_u8; 100_000]).unwrap();
    let slice = FileBytes::open(&path).unwrap().slice(99_990..100_000).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(slice, [7_u8; 10][..]);
}

#[test]
fn a_missing_file_a_folder_and_a_device_are_one_sentence_each() {
    let folder = tempfile::tempdir().unwrap();
    for (path, words) in [
        (folder.path().join("missing.pt"), "missing.pt: cannot open the file: "),
        (folder.path().to_owned(), "cannot open the file: it is a folder"),
        #[cfg(unix)]
        (Path::new("/dev/null").to_owned(), "cannot open the file: it is a pipe or a device"),
    ] {
        let error = FileBytes::open(&path).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }));
        assert!(error.to_string().contains(words), "{error}");
    }
}
