//! Growing a graph: each choice is taken from the bytes given, and is 0, the simplest, where there are none left. Fewer bytes
//! make smaller graphs, so that a failing one can be cut down.

use num_bigint::BigInt;
use rekindle_recorder::value::{Construction, Device, Global, Key, List, ObjectData, Shared};
use rekindle_recorder::{DType, Dict, Storage, Value};

use super::tensors;

/// What may be in a graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// Tensors.
    pub tensors: bool,
    /// Element types that have no storage class of their own.
    pub untyped: bool,
    /// What plain `torch.load` refuses.
    pub objects: bool,
}

/// A graph of these kinds.
pub fn grow(bytes: &[u8], kinds: Kinds) -> Value {
    let mut table: Vec<Make> = LEAVES.to_vec();
    table.extend(NESTED);
    if kinds.tensors {
        table.extend(tensors::TENSORS);
    }
    if kinds.objects {
        table.extend(OBJECTS);
    }
    let mut grower = Grower {
        bytes: bytes.iter(),
        kinds,
        table,
        pool: Vec::new(),
        tuples: Vec::new(),
        storages: Vec::new(),
        room: 250,
    };
    let root = match grower.below(3) {
        0 => list(&mut grower, DEPTH),
        1 => dict(&mut grower, DEPTH),
        _ => tuple(&mut grower, DEPTH),
    };
    if kinds.objects {
        grower.close_cycles();
    }
    root
}

const DEPTH: usize = 5;

type Make = fn(&mut Grower<'_>, usize) -> Value;

pub(super) struct Grower<'a> {
    bytes: std::slice::Iter<'a, u8>,
    pub(super) kinds: Kinds,
    table: Vec<Make>,
    /// What may occur once more: everything finished that has an identity, and the lists and dicts that are being filled.
    pool: Vec<Value>,
    /// Tuples that hold a list.
    tuples: Vec<(Value, List)>,
    pub(super) storages: Vec<(DType, Storage)>,
    /// How many values there may still be.
    room: usize,
}

impl Grower<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    /// A number below `limit`, which is at most 256.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// A value that may hold others down to this depth.
    pub(super) fn value(&mut self, depth: usize) -> Value {
        if self.room == 0 {
            return Value::None;
        }
        self.room -= 1;
        let kinds = if depth == 0 { LEAVES.len() } else { self.table.len() };
        let kind = self.below(kinds);
        let make = self.table[kind];
        make(self, depth.saturating_sub(1))
    }

    pub(super) fn values(&mut self, depth: usize) -> Vec<Value> {
        (0..self.below(7)).map(|_| self.value(depth)).collect()
    }

    pub(super) fn keep(&mut self, value: &Value) {
        self.pool.push(value.clone());
    }

    /// What can be a key: numbers but NaN, texts, bytes, tuples of these.
    fn key(&mut self, depth: usize) -> Value {
        const KEYS: [Make; 8] = [text, int, boolean, none, big, surrogates, bytes, quarter];
        if depth > 0 && self.below(8) == 7 {
            let items: Vec<Value> = (0..=self.below(3)).map(|_| self.key(depth - 1)).collect();
            return Value::tuple(items);
        }
        let make = self.pick(&KEYS);
        make(self, 0)
    }

    /// Entries with keys that differ.
    fn entries(&mut self, depth: usize, mut put: impl FnMut(Value, Value)) {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..self.below(7) {
            let key = if self.below(3) == 0 { self.key(1) } else { text(self, 0) };
            let value = self.value(depth);
            if seen.insert(Key(key.clone())) {
                put(key, value);
            }
        }
    }

    /// Puts some of the tuples into the lists that they hold.
    fn close_cycles(&mut self) {
        for (tuple, list) in std::mem::take(&mut self.tuples) {
            if self.below(4) == 1 {
                list.write().push(tuple);
            }
        }
    }
}

const LEAVES: [Make; 14] =
    [none, boolean, int, big, float, complex, text, surrogates, bytes, byte_array, size, device, dtype, again];

const NESTED: [Make; 9] = [list, list, tuple, tuple, dict, dict, ordered, set, counter];

const OBJECTS: [Make; 9] = [frozen_set, no_bytes, default_dict, deque, slice, range, namespace, class, namespace];

fn none(_: &mut Grower<'_>, _: usize) -> Value {
    Value::None
}

fn boolean(grower: &mut Grower<'_>, _: usize) -> Value {
    Value::Bool(grower.below(2) == 1)
}

