//! The reader: the bytes of a pickle to a [`Value`](crate::Value).

pub(super) mod arena;
pub(super) mod budget;
mod input;
mod machine;

pub use machine::{Unpickled, read};
