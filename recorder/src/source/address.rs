//! `Address`: what the name of a source says, before anybody is asked: a path, a URL, a name that stands for one, a file on the
//! Hugging Face Hub.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::FetchError;
use super::zoo;
use crate::{Error, Result, ResultExt as _};

/// Where a checkpoint is.
///
/// | written | is |
/// |---|---|
/// | `run.pt`, `file:///run.pt` | a file or a folder of this machine |
/// | `https://host/path/net-0123abcd.pth`, `http://..` | a file on a server |
/// | `torchvision://resnet18`, `torchvision://resnet50/IMAGENET1K_V2`, `torchvision://resnet50/DEFAULT` | weights of torchvision's; `modelzoo://` is an older word |
/// | `pytorch://models/resnet18-f37072fd.pth`, `pytorch://host/path/net.pth` | a file on download.pytorch.org, or on another server |
/// | `open-mmlab://resnet50_v1c`, `mmcls://resnet18` | weights of open-mmlab's; `openmmlab://`, too |
/// | `hf://ORG/REPO/FILE`, `hf://ORG/REPO@REV/FILE` | a file on the Hugging Face Hub, of a branch, a tag or a commit |
/// | `hf://ORG/REPO`, `hf://ORG/REPO@REV` | the repository's weights: a file, or an index with its shards |
/// | `https://huggingface.co/ORG/REPO/resolve/REV/FILE`, `../blob/..` | the same file as by `hf://` |
/// | `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY` | an object of Amazon S3 or what speaks like it, of Google Cloud Storage, of Azure (feature `cloud`) |
///
/// ```
/// use rekindle_recorder::source::Address;
///
/// let address: Address = "torchvision://resnet18".parse()?;
/// assert_eq!(address, Address::Url("https://download.pytorch.org/models/resnet18-f37072fd.pth".to_owned()));
/// assert!("gopher://host/net.pth".parse::<Address>().is_err());
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A file or a folder of this machine.
    Path(PathBuf),
    /// A file on a server: `http://` or `https://`.
    Url(String),
    /// A file, or the weights, of a repository on the Hugging Face Hub.
    Hub(HubAddress),
    /// An object in a store: `s3://`, `gs://` or `az://`.
    #[cfg(feature = "cloud")]
    Object(ObjectAddress),
}

/// An object in a store.
#[cfg(feature = "cloud")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectAddress {
    /// `s3`, `gs` or `az`.
    pub scheme: String,
    /// The bucket, or the container.
    pub bucket: String,
    /// The object's name in it.
    pub key: String,
}

/// A place on the Hugging Face Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubAddress {
    /// What kind of repository it is.
    pub kind: RepoKind,
    /// Its name: `ORG/REPO`.
    pub repo: String,
    /// A branch, a tag or a commit; `None` is `main`.
    pub revision: Option<String>,
    /// The file's path in it; `None` stands for its weights.
    pub file: Option<String>,
}

/// What kinds of repositories the Hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
    /// A space.
    Space,
}

impl RepoKind {
    /// What the Hub calls several of them: a part of its addresses, and of the names of folders in its cache.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
            RepoKind::Space => "spaces",
        }
    }

    fn of_plural(word: &str) -> Option<Self> {
        [RepoKind::Model, RepoKind::Dataset, RepoKind::Space].into_iter().find(|kind| kind.plural() == word)
    }
}

/// What stands before `://`, where it looks like a scheme, and what stands behind.
pub(super) fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

