//! Which of a repository's files are its weights.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value as Json;

use super::Repo;
use crate::container::hf::Place;
use crate::source::access::Access;
use crate::source::error::FetchError;
use crate::source::options::Fetched;
use crate::{Error, IoResultExt as _, Result, ResultExt as _, io};

/// What weights are called, the first that is there counts: as transformers looks for them. An index names the files beside it.
const WEIGHTS: [&str; 4] =
    ["model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"];

/// How other checkpoints' names end. Where there is one alone, it is meant.
const ENDS: [&str; 6] = [".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pt2"];

/// What says how the network is made, which is looked for beside its weights.
const BESIDE: [&str; 1] = ["config.json"];

impl Repo<'_> {
    /// The weights: a file, or an index with its shards beside it.
    pub(super) fn weights(&self) -> Result<Fetched> {
        if self.hub.client.options.sha256.is_some() {
            let reason = "a hash is of one file, and this is a repository".to_owned();
            return Err(Error::from(FetchError::Address { reason }).advise("name the file: hf://ORG/REPO/FILE"));
        }
        let (commit, files) = self.files()?;
        let main = main_file(&files)?;
        let mut fetched = self.file(main, &commit)?;
        let mut more: BTreeSet<String> = beside(&files).map(str::to_owned).collect();
        if main.ends_with(INDEX) {
            more.extend(shards(&fetched.path)?);
        }
        for file in &more {
            let other = self.file(file, &commit)?;
            fetched.moved += other.moved;
            fetched.notes.extend(other.notes);
        }
        // The branch is remembered last: whoever finds it without a network finds all files.
        if self.hub.client.options.dir.is_none() && self.offline().is_none() {
            self.cache.set_ref(self.address.revision(), &commit)?;
        }
        Ok(fetched)
    }

    /// The weights, of which parts may do: the index is fetched, its shards are read where they are.
    pub(super) fn weights_access(&self) -> Result<Access> {
        let options = &self.hub.client.options;
        if options.wants_whole() || self.offline().is_some() {
            return self.weights().map(Access::Here);
        }
        let (commit, files) = self.files()?;
        let main = main_file(&files)?;
        if !main.ends_with(INDEX) {
            return self.access(main, &commit);
        }
        let index = self.file(main, &commit)?;
        beside(&files).try_for_each(|file| self.file(file, &commit).map(drop))?;
        let mut places = HashMap::new();
        for shard in shards(&index.path)? {
            let place = match self.access(&shard, &commit)? {
                Access::Ranges(name, ranges) => Place::Ranges(format!("{name}/{shard}").into(), ranges),
                Access::Here(fetched) => Place::Path(fetched.path),
                Access::Index(..) => return self.weights().map(Access::Here),
            };
            places.insert(shard, place);
        }
        Ok(Access::Index(index.path, Box::new(move |name| places.get(name).cloned())))
    }

    /// The commit that is meant, and its files; as they are in the cache where the Hub is not to be asked, or does not answer.
    fn files(&self) -> Result<(String, Vec<String>)> {
        let revision = self.address.revision();
        let cached = || {
            let commit = self.cache.commit(revision)?;
            let files = io::names(&self.cache.snapshot(&commit)).ok()?;
            Some((commit, files))
        };
        if let Some(why) = self.offline() {
            let place = self.cache.folder.display().to_string();
            return cached().ok_or_else(|| FetchError::Offline { place, why }.into());
        }
        match self.hub.listing(self.address) {
            Ok(listing) if super::is_commit(&listing.sha) => {
                let files = listing.files().into_iter().map(str::to_owned).collect();
                Ok((listing.sha, files))
            }
            Ok(_) => {
                let reason = "the commit of its list of files is none".to_owned();
                Err(FetchError::Protocol { host: self.hub.endpoint.clone(), reason }.into())
            }
            Err(error @ FetchError::Status { status: 404, .. }) => Err(error.into()),
            Err(error) => cached().ok_or_else(|| error.into()),
        }
    }
}

/// How the name of an index ends.
const INDEX: &str = ".index.json";

/// What is looked for beside weights, of what there is.
fn beside(files: &[String]) -> impl Iterator<Item = &'static str> {
    BESIDE.into_iter().filter(|name| files.iter().any(|file| file == name))
}

fn main_file(files: &[String]) -> Result<&str> {
    if let Some(name) = WEIGHTS.into_iter().find(|name| files.iter().any(|file| file == name)) {
        return Ok(name);
    }
    let others: Vec<&str> =
        files.iter().map(String::as_str).filter(|file| ENDS.iter().any(|end| file.ends_with(end))).collect();
    if let [only] = *others {
        return Ok(only);
    }
    let reason = match others.len() {
        0 => "the repository has no weights that are known here".to_owned(),
        _ => format!("the repository has several files that may be meant: {}", others.join(", ")),
    };
    Err(Error::from(FetchError::Address { reason }).advise("name one: hf://ORG/REPO/FILE"))
}

/// The files that an index names.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let bytes = std::fs::read(index).doing("cannot read the index").in_file(index)?;
    let wrong = || Error::damaged("the index", "it has no 'weight_map' of names of files").in_file(index);
    let index: Json = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let map = index.get("weight_map").and_then(Json::as_object).ok_or_else(wrong)?;
    map.values()
        .map(|name| name.as_str().filter(|name| io::is_below(name)).map(str::to_owned).ok_or_else(wrong))
        .collect()
}
