//! `fetch`: a source's name becomes a path of this machine.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::http::Client;
use super::options::{FetchOptions, Fetched};
use super::{hub, web};
use crate::Result;

/// Brings a source here, unless it is here: gives the path of a file, or of what lies beside others that belong to it. Called
/// twice, nothing is moved the second time.
///
/// A file from a server grows under another name, is gone on with where a connection breaks off (`Range`, where the server still
/// has the same bytes), is held against the hash in its name, the one that is given, or the Hub's, and is then renamed: under its
/// own name it is whole or not there. Of several processes that want it one fetches it, and the others wait.
///
/// Files lie where `torch.hub` and `huggingface_hub` have them, so that each finds what the other fetched ([`Env`](super::Env)). What is
/// there under a file's name is taken for it; the Hub is asked whether a branch has moved on, but for a commit nobody is.
///
/// # Errors
/// [`ErrorKind::Fetch`](crate::ErrorKind::Fetch) with the reason; [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be written.
/// Nothing is left under the file's name.
///
/// ```no_run
/// use rekindle_recorder::{Checkpoint, source::{FetchOptions, fetch}};
///
/// let weights = fetch("torchvision://resnet18", &FetchOptions::default())?;
/// let checkpoint = Checkpoint::open(&weights.path)?;
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn fetch(source: impl AsRef<Path>, options: &FetchOptions) -> Result<Fetched> {
    let source = source.as_ref();
    let here = |path: PathBuf| Ok(Fetched { path, moved: 0, notes: Vec::new() });
    match Address::of_path(source)? {
        Address::Path(path) => here(path),
        Address::Url(url) => web::fetch(&Client::new(options)?, &url),
        Address::Hub(address) => hub::fetch(&Client::new(options)?, &address, &source.to_string_lossy()),
    }
}
