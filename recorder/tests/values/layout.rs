//! Where the parts of a run are in checkpoints of many spellings, and how they go back.
#![allow(clippy::float_cmp)] // they are exact

use crate::common::{module, parameter};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::run::{Layout, RunState};
use rekindle_recorder::value::{DictKind, Global, ObjectData};
use rekindle_recorder::{DType, Dict, StateDict, Tensor, Value};
use rekindle_testing::fixtures;

fn model() -> StateDict {
    StateDict::from_iter([("fc.weight", Tensor::scalar(1.0_f32)), ("fc.bias", Tensor::scalar(2.0_f32))])
}

fn optimizer(lr: f64) -> Value {
    let group = Dict::from_iter([("lr", Value::Float(lr)), ("params", vec![0_i64, 1].into())]);
    Dict::from_iter([("state", Value::from(Dict::new())), ("param_groups", vec![group].into())]).into()
}

fn scheduler() -> Value {
    Dict::from_iter([("step_size", 2), ("last_epoch", 4), ("_step_count", 5)]).into()
}

fn generator() -> Tensor {
    Tensor::from_vec(&[5056], vec![7_u8; 5056]).unwrap()
}

fn checkpoint<const N: usize>(entries: [(&str, Value); N]) -> Checkpoint {
    Checkpoint::from(Dict::from_iter(entries))
}

