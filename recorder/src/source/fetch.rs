//! `fetch`: a source's name becomes a path of this machine.

use std::path::Path;

use super::address::Address;
use super::options::{FetchOptions, Fetched};
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
/// A path of this machine is given back as it is, whether there is something or not: opening it tells. Where a hash is given, the
/// file is held against it.
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
    match Address::of_path(source)? {
        Address::Path(path) if options.sha256.is_none() => Ok(Fetched { path, moved: 0, notes: Vec::new() }),
        remote => from_server(&remote, &source.to_string_lossy(), options),
    }
}

#[cfg(feature = "fetch")]
fn from_server(address: &Address, shown: &str, options: &FetchOptions) -> Result<Fetched> {
    use std::sync::Arc;

    use super::{http::Client, hub, web};

    let client = Arc::new(Client::new(options)?);
    match address {
        Address::Hub(address) => hub::fetch(&client, address, shown),
        Address::Url(url) => web::fetch(&client, url),
        #[cfg(feature = "cloud")]
        Address::Object(address) => super::cloud::fetch(&client, address, shown),
        // Only its hash is asked for.
        Address::Path(path) => web::checked(&client, path),
    }
}

#[cfg(not(feature = "fetch"))]
fn from_server(_: &Address, shown: &str, _: &FetchOptions) -> Result<Fetched> {
    let scheme = super::address::scheme(shown).map(|(scheme, _)| scheme.to_owned()).unwrap_or_default();
    Err(crate::Error::from(super::FetchError::Feature { scheme, feature: "fetch" }).in_file(shown))
}
