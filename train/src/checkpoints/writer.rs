//! Files that are written beside the steps that follow: one at a time, in order, and an error reaches whoever asks next.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::{Checkpoint, IoResultExt as _, Result, ResultExt as _};

use super::folder::{Entry, remove, settle};
use super::options::CheckpointOptions;
use crate::attributes::invalid;
use crate::beside::{Beside, Waiting, stand_back};

/// How long a file that is written in the background gives way to steps, in all.
const GIVES_WAY: Duration = Duration::from_secs(10);

/// What a folder holds, and whoever puts checkpoints there.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    options: CheckpointOptions,
    at: At,
}

/// What the writer is doing.
#[derive(Debug)]
enum At {
    /// Nothing: what is there is known, the newest first.
    Rest(Vec<Entry>),
    /// A file is being written; what there is then, or what was there before and the error.
    Work(JoinHandle<(Vec<Entry>, Result<()>)>),
}

impl Writer {
    pub(super) fn new(folder: PathBuf, options: CheckpointOptions, entries: Vec<Entry>) -> Self {
        Writer { folder, options, at: At::Rest(entries) }
    }

    /// Waits for the file that is being written, if one is.
    ///
    /// # Errors
    /// When it could not be written; said once.
    pub(super) fn wait(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.at, At::Rest(Vec::new())) {
            At::Rest(entries) => {
                self.at = At::Rest(entries);
                Ok(())
            }
            At::Work(thread) => {
                let _waiting = Waiting::begin();
                let (entries, written) = thread.join().map_err(|_| {
                    let what = "whoever wrote a checkpoint in the background panicked, so that it may not be there";
                    invalid(what).in_file(&self.folder)
                })?;
                self.at = At::Rest(entries);
                written
            }
        }
    }

    /// Writes the checkpoint of a step: begins to, or does, as the options have it. Waits for the one before.
    ///
    /// # Errors
    /// When this one, or the one before in the background, could not be written.
    pub(super) fn write(&mut self, entry: Entry, checkpoint: Checkpoint) -> Result<()> {
        self.wait()?;
        let At::Rest(entries) = std::mem::replace(&mut self.at, At::Rest(Vec::new())) else { return Ok(()) };
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let work = move || {
            let mut entries = entries;
            let written = put(&folder, &options, &mut entries, entry, checkpoint);
            (entries, written)
        };
        if self.options.in_background {
            let thread = std::thread::Builder::new().name("rekindle-checkpoint".to_owned()).spawn(|| {
                stand_back();
                work()
            });
            self.at = At::Work(thread.doing("cannot begin to write in the background").in_file(&self.folder)?);
            return Ok(());
        }
        let (entries, written) = work();
        self.at = At::Rest(entries);
        written
    }
}

/// Writes a checkpoint whole, and lets go of each tensor once it is written, so that a step need not spare it; and then sees to the names and to what is not kept: a process that is killed in between leaves a file
/// too many, never one too few.
fn put(
    folder: &Path,
    options: &CheckpointOptions,
    entries: &mut Vec<Entry>,
    entry: Entry,
    checkpoint: Checkpoint,
) -> Result<()> {
    let save = SaveOptions::default().format(options.format).values(true).allow_objects(options.allow_objects);
    let mut beside = Beside::new(if options.in_background { GIVES_WAY } else { Duration::ZERO });
    checkpoint.into_saved(folder.join(entry.name()), &save, &mut || beside.give_way())?;
    // One of the same step in another format.
    let others = entries.iter().filter(|other| other.step == entry.step && other.ending != entry.ending);
    others.into_iter().try_for_each(|other| remove(&folder.join(other.name())))?;
    entries.retain(|other| other.step != entry.step);
    let place = entries.iter().position(|other| other.step < entry.step).unwrap_or(entries.len());
    entries.insert(place, entry);
    settle(folder, entries, options)
}

impl Drop for Writer {
    /// Waits. An error that nobody can be given any more is said all the same.
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            eprintln!("{error}");
        }
    }
}