impl Address {
    /// What a path means that may be the name of a source, as it comes from a command's arguments.
    ///
    /// # Errors
    /// As [`Address::from_str`].
    pub fn of_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        path.to_str().map_or_else(|| Ok(Address::Path(path.to_owned())), str::parse)
    }

    /// Whether it has to be fetched.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self, Address::Path(_))
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// [`FetchError::UnknownScheme`], [`FetchError::Feature`], [`FetchError::UnknownName`], and [`FetchError::Address`] for what is
    /// not written as it should be; each names the source.
    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = scheme(text) else { return Ok(Address::Path(text.into())) };
        let zoo = |scheme, name| zoo::url(scheme, name).map(|url| Address::Url(url.to_owned()));
        let parsed = match scheme {
            "file" => Ok(Address::Path(rest.strip_prefix("localhost").unwrap_or(rest).into())),
            "http" | "https" => Ok(of_web(text, rest)),
            "torchvision" | "modelzoo" => zoo("torchvision", rest),
            "open-mmlab" | "openmmlab" => zoo("open-mmlab", rest),
            "mmcls" => zoo("mmcls", rest),
            "pytorch" => Ok(Address::Url(of_pytorch(rest))),
            "hf" => of_hub(rest).map(Address::Hub),
            "s3" | "gs" | "az" => of_store(scheme, rest),
            _ => Err(FetchError::UnknownScheme { scheme: scheme.to_owned() }.into()),
        };
        parsed.in_file(shown(text))
    }
}

