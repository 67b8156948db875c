//! Checkpoints by path: hand-made ones, and files that PyTorch wrote.
#![allow(clippy::float_cmp)] // they are exact

use std::collections::HashSet;

use crate::common::{module, parameter};
use proptest::prelude::*;
use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::value::{Global, ObjectData, Shared};
use rekindle_recorder::walk::{self, repr, walk};
use rekindle_recorder::{Dict, Error, ErrorKind, Limits, Tensor, Value};
use rekindle_testing::fixtures;

fn paths(root: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(root, &Limits::default(), &mut |path, _| {
        paths.push(path.to_owned());
        Ok(())
    })
    .unwrap();
    paths
}

fn sample() -> Checkpoint {
    let group = Dict::from_iter([("lr", Value::Float(0.1)), ("betas", Value::tuple([0.9.into(), 0.999.into()]))]);
    let state: Dict = [(Value::Int(0), Dict::from_iter([("exp_avg", Tensor::scalar(1.0_f32))]))].into_iter().collect();
    let model = Dict::from_iter([("conv1.weight", Tensor::scalar(2.0_f32)), ("conv1.bias", Tensor::scalar(3.0_f32))]);
    Checkpoint::from(Dict::from_iter([
        ("epoch", Value::Int(5)),
        ("model", model.into()),
        ("optimizer", Dict::from_iter([("state", Value::from(state)), ("param_groups", vec![group].into())]).into()),
    ]))
}

#[test]
fn values_are_found_by_path() {
    let checkpoint = sample();
    assert_eq!(checkpoint.get::<i64>("epoch").unwrap(), 5);
    assert_eq!(checkpoint.get::<f64>("model.conv1.bias").unwrap(), 3.0);
    assert_eq!(checkpoint.get::<f64>("model['conv1.bias']").unwrap(), 3.0);
    assert_eq!(checkpoint.get::<f64>("optimizer.param_groups[0].betas[1]").unwrap(), 0.999);
    assert_eq!(checkpoint.get::<f64>("optimizer.state[0].exp_avg").unwrap(), 1.0);
    assert_eq!(checkpoint.value("").unwrap().id(), checkpoint.root().id());
    assert!(!checkpoint.contains("model.conv1") && !checkpoint.contains("optimizer.state[1]"));
    let names: Vec<String> = checkpoint.tensors().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["model.conv1.weight", "model.conv1.bias", "optimizer.state[0].exp_avg"]);
}

#[test]
fn a_name_that_is_not_there_brings_the_nearest_one() {
    let checkpoint = sample();
    let error = |path: &str| checkpoint.get::<i64>(path).unwrap_err().to_string();
    assert_eq!(error("epochs"), "there is no 'epochs'; did you mean 'epoch'?");
    assert_eq!(error("model.conv1.wieght"), "there is no 'model.conv1.wieght'; did you mean 'model.conv1.weight'?");
    assert_eq!(error("conv1.weight"), "there is no 'conv1.weight'; there are 'epoch', 'model', 'optimizer'");
    assert_eq!(error("epoch.x"), "there is no 'epoch.x'; epoch is an int");
    assert_eq!(
        error("model.conv1.weight.data"),
        "there is no 'model.conv1.weight.data'; \
        model.conv1.weight is a tensor of float32 []"
    );
    assert_eq!(
        error("optimizer.param_groups[0].betas"),
        "optimizer.param_groups[0].betas is a tuple, where i64 is expected"
    );
}

#[test]
fn a_file_is_named_in_every_error() {
    let path = fixtures::path("zip/tutorial.pt");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = checkpoint.get::<i64>("epohc").unwrap_err();
    assert_eq!(error.file(), Some(&*path));
    assert!(error.to_string().ends_with("tutorial.pt: there is no 'epohc'; did you mean 'epoch'?"), "{error}");
    assert_eq!(checkpoint.state_dict("optimizer_state_dict.state").unwrap_err().file(), Some(&*path));
    assert!(Checkpoint::open("no/such/file.pt").unwrap_err().to_string().starts_with("no/such/file.pt: "));
}

