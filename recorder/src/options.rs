//! `OpenOptions` and `SaveOptions`: how checkpoints are opened and saved; `SaveReport`: what was saved.

use std::path::PathBuf;

use crate::Limits;
use crate::format::Format;

crate::settings! {
    /// How a checkpoint is opened.
    ///
    /// ```
    /// # use rekindle_recorder::checkpoint::OpenOptions;
    /// let options = OpenOptions::default().verify(false);
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenOptions {
        /// What reading may cost.
        limits: Limits = Limits::default(),
        /// Whether a storage's bytes are compared with their checksum when they are first read. Default true.
        verify: bool = true,
        /// Whether a folder whose files contradict each other is read as far as it goes, with a note of what was left out: an
        /// index that names tensors or shards which are not there. Default false: it is an error that names them.
        lenient: bool = false,
        /// Along which axes the parts of tensors are joined that a folder of Llama's shards has, where nothing in it says so:
        /// `NAME=0`, `NAME=1`, or `NAME=same` where each part is the whole. A name may be a glob, the first that fits counts.
        axes: Vec<String> = Vec::new(),
        /// Which of several saves in one file is read, as `open(path, "ab")` leaves them one behind the other: 1 is the first.
        /// `None`, the default, reads the first and notes how many there are.
        nth(impl Into<Option<usize>>): Option<usize> = None,
    }
}

crate::settings! {
    /// How a checkpoint is saved.
    ///
    /// ```
    /// # use rekindle_recorder::checkpoint::SaveOptions;
    /// let options = SaveOptions::default().overwrite(false);
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SaveOptions {
        /// Whether an existing file is replaced, as `torch.save` does. Default true.
        overwrite: bool = true,
        /// Whether objects are written that plain `torch.load` refuses to open (with `weights_only`, its default). Default
        /// false: saving one is an error that names it.
        allow_objects: bool = false,
        /// Whether what plain `torch.load` refuses is left out instead, each thing named in the report's notes: entries of dicts
        /// go, places in lists and tuples hold `None`, whole modules become their state dicts, subclasses of `dict` dicts.
        /// Default false.
        weights_only: bool = false,
        /// Whether a file of nothing but tensors (`safetensors`, `burnpack`) keeps all other values, too: in its metadata, with
        /// checksums of the tensors. It is opened as what it was; other programs see the tensors, each under its path. In a
        /// distributed checkpoint (`dcp`) what that does not keep, such as keys that are numbers, is kept so. Default false: what
        /// is no tensor is an error, or lost as the format has it.
        values: bool = false,
        /// The format; `None`, the default, goes by the file's extension, and where that says nothing writes a zip archive as
        /// `torch.save` does.
        format(impl Into<Option<Format>>): Option<Format> = None,
        /// An archive of TorchScript's or `torch.export`'s: the state dict goes into a copy of it, everything else in it stays
        /// ([`torchscript::replace`](crate::container::torchscript::replace),
        /// [`export::replace`](crate::container::export::replace)). The format is then that of the archive. Default `None`.
        template(impl Into<PathBuf> => Some): Option<PathBuf> = None,
        /// At multiples of how many bytes storages begin in the format `zip`: PyTorch's `torch.serialization.config.save.storage_alignment`.
        /// A power of two up to 32,768. From 4096 on, disks take a large file that is in memory from where it is, without a copy. `None`,
        /// the default, is 64 as for `torch.save`, and where [`Checkpoint::into_saved`](crate::checkpoint::Checkpoint::into_saved)
        /// writes beside other work 4096 if that is a thousandth of the file at most.
        storage_alignment(impl Into<Option<u64>>): Option<u64> = None,
        /// How many bytes of tensors one file of the format `hf` may hold; other formats have no such files. `None`, the
        /// default, is 5 GB ([`DEFAULT_SHARD_SIZE`](crate::container::hf::DEFAULT_SHARD_SIZE)).
        max_shard_size(impl Into<Option<u64>>): Option<u64> = None,
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
