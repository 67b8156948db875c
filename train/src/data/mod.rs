//! `torch.utils.data`: data sets, samplers, and loaders that draw the batches PyTorch's `DataLoader` and torchdata's
//! `StatefulDataLoader` would draw.

mod any;
mod dataset;
mod feed;
mod files;
#[cfg(feature = "dataset")]
mod items;
mod loader;
mod sampler;
mod samples;
mod stateful;
mod stream;
mod subset;
mod tokens;

pub use any::Loader;
pub use dataset::{Array, Batch, Dataset, Elements};
pub use files::{DataError, FixedBatches, ReadOptions, read_dataset};
#[cfg(feature = "dataset")]
pub use items::Items;
pub use loader::DataLoader;
pub use sampler::{
    BatchSampler, DistributedSampler, RandomSampler, Sampler, SequentialSampler, Source, SubsetRandomSampler,
    WeightedRandomSampler,
};
pub use samples::Samples;
pub use stateful::StatefulDataLoader;
pub use stream::{Sample, Stream, StreamLoader};
pub use subset::Subset;
pub use tokens::{RandomBlocks, TokenFile};
