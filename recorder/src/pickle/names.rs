//! What a pickle names, for those who only ask that: also of one that is broken, as Python carries out what comes before
//! the break.

use std::collections::HashMap;

use indexmap::IndexSet;

use super::opcodes as op;
use super::opcodes::Argument;
use super::persistent::KeepIds;
use super::read::Machine;
use crate::value::Global;
use crate::{Error, Limits};

/// What a pickle names.
#[derive(Debug)]
pub struct Names {
    /// Every class or function it names, each once, as first seen.
    pub globals: Vec<Global>,
    /// How many bytes it takes; where it is broken, how far it could be followed.
    pub end: usize,
    /// Why it cannot be read, where it cannot.
    pub problem: Option<Error>,
}

/// Lists what the pickle at the start of `bytes` names. Where it cannot be read to its end, the opcodes after the break are
/// followed without carrying them out, so that a name cannot hide behind an error.
///
/// `place` names the pickle in errors, such as `data.pkl`.
#[must_use]
pub fn names(bytes: &[u8], place: &str, limits: &Limits) -> Names {
    let mut ids = KeepIds;
    let mut machine = Machine::new(bytes, place, limits, &mut ids);
    let problem = machine.steps().err();
    let mut globals: IndexSet<Global> = machine.globals().into_iter().collect();
    let mut end = machine.input.position();
    if problem.is_some() {
        // What is too long for a name only keeps its place.
        let short = |text: &str| if text.len() > LONGEST { String::new() } else { text.to_owned() };
        let known = |index| machine.memo.get(index).and_then(|value| value.as_str().map(short));
        let next = machine.memo.len();
        let mut sweep =
            Sweep { bytes, pos: machine.input.op_at(), strings: Vec::new(), memo: HashMap::new(), next, known };
        while let Some(global) = sweep.next_name() {
            globals.insert(global);
        }
        end = sweep.pos;
    }
    Names { globals: globals.into_iter().collect(), end, problem }
}

/// Longer texts are no names.
const LONGEST: usize = 256;

/// Follows opcodes without carrying them out.
struct Sweep<'a, F> {
    bytes: &'a [u8],
    pos: usize,
    /// The strings that the stack would end in, the latest last; at most two count.
    strings: Vec<String>,
    memo: HashMap<u64, String>,
    /// How many entries the memo has.
    next: u64,
    /// The strings of the memo as the machine left it.
    known: F,
}

impl<F: Fn(u64) -> Option<String>> Sweep<'_, F> {
    /// The next name; `None` at the end of the pickle, or where there is no opcode.
    fn next_name(&mut self) -> Option<Global> {
        loop {
            let opcode = *self.bytes.get(self.pos)?;
            if opcode == op::STOP {
                return None;
            }
            let (_, argument) = op::describe(opcode)?;
            self.pos += 1;
            let found = match argument {
                Argument::TwoLines => {
                    let (module, name) = (self.line()?, self.line()?);
                    Some((module, name))
                }
                Argument::None if opcode == op::STACK_GLOBAL => {
                    let name = self.strings.pop();
                    self.strings.pop().zip(name)
                }
                Argument::None => {
                    if opcode == op::MEMOIZE {
                        self.put(self.next);
                    }
                    None
                }
                Argument::Line => {
                    let line = self.line()?;
                    self.text(opcode, line);
                    None
                }
                Argument::Fixed(width) => {
                    let index = little_endian(self.take(width as u64)?);
                    self.index(opcode, index);
                    None
                }
                Argument::Counted(width) | Argument::CountedSigned(width) => {
                    let length = little_endian(self.take(width as u64)?);
                    let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                    self.text(opcode, text);
                    None
                }
            };
            // After a break the stream may be out of step: only what can be a name counts.
            if let Some((module, name)) = found
                && [&module, &name].iter().all(|text| is_name(text))
            {
                return Some(Global::new(&module, &name));
            }
        }
    }

    fn take(&mut self, count: u64) -> Option<&[u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.pos.checked_add(count))?;
        let taken = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(taken)
    }

    fn line(&mut self) -> Option<String> {
        let rest = self.bytes.get(self.pos..)?;
        let length = rest.iter().position(|&byte| byte == b'\n')?;
        self.pos += length + 1;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn text(&mut self, opcode: u8, text: String) {
        match opcode {
            op::GET | op::PUT => {
                if let Ok(index) = text.trim().parse() {
                    self.index(opcode, index);
                }
            }
            op::STRING | op::UNICODE => self.push(text.trim_matches(['\'', '"']).to_owned()),
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 | op::BINSTRING | op::SHORT_BINSTRING => {
                self.push(text);
            }
            _ => {}
        }
    }

    fn index(&mut self, opcode: u8, index: u64) {
        match opcode {
            op::BINGET | op::LONG_BINGET | op::GET => {
                if let Some(text) = self.memo.get(&index).cloned().or_else(|| (self.known)(index)) {
                    self.push(text);
                }
            }
            op::BINPUT | op::LONG_BINPUT | op::PUT => self.put(index),
            _ => {}
        }
    }

    fn put(&mut self, index: u64) {
        self.next += 1;
        if let Some(text) = self.strings.last() {
            self.memo.insert(index, text.clone());
        }
    }

    fn push(&mut self, text: String) {
        if self.strings.len() > 1 {
            self.strings.remove(0);
        }
        self.strings.push(if text.len() > LONGEST { String::new() } else { text });
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number.wrapping_shl(8) | u64::from(byte))
}

/// Whether it may be the name of a module, class or function.
fn is_name(text: &str) -> bool {
    let part = |part: &str| part.chars().all(|c| c.is_alphanumeric() || c == '_') && !part.is_empty();
    text.len() <= LONGEST && text.split('.').all(part)
}
