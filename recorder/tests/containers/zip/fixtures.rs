//! Files that PyTorch wrote (`tests/fixtures/zip`), and what PyTorch says is in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::zip::{self, Archive};
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{Limits, Tensor};
use rekindle_testing::fixtures::{self, sha256, sizes};
use serde_json::Value as Json;

const FILES: [&str; 10] = [
    "tutorial.pt",
    "state_dict.pt",
    "tied.pt",
    "dtypes.pt",
    "exotic.pt",
    "values.pt",
    "shared.pt",
    "module.pt",
    "no_crc.pt",
    "old113.pt",
];

pub(crate) fn path(name: &str) -> PathBuf {
    fixtures::path("zip").join(name)
}

fn truth(file: &str) -> Json {
    let all: Json = serde_json::from_slice(&std::fs::read(path("truth.json")).unwrap()).unwrap();
    all[file].clone()
}

#[test]
fn every_tensor_is_what_pytorch_says() {
    let mut compared = 0;
    // module.pt names its tensors by the module's state dict, and is compared storage by storage below.
    for file in FILES.into_iter().filter(|file| *file != "module.pt") {
        let checkpoint = Checkpoint::open(path(file)).unwrap();
        assert_eq!(checkpoint.format(), Some(Format::ZIP));
        let tensors: BTreeMap<String, Tensor> = checkpoint.tensors().unwrap().into_iter().collect();
        let truth = truth(file);
        for expected in truth["tensors"].as_array().unwrap() {
            let name = expected["name"].as_str().unwrap();
            let tensor = tensors.get(name).unwrap_or_else(|| panic!("{file} has no {name}"));
            assert_eq!(tensor.dtype().name(), expected["dtype"], "{file} {name}");
            assert_eq!(tensor.requires_grad(), expected["requires_grad"], "{file} {name}");
            if expected["sha256"].is_null() {
                continue;
            }
            assert_eq!(tensor.shape(), sizes(&expected["shape"]), "{file} {name}");
            assert_eq!(tensor.stride().unwrap(), sizes(&expected["stride"]), "{file} {name}");
            assert_eq!(tensor.offset() as u64, expected["offset"], "{file} {name}");
            assert_eq!(tensor.storage().unwrap().name().unwrap(), expected["storage"], "{file} {name}");
            assert_eq!(tensor.device(), expected["device"], "{file} {name}");
            assert_eq!(sha256(&tensor.to_le_bytes().unwrap()), expected["sha256"], "{file} {name}");
            compared += 1;
        }
        // Beside them stand the scales and zero points of quantised tensors, which the list does not have.
        let listed = |name: &&String| !name.ends_with("(scales)") && !name.ends_with("(zero_points)");
        assert_eq!(tensors.keys().filter(listed).count(), truth["tensors"].as_array().unwrap().len(), "{file}");
    }
    assert!(compared > 130, "{compared}");
}

#[test]
fn every_record_is_read_and_its_checksum_holds() {
    for file in FILES {
        let bytes = FileBytes::open(&path(file)).unwrap();
        let archive = Archive::open(bytes.bytes(), &Limits::default()).unwrap();
        for i in 0..archive.records().len() {
            archive.payload(i, true).unwrap();
            assert_eq!(archive.has_checksum(i), file != "no_crc.pt");
        }
        let truth = truth(file);
        let storages = truth["storages"].as_object().unwrap();
        for (key, len) in storages {
            assert_eq!(archive.read(&format!("data/{key}"), true).unwrap().len() as u64, *len, "{file} {key}");
        }
        let found = archive.names().filter(|name| name.starts_with("data/")).count();
        assert_eq!(found, storages.len());
    }
}

#[test]
fn a_file_read_and_written_is_the_file_that_pytorch_wrote() {
    let folder = rekindle_testing::scratch();
    // no_crc.pt lacks the checksums that are written here, old113.pt is of an older layout.
    for file in FILES.into_iter().filter(|file| !matches!(*file, "no_crc.pt" | "old113.pt")) {
        let opened = container::open(&path(file), &OpenOptions::default()).unwrap();
        let copy = folder.path().join(file);
        let report = zip::write(&opened.value, &copy, &SaveOptions::default().allow_objects(true)).unwrap();
        let (theirs, ours) = (std::fs::read(path(file)).unwrap(), std::fs::read(&copy).unwrap());
        assert_eq!(report.bytes, ours.len() as u64);
        let [their_archive, our_archive] = [&theirs, &ours].map(|bytes| super::make::open(bytes).unwrap());
        assert!(our_archive.names().eq(their_archive.names()));
        // In these, Python held equal strings as several objects; here equal strings are one, and so the pickles differ.
        if matches!(file, "exotic.pt" | "values.pt" | "module.pt") {
            for name in our_archive.names().filter(|name| !matches!(*name, "data.pkl" | ".data/serialization_id")) {
                let [ours, theirs] = [&our_archive, &their_archive].map(|archive| archive.read(name, true).unwrap());
                assert_eq!(ours, theirs, "{file} {name}");
            }
        } else {
            assert!(without_id(ours) == without_id(theirs), "{file}");
        }
    }
}

/// The file with zeros for what differs by design: the digits of the `serialization_id` and their checksums.
fn without_id(mut bytes: Vec<u8>) -> Vec<u8> {
    let name = b"/.data/serialization_id";
    let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|&at| bytes[at..].starts_with(name)).collect();
    let [local, central] = places[..] else { panic!("two headers have this name") };
    let local_end = local + name.len();
    let extra = usize::from(u16::from_le_bytes([bytes[local_end + 2], bytes[local_end + 3]]));
    let payload = local_end + 4 + extra;
    bytes[payload..payload + 40].fill(0);
    bytes[payload + 44..payload + 48].fill(0);
    let entry = bytes[..central].windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[entry + 16..entry + 20].fill(0);
    bytes
}
