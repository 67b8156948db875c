//! Where checkpoints come from: [`Address`] says what a source's name means, [`zoo`] which names there are, [`fetch()`] brings it
//! here, and [`Checkpoint::open_source`](crate::Checkpoint::open_source) opens it where it is.
//!
//! Without the feature `fetch` there is no network code in this crate: files of this machine are sources, too, and all others say
//! that they need it. `s3://`, `gs://` and `az://` need the feature `cloud`.

mod address;
mod env;
pub(crate) mod error;
mod fetch;
mod name;
mod open;
mod options;
mod rank;
pub mod zoo;

#[cfg(feature = "fetch")]
mod access;
#[cfg(feature = "cloud")]
mod cloud;
#[cfg(feature = "cloud")]
mod copy;
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
mod ranges;
#[cfg(feature = "fetch")]
mod url;
#[cfg(feature = "fetch")]
mod web;

#[cfg(feature = "cloud")]
pub use address::ObjectAddress;
pub use address::{Address, HubAddress, RepoKind};
pub use env::Env;
pub use error::FetchError;
pub use fetch::fetch;
pub(crate) use open::open;
pub use options::{FetchEvent, FetchOptions, Fetched, Watch};
pub use rank::Rank;
