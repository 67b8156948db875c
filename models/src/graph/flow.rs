//! The order in which a program is run, with what is written in place made functional.
//!
//! PyTorch's programs write to tensors (`relu_`, `slice` then `fill_`, a batch norm's counter), and what is a view of a tensor
//! changes with it. Here every operation gives a new value. So after one that writes, the new value goes up to what the written
//! tensor is a view of ([`Step::WriteBack`]), and from there down to the other views of it that are read later
//! ([`Step::Again`]). Where nobody reads one of them later, nothing of that is done.

use std::collections::{BTreeSet, HashMap};

use super::item::{Arg, Num, Slot};
use super::ops::row::{Undo, View};
use super::schema::{Size, TensorMeta};
use super::steps::{Node, Step};
use crate::functional::Number;

/// What a value is a view of.
#[derive(Clone, Copy)]
struct Link {
    whole: Slot,
    /// The node that made the view, and which of its outputs it is; `None` where it is the same tensor under another name.
    made: Option<(usize, usize)>,
}

/// Orders the steps, and makes what is written in place functional.
pub(super) struct Flow<'a> {
    nodes: &'a [Node],
    metas: &'a HashMap<Slot, &'a TensorMeta>,
    links: HashMap<Slot, Link>,
    /// The last node that reads each value; the number of nodes for a result.
    last_read: Vec<Option<usize>>,
    pub(super) steps: Vec<Step>,
    pub(super) written: BTreeSet<Slot>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        metas: &'a HashMap<Slot, &'a TensorMeta>,
        count: usize,
        results: &[Slot],
    ) -> Self {
        let mut last_read = vec![None; count];
        for (index, node) in nodes.iter().enumerate() {
            for slot in node.args.iter().flat_map(|(_, arg)| arg.slots()) {
                last_read[slot] = Some(index);
            }
        }
        for &slot in results {
            last_read[slot] = Some(nodes.len());
        }
        Flow { nodes, metas, links: HashMap::new(), last_read, steps: Vec::new(), written: BTreeSet::new() }
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            self.steps.push(Step::Run(index));
            self.link(index);
            if let (Some(slot), Some(&output)) = (node.writes, node.outputs.first()) {
                self.links.insert(output, Link { whole: slot, made: None });
                self.steps.push(Step::Copy { from: output, to: slot });
                self.written(index, slot, output)?;
            }
            for name in ["running_mean", "running_var"] {
                let arg = node.args.iter().find(|(known, _)| *known == name).map(|(_, arg)| arg);
                if let Some(Arg::Tensor(slot)) = arg.filter(|_| node.op.name.contains("norm")) {
                    self.written.insert(*slot);
                }
            }
            if let Some(counter) = node.counter {
                self.written.insert(counter);
            }
        }
        Ok(())
    }

    /// Notes of what the node's outputs are views.
    fn link(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some((_, Arg::Tensor(whole))) = node.args.first() else { return };
        let is_view = match node.op.view {
            View::No => false,
            View::Always(_) | View::InEvaluation => true,
            View::WhenUnchanged(_) => self.is_unchanged(*whole, node),
        };
        if is_view {
            for (part, &output) in node.outputs.iter().enumerate() {
                self.links.insert(output, Link { whole: *whole, made: Some((index, part)) });
            }
        }
    }

    /// Whether an operation that copies only where it must did not have to: the type is the same, and the result's strides are
    /// those that a view would have.
    fn is_unchanged(&self, whole: Slot, node: &Node) -> bool {
        let copies = node
            .args
            .iter()
            .any(|(name, arg)| *name == "copy" && matches!(arg, Arg::Number(Num::Known(Number::Bool(true)))));
        let meta = |slot: &Slot| self.metas.get(slot);
        let (Some(from), Some(to)) = (meta(&whole), node.outputs.first().and_then(meta)) else { return true };
        if copies || from.dtype != to.dtype {
            return false;
        }
        let numbers = |sizes: &[Size]| sizes.iter().map(Size::hint).collect::<Option<Vec<i64>>>();
        let all = [&from.sizes, &from.strides, &to.sizes].map(|sizes| numbers(sizes));
        let [Some(sizes), Some(strides), Some(new)] = all else { return true };
        if node.op.name.starts_with("aten.contiguous") {
            return is_contiguous(&sizes, &strides);
        }
        can_view(&sizes, &strides, &new)
    }

    /// Brings a new value to all other names of the same memory that are read later.
    fn written(&mut self, index: usize, slot: Slot, output: Slot) -> Result<(), String> {
        let mut root = slot;
        while let Some(link) = self.links.get(&root).filter(|link| link.whole != root) {
            root = link.whole;
        }
        self.written.insert(root);
        let family: Vec<Slot> = self.family(root);
        let is_read = |slot: &Slot| self.last_read[*slot].is_some_and(|last| last > index);
        let is_input = |slot: &Slot| self.nodes.iter().all(|node| !node.outputs.contains(slot));
        let others = family.iter().any(|other| *other != output && *other != slot && is_read(other));
        // A parameter, buffer or input that is written to is looked at after the run.
        if !others && !is_input(&root) {
            return Ok(());
        }
        // Up: from the written view to what it is a view of.
        let mut fresh = BTreeSet::from([slot, output]);
        let mut at = slot;
        while let Some(&Link { whole, made }) = self.links.get(&at) {
            match made {
                None => self.steps.push(Step::Copy { from: at, to: whole }),
                Some((node, part)) => {
                    if self.nodes[node].op.view.undo() == Some(Undo::Refused) {
                        let place = &self.nodes[index].place;
                        return Err(format!(
                            "{} writes to a view that {} made, which is not supported ({place})",
                            self.nodes[index].op.name, self.nodes[node].op.name
                        ));
                    }
                    self.steps.push(Step::WriteBack { node, part, whole, new: at });
                }
            }
            fresh.insert(whole);
            at = whole;
        }
        // Down: the other views, in the order in which they were made.
        for other in family {
            let Some(&Link { whole, made }) = self.links.get(&other) else { continue };
            if fresh.contains(&other) || !fresh.contains(&whole) {
                continue;
            }
            match made {
                None => self.steps.push(Step::Copy { from: whole, to: other }),
                Some((node, _)) => {
                    self.steps.push(Step::Again(node));
                    fresh.extend(self.nodes[node].outputs.iter().copied());
                }
            }
            fresh.insert(other);
        }
        Ok(())
    }

    /// The tensor and all that is a view of it, in the order in which they were made.
    fn family(&self, root: Slot) -> Vec<Slot> {
        let mut family = BTreeSet::from([root]);
        // Slots are numbered as they are made: a view comes after what it is a view of.
        let mut linked: Vec<(&Slot, &Link)> = self.links.iter().collect();
        linked.sort_unstable_by_key(|(slot, _)| **slot);
        for (slot, link) in linked {
            if family.contains(&link.whole) {
                family.insert(*slot);
            }
        }
        family.into_iter().collect()
    }
}

