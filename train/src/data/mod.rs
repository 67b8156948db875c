//! `torch.utils.data`: a data set in memory, samplers, and a loader that draws the batches PyTorch's `DataLoader` would draw.

mod dataset;
mod loader;
mod sampler;

pub use dataset::{Array, Batch, Dataset, Elements};
pub use loader::DataLoader;
pub use sampler::{RandomSampler, Sampler, SequentialSampler, Source};
