//! A graph as JSON, in the words of `tests/with_torch/describe.py`: objects and storages are numbered as they are first
//! met, and are numbers from then on, so that equal descriptions mean equal structure, identity and bytes.

use std::collections::HashMap;

use rekindle_recorder::tensor::{Quantizer, TensorClass, TensorData};
use rekindle_recorder::value::{Construction, DictKind, Global, ObjectData};
use rekindle_recorder::{Storage, Tensor, Value};
use serde_json::{Value as Json, json};

/// What is said of a value: everything but where it lies in memory.
pub fn describe(value: &Value) -> Json {
    Describer::default().value(value)
}

/// The first place where two descriptions differ, with what is there; `None` where they are equal.
pub fn difference(a: &Json, b: &Json, place: &str) -> Option<String> {
    match (a, b) {
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{place}/{i}")))
        }
        _ => (a != b).then(|| {
            let [a, b] = [a, b].map(|side| side.to_string().chars().take(400).collect::<String>());
            format!("{place}:\n  {a}\n  {b}")
        }),
    }
}

/// How Python 3 spells what Python 2 called otherwise.
const RENAMED: [(&str, &str); 6] = [
    ("__builtin__.long", "builtins.int"),
    ("__builtin__.unicode", "builtins.str"),
    ("__builtin__.xrange", "builtins.range"),
    ("__builtin__.unichr", "builtins.chr"),
    ("copy_reg._reconstructor", "copyreg._reconstructor"),
    ("__builtin__.print", "builtins.print"),
];

#[derive(Default)]
struct Describer {
    objects: HashMap<usize, usize>,
    storages: HashMap<usize, usize>,
    /// Inside sets, whose order differs from run to run, nothing is numbered.
    unnumbered: bool,
}

impl Describer {
    fn value(&mut self, value: &Value) -> Json {
        match value {
            Value::None => Json::Null,
            Value::Bool(x) => json!(x),
            Value::Int(x) => json!(["int", x.to_string()]),
            Value::BigInt(x) => json!(["int", x.to_string()]),
            Value::Float(x) => json!(["float", bits(*x)]),
            Value::Complex(re, im) => json!(["complex", bits(*re), bits(*im)]),
            Value::Str(text) => str(text.as_bytes()),
            Value::SurrogateStr(bytes) => str(bytes),
            Value::Bytes(bytes) => json!(["bytes", hex(bytes)]),
            Value::Size(lengths) => json!(["Size", **lengths]),
            Value::Device(device) => json!(["device", device.to_string()]),
            Value::Dtype(dtype) => json!(["dtype", dtype.name()]),
            Value::Global(global) => json!(["class", name(global)]),
            Value::Tuple(items) if items.is_empty() => json!(["tuple", null, []]),
            Value::FrozenSet(items) if items.is_empty() => json!(["frozenset", null, []]),
            other => self.numbered(other),
        }
    }

    fn numbered(&mut self, value: &Value) -> Json {
        let number = match value.id().filter(|_| !self.unnumbered) {
            None => Json::Null,
            Some(id) => match self.objects.get(&id) {
                Some(number) => return json!(["ref", number]),
                None => {
                    let number = self.objects.len();
                    self.objects.insert(id, number);
                    json!(number)
                }
            },
        };
        match value {
            Value::ByteArray(bytes) => json!(["bytearray", number, hex(&bytes.read())]),
            Value::List(items) => json!(["list", number, self.all(&items.read().clone())]),
            Value::Tuple(items) => json!(["tuple", number, self.all(items)]),
            Value::Set(items) => json!(["set", number, self.sorted(&items.read().clone())]),
            Value::FrozenSet(items) => json!(["frozenset", number, self.sorted(items)]),
            Value::Dict(dict) => {
                let kind = match dict.kind() {
                    DictKind::Dict => "dict",
                    DictKind::OrderedDict => "OrderedDict",
                };
                let entries = self.entries(&dict.entries());
                json!([kind, number, entries, self.optional(dict.state().as_ref())])
            }
            Value::Object(object) => self.object(number, &object.read().clone()),
            Value::Tensor(tensor) => self.tensor(number, tensor),
            other => panic!("no test makes {}", other.describe()),
        }
    }

