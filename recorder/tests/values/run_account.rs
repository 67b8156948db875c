//! Everything in a checkpoint is accounted for once, whatever it is kept as and wherever, and what is written back is what was
//! read.

use proptest::prelude::*;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::run::{Accounted, RunState, Taken, account};
use rekindle_recorder::value::{Global, List, ObjectData, Shared};
use rekindle_recorder::{DType, Dict, StateDict, Tensor, Value, walk};

use crate::common::{module, parameter};

fn model() -> StateDict {
    StateDict::from_iter([
        ("fc.weight", Tensor::from_vec(&[2, 1], vec![1.0_f32, 2.0]).unwrap()),
        ("fc.bias", Tensor::from_vec(&[2], vec![2.0_f32, 3.0]).unwrap()),
    ])
}

fn optimizer() -> Value {
    let group = Dict::from_iter([("lr", Value::Float(0.1)), ("params", vec![0_i64, 1].into())]);
    Dict::from_iter([("state", Value::from(Dict::new())), ("param_groups", vec![group].into())]).into()
}

fn scheduler() -> Value {
    Dict::from_iter([("step_size", 2), ("last_epoch", 4), ("_step_count", 5)]).into()
}

/// A state of PyTorch's generator: so many draws are left, at so far.
fn state(first: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..5056_u32).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
    bytes[0] = first;
    bytes
}

fn tensor(bytes: Vec<u8>) -> Tensor {
    Tensor::from_vec(&[bytes.len()], bytes).unwrap()
}

fn array(bytes: &[u8], letters: &str, width: usize, big: bool) -> Value {
    let mut dtype = ObjectData::call(Global::new("numpy", "dtype"), vec![letters.into(), false.into(), true.into()]);
    dtype.states.push(Value::tuple([Value::Int(3), if big { ">" } else { "<" }.into()]));
    let element = |byte: &u8| {
        let mut element = vec![0; width];
        element[if big { width - 1 } else { 0 }] = *byte;
        element
    };
    let elements: Vec<u8> = bytes.iter().flat_map(element).collect();
    let made = Global::new("numpy.core.multiarray", "_reconstruct");
    let mut array = ObjectData::call(made, vec![Value::Global(Global::new("numpy", "ndarray"))]);
    let shape = Value::tuple([Value::Int(i64::try_from(bytes.len()).unwrap())]);
    array.states.push(Value::tuple([
        Value::Int(1),
        shape,
        dtype.into(),
        false.into(),
        Value::Bytes(elements.as_slice().into()),
    ]));
    array.into()
}

fn generator(bytes: Vec<u8>) -> Value {
    let device = ObjectData::call(Global::new("torch", "device"), vec!["cpu".into()]);
    let mut object = ObjectData::call(Global::new("torch._C", "Generator"), vec![device.into()]);
    object.states.push(Value::tuple([Value::Int(5), Value::None, tensor(bytes).into()]));
    object.into()
}

const FORMS: usize = 13;

