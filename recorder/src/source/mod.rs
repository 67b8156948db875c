//! Where checkpoints come from: [`Address`] says what a source's name means, [`zoo`] which names there are, and [`fetch`] brings
//! it here.
//!
//! Without the feature `fetch` there is no network code in this crate: files of this machine are sources, too, and all others say
//! that they need it.

mod address;
mod env;
pub(crate) mod error;
mod fetch;
mod name;
mod options;
mod rank;
pub mod zoo;

#[cfg(feature = "fetch")]
mod digest;
#[cfg(feature = "fetch")]
mod download;
#[cfg(feature = "fetch")]
mod held;
#[cfg(feature = "fetch")]
mod http;
#[cfg(feature = "fetch")]
mod hub;
#[cfg(feature = "fetch")]
mod patience;
#[cfg(feature = "fetch")]
mod url;
#[cfg(feature = "fetch")]
mod web;

pub use address::{Address, HubAddress, RepoKind};
pub use env::Env;
pub use error::FetchError;
pub use fetch::fetch;
pub use options::{FetchEvent, FetchOptions, Fetched, Watch};
pub use rank::Rank;
