//! The writer: a `Value` to a pickle of protocol 2, laid out as CPython's pickler does, with what is shared written once.
//!
//! It does not recurse: what is still to be written lies on a stack of steps, from which the path of the value at hand is
//! read for errors. What makes a value (the items of a tuple, the arguments of a call) must be written before the value can
//! be named; what fills it (the items of a list) comes after. Where a value is among its own makings, the fillings within
//! are put off until it is made.

use super::arena::ById;
use super::fill::{Appends, SetItems};
use super::globals::{self, Allowed};
use super::opcodes as op;
use super::output::{self, Output};
use super::persistent::Dialect;
use super::reduce::{self, Arg, Call};
use super::{numpy, path};
use crate::tensor::{TensorClass, TensorData};
use crate::value::{Construction, DictKind, ObjectData};
use crate::{Error, ErrorKind, Result, Storage, Tensor, Value};

/// How a value is pickled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickleOptions {
    /// How storages are referred to.
    pub dialect: Dialect,
    /// Whether to write what plain `torch.load` refuses. Without it such a value is an error, but for NumPy's scalars, which
    /// become Python's numbers.
    pub allow_objects: bool,
}

/// A pickle and what belongs to it.
#[derive(Debug)]
pub struct Pickled {
    /// The pickle.
    pub bytes: Vec<u8>,
    /// The storages it refers to; the one at `i` has the key `i`.
    pub storages: Vec<Storage>,
    /// What was written otherwise than it was, each with its path.
    pub notes: Vec<String>,
}

/// Pickles a value at protocol 2.
///
/// # Errors
/// [`ErrorKind::Refused`] for what plain `torch.load` refuses, [`ErrorKind::InvalidTensor`] for a tensor that the format
/// cannot hold, [`ErrorKind::Invalid`] for what no Python program could have made, each with the path of the value.
pub fn write(root: &Value, options: &PickleOptions) -> Result<Pickled> {
    let outcome = match Writer::new(*options, false).run(root) {
        Err(Stop::Cycle(_)) if options.allow_objects => Writer::new(*options, true).run(root),
        outcome => outcome,
    };
    outcome.map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::Cycle(key) if options.allow_objects => {
            ErrorKind::Invalid(format!("{key} is made of itself, which nothing in Python can be")).into()
        }
        Stop::Cycle(key) => refused(key, "part of what it is made of"),
    })
}

