//! Two files are compared by what is where, and not by how the places are spelled.

use rekindle_recorder::diff::{Difference, Tolerance, compare};
use rekindle_recorder::value::{Global, ObjectData};
use rekindle_recorder::{Checkpoint, Dict, StateDict, Tensor, Value};

fn dict<K: Into<Value>, V: Into<Value>, const N: usize>(entries: [(K, V); N]) -> Value {
    Dict::from_iter(entries).into()
}

/// The names and kinds of all differences.
fn names(a: Value, b: Value) -> Vec<String> {
    let (a, b) = (Checkpoint::from(a), Checkpoint::from(b));
    assert!(compare(&a, &a, Tolerance::default()).unwrap().is_empty());
    let back = compare(&b, &a, Tolerance::default()).unwrap();
    let there = compare(&a, &b, Tolerance::default()).unwrap();
    assert_eq!(back.is_empty(), there.is_empty());
    there.into_iter().map(|(name, difference)| format!("{name}: {difference}")).collect()
}

#[test]
fn a_key_with_a_dot_is_not_a_key_in_a_dict() {
    assert_eq!(
        names(dict([("a.b", 1)]), dict([("a", dict([("b", 1)]))])),
        ["['a.b']: only in the first", "a.b: only in the second"]
    );
    assert_eq!(
        names(dict([("x[0]", 1)]), dict([("x", vec![1_i64])])),
        ["['x[0]']: only in the first", "x[0]: only in the second"]
    );
    // Whatever the other spellings in each file are.
    let both = || dict([("a.b", Value::Int(1)), ("a", dict([("b", 1)]))]);
    assert_eq!(names(both(), dict([("a.b", 1)])), ["a.b: only in the first"]);
    assert_eq!(names(both(), dict([("a", dict([("b", 1)]))])), ["['a.b']: only in the first"]);
}

#[test]
fn keys_are_compared_with_their_types() {
    let keys: Vec<Value> = vec![
        1.into(),
        "1".into(),
        true.into(),
        1.0.into(),
        (&b"1"[..]).into(),
        "[1]".into(),
        "True".into(),
        Value::None,
        "None".into(),
        Value::tuple([1.into()]),
        Value::tuple(["1".into()]),
        Value::FrozenSet([Value::Int(1)].into_iter().collect()),
        "a\nb".into(),
        r"a\nb".into(),
        Global::new("mine", "A").into(),
        "<class mine.A>".into(),
    ];
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            let found = names(dict([(a.clone(), 5)]), dict([(b.clone(), 5)]));
            assert_eq!(found.len(), if i == j { 0 } else { 2 }, "{a:?} {b:?}: {found:?}");
        }
    }
}

#[test]
fn keys_that_nothing_tells_apart_are_compared_in_order() {
    let nan = || Value::Float(f64::NAN);
    assert!(names(dict([(nan(), 1), (nan(), 2)]), dict([(nan(), 1), (nan(), 2)])).is_empty());
    assert_eq!(names(dict([(nan(), 1), (nan(), 2)]), dict([(nan(), 1)])), ["[nan]#2: only in the first"]);
    let weight = |x: f32| Value::from(Tensor::from_vec(&[1], vec![x]).unwrap());
    assert!(names(dict([(weight(1.0), 1)]), dict([(weight(1.0), 1)])).is_empty());
    assert_eq!(names(dict([(weight(1.0), 1)]), dict([(weight(2.0), 1)])).len(), 1);
    // The order of other keys counts for nothing.
    let path = |name: &str| Value::from(ObjectData::call(Global::new("pathlib", "PosixPath"), vec![name.into()]));
    assert!(names(dict([(path("a"), 1), (path("b"), 2)]), dict([(path("b"), 2), (path("a"), 1)])).is_empty());
    assert_eq!(names(dict([(path("a"), 1)]), dict([(path("b"), 1)])).len(), 2);
}

#[test]
fn sets_are_compared_without_an_order() {
    let set = |items: Vec<Value>| Value::FrozenSet(items.into_iter().collect());
    assert!(names(set(vec![1.into(), "a".into()]), set(vec!["a".into(), 1.into()])).is_empty());
    assert_eq!(names(set(vec![1.into()]), set(vec![2.into()])).len(), 1);
    assert_eq!(names(set(vec![1.into()]), set(vec!["1".into()])).len(), 1);
    // Beyond what is printed, too.
    let many = |last: i64| set((0..5000).chain([last]).map(Value::from).collect());
    assert_eq!(names(many(5000), many(5001)).len(), 1);
}

#[test]
fn a_list_is_no_tuple_and_an_object_no_dict() {
    let pair = || [Value::Int(1), Value::Int(2)];
    assert_eq!(
        names(dict([("x", Value::list(pair()))]), dict([("x", Value::tuple(pair()))])),
        ["x: a list in the first, a tuple in the second"]
    );
    let object = |name: &str| {
        let mut object = ObjectData::call(Global::new("mine", name), vec![]);
        object.states.push(dict([("lr", 1)]));
        Value::from(object)
    };
    assert_eq!(names(object("A"), object("B")), [": <class mine.A> in the first, <class mine.B> in the second"]);
    assert_eq!(names(object("A"), dict([("lr", 1)])), [": <class mine.A> in the first, a dict in the second"]);
    assert_eq!(names(dict([("x", vec![1_i64])]), dict([("x", Vec::<i64>::new())])), ["x[0]: only in the first"]);
    assert_eq!(
        names(dict([("x", dict([("y", 1)]))]), dict([("x", 3)])),
        ["x: a dict in the first, an int in the second", "x.y: only in the first"]
    );
    // An OrderedDict equals a dict.
    assert!(names(Dict::ordered().into(), Dict::new().into()).is_empty());
}

#[test]
fn a_format_of_names_alone_is_compared_by_names() {
    let folder = tempfile::tempdir().unwrap();
    let weight = Tensor::from_vec(&[1], vec![1.0_f32]).unwrap();
    let flat = Checkpoint::from(StateDict::from_iter([("model.fc.weight", weight.clone())]));
    let nested = Checkpoint::from(dict([("model", dict([("fc.weight", weight)]))]));
    let path = folder.path().join("flat.safetensors");
    flat.save(&path).unwrap();
    assert!(compare(&nested, &Checkpoint::open(&path).unwrap(), Tolerance::default()).unwrap().is_empty());
    assert!(matches!(
        compare(&nested, &flat, Tolerance::default()).unwrap()[..],
        [(_, Difference::OnlyInA), (_, Difference::OnlyInB)]
    ));
}
