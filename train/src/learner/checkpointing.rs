//! `TorchCheckpointing`: when burn-train saves, and which checkpoints are kept, by the same words as a run's.

use std::time::Instant;

use burn_train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn_train::metric::store::{Aggregate, EventStoreClient, Split};
use rekindle_recorder::{Error, Format, Result};

use crate::checkpoints::{CheckpointOptions, Entry, gone};

/// When burn-train saves, and which checkpoints are kept: [`CheckpointOptions`] as burn-train's `CheckpointingStrategy`, for any of its
/// checkpointers. What a [`TorchTraining`](super::TorchTraining) has in its folder already counts in with
/// [`TorchTraining::checkpointing`](super::TorchTraining::checkpointing).
///
/// burn-train asks after each epoch: `every_minutes` saves at the end of the first epoch after that time, `keep_every` counts epochs. The
/// metric of `best` has burn-train's name, such as `Loss`, and is the mean of the epoch over the samples to validate on. Signals, errors and
/// writing in the background are burn-train's own.
///
/// ```
/// use rekindle_train::checkpoints::{Better, CheckpointOptions};
/// use rekindle_train::learner::TorchCheckpointing;
///
/// let options = CheckpointOptions::default().every_epochs(2).keep_last(3).best("Accuracy", Better::Higher);
/// let strategy = TorchCheckpointing::new(options)?; // SupervisedTraining::with_checkpointing_strategy(strategy)
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct TorchCheckpointing {
    options: CheckpointOptions,
    split: Split,
    /// Those that are there, the newest first.
    kept: Vec<Entry>,
    /// Epochs whose metric is to be asked for.
    unasked: bool,
    saved_at: Instant,
}

impl TorchCheckpointing {
    /// By these options.
    ///
    /// # Errors
    /// For `every_steps`, and for other formats than `torch.save`'s.
    pub fn new(options: CheckpointOptions) -> Result<Self> {
        let refused = [
            (
                options.every_steps.is_some(),
                "checkpoints after every so many steps",
                "say every_epochs or every_minutes",
            ),
            (
                options.format != Format::ZIP,
                "checkpoints in another format than torch.save's",
                "convert them with `rekindle convert`",
            ),
        ];
        if let Some((_, what, advice)) = refused.into_iter().find(|(there, ..)| *there) {
            return Err(Error::unsupported(format!("{what} in burn-train")).advise(advice));
        }
        let saved_at = Instant::now();
        Ok(TorchCheckpointing { options, split: Split::Valid, kept: Vec::new(), unasked: false, saved_at })
    }

    /// Where the metric that tells the best is measured. Default: over the samples to validate on.
    #[must_use]
    pub fn split(self, split: Split) -> Self {
        TorchCheckpointing { split, ..self }
    }

    /// With the checkpoints of these epochs, in order, which are there.
    pub(super) fn with_epochs(self, epochs: impl IntoIterator<Item = usize>) -> Self {
        let mut kept: Vec<Entry> = epochs.into_iter().map(|epoch| Entry::numbered(number(epoch), None)).collect();
        kept.reverse();
        TorchCheckpointing { kept, unasked: true, ..self }
    }

    fn metric(&self, epoch: usize, store: &EventStoreClient) -> Option<f64> {
        let (name, _) = self.options.metric.as_ref()?;
        store.find_metric(name, epoch, Aggregate::Mean, &self.split)
    }
}

fn number(epoch: usize) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn epoch_of(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

impl CheckpointingStrategy for TorchCheckpointing {
    fn checkpointing(&mut self, epoch: usize, store: &EventStoreClient) -> Vec<CheckpointingAction> {
        if std::mem::take(&mut self.unasked) {
            let told: Vec<Entry> = self
                .kept
                .iter()
                .map(|entry| Entry::numbered(entry.number(), self.metric(epoch_of(entry.number()), store)))
                .collect();
            self.kept = told;
        }
        if !self.options.is_due(0, number(epoch), true, self.saved_at.elapsed()) {
            return Vec::new();
        }
        self.saved_at = Instant::now();
        self.kept.retain(|entry| entry.number() < number(epoch));
        self.kept.insert(0, Entry::numbered(number(epoch), self.metric(epoch, store)));
        let gone = gone(&self.kept, &self.options);
        self.kept.retain(|entry| !gone.contains(&entry.number()));
        let mut actions = vec![CheckpointingAction::Save];
        actions.extend(gone.into_iter().map(|number| CheckpointingAction::Delete(epoch_of(number))));
        actions
    }
}
