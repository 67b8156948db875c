//! `Output`: the bytes of a pickle as CPython's own pickler lays them out at protocol 2, and what was put into its memo by
//! content: strings, names, storages.

use std::collections::HashMap;
use std::sync::Arc;

use num_bigint::BigInt;

use crate::pickle::opcodes as op;
use crate::pickle::persistent::Dialect;
use crate::{DType, Global, Storage};

/// How a storage stands in the pickle.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// Its key, and its place among the storages.
    number: usize,
    /// The class that its first user gave it; `None` for an `UntypedStorage`.
    pub(crate) class: Option<DType>,
}

/// A storage's identity. An empty one has no data to share: it has a slot for each class.
type SlotKey = (usize, Option<Option<DType>>);

#[derive(Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    pub(crate) storages: Vec<Storage>,
    /// The class that each has.
    pub(crate) classes: Vec<Option<DType>>,
    /// Entries put into the memo so far.
    memoised: u32,
    strings: HashMap<Arc<str>, u32>,
    globals: HashMap<Global, u32>,
    layouts: HashMap<Arc<str>, u32>,
    slots: HashMap<SlotKey, Slot>,
}

impl Output {
    pub(crate) fn op(&mut self, opcode: u8) {
        self.bytes.push(opcode);
    }

    /// Puts what is on top of the stack into the memo.
    pub(crate) fn put(&mut self) -> u32 {
        let index = self.memoised;
        self.memoised += 1;
        match u8::try_from(index) {
            Ok(short) => self.bytes.extend([op::BINPUT, short]),
            Err(_) => self.long(op::LONG_BINPUT, index),
        }
        index
    }

    pub(crate) fn get(&mut self, index: u32) {
        match u8::try_from(index) {
            Ok(short) => self.bytes.extend([op::BINGET, short]),
            Err(_) => self.long(op::LONG_BINGET, index),
        }
    }

    fn long(&mut self, opcode: u8, argument: u32) {
        self.op(opcode);
        self.bytes.extend(argument.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.op(if value { op::NEWTRUE } else { op::NEWFALSE });
    }

    pub(crate) fn int(&mut self, value: i64) {
        if let Ok(byte) = u8::try_from(value) {
            self.bytes.extend([op::BININT1, byte]);
        } else if let Ok(short) = u16::try_from(value) {
            self.op(op::BININT2);
            self.bytes.extend(short.to_le_bytes());
        } else if let Ok(word) = i32::try_from(value) {
            self.op(op::BININT);
            self.bytes.extend(word.to_le_bytes());
        } else {
            self.big(&BigInt::from(value).to_signed_bytes_le());
        }
    }

    pub(crate) fn count(&mut self, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.big(&BigInt::from(value).to_signed_bytes_le()),
        }
    }

    /// An integer beyond 32 bits: two's complement, little-endian.
    pub(crate) fn big(&mut self, bytes: &[u8]) {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.bytes.extend([op::LONG1, length]),
            // Beyond 2 GiB the memory is gone long before.
            Err(_) => self.long(op::LONG4, u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        }
        self.bytes.extend(bytes);
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.op(op::BINFLOAT);
        self.bytes.extend(value.to_be_bytes());
    }

    /// A string, or what was put for it before. Text is limited to 4 GiB.
    pub(crate) fn string(&mut self, text: &Arc<str>) {
        if let Some(&index) = self.strings.get(text) {
            return self.get(index);
        }
        let index = self.text(text.as_bytes());
        self.strings.insert(Arc::clone(text), index);
    }

    pub(crate) fn str(&mut self, text: &str) {
        if let Some(&index) = self.strings.get(text) {
            return self.get(index);
        }
        self.string(&text.into());
    }