/// A state in each of the forms in which programs keep it.
fn kept(form: usize, bytes: &[u8]) -> Value {
    let ints = || bytes.iter().map(|&byte| Value::Int(byte.into()));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let elements =
        |width: usize| bytes.iter().flat_map(move |&byte| (0..width).map(move |i| if i == 0 { byte } else { 0 }));
    match form {
        0 => tensor(bytes.to_vec()).into(),
        1 => Tensor::from_le_bytes(DType::Int64, &[5056], elements(8).collect::<Vec<u8>>()).unwrap().into(),
        2 => Tensor::from_le_bytes(DType::Int32, &[1, 5056], elements(4).collect::<Vec<u8>>()).unwrap().into(),
        3 => Value::Bytes(bytes.into()),
        4 => Value::ByteArray(Shared::new(bytes.to_vec())),
        5 => Value::List(List::new(ints().collect())),
        6 => Value::tuple(ints()),
        7 => array(bytes, "u1", 1, false),
        8 => array(bytes, "i8", 8, false),
        9 => array(bytes, "i4", 4, true),
        10 => generator(bytes.to_vec()),
        11 => hex.into(),
        _ => bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

const PLACES: usize = 12;

/// Where programs keep it, and its path there.
fn placed(place: usize, state: Value) -> ((&'static str, Value), &'static str) {
    let cuda = || -> Value { tensor(vec![3; 16]).into() };
    let dict = |entries: Vec<(&str, Value)>| -> Value { Dict::from_iter(entries).into() };
    let list = |items: Vec<Value>| Value::List(List::new(items));
    let python = || Value::tuple([Value::Int(3), Value::tuple((0..625).map(Value::Int)), Value::None]);
    let object = |name: &str, value: Value| -> Value {
        let mut object = ObjectData::call(Global::new("mine", "Extra"), Vec::new());
        object.states.push(dict(vec![("count", Value::Int(3)), (name, value)]));
        object.into()
    };
    match place {
        0 => (("rng_state", state), "rng_state"),
        1 => (("rng_state", list(vec![state, cuda()])), "rng_state[0]"),
        2 => (("rng", dict(vec![("torch", state), ("cuda", list(vec![cuda()]))])), "rng.torch"),
        3 => (
            ("states", dict(vec![("random_state", python()), ("torch_manual_seed", state)])),
            "states.torch_manual_seed",
        ),
        4 => (
            ("rng_state", list(vec![dict(vec![("random_rng_state", python()), ("torch_rng_state", state)])])),
            "rng_state[0].torch_rng_state",
        ),
        5 => (
            ("extra", dict(vec![("a", dict(vec![("b", dict(vec![("c", list(vec![Value::Int(1), state]))]))]))])),
            "extra.a.b.c[1]",
        ),
        6 => (("random_states", Value::tuple([python(), state])), "random_states[1]"),
        7 => (("trainer", object("generator", state)), "trainer.generator"),
        8 => (("RNG", state), "RNG"),
        9 => (
            ("rng_states", dict(vec![("python", python()), ("torch", state), ("cuda", list(vec![]))])),
            "rng_states.torch",
        ),
        10 => (
            ("callbacks", dict(vec![("rng", dict(vec![("x", object("y", dict(vec![("z", state)])))]))])),
            "callbacks.rng.x.y.z",
        ),
        _ => (("meta", dict(vec![("cpu_rng_state", state), ("cuda_rng_state", cuda())])), "meta.cpu_rng_state"),
    }
}

fn checkpoint(more: Vec<(&str, Value)>) -> Checkpoint {
    let parts = [("model_state_dict", model().into()), ("optimizer_state_dict", optimizer())];
    Checkpoint::from(parts.into_iter().chain(more).collect::<Dict>())
}

fn said<'a>(values: &'a [Accounted], place: &str) -> &'a Taken {
    &values.iter().find(|value| value.place == place).unwrap_or_else(|| panic!("{place} in {values:?}")).taken
}

fn leaves(checkpoint: &Checkpoint) -> Vec<String> {
    let mut leaves = Vec::new();
    walk::walk(checkpoint.root(), &rekindle_recorder::Limits::default(), &mut |path, _| {
        leaves.push(path.to_owned());
        Ok(())
    })
    .unwrap();
    leaves
}

/// Each leaf is in one of the values of the account, and in no other.
fn each_once(checkpoint: &Checkpoint) {
    let values = account(checkpoint).unwrap();
    for leaf in leaves(checkpoint) {
        let within = |place: &str| {
            leaf.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '(', '@']))
        };
        let holders: Vec<_> = values.iter().filter(|value| within(&value.place)).collect();
        assert_eq!(holders.len(), 1, "{leaf} is in {holders:?} of {values:?}");
    }
}

fn same(a: &Value, b: &Value) -> bool {
    walk::repr(a) == walk::repr(b)
}

