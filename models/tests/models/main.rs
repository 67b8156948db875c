//! Networks and layers against PyTorch's own: first weights, keys, outputs, gradients and running statistics.

mod batch_norm;
mod init;
mod parity;
mod registry;
mod support;