#[test]
fn setting_replaces_in_place_and_adds_last_keys_only() {
    let checkpoint = sample();
    checkpoint.set("epoch", 6).unwrap();
    checkpoint.set("optimizer.param_groups[0].lr", 0.01).unwrap();
    checkpoint.set("optimizer.param_groups[0].initial_lr", 0.1).unwrap();
    checkpoint.set("optimizer.param_groups[1]", Dict::new()).unwrap();
    checkpoint.set("optimizer.state[1]", Dict::new()).unwrap();
    checkpoint.set("model['conv2.weight']", Tensor::scalar(0.0_f32)).unwrap();
    checkpoint.set("note", "resumed").unwrap();
    let entries = checkpoint.root().as_dict().unwrap().entries();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.as_str().unwrap()).collect();
    assert_eq!(keys, ["epoch", "model", "optimizer", "note"]);
    assert_eq!(checkpoint.get::<f64>("optimizer.param_groups[0].lr").unwrap(), 0.01);
    assert_eq!(checkpoint.get::<f64>("model.conv2.weight").unwrap(), 0.0);
    let state = checkpoint.value("optimizer.state").unwrap();
    assert!(state.as_dict().unwrap().get_key(&Value::Int(1)).is_some());

    let error = |path: &str| checkpoint.set(path, 1).unwrap_err().to_string();
    assert_eq!(error("modle.conv3"), "there is no 'modle'; did you mean 'model'?");
    assert_eq!(error("optimizer.param_groups[9]"), "'optimizer.param_groups[9]' is beyond the end of a list of 2");
    assert!(error("optimizer.param_groups[0].betas[0]").contains("is in a tuple"));
    assert_eq!(error("epoch.x"), "epoch is an int, where a dict to put a new key in is expected");
    assert_eq!(error(""), "the root cannot be replaced; make a new one");
}

#[test]
fn a_change_is_seen_wherever_the_value_is_shared() {
    let settings = Dict::from_iter([("lr", 0.1)]);
    let root = Dict::from_iter([("a", settings.clone()), ("b", settings)]);
    let checkpoint = Checkpoint::from(root);
    checkpoint.set("a.lr", 0.2).unwrap();
    assert_eq!(checkpoint.get::<f64>("b.lr").unwrap(), 0.2);
}

#[test]
fn every_kind_of_key_and_place_is_spelled_and_found() {
    let root: Dict = [
        (Value::from("with.dot"), Value::Int(0)),
        (Value::Int(-7), Value::Int(1)),
        (Value::tuple([Value::Int(1), "two".into()]), Value::Int(2)),
        (Value::None, Value::Int(3)),
        (Value::Float(1e-5), Value::Int(4)),
        (Value::Bytes(b"b'\xff".as_slice().into()), Value::Int(5)),
        (Value::FrozenSet([Value::Int(1)].into()), Value::Int(6)),
        (Value::Bool(true), Value::Int(7)),
        (Value::from("with"), Dict::from_iter([("dot2", 8)]).into()),
        (Value::from("deep"), Dict::from_iter([("", 9)]).into()),
    ]
    .into_iter()
    .collect();
    let root = Value::from(root);
    let expected = [
        "with.dot",
        "[-7]",
        "[(1, 'two')]",
        "[None]",
        "[1e-05]",
        "[b\"b'\\xff\"]",
        "[frozenset({1})]",
        "[True]",
        "with.dot2",
        "deep['']",
    ];
    assert_eq!(paths(&root), expected);
    assert_eq!(walk::get(&root, "deep.").unwrap().as_i64(), Some(9));
    for (i, path) in (0_i64..).zip(expected) {
        assert_eq!(walk::get(&root, path).unwrap().as_i64(), Some(i), "{path}");
    }
}

#[test]
fn objects_are_walked_by_entries_items_attributes_and_arguments() {
    let class = |name: &str| Global::new("mine", name);
    let mut config = ObjectData::call(class("Config"), vec![Value::Int(1)]);
    config.states.push(Value::tuple([
        Dict::from_iter([("lr", 0.1)]).into(),
        Dict::from_iter([("layers", vec![64_i64])]).into(),
    ]));
    config.kwargs = Some(Dict::from_iter([("strict", true)]).into());
    config.items.push(Value::Int(2));
    config.entries.push(("key".into(), Value::Int(3)));
    let counter = ObjectData::call(Global::new("collections", "Counter"), vec![Dict::from_iter([("a", 5)]).into()]);
    let mut array = ObjectData::call(class("array"), vec![]);
    array.states.push(Value::tuple([Value::Int(1), Value::Int(2), Value::Int(3)]));
    let root = Value::from(Dict::from_iter([
        ("config", Value::from(config)),
        ("counter", counter.into()),
        ("array", array.into()),
        ("class", class("Net").into()),
        ("marker", ObjectData::call(class("Marker"), vec![]).into()),
        ("empty", Value::list([])),
        ("names", Value::Set(Shared::new(vec![Value::Int(1)]))),
    ]));
    let expected = [
        "config(0)",
        "config(strict)",
        "config[0]",
        "config.key",
        "config.lr",
        "config.layers[0]",
        "counter.a",
        "array(state)[0]",
        "array(state)[1]",
        "array(state)[2]",
        "class",
        "marker",
        "empty",
        "names",
    ];
    assert_eq!(paths(&root), expected);
    for path in expected {
        assert!(walk::contains(&root, path), "{path}");
    }
    walk::set(&root, "config.lr", 0.5).unwrap();
    walk::set(&root, "config.key", 4).unwrap();
    walk::set(&root, "config[0]", 5).unwrap();
    walk::set(&root, "config.seed", 6).unwrap();
    walk::set(&root, "counter.a", 7).unwrap();
    for (path, x) in
        [("config.lr", 0.5), ("config.key", 4.0), ("config[0]", 5.0), ("config.seed", 6.0), ("counter.a", 7.0)]
    {
        assert_eq!(walk::get(&root, path).unwrap().as_f64(), Some(x), "{path}");
    }
    assert!(walk::set(&root, "config(0)", 1).is_err());
}

