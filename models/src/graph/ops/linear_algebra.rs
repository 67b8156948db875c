//! Matrices: determinants, inverses, norms, products of several.

use burn::tensor::DType;

use super::arithmetic::typed;
use super::row::{Call, Out, Undo, View, ops};
use crate::Result;
use crate::functional::{Array, Number, refused};
use crate::graph::item::{Given, Item};

/// What says that all went well, for each matrix of a batch.
fn no_errors(x: &Array) -> Array {
    let batch = &x.shape()[..x.rank().saturating_sub(2)];
    Array::full(batch, Number::Int(0), DType::I32, &x.device())
}

fn matrix_norm(g: &Given<'_>, default: Option<f64>) -> Result<Array> {
    let x = typed(g)?;
    let dims = g.maybe_ints("dim")?.unwrap_or_else(|| vec![-2, -1]);
    let ord = match g.text("ord") {
        Some("fro") => None,
        Some(other) => return Err(refused("matrix_norm", format!("the order '{other}' is not supported"))),
        None => g.maybe_float("ord")?.or(default),
    };
    x.matrix_norm(ord, &dims, g.flag("keepdim", false)?)
}

/// A norm of vectors, or of matrices where an order and two dimensions are meant.
fn any_norm(g: &Given<'_>) -> Result<Array> {
    let x = typed(g)?;
    let by_name = g.text("ord").is_some();
    let ord = if by_name { None } else { g.maybe_float("ord")? };
    let (dims, keepdim) = (g.maybe_ints("dim")?, g.flag("keepdim", false)?);
    let named = ord.is_some() || by_name;
    let of_matrix = named && dims.as_ref().map_or(x.rank() == 2, |dims| dims.len() == 2);
    if of_matrix || by_name {
        return matrix_norm(g, None);
    }
    match (dims, ord) {
        (Some(dims), ord) => x.vector_norm(ord.unwrap_or(2.0), &dims, keepdim),
        (None, None) => x.vector_norm(2.0, &[], keepdim),
        (None, Some(ord)) => x.vector_norm(ord, &[-1], keepdim),
    }
}

/// `beta * self + alpha * ` the sum of all products of a batch.
fn products_added(c: &Call<'_>) -> Result<Array> {
    let number = |name: &str| Ok::<_, crate::ModelError>(c.given.maybe_number(name)?.unwrap_or(Number::Int(1)));
    let (a, b) = (c.given.tensor("batch1")?, c.given.tensor("batch2")?);
    let (rows, columns) = (a.transpose(0, 1)?.flatten(1, 2)?, b.flatten(0, 1)?);
    c.given.tensor("self")?.add_product(&rows, &columns, number("beta")?, number("alpha")?)
}

fn cross(g: &Given<'_>) -> Result<Array> {
    let (x, other) = (g.tensor("self")?, g.tensor("other")?);
    let first = || {
        let place = x.shape().iter().position(|&length| length == 3);
        place.map(crate::functional::signed).ok_or_else(|| refused("cross", "no dimension has length 3"))
    };
    x.cross(other, g.maybe_int("dim")?.map_or_else(first, Ok)?)
}