/// Why the writer stopped.
enum Stop {
    Error(Error),
    /// A value is among its own makings.
    Cycle(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

fn refused(key: String, what: impl Into<String>) -> Error {
    let advice = "take it out, or set `allow_objects` to write it all the same".to_owned();
    ErrorKind::Refused { key, what: what.into(), advice }.into()
}

/// Something that is still to be written. A step that comes back to the stack shows where in it the writer is.
pub(super) enum Step {
    Value(Value),
    Op(u8),
    Get(u32),
    /// A nameless tuple's end.
    FinishTuple(usize),
    /// A nameless object's place in the memo.
    Put,
    /// The items of a tuple, and how many are written.
    Items(std::vec::IntoIter<Value>, usize),
    Args(std::vec::IntoIter<Arg>),
    Appends(Appends),
    SetItems(SetItems),
    /// The value is made, and on top of the stack.
    Made(Value),
    /// The contents of the container on top of the stack, unless they must wait.
    Fill(Value),
}

struct Writer {
    options: PickleOptions,
    output: Output,
    steps: Vec<Step>,
    /// The memo: its numbers by identity. The values are held, so that no identity is given twice.
    memo: ById<(u32, Value)>,
    /// What is being made.
    making: ById<()>,
    /// Whether fillings wait while something is being made.
    patient: bool,
    waiting: Vec<Value>,
    notes: Vec<String>,
}

impl Writer {
    fn new(options: PickleOptions, patient: bool) -> Self {
        Writer {
            options,
            output: Output::default(),
            steps: Vec::new(),
            memo: ById::default(),
            making: ById::default(),
            patient,
            waiting: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn run(mut self, root: &Value) -> Result<Pickled, Stop> {
        self.output.bytes.extend([op::PROTO, 2]);
        self.steps.push(Step::Value(root.clone()));
        while let Some(step) = self.steps.pop() {
            self.step(step)?;
        }
        self.output.op(op::STOP);
        Ok(Pickled { bytes: self.output.bytes, storages: self.output.storages, notes: self.notes })
    }

    /// Steps to take next, the first of them first.
    fn plan(&mut self, steps: impl IntoIterator<Item = Step, IntoIter: DoubleEndedIterator>) {
        self.steps.extend(steps.into_iter().rev());
    }

    fn step(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Value(value) => self.value(value)?,
            Step::Op(opcode) => self.output.op(opcode),
            Step::Get(index) => self.output.get(index),
            Step::FinishTuple(length) => self.output.finish_tuple(length),
            Step::Put => {
                self.output.put();
            }
            Step::Items(mut items, done) => {
                if let Some(item) = items.next() {
                    self.steps.push(Step::Items(items, done + 1));
                    self.value(item)?;
                }
            }
            Step::Args(mut args) => {
                if let Some(arg) = args.next() {
                    self.steps.push(Step::Args(args));
                    self.arg(arg)?;
                }
            }
            Step::Appends(mut appends) => {
                if let Some(item) = appends.next(&mut self.output) {
                    self.steps.push(Step::Appends(appends));
                    self.value(item)?;
                }
            }
            Step::SetItems(mut entries) => {
                if let Some((key, value)) = entries.next(&mut self.output) {
                    self.steps.push(Step::SetItems(entries));
                    self.hashable(&key)?;
                    self.steps.push(Step::Value(value));
                    self.value(key)?;
                }
            }
            Step::Made(value) => self.made(value),
            Step::Fill(value) => {
                if self.patient && !self.making.is_empty() {
                    self.waiting.push(value);
                } else {
                    self.fill(&value);
                }
            }
        }
        Ok(())
    }

    /// The path of the value at hand.
    fn path(&self) -> String {
        path::of(&self.steps)
    }

    fn refuse(&self, what: impl Into<String>) -> Stop {
        refused(self.path(), what).into()
    }

    /// An error where only objects allowed can be written.
    fn needs_permission(&self, what: impl FnOnce() -> String) -> Result<(), Stop> {
        if self.options.allow_objects { Ok(()) } else { Err(self.refuse(what())) }
    }

    fn hashable(&self, key: &Value) -> Result<(), Stop> {
        match key {
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::ByteArray(_) => {
                let what = key.describe();
                Err(Error::from(ErrorKind::Invalid(format!("{}: {what} cannot be a key in Python", self.path())))
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, index: u32, value: Value) {
        if let Some(id) = identity(&value) {
            self.memo.insert(id, (index, value));
        }
    }

    fn value(&mut self, value: Value) -> Result<(), Stop> {
        if let Some(id) = identity(&value) {
            if let Some(&(index, _)) = self.memo.get(&id) {
                self.output.get(index);
                return Ok(());
            }
            if self.making.contains_key(&id) {
                return Err(Stop::Cycle(self.path()));
            }
        }
        if self.scalar(&value)? {
            return Ok(());
        }
        match &value {
            Value::Tuple(items) => self.tuple(&value, items)?,
            Value::List(_) => {
                self.output.op(op::EMPTY_LIST);
                self.empty(value);
            }
            Value::Dict(dict) => {
                let (kind, state) = (dict.kind(), dict.state());
                if kind == DictKind::OrderedDict {
                    let index = self.output.ordered_dict();
                    self.remember(index, value.clone());
                    self.steps.push(Step::Fill(value));
                } else {
                    if state.is_some() {
                        self.needs_permission(|| "a dict with attributes".to_owned())?;
                    }
                    self.output.op(op::EMPTY_DICT);
                    self.empty(value);
                }
            }
            Value::Set(items) if !self.patient => {
                let items = items.read().clone();
                self.set(value, items, "set")?;
            }
            Value::Set(_) => {
                self.output.op(op::EMPTY_SET);
                self.empty(value);
            }
            Value::FrozenSet(items) => {
                self.needs_permission(|| value.describe())?;
                let items = items.to_vec();
                self.set(value, items, "frozenset")?;
            }
            Value::Tensor(tensor) => {
                let tensor = tensor.clone();
                self.tensor(value, &tensor)?;
            }
            Value::Object(object) => {
                let data = object.read().clone();
                self.object(value, data)?;
            }
            other => {
                let what = format!("{}: {} cannot be pickled", self.path(), other.describe());
                return Err(Error::from(ErrorKind::Invalid(what)).into());
            }
        }
        Ok(())
    }

    /// An empty container that was just written.
    fn empty(&mut self, value: Value) {
        let index = self.output.put();
        self.remember(index, value.clone());
        self.steps.push(Step::Fill(value));
    }

    /// What holds no other values. False where it does.
    fn scalar(&mut self, value: &Value) -> Result<bool, Stop> {
        let output = &mut self.output;
        match value {
            Value::None => output.op(op::NONE),
            Value::Bool(value) => output.bool(*value),
            Value::Int(value) => output.int(*value),
            Value::BigInt(value) => {
                let bytes = value.to_signed_bytes_le();
                if bytes.len() > usize::from(u8::MAX) {
                    self.needs_permission(|| format!("an int of {} bits", value.bits()))?;
                }
                self.output.big(&bytes);
            }
            Value::Float(value) => output.float(*value),
            Value::Complex(re, im) => {
                output.global("__builtin__", "complex");
                output.float(*re);
                output.float(*im);
                output.finish_tuple(2);
                output.reduce();
            }
            Value::Str(text) => {
                let length = text.len();
                self.writable_text(length)?;
                self.output.string(text);
            }
            Value::SurrogateStr(bytes) => {
                self.writable_text(bytes.len())?;
                let index = self.output.text(bytes);
                self.remember(index, value.clone());
            }
            Value::Bytes(bytes) if bytes.is_empty() => {
                self.needs_permission(|| "an empty bytes object".to_owned())?;
                self.output.global("__builtin__", "bytes");
                self.output.op(op::EMPTY_TUPLE);
                self.output.reduce();
            }
            Value::Bytes(bytes) => {
                self.writable_text(2 * bytes.len())?;
                let index = self.output.encoded(bytes);
                self.remember(index, value.clone());
            }
            Value::ByteArray(bytes) => {
                let bytes = bytes.read();
                self.writable_text(2 * bytes.len())?;
                self.output.global("__builtin__", "bytearray");
                if !bytes.is_empty() {
                    self.output.encoded(&bytes);
                }
                self.output.finish_tuple(usize::from(!bytes.is_empty()));
                let index = self.output.reduce();
                self.remember(index, value.clone());
            }
            Value::Tuple(items) if items.is_empty() => output.op(op::EMPTY_TUPLE),
            Value::Size(items) => {
                output.global("torch", "Size");
                output.open_tuple(items.len());
                items.iter().for_each(|&item| output.int(item));
                output.finish_tuple(items.len());
                output.finish_tuple(1);
                output.reduce();
            }
            Value::Device(device) => {
                output.global("torch", "device");
                output.string(&device.kind);
                device.index.iter().for_each(|&index| output.int(index));
                output.finish_tuple(1 + usize::from(device.index.is_some()));
                output.reduce();
            }
            Value::Dtype(dtype) => output.global("torch", dtype.name()),
            Value::Storage(storage) => self.storage(storage)?,
            Value::Global(global) => {
                if globals::allowed(global).is_none() {
                    self.needs_permission(|| value.describe())?;
                }
                if global.module.contains('\n') || global.name.contains('\n') {
                    return Err(
                        Error::from(ErrorKind::Invalid(format!("{}: a name has a line break", self.path()))).into()
                    );
                }
                self.output.named(global);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The longest text there is an opcode for that plain `torch.load` takes.
    fn writable_text(&self, length: usize) -> Result<(), Stop> {
        if u32::try_from(length).is_err() {
            self.needs_permission(|| "a text of more than 4 GiB".to_owned())?;
        }
        Ok(())
    }

    fn tuple(&mut self, value: &Value, items: &[Value]) -> Result<(), Stop> {
        let length = items.len();
        self.output.open_tuple(length);
        if items.iter().all(is_scalar) {
            for item in items {
                self.scalar(item)?;
            }
            self.output.op(output::tuple_opcode(length));
            let index = self.output.put();
            self.remember(index, value.clone());
            return Ok(());
        }
        self.begin(value);
        self.steps.push(Step::Made(value.clone()));
        // `Made` puts the tuple into the memo.
        self.steps.push(Step::Op(output::tuple_opcode(length)));
        self.steps.push({
            // The step owns its items: the value may change hands before they are written.
            #[allow(clippy::unnecessary_to_owned)]
            let items = items.to_vec().into_iter();
            Step::Items(items, 0)
        });
        Ok(())
    }

    /// `set([...])` or `frozenset([...])`.
    fn set(&mut self, value: Value, items: Vec<Value>, class: &str) -> Result<(), Stop> {
        for item in &items {
            self.hashable(item)?;
        }
        self.begin(&value);
        self.output.global("__builtin__", class);
        self.output.op(op::EMPTY_LIST);
        self.output.put();
        let appends = Step::Appends(Appends::to_list(items));
        self.plan([appends, Step::FinishTuple(1), Step::Op(op::REDUCE), Step::Made(value)]);
        Ok(())
    }

    fn begin(&mut self, value: &Value) {
        if let Some(id) = identity(value) {
            self.making.insert(id, ());
        }
    }

    /// Puts what is made into the memo. If nothing else is being made, the fillings that waited follow.
    fn made(&mut self, value: Value) {
        let index = self.output.put();
        if let Some(id) = identity(&value) {
            self.making.remove(&id);
        }
        self.remember(index, value);
        if self.making.is_empty() {
            for value in std::mem::take(&mut self.waiting).into_iter().rev() {
                if let Some(&(index, _)) = identity(&value).and_then(|id| self.memo.get(&id)) {
                    self.plan([Step::Get(index), Step::Fill(value), Step::Op(op::POP)]);
                }
            }
        }
    }

    /// What is put into a value after it is made.
    fn fill(&mut self, value: &Value) {
        match value {
            Value::List(items) => self.steps.push(Step::Appends(Appends::to_list(items.read().clone()))),
            Value::Set(items) => self.steps.push(Step::Appends(Appends::to_set(items.read().clone()))),
            Value::Dict(dict) => {
                let entries = match dict.kind() {
                    DictKind::Dict => SetItems::of_dict(dict.entries()),
                    DictKind::OrderedDict => SetItems::of_object(dict.entries()),
                };
                let state = dict.state().map(|state| [Step::Value(state), Step::Op(op::BUILD)]);
                self.plan([Step::SetItems(entries)].into_iter().chain(state.into_iter().flatten()).collect::<Vec<_>>());
            }
            Value::Object(object) => {
                let ObjectData { items, entries, states, .. } = object.read().clone();
                let states = states.into_iter().flat_map(|state| [Step::Value(state), Step::Op(op::BUILD)]);
                let filling = [Step::Appends(Appends::to_object(items)), Step::SetItems(SetItems::of_object(entries))];
                self.plan(filling.into_iter().chain(states).collect::<Vec<_>>());
            }
            _ => {}
        }
    }

    fn tensor(&mut self, value: Value, tensor: &Tensor) -> Result<(), Stop> {
        let parts = tensor.parts();
        if parts.requires_grad
            && matches!(parts.data, TensorData::Sparse { .. } | TensorData::Nested { .. })
            && !matches!(parts.class, TensorClass::Parameter { .. })
        {
            self.notes.push(format!("{}: requires_grad of a {tensor:?} has no place in the format", self.path()));
        }
        if matches!(parts.data, TensorData::Nested { .. }) {
            self.needs_permission(|| "a nested tensor".to_owned())?;
        }
        let call = reduce::call(tensor, &self.output, self.options.dialect)
            .map_err(|reason| Error::invalid_tensor(self.path(), reason))?;
        self.begin(&value);
        self.steps.push(Step::Made(value));
        self.call(call);
        Ok(())
    }

    /// A call up to its opcode.
    fn call(&mut self, call: Call) {
        self.output.global(call.module, call.function);
        let length = call.args.len();
        self.output.open_tuple(length);
        self.plan([Step::Args(call.args.into_iter()), Step::FinishTuple(length), Step::Op(op::REDUCE)]);
    }

    fn arg(&mut self, arg: Arg) -> Result<(), Stop> {
        match arg {
            Arg::Value(value) => self.value(value)?,
            Arg::Storage(storage, class) => self.storage_as(&storage, class)?,
            Arg::Counts(counts) => self.output.counts(&counts),
            Arg::Size(counts) => {
                self.output.global("torch", "Size");
                self.output.counts(&counts);
                self.output.finish_tuple(1);
                self.output.reduce();
            }
            Arg::Layout(layout) => self.output.layout(layout),
            Arg::NoHooks => {
                self.output.ordered_dict();
            }
            Arg::Tuple(args) => {
                let length = args.len();
                self.output.open_tuple(length);
                self.plan([Step::Args(args.into_iter()), Step::FinishTuple(length)]);
            }
            Arg::Call(call) => {
                self.steps.push(Step::Put);
                self.call(call);
            }
        }
        Ok(())
    }

    /// A storage by itself, as its own class.
    fn storage(&mut self, storage: &Storage) -> Result<(), Stop> {
        let class = match storage.dtype() {
            Some(dtype) => reduce::shared_class(storage, dtype, &self.output)
                .map(Some)
                .map_err(|reason| Error::invalid_tensor(self.path(), reason))?,
            None => None,
        };
        self.storage_as(storage, class)
    }

    fn storage_as(&mut self, storage: &Storage, class: Option<crate::DType>) -> Result<(), Stop> {
        match self.options.dialect {
            Dialect::Plain => {
                let what = format!("{}: a pickle by itself has no place for a tensor's data", self.path());
                return Err(Error::from(ErrorKind::Invalid(what)).into());
            }
            Dialect::Legacy if class.is_none() => {
                self.needs_permission(|| "data of a type that only the zip format can hold".to_owned())?;
            }
            _ => {}
        }
        self.output.storage(storage, class, self.options.dialect);
        Ok(())
    }

    fn object(&mut self, value: Value, data: ObjectData) -> Result<(), Stop> {
        if !self.options.allow_objects {
            if let Some((number, class)) = numpy::scalar(&data) {
                self.notes.push(format!(
                    "{}: NumPy's {class} is written as {}, {number:?}",
                    self.path(),
                    number.describe()
                ));
                return self.value(number);
            }
            if !is_allowed(&data) {
                return Err(self.refuse(value.describe()));
            }
        }
        if data.construction == Construction::Persistent
            && self.options.dialect != Dialect::Plain
            && matches!(&data.args, Value::Tuple(id) if id.first().and_then(Value::as_str) == Some("storage"))
        {
            let what = format!("{}: a storage whose data were not read cannot be written", self.path());
            return Err(Error::from(ErrorKind::Invalid(what)).into());
        }
        self.begin(&value);
        let made = [Step::Made(value.clone()), Step::Fill(value)];
        let ObjectData { construction, callable, args, kwargs, .. } = data;
        let making = match (construction, kwargs) {
            (Construction::Call, _) => vec![Step::Value(callable), Step::Value(args), Step::Op(op::REDUCE)],
            (Construction::New, None) => vec![Step::Value(callable), Step::Value(args), Step::Op(op::NEWOBJ)],
            (Construction::New, Some(kwargs)) => {
                vec![Step::Value(callable), Step::Value(args), Step::Value(kwargs), Step::Op(op::NEWOBJ_EX)]
            }
            (Construction::Instance, _) => {
                let args = args.items().unwrap_or_default();
                let mark = Step::Op(op::MARK);
                vec![mark, Step::Value(callable), Step::Items(args.into_iter(), 0), Step::Op(op::OBJ)]
            }
            (Construction::Persistent, _) => vec![Step::Value(args), Step::Op(op::BINPERSID)],
        };
        self.plan(making.into_iter().chain(made).collect::<Vec<_>>());
        Ok(())
    }
}

/// Whether plain `torch.load` makes and fills such an object.
fn is_allowed(data: &ObjectData) -> bool {
    let Some(allowed) = data.class().and_then(globals::allowed) else { return false };
    let made = match data.construction {
        Construction::Call => allowed != Allowed::Constant,
        Construction::New => allowed == Allowed::Class && data.kwargs.is_none(),
        Construction::Instance | Construction::Persistent => false,
    };
    let counter = data.class().is_some_and(|class| class.is("collections", "Counter"));
    made && data.items.is_empty()
        && (data.entries.is_empty() || counter)
        && (data.states.is_empty() || allowed == Allowed::Class)
}

/// The identity under which a value is found in the memo.
fn identity(value: &Value) -> Option<usize> {
    match value {
        Value::Bytes(bytes) | Value::SurrogateStr(bytes) if !bytes.is_empty() => Some(bytes.as_ptr().addr()),
        Value::Storage(_) => None,
        other => other.id(),
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Size(_))
}