fn is_contiguous(sizes: &[i64], strides: &[i64]) -> bool {
    let mut expected = 1;
    for (&size, &stride) in sizes.iter().zip(strides).rev() {
        if size != 1 && stride != expected {
            return false;
        }
        expected *= size.max(1);
    }
    true
}

/// Whether a tensor that lies so can be seen in another shape without a copy (`computeStride` of `ATen`).
fn can_view(sizes: &[i64], strides: &[i64], new: &[i64]) -> bool {
    if sizes.contains(&0) || new.contains(&0) {
        return true;
    }
    let mut view = new.iter().rev().copied().filter(|&size| size != 1).peekable();
    let mut chunk = 1;
    let mut base = strides.last().copied().unwrap_or(1);
    for dim in (0..sizes.len()).rev() {
        chunk *= sizes[dim];
        let ends = dim == 0 || (sizes[dim - 1] != 1 && strides[dim - 1] != chunk * base);
        if !ends {
            continue;
        }
        let mut taken = 1;
        while let Some(&size) = view.peek() {
            if taken == chunk {
                break;
            }
            taken *= size;
            view.next();
        }
        if taken != chunk {
            return false;
        }
        if dim > 0 {
            chunk = 1;
            base = strides[dim - 1];
        }
    }
    view.peek().is_none()
}

/// The same steps, each value forgotten after its last use.
pub(super) fn forgetting(steps: Vec<Step>, nodes: &[Node], results: &[Slot], written: &BTreeSet<Slot>) -> Vec<Step> {
    let uses = |step: &Step| -> Vec<Slot> {
        let of_node = |node: &usize| {
            let node: &Node = &nodes[*node];
            let args = node.args.iter().flat_map(|(_, arg)| arg.slots());
            args.chain(node.outputs.iter().copied()).chain(node.counter).collect::<Vec<Slot>>()
        };
        match step {
            Step::Run(node) | Step::Again(node) => of_node(node),
            Step::WriteBack { node, whole, new, .. } => {
                let mut all = of_node(node);
                all.extend([*whole, *new]);
                all
            }
            Step::Copy { from, to } => vec![*from, *to],
            Step::Forget(_) => Vec::new(),
        }
    };
    let mut last: HashMap<Slot, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        for slot in uses(step) {
            last.insert(slot, index);
        }
    }
    let mut ends: HashMap<usize, Vec<Slot>> = HashMap::new();
    for (slot, index) in last {
        if !results.contains(&slot) && !written.contains(&slot) {
            ends.entry(index).or_default().push(slot);
        }
    }
    let mut all = Vec::with_capacity(steps.len() * 2);
    for (index, step) in steps.into_iter().enumerate() {
        all.push(step);
        all.extend(ends.remove(&index).into_iter().flatten().map(Step::Forget));
    }
    all
}
