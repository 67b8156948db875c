//! Every place has a spelling of its own, and is found again by it.

use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::tensor::Tensor;
use rekindle_recorder::value::{Construction, Global, ObjectData};
use rekindle_recorder::{Checkpoint, Dict, Limits, Value, printable_name, walk};

use crate::common::parameter;

fn dict<K: Into<Value>, V: Into<Value>, const N: usize>(entries: [(K, V); N]) -> Value {
    Dict::from_iter(entries).into()
}

/// The paths of all leaves; each is there once, and leads to its leaf.
fn paths(root: &Value) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    walk::walk(root, &Limits::default(), &mut |path, value| {
        let found = walk::get(root, path)?;
        assert!(found.id() == value.id() && walk::repr(&found) == walk::repr(value), "{path}: {value:?} {found:?}");
        assert!(!paths.iter().any(|known| known == path), "{path} twice");
        assert_eq!(walk::get(root, &printable_name(path))?.id(), value.id());
        paths.push(path.to_owned());
        Ok(())
    })
    .unwrap();
    let same = Checkpoint::from(root.clone());
    assert!(compare(&same, &same, Tolerance::default()).unwrap().is_empty());
    paths
}

#[test]
fn a_key_is_quoted_where_something_else_has_its_spelling_and_only_there() {
    let nested = |inner: Value| dict([("a", inner)]);
    // A state dict's names stay as they are.
    assert_eq!(paths(&dict([("fc.weight", 1), ("fc.bias", 2), ("fc", 3)])), ["fc.weight", "fc.bias", "fc"]);
    assert_eq!(paths(&dict([("a.b", Value::Int(1)), ("a", dict([("c", 2)]))])), ["a.b", "a.c"]);
    assert_eq!(paths(&dict([("a.b", Value::Int(1)), ("a", dict([("b", 2)]))])), ["['a.b']", "a.b"]);
    assert_eq!(paths(&nested(dict([("a.b", Value::Int(1)), ("a", dict([("b", 2)]))]))), ["a['a.b']", "a.a.b"]);
    assert_eq!(paths(&dict([("x[0]", Value::Int(1)), ("x", vec![2_i64].into())])), ["['x[0]']", "x[0]"]);
    assert_eq!(
        paths(&dict([("x[0].y[1]", Value::Int(1)), ("x", vec![dict([("y", vec![2, 3])])].into())])),
        ["['x[0].y[1]']", "x[0].y[0]", "x[0].y[1]"]
    );
    // Both go on, and meet farther in.
    let meeting = dict([("a.b", dict([("c", 1)])), ("a", dict([("b.c", 2)]))]);
    assert_eq!(paths(&meeting), ["['a.b'].c", "a.b.c"]);
    let apart = dict([("a.b", dict([("c", 1)])), ("a", dict([("bc", 2)]))]);
    assert_eq!(paths(&apart), ["a.b.c", "a.bc"]);
    assert_eq!(paths(&dict([("", Value::Int(1)), ("a", dict([("", 2)]))])), ["['']", "a['']"]);
}

#[test]
fn a_number_a_text_and_a_text_in_brackets_are_three_keys() {
    let root = Dict::from_iter([(Value::Int(1), 1), ("1".into(), 2), ("[1]".into(), 3), (Value::Float(1.5), 4)]);
    assert_eq!(paths(&root.clone().into()), ["[1]", "1", "['[1]']", "[1.5]"]);
    assert_eq!(paths(&dict([("state", root)])), ["state[1]", "state.1", "state.[1]", "state[1.5]"]);
    let quotes = dict([("it's", 1), ("say \"it's\"", 2), ("['a']", 3), ("a", 4), ("['b']", 5), ("(0)", 6), ("#2", 7)]);
    assert_eq!(paths(&quotes), ["it's", "say \"it's\"", "['a']", "a", "['b']", "(0)", "#2"]);
}

#[test]
fn keys_that_print_alike_are_numbered() {
    let nan = || Value::Float(f64::NAN);
    assert_eq!(paths(&dict([(nan(), 1), (nan(), 2), (nan(), 3)])), ["[nan]", "[nan]#2", "[nan]#3"]);
    let weight = |x: f32| Value::from(Tensor::from_vec(&[1], vec![x]).unwrap());
    let state = dict([(weight(1.0), dict([("step", 1)])), (weight(2.0), dict([("step", 2)]))]);
    let all = paths(&dict([("state", state)]));
    assert_eq!(
        all.iter().filter(|path| path.ends_with(".step")).collect::<Vec<_>>(),
        ["state[Tensor(float32 [1], cpu)].step", "state[Tensor(float32 [1], cpu)]#2.step"]
    );
    let object = |name: &str| Value::from(ObjectData::call(Global::new("mine", name), vec![]));
    assert_eq!(
        paths(&dict([(object("A"), 1), (object("A"), 2), (object("x].y[0"), 3)])),
        ["[<class mine.A>]", "[<class mine.A>]#2", "[<class mine.x\\x5d.y[0>]"]
    );
}

