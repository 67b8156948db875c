//! Where checkpoints come from: [`Address`] says what a source's name means, [`zoo`] which names there are, and, with the feature
//! `fetch`, `fetch` brings it here.
//!
//! Without that feature there is no network code in this crate.

mod address;
pub(crate) mod error;
mod name;
pub mod zoo;

#[cfg(feature = "fetch")]
mod digest;
#[cfg(feature = "fetch")]
mod download;
#[cfg(feature = "fetch")]
mod env;
#[cfg(feature = "fetch")]
mod fetch;
#[cfg(feature = "fetch")]
mod held;
#[cfg(feature = "fetch")]
mod http;
#[cfg(feature = "fetch")]
mod hub;
#[cfg(feature = "fetch")]
mod options;
#[cfg(feature = "fetch")]
mod patience;
#[cfg(feature = "fetch")]
mod url;
#[cfg(feature = "fetch")]
mod web;

pub use address::{Address, HubAddress, RepoKind};
pub use error::FetchError;

#[cfg(feature = "fetch")]
pub use env::Env;
#[cfg(feature = "fetch")]
pub use fetch::fetch;
#[cfg(feature = "fetch")]
pub use options::{FetchEvent, FetchOptions, Fetched, Watch};
