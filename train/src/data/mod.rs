//! `torch.utils.data`: a data set in memory, samplers, and a loader that draws the batches PyTorch's `DataLoader` would draw.

mod dataset;
mod files;
mod loader;
mod sampler;
mod stateful;

pub use dataset::{Array, Batch, Dataset, Elements};
pub use files::{DataError, FixedBatches, ReadOptions, read_dataset};
pub use loader::DataLoader;
pub use sampler::{
    BatchSampler, DistributedSampler, RandomSampler, Sampler, SequentialSampler, Source, SubsetRandomSampler,
    WeightedRandomSampler,
};
pub use stateful::StatefulDataLoader;
