//! Names: every place has one of its own, the same in every verb, and none of a file's reaches a terminal as it is.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::rekindle;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/names").join(name)
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&rekindle([Path::new("inspect"), path, Path::new("--json")]).stdout).unwrap()
}

fn names(document: &Json) -> Vec<String> {
    let tensors = document["tensors"].as_array().unwrap();
    tensors.iter().map(|tensor| tensor["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_that_meet_are_told_apart_by_every_verb() {
    let (meeting, folder) = (fixture("meeting.pt"), tempfile::tempdir().unwrap());
    let truth: serde_json::Map<String, Json> =
        serde_json::from_slice(&std::fs::read(fixture("truth.json")).unwrap()).unwrap();
    let mut listed = names(&json(&meeting));
    // Each is taken out by its name.
    for (i, name) in listed.iter().enumerate() {
        let out = folder.path().join(format!("{i}.npy"));
        let taken = rekindle([Path::new("convert"), &meeting, &out, Path::new("--key"), Path::new(name)]);
        assert_eq!(taken.status.code(), Some(0), "{name}: {taken:?}");
        let bytes = std::fs::read(&out).unwrap();
        let element = f32::from_le_bytes(bytes[bytes.len() - 4..].try_into().unwrap());
        assert_eq!(f64::from(element), truth[name].as_f64().unwrap(), "{name}");
    }
    // A format of names alone has all of them, under the same names.
    let flat = folder.path().join("flat.safetensors");
    assert_eq!(rekindle([Path::new("convert"), &meeting, &flat]).status.code(), Some(0));
    assert_eq!(rekindle([Path::new("diff"), &meeting, &flat]).status.code(), Some(0));
    listed.sort();
    let mut expected: Vec<_> = truth.keys().cloned().collect();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_file_never_differs_from_itself() {
    for name in ["meeting.pt", "keyed.pt", "optimizer.pt", "control.pt"] {
        let path = fixture(name);
        let output = rekindle([Path::new("diff"), &path, &path]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"no difference\n"[..]), "{name}");
        let mut names = names(&json(&path));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{name}");
    }
    let document = json(&fixture("optimizer.pt"));
    let buffers = names(&document).into_iter().filter(|name| name.ends_with(".momentum_buffer"));
    assert_eq!(buffers.count(), 2);
}

/// What a terminal would obey, or not show.
fn is_unseen(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{200b}' | '\u{feff}' | '\u{202e}' | '\u{2066}')
}

#[test]
fn nothing_in_a_file_reaches_the_terminal_as_a_command() {
    let (control, folder) = (fixture("control.pt"), tempfile::tempdir().unwrap());
    let (plain, other) = (fixture("meeting.pt"), folder.path().join("other\u{1b}[31m.pt"));
    std::fs::write(&other, std::fs::read(&control).unwrap().split_last_chunk::<60>().unwrap().0).unwrap();
    let out = folder.path().join("out.pt");
    let path = |text: &'static str| Path::new(text);
    for arguments in [
        vec![path("inspect"), &control],
        vec![path("inspect"), &control, path("--keys")],
        vec![path("inspect"), &control, path("--json"), path("--hash")],
        vec![path("diff"), &control, &plain],
        vec![path("diff"), &control, &plain, path("--json")],
        vec![path("verify"), &control, path("--finite")],
        vec![path("verify"), &control, path("--finite"), path("--json")],
        vec![path("scan"), &control],
        vec![path("convert"), &control, &out],
        vec![path("convert"), &control, &out, path("--key"), path("nothing")],
        vec![path("convert"), &control, &out, path("--include"), path("nothing")],
        vec![path("convert"), &control, path("out\u{9b}31m.bin"), path("--to"), path("none")],
        vec![path("inspect"), &other],
        vec![path("verify"), &other],
        vec![path("scan"), &other],
        vec![path("plan"), &control, path("--model"), path("mlp")],
        vec![path("resume"), &control, path("--model"), path("mlp"), path("--batches"), &other],
    ] {
        let output = rekindle(&arguments);
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8(text.clone()).unwrap();
            assert!(!text.chars().any(is_unseen), "{arguments:?}: {text:?}");
            assert!(!text.contains("line\nbreak") && !text.contains("\n break"), "{arguments:?}: {text:?}");
        }
    }
    // Documents are exact.
    let document = json(&control);
    let keys = names(&document);
    for name in
        ["red\u{1b}[31m\u{1b}]0;title\u{7}", "line\nbreak", "c1\u{9b}31m\u{85}\u{7f}", "bidi\u{202e}gnp.exe\u{2066}"]
    {
        assert!(keys.iter().any(|key| key == name), "{name:?}: {keys:?}");
    }
    assert_eq!(document["values"]["value\u{1b}[2J"], "x\u{1b}[31m\r\n\u{9b}\u{202e}");
    // What was printed is taken.
    let listed = String::from_utf8(rekindle([path("inspect"), &control, path("--keys")]).stdout).unwrap();
    assert_eq!(listed.lines().count(), keys.len());
    for name in listed.lines() {
        let taken = rekindle([path("convert"), &control, &out, path("--key"), Path::new(name), path("--overwrite")]);
        assert_eq!(taken.status.code(), Some(0), "{name}: {taken:?}");
    }
}

#[test]
fn a_document_has_the_files_order() {
    let document = rekindle([Path::new("inspect"), &fixture("optimizer.pt"), Path::new("--json")]).stdout;
    let text = String::from_utf8(document).unwrap();
    let place = |name: &str| text.find(name).unwrap();
    assert!(
        place("defaults.lr") < place("defaults.momentum") && place("defaults.momentum") < place("defaults.dampening")
    );
}
