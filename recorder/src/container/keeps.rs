//! What a format keeps of a checkpoint; a row of the table of formats has it, and what is lost is said by it.

use crate::Value;

/// What a format keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeps {
    pub(crate) values: Values,
    /// How its tensors may lie in memory.
    pub(crate) order: Order,
    /// That two names stand for the same elements.
    pub(crate) ties: bool,
    /// Programs: its files hold code beside the weights.
    pub(crate) programs: bool,
    /// Pickles: its files hold some, or archives that may.
    pub(crate) pickles: bool,
}

impl Keeps {
    /// Whatever a pickle can hold.
    pub(crate) const ALL: Keeps =
        Keeps { values: Values::All, order: Order::Any, ties: true, programs: false, pickles: true };
    /// Tensors under names, each with bytes of its own, row by row.
    pub(crate) const TENSORS: Keeps =
        Keeps { values: Values::Tensors, order: Order::RowMajor, ties: false, programs: false, pickles: false };
    /// Programs, and what belongs to them.
    pub(crate) const PROGRAMS: Keeps = Keeps { programs: true, ..Keeps::ALL };
}

/// Which values a format keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// All, objects too.
    All,
    /// Tensors under names.
    Tensors,
    /// These, and numbers under names.
    TensorsAndNumbers,
}

impl Values {
    /// Whether a value is kept.
    pub(crate) fn hold(self, value: &Value) -> bool {
        match value {
            Value::Tensor(_) => true,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => self != Values::Tensors,
            _ => self == Values::All,
        }
    }

    /// For messages.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Values::All => "everything",
            Values::Tensors => "tensors",
            Values::TensorsAndNumbers => "tensors and numbers",
        }
    }
}

/// How the tensors of a format may lie in memory. Where not everything is kept, gaps between elements are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row by row.
    RowMajor,
    /// Row by row or column by column.
    Fortran,
    /// The dimensions in any order.
    Any,
}
