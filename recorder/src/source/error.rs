//! `FetchError`: why a source could not be fetched.

use std::time::Duration;

use crate::{Error, ErrorKind};

/// Why a source could not be fetched, said behind its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address of a kind that nobody here knows.
    #[error("there are no sources of the kind '{scheme}://'")]
    #[non_exhaustive]
    UnknownScheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// A kind of address that this program was built without.
    #[error("'{scheme}://' needs the feature `{feature}`, which this program was built without")]
    #[non_exhaustive]
    Feature {
        /// What stands before `://`.
        scheme: String,
        /// The feature of the crate.
        feature: &'static str,
    },
    /// An address that is not as it should be.
    #[error("{reason}")]
    #[non_exhaustive]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// A name that is in none of the tables.
    #[error("{scheme}:// knows no weights '{name}'")]
    #[non_exhaustive]
    UnknownName {
        /// What stands before `://`.
        scheme: String,
        /// What stands behind it.
        name: String,
    },
    /// The server refused.
    #[error("the server answered {status}{reason}")]
    #[non_exhaustive]
    Status {
        /// The status, such as 404.
        status: u16,
        /// What the status is called, after a space.
        reason: String,
    },
    /// The server asks to wait longer than one would.
    #[error("the server answered {status} and asks to wait {} s", wait.as_secs())]
    #[non_exhaustive]
    Busy {
        /// The status: 429 or 503.
        status: u16,
        /// How long.
        wait: Duration,
    },
    /// There is no connection.
    #[error("there is no connection to {host}: {reason}")]
    #[non_exhaustive]
    Connection {
        /// The server, or the proxy.
        host: String,
        /// What the system, or the encryption, says.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{host} sent nothing for too long")]
    #[non_exhaustive]
    TimedOut {
        /// The server.
        host: String,
    },
    /// The transfer broke off, again and again.
    #[error("the transfer broke off after {received} bytes{}", of(*.expected))]
    #[non_exhaustive]
    Cut {
        /// The bytes that are there.
        received: u64,
        /// The bytes that there should be, where the server said.
        expected: Option<u64>,
    },
    /// The bytes are not those that were meant.
    #[error("the file's {algorithm} is {found}, and {expected} is expected: these are not the bytes that were meant")]
    #[non_exhaustive]
    Hash {
        /// `SHA-256` or `git blob SHA-1`.
        algorithm: &'static str,
        /// What was expected; what it begins with.
        expected: String,
        /// What came.
        found: String,
    },
    /// More bytes than the limit allows.
    #[error("the file has {}{bytes} bytes, and the limit is {limit}", if *.at_least { "at least " } else { "" })]
    #[non_exhaustive]
    TooLarge {
        /// How many.
        bytes: u64,
        /// Whether there may be more.
        at_least: bool,
        /// The limit.
        limit: u64,
    },
    /// The servers send from one to the other without an end.
    #[error("the servers redirect more than {limit} times")]
    #[non_exhaustive]
    Redirects {
        /// How many were followed.
        limit: usize,
    },
    /// An answer that is not as the protocol says.
    #[error("{host} answered what cannot be understood: {reason}")]
    #[non_exhaustive]
    Protocol {
        /// The server.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is read part by part is another one by now.
    #[error("the file on {host} is not the one any more that was opened")]
    #[non_exhaustive]
    Changed {
        /// The server.
        host: String,
    },
    /// A store of objects could not do what it was asked.
    #[error("{reason}")]
    #[non_exhaustive]
    Store {
        /// What it, or its client, says.
        reason: String,
    },
    /// It is not in the cache, and no server is to be asked.
    #[error("it is not in the cache ({place}), and {why}, so that no server is asked")]
    #[non_exhaustive]
    Offline {
        /// Where it would be.
        place: String,
        /// Why: `HF_HUB_OFFLINE is set`.
        why: String,
    },
}

fn of(expected: Option<u64>) -> String {
    expected.map(|expected| format!(" of {expected}")).unwrap_or_default()
}

impl FetchError {
    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            FetchError::UnknownScheme { .. } => Some(
                "known are http, https, torchvision, pytorch, open-mmlab, mmcls, hf, s3, gs, az, and paths of files",
            ),
            FetchError::Feature { .. } => Some("build it with that feature, or fetch the file another way first"),
            FetchError::Status { status: 401 | 403, .. } => Some(
                "it wants a token with access: for the Hugging Face Hub set HF_TOKEN, and accept the model's terms",
            ),
            FetchError::Status { status: 404 | 410, .. } => Some("look at the address: nothing is there"),
            FetchError::Status { .. } | FetchError::Busy { .. } => Some("try it again later"),
            FetchError::Connection { .. } => {
                Some("look at the address, the network, and HTTPS_PROXY where there is one")
            }
            FetchError::TimedOut { .. } => Some("try it again; it goes on where it stopped"),
            FetchError::Cut { .. } => Some("try it again; it goes on from there"),
            FetchError::Hash { .. } => Some("nothing was kept; look at the address and at who gave it"),
            FetchError::TooLarge { .. } => Some("raise `FetchOptions::limit` if that is what is meant"),
            FetchError::Changed { .. } => Some("open it again"),
            FetchError::Offline { .. } => Some("fetch it once with a network"),
            _ => None,
        }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        ErrorKind::Fetch(Box::new(error)).into()
    }
}
