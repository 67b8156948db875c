//! Checkpoints that contradict themselves: one sentence that names the file, the item and its offset.

use std::path::Path;

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::value::Global;
use rekindle_recorder::{DType, Error, ErrorKind, Limits, Tensor, Value, container};

use super::make::{Maker, dict, instance, write_metadata};
use super::{assert_error, open, state_dict};

const DATA: &str = "__0_0.distcp";
const OTHER: &str = "__1_0.distcp";

/// `weight` in two rows, one in each file, and the number `lr`.
fn maker() -> Maker {
    let mut maker = Maker::default();
    maker.value("lr", &0.5.into());
    let weight = Tensor::from_vec(&[2, 3], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    maker.tensor("weight", &weight, &[(vec![0, 0], vec![1, 3]), (vec![1, 0], vec![1, 3])], &[DATA, OTHER]);
    maker
}

/// Opens what was made and reads its tensor.
fn read(maker: &Maker, folder: &Path) -> Result<Vec<u8>, Error> {
    maker.write(folder);
    let value = open(folder)?;
    let weight = value.as_dict().unwrap().get("weight").unwrap();
    weight.as_tensor().unwrap().to_le_bytes().map(Vec::from)
}

#[test]
fn a_file_that_is_missing_or_cut_off_is_named_with_what_it_holds() {
    let folder = rekindle_testing::scratch();
    let maker = maker();
    assert_eq!(read(&maker, folder.path()).unwrap().len(), 24);
    let other = folder.path().join(OTHER);
    let bytes = std::fs::read(&other).unwrap();
    std::fs::write(&other, &bytes[..bytes.len() - 1]).unwrap();
    let len = bytes.len();
    let words = ["'weight' takes", &format!("{len} bytes from byte 0 on"), &format!("the file has {}", len - 1)];
    assert_error(open(folder.path()), &other, &words);
    std::fs::remove_file(&other).unwrap();
    let words = ["__1_0.distcp", "'weight' from byte 0 on, is missing", "download it again"];
    assert_error(open(folder.path()), &folder.path().join(".metadata"), &words);
}

#[test]
fn chunks_that_overlap_leave_a_gap_or_lead_outside_are_told_by_an_element() {
    let chunk = |offsets: [usize; 2], sizes: [usize; 2]| (offsets.to_vec(), sizes.to_vec());
    let (top, bottom) = (chunk([0, 0], [1, 3]), chunk([1, 0], [1, 3]));
    for (chunks, words) in [
        (vec![top.clone()], "the element at [1, 0] is in no chunk"),
        (vec![top.clone(), chunk([1, 1], [1, 2])], "the element at [1, 0] is in no chunk"),
        (vec![top.clone(), bottom.clone(), chunk([0, 2], [2, 1])], "the element at [0, 2] is in 2 chunks"),
        (vec![top.clone(), chunk([1, 0], [2, 3])], "the chunk [2, 3] at [1, 0] reaches out of the tensor"),
        (vec![top.clone(), chunk([usize::MAX >> 1, 0], [1, 3])], "reaches out of the tensor"),
        (vec![], "the element at [0, 0] is in no chunk"),
        (vec![top, (vec![1], vec![1])], "has another number of dimensions than [2, 3]"),
    ] {
        let folder = rekindle_testing::scratch();
        let maker = maker();
        maker.entry("weight", DType::Float32, &[2, 3], &chunks);
        assert_error(read(&maker, folder.path()), &folder.path().join(".metadata"), &["'weight'", words]);
    }
}

#[test]
fn lengths_that_no_file_holds_are_refused_before_they_are_allocated() {
    for shape in [[1 << 40, 1 << 10], [usize::MAX >> 1, 3], [1 << 20, 3]] {
        let folder = rekindle_testing::scratch();
        let maker = maker();
        maker.entry("weight", DType::Float32, &shape, &[(vec![0, 0], shape.to_vec())]);
        let error = read(&maker, folder.path());
        assert_error(error, &folder.path().join(".metadata"), &["'weight'", "more bytes than all the files have"]);
    }
    // Less than all files, and more than the item.
    let folder = rekindle_testing::scratch();
    let mut maker = maker();
    let third = "__2_0.distcp";
    maker.files.insert(third.to_owned(), vec![0; 9000]);
    maker.place("weight", Some(&[0]), third, 8900, 100);
    maker.entry("weight", DType::Float32, &[2000], &[(vec![0], vec![2000])]);
    let words = ["'weight' at byte 8900", "takes more than the 100 bytes that are there"];
    assert_error(read(&maker, folder.path()), &folder.path().join(third), &words);
}

#[test]
fn items_that_overlap_are_refused() {
    let folder = rekindle_testing::scratch();
    let mut maker = maker();
    maker.place("again", None, DATA, 8, 10);
    maker.entries.insert("again", instance("metadata", "BytesStorageMetadata", None));
    let words = ["'again' at byte 8", "begins inside 'lr', which is at byte 0"];
    assert_error(read(&maker, folder.path()), &folder.path().join(DATA), &words);
}

#[test]
fn a_place_that_is_not_told_is_named() {
    let folder = rekindle_testing::scratch();
    let maker = maker();
    maker.entries.insert("ghost", instance("metadata", "BytesStorageMetadata", None));
    let words = ["'ghost'", "storage_data do not say where it is"];
    assert_error(read(&maker, folder.path()), &folder.path().join(".metadata"), &words);
    let chunks = [(vec![0, 0], vec![2, 2]), (vec![0, 2], vec![2, 1])];
    maker.entries.remove("ghost");
    maker.entry("weight", DType::Float32, &[2, 3], &chunks);
    let words = ["'weight', the chunk at [0, 2]", "storage_data do not say where it is"];
    assert_error(read(&maker, folder.path()), &folder.path().join(".metadata"), &words);
}

#[test]
fn an_item_that_holds_something_else_is_told_when_it_is_read() {
    let folder = rekindle_testing::scratch();
    for (dtype, words) in
        [(DType::Int32, "one of int32 [1, 3] is expected"), (DType::UInt8, "one of uint8 [1, 3] is expected")]
    {
        let maker = maker();
        maker.entry("weight", dtype, &[2, 3], &[(vec![0, 0], vec![1, 3]), (vec![1, 0], vec![1, 3])]);
        assert_error(read(&maker, folder.path()), &folder.path().join(DATA), &["'weight' at byte", words]);
    }
    let maker = maker();
    maker.entry("lr", DType::Float32, &[], &[(vec![], vec![])]);
    // The number stands under no offset.
    assert_error(read(&maker, folder.path()), &folder.path().join(".metadata"), &["'lr', the chunk at []"]);
}

#[test]
fn a_flipped_bit_is_found_and_named_with_its_offset() {
    let folder = rekindle_testing::scratch();
    let mut maker = maker();
    maker.write(folder.path());
    let value = open(folder.path()).unwrap();
    drop(value);
    let bytes = maker.files.get_mut(OTHER).unwrap();
    let payload = 4.0_f32.to_le_bytes();
    let at = bytes.windows(4).position(|window| window == payload).unwrap();
    bytes[at] ^= 1;
    let words = ["'weight' at byte 0, record data/0", "checksum mismatch"];
    assert_error(read(&maker, folder.path()), &folder.path().join(OTHER), &words);
    let unverified = container::open(folder.path(), &OpenOptions::default().verify(false)).unwrap();
    let weight = unverified.value.as_dict().unwrap().get("weight").unwrap();
    assert_eq!(weight.as_tensor().unwrap().to_vec::<f32>().unwrap().len(), 6);
}

#[test]
fn classes_that_are_not_pytorchs_are_named() {
    let folder = rekindle_testing::scratch();
    let metadata = folder.path().join(".metadata");
    let maker = maker();
    maker.entries.insert("strange", instance("metadata", "SomethingNew", None));
    let words = ["torch.distributed.checkpoint.metadata.SomethingNew", "'strange'", "is not supported"];
    assert_error(read(&maker, folder.path()), &metadata, &words);
    let mut stranger = rekindle_recorder::value::ObjectData::call(Global::new("posix", "system"), vec!["true".into()]);
    stranger.states.push(dict([("note", "torch.distributed.checkpoint.metadata".into())]));
    write_metadata(folder.path(), &stranger.into());
    assert_error(open(folder.path()), &metadata, &["posix.system", "is not supported"]);
}

#[test]
fn a_file_outside_the_folder_is_never_opened() {
    for outside in ["../secret.distcp", "/etc/passwd", "a\\b", ""] {
        let folder = rekindle_testing::scratch();
        let mut maker = maker();
        maker.place("lr2", None, outside, 0, 4);
        maker.write(folder.path());
        let error = open(folder.path()).unwrap_err();
        let text = error.to_string();
        assert!(outside.is_empty() || text.contains("no name of a file in this folder"), "{text}");
    }
}

#[test]
fn what_passed_through_an_extension_is_not_supported() {
    let folder = rekindle_testing::scratch();
    let maker = maker();
    for (_, info) in maker.places.entries() {
        let Value::Object(info) = info else { panic!("an object") };
        let state = info.read().states[0].clone();
        state.as_dict().unwrap().insert("transform_descriptors", Value::list(["zstd".into()]));
    }
    let error = read(&maker, folder.path()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("'lr' at byte 0") && error.to_string().contains("extension"), "{error}");
}

#[test]
fn paths_that_contradict_each_other_are_damage() {
    for (first, second, words) in [
        (vec!["a".into()], vec!["a".into(), "b".into()], "the key 'b' on its way is in a float"),
        (vec!["a".into(), 0.into()], vec!["a".into(), "b".into()], "the key 'b' on its way is in a list"),
        (vec!["a".into()], vec!["a".into()], "has that place already"),
        (vec!["a".into()], vec![], "its path is empty"),
        (vec!["a".into()], vec!["b".into(), (1_u64 << 40).into(), "c".into()], "a list with a gap before 'y'"),
    ] {
        let folder = rekindle_testing::scratch();
        let mut maker = Maker::default();
        for (name, path) in [("x", first), ("y", second)] {
            maker.value(name, &0.5.into());
            maker.path(name, path);
        }
        maker.write(folder.path());
        assert_error(open(folder.path()), &folder.path().join(".metadata"), &["'y'", words]);
    }
}

#[test]
fn the_limits_hold_for_all_items_together() {
    let folder = rekindle_testing::scratch();
    let mut maker = Maker::default();
    for i in 0..10 {
        maker.value(&format!("list{i}"), &Value::list((0..100).map(Value::Int)));
    }
    maker.write(folder.path());
    assert_eq!(state_dict(folder.path()).len(), 10);
    let mut limits = Limits::default();
    limits.values = 1000;
    let error = container::open(folder.path(), &OpenOptions::default().limits(limits)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
}

#[test]
fn a_metadata_file_that_is_none_is_told_from_one_that_is_broken() {
    let folder = rekindle_testing::scratch();
    std::fs::write(folder.path().join(".metadata"), "theirs").unwrap();
    assert!(open(folder.path()).is_err());
    // Somebody else's file beside a model does not hide it.
    let model = Value::from(rekindle_recorder::Dict::from_iter([("weight", Tensor::scalar(1.0_f32))]));
    let options = rekindle_recorder::checkpoint::SaveOptions::default();
    container::safetensors::write(&model, &folder.path().join("model.safetensors"), &options).unwrap();
    assert_eq!(state_dict(folder.path()).len(), 1);
}
