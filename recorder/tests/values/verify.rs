//! `verify`: all that is damaged, named by record, tensor and offset.

use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::container::zip::{Archive, ArchiveWriter};
use rekindle_recorder::tensor::{TensorData, TensorParts};
use rekindle_recorder::verify::{VerifyReport, verify};
use rekindle_recorder::{Checkpoint, DType, Element as _, ErrorKind, Limits, StateDict, Storage, Tensor};
use rekindle_testing::fixtures;

fn verified(path: &Path) -> VerifyReport {
    verify(path, &OpenOptions::default(), true).unwrap()
}

/// A file of three tensors.
fn save(path: &Path) {
    let tensor = |first: i16| Tensor::from_vec(&[2, 3], (first..first + 6).map(f32::from).collect()).unwrap();
    let model = StateDict::from_iter([("fc.weight", tensor(1)), ("fc.bias", tensor(10)), ("out.weight", tensor(20))]);
    Checkpoint::from(model).save(path).unwrap();
}

/// Where a record's payload lies in the file.
fn payload(bytes: &[u8], record: &str) -> usize {
    let whole = bytes::Bytes::copy_from_slice(bytes);
    let archive = Archive::open(whole.clone(), &Limits::default()).unwrap();
    let payload = archive.payload(archive.find(record).unwrap(), false).unwrap();
    payload.as_ptr().addr() - whole.as_ptr().addr()
}

/// The same archive with other payloads.
fn rewritten(bytes: &[u8], change: impl Fn(&str, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let archive = Archive::open(bytes::Bytes::copy_from_slice(bytes), &Limits::default()).unwrap();
    let mut out = Vec::new();
    let mut writer = ArchiveWriter::new(&mut out, archive.top());
    for (number, record) in archive.records().iter().enumerate() {
        let payload = archive.payload(number, true).unwrap();
        let name = record.inside(archive.top()).unwrap();
        if let Some(payload) = change(name, &payload) {
            writer.record(name, &payload).unwrap();
        }
    }
    writer.finish().unwrap();
    out
}

#[test]
fn what_pytorch_wrote_is_whole() {
    for (file, checked) in [
        ("zip/state_dict.pt", true),
        ("zip/old113.pt", true),
        ("zip/dtypes.pt", true),
        ("zip/no_crc.pt", false),
        ("legacy/tutorial.pt", false),
        ("legacy/early.tar", false),
        ("hf/sharded", false),
        ("hf/bin-sharded", true),
        ("numpy/stored.npz", true),
    ] {
        let report = verify(fixtures::path(file), &OpenOptions::default(), false).unwrap();
        assert!(report.is_sound(), "{file}: {:?}", report.problems);
        assert_eq!(report.records > 0, checked, "{file}: {report:?}");
        assert!(report.tensors > 0 && report.files > 0, "{file}");
    }
    assert!(verified(&fixtures::path("zip/no_crc.pt")).unchecked > 3);
}

#[test]
fn every_damaged_record_is_named_with_its_tensor_and_its_place() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    save(&path);
    let whole = std::fs::read(&path).unwrap();
    assert!(verified(&path).is_sound());
    let mut bytes = whole.clone();
    for record in ["data/0", "data/2", "version"] {
        let at = payload(&whole, record);
        bytes[at] ^= 0x40;
    }
    std::fs::write(&path, &bytes).unwrap();
    // A version that is damaged is none that can be read, and the tensors are looked at all the same.
    let report = verified(&path);
    let named: Vec<_> = report.problems.iter().map(|problem| (&*problem.place, problem.tensor.as_deref())).collect();
    assert!(named.contains(&("version", None)) || named.contains(&("record version", None)), "{named:?}");
    for record in ["data/0", "data/2"] {
        assert!(named.iter().any(|(place, _)| *place == record), "{named:?}");
    }
    // With a pickle that reads, the tensors are known.
    bytes[payload(&whole, "version")] ^= 0x40;
    std::fs::write(&path, &bytes).unwrap();
    let report = verified(&path);
    let named: Vec<_> = report.problems.iter().map(|problem| (&*problem.place, problem.tensor.as_deref())).collect();
    assert_eq!(named, [("data/0", Some("fc.weight")), ("data/2", Some("out.weight"))]);
    for problem in &report.problems {
        assert!(matches!(problem.error.kind(), ErrorKind::Checksum));
        let offset = usize::try_from(problem.offset.unwrap()).unwrap();
        assert_eq!(&whole[offset..offset + 4], b"PK\x03\x04");
        let text = problem.error.to_string();
        assert!(text.contains("model.pt: record data/") && text.contains(problem.tensor.as_deref().unwrap()), "{text}");
    }
}

