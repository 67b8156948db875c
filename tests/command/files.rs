//! The verbs about files: `verify`, `scan`, and `convert` to every container.

use std::path::Path;
use std::process::Output;

use rekindle_testing::fixtures;
use serde_json::Value as Json;

use crate::{rekindle, run_pt};

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn convert_writes_every_container_and_reads_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("weights.pt");
    let key = ["--key", "model_state_dict"].map(Path::new);
    let taken = rekindle([&[Path::new("convert"), &run_pt(), &original], &key[..]].concat());
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    // By OUT's extension, or by --to.
    let outputs = [
        ("weights.safetensors", None, "safetensors"),
        ("weights.npz", None, "numpy"),
        ("weights.bpk", None, "burnpack"),
        ("stream.pt", Some("legacy"), "legacy"),
        ("folder", Some("hf"), "hf"),
        ("distributed", Some("dcp"), "dcp"),
        ("again.pt", Some("zip"), "zip"),
    ];
    for (name, to, container) in outputs {
        let out = folder.path().join(name);
        let mut arguments = vec![Path::new("convert"), &original, &out];
        arguments.extend(to.iter().flat_map(|to| [Path::new("--to"), Path::new(to)]));
        let converted = rekindle(&arguments);
        assert_eq!(converted.status.code(), Some(0), "{name}: {converted:?}");
        let document = json(&rekindle([Path::new("inspect"), &out, Path::new("--json")]));
        assert_eq!(
            (document["container"].as_str(), document["layout"].as_str()),
            (Some(container), Some("bare")),
            "{name}"
        );
        let diff = rekindle([Path::new("diff"), &original, &out, Path::new("--json")]);
        let document = json(&diff);
        let tensors = document["differences"].as_array().unwrap().iter().filter(|row| row["name"] != "_metadata");
        assert_eq!(tensors.count(), 0, "{name}: {document}");
        let verified = rekindle([Path::new("verify"), &out]);
        assert_eq!(verified.status.code(), Some(0), "{name}: {verified:?}");
        let refused = rekindle(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{name} was replaced without --overwrite");
        arguments.push(Path::new("--overwrite"));
        assert_eq!(rekindle(&arguments).status.code(), Some(0), "{name}");
    }
    // Shards of a size.
    let out = folder.path().join("shards");
    let options = ["--to", "hf", "--max-shard-size", "20KB"].map(Path::new);
    let sharded = rekindle([&[Path::new("convert"), &original, &out], &options[..]].concat());
    assert_eq!(sharded.status.code(), Some(0), "{sharded:?}");
    assert!(out.join("model.safetensors.index.json").exists());
}

#[test]
fn verify_answers_whether_a_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |path: &Path| rekindle([Path::new("verify"), path, Path::new("--json")]);
    let whole = verify(&run_pt());
    assert_eq!(whole.status.code(), Some(0));
    assert_eq!(json(&whole)[0]["sound"], true);

    let mut bytes = std::fs::read(run_pt()).unwrap();
    let cut = folder.path().join("cut.pt");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(verify(&cut).status.code(), Some(1), "a file that is cut off is damaged");

    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = folder.path().join("flipped.pt");
    std::fs::write(&flipped, &bytes).unwrap();
    let damaged = verify(&flipped);
    assert_eq!(damaged.status.code(), Some(1));
    assert_eq!(json(&damaged)[0]["sound"], false);
    // Reading on is the caller's choice.
    let hash = [Path::new("inspect"), &flipped, Path::new("--hash")];
    assert_eq!(rekindle(hash).status.code(), Some(2));
    assert_eq!(rekindle([&hash[..], &[Path::new("--no-verify")]].concat()).status.code(), Some(0));
    assert_eq!(verify(&folder.path().join("absent.pt")).status.code(), Some(2));
}

#[test]
fn scan_answers_whether_a_file_would_run_code() {
    let folder = tempfile::tempdir().unwrap();
    let scan = |path: &Path| rekindle([Path::new("scan"), path, Path::new("--json")]);
    let safe = scan(&run_pt());
    assert_eq!(safe.status.code(), Some(0));
    assert_eq!(json(&safe)[0]["safe"], true);

    let hostile = folder.path().join("hostile.pkl");
    std::fs::write(&hostile, b"cposix\nsystem\n(S'true'\ntR.").unwrap();
    let refused = scan(&hostile);
    assert_eq!(refused.status.code(), Some(1));
    let names = &json(&refused)[0]["names"][0];
    assert_eq!((names["name"].as_str(), names["verdict"].as_str()), (Some("posix.system"), Some("dangerous")));
    assert_eq!(scan(&folder.path().join("absent")).status.code(), Some(2));
}

