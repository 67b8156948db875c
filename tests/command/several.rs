//! Files of several models: the command asks which goes on, trains those that are named, and keeps the others.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::{Checkpoint, Tensor};
use rekindle_testing::fixtures;

use crate::command;

fn file(name: &str) -> PathBuf {
    fixtures::path("several").join(name)
}

fn resume(name: &str, arguments: &[&str], folder: &Path) -> Output {
    let batches = file("two_batches.safetensors");
    let fixed = [Path::new("resume"), &file(name), Path::new("--batches"), &batches].map(Path::to_path_buf);
    let all = fixed.into_iter().chain(arguments.iter().map(PathBuf::from));
    command(all).current_dir(folder).output().unwrap()
}

const BOTH: [&str; 8] = [
    "--model",
    "A=mlp",
    "--model",
    "modelB_state_dict=mlp",
    "--config",
    "A.sizes=6,8,3",
    "--config",
    "modelB_state_dict.sizes=6,5,3",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn far(ours: &Checkpoint, theirs: &Checkpoint, key: &str) -> f64 {
    let tensors = |checkpoint: &Checkpoint| checkpoint.state_dict(key).unwrap();
    let (ours, theirs) = (tensors(ours), tensors(theirs));
    let each = ours.iter().zip(theirs.iter()).flat_map(|((a, ours), (b, theirs))| {
        assert_eq!(a, b);
        ours.to_f64_vec().unwrap().into_iter().zip(theirs.to_f64_vec().unwrap())
    });
    each.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// One optimizer over both: each part has its share of it, and together they are the whole again.
#[test]
fn two_models_that_one_optimizer_trains_go_on_as_in_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let batches = file("shared_batches.safetensors");
    let fixed = [Path::new("resume"), &file("shared.pt"), Path::new("--batches"), &batches].map(Path::to_path_buf);
    let told = ["--schedule-per", "step", "--save", "out.pt", "--log", "log.jsonl"];
    let all = fixed.into_iter().chain(BOTH.iter().chain(&told).map(PathBuf::from));
    let output = command(all).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (ours, theirs) =
        (Checkpoint::open(folder.path().join("out.pt")).unwrap(), Checkpoint::open(file("shared_end.pt")).unwrap());
    for key in ["modelA_state_dict", "modelB_state_dict"] {
        assert!(far(&ours, &theirs, key) <= 1e-5, "{key}");
    }
    for parameter in 0..8 {
        for moment in ["exp_avg", "exp_avg_sq", "step"] {
            let path = format!("optimizer_state_dict.state[{parameter}].{moment}");
            let values = |checkpoint: &Checkpoint| checkpoint.get::<Tensor>(&path).unwrap();
            let (ours, theirs) = (values(&ours), values(&theirs));
            assert_eq!(ours.shape(), theirs.shape(), "{path}");
            let (ours, theirs) = (ours.to_f64_vec().unwrap(), theirs.to_f64_vec().unwrap());
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-6), "{path}: {ours:?}, {theirs:?}");
        }
    }
    for path in ["scheduler_state_dict.last_epoch", "step", "optimizer_state_dict.param_groups[0].params[7]"] {
        assert_eq!(ours.get::<i64>(path).unwrap(), theirs.get::<i64>(path).unwrap(), "{path}");
    }
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    let log: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(file("shared.json")).unwrap()).unwrap();
    assert_eq!(log.len(), expected.len());
    for (line, theirs) in log.iter().zip(&expected) {
        let sum = theirs["A"].as_f64().unwrap() + theirs["B"].as_f64().unwrap();
        assert!((line["loss"].as_f64().unwrap() - sum).abs() <= 1e-6 * sum, "{line} and {theirs}");
        assert!(line["lr"].as_array().unwrap().iter().all(|lr| *lr == theirs["lr"]), "{line} and {theirs}");
    }
}

#[test]
fn two_models_go_on_beside_each_other_as_in_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&BOTH[..], &["--save", "out.pt", "--log", "log.jsonl"]].concat();
    let output = resume("two.pt", &arguments, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (ours, theirs) =
        (Checkpoint::open(folder.path().join("out.pt")).unwrap(), Checkpoint::open(file("two_end.pt")).unwrap());
    for key in ["modelA_state_dict", "modelB_state_dict"] {
        assert!(far(&ours, &theirs, key) <= 1e-5, "{key}");
    }
    assert_eq!(ours.get::<i64>("step").unwrap(), 12);
    for path in ["optimizerA_state_dict.state[0].momentum_buffer", "optimizerB_state_dict.state[3].exp_avg_sq"] {
        let values = |checkpoint: &Checkpoint| checkpoint.get::<Tensor>(path).unwrap().to_f64_vec().unwrap();
        let apart = values(&ours).iter().zip(values(&theirs)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-5, "{path}: {apart}");
    }
    let truth = fixtures::json("several/two.json");
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    for (line, expected) in log.lines().zip(truth.as_array().unwrap()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let sum = expected["A"][0].as_f64().unwrap() + expected["B"][0].as_f64().unwrap();
        assert!((line["loss"].as_f64().unwrap() - sum).abs() <= 2e-6 * sum, "{line} {expected}");
        assert_eq!(
            (&line["step"], &line["lr"][0], &line["lr"][1]),
            (&expected["step"], &expected["A"][1], &expected["B"][1])
        );
    }
    assert_eq!(log.lines().count(), 6);
}

