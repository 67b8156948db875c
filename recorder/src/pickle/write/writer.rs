//! The writer: a `Value` to a pickle of protocol 2, laid out as CPython's pickler does, with what is shared written once.
//!
//! It does not recurse: what is still to be written lies on a stack of steps, from which the path of the value at hand is
//! read for errors. What makes a value (the items of a tuple, the arguments of a call) must be written before the value can
//! be named; what fills it (the items of a list) comes after. A value that is among its own makings (by way of a list, which
//! has its name by then) is made where it is met, and once more around that, which is thrown away: CPython's way, too.

mod tensor;

use crate::pickle::calls::numpy;
use crate::pickle::names::verdict::{self, Allowed};
use crate::pickle::opcodes as op;
use crate::pickle::persistent::Dialect;
use crate::pickle::write::fill::{Appends, SetItems};
use crate::pickle::write::output::{self, Output};
use crate::pickle::write::path;
use crate::pickle::write::reduce::Arg;
use crate::value::identity::ById;
use crate::value::{Construction, DictKind, ObjectData};
use crate::{DType, Error, ErrorKind, Result, Storage, Value};

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
    /// The class that each of them has there; `None` for an `UntypedStorage`, whose elements are bytes.
    pub classes: Vec<Option<DType>>,
    /// What was written otherwise than it was, each with its path.
    pub notes: Vec<String>,
}

/// Pickles a value at protocol 2.
///
/// # Errors
/// [`ErrorKind::Refused`] for what plain `torch.load` refuses, [`ErrorKind::InvalidTensor`] for a tensor that the format
/// cannot hold, [`ErrorKind::Invalid`] for what no Python program could have made, each with the path of the value.
pub fn write(root: &Value, options: &PickleOptions) -> Result<Pickled> {
    let writer = Writer {
        options: *options,
        output: Output::default(),
        steps: Vec::new(),
        memo: ById::default(),
        making: ById::default(),
        cycles: 0,
        notes: Vec::new(),
    };
    writer.run(root)
}

/// How often a value may be met among its own makings: each time all that it is made of is written once more.
const MOST_CYCLES: usize = 1000;

/// Something that is still to be written. A step that comes back to the stack shows where in it the writer is.
pub(crate) enum Step {
    Value(Value),
    Op(u8),
    /// A tuple's end.
    Tuple(Value, usize),
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
    /// The contents of the container on top of the stack.
    Fill(Value),
}

struct Writer {
    options: PickleOptions,
    output: Output,
    steps: Vec<Step>,
    /// The memo: its numbers by identity. The values are held, so that no identity is given twice.
    memo: ById<(u32, Value)>,
    /// What is being made, with the length of the memo when that was begun.
    making: ById<usize>,
    /// How often something was met among its own makings.
    cycles: usize,
    notes: Vec<String>,
}

impl Writer {
    fn run(mut self, root: &Value) -> Result<Pickled> {
        self.output.bytes.extend([op::PROTO, 2]);
        self.steps.push(Step::Value(root.clone()));
        while let Some(step) = self.steps.pop() {
            self.step(step)?;
        }
        self.output.op(op::STOP);
        let Output { bytes, storages, classes, .. } = self.output;
        Ok(Pickled { bytes, storages, classes, notes: self.notes })
    }