fn keys(checkpoint: &Checkpoint) -> Vec<String> {
    let entries = checkpoint.root().as_dict().unwrap().entries();
    entries.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_spelling_in_the_wild_is_read() {
    let models = ["model_state_dict", "model", "state_dict", "net"];
    let optimizers = ["optimizer_state_dict", "optimizer", "optim", "opt"];
    let schedulers = ["scheduler_state_dict", "lr_scheduler_state_dict", "scheduler", "lr_scheduler"];
    let generators = ["rng_state", "torch_rng_state", "rng", "cpu_rng_state"];
    let steps = ["step", "global_step", "iteration", "iter"];
    for i in 0..4 {
        let checkpoint = checkpoint([
            (steps[i], Value::Int(40)),
            (generators[i], generator().into()),
            (optimizers[i], optimizer(0.1)),
            (models[i], model().into()),
            (schedulers[i], scheduler()),
            ("epoch", Value::Int(4)),
            ("loss", 0.25.into()),
        ]);
        let run = RunState::read(&checkpoint).unwrap();
        assert_eq!(run.layout, Layout::Tutorial);
        assert_eq!((run.model.len(), run.optimizers.len(), run.schedulers.len()), (2, 1, 1));
        assert_eq!((run.epoch, run.step, run.loss.and_then(|loss| loss.as_f64())), (Some(4), Some(40), Some(0.25)));
        assert_eq!(run.rng.unwrap().shape(), [5056]);
    }
}

#[test]
fn several_models_and_optimizers_are_kept_by_their_keys() {
    for [a, b, x, y] in [
        ["modelA_state_dict", "modelB_state_dict", "optimizerA_state_dict", "optimizerB_state_dict"],
        ["generator_state_dict", "discriminator_state_dict", "g_optimizer_state_dict", "d_optimizer_state_dict"],
        ["netG", "netD", "optimizer_G", "optimizer_D"],
    ] {
        let second = StateDict::from_iter([("x", Tensor::scalar(3.0_f32))]);
        let before = checkpoint([
            (a, model().into()),
            (b, second.into()),
            (x, optimizer(0.1)),
            (y, optimizer(0.2)),
            ("model_name", "gan".into()),
        ]);
        let mut run = RunState::read(&before).unwrap();
        assert_eq!(run.other_models.len(), 1, "{a}");
        assert_eq!(run.other_models[0].0, b);
        let rate = |optimizer: &Value| Checkpoint::from(optimizer.clone()).get::<f64>("param_groups[0].lr").unwrap();
        assert_eq!(run.optimizers.iter().map(rate).collect::<Vec<_>>(), [0.1, 0.2], "{a}");

        run.optimizers[1] = optimizer(0.3);
        run.other_models[0].1.insert("x", Tensor::scalar(4.0_f32));
        let after = run.write_back(&before).unwrap();
        assert_eq!(keys(&after), keys(&before));
        assert_eq!(after.get::<f64>(&format!("{y}.param_groups[0].lr")).unwrap(), 0.3);
        assert_eq!(after.get::<f64>(&format!("{b}.x")).unwrap(), 4.0);
        assert_eq!(after.value(x).unwrap().id(), before.value(x).unwrap().id());
        run.optimizers.pop();
        let error = run.write_back(&before).unwrap_err().to_string();
        assert_eq!(error, "the checkpoint holds 2 optimizer entries, the run 1");
    }
}

#[test]
fn nothing_changed_gives_the_same_objects_back() {
    let before = checkpoint([
        ("epoch", Value::Int(4)),
        ("model", model().into()),
        ("config", Dict::from_iter([("width", 64)]).into()),
        ("loss", Tensor::scalar(0.5_f32).into()),
        ("rng_state", generator().into()),
        ("optimizer", optimizer(0.1)),
    ]);
    let after = RunState::read(&before).unwrap().write_back(&before).unwrap();
    assert_ne!(after.root().id(), before.root().id());
    assert_eq!(keys(&after), keys(&before));
    for key in keys(&before) {
        assert_eq!(after.value(&key).unwrap().id(), before.value(&key).unwrap().id(), "{key}");
    }
}

#[test]
fn numbers_keep_their_types_and_the_checkpoint_read_stays_as_it_was() {
    let mut dtype = ObjectData::call(Global::new("numpy", "dtype"), vec!["i4".into(), false.into(), true.into()]);
    dtype.states.push(Value::tuple([Value::Int(3), "<".into()]));
    let bytes = Value::Bytes(40_i32.to_le_bytes().as_slice().into());
    let step = ObjectData::call(Global::new("numpy.core.multiarray", "scalar"), vec![dtype.into(), bytes]);
    let before = checkpoint([
        ("epoch", Tensor::scalar(4_i32).into()),
        ("model", model().into()),
        ("loss", Tensor::scalar(half::bf16::from_f32(0.5)).into()),
        ("step", step.into()),
    ]);
    let mut run = RunState::read(&before).unwrap();
    assert_eq!((run.epoch, run.step), (Some(4), Some(40)));
    (run.epoch, run.step, run.loss) = (Some(5), Some(50), Some(0.25.into()));
    let after = run.write_back(&before).unwrap();
    let epoch = after.get::<Tensor>("epoch").unwrap();
    assert_eq!((epoch.dtype(), epoch.item().unwrap()), (DType::Int32, 5.0));
    let loss = after.get::<Tensor>("loss").unwrap();
    assert_eq!((loss.dtype(), loss.item().unwrap()), (DType::BFloat16, 0.25));
    assert!(matches!(after.value("step").unwrap(), Value::Object(_)));
    assert_eq!(after.get::<i64>("step").unwrap(), 50);
    assert_eq!(before.get::<i64>("epoch").unwrap(), 4);

    run.epoch = Some(1 << 40);
    let error = run.write_back(&before).unwrap_err().to_string();
    assert_eq!(error, "epoch is a tensor of int32 [], which cannot hold 1099511627776");
}

#[test]
fn a_tensor_loss_goes_where_a_float_was_as_a_float() {
    let before = checkpoint([("model", model().into()), ("loss", 0.5.into())]);
    let mut run = RunState::read(&before).unwrap();
    run.loss = Some(Tensor::scalar(0.125_f32).into());
    assert!(matches!(run.write_back(&before).unwrap().value("loss").unwrap(), Value::Float(x) if x == 0.125));
}

#[test]
fn parts_without_a_key_get_one_at_the_end_in_the_style_of_the_file() {
    let full = |style: &str| {
        let before = checkpoint([(style, model().into()), ("scheduler", Value::None), ("seed", Value::Int(1))]);
        let mut run = RunState::read(&before).unwrap();
        run.optimizers = vec![optimizer(0.1)];
        run.schedulers = vec![scheduler()];
        run.epoch = Some(1);
        run.rng = Some(generator());
        keys(&run.write_back(&before).unwrap())
    };
    let expected = ["model_state_dict", "scheduler", "seed", "epoch", "optimizer_state_dict", "rng_state"];
    assert_eq!(full("model_state_dict"), expected);
    assert_eq!(full("net"), ["net", "scheduler", "seed", "epoch", "optimizer", "rng_state"]);
}

#[test]
fn a_model_goes_back_in_the_order_prefix_kind_and_versions_of_the_file() {
    let versions = Dict::from_iter([("module.fc", Dict::from_iter([("version", 1)]))]);
    let mut wrapped = StateDict::from_iter([
        ("module._orig_mod.fc.bias", Tensor::scalar(2.0_f32)),
        ("module._orig_mod.fc.weight", Tensor::scalar(1.0_f32)),
    ]);
    wrapped.set_metadata(versions.clone());
    let before = checkpoint([("state_dict", wrapped.to_value())]);
    let mut run = RunState::read(&before).unwrap();
    run.model = model();
    run.model.insert("fc.weight", Tensor::scalar(5.0_f32));
    let after = run.write_back(&before).unwrap().state_dict("state_dict").unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["module._orig_mod.fc.bias", "module._orig_mod.fc.weight"]);
    assert_eq!(after.get("module._orig_mod.fc.weight").unwrap().item().unwrap(), 5.0);
    assert!(after.metadata().unwrap().as_dict().unwrap().same(&versions));

    let plain = Dict::from_iter([("fc.bias", Tensor::scalar(0.0_f32)), ("fc.weight", Tensor::scalar(0.0_f32))]);
    let before = Checkpoint::from(plain);
    let after = run.write_back(&before).unwrap();
    assert_eq!(after.root().as_dict().unwrap().kind(), DictKind::Dict);
    assert_eq!(keys(&after), ["fc.bias", "fc.weight"]);
}

