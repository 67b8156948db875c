//! `Subset`: some samples of a data set, as `torch.utils.data.Subset` and `random_split` give them.

use std::sync::Arc;

use rekindle_random::{Generator, randperm};
use rekindle_recorder::{Error, Result};

use super::dataset::Batch;
use super::sampler;
use super::samples::Samples;
use crate::attributes::invalid;

/// `Subset(dataset, indices)`: these samples of another data set.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Array, Dataset, Subset};
///
/// let numbers = Array::new(10, &[], (0..10).collect::<Vec<i64>>())?;
/// let data = Dataset::named([("x", numbers)])?;
/// // torch.utils.data.random_split(data, [8, 2], generator=torch.Generator().manual_seed(0))
/// let parts = Subset::random_split(data, &[8, 2], &mut Generator::new(0))?;
/// assert_eq!(parts[1].indices().len(), 2);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset {
    samples: Arc<dyn Samples>,
    indices: Arc<[usize]>,
}

impl Subset {
    /// These places of the data set.
    ///
    /// # Errors
    /// When one is beyond the last sample.
    pub fn new(samples: impl Samples + 'static, indices: impl Into<Arc<[usize]>>) -> Result<Self> {
        let (samples, indices): (Arc<dyn Samples>, _) = (Arc::new(samples), indices.into());
        if let Some(beyond) = indices.iter().find(|&&place| place >= samples.len()) {
            return Err(beyond_the_last(*beyond, samples.len()));
        }
        Ok(Subset { samples, indices })
    }

    /// The first `at` samples of a data set, and the rest: what is trained on, and what is held back.
    ///
    /// # Errors
    /// When there are fewer samples.
    pub fn split_at(samples: impl Samples + 'static, at: usize) -> Result<(Self, Self)> {
        let samples: Arc<dyn Samples> = Arc::new(samples);
        if at > samples.len() {
            let count = samples.len();
            return Err(invalid(format!("the data set has {count} samples and cannot be divided after {at}")));
        }
        let part = |range: std::ops::Range<usize>| Subset { samples: samples.clone(), indices: range.collect() };
        Ok((part(0..at), part(at..samples.len())))
    }

    /// `random_split(dataset, lengths, generator)`: parts of these lengths, which add up to all samples, drawn as one `randperm`.
    ///
    /// # Errors
    /// When the lengths do not add up to the samples.
    pub fn random_split(
        samples: impl Samples + 'static,
        lengths: &[usize],
        generator: &mut Generator,
    ) -> Result<Vec<Self>> {
        let samples: Arc<dyn Samples> = Arc::new(samples);
        let (sum, count) = (lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length)), samples.len());
        if sum != Some(count) {
            return Err(invalid(format!("parts of {lengths:?} samples do not add up to the {count} that there are")));
        }
        let order = sampler::places(randperm(generator, count));
        let mut rest = &order[..];
        let mut parts = Vec::new();
        for &length in lengths {
            let (part, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            parts.push(Subset { samples: samples.clone(), indices: part.into() });
            rest = after;
        }
        Ok(parts)
    }

    /// The places in the whole data set.
    #[must_use]
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Samples for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    /// The batch says these places, not those of the whole data set.
    fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<Batch> {
        let place = |place: &usize| {
            self.indices.get(*place).copied().ok_or_else(|| beyond_the_last(*place, self.indices.len()))
        };
        let of_all = places.iter().map(place).collect::<Result<Vec<_>>>()?;
        Ok(self.samples.batch(&of_all, generator)?.at(places))
    }

    fn draws(&self) -> bool {
        self.samples.draws()
    }

    fn check_classes(&self, classes: usize) -> Result<()> {
        self.samples.check_classes(classes)
    }
}

fn beyond_the_last(place: usize, count: usize) -> Error {
    invalid(format!("there is no sample {place}, counted from 0, of {count}"))
}
