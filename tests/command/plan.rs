//! What is open in a checkpoint is asked before the first step, every answer works, and what is not the run's stays as it is.

use std::path::Path;
use std::process::Output;

use rekindle::recorder::value::{Key, List};
use rekindle::recorder::{DType, rebuild};
use rekindle::{Checkpoint, Dict, Tensor, Value};

use crate::resume::{changed, resume};
use crate::{command, run_pt};

pub(crate) fn plan(checkpoint: &Path, arguments: &[&str]) -> Output {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(arguments.iter().map(Path::new));
    command(all).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two steps on, written to out.pt.
fn two_steps(checkpoint: &Path, arguments: &[&str]) -> Checkpoint {
    let folder = checkpoint.parent().unwrap();
    let all = [&["--steps", "2", "--save", "out.pt", "--overwrite"], arguments].concat();
    let output = resume(checkpoint, &all, folder);
    assert!(output.status.success(), "{}", text(&output.stderr));
    Checkpoint::open(folder.join("out.pt")).unwrap()
}

/// What is asked, by the plan (status 1) and by resuming (status 2, nothing written).
fn asked(checkpoint: &Path, arguments: &[&str]) -> String {
    let folder = checkpoint.parent().unwrap();
    let planned = plan(checkpoint, arguments);
    assert_eq!(planned.status.code(), Some(1), "{planned:?}");
    let refused = resume(checkpoint, &[&["--save", "none.pt"], arguments].concat(), folder);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!folder.join("none.pt").exists());
    let question = text(&refused.stderr);
    let said = question.trim().split_once(": ").unwrap().1.split_once(": ").unwrap().1.to_owned();
    assert!(text(&planned.stdout).contains(&said), "{said} is in {}", text(&planned.stdout));
    said
}

fn root(checkpoint: &Checkpoint) -> Dict {
    checkpoint.root().as_dict().unwrap().clone()
}

fn keys(checkpoint: &Checkpoint) -> Vec<String> {
    root(checkpoint).entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_plan_of_the_digits_run_says_everything_and_asks_nothing() {
    let planned = plan(&run_pt(), &[]);
    assert!(planned.status.success());
    let expected = "\
layout     tutorial
model      10 tensors of model_state_dict
optimizer  AdamW, told by the keys of its state
  group 0  lr 0.0014999999999999996, 10 parameters, 10 with state
scheduler  CosineAnnealingLR at 13, stepped per epoch: as it was said
  next     lr 0.0013191949796170154, 0.0011410265035686636, 0.0009680926694361966, 0.0008029152419343471, 0.0006479028799032664
generator  the state at rng_state
position   epoch 13, step 299
  epoch: an int: epoch
  model_state_dict: an OrderedDict: model
  optimizer_state_dict: a dict: optimizer
  scheduler_state_dict: a dict: scheduler
  loss: a float: loss
  rng_state: a tensor of uint8 [5056]: generator
";
    assert_eq!(text(&planned.stdout), expected);
    let planned = plan(&run_pt(), &["--json"]);
    let document: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(document["optimizer"]["groups"][0]["with_state"], 10);
    assert_eq!(document["questions"], serde_json::json!([]));
    let folder = tempfile::tempdir().unwrap();
    let same = resume(&run_pt(), &["--plan"], folder.path());
    assert_eq!(text(&same.stdout), expected);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a plan writes nothing");
}

#[test]
fn members_of_a_group_without_state_are_asked_about_and_frozen_or_trained_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        let state = checkpoint.value("optimizer_state_dict.state").unwrap();
        for id in [0, 1] {
            state.as_dict().unwrap().write().entries.shift_remove(&Key(Value::Int(id)));
        }
    });
    let said = asked(&path, &[]);
    assert!(said.contains("2 parameters") && said.contains("conv1.weight"), "{said}");
    assert!(said.contains("--freeze conv1.*") && said.contains("--unfreeze conv1.*"), "{said}");

    let before = Checkpoint::open(&path).unwrap();
    let weights = |checkpoint: &Checkpoint, name: &str| {
        checkpoint.get::<Tensor>(&format!("model_state_dict.{name}")).unwrap().to_f64_vec().unwrap()
    };
    for (flag, trained) in [("--freeze", false), ("--unfreeze", true)] {
        let after = two_steps(&path, &[flag, "conv1.*"]);
        for name in ["conv1.weight", "conv1.bias"] {
            assert_eq!(weights(&before, name) != weights(&after, name), trained, "{flag} {name}");
        }
        assert_ne!(weights(&before, "fc2.bias"), weights(&after, "fc2.bias"));
        assert_eq!(after.contains("optimizer_state_dict.state[0]"), trained, "{flag}");
    }
    let refused = resume(&path, &["--freeze", "conv9.*"], folder.path());
    assert!(text(&refused.stderr).contains("no parameter of the model fits"), "{refused:?}");
}

