//! Keys of dicts are hashed and compared as Python does, whatever they hold.

use rekindle_recorder::value::{Key, List};
use rekindle_recorder::{Dict, Value, walk};

fn has(key: &Value, other: &Value) -> bool {
    Dict::from_iter([(key.clone(), Value::None)]).get_key(other).is_some()
}

#[test]
fn keys_are_equal_as_in_python() {
    let dict = Dict::new();
    dict.insert(1_i64, "one");
    dict.insert(true, "true");
    dict.insert(1.0, "float");
    assert_eq!(dict.len(), 1);
    assert_eq!(dict.get_key(&Value::Int(1)).unwrap().as_str(), Some("float"));
    dict.insert(Value::tuple([Value::Int(1), Value::None]), "tuple");
    assert!(dict.get_key(&Value::tuple([Value::Float(1.0), Value::None])).is_some());
    dict.insert(i64::MAX, "a");
    dict.insert(i64::MAX - 1, "b");
    assert_eq!(dict.len(), 4);
    // 2.0**63 is neither of them, and 0.0 is -0.0.
    assert!(dict.get_key(&Value::Float(9_223_372_036_854_775_808.0)).is_none());
    assert!(has(&Value::Float(-0.0), &Value::Int(0)));
}

#[test]
fn each_nan_is_a_key_of_its_own() {
    let (nan, pair) = (Value::Float(f64::NAN), Value::tuple([f64::NAN.into(), 1.into()]));
    let other = Value::tuple([f64::NAN.into(), 1.into()]);
    let dict = Dict::from_iter([(nan.clone(), 1), (nan.clone(), 2), (pair.clone(), 3), (other.clone(), 4)]);
    assert_eq!(dict.len(), 4);
    assert!(dict.get_key(&nan).is_none() && !has(&pair, &other));
    assert_eq!(dict.get_key(&other).unwrap().as_i64(), Some(4), "one object is equal to itself");
    // Neither is slow, however many there are.
    let many: Dict = (0..200_000).map(|i| (Value::Float(f64::NAN), Value::Int(i))).collect();
    let pairs: Dict = (0..200_000).map(|i| (Value::tuple([f64::NAN.into()]), Value::Int(i))).collect();
    assert_eq!((many.len(), pairs.len()), (200_000, 200_000));
}

#[test]
fn the_items_of_frozensets_have_no_order() {
    let set = |items: &[Value]| Value::FrozenSet(items.to_vec().into());
    let inner = |x: i64, y: i64| set(&[x.into(), y.into(), Value::None, "a".into()]);
    let a = Value::tuple([set(&[inner(1, 2), inner(3, 4), 5.into()]), "end".into()]);
    let b = Value::tuple([set(&[5.0.into(), inner(4, 3), inner(2, 1)]), "end".into()]);
    assert!(has(&a, &b));
    for other in [set(&[inner(1, 2), inner(3, 5), 5.into()]), set(&[inner(1, 2), 5.into()]), Value::tuple([])] {
        assert!(!has(&a, &Value::tuple([other, "end".into()])));
    }
    assert!(!has(&set(&[1.into()]), &Value::tuple([1.into()])));
}

#[test]
fn a_key_of_a_hundred_thousand_levels_is_a_key() {
    let make = |last: i64, wrap: fn(Value) -> Value| (0..100_000).fold(last.into(), |inner, _| wrap(inner));
    for wrap in [|inner| Value::tuple([inner]), |inner| Value::FrozenSet([inner].into())] {
        let (key, same, other) = (make(1, wrap), make(1, wrap), make(2, wrap));
        assert!(has(&key, &same) && !has(&key, &other));
    }
}

#[test]
fn a_key_that_spells_out_to_2_to_the_1000_parts_is_hashed_at_once() {
    // "Billion laughs": each level holds the one below it twice.
    let laughs = |last: i64, set: bool| {
        (0..1000).fold(Value::tuple([last.into()]), |inner, level| {
            let items = [inner.clone(), inner, Value::Int(level)];
            if set { Value::FrozenSet(items.into()) } else { Value::tuple(items) }
        })
    };
    for set in [false, true] {
        assert!(has(&laughs(1, set), &laughs(1, set)));
        assert!(!has(&laughs(1, set), &laughs(2, set)));
        let text = format!("{:?} {}", Key(laughs(1, set)), walk::repr(&laughs(1, set)));
        assert!(text.len() < 20_000);
    }
}

#[test]
fn a_key_that_leads_back_to_itself_through_a_list_is_hashed() {
    let list = List::new(Vec::new());
    let key = Value::tuple([Value::List(list.clone())]);
    list.write().push(key.clone());
    assert!(has(&key, &key.clone()));
    Value::List(list).clear();
}
