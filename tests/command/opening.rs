//! How a checkpoint is opened that a run goes on from: as the other verbs open it, by flags and by keys of `rekindle.toml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::{Checkpoint, Tensor};
use rekindle_testing::fixtures;

use crate::command;
use crate::resume::resume;

const MODEL: [&str; 4] = ["--model", "mlp", "--config", "sizes=6,8,4"];

fn case(name: &str) -> PathBuf {
    fixtures::path("command_runs").join(name)
}

fn plan(checkpoint: &Path, arguments: &[&str]) -> Output {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(MODEL.iter().chain(arguments).map(Path::new));
    command(all).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_run_goes_on_from_the_save_that_is_named_of_several_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.pt");
    let saves =
        [case("scheduler_in_a_dict.pt"), case("scheduler_in_a_dict_end.pt")].map(|save| fs::read(save).unwrap());
    fs::write(&path, saves.concat()).unwrap();
    let step = |output: Output| {
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stdout);
        said.lines().find(|line| line.starts_with("position")).unwrap().to_owned()
    };
    assert!(step(plan(&path, &[])).ends_with("step 7"));
    assert!(step(plan(&path, &["--nth", "2"])).ends_with("step 19"));
    fs::write(folder.path().join("rekindle.toml"), "nth = 2\nlenient = true\naxis = ['*.weight=0']\n").unwrap();
    assert!(step(plan(&path, &[])).ends_with("step 19"));
    assert!(step(plan(&path, &["--nth", "1"])).ends_with("step 7"));
    let third = plan(&path, &["--nth", "3"]);
    assert!(!third.status.success() && text(&third.stderr).contains("--nth"), "{third:?}");

    let batches = case("batches.pt");
    let arguments =
        [&MODEL[..], &["--batches", batches.to_str().unwrap(), "--steps", "1", "--save", "out.pt"]].concat();
    let output = resume(&path, &arguments, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(Checkpoint::open(folder.path().join("out.pt")).unwrap().get::<i64>("step").unwrap(), 20);
}

#[test]
fn a_damaged_checkpoint_goes_on_where_that_is_said_and_not_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pt");
    let weight: Tensor = Checkpoint::open(case("member_in_a_wrapper.pt"))
        .unwrap()
        .get("model_state_dict['module.net.0.weight']")
        .unwrap();
    let (weight, mut bytes) = (weight.to_le_bytes().unwrap(), fs::read(case("member_in_a_wrapper.pt")).unwrap());
    let place = bytes.windows(weight.len()).position(|window| *window == *weight).unwrap();
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    let member = ["--member", "module.net."];
    let refused = plan(&path, &member);
    assert!(text(&refused.stderr).contains("--no-verify"), "{refused:?}");
    let read = plan(&path, &[&member[..], &["--no-verify"]].concat());
    assert!(read.status.success(), "{read:?}");
    fs::write(folder.path().join("rekindle.toml"), "no_verify = true\n").unwrap();
    assert!(plan(&path, &member).status.success());
}

#[test]
fn a_folder_of_deepspeed_s_ranks_goes_on_as_the_checkpoint_that_it_is_together() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["z1", "z1_bf16", "z2", "z3"] {
        let ranks = fixtures::path("deepspeed").join(name);
        let whole = folder.path().join("whole.pt");
        Checkpoint::open(&ranks).unwrap().save(&whole).unwrap();
        let weights = [ranks.as_path(), &whole].map(|from| {
            let plan = "--model mlp --config sizes=3,5,3 --rename ^first=0 --rename ^middle=2 --unexpected keep";
            let batches = folder.path().join("batches.safetensors");
            let inputs = Tensor::from_vec(&[2, 4, 3], (0..24_u8).map(|i| f32::from(i) / 10.0 - 1.0).collect()).unwrap();
            let targets = Tensor::from_vec(&[2, 4], vec![0_i64, 1, 2, 0, 2, 2, 1, 0]).unwrap();
            let both = rekindle::Dict::from_iter([("inputs", inputs), ("targets", targets)]);
            let overwrite = rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true);
            Checkpoint::from(both).save_with(&batches, &overwrite).unwrap();
            let arguments: Vec<_> = plan.split(' ').chain(["--batches", "batches.safetensors"]).collect();
            let output = resume(from, &[&arguments[..], &["--save", "out.pt", "--overwrite"]].concat(), folder.path());
            assert!(output.status.success(), "{name}: {}", text(&output.stderr));
            // What ZeRO clips to is in the file, and not asked.
            let after = Checkpoint::open(folder.path().join("out.pt")).unwrap();
            assert_eq!(after.get::<i64>("global_steps").unwrap(), 5, "{name}");
            let tensor = |place: &str| after.get::<Tensor>(place).unwrap().to_vec::<f32>().unwrap();
            (tensor("module['middle.weight']"), tensor("optimizer.state['middle.weight'].exp_avg"))
        });
        assert_eq!(weights[0], weights[1], "{name}");
        std::fs::remove_file(whole).unwrap();
    }
}
