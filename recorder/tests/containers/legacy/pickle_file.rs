//! Pickles by themselves.

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::pickle::{Verdict, verdict};
use rekindle_recorder::{Dict, ErrorKind, Tensor, Value};

use super::fixtures::{
    assert_tensors, assert_values, bytes, open, open_bytes, path, read_bytes, read_with_flipped_bits,
};

fn file(protocol: u8) -> String {
    format!("plain{protocol}.pkl")
}

#[test]
fn tensors_and_values_of_every_protocol_are_what_pytorch_says() {
    for protocol in 0..=5 {
        let checkpoint = open(&file(protocol));
        assert_eq!(checkpoint.format(), Some(Format::PICKLE));
        assert_eq!(assert_tensors(&checkpoint, &file(protocol)), 5);
        assert_values(&checkpoint, &file(protocol));
        let Value::Bytes(raw) = checkpoint.value("raw").unwrap() else { panic!("bytes") };
        assert_eq!(*raw, [0, 0xff]);
        // Its name stays a warning: in Python it opens what it is given with `torch.load`.
        let name = checkpoint.globals().iter().find(|global| &*global.name == "_load_from_bytes").unwrap();
        assert_eq!(verdict(name), Verdict::Dangerous);
    }
}

#[test]
fn a_pickle_cut_off_anywhere_is_an_error() {
    for protocol in 0..=5 {
        let whole = bytes(&file(protocol));
        for len in 0..whole.len() {
            let opened = read_bytes(&whole[..len]);
            // Protocol 0 is text: what remains may look like a smaller pickle, but only if it ends as one.
            assert!(opened.is_err() || protocol < 2 && whole[..len].ends_with(b"."), "protocol {protocol}, byte {len}");
        }
    }
}

#[test]
fn no_flipped_bit_is_a_panic() {
    for protocol in 0..=5 {
        let whole = bytes(&file(protocol));
        read_with_flipped_bits(&whole, 0..whole.len());
    }
}

#[test]
fn bytes_that_hold_no_storage_leave_the_call_an_object() {
    let call = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        [b"\x80\x03ctorch.storage\n_load_from_bytes\nC", &[length][..], bytes, b"\x85R."].concat()
    };
    for content in [&b""[..], b"PK\x03\x04", b"no stream"] {
        let checkpoint = open_bytes(&call(content), &OpenOptions::default()).unwrap();
        assert!(matches!(checkpoint.root(), Value::Object(_)), "{:?}", checkpoint.root());
    }
    // A stream of something else is no storage, and a broken one is an error.
    let stream = |object: &[u8]| {
        let head = &bytes("protocol4.pt")[..138];
        [head, object].concat()
    };
    let broken = open_bytes(&call(&stream(b"\x80\x02K")), &OpenOptions::default()).unwrap_err();
    assert!(matches!(broken.kind(), ErrorKind::Truncated { .. }), "{broken}");
    let other = open_bytes(&call(&stream(b"\x80\x02K\x01.\x80\x02].")), &OpenOptions::default()).unwrap();
    assert!(matches!(other.root(), Value::Object(_)));
}

#[test]
fn values_are_written_as_a_pickle_and_tensors_are_not() {
    let folder = rekindle_testing::scratch();
    let copy = folder.path().join("values.pkl");
    let options = SaveOptions::default().format(Format::PICKLE);
    let values = Dict::from_iter([
        ("epoch", Value::from(5)),
        ("names", vec!["a", "b"].into()),
        ("betas", Value::tuple([0.9.into(), 0.999.into()])),
    ]);
    let report = Checkpoint::from(values).save_with(&copy, &options).unwrap();
    let written = std::fs::read(&copy).unwrap();
    assert_eq!(report.bytes, written.len() as u64);
    assert!(written.starts_with(b"\x80\x02}q\0("));
    let back = Checkpoint::open(&copy).unwrap();
    assert_eq!(back.format(), Some(Format::PICKLE));
    assert_eq!(back.get::<(f64, f64)>("betas").unwrap(), (0.9, 0.999));
    assert_eq!(back.get::<Vec<String>>("names").unwrap(), ["a", "b"]);
    // What was there stays when the new cannot be written.
    let tensors = open(&file(2));
    let error = tensors.save_with(&copy, &options).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert!(
        error.to_string().contains("weight: a tensor's data in a pickle by itself is not supported; save it"),
        "{error}"
    );
    assert_eq!(std::fs::read(&copy).unwrap(), written);
    let error = Checkpoint::open(path("shared.pt")).unwrap().save_with(&copy, &options.overwrite(false)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists | ErrorKind::Unsupported { .. }), "{error}");
}

#[test]
fn tensors_of_a_pickle_are_saved_where_there_is_a_place_for_them() {
    let folder = rekindle_testing::scratch();
    let copy = folder.path().join("copy.pt");
    open(&file(5)).save(&copy).unwrap();
    let weight: Tensor = Checkpoint::open(&copy).unwrap().get("weight").unwrap();
    assert_eq!(weight.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}
