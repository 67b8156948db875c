//! What a file is, is told by its content; what is no checkpoint is told apart in words that help.

use std::path::Path;

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::{ErrorKind, Value};

fn open_as(name: &str, bytes: &[u8]) -> rekindle_recorder::Result<container::Opened> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    container::open(&path, &OpenOptions::default())
}

#[test]
fn what_is_no_checkpoint_is_named_with_a_remedy() {
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 123\n";
    let page = b"\n<!DOCTYPE html><html><head><title>Sign in</title>";
    let zip = [b"#!/bin/sh\n", &b"PK\x03\x04"[..]].concat();
    let mut tar = [0_u8; 1024];
    tar[..8].copy_from_slice(b"file.txt");
    tar[124..135].copy_from_slice(b"00000000000");
    let sum: u32 = tar[..512].iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar[155] = b' ';
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (&[0; 5000], "it begins with nothing but zeros, as a download does that never finished; download it again"),
        (lfs, "it is a Git LFS pointer that stands for the real file; fetch that with `git lfs pull`"),
        (page, "it is a web page: the server answered with an error or a login page"),
        (&zip, "it is a zip archive with other bytes before it"),
        (&tar, "it is a tar archive without a checkpoint in it; it holds 'file.txt'"),
        (b"{\"epoch\": 5}", "it looks like a JSON file"),
        (b"epoch 5, loss 0.25\n", "it looks like a text file (it begins with 'epoch 5, loss 0.25')"),
        (
            b"(this) ends like an old pickle.",
            "it looks like a text file (it begins with '(this) ends like an old pickle.')",
        ),
        ("caf\u{e9}".as_bytes(), "it looks like a text file"),
        (b"\x89PNG\r\n\x1a\n", "it is a PNG image"),
        (b"BZh9", "it is compressed with bzip2; unpack it with bunzip2 first"),
        (b"PK\x05\x06", "it is an empty zip archive"),
        (b"\xfe\xed\xfa", "its first bytes (fe ed fa) are those of no format known here"),
    ] {
        let error = open_as("run.pt", bytes).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotACheckpoint { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("run.pt: this is not a checkpoint: ") && text.contains(words), "{text}");
    }
}

#[test]
fn a_stream_before_pytorch_1_6_is_told_by_its_first_pickle_in_any_protocol() {
    let binary = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    let framed = b"\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";
    for start in [&binary[..], framed, b"L119547037146038801333356L\n.I1001\n."] {
        let error = open_as("a.pt", start).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
    }
}

#[test]
fn formats_are_told_by_content_whatever_the_name() {
    let safetensors = [&40_u64.to_le_bytes()[..], b"{\"__metadata__\":{\"format\":\"pt\"}}        "].concat();
    let header = b"\x93NUMPY\x01\0\x39\0{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} \n\x05";
    for (bytes, container) in [
        (&safetensors[..], Format::SAFETENSORS),
        (header, Format::NUMPY),
        (b"{\"metadata\": {\"total_size\": 0}, \"weight_map\": {}}", Format::HF),
    ] {
        assert_eq!(open_as("a.pt", bytes).unwrap().format, container);
    }
}

#[test]
fn folders_are_told_by_what_is_in_them() {
    let folder = rekindle_testing::scratch();
    let open = |path: &Path| container::open(path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(open(folder.path()).kind(), ErrorKind::NotACheckpoint { .. }));
    std::fs::write(folder.path().join("model.safetensors.index.json"), b"{}").unwrap();
    assert!(open(folder.path()).to_string().contains("no index of shards (missing field `weight_map`"));
    // Whosever file it is, it does not hide the model; alone, it is taken for a broken distributed checkpoint.
    std::fs::write(folder.path().join(".metadata"), b"").unwrap();
    assert!(open(folder.path()).to_string().contains("no index of shards"));
    std::fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    let error = open(folder.path());
    assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
    assert!(error.file().unwrap().ends_with(".metadata"), "{error}");
    assert!(open(&folder.path().join("missing")).to_string().contains("cannot open the file"));
}

#[test]
fn a_pickle_by_itself_is_read_whatever_its_protocol() {
    for pickle in [
        &b"(dp0\nVa\np1\nI5\ns."[..],
        b"}q\0X\x01\0\0\0aq\x01K\x05s.",
        b"\x80\x04}\x94\x8c\x01a\x94K\x05s.",
        b"}(X\x01\0\0\0aK\x05u.\n",
    ] {
        let opened = open_as("values.pkl", pickle).unwrap();
        assert_eq!((opened.format, opened.bytes), (Format::PICKLE, pickle.len() as u64));
        assert_eq!(opened.value.as_dict().unwrap().get("a").as_ref().and_then(Value::as_i64), Some(5));
    }
    // What follows it is not passed over in silence.
    let error = open_as("two.pkl", b"\x80\x02K\x01.\x80\x02K\x02.").unwrap_err();
    assert!(error.to_string().contains("a pickle that other bytes follow (it ends at byte 5 of 10)"), "{error}");
    let error = open_as("cut.pkl", b"\x80\x02X\x09\0\0\0abc").unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
}
