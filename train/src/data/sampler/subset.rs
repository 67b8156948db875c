//! `SubsetRandomSampler`: some of the samples, shuffled, as for a part that is trained and one that is held back.

use rekindle_random::randperm;
use rekindle_recorder::Result;

use super::{Sampler, Source};

/// `SubsetRandomSampler(indices)`: these places in an order of its own each epoch, one `torch.randperm` drawn from the generator
/// itself, the global one where the sampler was given none.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Sampler, Source, SubsetRandomSampler};
///
/// let mut generator = Generator::new(42);
/// let sampler = SubsetRandomSampler::new([10, 11, 12, 13, 14]);
/// assert_eq!(sampler.places(100, Source::Own(&mut generator))?, [12, 14, 13, 10, 11]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
}

impl SubsetRandomSampler {
    /// These places of the data set.
    #[must_use]
    pub fn new(indices: impl Into<Vec<usize>>) -> Self {
        SubsetRandomSampler { indices: indices.into() }
    }
}

impl Sampler for SubsetRandomSampler {
    fn len(&self, _: usize) -> usize {
        self.indices.len()
    }

    fn places(&self, _: usize, source: Source<'_>) -> Result<Vec<usize>> {
        let order = super::places(randperm(source.generator(), self.indices.len()));
        Ok(order.into_iter().filter_map(|place| self.indices.get(place).copied()).collect())
    }
}
