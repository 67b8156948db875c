//! The state of PyTorch's CPU generator, told by its shape: 5,056 bytes, in any of the [`FORMS`] in which programs keep them.

use crate::run::path::{KeyPath, children, is_container};
use crate::run::spellings::{CPU_GENERATOR, Role, SPELLINGS, has_tensors, is_kept, is_optimizer, whole};
use crate::run::text;
use crate::state_dict::module;
use crate::value::{List, ObjectData, Shared};
use crate::{DType, Tensor, Value};

/// How many bytes `torch.get_rng_state()` has.
const LENGTH: usize = 5056;

/// How many bytes the state of a CUDA generator has.
const CUDA_LENGTH: usize = 16;

/// How deep generators are looked for, and in how many values.
const DEPTH: usize = 12;
const MOST: usize = 200_000;

/// A way to keep a state.
struct Form {
    /// The bytes in it, where it is one.
    bytes: fn(&Value) -> Option<Vec<u8>>,
    /// Other bytes in the form of what is there.
    like: fn(Vec<u8>, &Value) -> Option<Value>,
}

/// A row a form.
const FORMS: [Form; 6] = [
    Form { bytes: of_tensor, like: tensor_like },
    Form { bytes: of_bytes, like: bytes_like },
    Form { bytes: of_array, like: array_like },
    Form { bytes: of_generator, like: generator_like },
    Form { bytes: of_numbers, like: numbers_like },
    Form { bytes: of_text, like: text_like },
];

fn bytes(value: &Value) -> Option<Vec<u8>> {
    FORMS.iter().find_map(|form| (form.bytes)(value)).filter(|bytes| bytes.len() == LENGTH)
}

/// Whether a value is such a state.
pub(super) fn is_state(value: &Value) -> bool {
    match value {
        // Without a look at its bytes.
        Value::Tensor(tensor) if tensor.dtype() == DType::UInt8 => tensor.numel() == LENGTH && is_row(tensor),
        other => bytes(other).is_some(),
    }
}

/// The state as PyTorch keeps it.
pub(super) fn tensor(value: &Value) -> Option<Tensor> {
    match value {
        Value::Tensor(tensor) if tensor.dtype() == DType::UInt8 && *tensor.shape() == [LENGTH] => Some(tensor.clone()),
        other => Tensor::from_vec(&[LENGTH], bytes(other)?).ok(),
    }
}

/// A state in the form that another has.
pub(super) fn like(state: &Tensor, old: &Value) -> Value {
    let Ok(new) = state.to_vec::<u8>() else { return state.clone().into() };
    if matches!(old, Value::Tensor(tensor) if tensor.dtype() == DType::UInt8 && *tensor.shape() == [LENGTH]) {
        return state.clone().into();
    }
    let form = FORMS.iter().find(|form| (form.bytes)(old).is_some());
    form.and_then(|form| (form.like)(new, old)).unwrap_or_else(|| state.clone().into())
}

/// Whether all but the last of the lengths are 1.
fn is_row(tensor: &Tensor) -> bool {
    tensor.shape().split_last().is_some_and(|(_, outer)| outer.iter().all(|&length| length == 1))
}

/// The small numbers in elements of this many bytes each.
fn narrowed(elements: &[u8], big_endian: bool) -> Option<Vec<u8>> {
    let width = elements.len() / LENGTH;
    if !matches!(width, 1 | 2 | 4 | 8) || !elements.len().is_multiple_of(LENGTH) {
        return None;
    }
    let small = |element: &[u8]| {
        let (small, rest) = if big_endian { element.split_last()? } else { element.split_first()? };
        rest.iter().all(|&byte| byte == 0).then_some(*small)
    };
    elements.chunks(width).map(small).collect()
}

/// Numbers as elements of this many bytes each.
fn widened(bytes: &[u8], width: usize, big_endian: bool) -> Vec<u8> {
    let mut elements = vec![0; bytes.len() * width];
    for (element, byte) in elements.chunks_mut(width).zip(bytes) {
        element[if big_endian { width - 1 } else { 0 }] = *byte;
    }
    elements
}

/// `uint8`, or whole numbers of another type, as `torch.tensor(list)` makes them.
fn of_tensor(value: &Value) -> Option<Vec<u8>> {
    let tensor = value.as_tensor().filter(|tensor| tensor.numel() == LENGTH && is_row(tensor))?;
    let whole = [DType::UInt8, DType::Int16, DType::Int32, DType::Int64, DType::UInt16, DType::UInt32, DType::UInt64];
    let bytes = whole.contains(&tensor.dtype()).then(|| tensor.to_le_bytes().ok())??;
    narrowed(&bytes, false)
}

