//! Sources from servers on the loopback: whole or not there, moved once, whatever a server does. Nothing here leaves the machine.

mod broken;
#[cfg(feature = "cloud")]
mod cloud;
mod hub;
mod ranges;
mod schemes;
mod several;
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle_recorder::source::{Env, FetchOptions, Fetched, fetch};
use rekindle_recorder::{Error, Result};
use rekindle_testing::hub::sha256;

/// Bytes that are nowhere equal for long.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7919 % 251).to_le_bytes()[0] ^ (i / 4096).to_le_bytes()[0]).collect()
}

/// A name that says the file's hash, as torch.hub's do.
fn named(stem: &str, bytes: &[u8]) -> String {
    format!("/{stem}-{}.pth", &sha256(bytes)[..8])
}

/// Caches of their own, in a folder that goes away.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }

    fn variables(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let folder = |name: &str| self.0.path().join(name).display().to_string();
        let own = [("TORCH_HOME".to_owned(), folder("torch")), ("HF_HOME".to_owned(), folder("hf"))];
        own.into_iter().chain(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    /// Options that wait for nothing.
    fn options_with(&self, more: &[(&str, &str)]) -> FetchOptions {
        FetchOptions::default().env(self.variables(more).into_iter().collect::<Env>()).pause(Duration::ZERO)
    }

    fn options(&self) -> FetchOptions {
        self.options_with(&[])
    }

    fn fetch(&self, source: &str) -> Result<Fetched> {
        fetch(source, &self.options())
    }

    fn checkpoints(&self) -> PathBuf {
        self.0.path().join("torch/hub/checkpoints")
    }

    /// What is in torch.hub's folder.
    fn names(&self) -> Vec<String> {
        names(&self.checkpoints())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The sentence of what could not be fetched.
fn sentence(result: Result<Fetched, Error>) -> String {
    let error = result.unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}