#[test]
fn the_generator_is_found_in_every_form_and_place_and_goes_back_into_it() {
    for form in 0..FORMS {
        for place in 0..PLACES {
            let (entry, path) = placed(place, kept(form, &state(1)));
            let key = entry.0;
            let before = checkpoint(vec![entry]);
            let mut run = RunState::read(&before).unwrap();
            assert_eq!(run.rng_place.as_deref(), Some(path), "form {form} at {path}");
            assert_eq!(run.rng.as_ref().unwrap().to_vec::<u8>().unwrap(), state(1), "form {form} at {path}");
            assert_eq!(said(&account(&before).unwrap(), path), &Taken::Part("generator"), "form {form} at {path}");
            each_once(&before);

            run.rng = Some(tensor(state(2)));
            let after = run.write_back(&before).unwrap();
            let ((_, expected), _) = placed(place, kept(form, &state(2)));
            let written = after.root().as_dict().unwrap().get(key).unwrap();
            assert!(same(&written, &expected), "form {form} at {path}: {}", walk::repr(&written));
            assert_eq!(RunState::read(&after).unwrap().rng.unwrap().to_vec::<u8>().unwrap(), state(2));
            assert_eq!(RunState::read(&before).unwrap().rng.unwrap().to_vec::<u8>().unwrap(), state(1), "unchanged");
        }
    }
}

#[test]
fn what_is_called_a_generator_and_is_none_that_is_known_is_no_state_and_is_said() {
    let text = |text: &str| Value::from(text);
    for (value, taken) in [
        (tensor(vec![3; 16]).into(), Taken::Kept),
        (Value::List(List::new(vec![tensor(vec![3; 16]).into(); 2])), Taken::Kept),
        (Value::tuple([Value::Int(3), Value::tuple((0..625).map(Value::Int)), Value::None]), Taken::Kept),
        (Value::tuple([text("MT19937"), array(&state(1)[..624], "u4", 4, false), Value::Int(624)]), Taken::Kept),
        (Dict::from_iter([("bit_generator", text("PCG64")), ("state", Value::Int(3))]).into(), Taken::Kept),
        (Value::None, Taken::Kept),
        (Value::List(List::new(vec![])), Taken::Kept),
        (tensor(vec![3; 5048]).into(), Taken::Odd("generator")),
        (Value::Int(5), Taken::Kept),
        (Value::Float(0.5), Taken::Odd("generator")),
        (Value::List(List::new(vec![Value::Int(1), Value::Int(2)])), Taken::Odd("generator")),
        (Dict::from_iter([("a", text("state.bin"))]).into(), Taken::Odd("generator")),
    ] {
        for key in ["rng_state", "torch_rng", "random_states"] {
            let checkpoint = checkpoint(vec![(key, value.clone())]);
            let run = RunState::read(&checkpoint).unwrap();
            assert!(run.rng.is_none(), "{key} {}", walk::repr(&value));
            assert_eq!(said(&account(&checkpoint).unwrap(), key), &taken, "{key} {}", value.describe());
            let nested = Dict::from_iter([(key, value.clone())]);
            let nested = self::checkpoint(vec![("extra", nested.into())]);
            let values = account(&nested).unwrap();
            let place = if taken == Taken::Kept { "extra".to_owned() } else { format!("extra.{key}") };
            assert_eq!(said(&values, &place), &taken, "{values:?}");
        }
    }
}

#[test]
fn of_several_states_the_one_that_its_name_tells_is_taken_and_else_none() {
    let state = |first| kept(0, &state(first));
    for (entries, expected, others) in [
        (vec![("rng_state", state(1)), ("loader_generator", state(2))], Some("rng_state"), 1),
        (vec![("torch_rng_state", state(1)), ("val_state", state(2))], Some("torch_rng_state"), 1),
        (vec![("x", state(1)), ("cpu", state(2))], Some("cpu"), 1),
        (vec![("rng_state", state(1)), ("torch_rng_state", state(2))], None, 2),
        (vec![("rng_states", Value::List(List::new(vec![state(1), state(2)])))], None, 2),
        (vec![("loader_generator", state(1))], None, 1),
    ] {
        let checkpoint = checkpoint(entries);
        let run = RunState::read(&checkpoint).unwrap();
        assert_eq!(run.rng_place.as_deref(), expected);
        let open = account(&checkpoint).unwrap().iter().filter(|value| value.taken == Taken::Open("generator")).count();
        assert_eq!(open, others, "{:?}", account(&checkpoint));
    }
}