fn tensor_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    let old = old.as_tensor()?;
    let elements = widened(&bytes, old.dtype().size(), false);
    Tensor::from_le_bytes(old.dtype(), old.shape(), elements).ok().map(Into::into)
}

fn of_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => (bytes.len() == LENGTH).then(|| bytes.to_vec()),
        Value::ByteArray(bytes) => Some(bytes.read()).filter(|bytes| bytes.len() == LENGTH).map(|bytes| bytes.clone()),
        _ => None,
    }
}

fn bytes_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    Some(match old {
        Value::ByteArray(_) => Value::ByteArray(Shared::new(bytes)),
        _ => Value::Bytes(bytes.into()),
    })
}

/// A NumPy array of whole numbers: its state is a version, the shape, the type, whether it is Fortran's, and the bytes.
fn of_array(value: &Value) -> Option<Vec<u8>> {
    let Value::Object(object) = value else { return None };
    let data = object.read();
    let class = data.class()?;
    let made = class.name.contains("_reconstruct") && class.module.starts_with("numpy");
    let items = data.states.last().filter(|_| made)?.items()?;
    match items.last()? {
        Value::Bytes(bytes) => narrowed(bytes, is_big_endian(&items)),
        _ => None,
    }
}

fn array_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    let Value::Object(object) = old else { return None };
    let items = object.read().states.last()?.items()?;
    let Value::Bytes(before) = items.last()? else { return None };
    let elements = widened(&bytes, before.len() / LENGTH, is_big_endian(&items));
    Some(with_last_state(&object.read(), items, Value::Bytes(elements.into())))
}

/// Whether an array's type says `>`.
fn is_big_endian(state: &[Value]) -> bool {
    let Some(Value::Object(dtype)) = state.get(2) else { return false };
    let order = dtype.read().states.first().and_then(|state| state.items()?.get(1).cloned());
    order.is_some_and(|order| order.as_str() == Some(">"))
}

/// A `torch.Generator`: its state is the seed, an offset, and the bytes as a tensor.
fn of_generator(value: &Value) -> Option<Vec<u8>> {
    let Value::Object(object) = value else { return None };
    let data = object.read();
    data.class().filter(|class| &*class.name == "Generator" && class.module.starts_with("torch"))?;
    of_tensor(data.states.last()?.items()?.last()?)
}

fn generator_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    let Value::Object(object) = old else { return None };
    let items = object.read().states.last()?.items()?;
    let state = tensor_like(bytes, items.last()?)?;
    Some(with_last_state(&object.read(), items, state))
}

/// A copy of an object with another value at the end of its state.
fn with_last_state(data: &ObjectData, mut items: Vec<Value>, last: Value) -> Value {
    let mut data = data.clone();
    items.pop();
    items.push(last);
    if let Some(state) = data.states.last_mut() {
        *state = Value::tuple(items);
    }
    Value::Object(Shared::new(data))
}

/// A list of numbers, plain or NumPy's.
fn of_numbers(value: &Value) -> Option<Vec<u8>> {
    let items = match value {
        Value::List(list) if list.read().len() == LENGTH => list.read().clone(),
        Value::Tuple(items) if items.len() == LENGTH => items.to_vec(),
        _ => return None,
    };
    items.iter().map(|item| u8::try_from(whole(item)?).ok()).collect()
}

fn numbers_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    let number = |(byte, old): (u8, &Value)| match old {
        Value::Float(_) => Value::Float(byte.into()),
        _ => Value::Int(byte.into()),
    };
    let numbers = bytes.into_iter().zip(&old.items()?).map(number).collect::<Vec<_>>();
    Some(if matches!(old, Value::Tuple(_)) { Value::tuple(numbers) } else { Value::List(List::new(numbers)) })
}

/// Base64, hexadecimal digits, or a letter a byte (`latin1`).
fn of_text(value: &Value) -> Option<Vec<u8>> {
    text::decode(value.as_str()?, LENGTH)
}

fn text_like(bytes: Vec<u8>, old: &Value) -> Option<Value> {
    text::encode_like(&bytes, old.as_str()?).map(Value::from)
}

/// Whether a name is one for generators: `rng_state`, `torch_rng`, `random_states`.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "rng" || word == "rngs")
        || ["random_state", "generator_state", "rng_state", "rngstate"].iter().any(|word| name.contains(word))
}

