//! Layers where burn-nn's numbers differ from `torch.nn`'s, or that it lacks.

mod batch_norm;
mod buffer;
mod half;
mod sequential;
mod stateless;

pub use batch_norm::{BatchNorm, BatchNormConfig};
pub use buffer::Buffer;
pub use half::rounded_once;
pub use sequential::{Flatten, Layer, Sequential};
pub use stateless::Stateless;
