//! The operations of exported programs: one row each, by the name that PyTorch's operator has, with the names of its
//! arguments. What a row does not know is refused when the program is opened, never passed over.

mod arithmetic;
mod create;
mod decomposed;
mod layers;
mod losses;
mod reductions;
pub(super) mod views;

use std::collections::HashMap;
use std::sync::OnceLock;

use burn::tensor::Device;
use rekindle_random::Generator;

use super::item::{Given, Item, Slot};
use crate::Result;
use crate::functional::{Array, Number};

/// What an operation gives.
pub(super) enum Out {
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
pub(super) struct Call<'a> {
    pub(super) given: Given<'a>,
    /// Whether the program trains.
    pub(super) train: bool,
    pub(super) device: &'a Device,
    pub(super) generator: &'a mut Generator,
    /// The order of dimensions in which the first argument lies in memory; none where that is their own.
    pub(super) order: &'a [usize],
    /// Values that become others: the running statistics of a batch norm.
    pub(super) writes: Vec<(Slot, Array)>,
}

impl Call<'_> {
    /// The value that this argument reads becomes another.
    pub(super) fn write(&mut self, argument: &str, array: Array) {
        if let Some(slot) = self.given.slot(argument) {
            self.writes.push((slot, array));
        }
    }
}

/// Whether the result shares its memory with an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Never: a new tensor.
    No,
    /// Always; what is written to the result is written to the argument by [`Undo`].
    Always(Undo),
    /// When nothing had to be changed: the type, or elements that do not lie as they should.
    WhenUnchanged(Undo),
    /// The argument itself in evaluation: dropout.
    InEvaluation,
}

/// How what is written to a view comes to what it is a view of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
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
pub(super) struct Op {
    /// Its name without `torch.ops.`, such as `aten.add.Tensor`.
    pub(super) name: &'static str,
    /// The names of its arguments.
    pub(super) args: &'static [&'static str],
    pub(super) run: fn(&mut Call<'_>) -> Result<Out>,
    pub(super) view: View,
}

impl Op {
    /// Whether it draws an element for each of its first argument, in the order of memory.
    pub(super) fn draws(&self) -> bool {
        ["aten.dropout.default", "aten.native_dropout.default", "aten.bernoulli_.float"].contains(&self.name)
    }
}

/// Rows of operations: the name, the arguments, whether the result is a view, and how it is computed.
macro_rules! ops {
    ($($name:literal ($($arg:tt),* $(,)?) $([$view:expr])? |$c:ident| $run:expr;)*) => {
        pub(super) const OPS: &[$crate::graph::ops::Op] = &[$(
            $crate::graph::ops::Op {
                name: $name,
                args: &[$(stringify!($arg)),*],
                run: |$c| { let out = $run; Ok(out.into()) },
                view: ops!(@view $($view)?),
            },
        )*];
    };
    (@view) => { $crate::graph::ops::View::No };
    (@view $view:expr) => { $view };
}
use ops;

/// Every operation by its name.
fn table() -> &'static HashMap<&'static str, &'static Op> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Op>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows =
            [arithmetic::OPS, create::OPS, decomposed::OPS, layers::OPS, losses::OPS, reductions::OPS, views::OPS];
        rows.into_iter().flatten().map(|op| (op.name, op)).collect()
    })
}

/// An operation, and whether it writes its result to its first argument (`add_` for `add`).
pub(super) fn find(target: &str) -> Option<(&'static Op, bool)> {
    let name = target.strip_prefix("torch.ops.").unwrap_or(target);
    if let Some(op) = table().get(name) {
        return Some((op, false));
    }
    // `aten.add_.Tensor` is `aten.add.Tensor`, written to its first argument. `__and__` and `_softmax` are other names.
    let (library, rest) = name.split_once('.')?;
    let (base, overload) = rest.split_once('.').unwrap_or((rest, ""));
    let plain = base.strip_suffix('_').filter(|plain| !plain.ends_with('_'))?;
    let functional =
        if overload.is_empty() { format!("{library}.{plain}") } else { format!("{library}.{plain}.{overload}") };
    // One that changes the shape of what it is written to (`squeeze_`, `t_`) is none of these.
    let keeps_shape =
        |op: &&&Op| !matches!(op.view, View::Always(undo) | View::WhenUnchanged(undo) if undo != Undo::Same);
    table().get(functional.as_str()).filter(keeps_shape).map(|op| (*op, true))
}

/// The names of all operations.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = table().keys().copied().collect();
    names.sort_unstable();
    names
}