/// An address without the name and the password that it may hold.
pub(super) fn shown(text: &str) -> String {
    let Some((scheme, rest)) = scheme(text) else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        // In an address of the Hub what stands there is a repository.
        Some((_, host)) if scheme == "http" || scheme == "https" => {
            format!("{scheme}://{host}{}", rest.get(authority.len()..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

#[cfg(not(feature = "cloud"))]
fn of_store(scheme: &str, _: &str) -> Result<Address> {
    Err(FetchError::Feature { scheme: scheme.to_owned(), feature: "cloud" }.into())
}

/// `BUCKET/KEY`.
#[cfg(feature = "cloud")]
fn of_store(scheme: &str, rest: &str) -> Result<Address> {
    let parts = rest.split_once('/').filter(|(bucket, key)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        // Both become parts of paths in the cache.
        !bucket.is_empty()
            && !key.is_empty()
            && !key.ends_with('/')
            && !bucket.starts_with('.')
            && bucket.chars().all(is_name)
            && crate::io::is_below(key)
    });
    let (bucket, key) = parts.ok_or_else(|| {
        Error::from(FetchError::Address { reason: format!("an object is written {scheme}://BUCKET/KEY") })
    })?;
    let [scheme, bucket, key] = [scheme, bucket, key].map(str::to_owned);
    Ok(Address::Object(ObjectAddress { scheme, bucket, key }))
}

/// The server by its name, a folder of PyTorch's, or the whole address.
fn of_pytorch(rest: &str) -> String {
    let first = rest.split('/').next().unwrap_or_default();
    match scheme(rest) {
        Some(("http" | "https", _)) => rest.to_owned(),
        _ if first.contains('.') && rest.contains('/') => format!("https://{rest}"),
        _ => format!("https://download.pytorch.org/{rest}"),
    }
}

/// The Hub's own hosts, of which people copy the addresses of pages.
const HUB_HOSTS: [&str; 2] = ["huggingface.co", "hf.co"];

/// A file on a server; where it is a page of the Hub's about a file, that file.
fn of_web(text: &str, rest: &str) -> Address {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split('/');
    let host = parts.next().unwrap_or_default();
    let on_hub = HUB_HOSTS.iter().any(|hub| host.eq_ignore_ascii_case(hub));
    on_hub.then(|| of_hub_page(parts)).flatten().map_or_else(|| Address::Url(text.to_owned()), Address::Hub)
}

/// `[datasets/]ORG/REPO/blob/REV/FILE`; there is no other page of a file.
fn of_hub_page<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<HubAddress> {
    let first = parts.next()?;
    let (kind, org) = match RepoKind::of_plural(first) {
        Some(kind) => (kind, parts.next()?),
        None => (RepoKind::Model, first),
    };
    let repo = format!("{org}/{}", parts.next()?);
    if !["resolve", "blob", "raw"].contains(&parts.next()?) {
        return None;
    }
    let revision = decoded(parts.next()?);
    let file = parts.map(decoded).collect::<Vec<_>>().join("/");
    let address = HubAddress { kind, repo, revision: Some(revision), file: Some(file) };
    address.check().is_ok().then_some(address)
}

/// `[TYPE/]ORG/REPO[@REV][/FILE]`, as `huggingface_hub` has it. A slash in the revision is written `%2F`, but for `refs/pr/N` and
/// `refs/convert/NAME`.
fn of_hub(rest: &str) -> Result<HubAddress> {
    let (kind, rest) = match rest.split_once('/').and_then(|(word, rest)| Some((RepoKind::of_plural(word)?, rest))) {
        Some((kind, rest)) => (kind, rest),
        None => (RepoKind::Model, rest),
    };
    let wrong = || {
        Error::from(FetchError::Address {
            reason: "a source on the Hub is written hf://ORG/REPO[@REV][/FILE]".to_owned(),
        })
    };
    let (repo, revision, file) = match rest.split_once('@') {
        // An `@` may be in a file's name, too.
        Some((repo, behind)) if repo.matches('/').count() <= 1 => {
            let (revision, file) = split_revision(behind);
            (repo.to_owned(), Some(decoded(revision)), file)
        }
        _ => {
            let mut parts = rest.splitn(3, '/');
            let org = parts.next().unwrap_or_default();
            let repo = parts.next().map_or_else(|| org.to_owned(), |name| format!("{org}/{name}"));
            (repo, None, parts.next())
        }
    };
    let file = file.map(|file| file.trim_end_matches('/')).filter(|file| !file.is_empty()).map(decoded);
    let address = HubAddress { kind, repo, revision, file };
    address.check().map_err(|()| wrong())?;
    Ok(address)
}

/// The revision, and the file where there is one.
fn split_revision(text: &str) -> (&str, Option<&str>) {
    let parts: Vec<&str> = text.splitn(4, '/').collect();
    if let ["refs", "pr" | "convert", which, ..] = &*parts {
        let end = text.len().min(parts.iter().take(2).map(|part| part.len() + 1).sum::<usize>() + which.len());
        return (text.get(..end).unwrap_or(text), parts.get(3).copied());
    }
    text.split_once('/').map_or((text, None), |(revision, file)| (revision, Some(file)))
}

impl HubAddress {
    /// Whether all of it may be parts of paths: it is, in the cache.
    fn check(&self) -> Result<(), ()> {
        let is_part = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !part.contains("..")
        };
        let is_path = |text: &String| crate::io::is_below(text) && !text.is_empty();
        let repo = self.repo.split('/').count() <= 2
            && self.repo.split('/').all(|part| is_part(part) && !part.starts_with('.'))
            && !self.repo.contains("--");
        let rest = self.revision.iter().chain(&self.file).all(is_path);
        if repo && rest { Ok(()) } else { Err(()) }
    }

    /// The revision, which is `main` where none is said.
    #[cfg(feature = "fetch")]
    pub(crate) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

/// Text with `%2F` and the like read; what is no such escape stays.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The name of the file that an address leads to, where one can be told from it.
#[cfg(feature = "fetch")]
pub(super) fn file_name(url: &str) -> Result<&str> {
    let name = super::name::of_url(url);
    if name.is_empty() || !crate::io::is_below(name) {
        return Err(FetchError::Address { reason: "the address names no file".to_owned() }.into());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(kind: RepoKind, repo: &str, revision: Option<&str>, file: Option<&str>) -> Address {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Address::Hub(HubAddress { kind, repo: repo.to_owned(), revision: owned(revision), file: owned(file) })
    }

    #[test]
    fn every_kind_of_source_is_told_by_how_it_is_written() {
        use RepoKind::{Dataset, Model};
        let url = |url: &str| Address::Url(url.to_owned());
        for (text, address) in [
            ("run.pt", Address::Path("run.pt".into())),
            ("C:\\run.pt", Address::Path("C:\\run.pt".into())),
            ("a b/run.pt", Address::Path("a b/run.pt".into())),
            ("file:///a/run.pt", Address::Path("/a/run.pt".into())),
            ("https://host/net.pth?x=1", url("https://host/net.pth?x=1")),
            ("modelzoo://resnet18", url("https://download.pytorch.org/models/resnet18-f37072fd.pth")),
            ("pytorch://models/a.pth", url("https://download.pytorch.org/models/a.pth")),
            ("pytorch://host.org/a.pth", url("https://host.org/a.pth")),
            ("pytorch://http://host.org/a.pth", url("http://host.org/a.pth")),
            (
                "openmmlab://resnet50_caffe",
                url("https://download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth"),
            ),
            ("hf://org/net", hub(Model, "org/net", None, None)),
            ("hf://gpt2", hub(Model, "gpt2", None, None)),
            ("hf://org/net/", hub(Model, "org/net", None, None)),
            ("hf://org/net@v1", hub(Model, "org/net", Some("v1"), None)),
            ("hf://models/org/net@v1/a/b.bin", hub(Model, "org/net", Some("v1"), Some("a/b.bin"))),
            ("hf://org/net@refs/pr/7/b.bin", hub(Model, "org/net", Some("refs/pr/7"), Some("b.bin"))),
            ("hf://org/net@refs/pr/7", hub(Model, "org/net", Some("refs/pr/7"), None)),
            ("hf://org/net@a%2Fb/c.pt", hub(Model, "org/net", Some("a/b"), Some("c.pt"))),
            ("hf://datasets/org/rows/x@y.pt", hub(Dataset, "org/rows", None, Some("x@y.pt"))),
            (
                "https://huggingface.co/org/net/blob/main/a%20b.pt?x",
                hub(Model, "org/net", Some("main"), Some("a b.pt")),
            ),
            ("https://hf.co/datasets/o/n/resolve/v/a/b", hub(Dataset, "o/n", Some("v"), Some("a/b"))),
            ("https://huggingface.co/org/net", url("https://huggingface.co/org/net")),
        ] {
            assert_eq!(text.parse::<Address>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_a_sentence() {
        for (text, said) in [
            ("ftp://host/a.pt", "ftp://host/a.pt: there are no sources of the kind 'ftp://'; known are http"),
            ("hf://", "a source on the Hub is written hf://ORG/REPO[@REV][/FILE]"),
            ("hf://org/../etc/passwd", "hf://ORG/REPO"),
            ("hf://org/net/../../../x", "hf://ORG/REPO"),
            ("hf://org/net@%2e%2e/x", "hf://ORG/REPO"),
            ("hf://org/a--b/x", "hf://ORG/REPO"),
            ("mmcls://resnet19", "mmcls:// knows no weights 'resnet19'; did you mean 'resnet18'?"),
            ("torchvision://", "torchvision:// knows no weights ''"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    #[cfg(not(feature = "cloud"))]
    fn a_store_without_its_feature_is_a_sentence_that_names_it() {
        for scheme in ["s3", "gs", "az"] {
            let error = format!("{scheme}://bucket/a.pt").parse::<Address>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{scheme}://bucket/a.pt: '{scheme}://' needs the feature `cloud`")),
                "{error}"
            );
        }
    }

    #[test]
    #[cfg(feature = "cloud")]
    fn an_object_is_a_bucket_and_a_key() {
        let Address::Object(object) = "gs://my.bucket/a b/c@d.pt".parse().unwrap() else { panic!("it is an object") };
        let ObjectAddress { scheme, bucket, key } = object;
        assert_eq!([scheme, bucket, key], ["gs", "my.bucket", "a b/c@d.pt"]);
    }

    #[test]
    fn names_and_passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@host/a@b.pt"), "https://host/a@b.pt");
        assert_eq!(shown("hf://org/net@v1/a.pt"), "hf://org/net@v1/a.pt");
    }
}