#[test]
fn which_model_goes_on_is_asked_and_one_alone_leaves_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let one = ["--model", "mlp", "--config", "sizes=6,8,3"];
    let asked = text(&resume("two.pt", &one, folder.path()).stderr);
    assert!(asked.contains("--model A=NAME to go on with modelA_state_dict with optimizerA_state_dict"), "{asked}");
    assert!(asked.contains("--model B=NAME to go on with modelB_state_dict"), "{asked}");

    let a = ["--model", "A=mlp", "--config", "sizes=6,8,3", "--save", "a.pt"];
    let output = resume("two.pt", &a, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("part       A; kept as they are: modelB_state_dict, optimizerB_state_dict"));
    let ours = Checkpoint::open(folder.path().join("a.pt")).unwrap();
    assert!(far(&ours, &Checkpoint::open(file("two_end.pt")).unwrap(), "modelA_state_dict") <= 1e-5);
    assert!(far(&ours, &Checkpoint::open(file("two.pt")).unwrap(), "modelB_state_dict") <= 0.0);

    let plan = [Path::new("plan"), &file("two.pt")].map(Path::to_path_buf);
    let planned = command(plan.into_iter().chain(BOTH.map(PathBuf::from))).output().unwrap();
    assert!(planned.status.success(), "{planned:?}");
    assert_eq!(text(&planned.stdout).matches("\npart ").count(), 2, "{}", text(&planned.stdout));
    let unnamed = ["--model", "A=mlp", "--model", "mlp"];
    assert_eq!(resume("two.pt", &unnamed, folder.path()).status.code(), Some(2));
}

#[test]
fn rules_of_averages_are_flags() {
    let folder = tempfile::tempdir().unwrap();
    let average = |name: &str, arguments: &[&str]| {
        let path = file("averages").join(format!("{name}.pt"));
        let all = ["--model", "mlp", "--config", "sizes=6,8,3"].iter().chain(arguments).map(PathBuf::from);
        text(
            &command([PathBuf::from("plan"), path].into_iter().chain(all))
                .current_dir(folder.path())
                .output()
                .unwrap()
                .stdout,
        )
    };
    for (name, arguments, says) in [
        ("ema", &[][..], "average    stays as it is"),
        ("ema", &["--ema", "0.9"], "average    goes on by the rule that was given: 0.9"),
        ("swa", &[], "average    goes on by its own rule: swa"),
        ("swa", &["--ema", "none"], "average    stays as it is"),
        ("yolo", &["--ema", "0.9"], "average    goes on by the rule that was given: yolo(decay=0.9, tau=2000)"),
        (
            "ema_pytorch",
            &["--ema", "ema_pytorch(update_every=1)"],
            "average    goes on by the rule that was given: ema_pytorch(beta=0.9999",
        ),
        (
            "ema",
            &["--ema", "0.9", "--ema-per", "epoch"],
            "average    goes on by the rule that was given: 0.9, after each epoch",
        ),
    ] {
        let plan = average(name, arguments);
        assert!(plan.contains(says), "{name} {arguments:?}: {plan}");
    }
}

#[test]
fn weights_that_are_called_raw_or_online_beside_a_model_are_asked_about_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model_raw", "online_net"] {
        let start = fixtures::path("frameworks").join("fabric/start.pt");
        let path = crate::questions::changed(start, folder.path(), |root| {
            let weights = root.get("model").unwrap();
            root.insert(name, weights);
        });
        let config = ["--config", "sizes=20,32,16,10"];
        let (whole, said) = crate::questions::plan(&path, &[&["--model", "mlp"], &config[..]].concat());
        assert!(!whole && said.contains("the file holds several models") && said.contains(name), "{said}");
        let of = format!("{name}=mlp");
        let answer = ["--model", of.as_str(), "--optimizer-at", "optimizer", "--scheduler-at", "scheduler"];
        let (whole, said) = crate::questions::plan(&path, &[&answer, &config[..]].concat());
        assert!(whole, "{said}");
    }
}
