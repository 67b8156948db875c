//! The archives of PyTorch 0.1.

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::{ErrorKind, Limits, Storage, Tensor, Value};
use rekindle_testing::{corpora, fixtures};

use super::fixtures::{assert_tensors, assert_values, bytes, open, open_bytes, read_with_flipped_bits};

#[test]
fn every_tensor_of_an_early_archive_is_what_pytorch_says() {
    let checkpoint = open("early.tar");
    assert_eq!(checkpoint.format(), Some(Format::TAR));
    assert_eq!(assert_tensors(&checkpoint, "early.tar"), 8);
    assert_values(&checkpoint, "early.tar");
}

#[test]
fn tensors_share_storages_and_parts_are_views_of_the_whole() {
    let checkpoint = open("early.tar");
    let tensor = |name: &str| checkpoint.get::<Tensor>(name).unwrap();
    let storage = |name: &str| -> Storage { tensor(name).storage().unwrap().clone() };
    assert!(tensor("model.again").same(&tensor("model.weight")));
    for name in ["model.transposed", "model.in_half", "first", "linear.weight"] {
        assert!(storage(name).same(&storage("model.weight")), "{name}");
    }
    assert_eq!(tensor("model.in_half").offset(), 5);
    assert!(!storage("model.counts").same(&storage("model.weight")));
    let Value::Storage(half) = checkpoint.value("storage").unwrap() else { panic!("a storage") };
    assert_eq!(half.bytes().unwrap(), storage("model.weight").bytes().unwrap()[16..]);
    let linear = checkpoint.state_dict("linear").unwrap();
    assert_eq!(linear.keys().collect::<Vec<_>>(), ["weight"]);
    assert!(tensor("linear.weight").is_parameter() && tensor("linear.weight").requires_grad());
}

#[test]
fn an_archive_is_saved_in_todays_formats_and_not_in_its_own() {
    let folder = rekindle_testing::scratch();
    let checkpoint = open("early.tar");
    checkpoint.set("linear", Value::None).unwrap();
    for container in [Format::ZIP, Format::LEGACY] {
        let path = folder.path().join(container.name());
        checkpoint.save_with(&path, &SaveOptions::default().format(container)).unwrap();
        let copy = Checkpoint::open(&path).unwrap();
        let weight: Tensor = copy.get("model.weight").unwrap();
        assert_eq!(weight.to_vec::<f32>().unwrap()[11], 11.0);
    }
    let options = SaveOptions::default().format(Format::TAR);
    let error = checkpoint.save_with(folder.path().join("tar"), &options).unwrap_err();
    assert!(error.to_string().contains("writing the format 'tar' is not supported"), "{error}");
}

/// Where the contents of a member lie in the archive.
fn member(archive: &[u8], name: &str) -> std::ops::Range<usize> {
    let header = |block: &[u8]| block.starts_with(format!("{name}\0").as_bytes()) && &block[257..262] == b"ustar";
    let at = archive.chunks(512).position(header).unwrap() * 512;
    let len = std::str::from_utf8(&archive[at + 124..at + 135]).unwrap();
    at + 512..at + 512 + usize::from_str_radix(len, 8).unwrap()
}

#[test]
fn an_archive_cut_off_within_its_members_is_said_to_be_cut_off() {
    let whole = bytes("early.tar");
    let last = member(&whole, "storages").end;
    for len in (1..whole.len()).filter(|len| len % 13 == 0 || len % 512 == 0 || last.abs_diff(*len) < 2) {
        match open_bytes(&whole[..len], &OpenOptions::default()) {
            // The padding behind the last member is nothing that is missed.
            Ok(checkpoint) => assert!(len >= last && assert_tensors(&checkpoint, "early.tar") == 8, "{len}"),
            // Without the first member's header it is no archive of PyTorch's yet.
            Err(error) if len < member(&whole, "sys_info").end => {
                assert!(
                    matches!(error.kind(), ErrorKind::NotACheckpoint { .. } | ErrorKind::Truncated { .. }),
                    "{error}"
                );
            }
            Err(error) => assert!(len < last && matches!(error.kind(), ErrorKind::Truncated { .. }), "{len}: {error}"),
        }
    }
}

#[test]
fn no_flipped_bit_is_a_panic() {
    let whole = bytes("early.tar");
    let places = ["pickle", "tensors", "storages"].into_iter().flat_map(|name| member(&whole, name));
    read_with_flipped_bits(&whole, places.chain((0..whole.len()).step_by(11)));
}

