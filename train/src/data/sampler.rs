//! Samplers of `torch.utils.data`: in which order an epoch visits the samples.

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
}

/// `SequentialSampler`: first to last. Draws nothing.
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
        // What was drawn is from 0 to `samples`.
        Ok(drawn.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
    }
}