#[test]
fn a_pickled_optimizers_parameters_are_told_apart() {
    let (first, second) = (parameter(1.0), parameter(1.0));
    let state = dict([(first.clone(), dict([("step", 1)])), (second.clone(), dict([("step", 2)]))]);
    let group = dict([("params", vec![first, second])]);
    let attributes = Dict::from_iter([("state", state), ("param_groups", vec![group].into())]);
    let mut optimizer = ObjectData::call(Global::new("torch.optim.sgd", "SGD"), vec![]);
    optimizer.construction = Construction::New;
    optimizer.states.push(attributes.into());
    let root = dict([("optimizer", Value::from(optimizer))]);
    let steps: Vec<_> = paths(&root).into_iter().filter(|path| path.ends_with("step")).collect();
    assert_eq!(steps.len(), 2);
    for (path, step) in steps.iter().zip([1, 2]) {
        assert_eq!(Checkpoint::from(root.clone()).get::<i64>(path).unwrap(), step);
    }
    walk::set(&root, &steps[1], 7).unwrap();
    assert_eq!(walk::get(&root, &steps[1]).unwrap().as_i64(), Some(7));
    assert_eq!(walk::get(&root, &steps[0]).unwrap().as_i64(), Some(1));
}

#[test]
fn an_objects_entries_attributes_and_arguments_are_told_apart() {
    let mut object = ObjectData::call(Global::new("mine", "Config"), vec![Value::Int(0)]);
    object.entries.push(("lr".into(), Value::Int(1)));
    object.entries.push((Value::Int(0), Value::Int(2)));
    object.items.push(Value::Int(3));
    object.states.push(dict([("lr", 4), ("lr#2", 5)]));
    object.kwargs = Some(dict([("state", 6), ("0", 7), ("name", 8), ("a)(b", 9)]));
    object.states.push(Value::Int(10));
    let root = dict([("config", Value::from(object))]);
    assert_eq!(paths(&root).len(), 11);
}

#[test]
fn a_place_is_found_quoted_or_not_and_as_a_terminal_shows_it() {
    let root = dict([("model", dict([("conv1.weight", 1), ("line\nbreak\u{1b}[31m", 2), ("say 'x'", 3)]))]);
    for (path, value) in [
        ("model.conv1.weight", 1),
        ("model['conv1.weight']", 1),
        ("['model'].conv1.weight", 1),
        ("model.line\nbreak\u{1b}[31m", 2),
        (r"model.line\nbreak\x1b[31m", 2),
        (r"model['line\nbreak\x1b[31m']", 2),
        ("model[\"say 'x'\"]", 3),
    ] {
        assert_eq!(walk::get(&root, path).unwrap().as_i64(), Some(value), "{path}");
    }
}

#[test]
fn a_line_break_and_what_a_terminal_shows_for_it_are_two_keys() {
    let keys = ["a\nb", r"a\nb", "\u{1b}", r"\x1b"];
    let root = dict([("x", Dict::from_iter(keys.iter().zip(0..).map(|(key, n)| (*key, Value::Int(n)))))]);
    let shown: Vec<String> = paths(&root).iter().map(|path| printable_name(path).into_owned()).collect();
    for (n, path) in shown.iter().enumerate() {
        assert_eq!(walk::get(&root, path).unwrap().as_i64(), i64::try_from(n).ok(), "{path}");
        assert_eq!(shown.iter().filter(|other| *other == path).count(), 1, "{path}");
    }
    // Alone, a key stays as it is.
    assert_eq!(paths(&dict([("a\nb", 1)])), ["a\nb"]);
}

#[test]
fn a_refused_object_is_named_as_everywhere() {
    let object = || Value::from(ObjectData::call(Global::new("mine", "A"), vec![]));
    let root = dict([("a.b", object()), ("a", dict([("b", 1)]))]);
    let error = Checkpoint::from(root.clone()).to_bytes().unwrap_err();
    assert!(error.to_string().starts_with("['a.b'] is <class mine.A>, which plain torch.load refuses"), "{error}");
    assert_eq!(walk::get(&root, "['a.b']").unwrap().describe(), "<class mine.A>");
    let deep = dict([(Value::Float(f64::NAN), Value::Int(1)), (f64::NAN.into(), vec![object()].into())]);
    let error = Checkpoint::from(deep).to_bytes().unwrap_err();
    assert!(error.to_string().starts_with("[nan]#2[0] is <class mine.A>"), "{error}");
}

#[test]
fn keys_made_to_be_compared_without_end_are_quoted_at_once() {
    // Each key begins like each shorter one, and what is under them holds itself.
    let inner = Dict::new();
    inner.insert("a", inner.clone());
    let root = Dict::new();
    for n in 0..400 {
        root.insert("a.".repeat(n) + "a", inner.clone());
    }
    for n in 0..2000 {
        root.insert(format!("{}{n}", "a.".repeat(3000)), n);
    }
    let started = std::time::Instant::now();
    let _ = walk::walk(&root.into(), &Limits::default(), &mut |_, _| Ok(()));
    assert!(started.elapsed().as_secs() < 20);
    Value::from(inner).clear();
}