/// Whether there is nothing in a value that could be PyTorch's CPU generator: it is a seed, the state of Python's, NumPy's or a
/// CUDA device's generator, or a container of these.
fn is_another(value: &Value) -> bool {
    match value {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::BigInt(_) => true,
        Value::Tensor(state) => {
            state.shape().is_empty() || state.dtype() == DType::UInt8 && *state.shape() == [CUDA_LENGTH]
        }
        Value::Bytes(state) => state.len() == CUDA_LENGTH,
        Value::Tuple(_) | Value::List(_) if is_pythons(value) || is_numpys(value) => true,
        Value::Tuple(_) | Value::List(_) => {
            value.items().is_some_and(|items| items.iter().all(|item| item.as_i64().is_none() && is_another(item)))
        }
        Value::Dict(dict) if dict.get("bit_generator").is_some() => true,
        Value::Dict(_) => children(value).iter().all(|(_, inside)| is_another(inside)),
        _ => false,
    }
}

/// Whether a value under a name of generators is the state of CUDA's.
pub(super) fn is_cudas(name: &str, value: &Value) -> bool {
    let is = |value: &Value| matches!(value, Value::Tensor(state) if state.dtype() == DType::UInt8 && *state.shape() == [CUDA_LENGTH]);
    is_name(name) && (is(value) || value.items().is_some_and(|items| !items.is_empty() && items.iter().all(is)))
}

/// `random.getstate()`: a version, 625 numbers, and a number that waits.
fn is_pythons(value: &Value) -> bool {
    let Some(items) = value.items().filter(|items| items.len() == 3) else { return false };
    matches!(items[0], Value::Int(_)) && items[1].items().is_some_and(|words| words.len() == 625)
}

/// `numpy.random.get_state()`: a name, the words, and where it is.
fn is_numpys(value: &Value) -> bool {
    let items = value.items().unwrap_or_default();
    items.len() > 2 && items[0].as_str() == Some("MT19937")
}

/// All states in a checkpoint but inside these parts.
pub(super) fn all(root: &Value, but: &[&KeyPath]) -> Vec<KeyPath> {
    let mut search = Search { but, found: Vec::new(), seen: 0 };
    search.look(root, &KeyPath::default(), DEPTH);
    search.found
}

struct Search<'a> {
    but: &'a [&'a KeyPath],
    found: Vec<KeyPath>,
    /// How many values were looked at.
    seen: usize,
}

impl Search<'_> {
    fn look(&mut self, value: &Value, path: &KeyPath, depth: usize) {
        self.seen += 1;
        if is_state(value) {
            return self.found.push(path.clone());
        }
        let opened = is_container(value) && depth > 0 && self.seen < MOST;
        if !opened || module::is_module(value) || self.but.contains(&path) {
            return;
        }
        for (key, inside) in children(value) {
            if is_container(&inside) || is_state(&inside) {
                self.look(&inside, &path.clone().then(key), depth - 1);
            }
        }
    }
}

/// Where the state of the global generator is, if that is told: under one of its keys, where a dict of generators keeps the
/// CPU's, or by its shape.
pub(super) fn place(root: &Value, but: &[&KeyPath]) -> Option<KeyPath> {
    let found = all(root, but);
    let only = |places: Vec<KeyPath>| match &found.iter().filter(|path| places.contains(path)).collect::<Vec<_>>()[..] {
        [one] => Some((*one).clone()),
        _ => None,
    };
    let nested = |key: &&'static str| CPU_GENERATOR.map(|inside| KeyPath::key(*key).then(inside));
    only(keys().iter().map(|key| KeyPath::key(*key)).collect())
        .or_else(|| only(keys().iter().flat_map(nested).collect()))
        .or_else(|| global(found.clone()))
}

/// The one that is the global generator's: the only one, or the only one under a name that says so; a loader's is not, nor one
/// that is kept beside the run's.
fn global(mut found: Vec<KeyPath>) -> Option<KeyPath> {
    let rank = |path: &KeyPath| {
        let name = path.words().to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let beside = has(&["loader", "sampler"]) || is_kept(&name);
        if beside { 2 } else { usize::from(!has(&["torch", "cpu", "rng"])) }
    };
    let best = found.iter().map(rank).min().filter(|&best| best < 2)?;
    found.retain(|path| rank(path) == best);
    if found.len() == 1 { found.pop() } else { None }
}

/// Whether a value under a name of generators is none that is known. (A text is a setting where it is not under one of the keys
/// for states.)
pub(super) fn is_unknown(name: &str, value: &Value) -> bool {
    let setting = value.as_str().is_some() && !keys().contains(&name);
    is_name(name) && !setting && !is_another(value) && !has_tensors(value) && !is_optimizer(value)
}

/// The keys for states.
fn keys() -> &'static [&'static str] {
    SPELLINGS.iter().find(|spelling| spelling.role == Role::Rng).map_or(&[], |spelling| spelling.keys)
}
