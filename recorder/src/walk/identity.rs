//! What a place is, whatever it is called: the same in every file, and another for every other place. Where the paths of two files are
//! compared, they are compared by it: `1`, `"1"` and `True` are three keys, `"a.b"` is not `b` in `a`, and a line break is not the two
//! characters that a terminal shows for it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::Value;
use crate::value::identity::ById;
use crate::walk::label::Label;
use crate::walk::places::Way;
use crate::walk::repr::{quoted, repr};

/// The identity of a place or of a value.
pub(crate) type Identity = [u8; 32];

/// Tells the places that [`ways`](super::ways) leads to, in its order.
#[derive(Default)]
pub(crate) struct Identities {
    /// Those on the way to the latest place, each with how often each part led on from there.
    open: Vec<(Identity, HashMap<Identity, u32>)>,
    /// The latest place, which may be a leaf and then a container.
    latest: Option<u64>,
}

impl Identities {
    /// The identity of the place that the walk is at.
    ///
    /// Keys that nothing tells apart (NaN, tensors of one shape) are told by their order.
    pub(crate) fn at(&mut self, way: &Way<'_>) -> Identity {
        if self.latest.replace(way.nth) == Some(way.nth) {
            return self.open.last().map_or_else(|| hash(&[]), |(identity, _)| *identity);
        }
        self.open.truncate(way.labels.len());
        let identity = match (way.labels.last(), self.open.last_mut()) {
            (Some(label), Some((holder, seen))) => {
                let part = of_label(label);
                let nth = seen.entry(part).or_default();
                *nth += 1;
                hash(&[&holder[..], &part[..], &nth.to_le_bytes()[..]])
            }
            _ => hash(&[]),
        };
        self.open.push((identity, HashMap::new()));
        identity
    }
}

/// A path in which every string key that could be read as anything else is quoted.
pub(crate) fn spelled_out(way: &Way<'_>) -> String {
    let mut path = String::new();
    for (nth, label) in way.labels.iter().enumerate() {
        match label {
            Label::Key(Value::Str(key)) if is_word(key) => path.extend([if nth == 0 { "" } else { "." }, key]),
            Label::Key(Value::Str(key)) => path.push_str(&quoted(key)),
            // Writing to a string cannot fail.
            Label::Member(index) => drop(write!(path, "{{{index}}}")),
            label => label.write(&mut path),
        }
    }
    path
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|letter| letter.is_alphanumeric() || "_-/:".contains(letter))
}

fn of_label(label: &Label) -> Identity {
    let (kind, content) = match label {
        Label::Key(key) => ("key", of_value(key)),
        Label::KeyItself(key) => ("key itself", of_value(key)),
        Label::Attribute(name) => ("attribute", of_value(name)),
        Label::Index(index) => ("index", hash(&[&index.to_le_bytes()])),
        Label::Argument(index) => ("argument", hash(&[&index.to_le_bytes()])),
        Label::State(index) => ("state", hash(&[&index.to_le_bytes()])),
        Label::Keyword(name) => ("keyword", hash(&[name.as_bytes()])),
        // A set has no order.
        Label::Member(_) => ("member", hash(&[])),
    };
    hash(&[kind.as_bytes(), &content])
}

/// The identity of a value: equal ones of one type have the same. Tensors and storages in it count by what they are called, and not by
/// their elements.
pub(crate) fn of_value(value: &Value) -> Identity {
    Values::default().of(value, 0)
}

/// What lies deeper in a key counts by its type alone.
const DEEPEST: usize = 64;

/// The values that were met, by their identity in memory: each counts once, however often it is shared.
#[derive(Default)]
struct Values {
    known: ById<Identity>,
    open: HashSet<usize>,
}

impl Values {
    fn of(&mut self, value: &Value, depth: usize) -> Identity {
        let id = value.id();
        if let Some(known) = id.and_then(|id| self.known.get(&id)) {
            return *known;
        }
        // What holds itself, too.
        if depth > DEEPEST || id.is_some_and(|id| !self.open.insert(id)) {
            return hash(&[b"deep", value.describe().as_bytes()]);
        }
        let identity = self.fresh(value, depth);
        if let Some(id) = id {
            self.open.remove(&id);
            self.known.insert(id, identity);
        }
        identity
    }

    fn fresh(&mut self, value: &Value, depth: usize) -> Identity {
        let text = |kind: &str, content: &[u8]| hash(&[kind.as_bytes(), content]);
        match value {
            Value::Str(text_of) => text("str", text_of.as_bytes()),
            Value::SurrogateStr(bytes) => text("surrogates", bytes),
            Value::Bytes(bytes) => text("bytes", bytes),
            Value::ByteArray(bytes) => text("bytearray", &bytes.read()),
            Value::List(items) => {
                let items = items.read().clone();
                self.all("list", items, depth)
            }
            Value::Tuple(items) => self.all("tuple", items.to_vec(), depth),
            Value::Set(items) => self.members("set", &items.read().clone(), depth),
            Value::FrozenSet(items) => self.members("frozenset", items, depth),
            Value::Dict(dict) => {
                let mut entries: Vec<Identity> = Vec::new();
                for (key, value) in dict.entries() {
                    let entry = [self.of(&key, depth + 1), self.of(&value, depth + 1)];
                    entries.push(hash(&[&entry[0], &entry[1]]));
                }
                entries.sort_unstable();
                text("dict", &entries.concat())
            }
            Value::Object(_) => {
                let kind = format!("object {}", value.describe());
                self.all(&kind, value.within(), depth)
            }
            Value::Tensor(tensor) => text("tensor", format!("{} {:?}", tensor.dtype(), tensor.shape()).as_bytes()),
            Value::Storage(_) => text("storage", b""),
            // Numbers and names, whose types a text does not tell.
            other => text(&other.describe(), repr(other).as_bytes()),
        }
    }

    fn all(&mut self, kind: &str, items: Vec<Value>, depth: usize) -> Identity {
        let parts: Vec<Identity> = items.iter().map(|item| self.of(item, depth + 1)).collect();
        hash(&[kind.as_bytes(), &parts.concat()])
    }

    fn members(&mut self, kind: &str, items: &[Value], depth: usize) -> Identity {
        let mut parts: Vec<Identity> = items.iter().map(|item| self.of(item, depth + 1)).collect();
        parts.sort_unstable();
        hash(&[kind.as_bytes(), &parts.concat()])
    }
}

/// The parts one after the other, each with its length.
fn hash(parts: &[&[u8]]) -> Identity {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
