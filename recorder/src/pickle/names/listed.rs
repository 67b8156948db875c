//! What a pickle names, for those who only ask that: also of one that is broken, as Python carries out what comes before
//! the break, and what comes after it tells what the file is about.
//!
//! The opcodes are followed, not carried out: the stack and the memo hold where strings stand in the bytes, and nothing of
//! all else but that it is there. So the cost is a few bytes an opcode, whatever the opcodes would make, and no argument can
//! stop the reading: where Python would give up, the reason is noted, and the next opcode follows.

mod inner;
mod texts;

use std::collections::HashSet;

use indexmap::{Equivalent, IndexMap};

pub use inner::{Inner, InnerBytes};

use crate::pickle::memo::Memo;
use crate::pickle::names::verdict::python3_name;
use crate::pickle::opcodes as op;
use crate::pickle::opcodes::{Argument, Makes};
use crate::{Error, ErrorKind, Global, Limits, Value};

/// What a pickle names.
#[derive(Debug)]
#[non_exhaustive]
pub struct Names {
    /// Every class or function it names, each once, as first seen.
    pub globals: Vec<Global>,
    /// What it does with each of them.
    pub uses: Vec<Use>,
    /// How many bytes it takes; where it is broken, how far it could be followed.
    pub end: usize,
    /// Why it cannot be read, where it cannot: the first reason.
    pub problem: Option<Error>,
    /// The bytes in it that may be unpickled in turn: the literals that stand in it, and whether a name in it loads them.
    pub inner: Vec<Inner>,
    /// Why the names are not all that Python might call, where they are not: a name is made while the pickle is loaded, is
    /// none that a program would have, or the opcodes lie so that Python's own readers disagree on them.
    pub deception: Option<Error>,
}

/// What a pickle does with a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Use {
    /// It is called, and not only made an instance of.
    pub called: bool,
    /// It is `getattr`, and each time takes an attribute of a class or function by a text that stands in the file: another name,
    /// which is listed, too.
    pub names_alone: bool,
    /// It is `torch.storage._load_from_bytes`, and each time loads bytes that stand in the file ([`Names::inner`]).
    pub loads_literals: bool,
}

/// Lists what the pickle at the start of `bytes` names. Where it cannot be read to its end, what follows the break is
/// listed, too, so that a name cannot hide behind an error.
///
/// `place` names the pickle in errors, such as `data.pkl`. Of `limits`, [`Limits::pickle_bytes`] and [`Limits::value_bytes`]
/// count; one that is exceeded is the `problem`.
#[must_use]
pub fn names(bytes: &[u8], place: &str, limits: &Limits) -> Names {
    let mut reader = Reader {
        bytes,
        place,
        limits,
        pos: 0,
        op_at: 0,
        frame_end: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
        globals: IndexMap::new(),
        pairs: Vec::new(),
        firsts: Vec::new(),
        inner: IndexMap::new(),
        encoded: HashSet::new(),
        held: 0,
        problem: None,
        deception: None,
    };
    if bytes.len() as u64 > limits.pickle_bytes.min(u32::MAX.into()) {
        reader.problem = Some(Error::limit(format!("{place} of {} bytes", bytes.len()), limits.pickle_bytes));
    } else {
        while reader.step().is_some() {}
    }
    let inner = reader.inner();
    let Reader { globals, pos: end, problem, deception, .. } = reader;
    let (globals, uses) = globals.into_iter().map(|(global, seen)| (global, Use::from(seen))).unzip();
    Names { globals, uses, end, problem, inner, deception }
}

/// Longer texts are no names: a module, a class and the way through it.
const LONGEST: usize = 1024;
/// Bytes charged for a name beyond its text.
const NAME: u64 = 192;

/// A name that is looked up among those seen, without making it.
#[derive(Hash)]
pub(crate) struct Name<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl Equivalent<Global> for Name<'_> {
    fn equivalent(&self, global: &Global) -> bool {
        global.is(self.0, self.1)
    }
}