#[test]
fn state_that_was_there_from_the_start_and_saw_no_step_is_none() {
    let folder = tempfile::tempdir().unwrap();
    // Adagrad makes its state when it is made.
    let path = changed(folder.path(), |checkpoint| {
        checkpoint.set("optimizer_state_dict.state[2].step", Tensor::scalar(0.0_f32)).unwrap();
    });
    let said = asked(&path, &[]);
    assert!(said.contains("'conv2.weight'") && said.contains("--freeze conv2.weight"), "{said}");
}

#[test]
fn values_under_known_names_that_are_something_else_stay_and_nothing_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        checkpoint.set("loss", Value::List(List::new(vec![Value::Float(2.5), Value::Float(2.25)]))).unwrap();
        checkpoint.set("epoch", "12").unwrap();
        checkpoint.set("best_model_state_dict", checkpoint.value("model_state_dict").unwrap()).unwrap();
        root(checkpoint).remove("rng_state");
    });
    let planned = text(&plan(&path, &[]).stdout);
    assert!(planned.contains("epoch: a str: not the epoch that its name says; kept as it is"), "{planned}");
    assert!(planned.contains("generator  none in the file"), "{planned}");
    let (before, after) = (Checkpoint::open(&path).unwrap(), two_steps(&path, &[]));
    assert_eq!(keys(&after), keys(&before));
    assert_eq!(after.get::<String>("epoch").unwrap(), "12");
    assert_eq!(after.get::<Vec<f64>>("loss").unwrap(), [2.5, 2.25]);
    let best = |checkpoint: &Checkpoint| checkpoint.state_dict("best_model_state_dict").unwrap();
    let first = |checkpoint: &Checkpoint| best(checkpoint).get("fc2.bias").unwrap().to_f64_vec().unwrap();
    assert_eq!(first(&after), first(&before));
}

#[test]
fn optimizers_and_schedulers_in_lists_and_wrapped_names_go_on_and_back_into_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let plain = changed(folder.path(), |_| {});
    let plain = two_steps(&plain, &[]);
    let path = changed(folder.path(), |checkpoint| {
        let root = root(checkpoint);
        for (old, new) in [("optimizer_state_dict", "optimizers"), ("scheduler_state_dict", "param_schedulers")] {
            let value = root.remove(old).unwrap();
            root.insert(new, Value::List(List::new(vec![value])));
        }
        let wrapped = checkpoint.state_dict("model_state_dict").unwrap();
        let wrapped: Dict =
            wrapped.iter().map(|(name, tensor)| (format!("module._orig_mod.{name}"), tensor.clone())).collect();
        root.insert("model_state_dict", wrapped);
    });
    let after = two_steps(&path, &[]);
    assert_eq!(keys(&after), keys(&Checkpoint::open(&path).unwrap()));
    for (list, plainly) in [
        ("optimizers[0].state[9].exp_avg", "optimizer_state_dict.state[9].exp_avg"),
        ("model_state_dict['module._orig_mod.fc2.bias']", "model_state_dict.fc2.bias"),
    ] {
        let values =
            |checkpoint: &Checkpoint, path: &str| checkpoint.get::<Tensor>(path).unwrap().to_f64_vec().unwrap();
        assert_eq!(values(&after, list), values(&plain, plainly), "{list}");
    }
}

