//! What a pickle names, and what Python would make of a name.

mod dangerous;
pub(super) mod dtypes;
pub(super) mod listed;
pub(super) mod verdict;

pub use listed::{Names, names};
pub use verdict::{Verdict, verdict};
