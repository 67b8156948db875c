//! `Key`: a dict's key, hashed and compared as Python does. Neither recurses, and both look at each tuple once, however
//! often it occurs, so that no key can take forever or exhaust the stack.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::value::data::{Items, Key, Value};
use crate::value::identity::ById;

/// A string, to look up a [`Key`] without making one.
pub(super) struct StrKey<'a>(pub(super) &'a str);

const STR_TAG: u8 = 1;

impl Hash for StrKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        STR_TAG.hash(state);
        self.0.hash(state);
    }
}

impl indexmap::Equivalent<Key> for StrKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        matches!(&key.0, Value::Str(s) if **s == *self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match Node::of(&self.0) {
            Some(node) => Digests::default().of(node).hash(state),
            None => hash_leaf(&self.0, state),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (Node::of(&self.0), Node::of(&other.0)) {
            (None, None) => equal_leaves(&self.0, &other.0),
            (Some(a), Some(b)) => equal_nodes(a, b),
            _ => false,
        }
    }
}

impl Eq for Key {}

/// A tuple or frozenset: what a key can nest.
#[derive(Clone, Copy)]
struct Node<'a> {
    items: &'a Items,
    is_set: bool,
}

impl<'a> Node<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Tuple(items) => Some(Node { items, is_set: false }),
            Value::FrozenSet(items) => Some(Node { items, is_set: true }),
            _ => None,
        }
    }

    /// Items lie at even addresses.
    fn id(self) -> usize {
        self.items.as_ptr().addr() | usize::from(self.is_set)
    }
}

/// The same for the whole process, and another in the next: nobody can prepare keys whose digests are alike.
static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The digests of the nodes seen so far.
#[derive(Default)]
struct Digests(ById<u64>);

impl Digests {
    /// The digest of a node: equal nodes have the same.
    fn of(&mut self, root: Node<'_>) -> u64 {
        let mut open = vec![root];
        while let Some(&node) = open.last() {
            if !self.0.contains_key(&node.id()) {
                let before = open.len();
                open.extend(node.items.iter().filter_map(Node::of).filter(|inner| !self.0.contains_key(&inner.id())));
                if open.len() > before {
                    continue;
                }
                let digest = self.of_items(node);
                self.0.insert(node.id(), digest);
            }
            open.pop();
        }
        self.known(root)
    }

    fn known(&self, node: Node<'_>) -> u64 {
        self.0.get(&node.id()).copied().unwrap_or_default()
    }

    fn of_items(&self, node: Node<'_>) -> u64 {
        let mut hasher = STATE.build_hasher();
        (node.is_set, node.items.len()).hash(&mut hasher);
        // Equal to itself alone.
        if node.items.iter().any(is_nan) {
            node.id().hash(&mut hasher);
        }
        // The items of a set have no order.
        if node.is_set {
            node.items.iter().fold(0, |sum: u64, item| sum.wrapping_add(self.of_item(item))).hash(&mut hasher);
        } else {
            node.items.iter().for_each(|item| self.of_item(item).hash(&mut hasher));
        }
        hasher.finish()
    }

    fn of_item(&self, item: &Value) -> u64 {
        if let Some(node) = Node::of(item) {
            return self.known(node);
        }
        let mut hasher = STATE.build_hasher();
        if !is_nan(item) {
            hash_leaf(item, &mut hasher);
        }
        hasher.finish()
    }
}

/// Compares nodes as Hopcroft and Karp compare automata: what was once found alike, or is still being compared, is one, so
/// that there are no more steps than there are nodes.
fn equal_nodes(a: Node<'_>, b: Node<'_>) -> bool {
    let mut alike = Alike::default();
    let mut digests = Digests::default();
    let mut open = vec![(a, b)];
    while let Some((a, b)) = open.pop() {
        if a.is_set != b.is_set || a.items.len() != b.items.len() {
            return false;
        }
        if !alike.join(a.id(), b.id()) {
            continue;
        }
        let (mut left, mut right): (Vec<&Value>, Vec<&Value>) = (a.items.iter().collect(), b.items.iter().collect());
        if a.is_set {
            // In the order of their digests, which are as good as different, equal items stand side by side.
            digests.of(a);
            digests.of(b);
            left.sort_by_cached_key(|item| digests.of_item(item));
            right.sort_by_cached_key(|item| digests.of_item(item));
        }
        for (left, right) in left.into_iter().zip(right) {
            match (Node::of(left), Node::of(right)) {
                (Some(left), Some(right)) => open.push((left, right)),
                (None, None) if equal_leaves(left, right) => {}
                _ => return false,
            }
        }
    }
    true
}

/// Which nodes are taken for equal.
#[derive(Default)]
struct Alike(ById<usize>);

impl Alike {
    fn find(&mut self, mut node: usize) -> usize {
        while let Some(&parent) = self.0.get(&node) {
            // Halve the way for those who come later.
            if let Some(&above) = self.0.get(&parent) {
                self.0.insert(node, above);
            }
            node = parent;
        }
        node
    }

    /// False where they are one already.
    fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        if a != b {
            self.0.insert(a, b);
        }
        a != b
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(x) if x.is_nan())
}

/// NaN so far: each is a key of its own, and many of them must not hash alike.
static NANS: AtomicU64 = AtomicU64::new(0);

fn hash_leaf<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        value if is_nan(value) => (11_u8, NANS.fetch_add(1, Ordering::Relaxed)).hash(state),
        Value::Str(s) => StrKey(s).hash(state),
        Value::Bytes(b) => (2_u8, b).hash(state),
        Value::SurrogateStr(b) => (3_u8, b).hash(state),
        Value::BigInt(i) => (4_u8, i).hash(state),
        Value::Complex(re, im) => (5_u8, re.to_bits(), im.to_bits()).hash(state),
        Value::Size(items) => (6_u8, items).hash(state),
        Value::Device(device) => (7_u8, device).hash(state),
        Value::Dtype(dtype) => (8_u8, dtype).hash(state),
        Value::Global(global) => (9_u8, global).hash(state),
        other => (10_u8, number(other), other.id()).hash(state),
    }
}

fn equal_leaves(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::SurrogateStr(a), Value::SurrogateStr(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::BigInt(a), Value::BigInt(b)) => a == b,
        (Value::Complex(a, b), Value::Complex(c, d)) => (a.to_bits(), b.to_bits()) == (c.to_bits(), d.to_bits()),
        (Value::Size(a), Value::Size(b)) => a == b,
        (Value::Device(a), Value::Device(b)) => a == b,
        (Value::Dtype(a), Value::Dtype(b)) => a == b,
        (Value::Global(a), Value::Global(b)) => a == b,
        (a, b) => match (number(a), number(b)) {
            (None, None) => a.id().is_some() && a.id() == b.id(),
            (left, right) => left == right && !is_nan(a),
        },
    }
}

/// A number in the form that is the same for all that Python takes for equal.
#[derive(PartialEq, Eq, Hash)]
enum Number {
    Whole(i64),
    /// The bits of a double that is no whole number within 64 bits.
    Double(u64),
}

#[allow(clippy::cast_possible_truncation)]
fn number(value: &Value) -> Option<Number> {
    /// 2^63, the first whole number beyond 64 bits.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match *value {
        Value::Bool(b) => Some(Number::Whole(i64::from(b))),
        Value::Int(i) => Some(Number::Whole(i)),
        Value::Float(x) if x.fract() == 0.0 && (-BEYOND..BEYOND).contains(&x) => Some(Number::Whole(x as i64)),
        Value::Float(x) => Some(Number::Double(x.to_bits())),
        _ => None,
    }
}