    fn all(&mut self, values: &[Value]) -> Vec<Json> {
        values.iter().map(|value| self.value(value)).collect()
    }

    fn entries(&mut self, entries: &[(Value, Value)]) -> Vec<Json> {
        entries.iter().map(|(key, value)| json!([self.value(key), self.value(value)])).collect()
    }

    fn optional(&mut self, value: Option<&Value>) -> Json {
        value.map_or(Json::Null, |value| self.value(value))
    }

    fn sorted(&mut self, items: &[Value]) -> Vec<Json> {
        let outside = std::mem::replace(&mut self.unnumbered, true);
        let mut items = self.all(items);
        self.unnumbered = outside;
        items.sort_by_cached_key(Json::to_string);
        items
    }

    fn object(&mut self, number: Json, data: &ObjectData) -> Json {
        let how = match data.construction {
            Construction::Call => "call",
            Construction::New => "new",
            other => panic!("no test makes an object by {other:?}"),
        };
        let class = name(data.class().expect("the class has a name"));
        let args = self.all(data.arguments());
        let items = self.all(&data.items);
        let entries = self.entries(&data.entries);
        assert!(data.states.len() < 2 && data.kwargs.is_none());
        json!(["object", number, how, class, args, items, entries, self.optional(data.states.first())])
    }

    fn tensor(&mut self, number: Json, tensor: &Tensor) -> Json {
        let parts = tensor.parts();
        let (class, state) = match &parts.class {
            TensorClass::Tensor => ("torch.Tensor".to_owned(), None),
            TensorClass::Parameter { state } => ("torch.nn.parameter.Parameter".to_owned(), state.clone()),
            TensorClass::Other { class, state } => (name(class), Some(state.clone())),
            other => panic!("no test makes {other:?}"),
        };
        let data = match &parts.data {
            TensorData::Strided { storage, offset, stride } => {
                json!(["strided", self.storage(storage), offset, stride])
            }
            TensorData::Meta { stride } => json!(["meta", stride]),
            TensorData::Sparse { layout, indices, values, coalesced } => {
                let indices: Vec<Json> = indices.iter().map(|part| self.tensor(Json::Null, part)).collect();
                json!([layout.name(), indices, self.tensor(Json::Null, values), coalesced])
            }
            other => panic!("no test makes {other:?}"),
        };
        let quantizer = match &parts.quantizer {
            None => Json::Null,
            Some(Quantizer::PerTensor { scale, zero_point }) => json!([bits(*scale), zero_point]),
            Some(other) => panic!("no test makes {other:?}"),
        };
        let flags = [parts.requires_grad, parts.conj, parts.neg];
        let (dtype, shape) = (parts.dtype.name(), &parts.shape);
        json!(["tensor", number, class, dtype, shape, data, quantizer, flags, self.optional(state.as_ref())])
    }

    /// Empty storages have no address to be told by.
    fn storage(&mut self, storage: &Storage) -> Json {
        if storage.is_empty() {
            return Json::Null;
        }
        if let Some(number) = self.storages.get(&storage.id()) {
            return json!(number);
        }
        let number = self.storages.len();
        self.storages.insert(storage.id(), number);
        json!([number, hex(&storage.bytes().unwrap())])
    }
}

fn name(global: &Global) -> String {
    let spelled = global.to_string();
    match RENAMED.iter().find(|(old, _)| *old == spelled) {
        Some((_, new)) => (*new).to_owned(),
        None => spelled.replace("__builtin__.", "builtins."),
    }
}

/// Text that prints as it is; else its bytes.
fn str(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) => json!(["str", text]),
        _ => json!(["str", null, hex(bytes)]),
    }
}

fn bits(x: f64) -> String {
    format!("{:016x}", x.to_bits())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
