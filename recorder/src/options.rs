//! `OpenOptions` and `SaveOptions`: how checkpoints are opened and saved; `SaveReport`: what was saved.

use std::path::PathBuf;

use crate::Limits;
use crate::format::Format;

/// How a checkpoint is opened.
///
/// ```
/// # use rekindle_recorder::checkpoint::OpenOptions;
/// let options = OpenOptions::default().verify(false);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// What reading may cost.
    pub limits: Limits,
    /// Whether a storage's bytes are compared with their checksum when they are first read. Default true.
    pub verify: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { limits: Limits::default(), verify: true }
    }
}

impl OpenOptions {
    /// Sets what reading may cost.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets whether a storage's bytes are compared with their checksum when they are first read.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }
}

/// How a checkpoint is saved.
///
/// ```
/// # use rekindle_recorder::checkpoint::SaveOptions;
/// let options = SaveOptions::default().overwrite(false);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Whether an existing file is replaced, as `torch.save` does. Default true.
    pub overwrite: bool,
    /// Whether objects are written that plain `torch.load` refuses to open (with `weights_only`, its default). Default false:
    /// saving one is an error that names it.
    pub allow_objects: bool,
    /// The format; `None`, the default, goes by the file's extension, and where that says nothing writes a zip archive as
    /// `torch.save` does.
    pub format: Option<Format>,
    /// An archive of TorchScript's or `torch.export`'s: the state dict goes into a copy of it, everything else in it stays. The
    /// format is then that of the archive. Default `None`.
    pub template: Option<PathBuf>,
    /// How many bytes of tensors one file of the format `hf` may hold; other formats have no such files. `None`, the default,
    /// is 5 GB ([`DEFAULT_SHARD_SIZE`](crate::container::hf::DEFAULT_SHARD_SIZE)).
    pub max_shard_size: Option<u64>,
}

impl Default for SaveOptions {
    fn default() -> Self {
        SaveOptions { overwrite: true, allow_objects: false, format: None, template: None, max_shard_size: None }
    }
}

impl SaveOptions {
    /// Sets whether an existing file is replaced.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Sets whether objects are written that plain `torch.load` refuses to open.
    #[must_use]
    pub fn allow_objects(mut self, allow_objects: bool) -> Self {
        self.allow_objects = allow_objects;
        self
    }

    /// Sets the format.
    #[must_use]
    pub fn format(mut self, format: impl Into<Option<Format>>) -> Self {
        self.format = format.into();
        self
    }

    /// Sets the archive into a copy of which the state dict goes
    /// ([`torchscript::replace`](crate::container::torchscript::replace), [`export::replace`](crate::container::export::replace)).
    #[must_use]
    pub fn template(mut self, archive: impl Into<PathBuf>) -> Self {
        self.template = Some(archive.into());
        self
    }

    /// Sets how many bytes of tensors one file of the format `hf` may hold.
    #[must_use]
    pub fn max_shard_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_shard_size = bytes.into();
        self
    }
}

/// What was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveReport {
    /// The bytes of the file.
    pub bytes: u64,
    /// What a user may want to know about it, a sentence each.
    pub notes: Vec<String>,
}
