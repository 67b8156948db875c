//! `Formula`: the learning rate that a scheduler computes from plain numbers, where all else is PyTorch's base class's; and
//! Python's arithmetic.

use rekindle_recorder::{Error, Result};

use super::number::Number;
use super::options::{Function, SteppedBy};
use crate::attributes::{Attributes, invalid};

/// A scheduler's hyper-parameters, and what it computes with them.
pub(crate) trait Formula: Sized + 'static {
    /// Takes the hyper-parameters from the scheduler's attributes, and refuses those that it cannot compute with.
    fn read(given: &Given) -> Computed<Self>;

    /// `get_lr()` of one group.
    fn lr(&self, now: &Now) -> Computed<Number>;

    /// `_get_closed_form_lr()` of one group at epoch 0; the same as [`lr`](Self::lr) where PyTorch has none.
    fn first_lr(&self, now: &Now) -> Computed<Number> {
        self.lr(now)
    }

    /// The group's momentum, where the scheduler moves that, too.
    fn momentum(&self, _now: &Now) -> Computed<Option<Number>> {
        Ok(None)
    }

    /// `step()` counts on: the epoch that it comes to.
    fn count(attributes: &mut Attributes) -> Result<i64> {
        let steps = attributes.int("_step_count")?.saturating_add(1);
        attributes.set("_step_count", steps);
        Ok(attributes.int("last_epoch")?.saturating_add(1))
    }

    /// `step(epoch)` counts on to an epoch that need not be whole: the whole one; `None` where a scheduler has no such step.
    fn count_to(_attributes: &mut Attributes, _epoch: f64) -> Result<Option<i64>> {
        Ok(None)
    }

    /// Brings what an older release wrote into today's form.
    fn complete(_attributes: &mut Attributes) {}

    /// What it is stepped by, where that is known.
    const STEPPED_BY: Option<SteppedBy> = None;

    /// The only attributes that its state dict has, where those are not all.
    const KEPT: Option<&'static [&'static str]> = None;

    /// A value that the class never had under a key that it has: see `Rule::foreign`.
    fn foreign(_attributes: &Attributes) -> Option<&'static str> {
        None
    }
}

/// What a formula reads its hyper-parameters from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) attributes: &'a Attributes,
    /// The functions that no file holds.
    pub(crate) functions: &'a [Function],
    /// How many groups the optimizer has.
    pub(crate) groups: usize,
}

/// Where a scheduler stands when it computes a group's learning rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    /// `last_epoch`, already counted on.
    pub(crate) epoch: i64,
    /// `_step_count`, already counted on.
    pub(crate) step_count: i64,
    /// Whether it is the step that the constructor makes.
    pub(crate) initial: bool,
    /// The group's learning rate.
    pub(crate) lr: Number,
    /// The learning rates that the groups had when the scheduler was made.
    pub(crate) bases: &'a [Number],
    /// What else the group has, and which of the groups it is.
    pub(crate) group: &'a Attributes,
    pub(crate) index: usize,
}

impl Now<'_> {
    /// The group's learning rate when the scheduler was made. A group that was added later has none: a formula that starts
    /// from it cannot go on, in PyTorch as here; one that starts from the current rate takes the group along.
    pub(crate) fn base(&self) -> Result<Number> {
        self.bases.get(self.index).copied().ok_or_else(|| {
            invalid(format!(
                "a group was added after the scheduler was made for {} groups, and it starts from the rate that each had then; \
                 make a new scheduler, in PyTorch as here",
                self.bases.len()
            ))
        })
    }
}

/// What a formula gives.
pub(crate) type Computed<T> = std::result::Result<T, Failure>;

/// Why a formula gives nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such number: why, to be followed up with whose it is and when.
    NoNumber(String),
    /// An error that says it all.
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

/// An `int` as Python converts it to a `float`; epochs are far below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn real(number: i64) -> f64 {
    number as f64
}

/// The `int` that an epoch is, for a schedule that has rates at whole ones only.
pub(super) fn whole(epoch: f64, schedule: &str) -> Result<i64> {
    if epoch.fract() != 0.0 || !(0.0..1e15).contains(&epoch) {
        return Err(invalid(format!("{schedule} cannot be stepped to {epoch}")));
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(epoch as i64)
}

/// Python's `/`, which refuses to divide by zero.
pub(super) fn divide(a: f64, b: f64) -> Computed<f64> {
    if b == 0.0 { Err(Failure::NoNumber("it divides by zero".to_owned())) } else { Ok(a / b) }
}

/// Python's `**` of two floats, which refuses what overflows.
pub(super) fn power(base: f64, exponent: f64) -> Computed<f64> {
    let result = base.powf(exponent);
    if result.is_finite() || !base.is_finite() || !exponent.is_finite() {
        return Ok(result);
    }
    Err(Failure::NoNumber(format!("{base} to the power of {exponent} is not a number that there is")))
}
