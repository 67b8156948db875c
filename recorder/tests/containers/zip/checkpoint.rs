//! The checkpoint in an archive: storages that are lazy, checked and named; what PyTorch writes on other machines and in
//! other versions; and files that are none.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::zip::Archive;
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{DType, Dict, Error, ErrorKind, Limits, Result, Tensor, Value, walk};

use super::fixtures::path;
use super::make::{Told, open, payload, plain_layout, torch_layout};

/// The records of a fixture, without its folder.
fn records(file: &str) -> Vec<(String, Vec<u8>)> {
    let archive = open(&std::fs::read(path(file)).unwrap()).unwrap();
    let names: Vec<String> = archive.names().map(str::to_owned).collect();
    names.into_iter().map(|name| (name.clone(), archive.read(&name, true).unwrap().to_vec())).collect()
}

fn borrowed(records: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    records.iter().map(|(name, payload)| (&**name, &**payload)).collect()
}

/// Opens bytes as a file of this name.
fn open_as(name: &str, bytes: &[u8]) -> Result<Checkpoint> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(&path)
}

fn elements(checkpoint: &Checkpoint) -> Vec<(String, bytes::Bytes)> {
    let strided = |tensor: &Tensor| tensor.storage().is_some();
    let tensors = checkpoint.tensors().unwrap().into_iter().filter(|(_, tensor)| strided(tensor));
    tensors.map(|(name, tensor)| (name, tensor.to_le_bytes().unwrap())).collect()
}

