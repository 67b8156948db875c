//! `Progress`: where a run is, in every place where its framework keeps it.

use crate::{Result, Value};

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::run) struct Progress {
    /// Epochs that are finished.
    pub(in crate::run) epoch: Option<i64>,
    /// Steps of the optimizer.
    pub(in crate::run) step: Option<i64>,
    /// Steps since the last epoch was finished.
    pub(in crate::run) step_in_epoch: Option<i64>,
    /// Steps that an epoch has.
    pub(in crate::run) steps_per_epoch: Option<i64>,
    /// Batches that make a step.
    pub(in crate::run) batches_per_step: Option<i64>,
}

/// How a framework's other counters are read and written.
#[derive(Clone, Copy)]
pub(super) struct Settle {
    /// Where the run is, by these counters and by the numbers that were found for epochs and steps.
    pub(super) read: fn(&Value, Progress) -> Progress,
    /// A copy of the checkpoint in which they say where the run is now, and not where it was before.
    pub(super) write: fn(Value, &Progress, &Progress) -> Result<Value>,
}