#[test]
fn a_scheduler_that_is_not_understood_is_asked_about_and_can_be_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        let own = Dict::from_iter([
            ("last_epoch", Value::Int(13)),
            ("_step_count", Value::Int(14)),
            ("speed", Value::Float(0.5)),
        ]);
        root(checkpoint).remove("scheduler_state_dict");
        checkpoint.set("plan_of_rates", own).unwrap();
    });
    let said = asked(&path, &[]);
    assert!(said.contains("--scheduler none"), "{said}");
    let (before, after) = (Checkpoint::open(&path).unwrap(), two_steps(&path, &["--scheduler", "none"]));
    assert_eq!(after.get::<i64>("plan_of_rates.last_epoch").unwrap(), 13);
    let rate = |checkpoint: &Checkpoint| checkpoint.get::<f64>("optimizer_state_dict.param_groups[0].lr").unwrap();
    assert_eq!(rate(&before), rate(&after));
}

#[test]
fn the_generator_is_found_in_any_form_and_asked_about_where_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let truth = two_steps(&changed(folder.path(), |_| {}), &[]);
    let bytes =
        |checkpoint: &Checkpoint, path: &str| checkpoint.get::<Tensor>(path).unwrap().to_le_bytes().unwrap().to_vec();
    let path = changed(folder.path(), |checkpoint| {
        let state = root(checkpoint).remove("rng_state").unwrap();
        let state = Value::Bytes(state.as_tensor().unwrap().to_le_bytes().unwrap().to_vec().into());
        checkpoint
            .set("random_states", Dict::from_iter([("torch_manual_seed", state), ("step", Value::Int(1))]))
            .unwrap();
    });
    let after = two_steps(&path, &[]);
    let Value::Bytes(found) = after.value("random_states.torch_manual_seed").unwrap() else {
        panic!("bytes stay bytes")
    };
    assert_eq!(found[..], bytes(&truth, "rng_state"));

    let path = changed(folder.path(), |checkpoint| {
        let state = root(checkpoint).remove("rng_state").unwrap();
        let other = Tensor::from_vec(&[5056], vec![1_u8; 5056]).unwrap();
        checkpoint.set("one", Dict::from_iter([("a", state), ("n", Value::Int(1))])).unwrap();
        checkpoint.set("two", other).unwrap();
    });
    let said = asked(&path, &[]);
    assert!(said.contains("--rng one.a") && said.contains("--rng two") && said.contains("--seed"), "{said}");
    let after = two_steps(&path, &["--rng", "one.a"]);
    assert_eq!(bytes(&after, "one.a"), bytes(&truth, "rng_state"));
    assert_eq!(bytes(&after, "two"), vec![1; 5056]);
    two_steps(&path, &["--seed", "3"]);
    let refused = resume(&path, &["--rng", "elsewhere"], folder.path());
    assert!(text(&refused.stderr).contains("one.a, two"), "{refused:?}");
}

#[test]
fn weights_come_back_in_the_types_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        let model = rebuild::cast(&checkpoint.value("model_state_dict").unwrap(), DType::BFloat16).unwrap();
        checkpoint.set("model_state_dict", model).unwrap();
    });
    let planned = text(&plan(&path, &[]).stdout);
    assert!(planned.contains("bfloat16 is computed in the model's type, and written as it was"), "{planned}");
    let after = two_steps(&path, &[]);
    for (name, tensor) in after.state_dict("model_state_dict").unwrap().iter() {
        assert_eq!(tensor.dtype(), DType::BFloat16, "{name}");
    }
}

