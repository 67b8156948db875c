//! Repositories on the Hugging Face Hub, kept as `huggingface_hub` keeps them.

mod cache;
mod protocol;
mod weights;

use std::path::PathBuf;
use std::sync::Arc;

use self::cache::{Cache, is_commit};
use self::protocol::{Entry, Hub};
use super::access::{Access, Found};
use super::address::HubAddress;
use super::digest::Expected;
use super::download::{Target, Wanted, download};
use super::error::FetchError;
use super::held::Held;
use super::http::Client;
use super::options::{FetchEvent, Fetched};
use super::ranges::WebRanges;
use crate::{Error, IoResultExt as _, Result, ResultExt as _};

/// A file, or the weights, of a repository; from the cache or from the Hub.
pub(super) fn fetch(client: &Arc<Client>, address: &HubAddress, shown: &str) -> Result<Fetched> {
    within(client, address, shown, |repo| match &address.file {
        Some(file) => repo.file(file, address.revision()),
        None => repo.weights(),
    })
}

/// The same where parts of it will do.
pub(super) fn access(client: &Arc<Client>, address: &HubAddress, shown: &str) -> Result<Access> {
    within(client, address, shown, |repo| match &address.file {
        Some(file) => repo.access(file, address.revision()),
        None => repo.weights_access(),
    })
}

fn within<T>(
    client: &Arc<Client>,
    address: &HubAddress,
    shown: &str,
    act: impl Fn(&Repo<'_>) -> Result<T>,
) -> Result<T> {
    let env = &client.options.env;
    let token = env.hub_token();
    let hub = Hub { client, endpoint: env.hub_endpoint(), token: token.as_deref() };
    act(&Repo { hub, cache: Cache::of(&env.hub_cache(), address), address, shown }).in_file(shown)
}

struct Repo<'a> {
    hub: Hub<'a>,
    cache: Cache,
    address: &'a HubAddress,
    shown: &'a str,
}

