//! Files on servers, kept where torch.hub keeps them: under their names, in `$TORCH_HOME/hub/checkpoints`.

use std::fs::File;
use std::path::Path;

use super::address::{file_name, shown};
use super::digest::Expected;
use super::download::{Target, Wanted, download};
use super::error::FetchError;
use super::http::Client;
use super::name;
use super::options::Fetched;
use super::url::Url;
use crate::{IoResultExt as _, Result, ResultExt as _};

/// A file, from the cache or from its server.
pub(super) fn fetch(client: &Client<'_>, address: &str) -> Result<Fetched> {
    let shown = shown(address);
    fetch_file(client, address, &shown).in_file(&shown)
}

/// A file of this machine, held against the hash that is given.
pub(super) fn checked(client: &Client<'_>, path: &Path) -> Result<Fetched> {
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

fn fetch_file(client: &Client<'_>, address: &str, shown: &str) -> Result<Fetched> {
    let options = client.options;
    let url = Url::parse(address)?;
    let name = file_name(address)?;
    let folder = options.dir.clone().unwrap_or_else(|| options.env.torch_checkpoints());
    let target = Target::new(folder.join(name));
    let given = options.sha256.as_deref().map(Expected::sha256).transpose()?;
    let in_name = name::hash_prefix(name).filter(|_| options.check_hash);
    let (mut anew, mut notes) = (options.force, Vec::new());
    if target.path.exists() && !anew {
        match &given {
            // As torch.hub, which held it against the hash in its name when it came.
            None => {
                if in_name.is_none() {
                    let path = target.path.display();
                    notes.push(format!(
                        "{path} was there already, and is taken for this file by its name, as torch.hub does"
                    ));
                }
                return Ok(Fetched { path: target.path, moved: 0, notes });
            }
            Some(expected) => {
                let open = || expected.check(&File::open(&target.path)?);
                match open().doing("cannot read the file").in_file(&target.path)? {
                    Ok(()) => return Ok(Fetched { path: target.path, moved: 0, notes }),
                    Err(error) if options.dir.is_some() => {
                        let error = crate::Error::from(error).in_file(&target.path);
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
    let wanted = Wanted { url: &url, shown, token: None, expected };
    let moved = download(client, &wanted, &target, anew)?;
    Ok(Fetched { path: target.path, moved, notes })
}