/// Around every size at which the spelling changes.
fn int(grower: &mut Grower<'_>, _: usize) -> Value {
    let bits = grower.below(64);
    let near = i64::try_from(grower.below(5)).unwrap() - 2;
    let power = 1_i64.checked_shl(u32::try_from(bits).unwrap()).unwrap_or(i64::MAX);
    Value::Int(if grower.below(2) == 0 { power.wrapping_add(near) } else { power.wrapping_neg().wrapping_add(near) })
}

fn big(grower: &mut Grower<'_>, _: usize) -> Value {
    let near = BigInt::from(grower.below(5)) - 2;
    let power = BigInt::from(1) << (62 + grower.below(200));
    Value::from(if grower.below(2) == 0 { power + near } else { -power + near })
}

fn float(grower: &mut Grower<'_>, depth: usize) -> Value {
    const SPECIAL: [f64; 8] = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324, 0.1];
    if grower.below(2) == 0 { Value::Float(grower.pick(&SPECIAL)) } else { quarter(grower, depth) }
}

fn quarter(grower: &mut Grower<'_>, _: usize) -> Value {
    Value::Float((f64::from(grower.byte()) - 100.0) / 4.0)
}

fn complex(grower: &mut Grower<'_>, depth: usize) -> Value {
    let [re, im] = [(); 2].map(|()| float(grower, depth).as_f64().unwrap());
    Value::Complex(re, im)
}

fn text(grower: &mut Grower<'_>, _: usize) -> Value {
    const TEXTS: [&str; 10] =
        ["", "weight", "lr", "a.b", "state", "naïve", "数字", "🦀", "\0 \n\r\t\\u0041'\"", "storage"];
    let text = grower.pick(&TEXTS);
    let long = [1, 1, 1, 1, 1, 1, 40][grower.below(7)];
    let number = grower.below(4);
    Value::from(if number == 0 { text.repeat(long) } else { format!("{text}{number}") })
}

/// Lone surrogates, alone, between letters and in pairs that are no character.
fn surrogates(grower: &mut Grower<'_>, _: usize) -> Value {
    const TEXTS: [&[u8]; 4] =
        [b"\xed\xa0\x80", b"a\xed\xb0\x80b", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc3\xa9\xed\xbf\xbf\n"];
    Value::SurrogateStr(grower.pick(&TEXTS).into())
}

fn some_bytes(grower: &mut Grower<'_>) -> Vec<u8> {
    (0..=grower.below(20)).map(|_| grower.byte()).collect()
}

fn bytes(grower: &mut Grower<'_>, _: usize) -> Value {
    Value::Bytes(some_bytes(grower).into())
}

fn no_bytes(_: &mut Grower<'_>, _: usize) -> Value {
    Value::Bytes([].into())
}

fn byte_array(grower: &mut Grower<'_>, _: usize) -> Value {
    let bytes = if grower.below(4) == 0 { Vec::new() } else { some_bytes(grower) };
    let value = Value::ByteArray(Shared::new(bytes));
    grower.keep(&value);
    value
}

fn size(grower: &mut Grower<'_>, _: usize) -> Value {
    let lengths = (0..grower.below(5)).map(|_| i64::from(grower.byte())).collect();
    Value::Size(lengths)
}

fn device(grower: &mut Grower<'_>, _: usize) -> Value {
    let (kind, index) =
        grower.pick(&[("cpu", None), ("cuda", Some(1)), ("cuda", None), ("meta", None), ("xpu", Some(0))]);
    Device { kind: kind.into(), index }.into()
}

fn dtype(grower: &mut Grower<'_>, _: usize) -> Value {
    grower.pick(DType::ALL).into()
}

/// Something that was there before.
fn again(grower: &mut Grower<'_>, _: usize) -> Value {
    if grower.pool.is_empty() {
        return Value::None;
    }
    let pool = std::mem::take(&mut grower.pool);
    let value = grower.pick(&pool);
    grower.pool = pool;
    value
}

fn list(grower: &mut Grower<'_>, depth: usize) -> Value {
    let list = List::new(Vec::new());
    let value = Value::List(list.clone());
    grower.keep(&value);
    let items = grower.values(depth);
    *list.write() = items;
    value
}

fn tuple(grower: &mut Grower<'_>, depth: usize) -> Value {
    let items = grower.values(depth);
    let inner = items.iter().find_map(|item| if let Value::List(list) = item { Some(list.clone()) } else { None });
    let value = Value::tuple(items);
    grower.keep(&value);
    grower.tuples.extend(inner.map(|list| (value.clone(), list)));
    value
}

fn fill(grower: &mut Grower<'_>, depth: usize, dict: Dict) -> Value {
    let value = Value::from(dict.clone());
    grower.keep(&value);
    grower.entries(depth, |key, value| drop(dict.insert(key, value)));
    value
}

fn dict(grower: &mut Grower<'_>, depth: usize) -> Value {
    fill(grower, depth, Dict::new())
}

fn ordered(grower: &mut Grower<'_>, depth: usize) -> Value {
    let dict = Dict::ordered();
    let value = fill(grower, depth, dict.clone());
    if grower.below(3) == 1 {
        let attribute = grower.value(depth);
        dict.write().state = Some(Dict::from_iter([("_metadata", attribute)]).into());
    }
    value
}

fn distinct(grower: &mut Grower<'_>) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    let keys: Vec<Value> = (0..grower.below(7)).map(|_| grower.key(1)).collect();
    keys.into_iter().filter(|key| seen.insert(Key(key.clone()))).collect()
}

fn set(grower: &mut Grower<'_>, _: usize) -> Value {
    let value = Value::Set(Shared::new(distinct(grower)));
    grower.keep(&value);
    value
}

fn frozen_set(grower: &mut Grower<'_>, _: usize) -> Value {
    let value = Value::FrozenSet(distinct(grower).into());
    grower.keep(&value);
    value
}

fn counter(grower: &mut Grower<'_>, _: usize) -> Value {
    let counts = Dict::new();
    for key in distinct(grower) {
        counts.insert(key, Value::Int(i64::from(grower.byte())));
    }
    let value: Value = ObjectData::call(Global::new("collections", "Counter"), vec![counts.into()]).into();
    grower.keep(&value);
    value
}

/// An object that is filled after it may be referred to.
fn object(grower: &mut Grower<'_>, data: ObjectData, fill: impl FnOnce(&mut Grower<'_>, &Shared<ObjectData>)) -> Value {
    let object = Shared::new(data);
    let value = Value::Object(object.clone());
    grower.keep(&value);
    fill(grower, &object);
    value
}

