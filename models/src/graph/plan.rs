//! A program made ready to run: every name a slot, every operation found, every argument known.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::{BoolStore, DType};

use super::autocast::{self, Policy, Region};
use super::flow::{Flow, forgetting};
use super::item::{Arg, Num, Slot};
use super::ops;
use super::ops::row::Op;
use super::place::Place;
use super::schema::{Argument, Graph, Node as RawNode, OptionalTensor, Symbolic, TensorMeta};
use super::steps::{Node, OutputValue, Plan};
use crate::functional::Number;
use crate::{ModelError, Result};

impl OutputValue {
    pub(super) fn of(argument: &Argument, by_name: &HashMap<String, Slot>) -> Result<Self, String> {
        Ok(match argument {
            Argument::AsNone(_) => OutputValue::None,
            Argument::AsInt(int) | Argument::AsSymInt(Symbolic::AsInt(int)) => OutputValue::Number(Number::Int(*int)),
            Argument::AsFloat(float) => OutputValue::Number(Number::Float(float.0)),
            Argument::AsBool(flag) => OutputValue::Number(Number::Bool(*flag)),
            other => {
                let name = name_of(other).ok_or("an output is neither a tensor nor a number")?;
                let slot = by_name.get(name).copied().ok_or_else(|| format!("its output '{name}' is not there"))?;
                OutputValue::Slot(slot)
            }
        })
    }
}

/// All that is refused, so that it is said at once.
#[derive(Default)]
pub(super) struct Report {
    pub(super) refused: Vec<String>,
    /// How often each missing operation occurs, and where it does first.
    unknown: BTreeMap<String, (usize, String)>,
}

/// Makes nodes of a graph ready.
pub(super) struct Reading<'a> {
    pub(super) names: Vec<String>,
    pub(super) nodes: Vec<Node>,
    pub(super) metas: HashMap<Slot, &'a TensorMeta>,
    pub(super) report: &'a mut Report,
}

/// The names of a graph and its parents', and the region that it is in.
#[derive(Clone, Default)]
pub(super) struct Scope {
    pub(super) slots: HashMap<String, Slot>,
    /// Whether values that come out of it lose their gradient.
    pub(super) detached: bool,
    /// What autocast casts to.
    pub(super) autocast: Region,
}

impl Plan {
    pub(super) fn new(graph: &Graph) -> Result<Self> {
        let mut report = Report::default();
        let plan = Plan::read(graph, &Scope::default(), &Place::default(), &mut report);
        report.say()?;
        plan.ok_or_else(|| ModelError::Program { reason: "it cannot be read".to_owned() })
    }

    /// The graph made ready; what is refused is reported.
    pub(super) fn read(graph: &Graph, outer: &Scope, place: &Place, report: &mut Report) -> Option<Self> {
        let before = report.count();
        let mut reading = Reading { names: Vec::new(), nodes: Vec::new(), metas: HashMap::new(), report };
        let mut scope = Scope { slots: HashMap::new(), detached: false, autocast: outer.autocast };
        // An input that was fixed at export has a place, and no name.
        for input in &graph.inputs {
            reading.define(&mut scope, name_of(input).unwrap_or_default(), graph);
        }
        reading.graph(graph, &mut scope, place);
        let results: Vec<Slot> =
            graph.outputs.iter().filter_map(name_of).filter_map(|name| scope.slots.get(name).copied()).collect();
        let Reading { names, nodes, metas, report } = reading;
        if report.count() > before {
            return None;
        }
        let mut flow = Flow::new(&nodes, &metas, names.len(), &results);
        if let Err(reason) = flow.run() {
            report.refused.push(reason);
            return None;
        }
        let Flow { steps, written, .. } = flow;
        let steps = forgetting(steps, &nodes, &results, &written);
        Some(Plan { nodes, steps, names, by_name: scope.slots, written })
    }

    /// All nodes, those of branches and loops behind what runs them.
    pub(super) fn all(&self) -> Vec<&Node> {
        let mut all = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            all.push(node);
            all.extend(node.blocks.iter().flat_map(|block| block.plan.all()));
        }
        all
    }
}

impl Report {
    fn count(&self) -> usize {
        self.refused.len() + self.unknown.values().map(|(count, _)| count).sum::<usize>()
    }

    /// All that is not supported, as one error.
    fn say(self) -> Result<()> {
        let times = |(name, (count, place)): (&String, &(usize, String))| match count {
            1 => format!("the operation {name} is not supported ({place})"),
            count => format!("the operation {name} is not supported ({count} times, first {place})"),
        };
        let mut all: Vec<String> = self.unknown.iter().map(times).collect();
        all.extend(self.refused);
        if all.is_empty() { Ok(()) } else { Err(ModelError::Program { reason: all.join("; ") }) }
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
    pub(super) fn define(&mut self, scope: &mut Scope, name: &str, graph: &'a Graph) -> Slot {
        let slot = self.names.len();
        self.names.push(name.to_owned());
        if let Some(meta) = graph.tensor_values.get(name) {
            self.metas.insert(slot, meta);
        }
        scope.slots.insert(name.to_owned(), slot);
        slot
    }

    pub(super) fn graph(&mut self, graph: &'a Graph, scope: &mut Scope, outer: &Place) {
        for node in &graph.nodes {
            let mut place = Place::of(node);
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
            self.report.unknown.entry(name).or_insert_with(|| (0, place.to_string())).0 += 1;
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
                    self.report
                        .refused
                        .push(format!("{}: its argument '{}' is not known ({place})", op.name, input.name));
                }
                (_, Err(reason)) => self.report.refused.push(format!("{}: {reason} ({place})", op.name)),
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
                    self.report
                        .refused
                        .push(format!("{}: of a part of a tensor it is not supported ({place})", op.name));
                }
                meta.map(|meta| order_of(meta)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let policy = autocast::policy(op.name, &args);
        self.nodes.push(Node {
            op,
            args,
            outputs,
            writes,
            place,
            counts,
            counter,
            order,
            wide: op.is_wide(),
            region: scope.autocast,
            policy,
            blocks: Vec::new(),
        });
    }

    /// A node of one of the operations that are made here.
    pub(super) fn made(&mut self, op: &'static Op, args: Vec<(&'static str, Arg)>, outputs: Vec<Slot>, place: Place) {
        self.nodes.push(Node {
            op,
            args,
            outputs,
            writes: None,
            place,
            counts: false,
            counter: None,
            order: Vec::new(),
            wide: false,
            region: Region::Around,
            policy: Policy::Keep,
            blocks: Vec::new(),
        });
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

    pub(super) fn outputs(&mut self, node: &RawNode, graph: &'a Graph, scope: &mut Scope) -> Vec<Slot> {
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
}

/// What a node is given, with names as slots.
pub(super) fn arg_of(argument: &Argument, scope: &Scope) -> Result<Arg, String> {
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
