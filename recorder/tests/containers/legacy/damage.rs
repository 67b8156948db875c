//! Streams that are cut off, contradict themselves, or were made to deceive.

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::pickle::{self, Dialect, KeepIds, PickleOptions};
use rekindle_recorder::value::Global;
use rekindle_recorder::{Dict, Error, ErrorKind, Limits, Value};

use super::fixtures::{STREAMS, bytes, open_bytes, read_bytes, read_with_flipped_bits};

fn error_of(stream: &[u8]) -> Error {
    read_bytes(stream).unwrap_err()
}

/// Where each of the five pickles ends.
fn ends(stream: &[u8]) -> Vec<usize> {
    let mut end = 0;
    let pickles = (0..5).map(|_| {
        end += pickle::read(&stream[end..], "a part", &Limits::default(), &mut KeepIds).unwrap().end;
        end
    });
    pickles.collect()
}

#[test]
fn a_stream_cut_off_anywhere_is_said_to_be_cut_off() {
    for file in STREAMS {
        let whole = bytes(file);
        let step = if whole.len() > 3000 { 3 } else { 1 };
        let ends = ends(&whole);
        for len in (2..whole.len()).filter(|len| len % step == 0 || ends.contains(len) || *len > whole.len() - 20) {
            let error = error_of(&whole[..len]);
            assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{file}, {len}: {error}");
            assert!(error.to_string().contains("copy.pt: the file is cut off: "), "{error}");
        }
    }
}

#[test]
fn a_cut_says_where_and_what_is_missing() {
    let whole = bytes("protocol4.pt");
    let ends = ends(&whole);
    let said = |len: usize| error_of(&whole[..len]).to_string();
    assert!(
        said(ends[2] - 1)
            .contains(&format!("the description of the machine, which begins at byte {}, is not", ends[1]))
    );
    assert!(said(ends[3] - 1).contains(&format!("the object, which begins at byte {}, is not all there", ends[2])));
    assert!(said(ends[4] - 1).contains("the list of storages"));
    let data = format!("storage 99999999998000 (weight) takes 24 bytes from byte {} on, and 23 are left", ends[4] + 8);
    assert!(said(whole.len() - 1).contains(&data), "{}", said(whole.len() - 1));
}

#[test]
fn no_flipped_bit_is_a_panic() {
    for file in ["protocol4.pt", "python2.pt", "untyped.pt"] {
        let whole = bytes(file);
        read_with_flipped_bits(&whole, 0..whole.len());
    }
}

fn plain(value: &Value) -> Vec<u8> {
    pickle::write(value, &PickleOptions { dialect: Dialect::Plain, allow_objects: true }).unwrap().bytes
}

/// The parts of a stream of one tensor, `{"w": float32[2]}`, over one storage with the key 0.
struct Parts {
    head: Vec<u8>,
    object: Vec<u8>,
    keys: Vec<u8>,
    data: Vec<u8>,
}

fn parts() -> Parts {
    let whole = bytes("protocol4.pt");
    let tensor = rekindle_recorder::Tensor::from_vec(&[2], vec![0.5_f32, -1.0]).unwrap();
    let options = PickleOptions { dialect: Dialect::Legacy, allow_objects: false };
    let object = pickle::write(&Dict::from_iter([("w", tensor)]).into(), &options).unwrap().bytes;
    let data = [&2_u64.to_le_bytes()[..], &0.5_f32.to_le_bytes(), &(-1_f32).to_le_bytes()].concat();
    Parts { head: whole[..ends(&whole)[2]].to_vec(), object, keys: plain(&vec!["0"].into()), data }
}

impl Parts {
    fn join(&self) -> Vec<u8> {
        [&self.head[..], &self.object, &self.keys, &self.data].concat()
    }
}