ops! {
    "aten.linalg_det.default" (A) |c| c.given.tensor("A")?.det()?;
    "aten.det.default" (self) |c| c.given.tensor("self")?.det()?;
    "aten._linalg_det.default" (A) |c| Out::Items(vec![Item::Array(c.given.tensor("A")?.det()?), Item::None, Item::None]);
    "aten.linalg_slogdet.default" (A) |c| c.given.tensor("A")?.slogdet()?;
    "aten.slogdet.default" (self) |c| c.given.tensor("self")?.slogdet()?;
    "aten._linalg_slogdet.default" (A) |c| {
        let (sign, log) = c.given.tensor("A")?.slogdet()?;
        Out::Items(vec![Item::Array(sign), Item::Array(log), Item::None, Item::None])
    };
    "aten.logdet.default" (self) |c| c.given.tensor("self")?.logdet()?;
    "aten.linalg_inv.default" (A) |c| c.given.tensor("A")?.inverse()?;
    "aten.inverse.default" (self) |c| c.given.tensor("self")?.inverse()?;
    "aten.linalg_inv_ex.default" (A, check_errors) |c| (c.given.tensor("A")?.inverse()?, no_errors(c.given.tensor("A")?));
    "aten.linalg_solve.default" (A, B, left) |c| c.given.tensor("A")?.solve(c.given.tensor("B")?, c.given.flag("left", true)?)?;
    "aten.linalg_solve_ex.default" (A, B, left, check_errors) |c| {
        let x = c.given.tensor("A")?;
        (x.solve(c.given.tensor("B")?, c.given.flag("left", true)?)?, no_errors(x))
    };
    "aten.linalg_cholesky.default" (self, upper) |c| c.given.tensor("self")?.cholesky(c.given.flag("upper", false)?)?;
    "aten.linalg_cholesky_ex.default" (self, upper, check_errors) |c| (c.given.tensor("self")?.cholesky(c.given.flag("upper", false)?)?, no_errors(c.given.tensor("self")?));
    "aten.linalg_matrix_power.default" (self, n) |c| c.given.tensor("self")?.matrix_power(c.given.int("n", 1)?)?;
    "aten.linalg_multi_dot.default" (tensors) |c| Array::multi_dot(&c.given.tensors("tensors")?)?;
    "aten.chain_matmul.default" (matrices) |c| Array::multi_dot(&c.given.tensors("matrices")?)?;
    "aten.linalg_vecdot.default" (x, y, dim) |c| c.given.tensor("x")?.mul(c.given.tensor("y")?)?.sum(&[c.given.int("dim", -1)?], false)?;
    "aten.linalg_diagonal.default" (A, offset, dim1, dim2) [View::Always(Undo::Index)] |c| c.given.tensor("A")?.diagonal(c.given.int("offset", 0)?, c.given.int("dim1", -2)?, c.given.int("dim2", -1)?)?;
    "aten.linalg_matrix_norm.default" (self, ord, dim, keepdim, dtype) |c| matrix_norm(&c.given, None)?;
    "aten.linalg_matrix_norm.str_ord" (self, ord, dim, keepdim, dtype) |c| matrix_norm(&c.given, None)?;
    "aten.linalg_norm.default" (self, ord, dim, keepdim, dtype) |c| any_norm(&c.given)?;
    "aten.linalg_norm.ord_str" (self, ord, dim, keepdim, dtype) |c| any_norm(&c.given)?;
    "aten.frobenius_norm.dim" (self, dim, keepdim) |c| c.given.tensor("self")?.vector_norm(2.0, &c.given.ints("dim")?, c.given.flag("keepdim", false)?)?;
    "aten.norm.ScalarOpt_dim_dtype" (self, p, dim, keepdim, dtype) |c| typed(&c.given)?.vector_norm(c.given.float("p", 2.0)?, &c.given.ints("dim")?, c.given.flag("keepdim", false)?)?;
    "aten.norm.ScalarOpt_dtype" (self, p, dtype) |c| typed(&c.given)?.vector_norm(c.given.float("p", 2.0)?, &[], false)?;
    "aten.linalg_cross.default" (self, other, dim) |c| c.given.tensor("self")?.cross(c.given.tensor("other")?, c.given.int("dim", -1)?)?;
    "aten.cross.default" (self, other, dim) |c| cross(&c.given)?;
    "aten.kron.default" (self, other) |c| c.given.tensor("self")?.kron(c.given.tensor("other")?)?;
    "aten.tensordot.default" (self, other, dims_self, dims_other) |c| c.given.tensor("self")?.tensordot(c.given.tensor("other")?, &c.given.ints("dims_self")?, &c.given.ints("dims_other")?)?;
    "aten.addbmm.default" (self, batch1, batch2, beta, alpha) |c| products_added(c)?;
    "aten.block_diag.default" (tensors) |c| Array::block_diag(&c.given.tensors("tensors")?)?;
    "aten.renorm.default" (self, p, dim, maxnorm) |c| c.given.tensor("self")?.renorm(c.given.float("p", 2.0)?, c.given.int("dim", 0)?, c.given.float("maxnorm", 1.0)?)?;
}
