//! A row of the table of operations: what an operation is called, takes, gives and does.

use burn::tensor::Device;
use rekindle_random::Generator;

use crate::Result;
use crate::functional::{Array, Number};
use crate::graph::item::{Given, Item, Slot};

/// What an operation gives.
pub(in crate::graph) enum Out {
    One(Array),
    Many(Vec<Array>),
    Items(Vec<Item>),
    Number(Number),
    /// Nothing: an assertion that the program was exported with.
    Nothing,
}

impl From<Array> for Out {
    fn from(array: Array) -> Self {
        Out::One(array)
    }
}

impl From<Vec<Array>> for Out {
    fn from(arrays: Vec<Array>) -> Self {
        Out::Many(arrays)
    }
}

impl From<(Array, Array)> for Out {
    fn from((one, other): (Array, Array)) -> Self {
        Out::Many(vec![one, other])
    }
}

impl From<Number> for Out {
    fn from(number: Number) -> Self {
        Out::Number(number)
    }
}

/// A node that is computed.
pub(in crate::graph) struct Call<'a> {
    pub(in crate::graph) given: Given<'a>,
    /// Whether the program trains.
    pub(in crate::graph) train: bool,
    pub(in crate::graph) device: &'a Device,
    pub(in crate::graph) generator: &'a mut Generator,
    /// The order of dimensions in which the first argument lies in memory; none where that is their own.
    pub(in crate::graph) order: &'a [usize],
    /// Values that become others: the running statistics of a batch norm.
    pub(in crate::graph) writes: Vec<(Slot, Array)>,
}

impl Call<'_> {
    /// The value that this argument reads becomes another.
    pub(in crate::graph) fn write(&mut self, argument: &str, array: Array) {
        if let Some(slot) = self.given.slot(argument) {
            self.writes.push((slot, array));
        }
    }
}

/// Whether the result shares its memory with an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) enum View {
    /// Never: a new tensor.
    No,
    /// Always; what is written to the result is written to the argument by [`Undo`].
    Always(Undo),
    /// When nothing had to be changed: the type, or elements that do not lie as they should.
    WhenUnchanged(Undo),
    /// The argument itself in evaluation: dropout.
    InEvaluation,
}

impl View {
    /// How what is written to the result comes to the argument; `None` where it never does.
    pub(in crate::graph) fn undo(self) -> Option<Undo> {
        match self {
            View::No => None,
            View::Always(undo) | View::WhenUnchanged(undo) => Some(undo),
            View::InEvaluation => Some(Undo::Same),
        }
    }
}

/// How what is written to a view comes to what it is a view of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) enum Undo {
    /// It is the same tensor.
    Same,
    /// The same elements in another shape.
    Reshape,
    /// Dimensions in another order.
    Transpose,
    TransposeLast,
    Reverse,
    Permute,
    Move,
    /// A part of a dimension.
    Slice,
    Narrow,
    Select,
    /// One of several parts of a dimension.
    Parts,
    /// One of the places of a dimension.
    Places,
    /// In a way that is not supported.
    Refused,
}

/// An operation.
pub(in crate::graph) struct Op {
    /// Its name without `torch.ops.`, such as `aten.add.Tensor`.
    pub(in crate::graph) name: &'static str,
    /// The names of its arguments.
    pub(in crate::graph) args: &'static [&'static str],
    pub(in crate::graph) run: fn(&mut Call<'_>) -> Result<Out>,
    pub(in crate::graph) view: View,
}

impl Op {
    /// Whether it draws an element for each of its first argument, in the order of memory.
    pub(in crate::graph) fn draws(&self) -> bool {
        ["aten.dropout.default", "aten.native_dropout.default", "aten.bernoulli_.float"].contains(&self.name)
    }
}

/// Rows of operations: the name, the arguments, whether the result is a view, and how it is computed.
macro_rules! ops {
    ($($name:literal ($($arg:tt),* $(,)?) $([$view:expr])? |$c:ident| $run:expr;)*) => {
        pub(super) const OPS: &[$crate::graph::ops::row::Op] = &[$(
            $crate::graph::ops::row::Op {
                name: $name,
                args: &[$(stringify!($arg)),*],
                run: |$c| { let out = $run; Ok(out.into()) },
                view: ops!(@view $($view)?),
            },
        )*];
    };
    (@view) => { $crate::graph::ops::row::View::No };
    (@view $view:expr) => { $view };
}
pub(super) use ops;
