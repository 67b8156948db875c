//! `DeepSpeed`'s folders against what its own `zero_to_fp32` made of them, and its engine said of the moments.

use std::path::PathBuf;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::{ErrorKind, Tensor};
use rekindle_testing::fixtures::{self, json, sizes};

fn path(name: &str) -> PathBuf {
    fixtures::path(&format!("deepspeed/{name}"))
}

fn numbers(json: &serde_json::Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

const RUNS: [&str; 6] = ["z1", "z1_bf16", "z2", "z2_bf16", "z3", "z3_bf16"];

#[test]
fn weights_are_those_of_zero_to_fp32() {
    let truth = json("deepspeed/truth.json");
    for run in RUNS {
        let checkpoint = Checkpoint::open(path(run)).unwrap();
        assert_eq!(checkpoint.format().unwrap().name(), "deepspeed");
        assert_eq!(checkpoint.layout().name(), "deepspeed");
        let weights = checkpoint.state_dict("module").unwrap();
        for (name, expected) in truth[run]["weights"].as_object().unwrap() {
            let found = weights.get(name).unwrap();
            assert_eq!(found.dtype().name(), expected[0].as_str().unwrap(), "{run}: {name}");
            assert_eq!(found.shape(), sizes(&expected[1]), "{run}: {name}");
            assert_eq!(found.to_f64_vec().unwrap(), numbers(&expected[2]), "{run}: {name}");
        }
        // What zero_to_fp32 leaves out is said.
        let more: Vec<&str> = weights.keys().filter(|name| truth[run]["weights"][name].is_null()).collect();
        let expected: &[&str] = if run == "z1_bf16" { &["first.weight"] } else { &[] };
        assert_eq!(more, expected, "{run}");
        assert_eq!(checkpoint.notes().len(), expected.len(), "{run}: {:?}", checkpoint.notes());
        let storage = |name: &str| weights.get(name).unwrap().storage().unwrap().clone();
        assert!(storage("last.weight").same(&storage("middle.weight")), "{run}: weights are tied again");
        let order: Vec<&str> = weights.keys().collect();
        assert_eq!(order[..4], ["first.weight", "first.bias", "scaled.scale", "scaled.count"], "{run}");
    }
}

#[test]
fn moments_are_those_of_the_engine() {
    let truth = json("deepspeed/truth.json");
    for run in RUNS {
        let checkpoint = Checkpoint::open(path(run)).unwrap();
        for (name, moments) in truth[run]["moments"].as_object().unwrap() {
            let state = format!("optimizer.state['{name}']");
            for (key, expected) in moments.as_object().unwrap() {
                let found: Tensor = checkpoint.get(&format!("{state}.{key}")).unwrap();
                assert_eq!(found.to_f64_vec().unwrap(), numbers(expected), "{run}: {name}.{key}");
            }
            let step: Tensor = checkpoint.get(&format!("{state}.step")).unwrap();
            assert_eq!(step.to_f64_vec().unwrap(), [3.0], "{run}: {name}");
        }
        let names: Vec<String> = checkpoint.get("optimizer.param_groups[0].params").unwrap();
        let two = ["z1_bf16", "z2", "z3"].contains(&run);
        let expected = if ["z1_bf16", "z2", "z3"].contains(&run) { "first.bias" } else { "first.weight" };
        assert_eq!(names.first().map(String::as_str), Some(expected), "{run}");
        assert_eq!(checkpoint.contains("optimizer.param_groups[1]"), two, "{run}");
        if two {
            assert_eq!(checkpoint.get::<f64>("optimizer.param_groups[0].lr").unwrap(), 0.02, "{run}");
            let names: Vec<String> = checkpoint.get("optimizer.param_groups[1].params").unwrap();
            assert_eq!(names.len(), 2, "{run}");
        }
        assert_eq!(checkpoint.get::<i64>("epoch").unwrap(), 2);
    }
}

/// Those that `ds_to_universal` made of a folder's parts have the same weights and moments.
#[test]
fn universal_checkpoints_are_read_as_the_folders_that_they_were_made_of() {
    for run in ["z1_bf16", "z3"] {
        let parts = Checkpoint::open(path(run)).unwrap();
        let universal = Checkpoint::open(path(&format!("universal_{run}"))).unwrap();
        assert_eq!((universal.format().unwrap().name(), universal.layout().name()), ("deepspeed", "deepspeed"));
        assert!(universal.notes().is_empty(), "{run}: {:?}", universal.notes());
        let [ours, theirs] = [&universal, &parts].map(|checkpoint| checkpoint.state_dict("module").unwrap());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{run}");
        for (name, tensor) in theirs.iter() {
            let found = ours.get(name).unwrap();
            assert_eq!((found.dtype(), found.shape()), (tensor.dtype(), tensor.shape()), "{run}: {name}");
            assert_eq!(found.to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{run}: {name}");
        }
        let storage = |name: &str| ours.get(name).unwrap().storage().unwrap().clone();
        assert!(storage("last.weight").same(&storage("middle.weight")), "{run}: weights are tied again");
        for name in ["first.bias", "middle.weight", "middle.bias"] {
            for key in ["exp_avg", "exp_avg_sq", "step"] {
                let place = format!("optimizer.state['{name}'].{key}");
                let [ours, theirs] = [&universal, &parts].map(|checkpoint| checkpoint.get::<Tensor>(&place).unwrap());
                assert_eq!(ours.shape(), theirs.shape(), "{run}: {place}");
                assert_eq!(ours.to_f64_vec().unwrap(), theirs.to_f64_vec().unwrap(), "{run}: {place}");
            }
        }
        for group in 0..2 {
            let place = format!("optimizer.param_groups[{group}]");
            let [ours, theirs] =
                [&universal, &parts].map(|it| it.get::<Vec<String>>(&format!("{place}.params")).unwrap());
            assert_eq!(ours, theirs, "{run}");
            assert!(universal.get::<f64>(&format!("{place}.lr")).is_ok(), "{run}");
        }
        assert_eq!(universal.get::<i64>("epoch").unwrap(), 2);
        let folder = rekindle_testing::scratch();
        universal.save(folder.path().join("merged.pt")).unwrap();
    }
}

#[test]
fn weights_that_only_the_missing_files_of_the_optimizer_hold_are_missed() {
    let folder = rekindle_testing::scratch();
    for entry in std::fs::read_dir(path("z3").join("global_step3")).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with("model_states.pt") {
            std::fs::copy(&from, folder.path().join(name)).unwrap();
        }
    }
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Missing { .. }), "{error}");
    assert!(error.to_string().contains("'first.bias'") && error.to_string().contains("*_optim_states.pt"), "{error}");
}