#[test]
fn values_under_known_names_that_are_something_else_are_kept_and_said() {
    let int = Value::Int;
    for (key, value) in [
        ("epoch", Value::from("12")),
        ("epoch", Value::Float(1.5)),
        ("epoch", Dict::from_iter([("train", int(3))]).into()),
        ("epoch", Tensor::from_vec(&[2], vec![1_i64, 2]).unwrap().into()),
        ("epoch", int(-3)),
        ("step", int(-5)),
        ("global_step", Value::Float(f64::NAN)),
        ("iteration", Value::List(List::new(vec![int(1)]))),
        ("loss", Value::List(List::new(vec![Value::Float(2.0)]))),
        ("loss", Dict::from_iter([("train", Value::Float(2.0))]).into()),
        ("scheduler", "cosine".into()),
        ("scaler", int(1)),
        ("ema", Value::Float(0.5)),
    ] {
        let before = checkpoint(vec![(key, value.clone())]);
        let values = account(&before).unwrap();
        assert!(matches!(said(&values, key), Taken::Odd(_)), "{key}: {values:?}");
        let after = RunState::read(&before).unwrap().write_back(&before).unwrap();
        assert!(same(after.root(), before.root()), "{key}");
        each_once(&before);
    }
    let several = checkpoint(vec![
        ("epoch", int(3)),
        ("last_epoch", int(3)),
        ("step", int(7)),
        ("global_step", int(30)),
        ("model", "resnet18".into()),
        ("optimizer", "adam".into()),
        ("scheduler", Value::None),
    ]);
    let values = account(&several).unwrap();
    assert_eq!(said(&values, "epoch"), &Taken::Part("epoch"));
    assert_eq!(said(&values, "last_epoch"), &Taken::Second("epoch"));
    assert_eq!((said(&values, "global_step"), said(&values, "step")), (&Taken::Part("step"), &Taken::Second("step")));
    for key in ["model", "optimizer", "scheduler"] {
        assert_eq!(said(&values, key), &Taken::Kept);
    }
}

#[test]
fn averages_and_copies_of_the_weights_are_told_under_any_key() {
    let average = || {
        let names = [("n_averaged", Tensor::scalar(3_i64)), ("module.fc.weight", Tensor::scalar(1.0_f32))];
        Value::from(Dict::from_iter(names))
    };
    let shadow = || {
        let tensors: Vec<Value> = model().iter().map(|(_, tensor)| tensor.clone().into()).collect();
        Value::List(List::new(tensors))
    };
    let torch_ema = || {
        let entries = [("decay", Value::Float(0.9)), ("num_updates", Value::Int(3)), ("shadow_params", shadow())];
        Value::from(Dict::from_iter(entries))
    };
    let nested = || Value::from(Dict::from_iter([("decay", Value::Float(0.9)), ("shadow", model().into())]));
    let whole = module(&[], &[], &[("fc", module(&[("weight", parameter(1.0))], &[], &[]))]);
    for (key, value, place) in [
        ("ema", average(), "ema"),
        ("swa_model", average(), "swa_model"),
        ("averaged", average(), "averaged"),
        ("params_ema", model().into(), "params_ema"),
        ("state_dict_ema", model().into(), "state_dict_ema"),
        ("net_ema", model().into(), "net_ema"),
        ("ema", torch_ema(), "ema"),
        ("averager", torch_ema(), "averager"),
        ("ema", nested(), "ema.shadow"),
        ("ema", whole, "ema"),
    ] {
        let checkpoint = checkpoint(vec![(key, value)]);
        let values = account(&checkpoint).unwrap();
        assert_eq!(said(&values, place), &Taken::Part("ema"), "{key}: {values:?}");
        assert!(RunState::read(&checkpoint).unwrap().ema.is_some());
        each_once(&checkpoint);
    }
    let prefixed = |prefix: &str| -> Value {
        model().iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect::<Dict>().into()
    };
    for value in [model().into(), prefixed("module."), prefixed("_orig_mod."), prefixed("online_model."), shadow()] {
        for key in ["best", "teacher", "snapshot", "x"] {
            let plain = checkpoint(vec![(key, value.clone())]);
            assert_eq!(said(&account(&plain).unwrap(), key), &Taken::Copy, "{key}");
            let nested = checkpoint(vec![("extra", Dict::from_iter([(key, value.clone())]).into())]);
            assert_eq!(said(&account(&nested).unwrap(), &format!("extra.{key}")), &Taken::Copy, "{key}");
        }
    }
    let other = checkpoint(vec![("criterion", Dict::from_iter([("weight", Tensor::scalar(1.0_f32))]).into())]);
    assert_eq!(said(&account(&other).unwrap(), "criterion"), &Taken::Kept);
}

