//! The tree of a record -> a flat `OrderedDict` of tensors and numbers.

use std::sync::Arc;

use crate::container::burn_record::param_id;
use crate::container::burn_record::tree::Node;
use crate::container::burnpack::{self, Budget, BurnType};
use crate::container::named::METADATA;
use crate::value::tensor::element_count;
use crate::{Dict, Error, Limits, Result, Tensor, Value};

/// Where a record stands that is one bare value.
const ITEM: &str = "item";

/// The value of a whole file: a map of `metadata` and `item`.
pub(super) fn value(root: Node, limits: &Limits) -> Result<Value> {
    let Node::Map(entries) = root else { return Err(Error::damaged("the record", "it is no map")) };
    let mut record = Record::new(Dict::new());
    let mut budget = Budget::new(limits);
    let mut item = None;
    for (name, node) in entries {
        match &*name {
            "metadata" => record.metadata = metadata(node)?,
            "item" => item = Some(node),
            // `_b` is nil, and all there is beside them.
            _ => {}
        }
    }
    let Some(item) = item else { return Err(Error::damaged("the record", "it has no item")) };
    record.flatten("", item, &mut budget)?;
    Ok(record.into_value())
}

/// What a record is made into.
pub(super) struct Record {
    metadata: Dict,
    root: Dict,
    ids: Dict,
}

fn metadata(node: Node) -> Result<Dict> {
    let Node::Map(entries) = node else { return Err(Error::damaged("'metadata'", "it is no map")) };
    let texts = entries.into_iter().map(|(name, node)| match node {
        Node::Str(text) => Ok((Value::Str(name), Value::Str(text))),
        _ => Err(Error::damaged(format!("'metadata.{name}'"), "it is no text")),
    });
    texts.collect()
}

impl Record {
    /// An empty one with the five texts.
    pub(super) fn new(metadata: Dict) -> Self {
        Record { metadata, root: Dict::ordered(), ids: Dict::new() }
    }

    /// A parameter with its id.
    pub(super) fn insert_param(&mut self, name: &str, id: &str, tensor: Tensor) -> Result<()> {
        self.ids.insert(or_item(name), param_id::value(id));
        self.insert(name, tensor.into())
    }

    fn insert(&mut self, name: &str, value: Value) -> Result<()> {
        let name = or_item(name);
        match self.root.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(Error::damaged(format!("'{name}'"), "it stands in the record twice")),
        }
    }

    pub(super) fn into_value(self) -> Value {
        let attributes = Dict::new();
        attributes.insert(METADATA, self.metadata);
        if !self.ids.is_empty() {
            attributes.insert(burnpack::ATTRIBUTE, Dict::from_iter([(burnpack::PARAM_IDS, self.ids)]));
        }
        self.root.write().state = Some(attributes.into());
        self.root.into()
    }

    /// Puts what is in `node` under names that begin with `name`. As deep as the tree was allowed to be.
    fn flatten(&mut self, name: &str, node: Node, budget: &mut Budget<'_>) -> Result<()> {
        match node {
            Node::Nil => Ok(()),
            Node::Bool(bit) => self.insert(name, bit.into()),
            Node::Int(number) => self.insert(name, number.into()),
            Node::UInt(number) => self.insert(name, number.into()),
            Node::Float(number) => self.insert(name, number.into()),
            Node::Str(text) => self.insert(name, Value::Str(text)),
            Node::Bytes(bytes) => self.insert(name, (&*bytes).into()),
            node if is_tensor(&node) => {
                let tensor = tensor(or_item(name), node)?;
                self.insert(name, tensor.into())
            }
            Node::Seq(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                self.flatten_all(name, nodes.map(|(index, node)| (index.to_string(), node)), budget)
            }
            Node::Map(entries) => match param(entries) {
                Ok((id, node)) => {
                    let tensor = tensor(or_item(name), node)?;
                    self.insert_param(name, &id, tensor)
                }
                Err(entries) if is_before_014(&entries) => Err(before_014(or_item(name))),
                Err(entries) => self.flatten_all(name, entries.into_iter(), budget),
            },
        }
    }

    /// Each name repeats those above it, so that short files could ask for long names: they are charged.
    fn flatten_all<K: AsRef<str>>(
        &mut self,
        name: &str,
        mut nodes: impl Iterator<Item = (K, Node)>,
        budget: &mut Budget<'_>,
    ) -> Result<()> {
        nodes.try_for_each(|(key, node)| {
            let key = key.as_ref();
            if matches!(node, Node::Nil) {
                return Ok(());
            }
            budget.bytes(name.len() as u64 + key.len() as u64 + 1)?;
            let name = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            self.flatten(&name, node, budget)
        })
    }
}

