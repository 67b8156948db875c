//! Questions of what a run did around its steps, and of when its epochs end; each with answers that work.

use std::path::{Path, PathBuf};

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::command;

/// The plan, and whether nothing is open.
pub(crate) fn plan(checkpoint: &Path, arguments: &[&str]) -> (bool, String) {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(arguments.iter().map(Path::new));
    let output = command(all).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

pub(crate) fn changed(from: PathBuf, folder: &Path, change: impl FnOnce(&Dict)) -> PathBuf {
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
fn an_optimizer_that_has_counted_a_part_of_the_steps_of_the_file_is_asked_about_and_either_answer_works() {
    let folder = tempfile::tempdir().unwrap();
    let network = ["--model", "mlp", "--config", "sizes=20,32,16,10"];
    let planned = |step: i64, answer: &[&str]| {
        let path = changed(fixtures::path("frameworks").join("nanogpt/start.pt"), folder.path(), |root| {
            ["config", "iter_num", "model_args", "best_val_loss"].iter().for_each(|key| drop(root.remove(key)));
            root.insert("step", step);
        });
        plan(&path, &[&network[..], &["--scheduler", "none"], answer].concat())
    };
    let open = Checkpoint::open(fixtures::path("frameworks").join("nanogpt/start.pt")).unwrap();
    let made = open.root().as_dict().unwrap().get("iter_num").unwrap().as_i64().unwrap();
    // Batches that were not yet enough for a step are counted, too.
    for step in [3 * made, 3 * made + 2] {
        let (whole, said) = planned(step, &[]);
        let what = format!("the optimizer has made {made} steps where the file counts {step}: of 3 batches each");
        assert!(!whole && said.contains(&what), "{said}");
        assert!(said.contains("--accumulate 3") && said.contains("--accumulate 1"), "{said}");
        for answer in ["3", "1"] {
            let (whole, said) = planned(step, &["--accumulate", answer]);
            assert!(whole, "{said}");
        }
    }
    // As many, or a few more as where a scaler skipped some.
    for step in [made, made + 1] {
        let (whole, said) = planned(step, &[]);
        assert!(whole, "{said}");
    }
}

#[test]
fn counts_of_samples_are_not_taken_for_batches_however_large_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for step in [1_000_000, i64::MAX] {
        let path = changed(fixtures::path("frameworks").join("nanogpt/start.pt"), folder.path(), |root| {
            ["config", "iter_num", "model_args", "best_val_loss"].iter().for_each(|key| drop(root.remove(key)));
            root.insert("step", step);
        });
        let (_, said) = plan(&path, &["--model", "mlp", "--config", "sizes=20,32,16,10"]);
        assert!(!said.contains("--accumulate") && !said.contains("panicked"), "{said}");
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

const MLP: [&str; 4] = ["--model", "mlp", "--config", "sizes=20,32,16,10"];

fn dict(value: Value) -> Dict {
    value.as_dict().unwrap().clone()
}

/// Fabric's run before its first step, with this scheduler in it.
fn fresh(folder: &Path, scheduler: &[(&str, Value)]) -> PathBuf {
    changed(fixtures::path("frameworks").join("fabric/start.pt"), folder, |root| {
        let optimizer = dict(root.get("optimizer").unwrap());
        optimizer.insert("state", Dict::new());
        let group = dict(optimizer.get("param_groups").unwrap().items().unwrap().remove(0));
        let rates = Value::from(vec![group.get("lr").unwrap()]);
        let state: Dict = scheduler.iter().map(|(key, value)| (*key, value.clone())).collect();
        for (key, value) in [("base_lrs", rates.clone()), ("_last_lr", rates)] {
            state.insert(key, value);
        }
        state.insert("last_epoch", 0_i64);
        state.insert("_step_count", 1_i64);
        root.insert("scheduler", state);
        root.insert("step", 0_i64);
    })
}

#[test]
fn whether_a_scheduler_is_stepped_per_step_or_epoch_is_asked_where_nothing_was_stepped_yet() {
    let folder = tempfile::tempdir().unwrap();
    let step_lr = [("step_size", Value::from(2_i64)), ("gamma", Value::from(0.5))];
    let path = fresh(folder.path(), &step_lr);
    let (whole, said) = plan(&path, &MLP);
    assert!(!whole, "{said}");
    for answer in ["--schedule-per step", "--schedule-per epoch", "--scheduler none"] {
        assert!(said.contains(answer), "{answer} is in {said}");
        let answer: Vec<&str> = answer.split(' ').collect();
        let (whole, said) = plan(&path, &[&MLP[..], &answer].concat());
        assert!(whole, "{said}");
    }
    // PyTorch's documentation has this one stepped after every batch.
    let cyclic = [
        ("base_lrs", Value::from(vec![0.05])),
        ("max_lrs", vec![0.1].into()),
        ("total_size", 8.0.into()),
        ("step_ratio", 0.5.into()),
        ("mode", "triangular".into()),
        ("gamma", 1.0.into()),
        ("_scale_fn_ref", Value::None),
        ("_scale_fn_custom", Value::None),
        ("scale_mode", "cycle".into()),
        ("cycle_momentum", false.into()),
    ];
    let (whole, said) = plan(&fresh(folder.path(), &cyclic), &MLP);
    assert!(whole && said.contains("CyclicLR at 0, stepped per step: it was not stepped yet"), "{said}");
}

#[test]
fn what_no_state_tells_of_frozen_parameters_is_said_or_asked_where_a_setting_speaks_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let plain = |more: &[(&str, Value)]| {
        changed(fixtures::path("frameworks").join("fabric/start.pt"), folder.path(), |root| {
            let optimizer = dict(root.get("optimizer").unwrap());
            optimizer.insert("state", Dict::new());
            dict(optimizer.get("param_groups").unwrap().items().unwrap().remove(0)).insert("momentum", 0.0);
            root.insert("scheduler", Value::None);
            root.remove("hparams");
            more.iter().for_each(|(key, value)| drop(root.insert(*key, value.clone())));
        })
    };
    let path = plain(&[]);
    let (whole, said) = plan(&path, &MLP);
    assert!(whole, "{said}");
    assert!(said.contains("not told   which parameters were frozen: SGD keeps no state of each"), "{said}");
    // Once somebody has said it, it is told.
    let (whole, said) = plan(&path, &[&MLP[..], &["--freeze", "0.*"]].concat());
    assert!(whole && !said.contains("which parameters were frozen") && said.contains("frozen: 0.weight"), "{said}");

    let setting = |value: Value| Dict::from_iter([("lr", Value::from(0.003125)), ("freeze_backbone", value)]).into();
    let (whole, said) = plan(&plain(&[("args", setting(true.into()))]), &MLP);
    assert!(!whole && said.contains("args.freeze_backbone"), "{said}");
    for answer in [["--freeze", "0.*"], ["--unfreeze", "*"]] {
        let (whole, said) = plan(&plain(&[("args", setting(true.into()))]), &[&MLP[..], &answer].concat());
        assert!(whole, "{said}");
    }
    let (whole, said) = plan(&plain(&[("args", setting(false.into()))]), &MLP);
    assert!(whole, "{said}");
}

#[test]
fn a_group_without_any_state_beside_others_that_have_some_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let without = |scheduled: bool| {
        changed(fixtures::path("frameworks").join("fabric/start.pt"), folder.path(), |root| {
            let optimizer = dict(root.get("optimizer").unwrap());
            let group = optimizer.get("param_groups").unwrap().items().unwrap().remove(0);
            let second: Dict = group.as_dict().unwrap().entries().into_iter().collect();
            second.insert("params", vec![Value::from(4_i64), 5_i64.into()]);
            dict(group.clone()).insert("params", (0_i64..4).map(Value::from).collect::<Vec<_>>());
            if scheduled {
                second.remove("initial_lr");
            }
            optimizer.insert("param_groups", vec![group, second.into()]);
            let state = dict(optimizer.get("state").unwrap());
            let kept = state.entries().into_iter().filter(|(id, _)| id.as_i64().unwrap() < 4);
            optimizer.insert("state", kept.collect::<Dict>());
            root.insert("scheduler", Value::None);
            root.remove("hparams");
        })
    };
    let (whole, said) = plan(&without(false), &MLP);
    assert!(!whole && said.contains("are all of group 1 and have no state"), "{said}");
    for answer in [["--freeze", "4.*"], ["--unfreeze", "4.*"]] {
        assert!(said.contains(&answer.join(" ")), "{said}");
        let (whole, said) = plan(&without(false), &[&MLP[..], &answer].concat());
        assert!(whole, "{said}");
    }
    // A group that came after the scheduler was made is new.
    let (whole, said) = plan(&without(true), &MLP);
    assert!(whole, "{said}");
}

#[test]
fn settings_that_speak_of_clipping_or_several_batches_are_asked_about_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let model = ["--model", "mlp", "--config", "sizes=6,8,3"];
    for (place, key, value, says, answers) in [
        (
            "args",
            "max_grad_norm",
            Value::Float(0.5),
            "args.max_grad_norm is 0.5",
            ["--clip-norm 0.5", "--clip-norm none"],
        ),
        ("config", "clip-grad-value", Value::Int(2), "clip-grad-value", ["--clip-value 2.0", "--clip-norm none"]),
        (
            "hparams",
            "accum_iter",
            Value::Int(4),
            "a step took 4 batches (hparams.accum_iter)",
            ["--accumulate 4", "--accumulate 1"],
        ),
        (
            "opt",
            "update_freq",
            Value::list([Value::Int(2)]),
            "a step took 2 batches",
            ["--accumulate 2", "--accumulate 1"],
        ),
    ] {
        let path = changed(fixtures::path("several").join("averages/swa.pt"), folder.path(), |root| {
            root.insert(place, Dict::from_iter([(key, value.clone())]));
            root.insert("loss", Tensor::scalar(0.5_f32));
        });
        let (whole, said) = plan(&path, &model);
        assert!(!whole && said.contains(says), "{key}: {said}");
        for answer in answers {
            assert!(said.contains(answer), "{key}: {said}");
            let flags: Vec<&str> = answer.split(' ').collect();
            let (whole, said) = plan(&path, &[&model[..], &flags].concat());
            assert!(whole, "{key}: {answer}: {said}");
        }
    }
    // What is switched off says nothing.
    for (key, value) in [
        ("max_grad_norm", Value::Float(0.0)),
        ("gradient_accumulation_steps", Value::Int(1)),
        ("clip_grad", Value::None),
        ("fp16", Value::Bool(false)),
        ("precision", Value::from("bf16-true")),
    ] {
        let path = changed(fixtures::path("several").join("averages/swa.pt"), folder.path(), |root| {
            root.insert("args", Dict::from_iter([(key, value)]));
        });
        let (whole, said) = plan(&path, &model);
        assert!(whole, "{key}: {said}");
    }
}