/// A part of a run, or something else that people save.
fn value(kind: usize) -> Value {
    let int = Value::Int;
    let text = |text: &str| Value::from(text);
    match kind {
        0 => optimizer(),
        1 => scheduler(),
        2 => model().into(),
        3 => kept(0, &state(1)),
        4 => kept(5, &state(1)),
        5 => Dict::from_iter([("scale", Value::Float(2.0)), ("growth_factor", Value::Float(2.0))]).into(),
        6 => Dict::from_iter([("lr", Value::Float(0.1)), ("name", text("run"))]).into(),
        7 => Value::List(List::new((0..5).map(int).collect())),
        8 => int(3),
        9 => Value::Float(0.5),
        10 => Value::None,
        11 => text("adam"),
        12 => tensor(vec![3; 16]).into(),
        13 => Tensor::scalar(1.0_f32).into(),
        14 => Dict::from_iter([("n_averaged", Tensor::scalar(3_i64))]).into(),
        15 => Value::tuple([int(1), text("a")]),
        _ => Dict::new().into(),
    }
}

const KEYS: [&str; 24] = [
    "epoch",
    "step",
    "global_step",
    "loss",
    "optim",
    "sched",
    "lr_scheduler",
    "rng_state",
    "rng",
    "extra",
    "config",
    "best",
    "ema",
    "history",
    "args",
    "scaler",
    "callbacks",
    "x",
    "net2",
    "random_states",
    "iteration",
    "meta",
    "teacher",
    "0",
];

fn entries(depth: u32) -> BoxedStrategy<Value> {
    let leaf = (0..17_usize).prop_map(value).boxed();
    if depth == 0 {
        return leaf;
    }
    let dict = prop::collection::vec((0..KEYS.len(), entries(depth - 1)), 0..4)
        .prop_map(|entries| entries.into_iter().map(|(key, value)| (KEYS[key], value)).collect::<Dict>().into());
    let list = prop::collection::vec(entries(depth - 1), 0..4).prop_map(|items| Value::List(List::new(items)));
    prop_oneof![6 => leaf, 2 => dict, 1 => list].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_checkpoints_are_accounted_for_and_come_back(
        entries in prop::collection::vec((0..KEYS.len(), entries(3)), 0..8),
    ) {
        let entries = entries.into_iter().map(|(key, value)| (KEYS[key], value));
        let before = checkpoint(entries.collect());
        each_once(&before);
        let after = RunState::read(&before).unwrap().write_back(&before).unwrap();
        prop_assert!(same(after.root(), before.root()));
        // What looks like a part is one, or is said to be left.
        let values = account(&before).unwrap();
        let kept = values.iter().filter(|value| value.taken == Taken::Kept && !value.place.contains("best"));
        for value in kept.filter(|value| !value.place.contains("teacher") && !value.place.contains("ema")) {
            let found = walk::get(before.root(), &value.place).unwrap();
            let text = walk::repr(&found);
            prop_assert!(!text.contains("param_groups") && !text.contains("_step_count"), "{}: {text}", value.place);
        }
    }
}

#[test]
fn the_generator_is_found_in_what_pytorch_itself_pickles() {
    let kept = Checkpoint::open(rekindle_testing::fixtures::path("several/generator.pt")).unwrap();
    let truth = kept.get::<Tensor>("tensor").unwrap().to_vec::<u8>().unwrap();
    for key in ["generator", "array", "wide", "bytearray", "tensor"] {
        let before = checkpoint(vec![("state", kept.value(key).unwrap())]);
        let mut run = RunState::read(&before).unwrap();
        assert_eq!(run.rng_place.as_deref(), Some("state"), "{key}");
        assert_eq!(run.rng.as_ref().unwrap().to_vec::<u8>().unwrap(), truth, "{key}");
        run.rng = Some(tensor(state(2)));
        let after = run.write_back(&before).unwrap();
        assert_eq!(RunState::read(&after).unwrap().rng.unwrap().to_vec::<u8>().unwrap(), state(2), "{key}");
    }
}
