//! `Checkpoint`: a file of PyTorch's, opened. Its values are looked up and changed by path, read into Rust types, and saved
//! again.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::serde::de::DeserializeOwned;
use bytes::Bytes;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::run_folder::origin::Origin;
use crate::container::table;
use crate::error::IoResultExt as _;
use crate::io::{self, FileBytes, Ranges};
use crate::pickle::{self, Dialect, PickleOptions};
use crate::source::{self, FetchOptions};
use crate::{Error, Format, Global, Limits, Opened, Result, ResultExt as _, StateDict, Tensor, Value, serde, walk};

pub use crate::options::{OpenOptions, SaveOptions, SaveReport};

/// What a name ends with that asks for a file, and not for a run's folder.
const FILES: [&str; 7] = ["pt", "pth", "ckpt", "bin", "pkl", "tar", "zip"];

/// Whether a name is a folder's, and neither a stream's, which is empty, nor one that asks for a file.
fn names_folder(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !path.as_os_str().is_empty() && !FILES.iter().any(|file| extension.eq_ignore_ascii_case(file))
}

/// A checkpoint: everything that is in a file of PyTorch's, as a [`Value`], and where it came from.
///
/// Values are shared handles, as in Python: a clone of a checkpoint is the same objects, and what is set in one is seen in
/// both. Tensor bytes stay in the file until they are asked for.
///
/// ```
/// # use rekindle_recorder::{Dict, StateDict, Tensor, checkpoint::Checkpoint};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.pt");
/// let model = StateDict::from_iter([("fc.weight", Tensor::from_vec(&[1, 2], vec![0.5_f32, -0.5])?)]);
/// let run = Dict::new(); // {"epoch": 4, "model_state_dict": model}
/// run.insert("epoch", 4);
/// run.insert("model_state_dict", model);
/// Checkpoint::from(run).save(&path)?;
///
/// let checkpoint = Checkpoint::open(&path)?;
/// assert_eq!(checkpoint.get::<i64>("epoch")?, 4);
/// let weight = checkpoint.get::<Tensor>("model_state_dict.fc.weight")?;
/// assert_eq!(weight.to_vec::<f32>()?, [0.5, -0.5]);
///
/// checkpoint.set("epoch", 5)?;
/// checkpoint.save(&path)?;
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    root: Value,
    path: Option<PathBuf>,
    format: Option<Format>,
    globals: Arc<[Global]>,
    bytes: u64,
    notes: Arc<[String]>,
    limits: Limits,
    /// What it was read from, where that is a run's folder.
    folder: Option<Arc<Origin>>,
}

/// What only one format has is not asked of others.
fn suits(format: Format, options: &SaveOptions) -> Result<()> {
    let asked = [
        (options.max_shard_size.is_some(), "a size of shards", Format::HF),
        (options.storage_alignment.is_some(), "an alignment of storages", Format::ZIP),
    ];
    match asked.into_iter().find(|(asked, _, has)| *asked && format != *has) {
        Some((_, what, has)) => {
            Err(Error::invalid(format!("{what} is for the format '{has}', and '{format}' is to be written")))
        }
        None => Ok(()),
    }
}

impl<T: Into<Value>> From<T> for Checkpoint {
    /// A checkpoint in memory. Whatever serde can take apart becomes a value with [`to_value`](crate::serde::to_value).
    fn from(root: T) -> Self {
        Checkpoint {
            root: root.into(),
            path: None,
            format: None,
            globals: Arc::default(),
            bytes: 0,
            notes: Arc::default(),
            limits: Limits::default(),
            folder: None,
        }
    }
}

