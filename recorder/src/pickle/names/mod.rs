//! What a pickle names, and what Python would make of a name.

mod dangerous;
pub(super) mod dtypes;
mod known;
pub(super) mod listed;
pub(super) mod verdict;

pub use listed::{Names, Use, names};
pub use verdict::{Verdict, verdict, verdict_of_use};
