//! What the Hub is asked: what a file is at a revision, and which files a repository has.

use std::sync::Arc;

use ureq::http::{HeaderMap, Method};

use crate::source::address::{HubAddress, RepoKind};
use crate::source::error::FetchError;
use crate::source::http::{Ask, Client};
use crate::source::patience::{Failure, Patience};
use crate::source::url::{Url, escape_part};

pub(super) struct Hub<'a> {
    pub(super) client: &'a Arc<Client>,
    /// Without a slash at the end.
    pub(super) endpoint: String,
    pub(super) token: Option<&'a str>,
}

/// What the Hub says of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The commit that the revision is at.
    pub(super) commit: String,
    /// What it calls the file's bytes.
    pub(super) etag: String,
}

/// What the Hub says of a repository.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Listing {
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn files(&self) -> Vec<&str> {
        self.siblings.iter().map(|file| &*file.rfilename).collect()
    }
}

/// A list of a repository's files has no more bytes.
const LISTING: u64 = 64 << 20;

impl Hub<'_> {
    /// Where a file is at a revision.
    pub(super) fn url(&self, address: &HubAddress, revision: &str, file: &str) -> Result<Url, FetchError> {
        let kind = match address.kind {
            RepoKind::Model => String::new(),
            kind => format!("{}/", kind.plural()),
        };
        let (repo, revision, file) = (&address.repo, escape_part(revision, false), escape_part(file, true));
        Url::parse(&format!("{}/{kind}{repo}/resolve/{revision}/{file}", self.endpoint))
    }

    /// What a file is at a revision.
    pub(super) fn entry(&self, address: &HubAddress, revision: &str, file: &str) -> Result<Entry, FetchError> {
        let url = self.url(address, revision, file)?;
        Patience::with(&self.client.options, || {
            // The Hub says it before it sends elsewhere.
            let stops = |headers: &HeaderMap| headers.contains_key("x-repo-commit");
            let ask = Ask { method: Method::HEAD, token: self.token, stops, ..Ask::get(&url) };
            let answer = self.client.ask(&ask)?;
            let unclear = |reason: &str| {
                Failure::from(FetchError::Protocol { host: answer.host.clone(), reason: reason.to_owned() })
            };
            let commit = answer.header("x-repo-commit").ok_or_else(|| {
                unclear("it names no commit (X-Repo-Commit), so that it seems to be no Hub; look at HF_ENDPOINT")
            })?;
            let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
            let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
            let etag = etag.ok_or_else(|| unclear("it names no ETag of the file"))?;
            // Both become names of files.
            let is_name = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
                    && !text.starts_with('.')
            };
            if !is_name(commit) || !is_name(etag) {
                return Err(unclear("its commit or its ETag is none"));
            }
            Ok(Entry { commit: commit.to_owned(), etag: etag.to_owned() })
        })
    }

    /// Which files a repository has at a revision.
    pub(super) fn listing(&self, address: &HubAddress) -> Result<Listing, FetchError> {
        let (kind, repo) = (address.kind.plural(), &address.repo);
        let revision = escape_part(address.revision(), false);
        let url = Url::parse(&format!("{}/api/{kind}/{repo}/revision/{revision}", self.endpoint))?;
        Patience::with(&self.client.options, || {
            let answer = self.client.ask(&Ask { token: self.token, ..Ask::get(&url) })?;
            let host = answer.host.clone();
            let bytes = answer.read(LISTING)?;
            serde_json::from_slice(&bytes).map_err(|error| {
                FetchError::Protocol { host, reason: format!("its list of files is none: {error}") }.into()
            })
        })
    }
}
