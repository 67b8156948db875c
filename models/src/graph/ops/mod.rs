//! The operations of exported programs: one row each, by the name that PyTorch's operator has, with the names of its
//! arguments. What a row does not know is refused when the program is opened, never passed over.

mod arithmetic;
mod create;
mod decomposed;
mod layers;
mod losses;
mod reductions;
pub(super) mod row;
pub(super) mod views;

use std::collections::HashMap;
use std::sync::OnceLock;

use row::{Op, Undo, View};

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
