//! The writer: a [`Value`](crate::Value) to the bytes of a pickle.

mod fill;
mod output;
mod path;
mod reduce;
mod writer;

pub use writer::{PickleOptions, Pickled, write};