#[test]
fn how_often_a_scheduler_is_stepped_is_asked_where_the_file_does_not_tell() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| checkpoint.set("scheduler_state_dict.last_epoch", 150).unwrap());
    let settings = folder.path().join("rekindle.toml");
    let kept: Vec<_> = std::fs::read_to_string(&settings).unwrap().lines().map(str::to_owned).collect();
    let kept: Vec<_> = kept.into_iter().filter(|line| !line.starts_with("schedule_per")).collect();
    std::fs::write(&settings, kept.join("\n")).unwrap();
    // The rates of the file are those of 13 steps.
    let goes_on = ["--scheduler", "CosineAnnealingLR"];
    let said = asked(&path, &goes_on);
    assert!(said.contains("--schedule-per step") && said.contains("--schedule-per epoch"), "{said}");
    for (per, count) in [("step", 152), ("epoch", 150)] {
        let after = two_steps(&path, &[&["--schedule-per", per], &goes_on[..]].concat());
        assert_eq!(after.get::<i64>("scheduler_state_dict.last_epoch").unwrap(), count, "{per}");
    }
    let path = changed(folder.path(), |_| {});
    std::fs::write(&settings, kept.join("\n")).unwrap();
    let planned = text(&plan(&path, &[]).stdout);
    assert!(planned.contains("stepped per epoch: it was stepped 13 times, as the epochs"), "{planned}");
}

#[test]
fn with_fixed_batches_epochs_end_where_the_file_or_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |_| {});
    std::fs::remove_file(folder.path().join("rekindle.toml")).unwrap();
    let (inputs, targets) = (vec![0.5_f32; 3 * 2 * 64], vec![1_i64; 3 * 2]);
    let batches = Dict::from_iter([
        ("inputs", Tensor::from_vec(&[3, 2, 1, 8, 8], inputs).unwrap()),
        ("targets", Tensor::from_vec(&[3, 2], targets).unwrap()),
    ]);
    Checkpoint::from(batches).save(folder.path().join("batches.pt")).unwrap();
    let run = |arguments: &[&str]| {
        let fixed = ["--model", "digits", "--batches", "batches.pt", "--save", "out.pt", "--overwrite"];
        resume(&path, &[&fixed, arguments].concat(), folder.path())
    };
    let stepped = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let after = Checkpoint::open(folder.path().join("out.pt")).unwrap();
        (after.get::<i64>("epoch").unwrap(), after.get::<i64>("scheduler_state_dict.last_epoch").unwrap())
    };
    // 299 steps in 13 epochs are 23 an epoch; of 7 steps each, the 301st ends one.
    assert_eq!(stepped(&[]), (13, 13));
    assert_eq!(stepped(&["--steps-per-epoch", "7"]), (14, 14));
    assert_eq!(stepped(&["--schedule-per", "step"]), (13, 16));

    // The epochs that the scheduler counted are told from the number of the last one.
    changed(folder.path(), |checkpoint| checkpoint.set("epoch", 12).unwrap());
    std::fs::remove_file(folder.path().join("rekindle.toml")).unwrap();
    assert_eq!(stepped(&[]), (12, 13));

    changed(folder.path(), |checkpoint| {
        checkpoint.set("epoch", 12).unwrap();
        checkpoint.set("scheduler_state_dict.last_epoch", 12).unwrap();
    });
    std::fs::remove_file(folder.path().join("rekindle.toml")).unwrap();
    let refused = run(&["--scheduler", "CosineAnnealingLR"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--steps-per-epoch N"), "{refused:?}");
}

#[test]
fn a_schedule_that_ends_too_early_is_known_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        checkpoint.set("scheduler_state_dict", one_cycle()).unwrap();
        for (key, rate) in [("max_lr", 0.01), ("min_lr", 1e-5), ("lr", 0.0015)] {
            checkpoint.set(&format!("optimizer_state_dict.param_groups[0].{key}"), rate).unwrap();
        }
    });
    let output = resume(&path, &["--schedule-per", "step", "--steps", "30", "--log", "log.jsonl"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("OneCycleLR has come to its end"), "{output:?}");
    assert!(!folder.path().join("log.jsonl").exists() && output.stdout.is_empty(), "nothing was begun");
}

