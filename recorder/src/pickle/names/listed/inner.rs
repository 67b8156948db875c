//! Bytes that stand in a pickle and may be unpickled in turn: what `torch.storage._load_from_bytes` loads, as every storage is written by
//! `pickle.dump`, and whatever else begins as a file that holds pickles.

use std::ops::Range;

use crate::Value;
use crate::pickle::names::listed::{Cell, Reader, little_endian};
use crate::pickle::opcodes::{self as op, Argument};
use crate::pickle::{begins, text};

/// Bytes that stand in a pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inner {
    /// The byte of the pickle where their opcode is.
    pub at: usize,
    /// They themselves.
    pub bytes: InnerBytes,
    /// Whether `torch.storage._load_from_bytes` loads them.
    pub loaded: bool,
}

/// The bytes of a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InnerBytes {
    /// As they stand in the pickle.
    There(Range<usize>),
    /// Written as text, as protocols before 3 write bytes.
    Decoded(Vec<u8>),
}

impl Reader<'_> {
    /// The literal of the opcode at hand.
    pub(super) fn literal(&mut self, opcode: u8, bytes: &[u8]) -> Cell {
        let Ok(at) = u32::try_from(self.op_at) else { return Cell::Plain };
        if begins::as_file(bytes) {
            self.carry(at, false);
        }
        // A bytearray can be changed by the opcodes that follow.
        if opcode == op::BYTEARRAY8 { Cell::Plain } else { Cell::Bytes(at) }
    }

    /// What a call gives that makes bytes of a text, or loads bytes; `None` for every other.
    pub(super) fn of_bytes(&mut self, callee: u32, arguments: Cell) -> Option<Cell> {
        let (name, _) = self.globals.get_index(callee as usize)?;
        let (encodes, loads) = (name.is("_codecs", "encode"), name.is("torch.storage", "_load_from_bytes"));
        match arguments {
            Cell::Texts(at) if encodes => {
                self.call(Some(Cell::Name(callee)));
                if self.encoded.insert(at) {
                    self.held += 2 * size_of::<u32>() as u64;
                    if self.decoded(at).is_some_and(|bytes| begins::as_file(&bytes)) {
                        self.carry(at, false);
                    }
                }
                Some(Cell::Bytes(at))
            }
            Cell::Given(at) if loads => {
                self.carry(at, true);
                self.call(Some(Cell::Name(callee)));
                if let Some((_, seen)) = self.globals.get_index_mut(callee as usize) {
                    seen.loaded += 1;
                }
                Some(Cell::Made)
            }
            _ => None,
        }
    }

    /// Whether a text names the codec whose bytes are the letters.
    pub(super) fn is_latin1(&self, at: u32) -> bool {
        self.text_at(at).is_some_and(|codec| matches!(codec.as_str(), Some("latin1" | "latin-1")))
    }

    /// Notes bytes that may be unpickled.
    fn carry(&mut self, at: u32, loaded: bool) {
        self.held += 2 * size_of::<(u32, bool)>() as u64;
        *self.inner.entry(at).or_default() |= loaded;
    }

    /// The bytes that a text stands for.
    fn decoded(&self, at: u32) -> Option<Vec<u8>> {
        match self.text_within(at, usize::MAX)? {
            Value::Str(letters) => text::to_latin1(&letters),
            _ => None,
        }
    }

    /// The bytes that may be unpickled.
    pub(super) fn inner(&self) -> Vec<Inner> {
        let read = |(&at, &loaded): (&u32, &bool)| {
            let start = at as usize;
            let opcode = *self.bytes.get(start)?;
            let bytes = match op::describe(opcode)?.1 {
                Argument::Counted(width) | Argument::CountedSigned(width) if !is_unicode(opcode) => {
                    let first = start + 1 + width;
                    let length = little_endian(self.bytes.get(start + 1..first)?);
                    InnerBytes::There(first..first.checked_add(usize::try_from(length).ok()?)?)
                }
                _ => InnerBytes::Decoded(self.decoded(at)?),
            };
            Some(Inner { at: start, bytes, loaded })
        };
        self.inner.iter().filter_map(read).collect()
    }
}

fn is_unicode(opcode: u8) -> bool {
    matches!(opcode, op::UNICODE | op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8)
}
