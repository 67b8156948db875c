//! `inspect`, `diff` and `convert`, and how the command says what it cannot do.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value as Json;

use crate::{refusal, rekindle, run_pt};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one sentence of a verb that could not do what was asked, and printed nothing else.
fn nothing_but_a_sentence(output: &Output) -> String {
    assert!(output.stdout.is_empty());
    refusal(output)
}

#[test]
fn inspect_prints_one_json_document_that_says_what_pytorch_says() {
    let output = rekindle([Path::new("inspect"), &run_pt(), Path::new("--json"), Path::new("--hash")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let document: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["container"], "zip");
    assert_eq!(document["layout"], "tutorial");
    assert_eq!(document["bytes"], std::fs::metadata(run_pt()).unwrap().len());
    assert_eq!(document["values"]["epoch"], 13);
    assert_eq!(document["values"]["optimizer_state_dict.param_groups[0].weight_decay"], 1.0);
    assert_eq!(document["values"]["scheduler_state_dict.T_max"], 26);
    let tensors = document["tensors"].as_array().unwrap();
    let first = &tensors[0];
    assert_eq!(first["name"], "model_state_dict.conv1.weight");
    assert_eq!(first["dtype"], "float32");
    assert_eq!(first["shape"], serde_json::json!([6, 1, 3, 3]));
    assert_eq!(first["stride"], serde_json::json!([9, 9, 3, 1]));
    assert_eq!(first["storage"], "0");
    assert_eq!(first["requires_grad"], false);
    assert_eq!(first["sha256"].as_str().unwrap().len(), 64);
    assert!(tensors.iter().any(|tensor| tensor["name"] == "optimizer_state_dict.state[0].exp_avg"));
}

#[test]
fn diff_answers_yes_and_no_by_its_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    assert_eq!(rekindle([Path::new("convert"), &run_pt(), &copy]).status.code(), Some(0));
    let same = rekindle([Path::new("diff"), &run_pt(), &copy]);
    assert_eq!((same.status.code(), stdout(&same).as_str()), (Some(0), "no difference\n"));

    let half = folder.path().join("half.pt");
    let arguments = ["--dtype", "bfloat16"].map(Path::new);
    let converted = rekindle([Path::new("convert"), &run_pt(), &half].into_iter().chain(arguments));
    assert_eq!(converted.status.code(), Some(0), "{converted:?}");
    let other = rekindle([Path::new("diff"), &run_pt(), &half, Path::new("--json")]);
    assert_eq!(other.status.code(), Some(1));
    let document: Json = serde_json::from_str(&stdout(&other)).unwrap();
    assert_eq!(document["equal"], false);
    assert!(
        document["differences"].as_array().unwrap().iter().any(|row| row["name"] == "model_state_dict.conv1.weight")
    );
}

#[test]
fn convert_takes_a_part_and_maps_its_keys_but_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("weights.pt");
    let convert = |extra: &[&str]| {
        let fixed = [Path::new("convert"), &run_pt(), &out].map(Path::to_owned);
        rekindle(fixed.into_iter().chain(extra.iter().map(PathBuf::from)))
    };
    let arguments = ["--key", "model_state_dict", "--rename", "^fc=head", "--exclude", "conv2.*"];
    assert_eq!(convert(&arguments).status.code(), Some(0));
    let keys = stdout(&rekindle([Path::new("inspect"), &out, Path::new("--keys")]));
    let expected = [
        "conv1.weight",
        "conv1.bias",
        "head1.weight",
        "head1.bias",
        "head2.weight",
        "head2.bias",
        "head3.weight",
        "head3.bias",
    ];
    assert_eq!(keys.lines().collect::<Vec<_>>(), expected);

    let refused = nothing_but_a_sentence(&convert(&[]));
    assert!(refused.contains("--overwrite"), "{refused}");
    assert_eq!(convert(&["--overwrite"]).status.code(), Some(0));
}

#[test]
fn what_cannot_be_done_is_one_sentence_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(run_pt()).unwrap();
    let cases = [
        (folder.path().join("absent.pt"), "No such file"),
        (file("cut.pt", &whole[..whole.len() / 2]), "cut off"),
        (file("page.pt", b"<!DOCTYPE html><html></html>"), "not a checkpoint"),
        (file("empty.pt", b""), "empty"),
    ];
    for (path, expected) in cases {
        let sentence = nothing_but_a_sentence(&rekindle([Path::new("inspect"), &path]));
        assert!(sentence.contains(path.to_str().unwrap()) && sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn a_bit_that_flipped_is_found_and_the_tensor_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.pt");
    let mut bytes = std::fs::read(run_pt()).unwrap();
    // In the largest tensor of the model, fc2.weight: well inside the file's payload.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let sentence = nothing_but_a_sentence(&rekindle([Path::new("inspect"), &path, Path::new("--hash")]));
    assert!(
        sentence.contains("checksum") && sentence.contains("data/") && sentence.contains("_state_dict"),
        "{sentence}"
    );
}

#[test]
fn devices_names_the_cpu() {
    assert!(stdout(&rekindle(["devices"])).lines().any(|line| line == "cpu"));
}

#[test]
fn arguments_that_make_no_sense_exit_with_two() {
    for arguments in [vec!["abacus"], vec!["diff", "one"], vec!["resume", "run.pt", "--steps", "many"]] {
        assert_eq!(rekindle(arguments).status.code(), Some(2));
    }
}
