//! `CheckpointOptions`: when a run is saved, and which of its checkpoints are kept.

use std::time::Duration;

use rekindle_recorder::Format;

/// Which of two values of a metric is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Better {
    /// The higher one: an accuracy.
    Higher,
    /// The lower one: a loss.
    Lower,
}

impl Better {
    /// Whether a value is better than another. A NaN is better than none.
    pub(super) fn prefers(self, value: f64, other: f64) -> bool {
        match self {
            _ if value.is_nan() => false,
            _ if other.is_nan() => true,
            Better::Higher => value > other,
            Better::Lower => value < other,
        }
    }
}

rekindle_recorder::settings! {
    /// When a run is saved, and which of its checkpoints are kept. By default it is saved at the end of each epoch, at its own end
    /// and where a signal or an error ends it, and the three newest are kept.
    ///
    /// ```
    /// use rekindle_train::checkpoints::{Better, CheckpointOptions};
    ///
    /// // Every hundred steps, the three newest; beside them the best one, and each ten-thousandth for ever.
    /// let options = CheckpointOptions::default()
    ///     .every_steps(100)
    ///     .keep_last(3)
    ///     .best("accuracy", Better::Higher)
    ///     .keep_every(10_000);
    /// ```
    #[derive(Clone, Debug, PartialEq)]
    #[allow(clippy::struct_excessive_bools)] // each is an option of its own
    pub struct CheckpointOptions {
        /// After how many steps each. Default: not by steps.
        every_steps(impl Into<Option<u64>>): Option<u64> = None,
        /// After how many epochs each. Default: after each one, where neither steps nor minutes are said.
        every_epochs(impl Into<Option<u64>>): Option<u64> = None,
        /// After how many minutes each, at the end of the step that is under way. Default: not by time.
        every_minutes(impl Into<Option<f64>>): Option<f64> = None,
        /// How many of the newest are kept, at least 1. Default 3: one that turns out to be damaged has another one behind it.
        keep_last: usize = 3,
        /// How many of the best are kept beside them, where a [`best`](CheckpointOptions::best) is told by a metric. Default 1.
        keep_best: usize = 1,
        /// Those of every so many-th step are kept for ever. Default: none.
        keep_every(impl Into<Option<u64>>): Option<u64> = None,
        /// The metric that tells which are the best, and which of its values is the better one:
        /// [`best`](CheckpointOptions::best).
        metric(impl Into<Option<(String, Better)>>): Option<(String, Better)> = None,
        /// The format of the files: [`Format::ZIP`], which is `torch.save`'s, [`Format::SAFETENSORS`], [`Format::BURNPACK`] or
        /// [`Format::DCP`], whose checkpoints are folders. The last three hold what is no tensor as
        /// [`SaveOptions::values`](rekindle_recorder::checkpoint::SaveOptions::values) says. Default: that of `torch.save`.
        format: Format = Format::ZIP,
        /// Whether SIGINT (Ctrl-C) and SIGTERM end the run after the step that is under way, with a checkpoint of it. A second one
        /// ends the process at once. Default true.
        signals: bool = true,
        /// Whether the run is saved where a step fails, as it was before that step. Default true.
        on_error: bool = true,
        /// Whether files are written beside the steps that follow: a save stops the run only while its tensors are copied into host
        /// memory. On the CPU that is none at first: what is not written yet when a step changes it goes on in other memory, at most as
        /// much again as weights and state, which is [kept](crate::optim::Optimizer::keep_room) from save to save. Default true;
        /// otherwise each save waits until the file is on the disk.
        in_background: bool = true,
        /// Whether objects are written that plain `torch.load` refuses to open. Default false.
        allow_objects: bool = false,
    }
}

impl CheckpointOptions {
    /// Says by which metric the best are told: the run is told its values with [`Run::tell`](crate::Run::tell).
    #[must_use]
    pub fn best(self, metric: impl Into<String>, better: Better) -> Self {
        self.metric((metric.into(), better))
    }

    /// Whether a run is to be saved that stands after so many steps and epochs, `ended` where the last step ended one.
    pub(crate) fn is_due(&self, step: i64, epoch: i64, ended: bool, since: Duration) -> bool {
        let whole = |number: i64, every: Option<u64>| {
            every.and_then(|every| i64::try_from(every).ok()).is_some_and(|every| every > 0 && number % every == 0)
        };
        let unsaid = self.every_steps.is_none() && self.every_minutes.is_none();
        let epochs = self.every_epochs.or(unsaid.then_some(1));
        let minutes = |minutes: f64| since.as_secs_f64() >= minutes * 60.0;
        whole(step, self.every_steps) || ended && whole(epoch, epochs) || self.every_minutes.is_some_and(minutes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_saved_by_steps_by_epochs_and_by_minutes() {
        let now = Duration::ZERO;
        let by_default = CheckpointOptions::default();
        assert!(by_default.is_due(23, 1, true, now) && !by_default.is_due(24, 1, false, now));
        let steps = CheckpointOptions::default().every_steps(10);
        assert!(steps.is_due(20, 0, false, now) && !steps.is_due(21, 1, true, now));
        let both = CheckpointOptions::default().every_steps(10).every_epochs(2);
        assert!(both.is_due(46, 2, true, now) && !both.is_due(23, 1, true, now) && both.is_due(30, 1, false, now));
        let minutes = CheckpointOptions::default().every_minutes(0.5);
        assert!(minutes.is_due(7, 0, false, Duration::from_secs(30)));
        assert!(!minutes.is_due(7, 1, true, Duration::from_secs(29)));
        assert!(!CheckpointOptions::default().every_steps(0).is_due(1, 0, false, now));
    }

    #[test]
    fn nothing_is_better_than_nan_and_nan_than_nothing() {
        assert!(Better::Higher.prefers(0.9, 0.8) && Better::Lower.prefers(0.8, 0.9));
        assert!(Better::Lower.prefers(0.8, f64::NAN) && !Better::Lower.prefers(f64::NAN, 0.8));
        assert!(!Better::Higher.prefers(0.9, 0.9));
    }
}
