//! `torch.optim.swa_utils.SWALR`: the learning rate goes to a fixed one, for the averaging that follows.

use super::anneal::{AnnealStrategy, modernise};
use super::prelude::*;

options! {
    /// `SWALR(optimizer, swa_lr, anneal_epochs, anneal_strategy)`: to `swa_lr` in `anneal_epochs` epochs from wherever the
    /// learning rate is. It puts `swa_lr` into the groups.
    #[derive(PartialEq)]
    pub struct SWALR;

    /// To `swa_lr` in 10 epochs.
    pub fn new(
        /// The learning rate of each group that it goes to.
        swa_lr(impl Into<PerGroup>): PerGroup,
    );

    /// Epochs until then. Default 10.
    anneal_epochs: i64 = 10,
    /// The curve. Default: a cosine.
    anneal_strategy: AnnealStrategy = AnnealStrategy::Cos,
}

impl Options for SWALR {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        if self.anneal_epochs < 0 {
            return Err(invalid(format!("SWALR's anneal_epochs must be at least 0, and is {}", self.anneal_epochs)));
        }
        let swa_lrs = self.swa_lr.of("swa_lr", groups.len())?;
        groups.iter_mut().zip(swa_lrs).for_each(|(group, lr)| group.set("swa_lr", lr));
        Ok(vec![("_anneal_strategy", self.anneal_strategy.name().into()), ("anneal_epochs", self.anneal_epochs.into())])
    }
}

pub(super) struct Swa {
    strategy: AnnealStrategy,
    epochs: i64,
}

impl Formula for Swa {
    fn read(given: &Given) -> Computed<Self> {
        let strategy = AnnealStrategy::read(given.attributes, "_anneal_strategy")?;
        Ok(Swa { strategy, epochs: given.attributes.int("anneal_epochs")? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let swa_lr = Number::of(now.group, "swa_lr")?;
        let step = now.step_count.saturating_sub(1);
        let step = if self.epochs == 0 { step.max(1) } else { step };
        let share = |step: i64| self.strategy.share((real(step) / real(self.epochs.max(1))).clamp(0.0, 1.0));
        // The learning rate without what the step before mixed in.
        let before = share(step.saturating_sub(1));
        #[allow(clippy::float_cmp)]
        let own = if before == 1.0 { swa_lr } else { (now.lr - before * swa_lr) / (1.0 - before) };
        let alpha = share(step);
        Ok(swa_lr * alpha + own * (1.0 - alpha))
    }

    fn complete(attributes: &mut Attributes) {
        modernise(attributes, "_anneal_strategy");
    }
}