/// The command with something on its standard input.
fn fed<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Output {
    let mut child = crate::command(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_dash_is_standard_input_and_standard_output() {
    let bytes = std::fs::read(run_pt()).unwrap();
    let shown = fed(["inspect", "-", "--keys"], &bytes);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    assert_eq!(shown.stdout, rekindle([Path::new("inspect"), &run_pt(), Path::new("--keys")]).stdout);
    let converted = fed(["convert", "-", "-", "--key", "model_state_dict", "--to", "safetensors"], &bytes);
    assert_eq!(converted.status.code(), Some(0), "{converted:?}");
    let path = run_pt();
    let key = fed(["diff", "-", path.to_str().unwrap()], &bytes);
    assert_eq!(key.status.code(), Some(0), "{key:?}");
    let keys = fed(["inspect", "-", "--keys"], &converted.stdout);
    assert!(String::from_utf8(keys.stdout).unwrap().lines().count() > 1);
    let whole = fed(["verify", "-", "--finite"], &bytes);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert!(String::from_utf8_lossy(&whole.stdout).starts_with("-: whole, "), "{whole:?}");
    let hostile = fed(["scan", "-"], b"cposix\nsystem\n(S'echo pwned'\ntR.");
    assert_eq!(hostile.status.code(), Some(1), "{hostile:?}");
    assert_eq!(fed(["scan", "-"], &bytes).status.code(), Some(0));
    let computed = fed(["verify", "-", "--run"], &bytes);
    assert!(crate::refusal(&computed).contains("name the file"), "{computed:?}");
    for verb in ["inspect", "verify", "scan"] {
        let refused = fed([verb, "-"], b"nothing");
        assert!(crate::refusal(&refused).contains("standard input: this is not a checkpoint"), "{refused:?}");
    }
}

#[test]
fn what_hangs_on_tensors_and_what_is_not_known_is_said() {
    let file = |name: &str| fixtures::path("tensors").join(name);
    let run = |arguments: &[&str], paths: &[&Path]| {
        let verb = arguments[..1].iter().map(Path::new);
        let output = rekindle(verb.chain(paths.iter().copied()).chain(arguments[1..].iter().map(Path::new)));
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&["inspect"], &[&file("unknown.pt")]);
    assert_eq!(code, Some(0));
    let words =
        ["3 tensors in a form not known: torch_other.storage._rebuild_other_tensor", "typed: a tensor in a form"];
    assert!(words.iter().all(|words| text.contains(words)), "{text}");
    let (_, text) = run(&["inspect"], &[&file("dtensor.pt")]);
    for words in ["the part [2:4, 4:6] of [4, 6]", "a term of the sum that [3] is", "torch.distributed.tensor.DTensor"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    let (code, text) = run(&["inspect", "--json"], &[&file("sharded.pt")]);
    let document: Json = serde_json::from_str(&text).unwrap();
    let part = document["tensors"].as_array().unwrap().iter().find(|tensor| !tensor["part"].is_null()).unwrap();
    assert_eq!((code, &part["part"]["offsets"]), (Some(0), &serde_json::json!([2, 0])));
    for name in ["attributes", "quantised"] {
        let (code, text) = run(&["diff"], &[&file(&format!("{name}.pt")), &file(&format!("{name}_b.pt"))]);
        assert_eq!(code, Some(1), "{name}: {text}");
    }
    let (code, text) = run(&["verify", "--finite"], &[&file("attributes.pt")]);
    assert!(code == Some(1) && text.contains("mask: 1 NaN"), "{text}");
    let (code, text) = run(&["verify"], &[&file("checked.pt")]);
    assert!(code == Some(1) && text.contains("the index 3 is outside of dimension 1"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cpu.pt");
    let (code, text) = run(&["convert", "--map-location", "cpu"], &[&file("npu.pt"), &out]);
    assert_eq!(code, Some(0), "{text}");
    let (_, text) = run(&["inspect"], &[&out]);
    assert!(text.contains("cpu") && !text.contains("npu"), "{text}");
}
