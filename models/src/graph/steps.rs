//! What a program is once it is ready: its nodes, the graphs within them, and the order of what is done.

use std::collections::{BTreeSet, HashMap};

use super::autocast::{Policy, Region};
use super::item::{Arg, Slot};
use super::ops::row::Op;
use super::place::Place;
use crate::functional::Number;

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
    /// Whether of 16-bit numbers it is computed in float32.
    pub(super) wide: bool,
    /// What autocast casts to where it is, and which of its arguments.
    pub(super) region: Region,
    pub(super) policy: Policy,
    /// The graphs that it runs: branches, or the body of a loop.
    pub(super) blocks: Vec<Block>,
}

impl Node {
    /// The running mean that a batch norm is given.
    pub(super) fn running_mean(&self) -> Option<Slot> {
        let (_, mean) = self.args.iter().find(|(name, _)| *name == "running_mean")?;
        match mean {
            Arg::Tensor(slot) if self.op.name.contains("batch_norm") => Some(*slot),
            _ => None,
        }
    }
}

/// A graph that an operation runs: a branch, or the body of a loop.
pub(super) struct Block {
    pub(super) plan: Plan,
    pub(super) inputs: Vec<Slot>,
    pub(super) outputs: Vec<OutputValue>,
}

/// What a graph gives for one of its outputs.
pub(super) enum OutputValue {
    Slot(Slot),
    Number(Number),
    None,
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

/// What is done, in order.
pub(super) enum Step {
    /// Computes a node.
    Run(usize),
    /// Takes the new value of a view into the tensor that it is a view of.
    WriteBack { node: usize, part: usize, whole: Slot, new: Slot },
    /// The value is another's, too.
    Copy { from: Slot, to: Slot },
    /// Computes a view anew.
    Again(usize),
    /// The value is not needed any more.
    Forget(Slot),
}
