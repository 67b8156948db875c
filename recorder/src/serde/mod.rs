//! Serde.
