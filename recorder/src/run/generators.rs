//! The state of PyTorch's CPU generator, told by its shape: 5,056 bytes, as a tensor, a NumPy array, a list of numbers or bytes.

use crate::run::path::{KeyPath, children, is_container};
use crate::value::{List, ObjectData, Shared};
use crate::{DType, Tensor, Value};

/// How many bytes `torch.get_rng_state()` has.
const LENGTH: usize = 5056;

/// How deep generators are looked for.
const DEPTH: usize = 4;

/// Whether a value is such a state.
pub(super) fn is_state(value: &Value) -> bool {
    match value {
        Value::Tensor(tensor) => tensor.dtype() == DType::UInt8 && *tensor.shape() == [LENGTH],
        Value::Bytes(bytes) => bytes.len() == LENGTH,
        Value::Object(object) => array(&object.read()).is_some(),
        Value::List(_) | Value::Tuple(_) => value.items().as_deref().and_then(numbers).is_some(),
        _ => false,
    }
}

/// The state as PyTorch keeps it.
pub(super) fn tensor(value: &Value) -> Option<Tensor> {
    let bytes = match value {
        Value::Tensor(tensor) => return Some(tensor.clone()),
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Object(object) => array(&object.read())?,
        other => numbers(&other.items()?)?,
    };
    Tensor::from_vec(&[bytes.len()], bytes).ok()
}

/// A state in the form that another has.
pub(super) fn like(state: &Tensor, old: &Value) -> Value {
    let Ok(bytes) = state.to_vec::<u8>() else { return state.clone().into() };
    let numbers = || bytes.iter().map(|&byte| Value::Int(byte.into())).collect::<Vec<_>>();
    match old {
        Value::Bytes(_) => Value::Bytes(bytes.as_slice().into()),
        Value::List(_) => Value::List(List::new(numbers())),
        Value::Tuple(_) => Value::tuple(numbers()),
        Value::Object(object) => {
            let mut data = object.read().clone();
            let state = data.states.last_mut();
            if let Some((state, mut items)) = state.and_then(|state| Some((state.items()?, state)).map(|(i, s)| (s, i)))
            {
                items.pop();
                items.push(Value::Bytes(bytes.as_slice().into()));
                *state = Value::tuple(items);
            }
            Value::Object(Shared::new(data))
        }
        _ => state.clone().into(),
    }
}

/// The bytes of a NumPy array of `uint8`: the last item of its state.
fn array(data: &ObjectData) -> Option<Vec<u8>> {
    let class = data.class()?;
    let made = class.name.contains("_reconstruct") && class.module.starts_with("numpy");
    match data.states.last()?.items()?.last()? {
        Value::Bytes(bytes) if made && bytes.len() == LENGTH => Some(bytes.to_vec()),
        _ => None,
    }
}

fn numbers(items: &[Value]) -> Option<Vec<u8>> {
    let byte = |item: &Value| item.as_i64().and_then(|number| u8::try_from(number).ok());
    (items.len() == LENGTH).then(|| items.iter().map(byte).collect())?
}

/// All states in a checkpoint but inside these parts.
pub(super) fn all(root: &Value, but: &[&KeyPath]) -> Vec<KeyPath> {
    let mut found = Vec::new();
    look(root, &KeyPath::default(), but, DEPTH, &mut found);
    found
}

fn look(value: &Value, path: &KeyPath, but: &[&KeyPath], depth: usize, found: &mut Vec<KeyPath>) {
    if is_state(value) {
        return found.push(path.clone());
    }
    if depth == 0 || but.contains(&path) {
        return;
    }
    for (key, inside) in children(value) {
        if is_container(&inside) || is_state(&inside) {
            look(&inside, &path.clone().then(key), but, depth - 1, found);
        }
    }
}

/// The one that is the global generator's: the only one, or the only one under a name that says so; a loader's is not.
pub(super) fn global(mut found: Vec<KeyPath>) -> Option<KeyPath> {
    let rank = |path: &KeyPath| {
        let name = path.to_string().to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["loader", "sampler"]) { 2 } else { usize::from(!has(&["torch", "cpu", "rng"])) }
    };
    let best = found.iter().map(rank).min().filter(|&best| best < 2)?;
    found.retain(|path| rank(path) == best);
    if found.len() == 1 { found.pop() } else { None }
}