fn or_item(name: &str) -> &str {
    if name.is_empty() { ITEM } else { name }
}

type Entry = (Arc<str>, Node);

/// `{id, param}`, where the latter is a tensor: the id and the tensor. Anything else is given back.
fn param(entries: Vec<Entry>) -> Result<Entry, Vec<Entry>> {
    let is_param = matches!(&*entries, [(id, Node::Str(_)), (param, node)]
        if **id == *"id" && **param == *"param" && is_tensor(node));
    if !is_param {
        return Err(entries);
    }
    let mut entries = entries.into_iter();
    match (entries.next(), entries.next()) {
        (Some((_, Node::Str(id))), Some((_, node))) => Ok((id, node)),
        (first, second) => Err(first.into_iter().chain(second).collect()),
    }
}

/// `{bytes, shape, dtype}`.
fn is_tensor(node: &Node) -> bool {
    matches!(node, Node::Map(entries) if matches!(&**entries, [(bytes, Node::Bytes(_) | Node::Seq(_)), (shape, Node::Seq(_)), (dtype, _)]
        if **bytes == *"bytes" && **shape == *"shape" && **dtype == *"dtype"))
}

/// `{value, shape}`, as a tensor was recorded before Burn 0.14: element by element, without its type.
fn is_before_014(entries: &[Entry]) -> bool {
    matches!(entries, [(value, Node::Seq(_)), (shape, Node::Seq(_))] if **value == *"value" && **shape == *"shape")
}

/// The advice is Burn's own.
pub(super) fn before_014(name: &str) -> Error {
    let advice = "load it with Burn 0.14 to 0.16 and its feature record-backward-compat, and save it again".to_owned();
    Error::unsupported(format!("'{name}', a tensor that Burn 0.13 or earlier recorded,")).advise(advice)
}

fn tensor(name: &str, node: Node) -> Result<Tensor> {
    let wrong = |reason: &str| Error::invalid_tensor(name, reason);
    let Node::Map(entries) = node else { return Err(wrong("it is no map")) };
    let (mut bytes, mut shape, mut dtype) = (None, None, None);
    for (key, node) in entries {
        match (&*key, node) {
            ("bytes", Node::Bytes(found)) => bytes = Some(found),
            ("shape", Node::Seq(nodes)) => {
                shape = nodes
                    .into_iter()
                    .map(|node| if let Node::UInt(n) = node { usize::try_from(n).ok() } else { None })
                    .collect::<Option<Vec<usize>>>();
            }
            ("dtype", node) => dtype = Some(burn_type(name, node)?),
            _ => {}
        }
    }
    let Some(bytes) = bytes else { return Err(wrong("its bytes are no bytes")) };
    let Some(shape) = shape else { return Err(wrong("its shape is no list of lengths")) };
    let Some(dtype) = dtype else { return Err(wrong("it has no dtype")) };
    let wanted = element_count(&shape).and_then(|count| dtype.bytes_for(count as u64));
    if wanted != Some(bytes.len() as u64) {
        return Err(wrong(&format!("{} bytes are no {shape:?} of {dtype}", bytes.len())));
    }
    burnpack::from_bytes(name, dtype, shape, bytes)
}

/// A unit variant is its name, any other a map of one entry.
fn burn_type(name: &str, node: Node) -> Result<&'static BurnType> {
    let (spelled, store) = match node {
        Node::Str(text) => (text, None),
        Node::Map(entries) => match entries.into_iter().next() {
            Some((variant, Node::Str(store))) => (variant, Some(store)),
            Some((variant, _)) => (variant, None),
            None => return Err(Error::invalid_tensor(name, "its dtype is empty")),
        },
        _ => return Err(Error::invalid_tensor(name, "its dtype is no name")),
    };
    if &*spelled == "QFloat" {
        return Err(burnpack::quantised(name));
    }
    BurnType::find(&spelled, store.as_deref())
        .ok_or_else(|| Error::invalid_tensor(name, format!("its dtype '{spelled}' is none of Burn's")))
}
