//! Networks and layers against PyTorch's own: first weights, keys, outputs, gradients and running statistics.

mod autocast;
mod batch_norm;
#[cfg(feature = "image")]
mod folders;
#[cfg(feature = "image")]
mod images;
mod init;
#[path = "../judge/mod.rs"]
mod judge;
mod modules;
mod old_programs;
mod operations;
mod operators;
mod parity;
mod program_regions;
mod programs;
mod registry;
mod support;
mod zoo;
