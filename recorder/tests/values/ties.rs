//! A tensor that a checkpoint has under several names goes back under all of them, on one storage; slices of one buffer do not.

use crate::common::{module, parameter};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::run::RunState;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{DType, Dict, StateDict, Storage, Tensor, Value};

fn tensor(x: f32) -> Tensor {
    Tensor::from_vec(&[2], vec![x, x + 1.0]).unwrap()
}

fn floats(checkpoint: &Checkpoint, path: &str) -> Vec<f32> {
    checkpoint.get::<Tensor>(path).unwrap().to_vec().unwrap()
}

/// A model with tied names, of which a prefix may stand before all.
fn tied(prefix: &str) -> StateDict {
    let shared = tensor(1.0);
    let entries = [("wte.weight", shared.clone()), ("h.weight", tensor(5.0)), ("lm_head.weight", shared.alias())];
    entries.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

fn trained(names: &[&str]) -> StateDict {
    let shared = tensor(10.0);
    let new = |name: &str| if name == "h.weight" { tensor(50.0) } else { shared.alias() };
    names.iter().map(|name| (*name, new(name))).collect()
}

#[test]
fn every_name_of_a_tensor_goes_back_whichever_the_model_has() {
    let has: [&[&str]; 4] = [
        &["wte.weight", "h.weight"],
        &["h.weight", "lm_head.weight"],
        &["wte.weight", "h.weight", "lm_head.weight"],
        &["lm_head.weight", "h.weight", "wte.weight"],
    ];
    for prefix in ["", "module.", "_orig_mod.", "module._orig_mod."] {
        for names in has {
            // In a dict, with an average that stays as it is, and by itself.
            let whole = |model: StateDict| {
                let average = model.iter().map(|(name, tensor)| (name, tensor.alias())).collect::<StateDict>();
                Dict::from_iter([("model", model.to_value()), ("ema", average.to_value()), ("iter_num", Value::Int(3))])
            };
            let (nested, bare) = (Checkpoint::from(whole(tied(prefix))), Checkpoint::from(tied(prefix)));
            for (before, at) in [(nested, "model"), (bare, "")] {
                let mut run = RunState::read(&before).unwrap();
                run.model = trained(names);
                let after = run.write_back(&before).unwrap();
                let model = after.state_dict(at).unwrap();
                let old = tied(prefix);
                assert_eq!(model.keys().collect::<Vec<_>>(), old.keys().collect::<Vec<_>>(), "{prefix} {names:?}");
                assert_eq!(model.tied(), old.tied(), "{prefix} {names:?}");
                let head = model.get(&format!("{prefix}lm_head.weight")).unwrap();
                assert_eq!(head.to_vec::<f32>().unwrap(), [10.0, 11.0]);
                if at == "model" {
                    assert_eq!(after.value("ema").unwrap().id(), before.value("ema").unwrap().id());
                }
            }
        }
    }
}

#[test]
fn a_name_that_the_file_lacks_is_left_out_where_it_is_another_name_of_one_that_it_has() {
    let mut old = tied("");
    old.remove("lm_head.weight");
    let before = Checkpoint::from(old);
    let mut run = RunState::read(&before).unwrap();
    run.model = trained(&["wte.weight", "h.weight", "lm_head.weight"]);
    let after = run.write_back(&before).unwrap().state_dict("").unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["wte.weight", "h.weight"]);
    // One that is a tensor of its own is new.
    run.model.insert("lm_head.weight", tensor(7.0));
    let after = run.write_back(&before).unwrap().state_dict("").unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["wte.weight", "h.weight", "lm_head.weight"]);
}

#[test]
fn other_views_of_one_storage_are_not_given_back() {
    let storage: Storage = tensor(0.0).storage().unwrap().clone();
    let view = |shape: &[usize], offset, stride: &[usize]| {
        Tensor::new(TensorParts::strided(DType::Float32, shape.to_vec(), storage.clone(), offset, stride.to_vec()))
            .unwrap()
    };
    let others = [view(&[1], 0, &[1]), view(&[1], 1, &[1]), view(&[2, 1], 0, &[1, 1]), view(&[2], 0, &[0])];
    for other in others {
        let before = StateDict::from_iter([("whole", view(&[2], 0, &[1])), ("other", other.clone())]);
        let before = Checkpoint::from(before);
        let mut run = RunState::read(&before).unwrap();
        run.model = StateDict::from_iter([("whole", tensor(10.0))]);
        let after = run.write_back(&before).unwrap().state_dict("").unwrap();
        assert_eq!(after.keys().collect::<Vec<_>>(), ["whole"], "{other:?}");
    }
    // Nor are empty ones.
    let empty = Tensor::from_vec::<f32>(&[0], Vec::new()).unwrap();
    let before =
        Checkpoint::from(StateDict::from_iter([("a", empty.clone()), ("b", empty.alias()), ("c", tensor(1.0))]));
    let mut run = RunState::read(&before).unwrap();
    run.model.remove("b");
    assert_eq!(run.write_back(&before).unwrap().state_dict("").unwrap().len(), 2);
}

#[test]
fn what_has_not_changed_is_the_same_object_under_every_name() {
    let before = Checkpoint::from(Dict::from_iter([("model", tied("module."))]));
    let mut run = RunState::read(&before).unwrap();
    run.model.remove("module.lm_head.weight");
    let after = run.write_back(&before).unwrap();
    assert_eq!(after.value("model").unwrap().id(), before.value("model").unwrap().id());
}

#[test]
fn one_parameter_of_a_whole_module_is_one_parameter_again() {
    let shared = parameter(1.0);
    let net = module(
        &[],
        &[],
        &[
            ("wte", module(&[("weight", shared.clone())], &[], &[])),
            ("h", module(&[("weight", parameter(5.0))], &[], &[])),
            ("lm_head", module(&[("weight", shared)], &[], &[])),
        ],
    );
    for before in [Checkpoint::from(net.clone()), Checkpoint::from(Dict::from_iter([("model", net), ("x", 1.into())]))]
    {
        for names in [&["wte.weight", "h.weight"][..], &["wte.weight", "h.weight", "lm_head.weight"]] {
            let mut run = RunState::read(&before).unwrap();
            run.model = trained(names);
            let after = run.write_back(&before).unwrap();
            let root = if after.contains("model") { "model." } else { "" };
            let [one, other] = ["wte", "lm_head"].map(|layer| after.value(&format!("{root}{layer}.weight")).unwrap());
            assert_eq!(one.id(), other.id());
            assert_eq!(floats(&after, &format!("{root}lm_head.weight")), [10.0, 11.0]);
            assert!(one.as_tensor().unwrap().is_parameter());
        }
    }
}
