//! Atomic commits.
