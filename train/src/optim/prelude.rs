//! What the file of an optimizer is written with.

pub(super) use rekindle_recorder::{Result, Value};

pub(super) use super::elementwise::{Elementwise, Formula, Kernel, Update};
pub(super) use super::gradient::Gradient;
pub(super) use super::group::ParamGroup;
pub(super) use super::number::Number;
pub(super) use super::options::{int_or, options, zero_or};
pub(super) use super::rule::{Range, Rule, View};
pub(super) use super::state::ParamState;
pub(super) use super::vector::{Vector, Vectorwise, Whole, state_of};
pub(super) use crate::attributes::{Attributes, invalid};
/// A hyper-parameter as PyTorch computes with it: a `float`, or a tensor of no dimensions.
pub(super) use crate::number::Number as Scalar;