impl Repo<'_> {
    /// Why the Hub is not to be asked.
    fn offline(&self) -> Option<String> {
        let options = &self.hub.client.options;
        let told = options.env.hub_offline().map(|name| format!("{name} is set"));
        told.or_else(|| options.offline.then(|| "that is what was asked for".to_owned()))
    }

    /// Looks for a file in the cache, and asks the Hub of which commit it has to be.
    fn find(&self, file: &str, revision: &str) -> Result<Found<Entry>> {
        let options = &self.hub.client.options;
        // A commit never changes.
        let fixed = if is_commit(revision) && !options.force && options.dir.is_none() {
            self.cache.pointer(revision, file).filter(|path| path.exists())
        } else {
            None
        };
        if let Some(path) = fixed {
            return self.checked(path).map(Found::Here);
        }
        if let Some(why) = self.offline() {
            let (cached, place) = match &options.dir {
                Some(dir) => (Some(dir.join(file)).filter(|path| path.exists()), dir),
                None => (self.cache.latest(revision, file), &self.cache.folder),
            };
            let place = place.display().to_string();
            let cached = cached.ok_or(FetchError::Offline { place, why })?;
            return self.checked(cached).map(Found::Here);
        }
        match self.hub.entry(self.address, revision, file) {
            Ok(entry) => Ok(Found::There(entry)),
            // Without the Hub, what it had the last time has to do, as in huggingface_hub; that it is not there any more is an answer.
            Err(error) => {
                let gone = matches!(error, FetchError::Status { status: 404, .. });
                let cached =
                    self.cache.latest(revision, file).filter(|_| !gone && !options.force && options.dir.is_none());
                let Some(path) = cached else { return Err(error.into()) };
                let mut fetched = self.checked(path)?;
                let note = format!("{}: {error}; taken from the cache, as it was the last time", self.shown);
                fetched.notes.push(note);
                Ok(Found::Here(fetched))
            }
        }
    }

    fn file(&self, file: &str, revision: &str) -> Result<Fetched> {
        match self.find(file, revision)? {
            Found::Here(fetched) => Ok(fetched),
            Found::There(entry) => self.fetched(&entry, file, revision),
        }
    }

    /// A file, of which parts may do.
    fn access(&self, file: &str, revision: &str) -> Result<Access> {
        let entry = match self.find(file, revision)? {
            Found::Here(fetched) => return Ok(Access::Here(fetched)),
            Found::There(entry) => entry,
        };
        let cached = self.cache.pointer(&entry.commit, file).is_some_and(|path| path.exists());
        if !cached && !self.cache.blob(&entry.etag).exists() && !self.hub.client.options.wants_whole() {
            // Of this commit, whatever the branch is by now.
            let url = self.hub.url(self.address, &entry.commit, file)?;
            if let Some(ranges) = WebRanges::open(self.hub.client, &url, self.shown, self.hub.token)? {
                return Ok(Access::Ranges(self.shown.to_owned(), Arc::new(ranges)));
            }
        }
        self.fetched(&entry, file, revision).map(Access::Here)
    }

    fn fetched(&self, entry: &Entry, file: &str, revision: &str) -> Result<Fetched> {
        let options = &self.hub.client.options;
        let here = |path: PathBuf| Ok(Fetched { path, moved: 0, notes: Vec::new() });
        if let Some(dir) = &options.dir {
            let path = dir.join(file);
            let expected = self.expected(entry)?;
            if path.exists() && !options.force {
                let check = || expected.as_ref().map_or(Ok(Ok(())), |it| it.check(&std::fs::File::open(&path)?));
                return match check().doing("cannot read the file").in_file(&path)? {
                    Ok(()) => here(path),
                    Err(error) => Err(Error::from(error)
                        .in_file(&path)
                        .advise("pass `FetchOptions::force(true)` to put the Hub's file in its place")),
                };
            }
            let moved = self.download(entry, file, &Target::new(path.clone()), expected, options.force)?;
            return Ok(Fetched { path, moved, notes: Vec::new() });
        }
        self.cached(entry, file, revision)
    }

    /// What the file's bytes have to be.
    fn expected(&self, entry: &Entry) -> Result<Option<Expected>> {
        let given = self.hub.client.options.sha256.as_deref().map(Expected::sha256).transpose()?;
        Ok(given.or_else(|| Expected::of_hub_etag(&entry.etag)))
    }

    /// A file of the cache, held against the hash that is given.
    fn checked(&self, path: PathBuf) -> Result<Fetched> {
        super::web::checked(self.hub.client, &path)
    }

    fn cached(&self, entry: &Entry, file: &str, revision: &str) -> Result<Fetched> {
        let options = &self.hub.client.options;
        let Some(pointer) = self.cache.pointer(&entry.commit, file) else {
            let reason = "the Hub's commit is none".to_owned();
            return Err(FetchError::Protocol { host: self.hub.endpoint.clone(), reason }.into());
        };
        if pointer.exists() && !options.force {
            // The cache may be one that cannot be written to.
            let _ = self.cache.set_ref(revision, &entry.commit);
            return self.checked(pointer);
        }
        self.cache.prepare()?;
        self.cache.set_ref(revision, &entry.commit)?;
        let waits = || options.tell(FetchEvent::Waiting { name: file });
        // Python's huggingface_hub waits for this lock, too.
        let _held = Held::take(&self.cache.lock(&entry.etag)?, || false, waits)?;
        let blob = self.cache.blob(&entry.etag);
        let target = Target { partial: blob.with_file_name(format!("{}.incomplete", entry.etag)), path: blob.clone() };
        let is_there = blob.exists() && !options.force;
        let moved =
            if is_there { 0 } else { self.download(entry, file, &target, self.expected(entry)?, options.force)? };
        self.cache.point(&pointer, &blob)?;
        let fetched = self.checked(pointer)?;
        Ok(Fetched { moved, ..fetched })
    }

    fn download(
        &self,
        entry: &Entry,
        file: &str,
        target: &Target,
        expected: Option<Expected>,
        anew: bool,
    ) -> Result<u64> {
        // Of this commit, whatever the branch is by now.
        let url = self.hub.url(self.address, &entry.commit, file)?;
        let wanted = Wanted { url: &url, shown: self.shown, token: self.hub.token, expected };
        download(self.hub.client, &wanted, target, anew)
    }
}
