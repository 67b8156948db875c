//! From memory, and to memory: what is a file on disk is the same in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::scan::{scan, scan_bytes};
use rekindle_recorder::verify::{verify, verify_bytes};
use rekindle_recorder::{DType, ErrorKind, Limits, StateDict, Tensor};
use rekindle_testing::fixtures;

const TIED: &[u8] = include_bytes!("../../../tests/fixtures/zip/tied.pt");

fn same(a: &Checkpoint, b: &Checkpoint) -> bool {
    compare(a, b, Tolerance::default()).unwrap().is_empty()
}

#[test]
fn bytes_are_opened_as_the_file_is() {
    for name in ["zip/tutorial.pt", "legacy/tutorial.pt", "legacy/plain2.pkl", "reading/model.tar.gz"] {
        let path = fixtures::path(name);
        let bytes = std::fs::read(&path).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        for memory in [Checkpoint::from_bytes(bytes.clone()), Checkpoint::read_from(&*bytes)] {
            let memory = memory.unwrap();
            assert!(same(&file, &memory), "{name}");
            assert_eq!((memory.path(), memory.format()), (None, file.format()), "{name}");
        }
    }
    assert!(Checkpoint::from_bytes(TIED).unwrap().tensors().unwrap().len() > 1);
    let error = Checkpoint::from_bytes(&b"no checkpoint"[..]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotACheckpoint { .. }), "{error}");
}

#[test]
fn bytes_are_verified_and_scanned_as_the_file_is() {
    let said = |report: rekindle_recorder::verify::VerifyReport, path: &str| format!("{report:?}").replace(path, "");
    for name in ["zip/tutorial.pt", "legacy/tutorial.pt", "legacy/plain2.pkl", "reading/model.tar.gz"] {
        let path = fixtures::path(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        for bytes in [whole, flipped] {
            let folder = rekindle_testing::scratch();
            let file = folder.path().join("file");
            std::fs::write(&file, &bytes).unwrap();
            let prefix = format!("{}: ", file.display());
            let options = OpenOptions::default();
            let both = (verify(&file, &options, true), verify_bytes(bytes.clone(), &options, true));
            match both {
                (Ok(one), Ok(other)) => assert_eq!(said(one, &prefix), said(other, &prefix), "{name}"),
                (one, other) => {
                    let (one, other) = (one.unwrap_err().to_string(), other.unwrap_err().to_string());
                    assert_eq!(one.replace(&prefix, ""), other, "{name}");
                }
            }
            let (one, other) =
                (scan(&file, &Limits::default()).unwrap(), scan_bytes(bytes, &Limits::default()).unwrap());
            assert_eq!(format!("{one:?}").replace(&prefix, ""), format!("{other:?}"), "{name}");
        }
    }
}

#[test]
fn a_stream_gets_the_bytes_of_the_file() {
    let folder = rekindle_testing::scratch();
    let tensor = |x: f32| Tensor::from_vec(&[2], vec![x, x + 1.0]).unwrap();
    let model = Checkpoint::from(StateDict::from_iter([("a", tensor(1.0)), ("b", tensor(2.0))]));
    let formats = [Format::ZIP, Format::LEGACY, Format::SAFETENSORS, Format::BURNPACK, Format::NUMPY];
    for format in formats {
        let options = SaveOptions::default().format(format);
        let path = folder.path().join("archive.x");
        let saved = model.save_with(&path, &options).unwrap();
        let mut bytes = Vec::new();
        let written = model.write_to(&mut bytes, &options).unwrap();
        assert_eq!(written, saved, "{format}");
        assert_eq!(bytes, std::fs::read(&path).unwrap(), "{format}");
        assert!(same(&model, &Checkpoint::from_bytes(bytes).unwrap()), "{format}");
    }
    let bytes = model.to_bytes().unwrap();
    assert_eq!(Checkpoint::from_bytes(bytes).unwrap().format(), Some(Format::ZIP));
    let number = Checkpoint::from(5);
    let mut bytes = Vec::new();
    number.write_to(&mut bytes, &SaveOptions::default().format(Format::PICKLE)).unwrap();
    assert!(same(&number, &Checkpoint::from_bytes(bytes).unwrap()));
}

#[test]
fn a_folder_cannot_be_streamed_and_a_stream_that_fails_is_an_error() {
    let model = Checkpoint::from(StateDict::from_iter([("a", Tensor::scalar(1.0_f32))]));
    for format in [Format::HF, Format::DCP] {
        let error = model.write_to(std::io::sink(), &SaveOptions::default().format(format)).unwrap_err();
        assert!(error.to_string().contains("to a stream is not supported; name a file or a folder"), "{error}");
    }
    let mut small = [0; 20];
    let error = model.write_to(&mut small[..], &SaveOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
}

/// Elements that count when they are let go of.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_checkpoint_that_nobody_else_needs_lets_go_of_what_is_written() {
    let gone = Arc::new(AtomicUsize::new(0));
    let checkpoint = || {
        let tensor = |value: u8| {
            let bytes = Bytes::from_owner(Counted(vec![value; 1 << 20], Arc::clone(&gone)));
            (format!("layers.{value}.weight"), Tensor::from_le_bytes(DType::Float32, &[1 << 18], bytes).unwrap())
        };
        Checkpoint::from(StateDict::from_iter((1..4).map(tensor)))
    };
    let folder = rekindle_testing::scratch();
    let save = |checkpoint: Checkpoint, name: &str, format: Option<Format>| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let (path, options) = (folder.path().join(name).join("model.pt"), SaveOptions::default().format(format));
        let (mut seen, before) = (Vec::new(), gone.load(Ordering::Relaxed));
        let report =
            checkpoint.into_saved(&path, &options, &mut || seen.push(gone.load(Ordering::Relaxed) - before)).unwrap();
        assert_eq!(report.bytes, path.metadata().unwrap().len(), "{name}");
        (std::fs::read(path).unwrap(), seen)
    };

    let (bytes, seen) = save(checkpoint(), "released", None);
    assert!(seen.is_sorted() && (0..=3).all(|count| seen.contains(&count)), "one after the other: {seen:?}");
    let kept = checkpoint();
    let (same, seen) = save(kept.clone(), "kept", None);
    assert!(seen.iter().all(|count| *count == 0), "the caller has it, too: {seen:?}");
    assert!(bytes == same);

    // A format that is written in one go.
    let (_, seen) = save(checkpoint(), "other", Some(Format::SAFETENSORS));
    assert!(seen.is_empty());
    drop(kept);
    assert_eq!(gone.load(Ordering::Relaxed), 9);
}