#[test]
fn every_view_that_leaves_its_storage_is_named() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    save(&path);
    let whole = std::fs::read(&path).unwrap();
    let changed = rewritten(&whole, |name, payload| match name {
        "data/0" => Some(payload[..20].to_vec()),
        "data/1" => None,
        _ => Some(payload.to_vec()),
    });
    std::fs::write(&path, changed).unwrap();
    let report = verified(&path);
    let of = |tensor: &str| report.problems.iter().find(|problem| problem.tensor.as_deref() == Some(tensor)).unwrap();
    let short = of("fc.weight");
    assert_eq!((&*short.place, short.offset), ("data/0", Some(24)));
    assert!(short.error.to_string().contains("reaches to byte 24 of its storage 0, which has 20"), "{}", short.error);
    assert!(of("fc.bias").error.to_string().contains("missing"));
    assert!(!report.problems.iter().any(|problem| problem.tensor.as_deref() == Some("out.weight")));
}

#[test]
fn nan_and_infinity_are_counted_tensor_by_tensor() {
    let folder = rekindle_testing::scratch();
    let tensor = |elements: Vec<f32>| Tensor::from_vec(&[elements.len()], elements).unwrap();
    let model = StateDict::from_iter([
        ("fine", tensor(vec![0.0, f32::MAX])),
        ("bad", tensor(vec![f32::NAN, 1.0, f32::NAN, f32::INFINITY])),
        ("mask", tensor(vec![f32::NEG_INFINITY; 3])),
    ]);
    for container in [Format::ZIP, Format::LEGACY, Format::SAFETENSORS, Format::NUMPY] {
        let path = folder.path().join(container.name());
        let options = SaveOptions::default().format(container);
        Checkpoint::from(model.clone()).save_with(&path, &options).unwrap();
        let report = verified(&path);
        assert!(report.is_sound() && !report.is_finite(), "{container}: {report:?}");
        let counts: Vec<_> = report.not_finite.iter().map(|t| (&*t.name, t.nan, t.inf, t.elements)).collect();
        assert_eq!(counts, [("bad", 2, 1, 4), ("mask", 0, 3, 3)], "{container}");
        assert!(verify(&path, &OpenOptions::default(), false).unwrap().is_finite());
    }
}

#[test]
fn a_damaged_shard_is_named() {
    let folder = rekindle_testing::scratch();
    let shards = fixtures::path("hf/bin-sharded");
    let mut shard = String::new();
    for entry in std::fs::read_dir(shards).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".bin") && shard.is_empty() {
            let at = payload(&bytes, "data/0");
            bytes[at] ^= 1;
            shard.clone_from(&name);
        }
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let report = verified(folder.path());
    assert!(!report.is_sound());
    assert!(report.problems.iter().all(|problem| problem.error.to_string().contains(&shard)), "{report:?}");
}

#[test]
fn a_cut_file_is_damaged_and_no_checkpoint_is_an_error() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("cut.pt");
    for file in ["zip/state_dict.pt", "legacy/tutorial.pt", "safetensors/tied.safetensors"] {
        let whole = std::fs::read(fixtures::path(file)).unwrap();
        std::fs::write(&path, &whole[..whole.len() * 3 / 4]).unwrap();
        let report = verified(&path);
        assert!(!report.is_sound(), "{file}");
        assert!(report.problems[0].error.file().is_some(), "{file}");
    }
    std::fs::write(&path, b"no checkpoint").unwrap();
    assert!(matches!(
        verify(&path, &OpenOptions::default(), false).unwrap_err().kind(),
        ErrorKind::NotACheckpoint { .. }
    ));
    assert!(verify(folder.path().join("none"), &OpenOptions::default(), false).is_err());
}

/// How many elements are NaN and infinite, of a tensor that was saved.
fn not_finite(tensor: Tensor) -> (u64, u64) {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    Checkpoint::from(StateDict::from_iter([("x", tensor)])).save(&path).unwrap();
    let report = verified(&path);
    assert!(report.is_sound(), "{:?}", report.problems);
    report.not_finite.first().map_or((0, 0), |found| (found.nan, found.inf))
}

fn counted(dtype: DType, bytes: Vec<u8>) -> (u64, u64) {
    not_finite(Tensor::from_le_bytes(dtype, &[bytes.len() / dtype.size()], bytes).unwrap())
}

