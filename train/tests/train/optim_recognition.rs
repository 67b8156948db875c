//! Which optimizer a state dict is of: other packages' optimizers are told by name, and a key that an optimizer never has is not
//! passed over.

use rekindle_recorder::{Dict, Value};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::value;
use rekindle_train::optim::{Optimizer, OptimizerKind};

use crate::common::optim::{Model, entry, hyperparameters, others};

#[test]
fn an_optimizer_that_is_not_here_is_refused_by_its_name() {
    let cases = fixtures::named_cases("optim_others/recognised.json");
    assert!(cases.len() >= 17, "{}", cases.len());
    for (optimizer, case) in cases {
        let saved = value(&case["saved"]);
        let recognition = OptimizerKind::recognise(&saved).unwrap();
        assert_eq!(recognition.name, case["name"].as_str().unwrap(), "{optimizer}");
        assert!(!recognition.told_by.is_empty(), "{optimizer}");
        let error = OptimizerKind::infer(&saved).unwrap_err().to_string();
        assert!(error.contains(&recognition.name) && error.contains(recognition.told_by[0]), "{error}");
    }
}

/// Those of other packages that are here, as [`OptimizerKind`] names them.
const HERE: [&str; 5] = ["timm.Lion", "timm.RMSpropTF", "timm.Lamb", "timm.Lars", "timm.Adan"];

/// The state dicts of some 190 optimizers of other packages: what is not here is never taken for one that is.
#[test]
fn no_other_package_s_optimizer_is_taken_for_one_that_is_here() {
    let cases = fixtures::named_cases("optim_foreign/state_dicts.json");
    assert!(cases.len() >= 190, "{}", cases.len());
    let mut taken = Vec::new();
    for (optimizer, saved) in &cases {
        let found = OptimizerKind::infer(&value(saved));
        match found {
            // The keys of PyTorch's SGD before 1.12, and nothing else.
            Ok(OptimizerKind::Sgd) if optimizer == "torch_optimizer.SGDW" => {}
            Ok(kind) if HERE.contains(&optimizer.as_str()) => assert_eq!(kind.name(), optimizer),
            Ok(kind) => taken.push(format!("{optimizer} for {kind}")),
            Err(error) => assert!(!HERE.contains(&optimizer.as_str()), "{optimizer}: {error}"),
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
}

/// The state dict of PyTorch's AdamW after a step.
fn adamw() -> Value {
    let case = &fixtures::named_cases("optim/state_dicts.json")["AdamW"];
    value(&case["stepped"])
}

fn first_group(saved: &Value) -> Value {
    entry(saved, "param_groups").items().unwrap()[0].clone()
}

#[test]
fn a_key_that_the_optimizer_never_has_is_named_with_its_owner_and_nothing_is_loaded() {
    let group = |key: &'static str, given: Value| {
        let saved = adamw();
        first_group(&saved).as_dict().unwrap().insert(key, given);
        saved
    };
    let state = |key: &'static str| {
        let saved = adamw();
        let first = entry(&saved, "state").as_dict().unwrap().get_key(&0.into()).unwrap();
        let moment = entry(&first, "exp_avg");
        first.as_dict().unwrap().insert(key, moment);
        saved
    };
    let model = Model::new("AdamW", false);
    for (saved, key, owner) in [
        (group("use_gc", true.into()), "param_groups[0] has 'use_gc'", "gradient centralization"),
        (group("bias_correction2", 0.5.into()), "param_groups[0] has 'bias_correction2'", "AdamW, which never has it"),
        (group("decoupled_decay", true.into()), "param_groups[0] has 'decoupled_decay'", "timm"),
        (state("master_param"), "state[0] has 'master_param'", "apex and DeepSpeed"),
        (state("exp_avg_slow"), "state[0] has 'exp_avg_slow'", "AdamW, which never has it"),
    ] {
        let recognition = OptimizerKind::recognise(&saved).unwrap();
        assert_eq!((recognition.kind, recognition.foreign.len()), (Some(OptimizerKind::AdamW), 1));
        let error = OptimizerKind::infer(&saved).unwrap_err().to_string();
        assert!(error.starts_with(key) && error.contains(owner), "{error}");
        let hyperparameters = hyperparameters("AdamW", &Dict::new().into());
        let mut optimizer = Optimizer::builder(hyperparameters).build(&model).unwrap();
        assert_eq!(optimizer.load_state_dict(&model, &saved).unwrap_err().to_string(), error);
        assert_eq!(optimizer.steps(), None);
    }
}

