//! `WeightedRandomSampler`: samples drawn by weight, which evens out classes of unlike sizes.

use rekindle_random::multinomial;
use rekindle_recorder::Result;

use super::{Sampler, Source, places};
use crate::attributes::invalid;

/// `WeightedRandomSampler(weights, num_samples, replacement)`: one `torch.multinomial` an epoch, drawn from the generator
/// itself, the global one where the sampler was given none.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Sampler, Source, WeightedRandomSampler};
///
/// let mut generator = Generator::new(0);
/// let sampler = WeightedRandomSampler::new([0.1, 0.9, 0.4, 0.7, 3.0, 0.6], 5)?;
/// assert_eq!(sampler.places(6, Source::Own(&mut generator))?, [5, 4, 4, 5, 4]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    weights: Vec<f64>,
    num_samples: usize,
    replacement: bool,
}

impl WeightedRandomSampler {
    /// A weight for each sample of the data set, and how many places an epoch has. Weights need not sum up to 1.
    ///
    /// # Errors
    /// When no places are asked for.
    pub fn new(weights: impl Into<Vec<f64>>, num_samples: usize) -> Result<Self> {
        if num_samples == 0 {
            return Err(invalid("num_samples must be at least 1"));
        }
        Ok(WeightedRandomSampler { weights: weights.into(), num_samples, replacement: true })
    }

    /// Whether a sample may come more than once in an epoch. Default true.
    #[must_use]
    pub fn replacement(self, replacement: bool) -> Self {
        WeightedRandomSampler { replacement, ..self }
    }
}

impl Sampler for WeightedRandomSampler {
    fn len(&self, _: usize) -> usize {
        self.num_samples
    }

    /// # Errors
    /// When weights are not fit for drawing: see [`multinomial`].
    fn places(&self, _: usize, source: Source<'_>) -> Result<Vec<usize>> {
        let drawn = multinomial(source.generator(), &self.weights, self.num_samples, self.replacement);
        drawn.map(places).map_err(|error| invalid(error.to_string()))
    }
}
