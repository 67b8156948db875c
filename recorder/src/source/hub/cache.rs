//! The cache of `huggingface_hub`: blobs by their `ETags`, snapshots of links to them by commit, and which commit a branch was at.
//!
//! ```text
//! models--ORG--REPO/
//!     blobs/ETAG
//!     refs/main                  the commit
//!     snapshots/COMMIT/FILE      a link to ../../blobs/ETAG
//! .locks/models--ORG--REPO/ETAG.lock
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::io::commit::commit_bytes;
use crate::io::is_below;
use crate::source::address::HubAddress;
use crate::{IoResultExt as _, Result, ResultExt as _};

/// Where the files of a repository are.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    name: String,
    pub(super) folder: PathBuf,
}

/// Whether a revision is a whole commit, and no branch or tag.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl Cache {
    pub(super) fn of(root: &Path, address: &HubAddress) -> Self {
        let name = format!("{}--{}", address.kind.plural(), address.repo.replace('/', "--"));
        Cache { root: root.to_owned(), folder: root.join(&name), name }
    }

    /// The file of a snapshot; `None` where what a server says is no name of one.
    pub(super) fn pointer(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let is_name = commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && !commit.is_empty() && is_below(file);
        is_name.then(|| self.snapshot(commit).join(file))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a revision was at when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The file as it was when it was last asked for.
    pub(super) fn latest(&self, revision: &str, file: &str) -> Option<PathBuf> {
        self.pointer(&self.commit(revision)?, file).filter(|path| path.exists())
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Makes the folders, with the file by which backups leave a cache out.
    pub(super) fn prepare(&self) -> Result<()> {
        const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
            # This file is a cache directory tag created by huggingface_hub.\n\
            # For information about cache directory tags, see:\n\
            #\thttps://bford.info/cachedir/\n";
        let blobs = self.folder.join("blobs");
        fs::create_dir_all(&blobs).doing("cannot make the folder").in_file(&blobs)?;
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(&tag, TAG).doing("cannot write the file").in_file(&tag)?;
        }
        Ok(())
    }

    /// Remembers the commit that a branch or a tag is at.
    pub(super) fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).doing("cannot make the folder").in_file(folder)?;
        commit_bytes(&path, true, commit.as_bytes())
    }

    /// The lock of a blob.
    pub(super) fn lock(&self, etag: &str) -> Result<PathBuf> {
        let folder = self.root.join(".locks").join(&self.name);
        fs::create_dir_all(&folder).doing("cannot make the folder").in_file(&folder)?;
        Ok(folder.join(format!("{etag}.lock")))
    }

    /// Makes a file of a snapshot a link to a blob; a copy where there are no links.
    pub(super) fn point(&self, pointer: &Path, blob: &Path) -> Result<()> {
        let folder = pointer.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).doing("cannot make the folder").in_file(folder)?;
        if pointer.symlink_metadata().is_ok() {
            fs::remove_file(pointer).doing("cannot replace the file").in_file(pointer)?;
        }
        let depth = folder.strip_prefix(&self.folder).map_or(2, |below| below.components().count());
        let up: PathBuf = std::iter::repeat_n("..", depth).collect();
        let relative = up.join("blobs").join(blob.file_name().unwrap_or_default());
        link(&relative, pointer)
            .or_else(|_| fs::copy(blob, pointer).map(drop))
            .doing("cannot write the file")
            .in_file(pointer)
    }
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