#[test]
fn a_big_endian_file_is_read_by_its_element_types() {
    for file in ["dtypes.pt", "tied.pt", "exotic.pt"] {
        let original = Checkpoint::open(path(file)).unwrap();
        let mut swapped = records(file);
        let mut units = std::collections::HashMap::new();
        let mut note = |tensor: &Tensor| {
            if let Some(storage) = tensor.storage() {
                units.insert(format!("data/{}", storage.name().unwrap()), tensor.dtype().swap_unit());
            }
        };
        for (_, tensor) in original.tensors().unwrap() {
            note(&tensor);
        }
        for (name, payload) in &mut swapped {
            if name == "byteorder" {
                *payload = b"big".to_vec();
            } else if let Some(&unit) = units.get(name) {
                payload.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
        }
        let other = open_as(file, &torch_layout(&borrowed(&swapped))).unwrap();
        assert_eq!(elements(&other), elements(&original));
        // It is saved little-endian.
        let folder = rekindle_testing::scratch();
        let saved = folder.path().join(file);
        other.save_with(&saved, &SaveOptions::default().allow_objects(true)).unwrap();
        assert_eq!(elements(&Checkpoint::open(&saved).unwrap()), elements(&original));
    }
}

#[test]
fn deflated_records_and_other_writers_files_are_read() {
    let original = Checkpoint::open(path("tutorial.pt")).unwrap();
    let records = records("tutorial.pt");
    let named: Vec<(String, Vec<u8>)> =
        records.iter().map(|(name, payload)| (format!("archive/{name}"), payload.clone())).collect();
    for (records, deflate) in [(&named, false), (&named, true), (&records, true)] {
        let bytes = plain_layout(&borrowed(records), deflate, Told::Ahead);
        let copy = open_as("copy.pt", &bytes).unwrap();
        assert_eq!(elements(&copy), elements(&original));
    }
}

#[test]
fn the_least_that_pytorch_opens_is_opened() {
    let mut records = records("state_dict.pt");
    records.retain(|(name, _)| name == "data.pkl" || name == "version" || name.starts_with("data/"));
    let copy = open_as("copy.pt", &torch_layout(&borrowed(&records))).unwrap();
    assert_eq!(elements(&copy), elements(&Checkpoint::open(path("state_dict.pt")).unwrap()));
}

/// The error of opening a fixture and reading all its tensors after its records were changed.
fn error_of(file: &str, change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> Error {
    let mut records = records(file);
    change(&mut records);
    let opened = open_as("copy.pt", &torch_layout(&borrowed(&records)));
    opened
        .and_then(|checkpoint| checkpoint.tensors()?.iter().try_for_each(|(_, tensor)| tensor.to_le_bytes().map(drop)))
        .unwrap_err()
}

fn set(records: &mut [(String, Vec<u8>)], name: &str, new: &[u8]) {
    records.iter_mut().find(|(found, _)| found == name).unwrap().1 = new.to_vec();
}

#[test]
fn what_is_missing_or_wrong_in_an_archive_is_named() {
    let without =
        |name: &'static str| error_of("state_dict.pt", move |records| records.retain(|(found, _)| found != name));
    let with =
        |name: &'static str, new: &'static [u8]| error_of("state_dict.pt", move |records| set(records, name, new));
    for (error, words) in [
        (without("data/2"), "record data/2: it is missing; the file is damaged"),
        (
            with("data/2", b"short"),
            "record data/2: it holds 5 bytes, where data.pkl expects 16 bytes; the file is damaged",
        ),
        (without("version"), "record version: it is missing; the file is damaged"),
        (with("version", b"three"), "record version: it holds no number; the file is damaged"),
        (
            with("version", b"11\n"),
            "version 11 of PyTorch's archive format is not supported; versions 1 to 10 are read",
        ),
        (with("byteorder", b"middle"), "record byteorder: it says neither 'little' nor 'big'; the file is damaged"),
    ] {
        let text = error.to_string();
        assert!(text.contains("copy.pt: ") && text.ends_with(words), "{text}");
    }
    for good in ["1", "3\n", "10"] {
        let mut records = records("state_dict.pt");
        set(&mut records, "version", good.as_bytes());
        open_as("copy.pt", &torch_layout(&borrowed(&records))).unwrap();
    }
}

#[test]
fn a_damaged_storage_is_named_with_its_tensor_when_it_is_read_and_others_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    let mut bytes = torch_layout(&borrowed(&records("tutorial.pt")));
    let at = payload(&bytes, "data/1") + 5;
    bytes[at] ^= 4;
    std::fs::write(&copy, &bytes).unwrap();
    let checkpoint = Checkpoint::open(&copy).unwrap();
    let mut failed = Vec::new();
    for (name, tensor) in checkpoint.tensors().unwrap() {
        if let Err(error) = tensor.to_le_bytes() {
            failed.push((name, error.to_string()));
        }
    }
    let place = "record data/1 (model_state_dict.features.1.weight)";
    let words =
        "checksum mismatch; the file is damaged, restore it or pass `OpenOptions::verify(false)` to read it anyway";
    let expected = format!("{}: {place}: {words}", copy.display());
    assert_eq!(failed, [("model_state_dict.features.1.weight".to_owned(), expected)]);
    // Unverified, it is read as it is.
    let unverified = Checkpoint::open_with(&copy, &OpenOptions::default().verify(false)).unwrap();
    assert_eq!(elements(&unverified).len(), checkpoint.tensors().unwrap().len());
}

#[test]
fn a_damaged_pickle_is_found_on_opening() {
    let mut bytes = torch_layout(&borrowed(&records("tutorial.pt")));
    let at = payload(&bytes, "data.pkl") + 20;
    bytes[at] ^= 1;
    let error = open_as("copy.pt", &bytes).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Checksum) && error.place().as_deref() == Some("record data.pkl"),
        "{error}"
    );
}

#[test]
fn no_flipped_bit_in_a_checkpoint_changes_a_tensor_unnoticed() {
    let bytes = torch_layout(&borrowed(&records("shared.pt")));
    let read = |bytes: &[u8]| -> Result<Vec<(String, bytes::Bytes)>> {
        let opened = container::read(&FileBytes::from_vec("copy.pt", bytes.to_vec()), &OpenOptions::default())?;
        let mut elements = Vec::new();
        walk::walk(&opened.value, &Limits::default(), &mut |path, value| {
            if let Value::Tensor(tensor) = value {
                elements.push((path.to_owned(), tensor.to_le_bytes()?));
            }
            Ok(())
        })?;
        Ok(elements)
    };
    let original = read(&bytes).unwrap();
    assert_eq!(original.len(), 6);
    let mut noticed = 0;
    for i in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[i / 8] ^= 1 << (i % 8);
        match read(&flipped) {
            Ok(read) => assert_eq!(read, original, "byte {}, bit {}", i / 8, i % 8),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 8 * 1000, "{noticed}");
}

