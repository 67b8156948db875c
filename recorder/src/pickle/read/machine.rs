//! The reader: a pickle's opcodes to a `Value`. Nothing is executed: a call becomes a typed value where its outcome is
//! known, and an object that says what would have been called where it is not.
//!
//! The machine is Python's: a stack, marks in it, a memo of shared handles. It does not recurse, takes no length on trust,
//! and charges the limits for what it makes before it makes it.

mod change;

use std::collections::HashSet;

use indexmap::IndexMap;
use num_bigint::BigInt;

use crate::pickle::calls::known;
use crate::pickle::calls::making::Making;
use crate::pickle::calls::old;
use crate::pickle::memo::Memo;
use crate::pickle::names::dtypes;
use crate::pickle::names::listed::Name;
use crate::pickle::opcodes as op;
use crate::pickle::opcodes::Argument;
use crate::pickle::persistent::PersistentLoad;
use crate::pickle::read::arena::Arena;
use crate::pickle::read::budget::{Budget, CONTAINER, PLACE};
use crate::pickle::read::input::Input;
use crate::pickle::text;
use crate::value::identity::ById;
use crate::value::{Construction, Dict, Global, Key, List, ObjectData, Shared};
use crate::{Error, Limits, Result, Value};

/// What a pickle held.
#[derive(Debug)]
pub struct Unpickled {
    /// The object.
    pub value: Value,
    /// How many bytes the pickle took.
    pub end: usize,
    /// Its protocol.
    pub protocol: u8,
    /// Every class or function it names, each once, as first seen.
    pub globals: Vec<Global>,
    /// How many values were made, as [`Limits::values`] counts them.
    pub values: u64,
    /// The bytes that they hold, as [`Limits::value_bytes`] counts them.
    pub value_bytes: u64,
}

/// Reads one pickle, of any protocol from 0 to 5, from the start of `bytes`; what follows it is left alone.
///
/// `place` names the pickle in errors, such as `data.pkl`.
///
/// # Errors
/// [`Truncated`](crate::ErrorKind::Truncated) when the bytes run out, [`Pickle`](crate::ErrorKind::Pickle) when they are no
/// pickle, [`Limit`](crate::ErrorKind::Limit) when reading would cost more than `limits`,
/// [`InvalidTensor`](crate::ErrorKind::InvalidTensor) when a tensor would leave its storage, and whatever `ids` gives.
pub fn read(bytes: &[u8], place: &str, limits: &Limits, ids: &mut dyn PersistentLoad) -> Result<Unpickled> {
    let mut machine = Machine::new(bytes, place, limits, ids);
    let value = machine.steps()?;
    machine.arena.keep(&value, limits)?;
    let (values, value_bytes) = machine.making.budget.spent();
    let (end, protocol) = (machine.input.position(), machine.protocol);
    Ok(Unpickled { value, end, protocol, globals: machine.globals(), values, value_bytes })
}

/// Names longer than this are none: hashing them would cost more than reading the pickle.
const LONGEST_NAME: usize = 4096;

