//! A program made ready to run: every name a slot, every operation found, every argument known.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::tensor::{BoolStore, DType};

use super::flow::{Flow, Step, forgetting};
use super::item::{Arg, Num, Slot};
use super::ops;
use super::ops::row::Op;
use super::schema::{Argument, Graph, Node as RawNode, OptionalTensor, Symbolic, TensorMeta};
use crate::functional::Number;
use crate::{ModelError, Result};

/// A node that can be run.
pub(super) struct Node {
    pub(super) op: &'static Op,
    pub(super) args: Vec<(&'static str, Arg)>,
    pub(super) outputs: Vec<Slot>,
    /// The value that it writes to.
    pub(super) writes: Option<Slot>,
    /// The layer and the line of Python.
    pub(super) place: Place,
    /// It counts the batches of a batch norm: only in training.
    pub(super) counts: bool,
    /// A batch norm that was exported in evaluation: the counter of its batches.
    pub(super) counter: Option<Slot>,
    /// The order of dimensions in which its first argument lies in memory, where that is not theirs: what is drawn is drawn
    /// in the order of memory.
    pub(super) order: Vec<usize>,
}

/// Where a node came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The layer's path and class: `layer1.0.conv1 (Conv2d)`.
    pub(super) layer: String,
    /// The last line of Python that led to it.
    pub(super) line: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.layer.as_str(), self.line.as_str()) {
            ("", "") => f.write_str("somewhere in the program"),
            (layer, "") => f.write_str(layer),
            ("", line) => f.write_str(line),
            (layer, line) => write!(f, "{layer}, {line}"),
        }
    }
}

/// A graph made ready.
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) steps: Vec<Step>,
    pub(super) names: Vec<String>,
    pub(super) by_name: HashMap<String, Slot>,
    /// The values that are written to: of them the buffers are kept.
    pub(super) written: BTreeSet<Slot>,
}

/// Makes nodes of a graph ready.
struct Reading<'a> {
    names: Vec<String>,
    nodes: Vec<Node>,
    metas: HashMap<Slot, &'a TensorMeta>,
    /// All that is refused, so that it is said at once.
    refused: Vec<String>,
    /// How often each missing operation occurs, and where it does first.
    unknown: BTreeMap<String, (usize, String)>,
}

/// The names of a graph and its parents'.
#[derive(Clone, Default)]
struct Scope {
    slots: HashMap<String, Slot>,
    /// Whether values that come out of it lose their gradient.
    detached: bool,
}

impl Plan {
    pub(super) fn new(graph: &Graph) -> Result<Self> {
        let mut reading = Reading {
            names: Vec::new(),
            nodes: Vec::new(),
            metas: HashMap::new(),
            refused: Vec::new(),
            unknown: BTreeMap::new(),
        };
        let mut scope = Scope::default();
        for input in &graph.inputs {
            if let Some(name) = name_of(input) {
                reading.define(&mut scope, name, graph);
            }
        }
        reading.graph(graph, &mut scope, &Place::default());
        let results: Vec<Slot> =
            graph.outputs.iter().filter_map(name_of).filter_map(|name| scope.slots.get(name).copied()).collect();
        reading.say()?;
        let Reading { names, nodes, metas, .. } = reading;
        let mut flow = Flow::new(&nodes, &metas, names.len(), &results);
        flow.run()?;
        let Flow { steps, written, .. } = flow;
        let steps = forgetting(steps, &nodes, &results, &written);
        Ok(Plan { nodes, steps, names, by_name: scope.slots, written })
    }
}

pub(super) fn name_of(argument: &Argument) -> Option<&str> {
    match argument {
        Argument::AsTensor(name) => Some(&name.name),
        Argument::AsSymInt(Symbolic::AsName(name))
        | Argument::AsSymFloat(Symbolic::AsName(name))
        | Argument::AsSymBool(Symbolic::AsName(name)) => Some(name),
        _ => None,
    }
}

impl<'a> Reading<'a> {
    fn define(&mut self, scope: &mut Scope, name: &str, graph: &'a Graph) -> Slot {
        let slot = self.names.len();
        self.names.push(name.to_owned());
        if let Some(meta) = graph.tensor_values.get(name) {
            self.metas.insert(slot, meta);
        }
        scope.slots.insert(name.to_owned(), slot);
        slot
    }

    fn graph(&mut self, graph: &'a Graph, scope: &mut Scope, outer: &Place) {
        for node in &graph.nodes {
            let mut place = place_of(node);
            if place.layer.is_empty() && place.line.is_empty() {
                place = outer.clone();
            }
            if node.target.starts_with("torch.ops.higher_order.") {
                self.higher_order(node, graph, scope, place);
            } else {
                self.node(node, graph, scope, place);
            }
        }
    }

