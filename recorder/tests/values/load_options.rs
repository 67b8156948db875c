//! How the keys of a state dict are mapped and chosen.

use rekindle_recorder::{Dict, LoadOptions, StateDict, Tensor};

fn state_dict(names: &[&str]) -> StateDict {
    names.iter().map(|&name| (name, Tensor::scalar(0.0_f32))).collect()
}

fn mapped(options: &LoadOptions, names: &[&str]) -> Vec<String> {
    options.apply(&state_dict(names)).unwrap().keys().map(ToOwned::to_owned).collect()
}

#[test]
fn steps_take_effect_in_their_order() {
    let options = LoadOptions::strict().strip_prefix("module.").strip_prefix("_orig_mod.").add_prefix("net.");
    assert_eq!(mapped(&options, &["module._orig_mod.a", "_orig_mod.b", "c"]), ["net.a", "net.b", "net.c"]);
    let options = LoadOptions::strict().strip_prefix("_orig_mod.").strip_prefix("module.");
    assert_eq!(mapped(&options, &["module._orig_mod.a"]), ["_orig_mod.a"]);
    let options = LoadOptions::strict().rename(r"^layers\.(\d+)\.", "blocks.$1.").rename("gamma$", "weight");
    assert_eq!(mapped(&options, &["layers.10.norm.gamma"]), ["blocks.10.norm.weight"]);
}

#[test]
fn globs_choose_and_a_run_of_includes_is_a_choice() {
    let names = ["conv1.weight", "conv1.bias", "layer1.0.conv1.weight", "fc.weight"];
    let options = LoadOptions::lenient().include("conv?.*").include("fc.*").exclude("*.bias");
    assert_eq!(mapped(&options, &names), ["conv1.weight", "fc.weight"]);
    assert_eq!(mapped(&LoadOptions::lenient().exclude("*.weight"), &names), ["conv1.bias"]);
    let options = LoadOptions::lenient().filter(|name, value| name.len() > 10 && value.as_tensor().is_some());
    assert_eq!(mapped(&options, &names), ["conv1.weight", "layer1.0.conv1.weight"]);
}

#[test]
fn a_subtree_is_taken_out_and_an_empty_one_is_an_error() {
    let names = ["backbone.a", "backbone.b.c", "head.d"];
    assert_eq!(mapped(&LoadOptions::strict().subtree("backbone"), &names), ["a", "b.c"]);
    let error = LoadOptions::strict().subtree("back").apply(&state_dict(&names)).unwrap_err();
    assert_eq!(error.to_string(), "there is no 'back'; there are 'backbone', 'head'");
}

#[test]
fn a_collision_names_both_keys() {
    let error = LoadOptions::strict().strip_prefix("module.").apply(&state_dict(&["fc.w", "module.fc.w"])).unwrap_err();
    assert_eq!(error.to_string(), "'fc.w' and 'module.fc.w' would both become 'fc.w'; exclude one of them");
}

#[test]
fn versions_follow_their_modules() {
    let versions = |names: &[&str]| -> Dict {
        names.iter().zip(1..).map(|(&name, n)| (name, Dict::from_iter([("version", n)]))).collect()
    };
    let mut state_dict = state_dict(&["module.bn.weight"]);
    state_dict.set_metadata(versions(&["", "module", "module.bn"]));
    let stripped = LoadOptions::strict().strip_prefix("module.").apply(&state_dict).unwrap();
    assert_eq!((stripped.version(""), stripped.version("bn")), (Some(2), Some(3)));
    let renamed = LoadOptions::strict().rename(r"\bbn\.", "norm.").add_prefix("net.").apply(&state_dict).unwrap();
    assert_eq!((renamed.version("net"), renamed.version("net.module.norm")), (Some(1), Some(3)));
}

#[test]
fn a_pattern_that_cannot_be_read_is_reported_when_it_is_used() {
    let error = LoadOptions::strict().rename("(", "x").apply(&state_dict(&["a"])).unwrap_err();
    assert!(error.to_string().contains("unclosed group"), "{error}");
    assert!(LoadOptions::strict().include("[").apply(&state_dict(&["a"])).is_err());
}
