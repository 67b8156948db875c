//! `torch.utils.data.distributed.DistributedSampler`: a data set shared out among processes.

use rekindle_random::{Generator, randperm};
use rekindle_recorder::Result;

use super::{Sampler, Source, places};
use crate::attributes::invalid;

/// `DistributedSampler(dataset, num_replicas, rank)`: every `num_replicas`-th place of an order that all processes draw alike,
/// from `seed` plus the epoch's number and from no other generator.
///
/// As in PyTorch the order is the same each epoch unless [`set_epoch`](Sampler::set_epoch) is told which one begins
/// ([`DataLoader::set_epoch`](crate::data::DataLoader::set_epoch) passes it on).
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{DistributedSampler, Sampler, Source};
///
/// let global = &mut Generator::new(0);
/// let mut sampler = DistributedSampler::new(2, 1)?.seed(42);
/// assert_eq!(sampler.places(5, Source::Global(global))?, [4, 0, 2]); // of 2, 4, 3, 0, 1 and 2 once more
/// sampler.set_epoch(1);
/// assert_eq!(sampler.places(5, Source::Global(global))?, DistributedSampler::new(2, 1)?.seed(43).places(5, Source::Global(global))?);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DistributedSampler {
    num_replicas: usize,
    rank: usize,
    shuffle: bool,
    seed: i64,
    drop_last: bool,
    epoch: u64,
}

impl DistributedSampler {
    /// The part of process `rank` of `num_replicas`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn new(num_replicas: usize, rank: usize) -> Result<Self> {
        if rank >= num_replicas {
            return Err(invalid(format!("rank {rank} must be below num_replicas, which is {num_replicas}")));
        }
        Ok(DistributedSampler { num_replicas, rank, shuffle: true, seed: 0, drop_last: false, epoch: 0 })
    }

    /// Whether the order is drawn. Default true.
    #[must_use]
    pub fn shuffle(self, shuffle: bool) -> Self {
        DistributedSampler { shuffle, ..self }
    }

    /// What all processes seed their order with, together with the epoch's number. Default 0.
    #[must_use]
    pub fn seed(self, seed: i64) -> Self {
        DistributedSampler { seed, ..self }
    }

    /// Whether the data set's tail is left out where the processes do not divide it; else samples from the front come
    /// twice. Default false.
    #[must_use]
    pub fn drop_last(self, drop_last: bool) -> Self {
        DistributedSampler { drop_last, ..self }
    }
}

impl Sampler for DistributedSampler {
    fn len(&self, samples: usize) -> usize {
        if self.drop_last { samples / self.num_replicas } else { samples.div_ceil(self.num_replicas) }
    }

    fn places(&self, samples: usize, _: Source<'_>) -> Result<Vec<usize>> {
        let order = if self.shuffle {
            places(randperm(&mut Generator::new(self.seed.wrapping_add_unsigned(self.epoch)), samples))
        } else {
            (0..samples).collect()
        };
        let total = self.len(samples) * self.num_replicas;
        Ok(order.into_iter().cycle().take(total).skip(self.rank).step_by(self.num_replicas).collect())
    }

    fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    fn epoch(&self) -> Option<u64> {
        Some(self.epoch)
    }
}
