//! `rekindle plot`: what it draws, says and refuses.

use std::fs;

use rekindle_testing::fixtures;
use serde_json::Value as Json;

use crate::{command, refusal};

#[test]
fn two_logs_are_one_picture_and_how_far_they_are_apart_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let theirs = fixtures::digits("expect.jsonl");
    // The second is the first with one loss moved.
    let text = fs::read_to_string(&theirs).unwrap();
    let lines: Vec<String> = text.lines().skip(100).map(str::to_owned).collect();
    let mut moved: Json = serde_json::from_str(&lines[50]).unwrap();
    let loss = moved["loss"].as_f64().unwrap();
    moved["loss"] = (loss * 1.5).into();
    let mut ours = lines.clone();
    ours[50] = moved.to_string();
    fs::write(folder.join("ours.jsonl"), ours.join("\n")).unwrap();
    let theirs = theirs.to_str().unwrap();

    let plot =
        |arguments: &[&str]| command([&["plot", theirs], arguments].concat()).current_dir(folder).output().unwrap();
    let output = plot(&["ours.jsonl", "-o", "curve.svg", "--name", "PyTorch", "--name", "here"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("here and PyTorch: over 199 steps the losses are at most 5.0e-1 apart (relative, at step 450)"),
        "{said}"
    );
    let svg = fs::read_to_string(folder.join("curve.svg")).unwrap();
    for words in ["PyTorch", "here", "loss", "difference of the loss, relative", "learning rate", "step"] {
        assert!(svg.contains(words), "{words}");
    }

    let output = plot(&["ours.jsonl", "-o", "curve.png", "--json"]);
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["logs"][1]["apart"]["at"], 450);
    assert_eq!(document["logs"][0]["steps"], 299);
    let png = rekindle::models::image::Picture::open(folder.join("curve.png")).unwrap();
    assert_eq!((png.width(), png.height()), (1800, 1400));
    assert!(png.pixels().iter().any(|&level| level < 80), "something is drawn");

    assert!(refusal(&plot(&["-o", "curve.png"])).contains("--overwrite"));
    assert!(refusal(&plot(&["-o", "curve.jpg"])).contains(".svg or .png"));
    assert!(refusal(&plot(&["missing.jsonl", "-o", "other.svg"])).contains("missing.jsonl"));
    assert!(plot(&["-o", "curve.png", "--overwrite"]).status.success());
}

#[test]
fn event_files_of_tensorboard_s_are_logs_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let events = folder.join("events.out.tfevents.1");
    fs::copy(fixtures::path("tensorboard/new.tfevents"), &events).unwrap();
    let plot = |arguments: &[&str]| {
        command([&["plot", "events.out.tfevents.1", "-o", "curve.svg", "--json"], arguments].concat())
            .current_dir(folder)
            .output()
            .unwrap()
    };
    let output = plot(&[]);
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["logs"][0]["steps"], &document["logs"][0]["last"]), (&6.into(), &5.into()));
    let said = refusal(&plot(&["--tag", "accuracy", "--overwrite"]));
    assert!(said.contains("no scalar is called 'accuracy'") && said.contains("loss, lr/group 0"), "{said}");
}
