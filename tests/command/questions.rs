//! Questions of what a run did around its steps, and of when its epochs end; each with answers that work.

use std::path::{Path, PathBuf};

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Dict, Value};
use rekindle_testing::fixtures;

use crate::command;

/// The plan, and whether nothing is open.
fn plan(checkpoint: &Path, arguments: &[&str]) -> (bool, String) {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(arguments.iter().map(Path::new));
    let output = command(all).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

fn changed(from: PathBuf, folder: &Path, change: impl FnOnce(&Dict)) -> PathBuf {
    let checkpoint = Checkpoint::open(from).unwrap();
    let root: Dict = checkpoint.root().as_dict().unwrap().entries().into_iter().collect();
    change(&root);
    let path = folder.join("changed.pt");
    Checkpoint::from(root).save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
    path
}

#[test]
fn a_step_that_took_several_batches_is_asked_about_and_either_answer_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(fixtures::path("frameworks").join("nanogpt/start.pt"), folder.path(), |root| {
        root.get("config").unwrap().as_dict().unwrap().insert("gradient_accumulation_steps", 4_i64);
    });
    let model = ["--model", "mlp", "--config", "sizes=20,32,16,10"];
    let (whole, said) = plan(&path, &model);
    assert!(!whole && said.contains("a step took 4 batches") && said.contains("--accumulate 4"), "{said}");
    assert!(said.contains("--accumulate 1"), "{said}");
    for (batches, says) in [("4", "a step takes the mean of 4 batches (--accumulate)"), ("1", "")] {
        let (whole, said) = plan(&path, &[&model[..], &["--accumulate", batches]].concat());
        assert!(whole && said.contains(says), "{said}");
    }
}

#[test]
fn an_average_per_epoch_over_fixed_batches_is_asked_how_long_an_epoch_is() {
    let path = fixtures::path("several").join("averages/ema.pt");
    let batches = fixtures::path("several").join("two_batches.safetensors");
    let common = ["--model", "mlp", "--config", "sizes=6,8,3", "--batches", batches.to_str().unwrap()];
    let rule = ["--ema", "0.9", "--ema-per", "epoch"];
    let (whole, said) = plan(&path, &[&common[..], &rule].concat());
    assert!(!whole && said.contains("--steps-per-epoch N") && said.contains("--ema none"), "{said}");
    for answer in [&["--ema", "0.9", "--ema-per", "epoch", "--steps-per-epoch", "3"][..], &["--ema", "none"]] {
        let (whole, said) = plan(&path, &[&common[..], answer].concat());
        assert!(whole, "{said}");
    }
}

#[test]
fn the_plan_of_several_models_asks_how_long_an_epoch_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(fixtures::path("several").join("two.pt"), folder.path(), |root| {
        let optimizer = root.get("optimizerA_state_dict").unwrap();
        let group = optimizer.as_dict().unwrap().get("param_groups").unwrap().items().unwrap().remove(0);
        let lr = group.as_dict().unwrap().get("lr").unwrap();
        let rates = Value::from(vec![lr]);
        let counts = [("step_size", 2_i64), ("last_epoch", 1), ("_step_count", 2)];
        let state: Dict = counts.into_iter().map(|(key, number)| (key, Value::from(number))).collect();
        state.insert("gamma", 0.5);
        state.insert("base_lrs", rates.clone());
        state.insert("_last_lr", rates);
        root.insert("schedulerA_state_dict", state);
        root.remove("epoch");
    });
    let batches = fixtures::path("several").join("two_batches.safetensors");
    let both = ["--model", "A=mlp", "--model", "modelB_state_dict=mlp", "--config", "A.sizes=6,8,3"];
    let both = [&both[..], &["--config", "modelB_state_dict.sizes=6,5,3", "--schedule-per", "epoch"]].concat();
    let both = [&both[..], &["--batches", batches.to_str().unwrap()]].concat();
    let (whole, said) = plan(&path, &both);
    assert!(!whole && said.contains("--steps-per-epoch N") && said.contains("--scheduler none"), "{said}");
    let (whole, said) = plan(&path, &[&both[..], &["--steps-per-epoch", "3"]].concat());
    assert!(whole, "{said}");
}

#[test]
fn autocast_in_another_type_is_refused() {
    let (whole, said) = plan(&crate::run_pt(), &["--amp", "f32"]);
    assert!(!whole && said.contains("it is f16 or bf16, and not 'f32'"), "{said}");
}