/// The state dict of another package's optimizer after a step, with a change of its first group.
fn changed(optimizer: &str, change: impl FnOnce(&Dict)) -> Value {
    let case = &fixtures::named_cases("optim_others/state_dicts.json")[optimizer];
    let saved = value(&case["stepped"]);
    change(first_group(&saved).as_dict().unwrap());
    saved
}

#[test]
fn an_option_that_no_file_tells_is_asked_for_before_the_first_step() {
    let loaded = |optimizer: &str, saved: &Value| {
        let model = Model::new(optimizer, false);
        let all = Optimizer::builder(hyperparameters(optimizer, &Dict::new().into()))
            .exclude(others(vec!["layer.weight".to_owned(), "layer.bias".to_owned()]));
        all.build(&model).unwrap().load_state_dict(&model, saved).map_err(|error| error.to_string())
    };
    // timm's correction is by the largest learning rate, which releases before there was a snapshot have nowhere else.
    let corrected = |group: &Dict| {
        group.insert("corrected_weight_decay", true);
        group.remove("max_lr_snapshot");
    };
    for optimizer in ["timm.Lion", "timm.RMSpropTF", "timm.Lamb"] {
        let error = loaded(optimizer, &changed(optimizer, corrected)).unwrap_err();
        assert!(error.contains("max_lr_snapshot"), "{optimizer}: {error}");
        let scheduled = changed(optimizer, |group| {
            corrected(group);
            group.insert("initial_lr", 0.5);
        });
        loaded(optimizer, &scheduled).unwrap();
        let uncorrected = changed(optimizer, |group| drop(group.remove("max_lr_snapshot")));
        loaded(optimizer, &uncorrected).unwrap();
    }
    let restarted = changed("adan_pytorch.Adan", |group| drop(group.insert("restart_cond", true)));
    assert!(loaded("adan_pytorch.Adan", &restarted).unwrap_err().contains("restart_cond"));
    // Releases of schedulefree before 1.3 step otherwise, and have no such key.
    let older = changed("schedulefree.AdamWScheduleFree", |group| drop(group.remove("scheduled_lr")));
    let error = OptimizerKind::infer(&older).unwrap_err().to_string();
    assert!(error.contains("schedulefree's AdamW of old"), "{error}");
}

#[test]
fn groups_that_lamb_cannot_clip_together_are_refused_before_anything_changes() {
    let case = &fixtures::named_cases("optim_others/state_dicts.json")["timm.Lamb_groups"];
    let saved = value(&case["stepped"]);
    first_group(&saved).as_dict().unwrap().insert("max_grad_norm", 0.5);
    let model = Model::new("timm.Lamb", false);
    let mut optimizer = Optimizer::builder(hyperparameters("timm.Lamb", &Dict::new().into()))
        .group("layer.weight", [("lr", 0.1)])
        .group("*", [("lr", 0.1)])
        .build(&model)
        .unwrap();
    let error = optimizer.load_state_dict(&model, &saved).unwrap_err().to_string();
    assert!(error.contains("max_grad_norm") && optimizer.steps().is_none(), "{error}");
}

#[test]
fn harmless_keys_stay_harmless_in_the_groups_of_every_other_package() {
    for (name, case) in fixtures::named_cases("optim_others/state_dicts.json") {
        let saved = value(&case["stepped"]);
        let group = first_group(&saved);
        for key in ["initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "lr_scale", "weight_decay_scale"]
        {
            group.as_dict().unwrap().insert(key, 0.5);
        }
        for key in ["group_name", "name", "layer_name"] {
            group.as_dict().unwrap().insert(key, "head");
        }
        let kind = OptimizerKind::infer(&saved).unwrap();
        assert_eq!(kind.name(), case["optimizer"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn what_schedulers_and_trainers_leave_in_a_group_is_no_foreign_key() {
    let saved = adamw();
    let group = first_group(&saved);
    for key in
        ["initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "lr_scale", "swa_lr", "wd_mult", "lr_mult"]
    {
        group.as_dict().unwrap().insert(key, 0.5);
    }
    for key in ["group_name", "name", "what I call it"] {
        group.as_dict().unwrap().insert(key, "head");
    }
    let recognition = OptimizerKind::recognise(&saved).unwrap();
    assert_eq!((recognition.kind, recognition.foreign), (Some(OptimizerKind::AdamW), Vec::new()));
    let model = Model::new("AdamW", false);
    let all = Optimizer::builder(hyperparameters("AdamW", &Dict::new().into()))
        .exclude(others(vec!["layer.weight".to_owned(), "layer.bias".to_owned()]));
    let mut optimizer = all.build(&model).unwrap();
    optimizer.load_state_dict(&model, &saved).unwrap();
    assert_eq!(optimizer.param_groups()[0].float("lr_scale").unwrap(), 0.5);
}