#[test]
fn the_layers_of_a_pipeline_are_named_as_older_versions_call_them() {
    let folder = rekindle_testing::scratch();
    for name in ["layer_00-model_states.pt", "layer_01-model_states.pt"] {
        std::fs::copy(path("z1").join("global_step3/mp_rank_00_model_states.pt"), folder.path().join(name)).unwrap();
    }
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("DeepSpeed's pipelines") && error.contains("ds_to_universal"), "{error}");
}

#[test]
fn what_is_merged_is_saved_as_one_file_that_plain_torch_load_opens() {
    let folder = rekindle_testing::scratch();
    for run in RUNS {
        let saved = folder.path().join("merged.pt");
        Checkpoint::open(path(run)).unwrap().save_with(&saved, &SaveOptions::default()).unwrap();
        let again = Checkpoint::open(&saved).unwrap();
        assert_eq!(again.state_dict("module").unwrap().len(), 7, "{run}");
    }
}

#[test]
fn a_rank_that_is_missing_is_missed() {
    for (run, name) in [
        ("z2", "zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("z2", "zero_pp_rank_2_mp_rank_00_optim_states.pt"),
        ("z3", "zero_pp_rank_0_mp_rank_00_model_states.pt"),
        ("z3", "zero_pp_rank_1_mp_rank_00_model_states.pt"),
        ("z2", "mp_rank_00_model_states.pt"),
    ] {
        let folder = rekindle_testing::scratch();
        for entry in std::fs::read_dir(path(run).join("global_step3")).unwrap() {
            let from = entry.unwrap().path();
            if from.file_name().unwrap() != name {
                std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        let error = Checkpoint::open(folder.path()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Missing { .. }), "{run} without {name}: {error}");
    }
}

#[test]
fn a_model_that_is_split_over_ranks_is_named() {
    let folder = rekindle_testing::scratch();
    for rank in 0..2 {
        let from = path("z1").join("global_step3/mp_rank_00_model_states.pt");
        std::fs::copy(from, folder.path().join(format!("mp_rank_{rank:02}_model_states.pt"))).unwrap();
    }
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("split over 2 ranks") && error.contains("ds_to_universal"), "{error}");
}