#[test]
fn a_module_is_walked_by_its_attributes() {
    let inner = module(&[("weight", parameter(1.0)), ("bias", Value::None)], &[], &[]);
    let net = module(&[], &[("steps", Tensor::scalar(0_i64).into())], &[("fc", inner)]);
    let expected = ["model.steps", "model.training", "model.fc.weight", "model.fc.training"];
    let root = Value::from(Dict::from_iter([("model", net)]));
    assert_eq!(paths(&root), expected);
    walk::set(&root, "model.fc.weight", parameter(4.0)).unwrap();
    let checkpoint = Checkpoint::from(root);
    assert_eq!(checkpoint.state_dict("model").unwrap().get("fc.weight").unwrap().item().unwrap(), 4.0);
}

#[test]
fn a_cycle_is_a_leaf_where_it_comes_again() {
    let list = Value::list([Value::Int(1)]);
    let Value::List(inside) = &list else { unreachable!() };
    inside.write().push(Value::tuple([list.clone()]));
    let root = Value::from(Dict::from_iter([("list", list.clone())]));
    assert_eq!(paths(&root), ["list[0]", "list[1][0]"]);
    assert_eq!(walk::get(&root, "list[1][0][1][0][0]").unwrap().as_i64(), Some(1));
    assert!(!walk::contains(&root, "list[1][0][1][0][7]"));
    list.clear();
}

#[test]
fn sharing_that_spells_out_to_any_length_meets_a_limit() {
    let mut value = Value::list([]);
    for _ in 0..60 {
        value = Value::list([value.clone(), value]);
    }
    let mut limits = Limits::default();
    limits.values = 1000;
    let error = walk(&value, &limits, &mut |_, _| Ok(())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 1000, .. }), "{error}");

    let mut deep = Value::tuple([Value::Int(1)]);
    for _ in 0..60 {
        deep = Value::tuple([deep.clone(), deep]);
    }
    assert!(repr(&deep).len() < 10_000);
    limits.depth = 10;
    let error = walk(&deep, &limits, &mut |_, _| Ok(())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 10, .. }), "{error}");
}

#[test]
fn keys_that_begin_like_each_other_do_not_make_a_search_explode() {
    let inner = Dict::new();
    for i in 1..30 {
        inner.insert(vec!["a"; i].join("."), inner.clone());
    }
    let root = Value::from(inner.clone());
    assert!(!walk::contains(&root, &format!("{}.b", vec!["a"; 200].join("."))));
    root.clear();
}

