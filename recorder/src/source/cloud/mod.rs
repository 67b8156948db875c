//! Objects in stores: Amazon S3 and what speaks like it, Google Cloud Storage, Azure. `object_store` knows their protocols and
//! finds the credentials; what it asks goes over the client of all other sources (`connector.rs`).
//!
//! Files lie in `$XDG_CACHE_HOME/rekindle/SCHEME/BUCKET/KEY`, each with a file `.NAME.etag` beside it that says which version of the
//! object it is, and by which length and time the file is known: nobody else has a cache of such files that could be shared.

mod connector;
mod store;

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use self::store::Object;
use super::access::{Access, Found};
use super::address::ObjectAddress;
use super::copy::copy;
use super::digest::Expected;
use super::download::Target;
use super::error::FetchError;
use super::http::Client;
use super::options::Fetched;
use super::ranges::Near;
use crate::{Error, IoResultExt as _, Result, ResultExt as _, io};

/// An object, from the cache or from its store.
pub(super) fn fetch(client: &Arc<Client>, address: &ObjectAddress, shown: &str) -> Result<Fetched> {
    let fetch = || match find(client, address)? {
        Found::Here(fetched) => Ok(fetched),
        Found::There(missing) => missing.fetch(client, shown),
    };
    fetch().in_file(shown)
}

/// The same where parts of it will do.
pub(super) fn access(client: &Arc<Client>, address: &ObjectAddress, shown: &str) -> Result<Access> {
    let access = || match find(client, address)? {
        Found::Here(fetched) => Ok(Access::Here(fetched)),
        Found::There(missing) if client.options.wants_whole() => missing.fetch(client, shown).map(Access::Here),
        Found::There(Missing { object, .. }) => {
            Ok(Access::Ranges(shown.to_owned(), Arc::new(Near::new(object, shown, None))))
        }
    };
    access().in_file(shown)
}

/// An object that is not here, or not in this version.
struct Missing {
    object: Object,
    target: Target,
    /// Which version it is, is noted here.
    version: Option<PathBuf>,
    expected: Option<Expected>,
}

fn find(client: &Arc<Client>, address: &ObjectAddress) -> Result<Found<Missing>> {
    let options = &client.options;
    let expected = options.sha256.as_deref().map(Expected::sha256).transpose()?;
    let name = address.key.rsplit('/').next().unwrap_or_default();
    let cache = || options.env.rekindle_cache().join(&address.scheme).join(&address.bucket);
    let path = options.dir.as_ref().map_or_else(|| cache().join(&address.key), |dir| dir.join(name));
    let version = options.dir.is_none().then(|| path.with_file_name(format!(".{name}.etag")));
    let here = |notes| -> Result<Found<Missing>> {
        let checked = super::web::checked(client, &path)?;
        Ok(Found::Here(Fetched { notes, ..checked }))
    };
    let is_there = path.exists() && !options.force;
    if is_there && options.dir.is_some() {
        let note = format!("{} was there already, and is taken for this object by its name", path.display());
        return match here(vec![note]) {
            Err(error) if expected.is_some() => {
                Err(error.advise("pass `FetchOptions::force(true)` to put the object in its place"))
            }
            found => found,
        };
    }
    if options.offline {
        let place = path.display().to_string();
        let why = "that is what was asked for".to_owned();
        return if is_there { here(Vec::new()) } else { Err(FetchError::Offline { place, why }.into()) };
    }
    let object = Object::find(client, address)?;
    if is_there && version.as_ref().is_some_and(|noted| is_noted(noted, object.version(), &path)) {
        return here(Vec::new());
    }
    Ok(Found::There(Missing { object, target: Target::new(path), version, expected }))
}

impl Missing {
    fn fetch(self, client: &Client, shown: &str) -> Result<Fetched> {
        let Missing { object, target, version, expected } = self;
        // What is there is another version, which several processes may want to replace.
        let is_new = || match &version {
            Some(noted) => is_noted(noted, object.version(), &target.path),
            None => target.path.exists(),
        };
        let done = || is_new() && !client.options.force;
        let noted = |file: &File| version.as_ref().map_or(Ok(()), |path| note(path, object.version(), file));
        let moved = copy(client, &object, object.version(), &target, expected.as_ref(), (&done, &noted))
            .map_err(|error| error.in_file(shown))?;
        Ok(Fetched { path: target.path, moved, notes: Vec::new() })
    }
}

/// What a version's note says: the version, and by what its file is known. It is written before the file has its name, so that the file of
/// another version is never taken for this one, nor this one for none.
fn noted(version: &str, file: &Metadata) -> String {
    let since = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{version}\n{} {}\n", file.len(), since.as_nanos())
}

fn note(path: &Path, version: &str, file: &File) -> Result<()> {
    let file = file.metadata().doing("cannot read the file").in_file(path)?;
    io::commit::commit_bytes(path, true, noted(version, &file).as_bytes())
}

fn is_noted(path: &Path, version: &str, file: &Path) -> bool {
    let known = fs::read_to_string(path).and_then(|known| Ok((known, fs::metadata(file)?)));
    known.is_ok_and(|(known, file)| known == noted(version, &file))
}

/// What a store says.
fn failed(host: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;

    let status = |status: u16, reason: &str| FetchError::Status { status, reason: format!(" {reason}") };
    let error = match error {
        Store::NotFound { .. } => status(404, "Not Found"),
        Store::PermissionDenied { .. } => status(403, "Forbidden"),
        Store::Unauthenticated { .. } => status(401, "Unauthorized"),
        Store::Precondition { .. } | Store::NotModified { .. } => FetchError::Changed { host: host.to_owned() },
        other => FetchError::Store { reason: sentence(&other) },
    };
    let wants = matches!(error, FetchError::Status { status: 401 | 403, .. } | FetchError::Store { .. });
    let error = Error::from(error);
    if wants { error.advise(CREDENTIALS) } else { error }
}

/// What to do where a store refuses.
const CREDENTIALS: &str = "look at its credentials and its address in the environment: AWS_ACCESS_KEY_ID, AWS_REGION, \
     AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and their like";

/// An error in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
