//! What a pickle names, and what Python would make of a name.

mod dangerous;
pub(super) mod dtypes;
mod known;
mod libraries;
pub(super) mod listed;
pub(super) mod verdict;
mod words;

pub use listed::{Inner, InnerBytes, Names, Use, names};
pub use verdict::{Verdict, verdict, verdict_of_use};