/// What is known of a value on the stack or in the memo.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// The string of the opcode at this byte.
    Text(u32),
    /// The bytes of the opcode at this byte, or those that its text stands for.
    Bytes(u32),
    /// A text, and that its letters are bytes: the place of the text.
    Texts(u32),
    /// A tuple of nothing but these bytes.
    Given(u32),
    /// The name of this number.
    Name(u32),
    /// A name and a text, such as `getattr` takes: their number.
    Pair(u32),
    /// Another tuple that begins with names: their number.
    Names(u32),
    /// What a call, a name or something outside of the pickle gives: it may be a string.
    Made,
    /// Anything else: no string, whatever is done to it.
    Plain,
}

/// What an opcode leaves on the stack.
enum Push {
    Nothing,
    Cell(Cell),
}

/// What was seen of a name so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// How often it came onto the stack, for `getattr`.
    times: u32,
    /// How often it then took an attribute by a text.
    looked_up: u32,
    /// How often it loaded bytes that stand in the file.
    loaded: u32,
    called: bool,
}

impl From<Seen> for Use {
    fn from(seen: Seen) -> Use {
        Use {
            called: seen.called,
            names_alone: seen.looked_up > 0 && seen.looked_up == seen.times,
            loads_literals: seen.loaded > 0 && seen.loaded == seen.times,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: &'a str,
    limits: &'a Limits,
    /// Where the next byte is.
    pos: usize,
    /// Where the opcode is that is being followed.
    op_at: usize,
    /// Where the frame ends that the place is in, or was in last.
    frame_end: usize,
    stack: Vec<Cell>,
    /// The length of the stack at each mark that is open.
    marks: Vec<u32>,
    memo: Memo<Cell>,
    globals: IndexMap<Global, Seen>,
    /// Names with texts: the number of the name, and where the text stands.
    pairs: Vec<(u32, u32)>,
    /// The names that tuples begin with: of each the first two items, where they are names.
    firsts: Vec<[Option<u32>; 2]>,
    /// Where bytes stand that may be unpickled, and whether a name loads them.
    inner: IndexMap<u32, bool>,
    /// The texts that were looked at as bytes.
    encoded: HashSet<u32>,
    /// Bytes held by names and by the memo.
    held: u64,
    problem: Option<Error>,
    deception: Option<Error>,
}

impl<'a> Reader<'a> {
    /// Follows one opcode; `None` at the end, or where there is no opcode.
    fn step(&mut self) -> Option<()> {
        self.op_at = self.pos;
        let Some(&opcode) = self.bytes.get(self.pos) else {
            self.cut_off("before it stops");
            return None;
        };
        let Some((name, argument)) = op::describe(opcode) else {
            self.problem(format!("{opcode:#04x} is no pickle opcode"));
            return None;
        };
        self.pos += 1;
        let Some(bytes) = self.argument(argument) else {
            self.cut_off(&format!("in the middle of {name}"));
            return None;
        };
        if self.op_at < self.frame_end && (self.pos > self.frame_end || opcode == op::FRAME) {
            self.deception("an opcode leads out of its frame: Python's own readers disagree on what follows");
        }
        if let Push::Cell(cell) = self.follow(opcode, bytes) {
            self.stack.push(cell);
        }
        let cells = (self.stack.len() + self.marks.len()) * size_of::<Cell>();
        if self.held + cells as u64 > self.limits.value_bytes {
            let limit = Error::limit(format!("following {}", self.place), self.limits.value_bytes);
            self.problem.get_or_insert(limit);
            return None;
        }
        (opcode != op::STOP).then_some(())
    }

    /// The argument of an opcode, without its length; two lines as one.
    fn argument(&mut self, argument: Argument) -> Option<&'a [u8]> {
        match argument {
            Argument::None => Some(&[]),
            Argument::Fixed(width) => self.take(width as u64),
            Argument::Line => self.lines(1),
            Argument::TwoLines => self.lines(2),
            Argument::Counted(width) | Argument::CountedSigned(width) => {
                let count = little_endian(self.take(width as u64)?);
                self.take(count)
            }
        }
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.pos.checked_add(count))?;
        let taken = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(taken)
    }