#[test]
fn a_file_cut_off_anywhere_is_said_to_be_cut_off() {
    let bytes = std::fs::read(path("tied.pt")).unwrap();
    for len in (4..bytes.len()).step_by(41).chain([bytes.len() - 1]) {
        let error = open_as("run.pt", &bytes[..len]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
        let words = "run.pt: the file is cut off: its end, where a zip archive keeps its central directory, is missing; copy \
                     or download it again";
        assert!(error.to_string().ends_with(words), "{error}");
    }
}

#[test]
fn archives_of_no_checkpoint_are_named() {
    let words = "it is a zip archive without a record data.pkl (the first record is 'top/readme.txt')";
    let error = open_as("copy.pt", &torch_layout(&[("readme.txt", b"3"), ("data/0", b"3")])).unwrap_err();
    assert!(error.to_string().ends_with(words), "{error}");
    let error =
        open_as("copy.pt", &plain_layout(&[("a/data.pkl", b"."), ("b/x", b"")], false, Told::Ahead)).unwrap_err();
    assert!(error.to_string().contains("do not all lie in one folder"), "{error}");
}

#[test]
fn the_only_member_of_an_archive_is_opened_as_a_checkpoint() {
    let pickle = b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x05s.";
    for name in ["x.pkl", "data.pkl", "folder/x.pkl"] {
        let zipped = open_as("x.zip", &plain_layout(&[(name, pickle)], true, Told::Ahead)).unwrap();
        assert_eq!((zipped.format(), zipped.get::<i64>("a").unwrap()), (Some(Format::PICKLE), 5));
    }
    let error = open_as("x.zip", &plain_layout(&[("folder/data.pkl", pickle)], true, Told::Ahead)).unwrap_err();
    assert!(error.to_string().contains("record version: it is missing"), "{error}");
    let error = open_as("x.zip", &plain_layout(&[("readme.txt", b"hello")], false, Told::Ahead)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotACheckpoint { .. }), "{error}");
    // An archive in an archive in an archive is not followed.
    let mut bytes = plain_layout(&[("x.pkl", pickle)], false, Told::Ahead);
    bytes = plain_layout(&[("x.zip", &bytes)], false, Told::Ahead);
    assert!(matches!(open_as("y.zip", &bytes).unwrap_err().kind(), ErrorKind::NotACheckpoint { .. }));
}

#[test]
fn a_mapped_checkpoint_is_saved_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    let numbers: Vec<i32> = (0..100_000).collect();
    let dict: Dict = [("x", Tensor::from_vec(&[100, 1000], numbers).unwrap())].into_iter().collect();
    let first = Checkpoint::from(Value::from(dict)).save(&path).unwrap();
    assert_eq!(first.bytes, std::fs::metadata(&path).unwrap().len());
    for epoch in 0..3 {
        let checkpoint = Checkpoint::open(&path).unwrap();
        checkpoint.set("epoch", epoch).unwrap();
        checkpoint.save(&path).unwrap();
        // The old file lives on in the mapping.
        assert_eq!(elements(&checkpoint), elements(&Checkpoint::open(&path).unwrap()));
    }
    let last = Checkpoint::open(&path).unwrap();
    assert_eq!(last.get::<i64>("epoch").unwrap(), 2);
    let (_, x) = &last.tensors().unwrap()[0];
    assert_eq!(x.to_vec::<i32>().unwrap()[99_999], 99_999);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_storage_that_cannot_be_read_leaves_the_target_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.pt"), folder.path().join("to.pt"));
    let mut bytes = torch_layout(&borrowed(&records("tutorial.pt")));
    let at = payload(&bytes, "data/9");
    bytes[at] ^= 1;
    std::fs::write(&from, bytes).unwrap();
    std::fs::write(&to, b"old").unwrap();
    let error = Checkpoint::open(&from).unwrap().save(&to).unwrap_err();
    assert!(error.to_string().contains("from.pt: record data/9 (optimizer_state_dict.state[0].exp_avg): "), "{error}");
    assert_eq!(std::fs::read(&to).unwrap(), b"old");
}

