//! Archives of older versions of `PyTorch` compute what those computed: the fixtures that `tests/fixtures/old_programs.py` wrote.

use std::path::PathBuf;

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::graph::Program;
use rekindle_testing::fixtures;

use crate::judge::compare;

fn folder(name: &str) -> PathBuf {
    fixtures::path("old_programs").join(name)
}

/// All cases there are, as `version/network`, with this archive.
fn cases(mode: &str) -> Vec<String> {
    let names = |folder: PathBuf| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut cases = Vec::new();
    for version in names(fixtures::path("old_programs")) {
        for network in names(folder(&version)) {
            let case = format!("{version}/{network}");
            if folder(&case).join(format!("{mode}.pt2")).exists() {
                cases.push(case);
            }
        }
    }
    cases.sort();
    cases
}

#[test]
fn archives_of_older_pytorchs_are_computed_as_those_computed_them() {
    let mut wrong = Vec::new();
    for mode in ["eval", "train"] {
        let cases = cases(mode);
        assert!(cases.len() >= 10, "{mode}: {cases:?}");
        for case in cases {
            let apart = std::panic::catch_unwind(|| compare(&folder(&case), mode, mode));
            println!("{case} {mode}: {apart:?}");
            match apart {
                Ok(apart) if apart.outputs <= 1e-6 && apart.gradients <= 1e-5 && apart.buffers <= 1e-6 => {}
                other => wrong.push(format!("{case} {mode}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn weights_of_the_oldest_archives_have_the_networks_own_names() {
    for version in ["2.1", "2.7"] {
        let path = folder(version).join("dynamic/eval.pt2");
        let program = Program::open(&path, &Device::flex()).unwrap();
        let names: Vec<String> = program.state_dict().unwrap().keys().map(str::to_owned).collect();
        assert_eq!(names, ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"], "{version}");
        assert_eq!(program.outputs().collect::<Vec<_>>(), ["scores", "mean"], "{version}");
    }
}
