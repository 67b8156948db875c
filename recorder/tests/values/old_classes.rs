//! Classes of PyTorch's first releases, as pickles call them.

use rekindle_recorder::pickle::{KeepIds, read};
use rekindle_recorder::{Limits, Result, Value};

/// A tensor on the device `meta`, which needs no storage.
const META: &[u8] = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\nK\x02\x85K\x01\x85\x89tR";

fn load(parts: &[&[u8]]) -> Result<Value> {
    let pickle = [&b"\x80\x02"[..], &parts.concat(), b"."].concat();
    Ok(read(&pickle, "test", &Limits::default(), &mut KeepIds)?.value)
}

#[test]
fn a_parameter_is_a_tensor_wherever_it_stands_once_it_has_its_state() {
    let class = b"(ctorch.nn.parameter\nParameter\n";
    let state = b"\x88\x89ccollections\nOrderedDict\n)R\x87b";
    // (parameter, the same from the memo)
    let pair = load(&[class, META, b"\x85Rq\x07", state, b"h\x07t"]).unwrap().items().unwrap();
    let [Value::Tensor(one), Value::Tensor(other)] = &pair[..] else { panic!("{pair:?}") };
    assert!(one.same(other) && one.is_parameter() && one.requires_grad());
    assert!(one.parts().backward_hooks.is_none());
    // The first releases gave the tensor with the state.
    let first = load(&[class, b")R(", META, b"NN\x88\x89tbt"]).unwrap().items().unwrap();
    assert!(first[0].as_tensor().unwrap().is_parameter());
    let variable = load(&[b"ctorch.autograd.variable\nVariable\n", META, b"\x85R\x88\x89N\x87b"]).unwrap();
    let variable = variable.as_tensor().unwrap();
    assert!(variable.requires_grad() && !variable.is_parameter());
}

#[test]
fn what_has_no_counterpart_today_stays_an_object_with_its_state() {
    let class = b"ctorch.nn.parameter\nParameter\n";
    for (args, state) in [
        // Volatile; with a gradient; with a state of another kind; of no tensor; twice.
        ([META, b"\x85R"], &b"\x88\x88N\x87b"[..]),
        ([b")", b"R"], b"(NK\x01N\x88\x89tb"),
        ([META, b"\x85R"], b"K\x01b"),
        ([b"K\x01", b"\x85R"], b"\x88\x89N\x87b"),
        ([META, b"\x85R"], b"K\x01b\x88\x89N\x87b"),
    ] {
        let value = load(&[class, args[0], args[1], state]).unwrap();
        let Value::Object(object) = &value else { panic!("{value:?}") };
        assert!(!object.read().states.is_empty());
    }
}

#[test]
fn a_tensor_without_a_storage_stays_an_object() {
    let state = b"(ctorch\nFloatTensor\n)R(K\x00K\x00)K\x01tbt";
    let value = load(&[state]).unwrap().items().unwrap();
    assert!(matches!(value[0], Value::Object(_)));
}