/// Writes a checkpoint of two storages, the first of five GiB of zeros that take no room on the disk, as `torch.save` writes
/// one under `torch.serialization.skip_data`: without checksums of storages.
fn write_sparse(path: &Path, zeros: u64) {
    let long = |storage: &str, key: &str, numel: u64| {
        let mut pickle =
            format!("ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n{storage}\nX\x01\0\0\0{key}")
                .into_bytes();
        let number = |n: u64| [&b"\x8a\x08"[..], &n.to_le_bytes()].concat();
        pickle.extend(b"X\x03\0\0\0cpu");
        pickle.extend(number(numel));
        pickle.extend(b"tQK\0");
        pickle.extend(number(numel));
        pickle.extend(b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR");
        pickle
    };
    let pickle = [
        &b"\x80\x02}(X\x05\0\0\0large"[..],
        &long("ByteStorage", "0", zeros),
        b"X\x05\0\0\0small",
        &long("FloatStorage", "1", 3),
        b"u.",
    ]
    .concat();
    let small: Vec<u8> = [1.5_f32, 2.5, 3.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut file = File::create(path).unwrap();
    let mut directory = Vec::new();
    let entries: [(&str, Option<&[u8]>); 4] =
        [("data.pkl", Some(&pickle)), ("data/0", None), ("data/1", Some(&small)), ("version", Some(b"3\n"))];
    for (name, payload) in entries {
        let name = format!("run/{name}");
        let header = file.stream_position().unwrap();
        let size = payload.map_or(zeros, |payload| payload.len() as u64);
        let crc = if name.contains("data/") { 0 } else { crc32fast::hash(payload.unwrap()) }.to_le_bytes();
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        file.write_all(&[b"PK\x03\x04\0\0\x08\x08", &[0; 18][..], &name_len, &[0; 2], name.as_bytes()].concat())
            .unwrap();
        match payload {
            Some(payload) => file.write_all(payload).unwrap(),
            None => drop(file.seek(SeekFrom::Current(i64::try_from(zeros).unwrap())).unwrap()),
        }
        file.write_all(&[b"PK\x07\x08", &crc[..], &size.to_le_bytes(), &size.to_le_bytes()].concat()).unwrap();
        // All three wide, whether they need it or not.
        directory.extend([b"PK\x01\x02\0\0\0\0\x08\x08", &[0; 6][..], &crc, &[255; 8], &name_len, &[28, 0]].concat());
        directory.extend([&[0; 10][..], &[255; 4], name.as_bytes(), &[1, 0, 24, 0]].concat());
        directory.extend([size, size, header].iter().flat_map(|field| field.to_le_bytes()));
    }
    let offset = file.stream_position().unwrap();
    let size = directory.len() as u64;
    let mut end = directory;
    end.extend(b"PK\x06\x06");
    end.extend(44_u64.to_le_bytes());
    end.extend([0; 12]);
    end.extend([4, 4, size, offset].iter().flat_map(|field| field.to_le_bytes()));
    end.extend([b"PK\x06\x07", &[0; 4][..], &(offset + size).to_le_bytes(), &[1, 0, 0, 0]].concat());
    end.extend([b"PK\x05\x06", &[0; 4][..], &[255; 12], &[0; 2]].concat());
    file.write_all(&end).unwrap();
}

#[test]
fn five_gigabytes_are_opened_and_sliced_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    let zeros = 5 << 30;
    write_sparse(&path, zeros);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert!(checkpoint.bytes() > zeros);
    let tensors = checkpoint.tensors().unwrap();
    let [(_, large), (_, small)] = &tensors[..] else { panic!("{tensors:?}") };
    assert_eq!((large.dtype(), large.numel() as u64), (DType::UInt8, zeros));
    assert_eq!(small.to_vec::<f32>().unwrap(), [1.5, 2.5, 3.5]);
    let bytes = large.to_le_bytes().unwrap();
    assert!(bytes.len() as u64 == zeros && bytes.iter().step_by(1 << 30).all(|&byte| byte == 0));
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 1 << 20, "{peak} KiB at the peak");
    }
}

