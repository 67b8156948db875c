//! The checkpoints of a run in a folder: when it is saved, which are kept, and which one a run goes on from.
//!
//! - `options.rs`: when, and which.
//! - `folder.rs`: what is there, the newest that is whole, `last.pt` and `best.pt`.
//! - `writer.rs`: files that are written in the background.
//! - `signals.rs`: signals that ask a run to end.
//!
//! A folder holds a file for each step that was saved, `step-400.pt`, and two names that do not change: `last.pt` is the newest,
//! `best.pt` the best by a metric. Each file is a checkpoint of PyTorch's, which plain `torch.load` opens, with everything of the run
//! in it, and appears whole or not at all. In another [format](CheckpointOptions::format) they end with `.safetensors`, `.bpk` or `.dcp`. The run that they are of: [`Run::with_checkpoints`](crate::Run::with_checkpoints).

mod folder;
mod options;
mod signals;
mod writer;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rekindle_recorder::{Checkpoint, IoResultExt as _, Result, ResultExt as _};

#[cfg(feature = "learner")]
pub(crate) use folder::{Entry, gone, newest_of};
pub use folder::{Found, any_in, newest};
pub use options::{Better, CheckpointOptions};

use crate::attributes::invalid;
#[cfg(not(feature = "learner"))]
use folder::Entry;
use folder::{ending, entries, named, settle};
use signals::Signals;
use writer::Writer;

/// The file that is locked by the process whose checkpoints a folder has.
const LOCK: &str = ".lock";

/// The checkpoints of a run in a folder, for the one process that makes them.
///
/// A [`Run`](crate::Run) that [has them](crate::Run::with_checkpoints) does all that is here by itself; a program with a loop and parts of
/// its own can do it by hand.
///
/// ```
/// # use rekindle_recorder::{Checkpoint, Dict};
/// use rekindle_train::checkpoints::{CheckpointOptions, Checkpoints};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("runs/digits");
/// let mut checkpoints = Checkpoints::new(&folder, CheckpointOptions::default().every_steps(2).keep_last(1))?;
/// let mut step = match checkpoints.newest()? {
///     Some(found) => found.checkpoint.get::<i64>("step")?, // goes on
///     None => 0,
/// };
/// while step < 5 && checkpoints.signal().is_none() {
///     step += 1; // ... trains
///     if checkpoints.is_due(step, 0, false) {
///         checkpoints.save(step, None, Checkpoint::from(Dict::from_iter([("step", step)])))?;
///     }
/// }
/// checkpoints.wait()?;
/// assert_eq!(Checkpoint::open(checkpoints.last())?.get::<i64>("step")?, 4);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    options: CheckpointOptions,
    /// What the names of its files end with.
    ending: &'static str,
    writer: Writer,
    signals: Option<Signals>,
    /// The step that was saved last.
    saved: Option<i64>,
    /// When that was, or when it began.
    saved_at: Instant,
    /// Held while it lives.
    _lock: File,
}