fn default_dict(grower: &mut Grower<'_>, depth: usize) -> Value {
    let data =
        ObjectData::call(Global::new("collections", "defaultdict"), vec![Global::new("__builtin__", "list").into()]);
    object(grower, data, |grower, object| {
        grower.entries(depth, |key, value| object.write().entries.push((key, value)));
    })
}

fn deque(grower: &mut Grower<'_>, depth: usize) -> Value {
    let bounded = vec![Value::tuple([]), Value::Int(10)];
    let args = if grower.below(2) == 0 { Vec::new() } else { bounded };
    object(grower, ObjectData::call(Global::new("collections", "deque"), args), |grower, object| {
        let items = grower.values(depth);
        object.write().items = items;
    })
}

fn slice(grower: &mut Grower<'_>, _: usize) -> Value {
    let args = (0..3).map(|_| if grower.below(2) == 0 { Value::None } else { int(grower, 0) }).collect();
    object(grower, ObjectData::call(Global::new("__builtin__", "slice"), args), |_, _| {})
}

fn range(grower: &mut Grower<'_>, _: usize) -> Value {
    let step = grower.pick(&[1_i64, -1, 7]);
    let args = vec![int(grower, 0), int(grower, 0), Value::Int(step)];
    object(grower, ObjectData::call(Global::new("__builtin__", "xrange"), args), |_, _| {})
}

fn namespace(grower: &mut Grower<'_>, depth: usize) -> Value {
    let data = ObjectData {
        construction: Construction::New,
        ..ObjectData::call(Global::new("argparse", "Namespace"), Vec::new())
    };
    object(grower, data, |grower, object| {
        let attributes = Dict::new();
        for name in ["lr", "layers", "itself"].iter().take(grower.below(4)) {
            let value = grower.value(depth);
            attributes.insert(*name, value);
        }
        object.write().states.extend((!attributes.is_empty()).then(|| attributes.into()));
    })
}

fn class(grower: &mut Grower<'_>, _: usize) -> Value {
    let (module, name) = grower.pick(&[
        ("collections", "OrderedDict"),
        ("torch.nn.modules.linear", "Linear"),
        ("__builtin__", "long"),
        ("__builtin__", "len"),
    ]);
    Global::new(module, name).into()
}
