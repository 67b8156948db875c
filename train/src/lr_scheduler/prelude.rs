//! What the file of a scheduler is written with.

pub(super) use std::f64::consts::PI;

pub(super) use rekindle_recorder::{Dict, Error, Result, Value};

pub(super) use super::base::blame;
pub(super) use super::formula::{Computed, Failure, Formula, Given, Now, divide, power, real, whole};
pub(super) use super::number::Number;
pub(super) use super::options::{Function, PLACE, PerGroup, SteppedBy, Word, options, values, wrong_count};
pub(super) use super::schedule::{Entries, Fields, InWords, Make, Options, from_0_to_1, with};
pub(super) use super::scheduler::{LRScheduler, Rule, Tail, check_groups, put_initial, rates};
pub(super) use crate::attributes::{Attributes, invalid, wrong_type};
pub(super) use crate::optim::ParamGroup;
