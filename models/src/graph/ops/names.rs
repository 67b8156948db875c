//! Other names of operations, and how the documentation lists all of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::row::Op;

/// Operations that are others under another name, with the same overloads and arguments.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("__and__", "bitwise_and"),
    ("__or__", "bitwise_or"),
    ("__xor__", "bitwise_xor"),
    ("_unsafe_index_put", "index_put"),
    ("absolute", "abs"),
    ("arccos", "acos"),
    ("arccosh", "acosh"),
    ("arcsin", "asin"),
    ("arcsinh", "asinh"),
    ("arctan", "atan"),
    ("arctan2", "atan2"),
    ("arctanh", "atanh"),
    ("clip", "clamp"),
    ("concat", "cat"),
    ("concatenate", "cat"),
    ("conj", "alias"),
    ("divide", "div"),
    ("fix", "trunc"),
    ("ger", "outer"),
    ("greater", "gt"),
    ("greater_equal", "ge"),
    ("less", "lt"),
    ("less_equal", "le"),
    ("linalg_matmul", "matmul"),
    ("mH", "adjoint"),
    ("matrix_H", "adjoint"),
    ("matrix_power", "linalg_matrix_power"),
    ("moveaxis", "movedim"),
    ("multiply", "mul"),
    ("negative", "neg"),
    ("not_equal", "ne"),
    ("resolve_conj", "alias"),
    ("resolve_neg", "alias"),
    ("row_stack", "vstack"),
    ("special_digamma", "digamma"),
    ("special_erf", "erf"),
    ("special_erfc", "erfc"),
    ("special_erfinv", "erfinv"),
    ("special_exp2", "exp2"),
    ("special_expit", "sigmoid"),
    ("special_expm1", "expm1"),
    ("special_gammaln", "lgamma"),
    ("special_i0", "i0"),
    ("special_log1p", "log1p"),
    ("special_logit", "logit"),
    ("special_logsumexp", "logsumexp"),
    ("special_multigammaln", "mvlgamma"),
    ("special_polygamma", "polygamma"),
    ("special_psi", "digamma"),
    ("special_sinc", "sinc"),
    ("subtract", "sub"),
    ("trapz", "trapezoid"),
    ("true_divide", "div"),
    ("unsafe_chunk", "chunk"),
    ("unsafe_split", "split"),
    ("unsafe_split_with_sizes", "split_with_sizes"),
];

/// Operators whose overload has another name in the operation that they are: with a number, or written in place.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("__ilshift__.Scalar", "bitwise_left_shift.Tensor_Scalar"),
    ("__ilshift__.Tensor", "bitwise_left_shift.Tensor"),
    ("__irshift__.Scalar", "bitwise_right_shift.Tensor_Scalar"),
    ("__irshift__.Tensor", "bitwise_right_shift.Tensor"),
    ("__lshift__.Scalar", "bitwise_left_shift.Tensor_Scalar"),
    ("__lshift__.Tensor", "bitwise_left_shift.Tensor"),
    ("__rshift__.Scalar", "bitwise_right_shift.Tensor_Scalar"),
    ("__rshift__.Tensor", "bitwise_right_shift.Tensor"),
    ("float_power_.Scalar", "float_power.Tensor_Scalar"),
    ("float_power_.Tensor", "float_power.Tensor_Tensor"),
    ("floor_divide_.Tensor", "floor_divide.default"),
    ("ldexp_.default", "ldexp.Tensor"),
    ("pow_.Scalar", "pow.Tensor_Scalar"),
    ("pow_.Tensor", "pow.Tensor_Tensor"),
];

/// Views that have a twin which copies (`squeeze_copy` of `squeeze`).
pub(super) const COPIED: &[&str] = &[
    "alias",
    "detach",
    "expand",
    "narrow",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view",
];

/// One row a subject: each operation with its overloads in brackets.
pub(super) fn markdown(rows: &[(&str, &[&[Op]])]) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (subject, files) in rows {
        // Operators of Python come last, under their whole names.
        let mut overloads: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
        for op in files.iter().copied().flatten() {
            let (base, overload) = match op.name.strip_prefix("aten.") {
                Some(rest) => rest.split_once('.').unwrap_or((rest, "default")),
                None => (op.name, "default"),
            };
            overloads.entry((!op.name.starts_with("aten."), base)).or_default().push(overload);
        }
        let _ = write!(text, "| {subject} |");
        for ((_, base), mut found) in overloads {
            found.sort_unstable();
            let _ = match &*found {
                ["default"] => write!(text, " `{base}`"),
                _ => write!(text, " `{base}` ({})", found.join(", ")),
            };
        }
        text.push_str(" |\n");
    }
    let spelled = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(" ");
    let others = ALIASES.iter().chain(RENAMED).map(|(alias, other)| format!("`{alias}` ({other})"));
    let aliases = spelled(&mut others.into_iter());
    let copies = spelled(&mut COPIED.iter().map(|view| format!("`{view}_copy`")));
    let _ = writeln!(text, "| others under another name | {aliases} |\n| copies of views | {copies} |");
    text
}