    /// The bytes of a string, which may have lone surrogates.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> u32 {
        match u32::try_from(bytes.len()) {
            Ok(length) => self.long(op::BINUNICODE, length),
            Err(_) => {
                self.op(op::BINUNICODE8);
                self.bytes.extend((bytes.len() as u64).to_le_bytes());
            }
        }
        self.bytes.extend(bytes);
        self.put()
    }

    /// A class or function by its name.
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.named(&Global::new(module, name));
    }

    pub(crate) fn named(&mut self, global: &Global) {
        if let Some(&index) = self.globals.get(global) {
            return self.get(index);
        }
        self.op(op::GLOBAL);
        for line in [&global.module, &global.name] {
            self.bytes.extend(line.as_bytes());
            self.op(b'\n');
        }
        let index = self.put();
        self.globals.insert(global.clone(), index);
    }

    /// What comes before the items of a tuple.
    pub(crate) fn open_tuple(&mut self, length: usize) {
        if length > 3 {
            self.op(op::MARK);
        }
    }

    /// A tuple that nothing refers to again, of items that were just written. An empty one is never put into the memo.
    pub(crate) fn finish_tuple(&mut self, length: usize) {
        self.op(tuple_opcode(length));
        if length > 0 {
            self.put();
        }
    }

    /// A tuple of lengths or strides.
    pub(crate) fn counts(&mut self, counts: &[usize]) {
        self.open_tuple(counts.len());
        counts.iter().for_each(|&count| self.count(count as u64));
        self.finish_tuple(counts.len());
    }

    /// Calls what was written before with the tuple that was just written.
    pub(crate) fn reduce(&mut self) -> u32 {
        self.op(op::REDUCE);
        self.put()
    }

    /// An empty `OrderedDict`, new.
    pub(crate) fn ordered_dict(&mut self) -> u32 {
        self.global("collections", "OrderedDict");
        self.op(op::EMPTY_TUPLE);
        self.reduce()
    }

    /// Bytes as the characters of the same numbers, which is how they are written before protocol 3.
    pub(crate) fn encoded(&mut self, bytes: &[u8]) -> u32 {
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        self.global("_codecs", "encode");
        self.str(&text);
        self.str("latin1");
        self.finish_tuple(2);
        self.reduce()
    }

    /// A layout by PyTorch's name.
    pub(crate) fn layout(&mut self, layout: &Arc<str>) {
        if let Some(&index) = self.layouts.get(layout) {
            return self.get(index);
        }
        self.global("torch.serialization", "_get_layout");
        self.string(layout);
        self.finish_tuple(1);
        let index = self.reduce();
        self.layouts.insert(Arc::clone(layout), index);
    }

    /// How this storage stands in the pickle already.
    pub(crate) fn slot(&self, storage: &Storage, class: Option<DType>) -> Option<Slot> {
        self.slots.get(&slot_key(storage, class)).copied()
    }

    /// Refers to a storage as one of this class.
    pub(crate) fn storage(&mut self, storage: &Storage, class: Option<DType>, dialect: Dialect) {
        let new = Slot { number: self.storages.len(), class };
        let slot = *self.slots.entry(slot_key(storage, class)).or_insert(new);
        if slot.number == self.storages.len() {
            self.storages.push(storage.clone());
            self.classes.push(class);
        }
        let length = if dialect == Dialect::Legacy { 6 } else { 5 };
        self.open_tuple(length);
        self.str("storage");
        match class.and_then(DType::storage_class) {
            Some(name) => self.global("torch", name),
            None => self.global("torch.storage", "UntypedStorage"),
        }
        let key = slot.number.to_string();
        if dialect == Dialect::Legacy {
            // PyTorch makes a new string of the address each time.
            self.text(key.as_bytes());
        } else {
            self.str(&key);
        }
        self.str(storage.location());
        self.count(storage.len() / class.map_or(1, DType::size) as u64);
        if dialect == Dialect::Legacy {
            self.op(op::NONE);
        }
        self.finish_tuple(length);
        self.op(op::BINPERSID);
    }
}

fn slot_key(storage: &Storage, class: Option<DType>) -> SlotKey {
    (storage.id(), storage.is_empty().then_some(class))
}

/// The opcode that makes a tuple of the items written, and of the mark before them where there are more than three.
pub(crate) fn tuple_opcode(length: usize) -> u8 {
    match length {
        0 => op::EMPTY_TUPLE,
        1 => op::TUPLE1,
        2 => op::TUPLE2,
        3 => op::TUPLE3,
        _ => op::TUPLE,
    }
}
