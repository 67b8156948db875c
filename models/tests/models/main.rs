//! Networks and layers against PyTorch's own: first weights, keys, outputs, gradients and running statistics.

mod batch_norm;
#[cfg(feature = "image")]
mod folders;
#[cfg(feature = "image")]
mod images;
mod init;
#[path = "../judge/mod.rs"]
mod judge;
mod modules;
mod operations;
mod parity;
mod program_regions;
mod programs;
mod registry;
mod support;
mod zoo;
