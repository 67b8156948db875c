//! Archives around a checkpoint, and archives that were unpacked: read as what they hold, or what they hold is named.

use std::io::Write as _;
use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions};
use rekindle_recorder::container::zip::Archive;
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::{Limits, Tensor};
use rekindle_testing::fixtures;

fn path(name: &str) -> std::path::PathBuf {
    fixtures::path(&format!("reading/{name}"))
}

/// `w` and `b` are there, with PyTorch's elements.
fn assert_holds(path: &Path) {
    let truth = fixtures::json("reading/truth.json");
    let checkpoint = Checkpoint::open(path).unwrap();
    for name in ["w", "b"] {
        let expected: Vec<f64> = truth[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let found = checkpoint.get::<Tensor>(name).unwrap().to_f64_vec().unwrap();
        assert_eq!(found, expected, "{}: {name}", path.display());
    }
}

#[test]
fn ids_of_storages_that_are_text_lead_to_the_storages() {
    for name in ["protocol0.pt", "protocol0_legacy.pt"] {
        assert_holds(&path(name));
    }
}

#[test]
fn the_only_checkpoint_in_an_archive_is_read() {
    for name in ["model.nemo", "model.tar.gz", "bundle.mdlus"] {
        assert_holds(&path(name));
        let opened = container::open(&path(name), &OpenOptions::default()).unwrap();
        assert_eq!((opened.format, opened.bytes), (Format::ZIP, std::fs::metadata(path(name)).unwrap().len()));
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_checkpoint_that_was_compressed_by_itself_is_read() {
    for name in ["zip/tutorial.pt", "legacy/tutorial.pt", "legacy/plain2.pkl", "reading/model.nemo"] {
        let file = Checkpoint::open(fixtures::path(name)).unwrap();
        let bytes = gzipped(&std::fs::read(fixtures::path(name)).unwrap());
        let packed = Checkpoint::from_bytes(bytes).unwrap();
        assert_eq!(packed.format(), file.format(), "{name}");
        assert!(compare(&file, &packed, Tolerance::default()).unwrap().is_empty(), "{name}");
    }
    let error = Checkpoint::from_bytes(gzipped(b"epoch,loss\n1,0.5\n")).unwrap_err().to_string();
    let words = "the gzip stream: this is not a checkpoint: it looks like a text file (it begins with 'epoch,loss')";
    assert_eq!(error, words);
}

#[test]
fn several_checkpoints_in_an_archive_are_named() {
    let error = Checkpoint::open(path("two.tar")).unwrap_err().to_string();
    let words = "it is a tar archive with 2 checkpoints in it ('a.pt', 'b.pt'); unpack it and open one of them";
    assert!(error.ends_with(words), "{error}");
}

#[test]
fn a_damaged_checkpoint_in_an_archive_is_not_passed_over() {
    let folder = rekindle_testing::scratch();
    let mut bytes = std::fs::read(path("model.nemo")).unwrap();
    let at = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[at..at + 4].copy_from_slice(b"PK\0\0");
    let broken = folder.path().join("broken.nemo");
    std::fs::write(&broken, bytes).unwrap();
    let error = Checkpoint::open(&broken).unwrap_err().to_string();
    assert!(error.contains("member ./model_weights.ckpt"), "{error}");
}

/// Writes an archive's records as files.
fn unpack(archive: &Path, into: &Path, with_top: bool) {
    let bytes = std::fs::read(archive).unwrap();
    let archive = Archive::open(bytes.into(), &Limits::default()).unwrap();
    for (i, record) in archive.records().iter().enumerate() {
        let name = if with_top { &record.name } else { record.inside(archive.top()).unwrap() };
        let file = into.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, archive.payload(i, true).unwrap()).unwrap();
    }
}

#[test]
fn an_unpacked_archive_is_read_as_the_archive_it_was() {
    let names = ["zip/tutorial.pt", "zip/tied.pt", "zip/dtypes.pt", "zip/exotic.pt", "zip/module.pt", "zip/old113.pt"];
    for name in names {
        for with_top in [false, true] {
            let folder = rekindle_testing::scratch();
            unpack(&fixtures::path(name), folder.path(), with_top);
            let whole = Checkpoint::open(fixtures::path(name)).unwrap();
            let unpacked = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(unpacked.format(), Some(Format::ZIP));
            let differences = compare(&whole, &unpacked, Tolerance::default()).unwrap();
            assert!(differences.is_empty(), "{name}: {differences:?}");
        }
    }
}

#[test]
fn an_unpacked_archive_without_its_version_is_read() {
    let folder = rekindle_testing::scratch();
    unpack(&fixtures::path("zip/tutorial.pt"), folder.path(), false);
    std::fs::remove_file(folder.path().join("version")).unwrap();
    let [whole, unpacked] =
        [fixtures::path("zip/tutorial.pt"), folder.path().to_owned()].map(|path| Checkpoint::open(path).unwrap());
    assert!(compare(&whole, &unpacked, Tolerance::default()).unwrap().is_empty());
}

#[test]
fn the_pickle_of_an_unpacked_archive_says_where_its_tensors_are() {
    let folder = rekindle_testing::scratch();
    unpack(&path("model.nemo").with_file_name("protocol0.pt"), folder.path(), false);
    let error = Checkpoint::open(folder.path().join("data.pkl")).unwrap_err().to_string();
    assert!(error.contains("a pickle whose tensors lie in other files") && error.contains("data/"), "{error}");
    std::fs::remove_file(folder.path().join("data/0")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("record data/0") && error.contains("missing"), "{error}");
}
