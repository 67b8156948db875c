//! Shapes that go together, and a choice between two tensors.

use super::array::{Array, BOOL, refused};
use super::number::{Operand, result_type};
use crate::Result;

/// The shape that both have together: dimensions are compared from the last on, those of length 1 are repeated.
///
/// # Errors
/// When a dimension of the two differs and is 1 in neither.
pub fn broadcast_shape(one: &[usize], other: &[usize]) -> Result<Vec<usize>> {
    let rank = one.len().max(other.len());
    let length = |shape: &[usize], dim: usize| (dim + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let both = |dim| match (length(one, dim), length(other, dim)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(refused("broadcasting", format!("tensors of {one:?} and {other:?} do not go together"))),
    };
    (0..rank).map(both).collect()
}

/// `torch.where(condition, one, other)`.
///
/// # Errors
/// When the shapes do not go together.
pub fn select<'a>(condition: &Array, one: impl Into<Operand<'a>>, other: impl Into<Operand<'a>>) -> Result<Array> {
    let (one, other) = (one.into(), other.into());
    let dtype = result_type(&[one, other]);
    let device = condition.device();
    let array = |operand: Operand<'_>| match operand {
        Operand::Array(array) => array.cast(dtype),
        Operand::Number(number) => Ok(Array::scalar(number, dtype, &device)),
    };
    let (one, other) = (array(one)?, array(other)?);
    let shape = broadcast_shape(&broadcast_shape(one.shape(), other.shape())?, condition.shape())?;
    let (one, other) = (one.expanded(&shape)?, other.expanded(&shape)?);
    if shape.contains(&0) {
        return Ok(Array::nothing(&shape, dtype, &[&one, &other]));
    }
    Ok(other.masked(&condition.cast(BOOL)?.expanded(&shape)?, &one))
}
