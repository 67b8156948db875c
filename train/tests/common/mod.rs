//! What both test binaries and the optimizers' unit tests make: rules, networks and runs of optimizers, and schedules.
#![allow(dead_code, reason = "each takes what it needs")]

pub(crate) mod optim;
pub(crate) mod parts;
pub(crate) mod runs;
pub(crate) mod settings;
