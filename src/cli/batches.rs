//! Where the batches of a run come from.

use rekindle::recorder::Error;
use rekindle::train::data::{Batch, Dataset, FixedBatches};

use super::schedule::Source;

/// Where the batches come from.
pub(super) enum Batches {
    Fixed(FixedBatches),
    Data { train: Dataset, held_back: Dataset, batch_size: usize },
}

impl Batches {
    pub(super) fn source(&self) -> Source {
        match self {
            Batches::Fixed(_) => Source::Fixed,
            Batches::Data { held_back, .. } => Source::Data { held_back: !held_back.is_empty() },
        }
    }

    /// The samples that are held back, and how many are taken at once.
    pub(super) fn held_back(&self) -> Option<(&Dataset, usize)> {
        match self {
            Batches::Fixed(_) => None,
            Batches::Data { held_back, batch_size, .. } => Some((held_back, *batch_size)),
        }
    }

    /// A batch of the first samples, and all samples that are trained on.
    pub(super) fn first(&self) -> Result<(Batch, &Dataset), Error> {
        let first = match self {
            Batches::Fixed(fixed) if !fixed.is_empty() => Some((fixed.batch(0)?, fixed.dataset())),
            Batches::Data { train, .. } if !train.is_empty() => Some((train.batch(&[0])?, train)),
            _ => None,
        };
        let first = first.filter(|(batch, _)| batch.input_shape().first() != Some(&0));
        first.ok_or_else(|| Error::invalid("there are no samples to train on"))
    }
}