/// For 8 bits: what `torch.arange(256, dtype=torch.uint8).view(dtype).float()` holds in PyTorch 2.15.
#[test]
fn every_bit_pattern_of_the_small_types_is_told() {
    let bytes: Vec<u8> = (0..=255).collect();
    for (dtype, nan, inf) in [
        (DType::Float8E5M2, 6, 2),
        (DType::Float8E4M3Fn, 2, 0),
        (DType::Float8E5M2Fnuz, 1, 0),
        (DType::Float8E4M3Fnuz, 1, 0),
        (DType::Float8E8M0Fnu, 1, 0),
        (DType::Float4E2M1FnX2, 0, 0),
        (DType::UInt8, 0, 0),
    ] {
        assert_eq!(counted(dtype, bytes.clone()), (nan, inf), "{dtype}");
    }
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let is = |value: fn(u16) -> bool| (0..=u16::MAX).filter(|&bits| value(bits)).count() as u64;
    let nan = is(|bits| half::f16::from_bits(bits).is_nan());
    assert_eq!(counted(DType::Float16, halves.clone()), (nan, 2));
    let nan = is(|bits| half::bf16::from_bits(bits).is_nan());
    assert_eq!(counted(DType::BFloat16, halves), (nan, 2));
}

#[test]
fn a_complex_element_counts_once_for_each_kind() {
    let parts = [f32::NAN, f32::INFINITY, f32::NAN, f32::NAN, 0.0, f32::NEG_INFINITY, 1.0, 2.0];
    assert_eq!(counted(DType::Complex64, f32::to_le_vec(&parts)), (2, 2));
    let parts = [f64::NAN, 1.0, f64::MAX, f64::MIN_POSITIVE];
    assert_eq!(counted(DType::Complex128, f64::to_le_vec(&parts)), (1, 0));
}

#[test]
fn a_view_counts_its_own_elements_as_often_as_it_has_them() {
    // 24 elements, of which those at 5 and 23 are NaN.
    let mut elements = [0.0_f64; 24];
    (elements[5], elements[23]) = (f64::NAN, f64::NAN);
    let storage = Storage::from_bytes(DType::Float64, f64::to_le_vec(&elements));
    let view = |shape: &[usize], stride: &[usize], offset| {
        let parts = TensorParts::strided(DType::Float64, shape.to_vec(), storage.clone(), offset, stride.to_vec());
        Tensor::new(parts).unwrap()
    };
    let nan = |shape: &[usize], stride: &[usize], offset| not_finite(view(shape, stride, offset)).0;
    assert_eq!(nan(&[2, 3, 4], &[12, 4, 1], 0), 2);
    assert_eq!(nan(&[4, 3, 2], &[1, 4, 12], 0), 2);
    assert_eq!(nan(&[4], &[6], 5), 2);
    assert_eq!(nan(&[3, 1], &[4, 99], 0), 0);
    assert_eq!(nan(&[7, 2, 0], &[0, 1, 1], 0), 0);
    assert_eq!(nan(&[], &[], 23), 1);
    // Expanded: no loop over what is repeated.
    assert_eq!(nan(&[1 << 40, 2], &[0, 1], 4), 1 << 40);
    // Windows that overlap.
    assert_eq!(nan(&[10, 4], &[1, 1], 0), 4);
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    Checkpoint::from(StateDict::from_iter([("x", view(&[2; 23], &[1; 23], 0))])).save(&path).unwrap();
    // The one that all 23 choices lead to, and those that five of them do.
    assert!(verified(&path).is_sound());
    assert_eq!(nan(&[2; 23], &[1; 23], 0), 1 + 33_649);
}

/// A zip with these tensors whose records are all deflated.
fn deflated(path: &Path, tensors: StateDict) {
    use std::io::Write as _;
    let mut archive = Vec::new();
    Checkpoint::from(tensors).write_to(&mut archive, &SaveOptions::default()).unwrap();
    let archive = Archive::open(archive.into(), &Limits::default()).unwrap();
    let records: Vec<_> = archive.records().iter().enumerate().collect();
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (number, record) in &records {
        let payload = archive.payload(*number, true).unwrap();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&payload).unwrap();
        let packed = encoder.finish().unwrap();
        let at = u32::try_from(out.len()).unwrap();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let name = record.name.as_bytes();
        let mut fields = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        fields.extend(crc32fast::hash(&payload).to_le_bytes());
        fields.extend([length(&packed), length(&payload)].concat());
        fields.extend([u8::try_from(name.len()).unwrap(), 0, 0, 0]);
        out.extend([b"PK\x03\x04", &fields[..], name, &packed].concat());
        directory.extend([b"PK\x01\x02\x14\0", &fields[..], &[0; 10], &at.to_le_bytes(), name].concat());
    }
    let count = u16::try_from(records.len()).unwrap().to_le_bytes();
    let (start, size) = (out.len(), directory.len());
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &number(size), &number(start), &[0, 0]].concat());
    std::fs::write(path, out).unwrap();
}

