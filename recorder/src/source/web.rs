//! Files on servers, kept where torch.hub keeps them: under their names, in `$TORCH_HOME/hub/checkpoints`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::access::{Access, Found};
use super::address::{file_name, shown};
use super::digest::Expected;
use super::download::{Target, Wanted, download};
use super::error::FetchError;
use super::http::Client;
use super::name;
use super::options::Fetched;
use super::ranges::WebRanges;
use super::url::Url;
use crate::{Error, ErrorKind, IoResultExt as _, Result, ResultExt as _};

/// A file, from the cache or from its server.
pub(super) fn fetch(client: &Client, address: &str) -> Result<Fetched> {
    let shown = shown(address);
    let fetched = find(client, address).and_then(|found| match found {
        Found::Here(fetched) => Ok(fetched),
        Found::There(missing) => missing.download(client, &shown),
    });
    fetched.in_file(&shown)
}

/// The same where parts of it will do.
pub(super) fn access(client: &Arc<Client>, address: &str) -> Result<Access> {
    let shown = shown(address);
    let access = || {
        let missing = match find(client, address)? {
            Found::Here(fetched) => return Ok(Access::Here(fetched)),
            Found::There(missing) => missing,
        };
        if !client.options.wants_whole()
            && let Some(ranges) = WebRanges::open(client, &missing.url, &shown, None).map_err(|e| missing.place(e))?
        {
            return Ok(Access::Ranges(shown.clone(), Arc::new(ranges)));
        }
        missing.download(client, &shown).map(Access::Here)
    };
    access().in_file(&shown)
}

/// A file of this machine, held against the hash that is given.
pub(super) fn checked(client: &Client, path: &Path) -> Result<Fetched> {
    let check = || -> Result<()> {
        if let Some(expected) = client.options.sha256.as_deref().map(Expected::sha256).transpose()? {
            let file = File::open(path).doing("cannot open the file")?;
            expected.check(&file).doing("cannot read the file")??;
        }
        Ok(())
    };
    check().in_file(path)?;
    Ok(Fetched { path: path.to_owned(), moved: 0, notes: Vec::new() })
}

/// A file that is not here yet.
struct Missing {
    url: Url,
    target: Target,
    expected: Option<Expected>,
    anew: bool,
    /// Whether a mirror has it in the place of the server that the address names.
    is_mirrored: bool,
}

impl Missing {
    fn download(self, client: &Client, shown: &str) -> Result<Fetched> {
        let wanted = Wanted { url: &self.url, shown, token: None, expected: self.expected.clone() };
        let moved = download(client, &wanted, &self.target, self.anew).map_err(|error| self.place(error))?;
        Ok(Fetched { path: self.target.path, moved, notes: Vec::new() })
    }

    /// What a mirror did is not said of the server in whose place it was asked.
    fn place(&self, error: Error) -> Error {
        let advice = match error.kind() {
            ErrorKind::Fetch(error) if self.is_mirrored => error.advice().unwrap_or("look at the mirror"),
            _ => return error,
        };
        error.advise(format!("{advice}; it was asked for at {}, as REKINDLE_MIRROR says", self.url.text()))
    }
}

/// Looks for a file in the cache.
fn find(client: &Client, address: &str) -> Result<Found<Missing>> {
    let options = &client.options;
    let original = Url::parse(address)?;
    let url = original.clone().mirrored(options.env.mirror().as_deref())?;
    let is_mirrored = url != original;
    let name = file_name(address)?;
    let folder = options.dir.clone().unwrap_or_else(|| options.env.torch_checkpoints());
    let target = Target::new(folder.join(name));
    let given = options.sha256.as_deref().map(Expected::sha256).transpose()?;
    let in_name = name::hash_prefix(name).filter(|_| options.check_hash);
    let mut anew = options.force;
    if target.path.exists() && !anew {
        let here = |notes| Ok(Found::Here(Fetched { path: target.path.clone(), moved: 0, notes }));
        match &given {
            // As torch.hub, which held it against the hash in its name when it came.
            None => {
                let path = target.path.display();
                let note =
                    || format!("{path} was there already, and is taken for this file by its name, as torch.hub does");
                return here(in_name.is_none().then(note).into_iter().collect());
            }
            Some(expected) => {
                let open = || expected.check(&File::open(&target.path)?);
                match open().doing("cannot read the file").in_file(&target.path)? {
                    Ok(()) => return here(Vec::new()),
                    Err(error) if options.dir.is_some() => {
                        let error = Error::from(error).in_file(&target.path);
                        return Err(error
                            .advise("pass `FetchOptions::force(true)` to put the file of this address in its place"));
                    }
                    Err(_) => anew = true,
                }
            }
        }
    }
    if options.offline {
        let place = target.path.display().to_string();
        return Err(FetchError::Offline { place, why: "that is what was asked for".to_owned() }.into());
    }
    let expected = given.or_else(|| in_name.map(|hash| Expected::Sha256(hash.to_owned())));
    Ok(Found::There(Missing { url, target, expected, anew, is_mirrored }))
}
