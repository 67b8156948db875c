//! What is more than a node when a program is read: regions (`torch.no_grad()`, `torch.autocast`), whose nodes are read among those
//! around them, and branches and loops, whose graphs are made ready by themselves.

use std::collections::HashMap;

use burn::tensor::DType;

use super::autocast::Region;
use super::item::{Arg, Slot};
use super::ops;
use super::ops::row::Op;
use super::place::Place;
use super::plan::{Reading, Scope, arg_of, dtype_of, name_of};
use super::schema::{Argument, Graph, NamedGraph, Node as RawNode, TensorMeta};
use super::steps::{Block, OutputValue, Plan};
use crate::functional::is_narrow;

impl<'a> Reading<'a> {
    /// Regions are read in place; branches and loops have graphs of their own.
    pub(super) fn higher_order(&mut self, node: &'a RawNode, graph: &'a Graph, scope: &mut Scope, place: Place) {
        let arguments: Vec<&Argument> = node.inputs.iter().map(|input| &input.arg).collect();
        let within = Scope { slots: HashMap::new(), ..scope.clone() };
        let name = node.target.rsplit('.').next().unwrap_or_default();
        match (name, &*arguments) {
            ("wrap_with_set_grad_enabled", [Argument::AsBool(enabled), Argument::AsGraph(inner), given @ ..]) => {
                let within = Scope { detached: !enabled, ..within };
                self.region(node, inner, given, (graph, scope, within), &place);
            }
            (
                "wrap_with_autocast",
                [Argument::AsString(device), dtype, Argument::AsBool(enabled), _, Argument::AsGraph(inner), given @ ..],
            ) => match autocast_of(device, dtype, *enabled, scope, inner) {
                Ok(autocast) => {
                    let within = Scope { detached: false, autocast, ..within };
                    self.region(node, inner, given, (graph, scope, within), &place);
                }
                Err(reason) => {
                    self.report.refused.push(format!("{reason} ({place})"));
                    self.outputs(node, graph, scope);
                }
            },
            _ => match ops::find(&node.target) {
                Some((op, _)) => self.control(op, node, graph, scope, place),
                None => {
                    self.report.refused.push(format!("the control flow '{name}' is not supported ({place})"));
                    self.outputs(node, graph, scope);
                }
            },
        }
    }

    /// Reads a region's nodes among those around it.
    fn region(
        &mut self,
        node: &'a RawNode,
        inner: &'a NamedGraph,
        given: &[&Argument],
        (graph, scope, mut within): (&'a Graph, &mut Scope, Scope),
        place: &Place,
    ) {
        for (input, argument) in inner.graph.inputs.iter().zip(given) {
            let Some(input) = name_of(input) else { continue };
            match name_of(argument).and_then(|name| scope.slots.get(name)) {
                Some(slot) => drop(within.slots.insert(input.to_owned(), *slot)),
                None => {
                    self.report.refused.push(format!("'{}': its input '{input}' is not there ({place})", inner.name));
                }
            }
        }
        self.graph(&inner.graph, &mut within, place);
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
            self.made(detach, vec![("self", Arg::Tensor(result))], vec![output], place.clone());
        }
    }

    /// An operation that runs graphs: they come among its arguments, which have no names.
    fn control(&mut self, op: &'static Op, node: &'a RawNode, graph: &'a Graph, scope: &mut Scope, place: Place) {
        let (mut args, mut blocks, mut names) = (Vec::new(), Vec::new(), op.args.iter());
        for input in &node.inputs {
            if let Argument::AsGraph(inner) = &input.arg {
                blocks.extend(self.block(op, inner, scope, &place));
                continue;
            }
            match (names.next(), arg_of(&input.arg, scope)) {
                (Some(&known), Ok(arg)) if known == "pred" || matches!(arg, Arg::Tensors(_) | Arg::Numbers(_)) => {
                    args.push((known, arg));
                }
                (_, Ok(_)) => {
                    let reason = format!("{}: its arguments are those of another version ({place})", op.name);
                    self.report.refused.push(reason);
                }
                (_, Err(reason)) => self.report.refused.push(format!("{}: {reason} ({place})", op.name)),
            }
        }
        let outputs = self.outputs(node, graph, scope);
        self.made(op, args, outputs, place);
        if let Some(made) = self.nodes.last_mut() {
            made.blocks = blocks;
        }
    }

    /// A graph that an operation runs. It sees nothing but its inputs, and writes to none of them.
    fn block(&mut self, op: &Op, inner: &NamedGraph, scope: &Scope, place: &Place) -> Option<Block> {
        let plan = Plan::read(&inner.graph, scope, place, self.report)?;
        let inputs: Vec<Slot> = (0..inner.graph.inputs.len()).collect();
        if let Some(slot) = inputs.iter().find(|slot| plan.written.contains(slot)) {
            let reason =
                format!("{} writes to its input '{}', which is not supported ({place})", op.name, plan.names[*slot]);
            self.report.refused.push(reason);
            return None;
        }
        let outputs = inner.graph.outputs.iter().map(|output| OutputValue::of(output, &plan.by_name)).collect();
        match outputs {
            Ok(outputs) => Some(Block { plan, inputs, outputs }),
            Err(reason) => {
                self.report.refused.push(format!("{}: {reason} ({place})", op.name));
                None
            }
        }
    }
}

/// What autocast casts to within a region. It casts tensors of its own device alone, and programs run as on the CPU.
fn autocast_of(
    device: &str,
    dtype: &Argument,
    enabled: bool,
    outer: &Scope,
    inner: &NamedGraph,
) -> Result<Region, String> {
    if device != "cpu" {
        let is_there = |meta: &TensorMeta| meta.device.as_ref().is_some_and(|found| found.kind == device);
        if enabled && inner.graph.tensor_values.values().any(is_there) {
            return Err(format!("torch.autocast('{device}') over tensors on {device} is not supported"));
        }
        return Ok(outer.autocast);
    }
    match dtype {
        _ if !enabled => Ok(Region::Own(None)),
        Argument::AsNone(_) => Ok(Region::Own(Some(DType::BF16))),
        // Of another type PyTorch warns and does not cast.
        Argument::AsScalarType(number) => Ok(Region::Own(dtype_of(*number).filter(|&dtype| is_narrow(dtype)))),
        _ => Err("torch.autocast with an unknown type is not supported".to_owned()),
    }
}