impl Checkpoints {
    /// Those of a folder, which is made where there is none. It is this process's alone as long as this lives.
    ///
    /// # Errors
    /// When it cannot be made or written, another process keeps its checkpoints there, or no run is kept in the format.
    pub fn new(folder: impl AsRef<Path>, options: CheckpointOptions) -> Result<Self> {
        let ending = ending(options.format)?;
        let folder = folder.as_ref().to_owned();
        fs::create_dir_all(&folder).doing("cannot make the folder").in_file(&folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK));
        let lock = lock.doing("cannot write here").in_file(&folder)?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            let what = "another process keeps its checkpoints in this folder; end it, or name another folder";
            return Err(invalid(what).in_file(&folder));
        }
        sweep(&folder);
        let metric = options.metric.as_ref().map(|(name, _)| name.as_str());
        let there = entries(&folder, metric)?;
        let signals = if options.signals { Some(Signals::listen().in_file(&folder)?) } else { None };
        let writer = Writer::new(folder.clone(), options.clone(), there);
        Ok(Checkpoints { folder, options, ending, writer, signals, saved: None, saved_at: Instant::now(), _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When the run is saved, and which of its checkpoints are kept.
    #[must_use]
    pub fn options(&self) -> &CheckpointOptions {
        &self.options
    }

    /// `last.pt`, or as the format has it: the newest checkpoint, once there is one.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.folder.join(named(folder::LAST, self.ending))
    }

    /// `best.pt`, or as the format has it: the best checkpoint, once a metric was told.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.folder.join(named(folder::BEST, self.ending))
    }

    /// The newest checkpoint that is complete and undamaged ([`newest`]). Newer ones that are damaged are set aside: they get
    /// `.damaged` after their names.
    ///
    /// # Errors
    /// As [`newest`], and when a damaged one cannot be renamed.
    pub fn newest(&mut self) -> Result<Option<Found>> {
        self.wait()?;
        let Some(found) = newest(&self.folder)? else { return Ok(None) };
        let metric = self.options.metric.as_ref().map(|(name, _)| name.as_str());
        let mut there = entries(&self.folder, metric)?;
        let own = there.iter().position(|entry| self.folder.join(entry.name()) == found.path);
        for damaged in there.drain(..own.unwrap_or(0)) {
            let path = self.folder.join(damaged.name());
            let aside = self.folder.join(format!("{}.damaged", damaged.name()));
            fs::rename(&path, aside).doing("cannot set a damaged checkpoint aside").in_file(path)?;
        }
        settle(&self.folder, &mut there, &self.options)?;
        self.saved = there.first().map(|entry| entry.step);
        self.writer = Writer::new(self.folder.clone(), self.options.clone(), there);
        Ok(Some(found))
    }

    /// Whether a run is to be saved that stands after so many steps and finished epochs: `ended` where the last step ended one. One
    /// that was saved at this step is not.
    #[must_use]
    pub fn is_due(&self, step: i64, epoch: i64, ended: bool) -> bool {
        self.saved != Some(step) && self.options.is_due(step, epoch, ended, self.saved_at.elapsed())
    }

    /// The step that was saved last, by this process or by the one before.
    #[must_use]
    pub fn saved(&self) -> Option<i64> {
        self.saved
    }

    /// Saves the checkpoint of a step, with the value of the [metric](CheckpointOptions::best) where it is known. In the background
    /// the file is not there yet when this returns; it waits for the one before. One of the same step is replaced.
    ///
    /// # Errors
    /// When it could not be written; or when the one before could not be, in the background. [`wait`](Self::wait) tells of the
    /// last one.
    pub fn save(&mut self, step: i64, metric: Option<f64>, checkpoint: Checkpoint) -> Result<()> {
        self.wait()?;
        self.writer.write(Entry { step, ending: self.ending, metric }, checkpoint)?;
        (self.saved, self.saved_at) = (Some(step), Instant::now());
        Ok(())
    }

    /// Waits until what was saved is on the disk.
    ///
    /// # Errors
    /// When it could not be written; said once.
    pub fn wait(&mut self) -> Result<()> {
        self.writer.wait().inspect_err(|_| self.saved = None)
    }

    /// The signal that came and asks the run to end, such as 2 for SIGINT.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.signals.as_ref().and_then(Signals::came)
    }

    /// Waits until what was saved is on the disk, and then ends the process as the [signal](Self::signal) asks that came: whoever
    /// started it sees that it was ended by that. Without one it returns.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn pass_signal_on(&mut self) -> Result<()> {
        self.wait()?;
        self.signals.as_ref().map_or(Ok(()), Signals::pass_on)
    }
}

/// Removes what a process that was killed left of a file that it had not finished. What cannot be removed does not matter here.
fn sweep(folder: &Path) {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let staged = (name.starts_with(".step-") || name.starts_with(".last.") || name.starts_with(".best."))
            && name.ends_with(".tmp");
        if staged {
            let path = folder.join(name);
            let _ = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
