//! The operations of exported programs: one row each, by the name that PyTorch's operator has, with the names of its
//! arguments. What a row does not know is refused when the program is opened, never passed over.

mod arithmetic;
mod control;
mod create;
mod decomposed;
mod fold;
mod layers;
mod linear_algebra;
mod losses;
mod names;
mod order;
mod reductions;
pub(super) mod row;
mod special;
pub(super) mod views;

use std::collections::HashMap;
use std::sync::OnceLock;

use row::{Op, Undo, View};

/// The rows by what they are about, as docs/networks.md lists them.
const ROWS: &[(&str, &[&[Op]])] = &[
    ("element by element, and numbers from shapes", &[arithmetic::OPS, special::OPS]),
    ("sums, extremes, sorting", &[reductions::OPS, order::OPS]),
    ("matrices", &[linear_algebra::OPS]),
    ("shapes and indices", &[views::OPS, fold::OPS]),
    ("layers", &[layers::OPS]),
    ("losses", &[losses::OPS]),
    ("new tensors", &[create::OPS]),
    ("what `run_decompositions()` leaves", &[decomposed::OPS]),
    ("branches and loops", &[control::OPS]),
];

/// Every operation by its name.
fn table() -> &'static HashMap<&'static str, &'static Op> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Op>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows = ROWS.iter().flat_map(|(_, files)| files.iter().copied()).flatten();
        rows.map(|op| (op.name, op)).collect()
    })
}

/// The operations that copy what others give as a view.
fn copies() -> &'static HashMap<String, Op> {
    static COPIES: OnceLock<HashMap<String, Op>> = OnceLock::new();
    COPIES.get_or_init(|| {
        let view = |op: &&Op| names::COPIED.contains(&base_of(op.name));
        let copy = |op: &'static Op| {
            let Op { name, args, run, .. } = *op;
            (renamed(name, &format!("{}_copy", base_of(name))), Op { name, args, run, view: View::No })
        };
        table().values().copied().filter(view).map(copy).collect()
    })
}

/// `add` of `aten.add.Tensor`.
fn base_of(name: &str) -> &str {
    name.split('.').nth(1).unwrap_or(name)
}

/// `aten.sub.Tensor` of `aten.add.Tensor` and `sub`.
fn renamed(name: &str, base: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(place) = parts.get_mut(1) {
        *place = base;
    }
    parts.join(".")
}

/// An operation, and whether it writes its result to its first argument (`add_` for `add`).
pub(super) fn find(target: &str) -> Option<(&'static Op, bool)> {
    let name = target.strip_prefix("torch.ops.").unwrap_or(target);
    let renamed = names::RENAMED.iter().find(|(other, _)| name.strip_prefix("aten.") == Some(other));
    if let Some((other, row)) = renamed {
        let written = other.starts_with("__i")
            || other.split('.').next().is_some_and(|base| !base.starts_with('_') && base.ends_with('_'));
        return table().get(&*format!("aten.{row}")).map(|op| (*op, written));
    }
    if let Some(op) = known(name) {
        return Some((op, false));
    }
    // `aten.add_.Tensor` is `aten.add.Tensor`, written to its first argument. `__and__` and `_softmax` are other names.
    let (library, rest) = name.split_once('.')?;
    let (base, overload) = rest.split_once('.').unwrap_or((rest, ""));
    let plain = match base.strip_prefix("__i").filter(|_| base.ends_with("__")) {
        // `x |= y`
        Some(rest) => format!("__{rest}"),
        None => base.strip_suffix('_').filter(|plain| !plain.ends_with('_'))?.to_owned(),
    };
    let functional =
        if overload.is_empty() { format!("{library}.{plain}") } else { format!("{library}.{plain}.{overload}") };
    // Overloads that have another name in place.
    let functional = match functional.as_str() {
        "aten.pow.Scalar" => "aten.pow.Tensor_Scalar",
        "aten.transpose.default" => "aten.transpose.int",
        same => same,
    };
    // One that changes the shape of what it is written to (`squeeze_`, `t_`) gives another view of it, by which it is read from
    // then on.
    let op = known(functional)?;
    let keeps_shape = !matches!(op.view, View::Always(undo) | View::WhenUnchanged(undo) if undo != Undo::Same);
    Some((op, keeps_shape))
}

/// The row of this name, of the name that it is another for, or of the view that it copies.
fn known(name: &str) -> Option<&'static Op> {
    if let Some(op) = table().get(name) {
        return Some(op);
    }
    let base = base_of(name);
    let other = names::ALIASES.iter().find(|(alias, _)| *alias == base).map(|(_, other)| *other);
    let other = other.and_then(|other| table().get(&*renamed(name, other)));
    other.copied().or_else(|| copies().get(name))
}

/// The names of all operations, without those that are others' twins.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = table().keys().copied().collect();
    names.sort_unstable();
    names
}

/// The table of operations of docs/networks.md, as these rows say it.
#[must_use]
pub fn markdown() -> String {
    names::markdown(ROWS)
}
