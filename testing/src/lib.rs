//! What the workspace's tests share: where the fixtures are and how they are read ([`fixtures`], [`tagged`]); how far numbers
//! are from those that PyTorch computed ([`compare`]); the suite that every container passes ([`conformance`]); object graphs
//! of any shape ([`graph`]); numbers that anybody can repeat ([`filled`]) and parameters that depend on no other test
//! (`seeded`); a process of its own for a test that needs one ([`alone`]);
//! a server on the loopback ([`server`]), a Hugging Face Hub, too ([`hub`]); and a real PyTorch to run ([`Torch`]). For tests
//! only: what is wrong here panics.
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "a test that panics or fails does what is wanted"
)]

pub mod compare;
pub mod conformance;
pub mod corpora;
pub mod fixtures;
pub mod graph;
pub mod hub;
pub mod server;
pub mod sparse;
pub mod tagged;

mod cases;
mod filled;
#[cfg(feature = "burn")]
mod module;
mod process;
mod scratch;
mod torch;

pub use cases::cases;
pub use filled::{filled, mixed};
#[cfg(feature = "burn")]
pub use module::{gradients, seeded};
pub use process::{Computed, alone, alone_with, is_alone};
pub use scratch::scratch;
pub use torch::Torch;
