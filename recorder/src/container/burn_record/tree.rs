//! `MessagePack` and JSON -> a tree of plain values. Both say what they hold, so one visitor reads them; each value is charged
//! to the limits before it is kept.

use std::fmt;
use std::io::ErrorKind::UnexpectedEof;
use std::sync::Arc;

use bytes::Bytes;
use rmp_serde::decode::Error as Decode;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::container::burnpack::Budget;
use crate::{Error, Limits, Result};

/// A record's tree is as deep as its modules nest. Deeper ones are refused: they would cost stack.
const DEPTH: usize = 200;

/// A value of a record.
#[derive(Debug)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Bytes),
    Seq(Vec<Node>),
    Map(Vec<(Arc<str>, Node)>),
}

/// A map of a few entries that begins with `metadata`.
pub(super) fn is_message_pack(head: &[u8]) -> bool {
    head.first().is_some_and(|first| first & 0xf0 == 0x80)
        && head.get(1..).is_some_and(|rest| rest.starts_with(b"\xa8metadata"))
}

/// The same in JSON, where an index of shards also begins with `metadata`.
pub(super) fn is_json(head: &[u8]) -> bool {
    let bare: Vec<u8> = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(32).collect();
    bare.starts_with(b"{\"metadata\":{\"float\":")
}

/// Reads `MessagePack`; the bytes of tensors are slices of `file`.
pub(super) fn message_pack(file: &Bytes, limits: &Limits) -> Result<Node> {
    let mut state = State::new(file, limits);
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(&**file);
    // Ours strikes first.
    deserializer.set_max_depth(state.depth + 2);
    let read = state.root().deserialize(&mut deserializer);
    let node = read.map_err(|error| {
        let cut = matches!(&error, Decode::InvalidMarkerRead(io) | Decode::InvalidDataRead(io)
            if io.kind() == UnexpectedEof);
        state.failed(&error, cut)
    })?;
    // The reader does not tell where it stands; one more value must not be there.
    match IgnoredAny::deserialize(&mut deserializer) {
        Err(Decode::InvalidMarkerRead(io)) if io.kind() == UnexpectedEof => Ok(node),
        _ => Err(Error::damaged("the end of the record", "more bytes follow it")),
    }
}

/// Reads JSON.
pub(super) fn json(file: &Bytes, limits: &Limits) -> Result<Node> {
    let mut state = State::new(file, limits);
    let mut deserializer = serde_json::Deserializer::from_slice(file);
    let read = state.root().deserialize(&mut deserializer);
    let node = read.and_then(|node| deserializer.end().map(|()| node)).map_err(|error| {
        let cut = error.is_eof();
        state.failed(&error, cut)
    })?;
    Ok(node)
}

/// What one reading knows.
struct State<'a> {
    file: &'a Bytes,
    budget: Budget<'a>,
    depth: usize,
    /// The names of the maps' entries that lead to the value being read.
    path: Vec<Arc<str>>,
    /// An error of ours that goes through serde's hands.
    error: Option<Error>,
}

impl<'a> State<'a> {
    fn new(file: &'a Bytes, limits: &'a Limits) -> Self {
        State { file, budget: Budget::new(limits), depth: limits.depth.min(DEPTH), path: Vec::new(), error: None }
    }

    fn root(&mut self) -> Seed<'_, 'a> {
        let depth = self.depth;
        Seed { state: self, depth, raw: false, charge: true }
    }

    fn failed(&mut self, error: &dyn fmt::Display, cut: bool) -> Error {
        let place = if self.path.is_empty() { "the record".to_owned() } else { format!("'{}'", self.path.join(".")) };
        match self.error.take() {
            Some(error) => error,
            None if cut => Error::truncated(format!("it ends inside {place}")),
            None => Error::damaged(place, error.to_string()),
        }
    }