#[test]
fn numbers_are_printed_as_python_prints_them() {
    let floats = [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1e-4, "0.0001"),
        (1.5e-7, "1.5e-07"),
        (5e-324, "5e-324"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ];
    for (x, text) in floats {
        assert_eq!(repr(&Value::Float(x)), text);
    }
    assert_eq!(repr(&Value::Complex(1.0, -2.0)), "(1-2j)");
    assert_eq!(repr(&Value::Complex(0.0, 2.5)), "2.5j");
    assert_eq!(repr(&Value::tuple([Value::Bool(true)])), "(True,)");
    assert_eq!(repr(&"it's".into()), "\"it's\"");
    assert_eq!(repr(&"a'\"\n\u{1}".into()), r#"'a\'"\n\x01'"#);
}

#[test]
fn the_paths_and_values_are_those_that_python_saw() {
    let truth = fixtures::json("zip/truth.json");
    for (name, about) in truth.as_object().unwrap() {
        let checkpoint = Checkpoint::open(fixtures::path("zip").join(name)).unwrap();
        let tensors = checkpoint.tensors().unwrap();
        let expected: Vec<&str> =
            about["tensors"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
        // Beside them stand the scales and zero points of quantised tensors, which the list does not have.
        let listed = |name: &&str| !name.ends_with("(scales)") && !name.ends_with("(zero_points)");
        let found: Vec<&str> = tensors.iter().map(|(name, _)| &**name).filter(listed).collect();
        assert_eq!(found, expected, "{name}");
        for (path, expected) in about["values"].as_object().unwrap() {
            let value = checkpoint.value(path).unwrap();
            match expected {
                serde_json::Value::Null => assert!(matches!(value, Value::None), "{name} {path}"),
                serde_json::Value::Bool(b) => assert!(matches!(value, Value::Bool(x) if x == *b), "{name} {path}"),
                serde_json::Value::Number(n) if n.is_i64() => assert_eq!(value.as_i64(), n.as_i64(), "{name} {path}"),
                serde_json::Value::Number(n) => assert_eq!(value.as_f64(), n.as_f64(), "{name} {path}"),
                serde_json::Value::String(text) => match &value {
                    Value::Str(found) => assert_eq!(**found, **text, "{name} {path}"),
                    Value::SurrogateStr(_) => assert!(text.contains("\\ud"), "{name} {path}"),
                    number => assert_eq!(repr(number), *text, "{name} {path}"),
                },
                other => panic!("{name} {path} is {other}"),
            }
        }
    }
}

#[test]
fn every_leaf_of_every_file_is_found_again_by_its_path() {
    for name in ["values.pt", "exotic.pt", "tied.pt", "tutorial.pt", "module.pt"] {
        let checkpoint = Checkpoint::open(fixtures::path("zip").join(name)).unwrap();
        let mut leaves = Vec::new();
        let all = walk(checkpoint.root(), &Limits::default(), &mut |path, value| {
            leaves.push((path.to_owned(), value.clone()));
            Ok(())
        });
        all.unwrap();
        // The long list and dict would take long.
        for (path, leaf) in leaves.iter().filter(|(path, _)| !path.starts_with("long_") && !path.contains("state[1]")) {
            let found = checkpoint.value(path).unwrap();
            assert_eq!(leaf.id().is_some(), found.id().is_some() && leaf.id() == found.id(), "{name} {path}");
        }
    }
}

#[test]
fn saving_onto_the_file_that_is_open_is_safe() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("run.pt");
    std::fs::copy(fixtures::path("zip/tutorial.pt"), &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let before = checkpoint.tensors().unwrap();
    checkpoint.set("epoch", 5).unwrap();
    let report = checkpoint.save(&path).unwrap();
    assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());

    let again = Checkpoint::open(&path).unwrap();
    assert_eq!(again.get::<i64>("epoch").unwrap(), 5);
    let after = again.tensors().unwrap();
    assert_eq!(before.len(), after.len());
    for ((name, old), (other, new)) in before.iter().zip(&after) {
        assert_eq!(name, other);
        assert_eq!(old.to_le_bytes().unwrap(), new.to_le_bytes().unwrap(), "{name}");
    }
    assert_eq!(again.state_dict("model_state_dict").unwrap().version("features.1"), Some(2));
}

#[test]
fn the_extension_and_the_options_say_what_is_written() {
    let folder = rekindle_testing::scratch();
    let checkpoint = sample();
    for name in ["a.pt", "a.pth", "a.ckpt", "a.bin", "a.tar", "a.anything", "a"] {
        checkpoint.save(folder.path().join(name)).unwrap();
        let again = Checkpoint::open_with(folder.path().join(name), &OpenOptions::default().verify(false)).unwrap();
        assert_eq!(again.format().unwrap().name(), "zip");
        assert!(again.bytes() > 0 && !again.globals().is_empty());
    }
    let path = folder.path().join("a.pt");
    let error = checkpoint.save_with(&path, &SaveOptions::default().overwrite(false)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists));
    assert_eq!(error.file(), Some(&*path));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "[ab01.\\[\\](){}#@'\"\\\\n\n\u{1b}]{0,6}".prop_map(Value::from),
        Just(Value::Float(f64::NAN)),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    let key = leaf.clone();
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::list),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::tuple),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Dict>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(rekindle_testing::cases(256))]

    #[test]
    fn every_leaf_has_a_path_that_leads_to_one_like_it(root in value()) {
        let mut leaves = Vec::new();
        walk(&root, &Limits::default(), &mut |path, value| {
            leaves.push((path.to_owned(), value.clone()));
            Ok(())
        }).unwrap();
        for (path, leaf) in &leaves {
            let found = walk::get(&root, path).unwrap();
            prop_assert_eq!(repr(&found), repr(leaf), "{}", path);
            prop_assert_eq!(found.describe(), leaf.describe(), "{}", path);
        }
        let paths: HashSet<_> = leaves.iter().map(|(path, _)| path).collect();
        prop_assert_eq!(paths.len(), leaves.len());
    }

    #[test]
    fn any_path_is_answered(root in value(), path in ".{0,12}") {
        let _ = walk::get(&root, &path).map_err(|error| error.to_string());
        let _ = walk::set(&root, &path, 1).map_err(|error| error.to_string());
    }
}

#[test]
fn a_main_that_fails_prints_the_sentence() {
    let error: Box<dyn std::error::Error> = Error::from(ErrorKind::Exists).in_file("run.pt").into();
    let sentence = "run.pt: the file exists already; pass `SaveOptions::overwrite(true)` to replace it";
    assert_eq!(format!("{error:?}"), sentence);
}
