//! Running a program: its steps in order, each value forgotten after its last use.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device};
use rekindle_random::Generator;

use super::cast::{Cache, computed};
use super::item::{Given, Item, Slot, Values};
use super::ops::row::{Call, Out, Undo};
use super::ops::views::written_back;
use super::steps::{Block, Node, OutputValue, Plan, Step};
use crate::functional::{Array, Number, refused};
use crate::{ModelError, Result};

/// What a run is told.
pub(super) struct Running<'a> {
    pub(super) plan: &'a Plan,
    pub(super) train: bool,
    /// The running means of batch norms that are kept in evaluation.
    pub(super) still: &'a BTreeSet<Slot>,
    pub(super) device: &'a Device,
    pub(super) generator: &'a mut Generator,
    /// What autocast casts to around the program.
    pub(super) around: Option<DType>,
    /// The parameters that autocast has cast.
    pub(super) cache: Cache,
}

impl Running<'_> {
    /// Runs all steps over the values that are there at first.
    pub(super) fn run(&mut self, values: &mut Values) -> Result<()> {
        for step in &self.plan.steps {
            match *step {
                Step::Run(index) => self.node(index, values)?,
                Step::Again(index) => {
                    let node = &self.plan.nodes[index];
                    let out = self.computed(node, values)?.0;
                    store(node, out, values)?;
                }
                Step::WriteBack { node, part, whole, new } => {
                    let node = &self.plan.nodes[node];
                    let undo = node.op.view.undo().unwrap_or(Undo::Same);
                    let back = if undo == Undo::Index {
                        self.by_place(node, values, whole, new, part)
                    } else {
                        let given = Given { args: &node.args, values };
                        written_back(undo, &given, values.array(whole)?, values.array(new)?, part)
                    };
                    values.set(whole, Item::Array(back.map_err(|error| at(error, node))?));
                }
                Step::Copy { from, to } => {
                    if let Some(item) = values.get(from).cloned() {
                        values.set(to, item);
                    }
                }
                Step::Forget(slot) => values.forget(slot),
            }
        }
        Ok(())
    }

    /// What is written to a view, in the tensor that it is a view of: the view of all places says where each element belongs.
    fn by_place(&mut self, node: &Node, values: &mut Values, whole: Slot, new: Slot, part: usize) -> Result<Array> {
        let (own, new) = (values.array(whole)?.clone(), values.array(new)?.clone());
        let numel = i64::try_from(own.numel()).unwrap_or(i64::MAX);
        let places = Array::arange(Number::Int(0), Number::Int(numel), Number::Int(1), None, &own.device())?;
        values.set(whole, Item::Array(places.reshaped(own.shape())?));
        let viewed = self.computed(node, values);
        values.set(whole, Item::Array(own.clone()));
        let places = match viewed?.0 {
            Out::One(places) => Some(places),
            Out::Many(all) => all.into_iter().nth(part),
            _ => None,
        };
        let places = places.ok_or_else(|| refused(node.op.name, "it gives no view"))?;
        let mut seen = vec![false; own.numel()];
        let is_new = |place: i64| {
            let seen = usize::try_from(place).ok().and_then(|place| seen.get_mut(place));
            seen.is_some_and(|seen| !std::mem::replace(seen, true))
        };
        if !places.ints()?.into_iter().all(is_new) {
            let reason = "what is written to shows elements several times, which is not supported";
            return Err(refused(node.op.name, reason));
        }
        let (index, flat) = (places.reshaped(&[places.numel()])?, new.reshaped(&[new.numel()])?);
        own.reshaped(&[own.numel()])?.index_put(&[Some(index)], &flat, false)?.reshaped(own.shape())
    }

    fn node(&mut self, index: usize, values: &mut Values) -> Result<()> {
        let node = &self.plan.nodes[index];
        if node.counts && !self.train {
            // The counter stays as it is.
            if let (Some(slot), Some(&output)) = (node.writes, node.outputs.first()) {
                let item = values.array(slot)?.clone();
                values.set(output, Item::Array(item));
            }
            return Ok(());
        }
        let (mut out, writes) = self.computed(node, values)?;
        if let Some(slot) = node.writes {
            out = in_place(out, values.array(slot)?).map_err(|error| at(error, node))?;
        }
        for (slot, array) in writes {
            values.set(slot, Item::Array(array));
        }
        if let (Some(counter), true) = (node.counter, self.trains(node)) {
            let count = values.array(counter)?.add(Number::Int(1))?;
            values.set(counter, Item::Array(count));
        }
        store(node, out, values)
    }

    /// Whether a node computes as in training.
    fn trains(&self, node: &Node) -> bool {
        self.train && node.running_mean().is_none_or(|mean| !self.still.contains(&mean))
    }

    /// What a node gives. The backend panics at what it cannot do: that is an error of the node.
    fn computed(&mut self, node: &Node, values: &Values) -> Result<(Out, Vec<(Slot, Array)>)> {
        let given = Given { args: &node.args, values };
        let mut call = Call {
            given,
            train: self.trains(node),
            device: self.device,
            generator: &mut *self.generator,
            order: &node.order,
            blocks: &node.blocks,
            around: self.around,
            writes: Vec::new(),
        };
        let region = node.region.within(self.around);
        if region.is_none() {
            self.cache.clear();
        }
        let run = catch_unwind(AssertUnwindSafe(|| computed(node, &mut call, region, &mut self.cache)));
        let out = run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason");
            Err(refused(node.op.name, format!("the device cannot do it: {text}")))
        });
        Ok((out.map_err(|error| at(error, node))?, call.writes))
    }
}