    fn charge<E: de::Error>(&mut self, charged: impl FnOnce(&mut Budget<'a>) -> Result<()>) -> Result<(), E> {
        charged(&mut self.budget).map_err(|error| {
            let text = error.to_string();
            self.error = Some(error);
            E::custom(text)
        })
    }
}

/// Reads the next value.
struct Seed<'s, 'a> {
    state: &'s mut State<'a>,
    depth: usize,
    /// Whether a sequence here is most likely of bytes, as JSON has them.
    raw: bool,
    /// Whether the value is charged here. One of many bytes is not: the file has two characters for each.
    charge: bool,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        if self.charge {
            self.state.charge(Budget::value)?;
        }
        deserializer.deserialize_any(self)
    }
}

macro_rules! leaves {
    ($($visit:ident($ty:ty) => $node:expr;)*) => {
        $(fn $visit<E: de::Error>(self, x: $ty) -> Result<Node, E> {
            Ok($node(x))
        })*
    };
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a Burn record")
    }

    leaves! {
        visit_bool(bool) => Node::Bool;
        visit_i64(i64) => Node::Int;
        visit_u64(u64) => Node::UInt;
        visit_f64(f64) => Node::Float;
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Nil)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.state.charge(|budget| budget.bytes(text.len() as u64))?;
        Ok(Node::Str(text.into()))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Node, E> {
        self.state.charge(|budget| budget.bytes(bytes.len() as u64))?;
        Ok(Node::Bytes(Bytes::copy_from_slice(bytes)))
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Node, E> {
        // They lie in the file: the same bytes as a slice of it.
        let start = bytes.as_ptr().addr().checked_sub(self.state.file.as_ptr().addr());
        match start.and_then(|start| Some(start..start.checked_add(bytes.len())?)) {
            Some(range) if range.end <= self.state.file.len() => Ok(Node::Bytes(self.state.file.slice(range))),
            _ => self.visit_bytes(bytes),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let depth = inside(self.state, self.depth)?;
        let mut bytes = Vec::new();
        let mut nodes: Option<Vec<Node>> = if self.raw { None } else { Some(Vec::new()) };
        loop {
            let seed = Seed { state: self.state, depth, raw: false, charge: nodes.is_some() };
            let Some(node) = items.next_element_seed(seed)? else { break };
            match (&mut nodes, node) {
                (Some(nodes), node) => nodes.push(node),
                (None, Node::UInt(byte @ 0..=0xff)) => bytes.push(byte.to_le_bytes()[0]),
                // No bytes after all.
                (None, node) => {
                    self.state
                        .charge(|budget| bytes.iter().try_for_each(|_| budget.value()).and_then(|()| budget.value()))?;
                    let before = std::mem::take(&mut bytes).into_iter().map(|byte| Node::UInt(byte.into()));
                    nodes = Some(before.chain([node]).collect());
                }
            }
        }
        Ok(nodes.map_or_else(|| Node::Bytes(bytes.into()), Node::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let depth = inside(self.state, self.depth)?;
        let mut nodes = Vec::new();
        while let Some(key) = entries.next_key_seed(Key(self.state))? {
            self.state.path.push(key.clone());
            let seed = Seed { state: self.state, depth, raw: &*key == "bytes", charge: true };
            let node = entries.next_value_seed(seed)?;
            // After an error the path stays, to tell where it happened.
            self.state.path.pop();
            nodes.push((key, node));
        }
        Ok(Node::Map(nodes))
    }
}

fn inside<E: de::Error>(state: &mut State<'_>, depth: usize) -> Result<usize, E> {
    let limit = state.depth as u64;
    state.charge(|_| if depth == 0 { Err(Error::limit("the nesting of the record", limit)) } else { Ok(()) })?;
    Ok(depth - 1)
}

/// A map's key as a text.
struct Key<'s, 'a>(&'s mut State<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Arc<str>, E> {
        self.0.charge(|budget| budget.bytes(name.len() as u64))?;
        Ok(name.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Arc<str>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Arc<str>, E> {
        self.visit_str(&number.to_string())
    }
}
