//! `FetchOptions`: how a source is fetched; `Watch`: whoever wants to see how far it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::env::Env;

crate::settings! {
    /// How a source is fetched.
    ///
    /// ```
    /// # use rekindle_recorder::source::FetchOptions;
    /// let options = FetchOptions::default().dir("weights").limit(10 << 30);
    /// ```
    #[derive(Clone, Debug)]
    pub struct FetchOptions {
        /// What the file's SHA-256 is, or begins with, in hexadecimal digits. A file in a cache is held against it, too. `None`,
        /// the default, goes by the hash in the file's name (`-f37072fd.pth`), or by what the Hub says.
        sha256(impl Into<String> => Some): Option<String> = None,
        /// Whether a hash in the file's name counts, as in the names of torch.hub. Default true.
        check_hash: bool = true,
        /// The folder that the file goes to, in the place of torch.hub's or `huggingface_hub`'s cache. Default `None`.
        dir(impl Into<PathBuf> => Some): Option<PathBuf> = None,
        /// Whether it is fetched anew though it is there. Default false.
        force: bool = false,
        /// Whether no server is asked, and what is in the caches has to do. Default false; for the Hub `HF_HUB_OFFLINE` says it, too.
        offline: bool = false,
        /// How many bytes a file may have. Default 512 GiB.
        limit: u64 = 512 << 30,
        /// How often it is tried again, after a pause, where a server is busy (429, 5xx) or a connection breaks off, without a
        /// mebibyte having come in between. Default 4.
        retries: u32 = 4,
        /// The pause before it is tried again; the next is twice as long. Default half a second. A server's `Retry-After` is kept
        /// to, up to five minutes.
        pause: Duration = Duration::from_millis(500),
        /// How long a connection may take to come about, and how long a server may send nothing. Default 30 seconds.
        timeout: Duration = Duration::from_secs(30),
        /// The variables of the environment that count. Default the process's.
        env: Env = Env::default(),
        /// Who is told how far it is. Default nobody.
        watch(Watch => Some): Option<Watch> = None,
    }
}

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// Another process, or another thread, fetches this file: its end is waited for.
    #[non_exhaustive]
    Waiting {
        /// The file's name.
        name: &'a str,
    },
    /// Bytes begin to come.
    #[non_exhaustive]
    Begin {
        /// The file's name.
        name: &'a str,
        /// How many bytes are there from an earlier time.
        at: u64,
        /// How many there will be, where the server said.
        total: Option<u64>,
    },
    /// So many bytes are there.
    At(u64),
    /// It is tried again, after a pause.
    #[non_exhaustive]
    Again {
        /// Why: a sentence.
        why: &'a str,
        /// The pause.
        pause: Duration,
    },
    /// The file is whole, and in its place.
    Done,
}

/// Somebody who is told how far a fetch is.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(&FetchEvent<'_>) + Send + Sync>);

impl Watch {
    /// Told by calling this.
    pub fn new(tell: impl Fn(&FetchEvent<'_>) + Send + Sync + 'static) -> Self {
        Watch(Arc::new(tell))
    }

    /// Tells it.
    pub fn tell(&self, event: &FetchEvent<'_>) {
        (self.0)(event);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}

impl FetchOptions {
    /// Whether they say more than how to ask, so that parts of a file will not do.
    #[cfg(feature = "fetch")]
    pub(super) fn wants_whole(&self) -> bool {
        self.sha256.is_some() || self.dir.is_some() || self.force || self.offline
    }

    #[cfg(feature = "fetch")]
    pub(super) fn tell(&self, event: FetchEvent<'_>) {
        if let Some(watch) = &self.watch {
            watch.tell(&event);
        }
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// Where it is now: a file, or the folder of several.
    pub path: PathBuf,
    /// The bytes of files that came over a network; 0 where it was there.
    pub moved: u64,
    /// What a user should know of it, a sentence each.
    pub notes: Vec<String>,
}