#[test]
fn nan_is_found_in_deflated_records_piece_by_piece() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("deflated.pt");
    let count = 300_001;
    let mut elements: Vec<f64> = (0..count).map(f64::from).collect();
    for at in [0, 1, 32_767, 32_768, 100_000, 300_000] {
        elements[at] = f64::NAN;
    }
    let whole = Tensor::from_vec(&[elements.len()], elements).unwrap();
    let part = |shape: &[usize], offset: usize, stride: &[usize]| {
        let storage = whole.storage().unwrap().clone();
        let parts = TensorParts::strided(DType::Float64, shape.to_vec(), storage, offset, stride.to_vec());
        Tensor::new(parts).unwrap()
    };
    let complex: Vec<u8> = (0..100_000_u32)
        .flat_map(|i| [f64::from(i), if i == 77_777 { f64::INFINITY } else { 0.0 }])
        .flat_map(f64::to_le_bytes)
        .collect();
    let complex = Tensor::from_le_bytes(DType::Complex128, &[100_000], complex).unwrap();
    let parts = complex.parts().clone();
    let TensorData::Strided { storage, .. } = parts.data else { panic!("it is strided") };
    let odd = Tensor::new(TensorParts::strided(DType::Complex128, vec![50_000], storage, 1, vec![2])).unwrap();
    let tensors = StateDict::from_iter([
        ("whole", whole.clone()),
        ("inner", part(&[100_000], 32_768, &[1])),
        ("turned", part(&[2, 150_000], 1, &[1, 2])),
        ("gaps", part(&[3], 0, &[100_000])),
        ("none", part(&[0], 5, &[1])),
        ("one", part(&[], 1, &[])),
        ("expanded", part(&[4, 1], 32_767, &[0, 1])),
        ("columns", part(&[1000, 100], 1, &[300, 3])),
        ("overlaps", part(&[999, 400], 0, &[300, 1])),
        ("every third", part(&[100_001], 0, &[3])),
        ("no rows", part(&[0, 100], 1, &[300, 3])),
        ("complex", complex),
        ("every other", odd),
    ]);
    deflated(&path, tensors.clone());
    let stored = folder.path().join("stored.pt");
    Checkpoint::from(tensors).save(&stored).unwrap();
    let [deflated, stored] = [&path, &stored].map(|path| verified(path));
    assert!(deflated.is_sound(), "{:?}", deflated.problems);
    assert_eq!(deflated.not_finite, stored.not_finite);
    let counts: Vec<_> = stored.not_finite.iter().map(|found| (&*found.name, found.nan, found.inf)).collect();
    let expected = [
        ("whole", 6, 0),
        ("inner", 2, 0),
        ("turned", 5, 0),
        ("gaps", 2, 0),
        ("one", 1, 0),
        ("expanded", 4, 0),
        ("columns", 3, 0),
        ("overlaps", 7, 0),
        ("every third", 2, 0),
        ("complex", 0, 1),
        ("every other", 0, 1),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn a_storage_streamed_has_the_bytes_of_the_storage_read() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("deflated.pt");
    let numbers = Tensor::from_vec(&[300_000], (0..300_000).collect::<Vec<i64>>()).unwrap();
    deflated(&path, StateDict::from_iter([("numbers", numbers)]));
    let fixtures = ["numpy/compressed.npz", "numpy/stored.npz", "zip/dtypes.pt", "legacy/tutorial.pt", "hf/sharded"];
    let paths = fixtures.map(fixtures::path).into_iter().chain([path]);
    for path in paths {
        let checkpoint = Checkpoint::open(&path).unwrap();
        for (name, tensor) in checkpoint.tensors().unwrap() {
            let Some(storage) = tensor.storage() else { continue };
            for storage in [storage.clone(), storage.with_location("cuda:0")] {
                let mut streamed = Vec::new();
                storage
                    .stream(&mut |bytes| {
                        streamed.extend_from_slice(bytes);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(streamed, storage.bytes().unwrap(), "{} {name}", path.display());
            }
        }
    }
}

#[test]
fn archives_in_the_folders_of_a_run_s_folder_are_checked_too() {
    let folder = rekindle_testing::scratch();
    let inside = folder.path().join("extra");
    std::fs::create_dir(&inside).unwrap();
    save(&folder.path().join("pytorch_model.bin"));
    save(&folder.path().join("optimizer.pt"));
    std::fs::write(folder.path().join("trainer_state.json"), "{\"global_step\": 1}").unwrap();
    save(&inside.join("more.pt"));
    assert!(verified(folder.path()).problems.is_empty());
    let whole = std::fs::read(inside.join("more.pt")).unwrap();
    let mut damaged = whole.clone();
    damaged[payload(&whole, "data/0")] ^= 1;
    for (bytes, what) in [(&damaged[..], "checksum"), (&whole[..whole.len() / 2], "")] {
        std::fs::write(inside.join("more.pt"), bytes).unwrap();
        let report = verified(folder.path());
        let said: Vec<String> = report.problems.iter().map(|problem| format!("{problem:?}")).collect();
        assert!(said.iter().any(|said| said.contains("more.pt") && said.contains(what)), "{said:?}");
    }
}