#[test]
fn counts_and_lists_that_lie_are_found() {
    open_bytes(&parts().join(), &OpenOptions::default()).unwrap();
    let with_keys = |keys: Value| Parts { keys: plain(&keys), ..parts() }.join();
    let with_data = |data: &[u8]| Parts { data: data.to_vec(), ..parts() }.join();
    let counted = |count: u64| with_data(&[&count.to_le_bytes()[..], &[0; 64]].concat());
    let two = with_keys(vec!["0", "0"].into());
    let twice = [&two[..], &parts().data].concat();
    for (stream, words) in [
        (counted(1), "storage 0 (w): it holds 1 elements, where the object expects 2"),
        (counted(3), "storage 0 (w): it holds 3 elements, where the object expects 2"),
        (counted(u64::MAX / 4), "storage 0 (w): it holds 4611686018427387903 elements"),
        (counted(u64::MAX), "storage 0 (w): -1 counts nothing"),
        (with_keys(Value::list([])), "the list of storages: the storage 0 is missing"),
        (with_keys(vec!["1"].into()), "the list of storages: nothing refers to the storage 1"),
        (twice, "the list of storages: the storage 0 stands there twice"),
        (with_keys(Value::Int(3)), "the list of storages: it is no list"),
        (with_keys(Value::list([Value::None])), "the list of storages: it holds None"),
    ] {
        let error = error_of(&stream);
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // Keys may be numbers.
    open_bytes(&with_keys(Value::list([Value::Int(0)])), &OpenOptions::default()).unwrap();
}

/// The object's pickle by hand: persistent ids of storages, in a list.
fn ids(ids: &[(&str, i64, &str, Option<(&str, i64, i64)>)]) -> Vec<u8> {
    let mut out = b"\x80\x02](".to_vec();
    for (key, numel, class, view) in ids {
        let view =
            view.map_or(Value::None, |(key, first, count)| Value::tuple([key.into(), first.into(), count.into()]));
        let class = Global::new("torch", class).into();
        let id = Value::tuple(["storage".into(), class, (*key).into(), "cpu".into(), (*numel).into(), view]);
        let pickled = plain(&id);
        out.extend(&pickled[2..pickled.len() - 1]);
        out.push(b'Q');
    }
    out.extend(b"e.");
    out
}

#[test]
fn storages_that_contradict_themselves_are_found() {
    for (object, words) in [
        (
            ids(&[("0", 2, "FloatStorage", None), ("0", 3, "FloatStorage", None)]),
            "storage 0: it has 8 bytes in one place and 12 in another",
        ),
        (ids(&[("0", i64::MAX, "DoubleStorage", None)]), "elements are more than there can be"),
        (ids(&[("0", 2, "FloatStorage", Some(("v", 1, 2)))]), "storage v: it is a part that leaves the storage 0"),
        (
            ids(&[("0", 2, "FloatStorage", Some(("v", i64::MAX, 2)))]),
            "storage v: it is a part that leaves the storage 0",
        ),
        (
            ids(&[("0", 2, "FloatStorage", Some(("v", 0, 1))), ("0", 2, "FloatStorage", Some(("v", 1, 1)))]),
            "storage v: it is two parts of storages under one key",
        ),
        (ids(&[("0", -2, "FloatStorage", None)]), "a number in it is negative"),
        (
            ids(&[("0", 1 << 60, "ByteStorage", None)]),
            "storage 0: it holds 2 elements, where the object expects 1152921504606846976",
        ),
    ] {
        let error = error_of(&Parts { object, ..parts() }.join());
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let unknown = error_of(&Parts { object: ids(&[("0", 2, "FancyStorage", None)]), ..parts() }.join());
    assert!(unknown.to_string().contains("the storage class torch.FancyStorage is not supported"), "{unknown}");
    // One storage under two types of one length is one storage.
    let both = Parts { object: ids(&[("0", 2, "FloatStorage", None), ("0", 2, "IntStorage", None)]), ..parts() };
    let checkpoint = open_bytes(&both.join(), &OpenOptions::default()).unwrap();
    let items = checkpoint.root().items().unwrap();
    let [Value::Storage(one), Value::Storage(other)] = &items[..] else { panic!("{items:?}") };
    assert!(one.same(other));
}

#[test]
fn parts_beside_each_other_are_parts_of_one_storage() {
    let part = |key, first| ("0", 2, "FloatStorage", Some((key, first, 1)));
    let object = ids(&[part("a", 0), part("b", 1), part("a", 0)]);
    let checkpoint = open_bytes(&Parts { object, ..parts() }.join(), &OpenOptions::default()).unwrap();
    let items = checkpoint.root().items().unwrap();
    let storages: Vec<_> = items
        .iter()
        .map(|item| match item {
            Value::Storage(storage) => storage,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(*storages[0].bytes().unwrap(), 0.5_f32.to_le_bytes());
    assert_eq!(*storages[1].bytes().unwrap(), (-1_f32).to_le_bytes());
    assert!(storages[0].same(storages[2]) && !storages[0].same(storages[1]));
}

#[test]
fn other_versions_and_numbers_are_told() {
    let [magic, machine] = [bytes("protocol4.pt"), Vec::new()];
    let ends = ends(&magic);
    let stream = |version: Value| [&magic[..ends[0]], &plain(&version), &machine].concat();
    let error = error_of(&stream(Value::Int(1002)));
    assert!(error.to_string().contains("version 1002 of the format before PyTorch 1.6 is not supported"), "{error}");
    let negative = [b"\x80\x02\x8a\x0b\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x01.", &magic[ends[0]..]].concat();
    assert!(open_bytes(&negative, &OpenOptions::default()).is_err());
}

#[test]
fn the_limits_hold_for_each_pickle_and_names_in_any_of_them_are_told() {
    let mut limits = Limits::default();
    limits.pickle_bytes = 100;
    let error = open_bytes(&bytes("tutorial.pt"), &OpenOptions::default().limits(limits.clone())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 100, .. }), "{error}");
    // A stream whose pickles are small is read, however large its storages are.
    let mut large = parts();
    let many = rekindle_recorder::Tensor::from_vec(&[9000], vec![1_u8; 9000]).unwrap();
    let options = PickleOptions { dialect: Dialect::Legacy, allow_objects: false };
    large.object = pickle::write(&many.into(), &options).unwrap().bytes;
    large.data = [&9000_u64.to_le_bytes()[..], &[1; 9000]].concat();
    limits.pickle_bytes = 1000;
    open_bytes(&large.join(), &OpenOptions::default().limits(limits)).unwrap();
    let machine = Value::from(Global::new("os", "system"));
    let whole = bytes("protocol4.pt");
    let names = Parts { head: [&whole[..ends(&whole)[1]], &plain(&machine)].concat(), ..parts() };
    let checkpoint = open_bytes(&names.join(), &OpenOptions::default()).unwrap();
    assert!(checkpoint.globals().iter().any(|global| global.is("os", "system")), "{:?}", checkpoint.globals());
}