struct Machine<'a> {
    input: Input<'a>,
    making: Making<'a>,
    stack: Vec<Value>,
    /// The length of the stack at each mark that is open.
    marks: Vec<usize>,
    memo: Memo,
    /// Where in the memo an object is that may become a tensor when it gets its state.
    unfinished: ById<u64>,
    /// Every name seen, with the value it stands for.
    names: IndexMap<Global, Value>,
    /// What the sets that are being added to hold.
    sets: ById<HashSet<Key>>,
    protocol: u8,
    /// The last field, so that it is dropped after all that holds values.
    arena: Arena,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8], place: &'a str, limits: &'a Limits, ids: &'a mut dyn PersistentLoad) -> Self {
        Machine {
            input: Input::new(bytes, place),
            making: Making { budget: Budget::new(limits), ids, storage_types: ById::default() },
            arena: Arena::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Memo::default(),
            unfinished: ById::default(),
            names: IndexMap::new(),
            sets: ById::default(),
            protocol: 0,
        }
    }

    /// Every class or function named so far.
    fn globals(&self) -> Vec<Global> {
        self.names.keys().cloned().collect()
    }

    /// Carries out every opcode up to the one that ends the pickle.
    fn steps(&mut self) -> Result<Value> {
        loop {
            let opcode = self.input.opcode()?;
            match opcode {
                op::STOP => return self.pop(),
                op::MARK => self.marks.push(self.stack.len()),
                op::BINGET | op::LONG_BINGET | op::GET | op::BINPUT | op::LONG_BINPUT | op::PUT | op::MEMOIZE => {
                    self.memory(opcode)?;
                }
                op::REDUCE
                | op::BUILD
                | op::APPEND
                | op::APPENDS
                | op::SETITEM
                | op::SETITEMS
                | op::ADDITEMS
                | op::NEWOBJ
                | op::NEWOBJ_EX
                | op::OBJ
                | op::INST => self.construction(opcode)?,
                op::GLOBAL | op::STACK_GLOBAL | op::PERSID | op::BINPERSID => self.reference(opcode)?,
                _ => {
                    if !self.scalar(opcode)? && !self.container(opcode)? {
                        self.control(opcode)?;
                    }
                }
            }
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        self.input.error(reason)
    }

    fn underflow(&self) -> Error {
        self.error(format!("{} finds nothing on the stack", op::name(self.opcode_here())))
    }

    fn opcode_here(&self) -> u8 {
        self.input.opcode_at()
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.making.budget.value()?;
        self.stack.push(value);
        Ok(())
    }

    /// Pushes something that can hold other values.
    fn push_new(&mut self, value: Value) -> Result<()> {
        self.making.budget.bytes(CONTAINER)?;
        self.arena.add(&value);
        self.push(value)
    }

    /// The lowest place in the stack that may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value> {
        if self.stack.len() > self.floor()
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        Err(self.underflow())
    }

    fn top(&self) -> Result<&Value> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(value),
            _ => Err(self.underflow()),
        }
    }

    /// Closes the last mark: where the values above it begin.
    fn close_mark(&mut self) -> Result<usize> {
        self.marks.pop().ok_or_else(|| self.error(format!("{} finds no mark", op::name(self.opcode_here()))))
    }

    /// Takes the last `count` values off the stack, as a tuple.
    fn pop_tuple(&mut self, count: usize) -> Result<Value> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        match start {
            Some(start) => Ok(Value::Tuple(self.stack.drain(start..).collect())),
            None => Err(self.underflow()),
        }
    }

    /// Numbers, strings and bytes. False where the opcode makes something else.
    fn scalar(&mut self, opcode: u8) -> Result<bool> {
        let value = match opcode {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::BININT1 => Value::Int(self.input.u8("an integer")?.into()),
            op::BININT2 => Value::Int(self.input.u16()?.into()),
            op::BININT => Value::Int(self.input.i32()?.into()),
            op::BINFLOAT => Value::Float(self.input.f64_be()?),
            op::FLOAT => Value::Float(self.input.float_line()?),
            op::INT => self.input.int_line()?,
            op::LONG => {
                let value = Value::from(self.input.integer_line()?);
                self.making.budget.bytes((self.input.position() - self.input.op_at()) as u64)?;
                value
            }
            op::LONG1 | op::LONG4 => {
                let bytes = self.counted(opcode, "an integer")?;
                match bytes.len() {
                    0..=8 => Value::Int(small_int(bytes)),
                    _ => BigInt::from_signed_bytes_le(bytes).into(),
                }
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => {
                let bytes = self.counted(opcode, "a string")?;
                text::utf8(bytes).ok_or_else(|| self.error("a string is no UTF-8 text"))?
            }
            op::UNICODE => {
                let line = self.input.line("a string")?;
                self.making.budget.bytes(2 * line.len() as u64)?;
                text::raw_unicode_escape(line).ok_or_else(|| self.error("a string has a broken escape"))?
            }
            op::BINSTRING | op::SHORT_BINSTRING => text::python2(self.counted(opcode, "a string")?),
            op::STRING => {
                let line = self.input.line("a string")?;
                self.making.budget.bytes(line.len() as u64)?;
                let unquoted =
                    text::unquote(line).ok_or_else(|| self.error("a string is not quoted as Python does"))?;
                text::python2(&unquoted)
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 => Value::Bytes(self.counted(opcode, "bytes")?.into()),
            op::BYTEARRAY8 => Value::ByteArray(Shared::new(self.counted(opcode, "a bytearray")?.to_vec())),
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    /// The bytes that a length precedes, charged.
    fn counted(&mut self, opcode: u8, what: &str) -> Result<&'a [u8]> {
        let argument = op::describe(opcode).map_or(Argument::None, |(_, argument)| argument);
        let bytes = self.input.counted(argument, what)?;
        self.making.budget.bytes(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Lists, tuples, dicts and sets. False where the opcode does something else.
    fn container(&mut self, opcode: u8) -> Result<bool> {
        let value = match opcode {
            op::EMPTY_TUPLE => Value::Tuple([].into()),
            op::EMPTY_LIST => Value::List(List::new(Vec::new())),
            op::EMPTY_DICT => Value::Dict(Dict::new()),
            op::EMPTY_SET => Value::Set(List::new(Vec::new())),
            op::TUPLE1 => self.pop_tuple(1)?,
            op::TUPLE2 => self.pop_tuple(2)?,
            op::TUPLE3 => self.pop_tuple(3)?,
            op::TUPLE => {
                let start = self.close_mark()?;
                Value::Tuple(self.stack.drain(start..).collect())
            }
            op::LIST => {
                let start = self.close_mark()?;
                Value::List(List::new(self.stack.split_off(start)))
            }
            op::DICT => {
                let start = self.close_mark()?;
                let dict = Value::Dict(Dict::new());
                // Before anything is put into it, so that its entries are freed with it.
                self.arena.add(&dict);
                self.set_items(&dict, start)?;
                dict
            }
            op::FROZENSET => {
                let start = self.close_mark()?;
                let items = self.stack.split_off(start);
                Value::FrozenSet(known::distinct(&items, &mut self.making)?.into())
            }
            _ => return Ok(false),
        };
        self.push_new(value)?;
        Ok(true)
    }

    /// Opcodes that move the stack or steer the stream, and those that cannot be carried out.
    fn control(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => {
                self.protocol = self.input.u8("the protocol")?;
                if self.protocol > 5 {
                    return Err(self.error(format!("pickle protocol {} is not known", self.protocol)));
                }
            }
            op::FRAME => self.input.frame()?,
            op::POP => {
                if self.stack.len() > self.floor() {
                    self.stack.pop();
                } else {
                    self.close_mark()?;
                }
            }
            op::POP_MARK => {
                let start = self.close_mark()?;
                self.stack.truncate(start);
            }
            op::DUP => {
                let top = self.top()?.clone();
                self.push(top)?;
            }
            op::EXT1 | op::EXT2 | op::EXT4 => {
                let reason = "it uses the extension registry of the program that wrote it, which no file carries";
                return Err(self.error(reason));
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => {
                return Err(self.error("it refers to a buffer outside of the pickle, which no file carries"));
            }
            _ => return Err(self.error(format!("{opcode:#04x} is no pickle opcode"))),
        }
        Ok(())
    }

    /// Puts into and gets from the memo.
    fn memory(&mut self, opcode: u8) -> Result<()> {
        let index = match opcode {
            op::MEMOIZE => self.memo.len(),
            op::BINGET | op::BINPUT => self.input.u8("the number of a memo entry")?.into(),
            op::LONG_BINGET | op::LONG_BINPUT => self.input.u32()?.into(),
            _ => self.input.index_line()?,
        };
        if matches!(opcode, op::BINGET | op::LONG_BINGET | op::GET) {
            let value = self.memo.get(index).cloned();
            let value = value.ok_or_else(|| self.error(format!("there is no memo entry {index}")))?;
            return self.push(value);
        }
        self.making.budget.bytes(2 * PLACE)?;
        let value = self.top()?.clone();
        if let Some(id) = old::unfinished(&value) {
            self.unfinished.insert(id, index);
        }
        self.memo.put(index, value);
        Ok(())
    }

    /// Names, and ids of what lies outside of the pickle.
    fn reference(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            op::GLOBAL => {
                let (module, name) = (self.input.text_line("a module")?, self.input.text_line("a name")?);
                self.global(module, name)?
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Str(module), Value::Str(name)) = (&module, &name) else {
                    return Err(self.error("STACK_GLOBAL needs two strings"));
                };
                self.global(module, name)?
            }
            _ => {
                let id = match opcode {
                    op::PERSID => Value::Str(self.input.text_line("a persistent id")?.into()),
                    _ => self.pop()?,
                };
                return self.persistent(id);
            }
        };
        self.push(value)
    }

    /// The value that a name stands for: an element type, or itself.
    fn global(&mut self, module: &str, name: &str) -> Result<Value> {
        if let Some(value) = self.names.get(&Name(module, name)) {
            return Ok(value.clone());
        }
        let length = module.len() + name.len();
        if length > LONGEST_NAME {
            return Err(self.error(format!("a name of {length} bytes is no name in Python")));
        }
        self.making.budget.bytes(CONTAINER + 2 * length as u64)?;
        let global = Global::new(module, name);
        let value = dtypes::dtype(module, name).map_or_else(|| Value::Global(global.clone()), Value::Dtype);
        self.names.insert(global, value.clone());
        Ok(value)
    }

    fn persistent(&mut self, id: Value) -> Result<()> {
        if let Some(value) = self.making.ids.load(&id)? {
            if let (Value::Storage(storage), Value::Tuple(items)) = (&value, &id)
                && let Some(Value::Global(class)) = items.get(1)
                && let Some(dtype) = dtypes::storage_class(class)
            {
                // Ids of one storage may name several classes; the function that follows goes by the latest.
                if dtype != storage.dtype() || self.making.storage_types.contains_key(&storage.id()) {
                    self.making.storage_types.insert(storage.id(), dtype);
                }
            }
            return self.push(value);
        }
        let construction = Construction::Persistent;
        let object = ObjectData { construction, args: id, ..ObjectData::call(Value::None, Vec::new()) };
        self.push_new(object.into())
    }

    /// Calls, and what is done to a value after it is made.
    fn construction(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::REDUCE => {
                let (args, callable) = (self.pop()?, self.pop()?);
                // Of an enumeration's member TorchScript writes the value without a tuple around it.
                let scripted = matches!(&callable, Value::Global(class) if class.is_scripted());
                let bare = scripted && !matches!(args, Value::Tuple(_));
                let args = if bare { Value::tuple([args]) } else { args };
                let Value::Tuple(items) = &args else {
                    return Err(self.error(format!("a call's arguments are {}, not a tuple", args.describe())));
                };
                let made = known::call(&callable, items, &mut self.making)?;
                self.push_new(made.unwrap_or_else(|| object(Construction::Call, callable, args)))
            }
            op::NEWOBJ => {
                let (args, class) = (self.pop()?, self.pop()?);
                let empty = matches!(&args, Value::Tuple(items) if items.is_empty());
                let value = match &class {
                    Value::Global(class) if empty && class.is("collections", "OrderedDict") => Dict::ordered().into(),
                    _ => object(Construction::New, class, args),
                };
                self.push_new(value)
            }
            op::NEWOBJ_EX => {
                let (kwargs, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                let kwargs = Some(kwargs).filter(|kwargs| !matches!(kwargs, Value::Dict(dict) if dict.is_empty()));
                let data =
                    ObjectData { construction: Construction::New, args, kwargs, ..ObjectData::call(class, vec![]) };
                self.push_new(data.into())
            }
            op::OBJ => {
                let start = self.close_mark()?;
                if start >= self.stack.len() {
                    return Err(self.underflow());
                }
                let args = Value::Tuple(self.stack.drain(start + 1..).collect());
                self.arena.add(&args);
                let class = self.stack.pop().unwrap_or(Value::None);
                self.push_new(object(Construction::Instance, class, args))
            }
            op::INST => {
                let (module, name) = (self.input.text_line("a module")?, self.input.text_line("a name")?);
                let class = self.global(module, name)?;
                let start = self.close_mark()?;
                let args = Value::Tuple(self.stack.drain(start..).collect());
                self.arena.add(&args);
                self.push_new(object(Construction::Instance, class, args))
            }
            op::APPEND => {
                let item = self.pop()?;
                let target = self.top()?.clone();
                self.append(&target, [item])
            }
            op::APPENDS => {
                let start = self.close_mark()?;
                let items = self.stack.split_off(start);
                let target = self.top()?.clone();
                self.append(&target, items)
            }
            op::ADDITEMS => self.add_items(),
            op::SETITEM => {
                let start = self.stack.len().checked_sub(2).filter(|&start| start > self.floor());
                let start = start.ok_or_else(|| self.underflow())?;
                self.set_items_on_top(start)
            }
            op::SETITEMS => {
                let start = self.close_mark()?;
                self.set_items_on_top(start)
            }
            _ => {
                let state = self.pop()?;
                let target = self.top()?.clone();
                self.build(&target, state)
            }
        }
    }
}

fn object(construction: Construction, callable: Value, args: Value) -> Value {
    ObjectData { construction, args, ..ObjectData::call(callable, Vec::new()) }.into()
}

/// An integer of up to eight bytes, two's complement, little-endian.
fn small_int(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut filled = if negative { [0xff; 8] } else { [0; 8] };
    filled[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(filled)
}