/// An archive of these members.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_is_missing_or_lies_is_told() {
    let whole = bytes("early.tar");
    let of = |name: &str| whole[member(&whole, name)].to_vec();
    let (object, tensors, storages) = (of("pickle"), of("tensors"), of("storages"));
    let error_of =
        |members: &[(&str, &[u8])]| open_bytes(&archive(members), &OpenOptions::default()).unwrap_err().to_string();
    // The parts need not stand in order.
    let moved = archive(&[("storages", &storages), ("pickle", &object), ("tensors", &tensors), ("other", b"")]);
    assert_eq!(assert_tensors(&open_bytes(&moved, &OpenOptions::default()).unwrap(), "early.tar"), 8);
    let error = error_of(&[("sys_info", b""), ("pickle", &object), ("tensors", &tensors)]);
    assert!(error.contains("cut off: the archive has no member storages"), "{error}");
    let error = error_of(&[("pickle", &object), ("storages", &storages)]);
    assert!(error.contains("there is no storage or tensor of this key"), "{error}");
    let error = error_of(&[("pickle", &object), ("pickle", &object), ("tensors", &tensors), ("storages", &storages)]);
    assert!(error.contains("member pickle: there are two of this name"), "{error}");
    // A million storages, a tensor of minus one dimensions, one that leaves its storage, and keys twice.
    let error = error_of(&[("pickle", &object), ("storages", b"\x80\x02J\x40\x42\x0f\x00.")]);
    assert!(error.contains("storage number 0, which begins at byte 8, is not all there"), "{error}");
    let error = error_of(&[("pickle", &object), ("storages", b"\x80\x02J\xff\xff\xff\xff.")]);
    assert!(error.contains("the number of storages: it is an int"), "{error}");
    let key = b"U\x0599999".as_slice();
    let tensor =
        |rest: &[u8]| [b"\x80\x02K\x01.\x80\x02(", key, b"U\x0e99999999998000ctorch\nFloatTensor\nt.", rest].concat();
    let numbers = |numbers: &[i64]| -> Vec<u8> { numbers.iter().flat_map(|number| number.to_le_bytes()).collect() };
    for (rest, words) in [
        (numbers(&[-1]), "tensor number 0: it has -1 dimensions"),
        (numbers(&[1, -2, 1, 0]), "a length, stride or offset in it is negative"),
        (numbers(&[1, 13, 1, 0]), "lead outside its storage of 48 bytes"),
        (numbers(&[1, 12, 1]), "tensor number 0 takes 8 bytes"),
        (numbers(&[i64::from(i32::MAX), 1]), "tensor number 0 takes 17179869176 bytes"),
    ] {
        let error = error_of(&[("pickle", &object), ("storages", &storages), ("tensors", &tensor(&rest))]);
        assert!(error.contains(words), "{error}");
    }
    let mut limits = Limits::default();
    limits.records = 3;
    let error = open_bytes(&whole, &OpenOptions::default().limits(limits)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
}

#[test]
fn other_archives_are_no_checkpoints() {
    let error = open_bytes(&archive(&[("model/data.pkl", b"x")]), &OpenOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("it is a tar archive without a checkpoint in it; it holds 'model/data.pkl'"),
        "{error}"
    );
}

/// Archives that the authors of Burn made; their pickles hold the ids of storages themselves.
#[test]
fn archives_of_other_programs_are_read() {
    let Some(folder) = corpora::unpack("torture.tar.gz") else { return };
    let mut opened = 0;
    for path in fixtures::files(folder.path()) {
        let name = path.to_string_lossy();
        let is_tar = path.extension().is_some_and(|extension| extension == "tar");
        if name.contains("/burn-store-testdata/") && (is_tar || name.contains("legacy")) {
            let checkpoint = open_bytes(&std::fs::read(&path).unwrap(), &OpenOptions::default()).unwrap();
            let tensors = checkpoint.tensors().unwrap();
            assert!(!tensors.is_empty(), "{name}");
            tensors.iter().for_each(|(_, tensor)| drop(tensor.to_le_bytes().unwrap()));
            let expected = if is_tar { Format::TAR } else { Format::LEGACY };
            assert_eq!(checkpoint.format(), Some(expected), "{name}");
            opened += 1;
        } else if is_tar {
            // Archives made to break readers of archives.
            assert!(open_bytes(&std::fs::read(&path).unwrap(), &OpenOptions::default()).is_err(), "{name}");
        }
    }
    assert_eq!(opened, 10);
}