#[test]
fn a_run_in_a_dict_of_its_own_goes_on_as_it_does_at_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(fixtures::path("several").join("averages/swa.pt"), folder.path(), |root| {
        let inside: Dict = root.entries().into_iter().collect();
        inside.insert("weights", inside.remove("model_state_dict").unwrap());
        inside.insert("epoch", 3_i64);
        root.entries().iter().for_each(|(key, _)| drop(root.remove(key.as_str().unwrap())));
        root.insert("state", inside);
        root.insert("note", "of a wrapper");
    });
    let (whole, said) = plan(&path, &["--model", "mlp", "--config", "sizes=6,8,3"]);
    assert!(whole && said.contains("position   epoch 3, step 6"), "{said}");
    assert!(said.contains("tensors of state.weights") && said.contains("goes on by its own rule: swa"), "{said}");
}

#[test]
fn settings_that_speak_of_autocast_are_asked_about_unless_a_scaler_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = ["--model", "mlp", "--config", "sizes=6,8,3"];
    let with = |settings: &[(&str, Value)], scaled: bool| {
        changed(fixtures::path("several").join("averages/swa.pt"), folder.path(), |root| {
            root.insert("args", settings.iter().map(|(key, value)| (*key, value.clone())).collect::<Dict>());
            if scaled {
                let scaler = Dict::from_iter([("scale", Value::Float(1024.0)), ("growth_factor", Value::Float(2.0))]);
                scaler.insert("backoff_factor", 0.5);
                scaler.insert("growth_interval", 2000_i64);
                scaler.insert("_growth_tracker", 0_i64);
                root.insert("scaler", scaler);
            }
        })
    };
    for (settings, place, answers) in [
        (vec![("bf16", Value::Bool(true))], "args.bf16 is True", &["--amp bf16", "--amp none"][..]),
        (vec![("fp16", Value::Bool(true))], "args.fp16 is True", &["--amp f16", "--amp none"]),
        (vec![("precision", "16-mixed".into())], "args.precision is '16-mixed'", &["--amp f16", "--amp none"]),
        (vec![("amp", Value::Bool(true))], "args.amp is True", &["--amp bf16", "--amp f16", "--amp none"]),
        (
            vec![("amp", Value::Bool(true)), ("amp_dtype", "bfloat16".into())],
            "args.amp_dtype is 'bfloat16'",
            &["--amp bf16", "--amp none"],
        ),
    ] {
        let path = with(&settings, false);
        let (whole, said) = plan(&path, &model);
        assert!(!whole && said.contains(place), "{said}");
        assert_eq!(said.matches("--amp ").count(), answers.len(), "{said}");
        for answer in answers {
            assert!(said.contains(answer), "{answer}: {said}");
            let flags: Vec<&str> = answer.split(' ').collect();
            let (whole, said) = plan(&path, &[&model[..], &flags].concat());
            assert!(whole && !said.contains("not continued by itself: autocast"), "{answer}: {said}");
        }
    }
    let (whole, said) = plan(&with(&[("amp", Value::Bool(true))], true), &model);
    assert!(
        whole && said.contains("within torch.autocast in float16, as args.amp, which is True, and its GradScaler tell"),
        "{said}"
    );
    let (whole, said) = plan(&with(&[("bf16", Value::Bool(true))], true), &model);
    assert!(!whole && said.contains("--amp bf16"), "{said}");
}