impl Checkpoint {
    /// Opens a checkpoint of any format, told by its content. Nothing in it is run, and tensor bytes are not read yet.
    ///
    /// It may be on a server, as [`Address`](crate::source::Address) writes it ([`Checkpoint::open_source`]).
    ///
    /// # Errors
    /// [`ErrorKind::NotACheckpoint`] for a file of no known format,
    /// [`ErrorKind::Truncated`] and [`ErrorKind::Damaged`] for a broken
    /// one, [`ErrorKind::Limit`] for one that asks for too much, [`ErrorKind::Fetch`] where it cannot be had from its server. Every
    /// error names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Checkpoint::open_with(path, &OpenOptions::default())
    }

    /// Opens a checkpoint with options.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        Checkpoint::open_source(path, options, &FetchOptions::default())
    }

    /// Opens a checkpoint from wherever [`Address`](crate::source::Address) says, with what is to be said of how it is had from there.
    ///
    /// What is in a cache is opened there. Else, where the server gives parts of the file, a zip archive (all that `torch.save`
    /// writes since PyTorch 1.6, TorchScript, `.pt2`, `.npz`), a file of safetensors, and a repository's shards of either are read
    /// part by part: the directory and the pickles, or the header, now; the bytes of a tensor when they are asked for, and kept
    /// with it. All parts are of one `ETag`, or of one date where the server has none: a file that changes meanwhile is an error.
    /// The hash in a file's name, of which that would need all bytes, is not looked at; the checksums of records are. Nothing goes
    /// into a cache. [`Checkpoint::path`] is then the source's name.
    ///
    /// All else is fetched first, as by [`fetch`](crate::source::fetch()): files of other formats, from servers without ranges, and
    /// whatever [`FetchOptions`] say more of than how to ask: a hash, a folder, that it be fetched anew.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]. Without the feature `fetch` all sources but those of this machine are errors.
    pub fn open_source(source: impl AsRef<Path>, options: &OpenOptions, fetch: &FetchOptions) -> Result<Self> {
        let (opened, path) = source::open(source.as_ref(), options, fetch)?;
        Ok(Checkpoint::opened(opened, Some(&path), options))
    }

    /// Opens a checkpoint in a file of which parts are asked for: one in a store of your own. `name` is what it is called in
    /// messages. Where its format needs all of it, all of it is read.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and when a part cannot be had.
    pub fn open_ranges(name: impl AsRef<Path>, ranges: Arc<dyn Ranges>, options: &OpenOptions) -> Result<Self> {
        let name = name.as_ref();
        let opened = || match table::read_ranges(name, &ranges, options)? {
            Some(opened) => Ok(opened),
            None => table::read(&FileBytes::unnamed(ranges.read(0..ranges.len())?), options),
        };
        Ok(Checkpoint::opened(opened().in_file(name)?, Some(name), options))
    }

    /// Opens every save in a file, in their order: `torch.save` into a file that was opened with `"ab"` leaves them one behind the
    /// other. Most files hold one.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], for the first that cannot be read.
    pub fn open_all(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        Checkpoint::open_all_with(path, &OpenOptions::default())
    }

    /// The same with options; [`OpenOptions::nth`] is of no effect.
    ///
    /// # Errors
    /// As [`Checkpoint::open_all`].
    pub fn open_all_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Vec<Self>> {
        let path = &source::fetch(path, &FetchOptions::default())?.path;
        let open = |nth: usize| table::open(path, &options.clone().nth(nth));
        let first = open(1)?;
        let saves = first.saves;
        let others = (2..=saves).map(open);
        std::iter::once(Ok(first))
            .chain(others)
            .map(|opened| Ok(Checkpoint::opened(opened?, Some(path), options)))
            .collect()
    }

    /// Opens a checkpoint in memory, whatever its format: `torch.load(io.BytesIO(...))`. The bytes are shared, not copied:
    /// [`Bytes`] of a request's body, a `Vec<u8>`, or a `&'static [u8]` of [`include_bytes!`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, StateDict, Tensor, checkpoint::Checkpoint};
    /// # let model = StateDict::from_iter([("fc.weight", Tensor::from_vec(&[1], vec![0.5_f32])?)]);
    /// let bytes = Checkpoint::from(model).to_bytes()?;
    /// let again = Checkpoint::from_bytes(bytes)?;
    /// assert_eq!(again.get::<Tensor>("fc.weight")?.to_vec::<f32>()?, [0.5]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Checkpoint::from_bytes_with(bytes, &OpenOptions::default())
    }

    /// Opens a checkpoint in memory with options.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes_with(bytes: impl Into<Bytes>, options: &OpenOptions) -> Result<Self> {
        let opened = table::read(&FileBytes::unnamed(bytes.into()), options)?;
        Ok(Checkpoint::opened(opened, None, options))
    }

    /// Opens a checkpoint that is read to its end: a socket, a pipe, standard input.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and [`ErrorKind::Io`] when it cannot be read.
    pub fn read_from(input: impl Read) -> Result<Self> {
        Checkpoint::read_from_with(input, &OpenOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Checkpoint::read_from`].
    pub fn read_from_with(mut input: impl Read, options: &OpenOptions) -> Result<Self> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).doing("cannot read the checkpoint")?;
        Checkpoint::from_bytes_with(bytes, options)
    }

    fn opened(opened: Opened, path: Option<&Path>, options: &OpenOptions) -> Self {
        Checkpoint {
            root: opened.value,
            path: path.map(ToOwned::to_owned),
            format: Some(opened.format),
            globals: opened.globals.into(),
            bytes: opened.bytes,
            notes: opened.notes.into(),
            limits: options.limits.clone(),
            folder: opened.folder,
        }
    }

    /// The whole of it, almost always a dict.
    #[must_use]
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The file that it was opened from.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The format that it was opened from.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Every class and function that its pickles name, each once, as first seen.
    #[must_use]
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The bytes of the file; 0 for a checkpoint in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a user should know of how it was read, a sentence each: what its files contradict each other in, what was taken for
    /// what, what was left out. Almost always there is nothing to say.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads the value at a path into a Rust type: a number, a `String`, a [`Tensor`], a [`StateDict`], a [`Value`], or anything
    /// that derives `Deserialize` ([how](crate::serde)). Paths are spelled as [`walk`] says:
    /// `optimizer_state_dict.param_groups[0].lr`; `""` is the root.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] with the nearest name there is, and
    /// [`ErrorKind::WrongType`] with the path of the value that does not fit.
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, checkpoint::Checkpoint};
    /// #[derive(serde::Deserialize)]
    /// struct Progress { epoch: u32, best: Option<f64> }
    ///
    /// let run = Dict::new(); // {"epoch": 7, "best": 0.93, "seed": 1}
    /// run.insert("epoch", 7);
    /// run.insert("best", 0.93);
    /// run.insert("seed", 1);
    /// let checkpoint = Checkpoint::from(run);
    /// let progress: Progress = checkpoint.get("")?;
    /// assert_eq!((progress.epoch, progress.best), (7, Some(0.93)));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        walk::get(&self.root, path).and_then(|value| serde::from_value_at(&value, path)).in_file_if(self.path())
    }

    /// The value at a path: the very object, so that what is changed in it is changed in the checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] with the nearest name there is.
    pub fn value(&self, path: &str) -> Result<Value> {
        walk::get(&self.root, path).in_file_if(self.path())
    }

    /// Whether there is a value at a path.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        walk::contains(&self.root, path)
    }

    /// Puts a value at a path. The last part of the path may be new: a key of the dict, or the next place of the list, that
    /// the rest leads to. A new key that holds dots is spelled `model['conv1.weight']`.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] when the rest leads nowhere,
    /// [`ErrorKind::Invalid`] for a place that cannot be changed (in a tuple, say).
    pub fn set(&self, path: &str, value: impl Into<Value>) -> Result<()> {
        walk::set(&self.root, path, value).in_file_if(self.path())
    }

    /// The state dict at a path; of a whole `nn.Module`, what its `state_dict()` would give.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] when nothing is there,
    /// [`ErrorKind::WrongType`] when it is no state dict.
    pub fn state_dict(&self, path: &str) -> Result<StateDict> {
        self.read_state_dict(path, false)
    }

    /// The same with parameters left parameters, as `state_dict(keep_vars=True)` gives them: which of them are trained is told
    /// by [`Tensor::requires_grad`].
    ///
    /// # Errors
    /// As [`Checkpoint::state_dict`].
    pub fn state_dict_keep_vars(&self, path: &str) -> Result<StateDict> {
        self.read_state_dict(path, true)
    }

    fn read_state_dict(&self, path: &str, keep_vars: bool) -> Result<StateDict> {
        let place = if path.is_empty() { "the root" } else { path };
        walk::get(&self.root, path).and_then(|value| StateDict::read(&value, place, keep_vars)).in_file_if(self.path())
    }

    /// What is at a path, as a checkpoint of its own: `checkpoint.at("model_state_dict")?`. Its values are the same objects.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] when nothing is there.
    pub fn at(&self, path: &str) -> Result<Checkpoint> {
        // A file of a run's folder is no folder.
        let format = self.format.filter(|_| path.is_empty() || self.folder.is_none());
        let folder = self.folder.clone().filter(|_| path.is_empty());
        Ok(Checkpoint { root: self.value(path)?, format, folder, ..self.clone() })
    }

    /// Every tensor with its path, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when there are more values than the limits allow.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        walk::tensors(&self.root, &self.limits).in_file_if(self.path())
    }

    /// Saves it as `torch.save` does; plain `torch.load` opens what is written. The file appears whole or not at all, so that
    /// it may be the one that this checkpoint was opened from.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for objects that plain `torch.load` does not open,
    /// [`ErrorKind::Io`] when the file cannot be written. The old file is then as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SaveReport> {
        self.save_with(path, &SaveOptions::default())
    }

    /// Saves it with options.
    ///
    /// # Errors
    /// As [`Checkpoint::save`]; [`ErrorKind::Exists`] when a file is there that was not to be replaced,
    /// [`ErrorKind::Unsupported`] for a format that cannot be written. What came from an archive
    /// that holds a program as well (TorchScript, `torch.export`, `torch.package`) is written only where the options name a format
    /// or a template, so that no program is lost by mistake.
    pub fn save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport> {
        let path = path.as_ref();
        let format = self.format_for(path, options)?;
        suits(format, options).in_file(path)?;
        match &self.folder {
            Some(origin) if format == Format::RUN_FOLDER => table::save_folder(&self.root, origin, path, options),
            _ => table::save(&self.root, format, path, options),
        }
    }

    /// Saves it as [`Checkpoint::save_with`] does, beside other work. In the format `zip` each tensor is let go of once its bytes are
    /// written, so that memory which only this checkpoint holds is free from then on, and before each piece of them, some hundred
    /// kilobytes, `between` is called, which may wait. Other formats are written in one go.
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, checkpoint::{Checkpoint, SaveOptions}};
    /// # let folder = tempfile::tempdir()?;
    /// let checkpoint = Checkpoint::from(Dict::from_iter([("epoch", 7)]));
    /// checkpoint.into_saved(folder.path().join("run.pt"), &SaveOptions::default(), &mut std::thread::yield_now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Checkpoint::save_with`].
    pub fn into_saved(
        self,
        path: impl AsRef<Path>,
        options: &SaveOptions,
        between: &mut dyn FnMut(),
    ) -> Result<SaveReport> {
        let path = path.as_ref();
        let format = self.format_for(path, options)?;
        suits(format, options).in_file(path)?;
        if !table::lets_go(format, options) {
            return self.save_with(path, options);
        }
        let Checkpoint { root, .. } = self;
        table::save_letting_go(root, format, path, options, between)
    }

    /// The bytes that [`Checkpoint::save`] writes: `torch.save(..., io.BytesIO())`.
    ///
    /// # Errors
    /// As [`Checkpoint::save`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, &SaveOptions::default())?;
        Ok(bytes)
    }

    /// Writes it to a stream, a tensor at a time: a socket, a pipe, standard output. Where the options name no format it is a
    /// zip archive as of `torch.save`. What was written before an error is not taken back.
    ///
    /// # Errors
    /// As [`Checkpoint::save_with`]; [`ErrorKind::Unsupported`] for a format that is a folder, or a copy of an archive.
    pub fn write_to(&self, mut out: impl Write, options: &SaveOptions) -> Result<SaveReport> {
        let format = self.format_for(Path::new(""), options)?;
        suits(format, options)?;
        table::write_to(&self.root, format, &mut out, options)
    }

    /// Tries what [`Checkpoint::save_with`] would do, so that what stands in the way is known before a long piece of work and not
    /// after it: everything that is to be written is made and counted, the folder must take new files, and the disk must have
    /// room for the bytes (told on Linux). A format that is a folder is written whole, into one that goes away again.
    ///
    /// # Errors
    /// As [`Checkpoint::save_with`], but that a file may be there.
    pub fn try_save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        let path = path.as_ref();
        let refused = "cannot write here";
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::metadata(beside).doing(refused).in_file(path)?;
        let folder = tempfile::Builder::new().prefix(".rekindle-trial-").tempdir_in(beside);
        let folder = folder.doing(refused).in_file(path)?;
        let trial = folder.path().join(path.file_name().unwrap_or_default());
        let format = self.format_for(path, options)?;
        // The name of a file of NumPy's says what it may hold.
        let is_file = table::is_streamed(format) && format != Format::NUMPY && options.template.is_none();
        if is_file {
            let report = table::write_to(&self.root, format, &mut std::io::sink(), options).in_file(path)?;
            io::needs_room(beside, report.bytes).in_file(path)?;
        } else {
            self.save_with(&trial, options).map_err(|error| error.instead_in_file(path))?;
        }
        if path.exists() && path.is_dir() != trial.is_dir() {
            let [one, other] = if trial.is_dir() { ["folder", "file"] } else { ["file", "folder"] };
            let reason = format!("a {one} is written, and this is a {other}; name another place");
            return Err(Error::invalid(reason).in_file(path));
        }
        Ok(())
    }

    /// Makes sure, with nothing written, that what it holds can be pickled so that plain `torch.load` opens it (or at all, with
    /// `allow_objects`), and that its tensors can be read. Of a run's folder only files that are not as they were count, since
    /// the others are copied.
    ///
    /// # Errors
    /// As [`Checkpoint::save`], but for what the file system would refuse.
    pub fn check(&self, allow_objects: bool) -> Result<()> {
        let values = match &self.folder {
            Some(origin) => origin.changed(&self.root),
            None => vec![(self.root.clone(), false)],
        };
        for (value, objects) in values {
            let options = PickleOptions { dialect: Dialect::Zip, allow_objects: allow_objects || objects };
            let pickled = pickle::write(&value, &options).in_file_if(self.path())?;
            pickled.storages.iter().try_for_each(|storage| storage.bytes().map(drop))?;
        }
        Ok(())
    }

    /// The format that it is saved in under this path.
    pub(crate) fn format_for(&self, path: &Path, options: &SaveOptions) -> Result<Format> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let format = match &options.template {
            Some(template) => Some(table::of_template(template, options.format)?),
            None => options.format.or_else(|| table::of_extension(extension)),
        };
        match (format, self.format) {
            (Some(format), _) => Ok(format),
            (None, Some(origin)) if table::keeps(origin).programs => {
                let archive =
                    self.path.as_deref().map_or_else(|| "ARCHIVE".to_owned(), |path| path.display().to_string());
                let what = format!("writing an archive with a program (format '{origin}') anew");
                let error = Error::unsupported(what).advise(format!(
                    "say which of two things is meant: `SaveOptions::format(\"zip\")` writes its weights alone, \
                     `SaveOptions::template(\"{archive}\")` a copy of the archive with these weights"
                ));
                Err(error.in_file(path))
            }
            (None, Some(origin @ (Format::RUN_FOLDER | Format::DCP))) if names_folder(path) => Ok(origin),
            (None, _) => Ok(Format::ZIP),
        }
    }

    /// Something else that is saved as this checkpoint is where it came from a folder: the files of a run's folder that are as
    /// they were are copied.
    pub(crate) fn with_written(&self, root: Value) -> Self {
        let format = self.format.filter(|format| self.folder.is_some() || *format == Format::DCP);
        Checkpoint { folder: self.folder.clone(), format, ..Checkpoint::from(root) }
    }

    /// The same checkpoint with something else in it.
    pub(crate) fn with_root(self, root: Value) -> Self {
        Checkpoint { root, ..self }
    }
}