#[test]
fn an_archive_alone_is_no_checkpoint_but_can_be_read() {
    let archive: Archive = open(&torch_layout(&[("a.txt", b"text"), ("b.txt", b"")])).unwrap();
    assert_eq!(archive.read("a.txt", true).unwrap(), &b"text"[..]);
    assert!(container::open(Path::new("/nonexistent.pt"), &OpenOptions::default()).is_err());
}

#[test]
fn the_folder_is_named_as_pytorch_names_it() {
    let folder = rekindle_testing::scratch();
    for (path, top) in [
        ("run.pt", "run"),
        ("a.b/my.model.v1.pt", "my.model.v1"),
        ("noext", "noext"),
        ("x.", "x"),
        ("dir\\x.pt", "x"),
        (".hidden", "archive"),
        ("\u{e9}t\u{e9}.pt", "archive"),
        ("\u{e9}/run.pt", "archive"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Checkpoint::from(7).save_with(&path, &SaveOptions::default().format(Format::ZIP)).unwrap();
        let archive = Archive::open(std::fs::read(&path).unwrap().into(), &Limits::default()).unwrap();
        assert_eq!(archive.top(), top, "{}", path.display());
    }
}

#[test]
fn storages_begin_at_multiples_of_what_is_asked_for() {
    let folder = rekindle_testing::scratch();
    let saved = folder.path().join("top.pt");
    let original = Checkpoint::open(path("tutorial.pt")).unwrap();
    // By default as `torch.save`; beside other work, too, where pages would cost more than a thousandth of the file.
    original.save(&saved).unwrap();
    let plain = std::fs::read(&saved).unwrap();
    original.clone().into_saved(&saved, &SaveOptions::default(), &mut || {}).unwrap();
    assert_eq!(std::fs::read(&saved).unwrap(), plain);
    for alignment in [1, 64, 4096, 32768] {
        for beside in [false, true] {
            let options = SaveOptions::default().storage_alignment(alignment);
            let copy = original.clone();
            let report =
                if beside { copy.into_saved(&saved, &options, &mut || {}) } else { copy.save_with(&saved, &options) };
            report.unwrap();
            let bytes = std::fs::read(&saved).unwrap();
            assert_eq!(bytes == plain, alignment == 64);
            let archive = open(&bytes).unwrap();
            let told = archive.read(".storage_alignment", true).unwrap();
            assert_eq!(std::str::from_utf8(&told).unwrap(), alignment.to_string());
            for name in archive.names() {
                let begins = payload(&bytes, name) as u64;
                assert!(begins.is_multiple_of(alignment), "{name} at {begins} for {alignment}");
            }
            assert_eq!(elements(&Checkpoint::open(&saved).unwrap()), elements(&original));
        }
    }
    for (alignment, format, reason) in [
        (0, Format::ZIP, "storages cannot be aligned at multiples of 0; storage_alignment is a power of two"),
        (96, Format::ZIP, "multiples of 96"),
        (65536, Format::ZIP, "at most 32768"),
        (64, Format::LEGACY, "an alignment of storages is for the format 'zip', and 'legacy' is to be written"),
    ] {
        let options = SaveOptions::default().format(format).storage_alignment(alignment);
        for saved in [original.save_with(&saved, &options), original.clone().into_saved(&saved, &options, &mut || {})] {
            let error = saved.unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("top.pt"), "{error}");
        }
    }
}