    fn node(&mut self, node: &RawNode, graph: &'a Graph, scope: &mut Scope, place: Place) {
        let Some((op, in_place)) = ops::find(&node.target) else {
            let name = node.target.strip_prefix("torch.ops.").unwrap_or(&node.target).to_owned();
            self.unknown.entry(name).or_insert_with(|| (0, place.to_string())).0 += 1;
            self.outputs(node, graph, scope);
            return;
        };
        let mut args = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            // What is written in place is `self`, whatever the operation calls it.
            let first = in_place && input.name == "self" && args.is_empty();
            let known = if first { op.args.first() } else { op.args.iter().find(|known| **known == input.name) };
            match (known, arg_of(&input.arg, scope)) {
                (Some(known), Ok(arg)) => args.push((*known, arg)),
                (None, Ok(Arg::None | Arg::Ignored)) => {}
                (None, _) => {
                    self.refused.push(format!("{}: its argument '{}' is not known ({place})", op.name, input.name));
                }
                (_, Err(reason)) => self.refused.push(format!("{}: {reason} ({place})", op.name)),
            }
        }
        let writes = match args.first() {
            Some((_, Arg::Tensor(slot))) if in_place || op.name == "aten.bernoulli_.float" => Some(*slot),
            _ => None,
        };
        let counts = writes.is_some_and(|slot| is_counter(&self.names[slot]));
        let outputs = self.outputs(node, graph, scope);
        let counter = self.counter(op, &args, scope);
        let order = match args.first() {
            Some((_, Arg::Tensor(slot))) if op.draws() || op.goes_by_memory() => {
                let meta = self.metas.get(slot);
                if op.goes_by_memory() && !meta.is_some_and(|meta| is_whole(meta)) {
                    self.refused.push(format!("{}: of a part of a tensor it is not supported ({place})", op.name));
                }
                meta.map(|meta| order_of(meta)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        self.nodes.push(Node { op, args, outputs, writes, place, counts, counter, order });
    }

    /// The counter beside the running mean of a batch norm that does not train.
    fn counter(&self, op: &Op, args: &[(&'static str, Arg)], scope: &Scope) -> Option<Slot> {
        if op.name != "aten.batch_norm.default" {
            return None;
        }
        let find = |name: &str| args.iter().find(|(known, _)| *known == name).map(|(_, arg)| arg);
        let Some(Arg::Tensor(mean)) = find("running_mean") else { return None };
        let trains = matches!(find("training"), Some(Arg::Number(Num::Known(Number::Bool(true)))));
        let name = self.names[*mean].strip_suffix("running_mean")?;
        scope.slots.get(&format!("{name}num_batches_tracked")).copied().filter(|_| !trains)
    }

    fn outputs(&mut self, node: &RawNode, graph: &'a Graph, scope: &mut Scope) -> Vec<Slot> {
        let mut slots = Vec::new();
        for output in &node.outputs {
            match output {
                Argument::AsTensors(names) => {
                    slots.extend(names.iter().map(|name| self.define(scope, &name.name, graph)).collect::<Vec<_>>());
                }
                Argument::AsOptionalTensors(names) => {
                    for name in names {
                        let name = match name {
                            OptionalTensor::AsTensor(name) => name.name.as_str(),
                            OptionalTensor::AsNone(_) => "",
                        };
                        slots.push(self.define(scope, name, graph));
                    }
                }
                // What nobody names has a slot of its own, so that the others keep their places.
                other => slots.push(self.define(scope, name_of(other).unwrap_or_default(), graph)),
            }
        }
        slots
    }

    /// `with torch.no_grad()` is run in place; other control flow is refused.
    fn higher_order(&mut self, node: &'a RawNode, graph: &'a Graph, scope: &mut Scope, place: Place) {
        let name = node.target.rsplit('.').next().unwrap_or_default();
        let mut given = node.inputs.iter().map(|input| &input.arg);
        let (Some(Argument::AsBool(enabled)), Some(Argument::AsGraph(inner)), "wrap_with_set_grad_enabled") =
            (given.next(), given.next(), name)
        else {
            self.refused.push(format!("the control flow '{name}' is not supported ({place})"));
            self.outputs(node, graph, scope);
            return;
        };
        let mut within = Scope { slots: HashMap::new(), detached: !enabled };
        for (input, argument) in inner.graph.inputs.iter().filter_map(name_of).zip(given) {
            match name_of(argument).and_then(|name| scope.slots.get(name)) {
                Some(slot) => drop(within.slots.insert(input.to_owned(), *slot)),
                None => self.refused.push(format!("'{}': its input '{input}' is not there ({place})", inner.name)),
            }
        }
        self.graph(&inner.graph, &mut within, &place);
        let results: Vec<Option<Slot>> = inner
            .graph
            .outputs
            .iter()
            .map(|output| name_of(output).and_then(|name| within.slots.get(name)).copied())
            .collect();
        let names: Vec<&str> = node
            .outputs
            .iter()
            .flat_map(|output| match output {
                Argument::AsTensors(names) => names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(),
                other => vec![name_of(other).unwrap_or_default()],
            })
            .collect();
        for (name, result) in names.into_iter().zip(results) {
            let Some(result) = result else { continue };
            let (Some((detach, _)), true) = (ops::find("aten.detach.default"), within.detached) else {
                scope.slots.insert(name.to_owned(), result);
                continue;
            };
            let output = self.define(scope, name, graph);
            let args = vec![("self", Arg::Tensor(result))];
            let place = place.clone();
            self.nodes.push(Node {
                op: detach,
                args,
                outputs: vec![output],
                writes: None,
                place,
                counts: false,
                counter: None,
                order: Vec::new(),
            });
        }
    }

    /// All that is not supported, as one error.
    fn say(&mut self) -> Result<()> {
        let times = |(name, (count, place)): (&String, &(usize, String))| match count {
            1 => format!("the operation {name} is not supported ({place})"),
            count => format!("the operation {name} is not supported ({count} times, first {place})"),
        };
        let mut all: Vec<String> = self.unknown.iter().map(times).collect();
        all.append(&mut self.refused);
        if all.is_empty() { Ok(()) } else { Err(ModelError::Program { reason: all.join("; ") }) }
    }
}

/// What a node is given, with names as slots.
fn arg_of(argument: &Argument, scope: &Scope) -> Result<Arg, String> {
    let slot = |name: &str| {
        scope.slots.get(name).copied().ok_or_else(|| format!("the value '{name}' is used before it is defined"))
    };
    let known = |number: Number| Ok(Arg::Number(Num::Known(number)));
    let symbolic = |value: &Symbolic| match value {
        Symbolic::AsName(name) => slot(name).map(Num::Slot),
        Symbolic::AsInt(int) => Ok(Num::Known(Number::Int(*int))),
        Symbolic::AsFloat(float) => Ok(Num::Known(Number::Float(float.0))),
        Symbolic::AsBool(flag) => Ok(Num::Known(Number::Bool(*flag))),
    };
    match argument {
        Argument::AsNone(_) => Ok(Arg::None),
        Argument::AsTensor(name) => slot(&name.name).map(Arg::Tensor),
        Argument::AsTensors(names) => {
            names.iter().map(|name| slot(&name.name).map(Some)).collect::<Result<_, _>>().map(Arg::Tensors)
        }
        Argument::AsOptionalTensors(names) => {
            let optional = |name: &OptionalTensor| match name {
                OptionalTensor::AsTensor(name) => slot(&name.name).map(Some),
                OptionalTensor::AsNone(_) => Ok(None),
            };
            names.iter().map(optional).collect::<Result<_, _>>().map(Arg::Tensors)
        }
        Argument::AsInt(int) => known(Number::Int(*int)),
        Argument::AsFloat(float) => known(Number::Float(float.0)),
        Argument::AsBool(flag) => known(Number::Bool(*flag)),
        Argument::AsInts(all) => Ok(Arg::Numbers(all.iter().map(|&int| Num::Known(Number::Int(int))).collect())),
        Argument::AsFloats(all) => {
            Ok(Arg::Numbers(all.iter().map(|float| Num::Known(Number::Float(float.0))).collect()))
        }
        Argument::AsBools(all) => Ok(Arg::Numbers(all.iter().map(|&flag| Num::Known(Number::Bool(flag))).collect())),
        Argument::AsSymInt(value) | Argument::AsSymFloat(value) | Argument::AsSymBool(value) => {
            symbolic(value).map(Arg::Number)
        }
        Argument::AsSymInts(all) | Argument::AsSymFloats(all) | Argument::AsSymBools(all) => {
            all.iter().map(symbolic).collect::<Result<_, _>>().map(Arg::Numbers)
        }
        Argument::AsString(text) => Ok(Arg::Text(text.clone())),
        Argument::AsScalarType(number) => {
            dtype_of(*number).map(Arg::Type).ok_or_else(|| format!("the element type {number} is not supported"))
        }
        Argument::AsMemoryFormat(_) | Argument::AsLayout(_) | Argument::AsDevice(_) => Ok(Arg::Ignored),
        Argument::AsStrings(_) => Err("a list of names is not supported".to_owned()),
        Argument::AsGraph(_) => Err("control flow is not supported".to_owned()),
        Argument::AsComplex(_) => Err("complex numbers are not supported".to_owned()),
        Argument::AsCustomObj(_) => Err("custom objects are not supported".to_owned()),
        Argument::AsOperator(name) => Err(format!("the operator '{name}' as an argument is not supported")),
        Argument::AsIntLists(_) | Argument::AsFloatLists(_) => Err("a list of lists is not supported".to_owned()),
    }
}

/// The dimensions in the order in which they lie in memory; none where that is their own.
fn order_of(meta: &TensorMeta) -> Vec<usize> {
    let strides: Option<Vec<i64>> = meta.strides.iter().map(super::schema::Size::hint).collect();
    let Some(strides) = strides.filter(|strides| strides.len() == meta.sizes.len()) else { return Vec::new() };
    // Where the length is 1 the stride says nothing.
    let is_long = |dim: &usize| meta.sizes[*dim].hint() != Some(1);
    let mut long: Vec<usize> = (0..strides.len()).filter(is_long).collect();
    long.sort_by_key(|&dim| std::cmp::Reverse(strides[dim]));
    let mut next = long.into_iter();
    let order: Vec<usize> =
        (0..strides.len()).map(|dim| if is_long(&dim) { next.next().unwrap_or(dim) } else { dim }).collect();
    if order.iter().copied().eq(0..order.len()) { Vec::new() } else { order }
}

/// Whether its elements lie one after the other from the start of their memory, in whatever order of dimensions.
fn is_whole(meta: &TensorMeta) -> bool {
    let hints =
        |sizes: &[super::schema::Size]| sizes.iter().map(super::schema::Size::hint).collect::<Option<Vec<i64>>>();
    let offset = meta.storage_offset.as_ref().map_or(Some(0), super::schema::Size::hint);
    let (Some(sizes), Some(strides), Some(0)) = (hints(&meta.sizes), hints(&meta.strides), offset) else {
        return false;
    };
    let mut dims: Vec<usize> = (0..sizes.len()).filter(|&dim| sizes[dim] != 1).collect();
    dims.sort_by_key(|&dim| strides[dim]);
    let mut expected = 1;
    dims.into_iter().all(|dim| {
        let fits = strides[dim] == expected;
        expected *= sizes[dim];
        fits
    })
}

/// Whether it is what a batch norm counts its batches in.
fn is_counter(name: &str) -> bool {
    name.strip_suffix("num_batches_tracked").is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
}

/// An element type as the schema numbers it.
pub(super) fn dtype_of(number: i64) -> Option<DType> {
    Some(match number {
        1 => DType::U8,
        2 => DType::I8,
        3 => DType::I16,
        4 => DType::I32,
        5 => DType::I64,
        6 => DType::F16,
        7 => DType::F32,
        8 => DType::F64,
        12 => DType::Bool(BoolStore::Native),
        13 => DType::BF16,
        28 => DType::U16,
        34 => DType::U32,
        35 => DType::U64,
        _ => return None,
    })
}

/// The layer and the line that a node's metadata tell.
fn place_of(node: &RawNode) -> Place {
    let layer = layers_of(node).last().map(|(path, class)| match (path, class) {
        ("", class) => class.to_owned(),
        (path, "") => path.to_owned(),
        (path, class) => format!("{path} ({class})"),
    });
    Place { layer: layer.unwrap_or_default(), line: line_of(node) }
}

/// The layers that a node is in, the outermost first: the path of each, and its class.
pub(super) fn layers_of(node: &RawNode) -> impl Iterator<Item = (&str, &str)> {
    // What the tracer calls where there is no layer.
    const NOWHERE: &str = "_empty_nn_module_stack_from_metadata_hook";
    let stack = node.metadata.get("nn_module_stack").map(String::as_str).unwrap_or_default();
    let layers = stack.split(';').filter(|entry| !entry.is_empty()).map(|entry| {
        // `key,path,class`
        let mut parts = entry.splitn(3, ',').skip(1);
        let (path, class) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (path, class.rsplit('.').next().unwrap_or_default())
    });
    layers.filter(|(path, _)| *path != NOWHERE)
}

/// The last line of Python that led to a node.
pub(super) fn line_of(node: &RawNode) -> String {
    let trace = node.metadata.get("stack_trace").map(String::as_str).unwrap_or_default();
    let line = trace.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let number = rest.split(',').next().unwrap_or_default();
        Some(format!("{}:{number}", file.rsplit(['/', '\\']).next().unwrap_or(file)))
    });
    line.unwrap_or_default()
}
