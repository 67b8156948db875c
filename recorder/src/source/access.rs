//! How a source can be read: from a file of this machine, or part by part where it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::address::Address;
use super::http::Client;
use super::options::{FetchOptions, Fetched};
use super::{hub, web};
use crate::Result;
use crate::container::hf::Place;
use crate::io::Ranges;

/// How a source can be read.
pub(super) enum Access {
    /// It is here: it was, or its server gives no parts.
    Here(Fetched),
    /// Part by part, under this name.
    Ranges(String, Arc<dyn Ranges>),
    /// An index that is here, and where its shards are.
    Index(PathBuf, Box<dyn Fn(&str) -> Option<Place>>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Here(fetched) => write!(f, "Here({fetched:?})"),
            Access::Ranges(name, ranges) => write!(f, "Ranges({name}, {ranges:?})"),
            Access::Index(index, _) => write!(f, "Index({index:?}, ..)"),
        }
    }
}

/// Where a file is: here, or with whoever is to be asked for it, of which this is known.
pub(super) enum Found<T> {
    Here(Fetched),
    There(T),
}

/// Finds out how.
pub(super) fn access(address: &Address, shown: &str, options: &FetchOptions) -> Result<Access> {
    let client = Arc::new(Client::new(options)?);
    match address {
        Address::Hub(address) => hub::access(&client, address, shown),
        Address::Url(url) => web::access(&client, url),
        #[cfg(feature = "cloud")]
        Address::Object(address) => super::cloud::access(&client, address, shown),
        Address::Path(path) => web::checked(&client, path).map(Access::Here),
    }
}