/// A cycle of 20 steps that the optimizer has made 13 of.
fn one_cycle() -> Value {
    let phase = |end: f64, from: &str, to: &str| {
        Dict::from_iter([
            ("end_step", Value::Float(end)),
            ("start_lr", from.into()),
            ("end_lr", to.into()),
            ("start_momentum", "max_momentum".into()),
            ("end_momentum", "base_momentum".into()),
        ])
    };
    let phases = [phase(5.0, "initial_lr", "max_lr"), phase(19.0, "max_lr", "min_lr")].map(Value::from);
    let rates = || Value::List(List::new(vec![Value::Float(0.0015)]));
    Dict::from_iter([
        ("total_steps", Value::Int(20)),
        ("_schedule_phases", Value::List(List::new(phases.to_vec()))),
        ("_anneal_func_type", "cos".into()),
        ("cycle_momentum", Value::Bool(false)),
        ("base_lrs", rates()),
        ("last_epoch", Value::Int(13)),
        ("_step_count", Value::Int(14)),
        ("_is_initial", Value::Bool(false)),
        ("_get_lr_called_within_step", Value::Bool(false)),
        ("_last_lr", rates()),
    ])
    .into()
}

#[test]
fn a_schedule_of_functions_is_asked_about_and_named_as_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        let rates = || Value::List(List::new(vec![Value::Float(0.003)]));
        let lambda = Dict::from_iter([
            ("base_lrs", rates()),
            ("last_epoch", Value::Int(299)),
            ("_step_count", Value::Int(300)),
            ("_last_lr", rates()),
            ("lr_lambdas", Value::List(List::new(vec![Value::None]))),
        ]);
        checkpoint.set("scheduler_state_dict", lambda).unwrap();
    });
    let said = asked(&path, &["--schedule-per", "step"]);
    assert!(said.contains("--scheduler none") && said.contains("--scheduler NAME(..)"), "{said}");
    let named = "transformers.linear(warmup=100, total=1000)";
    let after = two_steps(&path, &["--schedule-per", "step", "--scheduler", named]);
    assert_eq!(after.get::<i64>("scheduler_state_dict.last_epoch").unwrap(), 301);
    let rate = after.get::<f64>("optimizer_state_dict.param_groups[0].lr").unwrap();
    assert!((rate - 0.003 * 699.0 / 900.0).abs() < 1e-15, "{rate}");
}

#[test]
fn a_key_of_the_program_s_own_in_a_group_is_asked_about_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        checkpoint.set("optimizer_state_dict.param_groups[0].my_flag", 3).unwrap();
    });
    let said = asked(&path, &[]);
    assert!(said.contains("'my_flag'") && said.contains("--optimizer AdamW"), "{said}");
    let after = two_steps(&path, &["--optimizer", "AdamW"]);
    assert_eq!(after.get::<i64>("optimizer_state_dict.param_groups[0].my_flag").unwrap(), 3);
}

#[test]
fn rates_of_a_scheduler_in_another_order_than_the_groups_are_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), |checkpoint| {
        let group = |ids: std::ops::Range<i64>, lr: f64| {
            let old = checkpoint.value("optimizer_state_dict.param_groups[0]").unwrap();
            let new = Dict::from_iter(old.as_dict().unwrap().entries());
            new.insert("params", Value::list(ids.map(Value::Int)));
            new.insert("initial_lr", lr);
            Value::from(new)
        };
        let groups = Value::list([group(0..4, 0.001), group(4..10, 0.002)]);
        checkpoint.set("optimizer_state_dict.param_groups", groups).unwrap();
        let rates = |a: f64, b: f64| Value::list([Value::Float(a), Value::Float(b)]);
        checkpoint.set("scheduler_state_dict.base_lrs", rates(0.002, 0.001)).unwrap();
        let lr = checkpoint.get::<f64>("optimizer_state_dict.param_groups[0].lr").unwrap();
        checkpoint.set("scheduler_state_dict._last_lr", rates(lr, lr)).unwrap();
    });
    let said = asked(&path, &[]);
    assert!(said.contains("in another order than the groups") && said.contains("--scheduler none"), "{said}");
}