impl Block {
    /// Runs the graph on these values, and gives its outputs.
    pub(super) fn run(
        &self,
        given: Vec<Item>,
        train: bool,
        device: &Device,
        around: Option<DType>,
        generator: &mut Generator,
    ) -> Result<Vec<Item>> {
        let mut values = Values::new(self.plan.names.len());
        if given.len() != self.inputs.len() {
            let reason = format!("a graph takes {} values, and is given {}", self.inputs.len(), given.len());
            return Err(refused("control flow", reason));
        }
        for (slot, item) in self.inputs.iter().zip(given) {
            values.set(*slot, item);
        }
        let cache = Cache::default();
        let still = &BTreeSet::new();
        Running { plan: &self.plan, train, still, device, generator, around, cache }.run(&mut values)?;
        let output = |output: &OutputValue| match output {
            OutputValue::None => Ok(Item::None),
            OutputValue::Number(number) => Ok(Item::Number(*number)),
            OutputValue::Slot(slot) => {
                values.get(*slot).cloned().ok_or_else(|| refused("control flow", "an output of a graph is not there"))
            }
        };
        self.outputs.iter().map(output).collect()
    }
}

/// A result in the shape and type of what it is written to.
fn in_place(out: Out, target: &Array) -> Result<Out> {
    match out {
        Out::One(array) => Ok(Out::One(array.cast(target.dtype())?.expanded(target.shape())?)),
        other => Ok(other),
    }
}

fn store(node: &Node, out: Out, values: &mut Values) -> Result<()> {
    let items: Vec<Item> = match out {
        Out::One(array) if node.outputs.len() == 1 => {
            values.set(node.outputs[0], Item::Array(array));
            return Ok(());
        }
        Out::One(array) => vec![Item::Array(array)],
        Out::Many(arrays) => arrays.into_iter().map(Item::Array).collect(),
        Out::Items(items) => items,
        Out::Number(number) => vec![Item::Number(number)],
        Out::Nothing => return Ok(()),
    };
    if items.len() < node.outputs.len() {
        let reason = format!("it gives {} values, and the program wants {}", items.len(), node.outputs.len());
        return Err(at(refused(node.op.name, reason), node));
    }
    for (slot, item) in node.outputs.iter().zip(items) {
        values.set(*slot, item);
    }
    Ok(())
}

/// The error, with where it happened.
fn at(error: ModelError, node: &Node) -> ModelError {
    ModelError::Node { operation: node.op.name.to_owned(), place: node.place.to_string(), reason: Box::new(error) }
}
