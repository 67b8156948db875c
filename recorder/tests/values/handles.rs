//! Values are shared handles: what is held elsewhere stays, what nobody holds is freed, however deep.

use num_bigint::BigInt;
use rekindle_recorder::tensor::{TensorClass, TensorParts};
use rekindle_recorder::value::{List, ObjectData};
use rekindle_recorder::{Dict, Tensor, Value};

const DEEP: usize = 1_000_000;

#[test]
fn a_million_levels_are_freed_on_a_small_stack() {
    let kinds: [fn(Value) -> Value; 7] = [
        |inner| Value::tuple([inner]),
        |inner| Value::FrozenSet([inner].into()),
        |inner| Value::list([inner]),
        |inner| Dict::from_iter([("inner", inner)]).into(),
        |inner| {
            let dict = Dict::new();
            dict.write().state = Some(inner);
            dict.into()
        },
        |inner| ObjectData::call(inner, Vec::new()).into(),
        |inner| {
            let parts = Tensor::scalar(1.0_f32).parts().clone();
            Tensor::new(TensorParts { class: TensorClass::Parameter { state: Some(inner) }, ..parts }).unwrap().into()
        },
    ];
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let freed = thread.spawn(move || {
        for make in kinds {
            drop((0..DEEP / 10).fold(Value::Int(1), |inner, _| make(inner)));
        }
        drop((0..DEEP).fold(Value::Int(1), |inner, level| kinds[level % kinds.len()](inner)));
    });
    freed.unwrap().join().unwrap();
}

#[test]
fn what_is_held_elsewhere_stays_as_it_is() {
    let inner = List::new(vec![Value::Int(1), Value::list([Value::Int(2)])]);
    let outer = Value::tuple([Value::List(inner.clone()), Value::Int(3)]);
    let again = outer.clone();
    drop(outer);
    assert_eq!(again.items().unwrap().len(), 2);
    drop(again);
    assert_eq!(inner.read()[1].items().unwrap()[0].as_i64(), Some(2));
}

#[test]
fn a_change_through_one_handle_is_seen_through_the_other() {
    let dict = Dict::new();
    let again = Value::from(dict.clone());
    dict.insert("epoch", 3);
    assert_eq!(again.as_dict().unwrap().get("epoch").unwrap().as_i64(), Some(3));
}

#[test]
fn an_integer_that_fits_is_never_big() {
    assert!(matches!(Value::from(BigInt::from(7)), Value::Int(7)));
    assert!(matches!(Value::from(u64::MAX), Value::BigInt(_)));
}
