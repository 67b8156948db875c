//! How many batches make so many steps, where a step takes several.

use burn::module::Module;

use rekindle_recorder::run::Leftover;

use super::parts::Run;

impl<M: Module> Run<M> {
    /// How many batches so many steps take, where the last step of an epoch may take fewer.
    fn batches_of(&self, steps: i64) -> u64 {
        let whole = |steps: i64| u64::try_from(steps).unwrap_or(0);
        match (self.batches_per_epoch, self.epoch_length()) {
            (Some(batches), Some(length)) => {
                let steps = steps.saturating_sub(self.cut);
                let begun = whole(steps % length).saturating_mul(self.accumulate).min(batches);
                whole(steps / length).saturating_mul(batches).saturating_add(begun)
            }
            _ => whole(steps).saturating_mul(self.accumulate),
        }
    }

    /// How many batches this run and the one before its checkpoint have passed through, as far as its steps tell.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches_of(self.steps()).saturating_add(self.passed.batches)
    }

    /// The number of steps as the checkpoint that the run came from counts them: of a program that counts batches, those.
    pub(super) fn counted_step(&self) -> Option<i64> {
        let batches = || i64::try_from(self.batches()).unwrap_or(i64::MAX);
        self.step.map(|step| self.counts_batches.map_or(step, |more| batches().saturating_add(more)))
    }

    /// How many steps so many batches make from here on.
    #[must_use]
    pub fn steps_of(&self, batches: u64) -> u64 {
        let (first, there) = (self.steps(), self.batches().saturating_add(batches));
        let fits = |more: &i64| self.batches_of(first.saturating_add(*more)) <= there;
        let most = i64::try_from(batches).unwrap_or(i64::MAX);
        u64::try_from((1..=most).take_while(fits).last().unwrap_or(0)).unwrap_or(0)
    }

    /// Whether the batch that comes is an epoch's first one, of a run whose epochs begin with a step on one batch and have a whole number
    /// of steps: the last of an epoch wait for another then.
    pub(super) fn begins_epoch(&self) -> bool {
        let at_end = self.epoch_length().is_some_and(|length| self.steps() % length == 0);
        at_end && self.steps() > 0 && self.passed.batches + 1 == self.accumulate
    }

    /// Whether batches that an epoch leaves over make no step, and a run that is resumed begins with a step on one batch.
    #[must_use]
    pub fn leaves_batches(&self) -> bool {
        self.leftover != Leftover::Stepped
    }

    /// Whether the batch that was passed last is an epoch's last one, where that is known without a loader.
    pub(super) fn is_last_of_epoch(&self) -> bool {
        let ends = |batches: u64| self.batches().is_multiple_of(batches) && self.passed.batches > 0;
        self.batches_per_epoch.filter(|&batches| batches > 0).is_some_and(ends)
    }
}
