//! `BatchSampler`: the places of another sampler, some at a time.

use rekindle_recorder::Result;

use super::{Sampler, Source};
use crate::attributes::invalid;

/// `BatchSampler(sampler, batch_size, drop_last)`, which a loader makes for itself, or takes
/// ([`DataLoader::from_batch_sampler`](crate::data::DataLoader::from_batch_sampler)). It draws what its sampler draws.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{BatchSampler, SequentialSampler, Source};
///
/// let global = &mut Generator::new(0);
/// let batches = BatchSampler::new(SequentialSampler, 3, false)?.batches(7, Source::Global(global))?;
/// assert_eq!(batches, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
/// assert_eq!(BatchSampler::new(SequentialSampler, 3, true)?.len(7), 2);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchSampler {
    pub(in crate::data) sampler: Box<dyn Sampler>,
    pub(in crate::data) batch_size: usize,
    pub(in crate::data) drop_last: bool,
}

impl BatchSampler {
    /// Batches of so many places; a last one that is not full is left out if `drop_last`.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(sampler: impl Sampler + 'static, batch_size: usize, drop_last: bool) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("a batch must have at least 1 sample"));
        }
        Ok(BatchSampler { sampler: Box::new(sampler), batch_size, drop_last })
    }

    /// How many batches an epoch has, for a data set of so many samples: `len(batch_sampler)`.
    #[must_use]
    pub fn len(&self, samples: usize) -> usize {
        let places = self.sampler.len(samples);
        if self.drop_last { places / self.batch_size } else { places.div_ceil(self.batch_size) }
    }

    /// Whether an epoch has no batches.
    #[must_use]
    pub fn is_empty(&self, samples: usize) -> bool {
        self.len(samples) == 0
    }

    /// The batches of one epoch, drawn anew.
    ///
    /// # Errors
    /// As the sampler.
    pub fn batches(&self, samples: usize, source: Source<'_>) -> Result<Vec<Vec<usize>>> {
        let places = self.sampler.places(samples, source)?;
        let batches = places.chunks(self.batch_size).take(self.len(samples));
        Ok(batches.map(<[usize]>::to_vec).collect())
    }
}