#[test]
fn generators_in_a_dict_are_found_and_go_back_into_it() {
    let generators = Dict::from_iter([("python", Value::Int(1)), ("torch", generator().into())]);
    let before = checkpoint([("model", model().into()), ("rng_state", generators.clone().into())]);
    let mut run = RunState::read(&before).unwrap();
    let next = Tensor::from_vec(&[5056], vec![8_u8; 5056]).unwrap();
    assert!(run.rng.replace(next.clone()).is_some());
    let after = run.write_back(&before).unwrap();
    assert!(after.get::<Tensor>("rng_state.torch").unwrap().same(&next));
    assert_eq!(after.get::<i64>("rng_state.python").unwrap(), 1);
    assert!(!generators.get("torch").unwrap().as_tensor().unwrap().same(&next));
}

#[test]
fn a_bare_state_dict_and_a_whole_module_are_told_apart() {
    assert_eq!(Layout::detect(&model().to_value()), Layout::Bare);
    let quantised = Dict::from_iter([("scale", Tensor::scalar(1.0_f32).into()), ("dtype", Value::Dtype(DType::QInt8))]);
    assert_eq!(Layout::detect(&quantised.into()), Layout::Bare);
    let net = module(&[("w", parameter(1.0))], &[], &[]);
    assert_eq!(Layout::detect(&net), Layout::WholeModule);
    assert_eq!(Layout::detect(&Dict::from_iter([("model", net)]).into()), Layout::Tutorial);
    for layout in [Layout::Bare, Layout::Tutorial, Layout::WholeModule, Layout::Unknown { found: vec![] }] {
        assert!(["bare", "tutorial", "whole-module", "unknown"].contains(&&*layout.to_string()));
    }
}