    /// Steps to take next, the first of them first.
    fn plan(&mut self, steps: impl IntoIterator<Item = Step, IntoIter: DoubleEndedIterator>) {
        self.steps.extend(steps.into_iter().rev());
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Value(value) => self.value(value)?,
            Step::Op(opcode) => self.output.op(opcode),
            Step::Tuple(value, length) => self.finish_tuple(value, length),
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
            Step::Fill(value) => self.fill(&value),
        }
        Ok(())
    }

    /// The path of the value at hand.
    fn path(&self) -> String {
        Some(path::of(&self.steps)).filter(|path| !path.is_empty()).unwrap_or_else(|| "the root".to_owned())
    }

    /// The same error, said of the value that is being written.
    pub(crate) fn here(&self, error: Error) -> Error {
        let path = path::of(&self.steps);
        if path.is_empty() { error } else { error.at(path) }
    }

    fn refuse(&self, what: impl Into<String>) -> Error {
        self.here(ErrorKind::Refused { what: what.into() }.into())
    }

    /// An error where only objects allowed can be written.
    fn needs_permission(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.options.allow_objects { Ok(()) } else { Err(self.refuse(what())) }
    }

    fn hashable(&self, key: &Value) -> Result<()> {
        match key {
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::ByteArray(_) => {
                Err(self.here(Error::invalid(format!("{} cannot be a key in Python", key.describe()))))
            }
            _ => Ok(()),
        }
    }

    fn remember(&mut self, index: u32, value: Value) {
        if let Some(id) = identity(&value) {
            self.memo.insert(id, (index, value));
        }
    }

    fn value(&mut self, value: Value) -> Result<()> {
        if let Some(id) = identity(&value) {
            if let Some(&(index, _)) = self.memo.get(&id) {
                self.output.get(index);
                return Ok(());
            }
            if let Some(&begun) = self.making.get(&id) {
                self.cycle(begun)?;
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
            Value::Set(items) => {
                let items = items.read().clone();
                self.set(value, items, "set")?;
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
                return Err(self.here(Error::invalid(format!("{} cannot be pickled", other.describe()))));
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
    fn scalar(&mut self, value: &Value) -> Result<bool> {
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
            Value::Dtype(dtype) if !dtype.is_in_pytorch() => {
                return Err(self.here(Error::unsupported(format!("{dtype}, which PyTorch lacks,"))));
            }
            Value::Dtype(dtype) => output.global("torch", dtype.name()),
            Value::Storage(storage) => self.storage(storage)?,
            Value::Global(global) => {
                if verdict::allowed(global).is_none() {
                    self.needs_permission(|| value.describe())?;
                }
                if global.module.contains('\n') || global.name.contains('\n') {
                    return Err(self.here(Error::invalid("a name has a line break")));
                }
                self.output.named(global);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The longest text there is an opcode for that plain `torch.load` takes.
    fn writable_text(&self, length: usize) -> Result<()> {
        if u32::try_from(length).is_err() {
            self.needs_permission(|| "a text of more than 4 GiB".to_owned())?;
        }
        Ok(())
    }

    fn tuple(&mut self, value: &Value, items: &[Value]) -> Result<()> {
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
        self.steps.push(Step::Tuple(value.clone(), length));
        self.steps.push({
            // The step owns its items: the value may change hands before they are written.
            #[allow(clippy::unnecessary_to_owned)]
            let items = items.to_vec().into_iter();
            Step::Items(items, 0)
        });
        Ok(())
    }

    /// `set([...])` or `frozenset([...])`.
    fn set(&mut self, value: Value, items: Vec<Value>, class: &str) -> Result<()> {
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
            self.making.insert(id, self.memo.len());
        }
    }

    /// A value is met among its own makings, `begun` when the memo had that length.
    fn cycle(&mut self, begun: usize) -> Result<()> {
        self.needs_permission(|| "part of what it is made of".to_owned())?;
        self.cycles += 1;
        let reason = match begun {
            // Nothing on the way has a name by which it could be told that it is there already.
            begun if begun == self.memo.len() => "it is made of itself, which nothing in Python can be",
            _ if self.cycles > MOST_CYCLES => "it holds itself in more ways than can be written",
            _ => return Ok(()),
        };
        Err(self.here(Error::invalid(reason)))
    }

    /// The number of what was made inside its own makings.
    fn made_inside(&mut self, value: &Value) -> Option<u32> {
        let id = identity(value)?;
        self.making.remove(&id);
        self.memo.get(&id).map(|&(index, _)| index)
    }

    fn finish_tuple(&mut self, value: Value, length: usize) {
        if let Some(index) = self.made_inside(&value) {
            match length {
                0..=3 => (0..length).for_each(|_| self.output.op(op::POP)),
                _ => self.output.op(op::POP_MARK),
            }
            return self.output.get(index);
        }
        self.output.op(output::tuple_opcode(length));
        let index = self.output.put();
        self.remember(index, value);
    }

    /// Puts what is made into the memo, and fills it if it is an object.
    fn made(&mut self, value: Value) {
        if let Some(index) = self.made_inside(&value) {
            self.output.op(op::POP);
            return self.output.get(index);
        }
        let index = self.output.put();
        self.remember(index, value.clone());
        if let Value::Object(_) = value {
            self.steps.push(Step::Fill(value));
        }
    }

    /// What is put into a value after it is made.
    fn fill(&mut self, value: &Value) {
        match value {
            Value::List(items) => self.steps.push(Step::Appends(Appends::to_list(items.read().clone()))),
            Value::Dict(dict) => {
                let entries = SetItems::of_dict(dict);
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

    fn object(&mut self, value: Value, data: ObjectData) -> Result<()> {
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
            return Err(self.here(Error::invalid("a storage whose data were not read cannot be written")));
        }
        self.begin(&value);
        let made = [Step::Made(value)];
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
    let Some(allowed) = data.class().and_then(verdict::allowed) else { return false };
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
