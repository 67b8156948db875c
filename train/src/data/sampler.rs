//! Samplers of `torch.utils.data`: in which order an epoch visits the samples. What each draws, and from where, is what
//! PyTorch's draws: the generator is afterwards where PyTorch's is.

mod batch;
mod distributed;
mod subset;
mod weighted;

pub use batch::BatchSampler;
pub use distributed::DistributedSampler;
pub use subset::SubsetRandomSampler;
pub use weighted::WeightedRandomSampler;

use rekindle_random::{Generator, ParameterError, randint, random_int64, randperm};
use rekindle_recorder::Result;

use crate::attributes::invalid;

/// How many numbers `RandomSampler(replacement=True)` draws at a time.
const BLOCK: usize = 32;

/// Where a sampler draws from.
#[derive(Debug)]
pub enum Source<'a> {
    /// PyTorch's global generator. A random sampler draws a seed from it and goes on with a generator of its own.
    Global(&'a mut Generator),
    /// The generator that was given to the loader: drawn from directly.
    Own(&'a mut Generator),
}

/// In which order an epoch visits the samples of a data set.
pub trait Sampler: std::fmt::Debug + Send {
    /// How many places an epoch has, for a data set of so many samples.
    fn len(&self, samples: usize) -> usize;

    /// The places of one epoch, drawn anew.
    ///
    /// # Errors
    /// When there is nothing to draw from.
    fn places(&self, samples: usize, source: Source<'_>) -> Result<Vec<usize>>;

    /// `sampler.set_epoch(epoch)`, for those whose order depends on nothing but a seed and the epoch's number. Others take no
    /// notice.
    fn set_epoch(&mut self, _epoch: u64) {}

    /// The epoch that was set, for those that have one: part of where a loader is.
    fn epoch(&self) -> Option<u64> {
        None
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn len(&self, samples: usize) -> usize {
        (**self).len(samples)
    }

    fn places(&self, samples: usize, source: Source<'_>) -> Result<Vec<usize>> {
        (**self).places(samples, source)
    }

    fn set_epoch(&mut self, epoch: u64) {
        (**self).set_epoch(epoch);
    }

    fn epoch(&self) -> Option<u64> {
        (**self).epoch()
    }
}

impl<'a> Source<'a> {
    /// The generator itself, for samplers that go on with it, and not with one that they seed from it.
    fn generator(self) -> &'a mut Generator {
        match self {
            Source::Global(generator) | Source::Own(generator) => generator,
        }
    }
}

/// `SequentialSampler`: first to last. Draws nothing.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Sampler, SequentialSampler, Source};
///
/// let mut global = Generator::new(0);
/// assert_eq!(SequentialSampler.places(3, Source::Global(&mut global))?, [0, 1, 2]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn len(&self, samples: usize) -> usize {
        samples
    }

    fn places(&self, samples: usize, _: Source<'_>) -> Result<Vec<usize>> {
        Ok((0..samples).collect())
    }
}

rekindle_recorder::settings! {
    /// `RandomSampler`: shuffled, or drawn with replacement.
    ///
    /// ```
    /// use rekindle_random::Generator;
    /// use rekindle_train::data::{RandomSampler, Sampler, Source};
    ///
    /// let mut generator = Generator::new(42);
    /// let sampler = RandomSampler::default();
    /// assert_eq!(sampler.places(5, Source::Own(&mut generator))?, [2, 4, 3, 0, 1]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct RandomSampler {
        /// Draw each place independently of the others. Default false: every sample once before any comes twice.
        replacement: bool = false,
        /// How many places an epoch has. Default: as many as there are samples.
        num_samples(usize => Some): Option<usize> = None,
    }
}

impl Sampler for RandomSampler {
    fn len(&self, samples: usize) -> usize {
        self.num_samples.unwrap_or(samples)
    }

    fn places(&self, samples: usize, source: Source<'_>) -> Result<Vec<usize>> {
        let len = self.len(samples);
        let mut fresh;
        let generator = match source {
            Source::Own(generator) => generator,
            Source::Global(global) => {
                fresh = Generator::new(random_int64(global));
                &mut fresh
            }
        };
        let mut drawn = Vec::with_capacity(len);
        if self.replacement {
            let high = i64::try_from(samples).map_err(|_| invalid("a data set has too many samples"))?;
            while drawn.len() < len {
                let block = BLOCK.min(len - drawn.len());
                let nothing = |error: ParameterError| invalid(format!("cannot sample from an empty data set: {error}"));
                drawn.extend(randint(generator, 0, high, block).map_err(nothing)?);
            }
        } else if let Some(whole) = len.checked_div(samples) {
            // PyTorch draws a last permutation even where none of it is used.
            for _ in 0..whole {
                drawn.extend(randperm(generator, samples));
            }
            drawn.extend(randperm(generator, samples).into_iter().take(len % samples));
        } else if len > 0 {
            return Err(invalid("cannot sample from an empty data set"));
        }
        Ok(places(drawn))
    }
}

/// What was drawn, which is never negative, as places.
pub(super) fn places(drawn: Vec<i64>) -> Vec<usize> {
    drawn.into_iter().filter_map(|place| usize::try_from(place).ok()).collect()
}