#[test]
fn new_weights_go_into_a_copy_of_a_whole_module() {
    let shared = module(&[("w", parameter(1.0))], &[], &[]);
    let net = module(
        &[],
        &[("steps", Tensor::scalar(0_i64).into())],
        &[("a", shared.clone()), ("b", shared), ("act", module(&[], &[], &[]))],
    );
    let before = Checkpoint::from(Dict::from_iter([("model", net), ("epoch", Value::Int(1))]));
    let mut run = RunState::read(&before).unwrap();
    assert_eq!(run.model.keys().collect::<Vec<_>>(), ["steps", "a.w", "b.w"]);
    let tied = Tensor::from_vec(&[1], vec![5.0_f32]).unwrap();
    run.model.insert("a.w", tied.clone());
    run.model.insert("b.w", tied);
    let after = run.write_back(&before).unwrap();
    let weight = after.get::<Tensor>("model.a.w").unwrap();
    assert!(weight.is_parameter() && weight.requires_grad());
    assert_eq!(weight.to_vec::<f32>().unwrap(), [5.0]);
    assert_eq!(after.value("model.a").unwrap().id(), after.value("model.b").unwrap().id());
    assert_eq!(after.value("model.act").unwrap().id(), before.value("model.act").unwrap().id());
    assert_eq!(before.get::<Tensor>("model.a.w").unwrap().to_vec::<f32>().unwrap(), [1.0]);

    run.model.rename("steps", "count").unwrap();
    let error = run.write_back(&before).unwrap_err().to_string();
    assert!(error.starts_with("the state dict does not match the model: 1 key missing, 1 unexpected"), "{error}");
}

#[test]
fn an_unknown_layout_lists_the_keys_that_there_are() {
    let checkpoint = checkpoint([("weights_of_a", Value::Int(1)), ("b", Dict::from_iter([("x", 1)]).into())]);
    assert_eq!(
        Layout::detect(checkpoint.root()),
        Layout::Unknown { found: vec!["weights_of_a".to_owned(), "b".to_owned()] }
    );
    assert_eq!(
        RunState::read(&checkpoint).unwrap_err().to_string(),
        "the layout of this checkpoint is not supported; none of its keys is known to hold a model's state dict: \
         'weights_of_a', 'b'. Read its parts by path"
    );
    let error = RunState::read(&Checkpoint::from(3_i64)).unwrap_err().to_string();
    assert_eq!(error, "the layout of this checkpoint is not supported; it is an int, where a dict is expected");
}

#[test]
fn a_run_of_our_own_becomes_a_tutorial_checkpoint() {
    let mut run = RunState::default();
    run.model = model();
    run.optimizers = vec![optimizer(0.1)];
    run.schedulers = vec![scheduler()];
    (run.epoch, run.rng, run.loss) = (Some(3), Some(generator()), Some(0.5.into()));
    let written = run.to_checkpoint().unwrap();
    let expected = ["epoch", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "loss", "rng_state"];
    assert_eq!(keys(&written), expected);
    let again = RunState::read(&written).unwrap();
    assert_eq!((again.epoch, again.model.len(), again.optimizers.len()), (Some(3), 2, 1));
}

#[test]
fn the_files_that_pytorch_wrote_are_read_by_their_layout() {
    let layouts = [
        ("tutorial.pt", Layout::Tutorial),
        ("old113.pt", Layout::Tutorial),
        ("state_dict.pt", Layout::Bare),
        ("no_crc.pt", Layout::Bare),
        ("dtypes.pt", Layout::Bare),
        ("module.pt", Layout::WholeModule),
    ];
    let truth = fixtures::json("zip/truth.json");
    for (name, layout) in layouts {
        let checkpoint = Checkpoint::open(fixtures::path("zip").join(name)).unwrap();
        assert_eq!(Layout::detect(checkpoint.root()), layout, "{name}");
        let run = RunState::read(&checkpoint).unwrap();
        let prefix = if layout == Layout::Tutorial { "model_state_dict." } else { "" };
        let names = truth[name]["tensors"].as_array().unwrap().iter();
        let names: Vec<&str> = names.filter_map(|t| t["name"].as_str()?.strip_prefix(prefix)).collect();
        assert_eq!(run.model.keys().collect::<Vec<_>>(), names, "{name}");
        if layout == Layout::Tutorial {
            assert_eq!((run.epoch, run.optimizers.len(), run.schedulers.len()), (Some(4), 1, 1), "{name}");
            assert_eq!(run.rng.unwrap().shape(), [5056]);
            assert_eq!(run.model.version("features.1"), Some(2));
        }
    }
}

