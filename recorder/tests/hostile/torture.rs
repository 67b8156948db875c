//! Malformed and odd pickles, zip archives, tars and safetensors files from the test suites of CPython, Go, the zip and
//! safetensors crates and others, looked for in `../shared/corpora` beside the workspace. Each is opened to a value or one clear
//! error, in bounded time of the thread. Without the corpora the test says "skipped".

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::scan::scan;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, Error, Limits};
use rekindle_testing::{Computed, corpora, fixtures};
use std::path::Path;

/// One sentence that begins with the file's name.
fn assert_clear(error: &Error, path: &Path) {
    let text = error.to_string();
    assert!(text.starts_with(&*path.to_string_lossy()), "{text}");
    assert!(text.len() < 1000 && !text.contains('\n'), "{text}");
}

#[test]
fn every_odd_file_ends_in_a_value_or_one_clear_error() {
    let Some(folder) = corpora::unpack("torture.tar.gz") else { return };
    let files = fixtures::files(folder.path());
    assert!(files.len() > 1300, "{} files", files.len());
    let mut times = corpora::Times::default();
    let (mut opened, mut scanned, mut verified) = (0, 0, 0);
    for path in &files {
        let name = path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
        let start = Computed::now();
        match Checkpoint::open(path) {
            Ok(checkpoint) => {
                opened += 1;
                // Tensors are read, too: each is its bytes or an error.
                for (_, tensor) in checkpoint.tensors().unwrap_or_default() {
                    let _ = tensor.to_le_bytes();
                }
            }
            Err(error) => assert_clear(&error, path),
        }
        times.note("open", &name, start);
        let start = Computed::now();
        match scan(path, &Limits::default()) {
            Ok(report) => {
                scanned += 1;
                assert!(report.pickles > 0 || report.entries.is_empty());
            }
            Err(error) => assert_clear(&error, path),
        }
        times.note("scan", &name, start);
        let start = Computed::now();
        match verify(path, &OpenOptions::default(), true) {
            Ok(_) => verified += 1,
            Err(error) => assert_clear(&error, path),
        }
        times.note("verify", &name, start);
    }
    eprintln!("{} files: {opened} opened, {scanned} scanned, {verified} verified", files.len());
    times.report();
}

#[test]
fn safetensors_files_get_the_verdict_of_the_reference() {
    let Some(folder) = corpora::unpack("torture.tar.gz") else { return };
    let folder = folder.path().join("torture");
    let index = std::fs::read_to_string(folder.join("INDEX.md")).unwrap();
    let mut rows = 0;
    for line in index.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", file, _, verdict, ""] = cells[..] else { continue };
        let Some((_, verdict)) = verdict.split_once("reference crate result ") else { continue };
        let opened = Checkpoint::open(folder.join(file));
        assert_eq!(opened.is_ok(), verdict == "Ok", "{file}: {verdict}, {:?}", opened.err());
        rows += 1;
    }
    assert_eq!(rows, 16);
}
