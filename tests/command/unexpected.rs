//! Entries of a checkpoint's model that the network lacks: a criterion's weights, a metric's buffers, a copy of the weights inside.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;
use rekindle_testing::fixtures::lines;

use crate::resume::resume;

const RUN: [&str; 7] = ["--model", "mlp", "--config", "sizes=6,8,4", "--batches", "BATCHES", "--overwrite"];

fn go(path: &Path, more: &[&str], folder: &Path) -> Output {
    let batches = fixtures::path("command_runs").join("batches.pt").display().to_string();
    let common = RUN.iter().map(|argument| if *argument == "BATCHES" { batches.as_str() } else { argument });
    let all: Vec<&str> = common
        .chain(["--steps", "3", "--loss-dtype", "weights", "--save", "out.pt", "--log", "log.jsonl"])
        .chain(more.iter().copied())
        .collect();
    resume(path, &all, folder)
}

/// A run of PyTorch whose model has other entries: the names in front of and behind its own, and what is before its own.
fn with_more(folder: &Path, before: &[&str], behind: &[&str], prefix: &str) -> PathBuf {
    let checkpoint = Checkpoint::open(fixtures::path("command_runs").join("bfloat16_scheduled.pt")).unwrap();
    let model = checkpoint.value("model_state_dict").unwrap();
    let other =
        |name: &&str| ((*name).to_owned(), Value::from(Tensor::from_vec(&[3], vec![1.0_f32, 2.0, 3.0]).unwrap()));
    let own = model.as_dict().unwrap().entries().into_iter();
    let own = own.map(|(key, value)| (format!("{prefix}{}", key.as_str().unwrap()), value));
    let all: Dict = before.iter().map(other).chain(own).chain(behind.iter().map(other)).collect();
    let root: Dict = checkpoint.root().as_dict().unwrap().entries().into_iter().collect();
    root.insert("model_state_dict", all);
    let path = folder.join("run.pt");
    Checkpoint::from(root).save_with(&path, &SaveOptions::default()).unwrap();
    path
}

fn keys(path: &Path) -> Vec<String> {
    let model = Checkpoint::open(path).unwrap().value("model_state_dict").unwrap();
    model.as_dict().unwrap().entries().into_iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_the_network_lacks_is_asked_about_and_kept_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (at, out) = (folder.path(), folder.path().join("out.pt"));
    for (prefix, more) in [("", &[][..]), ("module.", &[]), ("net.", &["--strip-prefix", "net."])] {
        let other = |name: &str| if prefix == "module." { format!("module.{name}") } else { name.to_owned() };
        let names = ["criterion.weight", "ema.0.weight", "metric.total"].map(other);
        let path = with_more(at, &[&names[0]], &[&names[1], &names[2]], prefix);
        let before = keys(&path);
        let asked = go(&path, more, at);
        let said = String::from_utf8(asked.stderr).unwrap();
        assert_eq!(asked.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&names[0]) && said.contains("--unexpected keep") && said.contains("--unexpected drop"),
            "{said}"
        );
        assert!(!at.join("log.jsonl").exists());

        let kept = go(&path, &[more, &["--unexpected", "keep"]].concat(), at);
        assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
        assert!(String::from_utf8(kept.stderr).unwrap().contains("beside it, kept as it is: "));
        assert_eq!(keys(&out), before);
        let losses = |lines: Vec<serde_json::Value>| -> Vec<f64> {
            lines.iter().map(|line| line["loss"].as_f64().unwrap()).collect()
        };
        let case = &fixtures::named_cases("command_runs/cases.json")["bfloat16_scheduled"];
        assert_eq!(losses(lines(&at.join("log.jsonl"))), fixtures::floats(&case["losses"])[..3]);

        let dropped = go(&path, &[more, &["--unexpected", "drop"]].concat(), at);
        assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
        assert!(
            String::from_utf8(dropped.stderr).unwrap().contains("is left out of what is written (--unexpected drop)")
        );
        assert_eq!(keys(&out), before.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        std::fs::remove_file(at.join("log.jsonl")).unwrap();
    }
    std::fs::write(at.join("rekindle.toml"), "unexpected = \"keep\"").unwrap();
    let path = with_more(at, &[], &["criterion.weight"], "");
    assert!(go(&path, &[], at).status.success());
}

#[test]
fn a_model_that_is_a_member_of_what_was_saved_is_asked_about_in_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = with_more(folder.path(), &["criterion.weight"], &[], "net.");
    let asked = go(&path, &[], folder.path());
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.status.code() == Some(2) && said.contains("--member net."), "{said}");
    let kept = go(&path, &["--member", "net."], folder.path());
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    assert_eq!(keys(&folder.path().join("out.pt")), keys(&path));
}