#[test]
fn weights_at_the_root_beside_an_optimizer_are_a_model_of_their_own() {
    let tensor = || Tensor::scalar(0.0_f32);
    let optimizer = Dict::from_iter([("state", Value::from(Dict::new())), ("param_groups", Value::list([]))]);
    let flat = Dict::from_iter([("state.fc.bias.step", tensor()), ("param_groups.fc.bias.lr", tensor())]);
    for optimizer in [optimizer, flat] {
        let root = Dict::from_iter([("fc.weight", Value::from(tensor())), ("fc.bias", tensor().into())]);
        root.insert("optimizer", optimizer);
        let checkpoint = Checkpoint::from(root);
        let mut run = RunState::read(&checkpoint).unwrap();
        assert_eq!(run.model_key, "the weights at the root");
        assert_eq!(run.model.keys().collect::<Vec<_>>(), ["fc.weight", "fc.bias"]);
        run.model.insert("fc.bias", Tensor::scalar(1.0_f32));
        let written = run.write_back(&checkpoint).unwrap();
        let keys: Vec<_> = written.root().as_dict().unwrap().entries().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys.iter().map(|key| key.as_str().unwrap()).collect::<Vec<_>>(),
            ["fc.weight", "fc.bias", "optimizer"]
        );
        assert_eq!(written.get::<Tensor>("fc.bias").unwrap().item().unwrap(), 1.0);
    }
}

/// Lightning before 1.0, whose version was misspelt or not there yet; `DeepSpeed` before 0.5; and what has some of their keys.
#[test]
fn older_files_of_frameworks_are_told_and_what_is_only_like_them_is_not() {
    let lightning = |version: &str| {
        let root =
            Dict::from_iter([("epoch", Value::Int(3)), ("global_step", 12.into()), ("state_dict", model().into())]);
        root.insert("optimizer_states", vec![optimizer(0.1)]);
        root.insert("lr_schedulers", vec![scheduler()]);
        if !version.is_empty() {
            root.insert(version, "0.8.5");
        }
        root
    };
    let deepspeed = Dict::from_iter([("module", Value::from(model())), ("optimizer", optimizer(0.1))]);
    deepspeed.insert("csr_tensor_module_names", Value::None);
    deepspeed.insert("skipped_steps", 0);
    deepspeed.insert("global_steps", 3);
    let nanogpt = |arguments: Value| {
        let root = Dict::from_iter([("model", Value::from(model())), ("model_args", arguments)]);
        root.insert("iter_num", 10);
        root
    };
    let without = lightning("");
    without.remove("lr_schedulers");
    let module = Dict::from_iter([("module", Value::from(model())), ("optimizer", optimizer(0.1))]);
    for (root, name) in [
        (lightning("pytorch-lightning_version"), "lightning"),
        (lightning("pytorch-ligthning_version"), "lightning"),
        (lightning(""), "lightning"),
        (without, "tutorial"),
        (deepspeed, "deepspeed"),
        (nanogpt(Dict::from_iter([("n_layer", 2)]).into()), "nanogpt"),
        (nanogpt(Value::Int(3)), "tutorial"),
    ] {
        assert_eq!(Layout::detect(&root.clone().into()).name(), name, "{root:?}");
    }
    assert_ne!(Layout::detect(&module.into()), Layout::DeepSpeed);
}