    /// The next lines, without the last newline.
    fn lines(&mut self, count: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.pos..)?;
        let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (length, _) = ends.nth(count - 1)?;
        self.pos += length + 1;
        rest.get(..length)
    }

    fn follow(&mut self, opcode: u8, bytes: &'a [u8]) -> Push {
        let cell = match opcode {
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => self.literal(opcode, bytes),
            _ if op::makes(opcode) == Some(Makes::Plain) => Cell::Plain,
            _ if op::makes(opcode) == Some(Makes::Text) => {
                if matches!(opcode, op::BINSTRING | op::SHORT_BINSTRING) {
                    self.literal(opcode, bytes);
                }
                self.text()
            }
            op::TUPLE1 => self.tuple(1),
            op::TUPLE2 => self.tuple(2),
            op::TUPLE3 => self.tuple(3),
            op::TUPLE => {
                let count = self.stack.len().saturating_sub(self.floor());
                let cell = if self.marks.is_empty() { Cell::Plain } else { self.pair(count) };
                self.replace_to_mark(cell)
            }
            op::LIST | op::DICT | op::FROZENSET => self.replace_to_mark(Cell::Plain),
            op::BINPERSID => self.replace(1, Cell::Made),
            op::REDUCE => self.reduce(),
            op::NEWOBJ => self.replace(2, Cell::Made),
            op::NEWOBJ_EX => self.replace(3, Cell::Made),
            op::OBJ => {
                self.call(self.stack.get(self.floor()).copied());
                self.replace_to_mark(Cell::Made)
            }
            op::PERSID => Cell::Made,
            op::DUP => {
                let top = self.top();
                self.again(top)
            }
            op::BINGET | op::LONG_BINGET | op::GET => {
                let cell = self.remembered(opcode, bytes);
                self.again(cell)
            }
            op::GLOBAL => self.global_of_lines(bytes),
            op::INST => {
                let class = self.global_of_lines(bytes);
                self.call(Some(class));
                self.replace_to_mark(Cell::Made)
            }
            op::STACK_GLOBAL => self.stack_global(),
            op::EXT1 | op::EXT2 | op::EXT4 => {
                self.problem("it uses the extension registry of the program that wrote it, which no file carries");
                Cell::Made
            }
            op::NEXT_BUFFER => {
                self.problem("it refers to a buffer outside of the pickle, which no file carries");
                Cell::Made
            }
            _ => {
                self.act(opcode, bytes);
                return Push::Nothing;
            }
        };
        Push::Cell(cell)
    }

    /// Opcodes that push nothing.
    fn act(&mut self, opcode: u8, bytes: &[u8]) {
        match opcode {
            op::MARK => self.marks.push(u32::try_from(self.stack.len()).unwrap_or(u32::MAX)),
            op::POP if self.stack.len() > self.floor() || self.marks.is_empty() => self.pop(1),
            op::POP => drop(self.marks.pop()),
            op::POP_MARK | op::APPENDS | op::SETITEMS | op::ADDITEMS => self.pop_to_mark(),
            op::APPEND | op::BUILD | op::STOP => self.pop(1),
            op::SETITEM => self.pop(2),
            op::MEMOIZE => self.remember(Some(self.memo.len())),
            op::BINPUT | op::LONG_BINPUT | op::PUT => self.remember(index(opcode, bytes)),
            op::FRAME => {
                let length = usize::try_from(little_endian(bytes)).unwrap_or(usize::MAX);
                self.frame_end = self.pos.saturating_add(length);
                if self.frame_end > self.bytes.len() {
                    self.cut_off("in the middle of a frame");
                }
            }
            op::PROTO if bytes.first().is_some_and(|&protocol| protocol > 5) => {
                self.problem("its protocol is not known");
            }
            _ => {}
        }
    }

    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn pop(&mut self, count: usize) {
        let left = self.stack.len().saturating_sub(count);
        if left < self.floor() || count > self.stack.len() {
            self.problem("an opcode finds nothing on the stack");
        }
        self.stack.truncate(left);
    }

    fn pop_to_mark(&mut self) {
        match self.marks.pop() {
            Some(mark) => self.stack.truncate(mark as usize),
            None => self.problem("an opcode finds no mark"),
        }
    }

    fn replace(&mut self, count: usize, with: Cell) -> Cell {
        self.pop(count);
        with
    }

    fn replace_to_mark(&mut self, with: Cell) -> Cell {
        self.pop_to_mark();
        with
    }

    /// What is on top; what is not there may be anything.
    fn top(&mut self) -> Cell {
        if self.stack.len() <= self.floor() {
            self.problem("an opcode finds nothing on the stack");
        }
        self.stack.last().copied().unwrap_or(Cell::Made)
    }

    fn text(&self) -> Cell {
        u32::try_from(self.op_at).map_or(Cell::Made, Cell::Text)
    }

    fn remember(&mut self, index: Option<u64>) {
        let top = self.top();
        let Some(index) = index else { return self.problem("the number of a memo entry is no number") };
        self.held += 2 * size_of::<Cell>() as u64;
        self.memo.put(index, top);
    }

    fn remembered(&mut self, opcode: u8, bytes: &[u8]) -> Cell {
        let found = index(opcode, bytes).and_then(|index| self.memo.get(index).copied());
        found.unwrap_or_else(|| {
            self.problem("there is no memo entry of this number");
            Cell::Made
        })
    }

    fn global_of_lines(&mut self, lines: &[u8]) -> Cell {
        let (module, name) = lines.split_at(lines.iter().position(|&byte| byte == b'\n').unwrap_or(lines.len()));
        match (std::str::from_utf8(module), std::str::from_utf8(name.get(1..).unwrap_or_default())) {
            (Ok(module), Ok(name)) => return self.global(module, name),
            _ => self.problem("a name is no UTF-8 text"),
        }
        Cell::Made
    }

    /// A tuple of the last cells.
    fn tuple(&mut self, count: usize) -> Cell {
        let cell = self.pair(count);
        self.replace(count, cell)
    }

    /// What the last cells are together: names and texts, or nothing of interest.
    fn pair(&mut self, count: usize) -> Cell {
        let last = self.stack.len().checked_sub(2).and_then(|from| self.stack.get(from..));
        match (count, last) {
            (2, Some(&[Cell::Name(name), Cell::Text(text)])) => {
                self.held += size_of::<(u32, u32)>() as u64;
                self.pairs.push((name, text));
                u32::try_from(self.pairs.len() - 1).map_or(Cell::Plain, Cell::Pair)
            }
            (2, Some(&[Cell::Text(first), Cell::Text(codec)])) if self.is_latin1(codec) => Cell::Texts(first),
            (1, _) if let Some(&Cell::Bytes(at)) = self.stack.last() => Cell::Given(at),
            _ => {
                let items =
                    self.stack.len().checked_sub(count).and_then(|from| self.stack.get(from..)).unwrap_or_default();
                let name = |place: usize| match items.get(place) {
                    Some(&Cell::Name(name)) => Some(name),
                    _ => None,
                };
                let firsts = [name(0), name(1)];
                if firsts == [None, None] {
                    return Cell::Plain;
                }
                self.held += size_of::<[Option<u32>; 2]>() as u64;
                self.firsts.push(firsts);
                u32::try_from(self.firsts.len() - 1).map_or(Cell::Plain, Cell::Names)
            }
        }
    }

    /// A call. `getattr` of a name, by a text in the file, is another name.
    fn reduce(&mut self) -> Cell {
        let last = self.stack.len().checked_sub(2).and_then(|from| self.stack.get(from..));
        let operands = last.and_then(|last| <[Cell; 2]>::try_from(last).ok()).unwrap_or([Cell::Made; 2]);
        self.pop(2);
        let [Cell::Name(callee), arguments] = operands else { return Cell::Made };
        let is_getattr = self.globals.get_index(callee as usize).is_some_and(|(name, _)| is_getattr(name));
        if let (true, Cell::Pair(pair)) = (is_getattr, arguments)
            && let Some(&(of, text)) = self.pairs.get(pair as usize)
            && let Some(Value::Str(attribute)) = self.text_at(text)
            && let Some((of, _)) = self.globals.get_index(of as usize)
        {
            let (module, name) = (of.module.to_string(), format!("{}.{attribute}", of.name));
            if let Some((_, seen)) = self.globals.get_index_mut(callee as usize) {
                seen.looked_up += 1;
            }
            return self.global(&module, &name);
        }
        if let Some(bytes) = self.of_bytes(callee, arguments) {
            return bytes;
        }
        // Some call what they are given.
        if let Cell::Names(place) = arguments
            && let Some((name, _)) = self.globals.get_index(callee as usize)
        {
            let through = CALLERS.iter().filter(|row| name.is(row.0, row.1)).map(|row| row.2);
            let firsts = self.firsts.get(place as usize).copied().unwrap_or_default();
            let called: Vec<u32> = through.filter_map(|place| firsts.get(place).copied().flatten()).collect();
            called.into_iter().for_each(|name| self.call(Some(Cell::Name(name))));
        }
        self.call(Some(Cell::Name(callee)));
        Cell::Made
    }

    /// Notes that what is in a cell is called.
    fn call(&mut self, callee: Option<Cell>) {
        if let Some(Cell::Name(name)) = callee
            && let Some((_, seen)) = self.globals.get_index_mut(name as usize)
        {
            seen.called = true;
        }
    }

    /// What comes onto the stack once more.
    fn again(&mut self, cell: Cell) -> Cell {
        if let Cell::Name(name) = cell
            && let Some((_, seen)) = self.globals.get_index_mut(name as usize)
        {
            seen.times = seen.times.saturating_add(1);
        }
        cell
    }

    fn stack_global(&mut self) -> Cell {
        let last = self.stack.len().checked_sub(2).and_then(|from| self.stack.get(from..));
        let operands = last.and_then(|last| <[Cell; 2]>::try_from(last).ok()).unwrap_or([Cell::Made; 2]);
        self.pop(2);
        match operands {
            [Cell::Text(module), Cell::Text(name)] => match (self.text_at(module), self.text_at(name)) {
                (Some(Value::Str(module)), Some(Value::Str(name))) => return self.global(&module, &name),
                (Some(_), Some(_)) => self.problem("a name is no Unicode text"),
                _ => self.deception("a name in it is longer than any name"),
            },
            [first, second]
                if [first, second].iter().any(|cell| !matches!(cell, Cell::Text(_) | Cell::Name(_) | Cell::Made)) =>
            {
                self.problem("STACK_GLOBAL needs two strings");
            }
            _ => self.deception("a name in it is made while it is loaded, so that it cannot be told"),
        }
        Cell::Made
    }

    fn global(&mut self, module: &str, name: &str) -> Cell {
        if module.len() + name.len() > LONGEST {
            self.deception("a name in it is longer than any name");
            return Cell::Made;
        }
        let index = self.globals.get_index_of(&Name(module, name)).unwrap_or_else(|| {
            self.held += NAME + (module.len() + name.len()) as u64;
            self.globals.insert_full(Global::new(module, name), Seen::default()).0
        });
        let cell = u32::try_from(index).map_or(Cell::Made, Cell::Name);
        self.again(cell)
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::new(ErrorKind::Pickle { offset: self.op_at as u64, reason: reason.into() }).at(self.place)
    }

    fn problem(&mut self, reason: impl Into<String>) {
        if self.problem.is_none() {
            self.problem = Some(self.error(reason));
        }
    }

    fn deception(&mut self, reason: &str) {
        if self.deception.is_none() {
            self.deception = Some(self.error(reason));
        }
        self.problem(reason);
    }

    fn cut_off(&mut self, when: &str) {
        if self.problem.is_none() {
            let (place, len) = (self.place, self.bytes.len());
            self.problem = Some(Error::truncated(format!("{place} ends at byte {len}, {when}")));
        }
    }
}

/// Functions that call what they are given, and the place of that among their arguments.
const CALLERS: &[(&str, &str, usize)] = &[
    ("torch._tensor", "_rebuild_from_type_v2", 0),
    ("torch._tensor", "_rebuild_from_type", 0),
    ("fastai.torch_core", "_fa_rebuild_tensor", 0),
    ("fastai.torch_core", "_fa_rebuild_qtensor", 0),
    ("fastai.torch_core", "_rebuild_from_type", 0),
    ("copy_reg", "_reconstructor", 1),
    ("copyreg", "_reconstructor", 1),
    ("__builtin__", "iter", 0),
    ("builtins", "iter", 0),
];

fn is_getattr(name: &Global) -> bool {
    let (module, name) = python3_name(&name.module, &name.name);
    (module, name) == ("builtins", "getattr")
}

/// The number of a memo entry.
fn index(opcode: u8, bytes: &[u8]) -> Option<u64> {
    match opcode {
        op::GET | op::PUT => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        _ => Some(little_endian(bytes)),
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
