//! A folder of checkpoints, `step-400.pt`: which there are, which of them is the newest that is whole, and which stay.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::run::BESIDE;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, Error, ErrorKind, Format, IoResultExt as _, Result, ResultExt as _};

use super::options::CheckpointOptions;
use crate::attributes::invalid;

/// The newest checkpoint, under a name that does not change, but for what follows it.
pub(super) const LAST: &str = "last";
/// The best one.
pub(super) const BEST: &str = "best";

/// In which formats checkpoints are kept, and what their names end with.
const FORMS: [(Format, &str); 4] =
    [(Format::ZIP, "pt"), (Format::SAFETENSORS, "safetensors"), (Format::BURNPACK, "bpk"), (Format::DCP, "dcp")];

impl Found {
    /// After how many steps it is, as its name says; `None` where it lies under another name.
    #[must_use]
    pub fn step(&self) -> Option<i64> {
        self.path.file_name()?.to_str().and_then(Entry::of).map(|entry| entry.step)
    }
}

/// What the names of checkpoints in a format end with.
///
/// # Errors
/// When none are kept in it.
pub(super) fn ending(format: Format) -> Result<&'static str> {
    let found = FORMS.iter().find(|(known, _)| *known == format);
    found.map(|(_, ending)| *ending).ok_or_else(|| {
        let names: Vec<&str> = FORMS.iter().map(|(format, _)| format.name()).collect();
        let what = format!("keeping a run's checkpoints in the format '{format}'");
        Error::unsupported(what).advise(format!("{} hold all of a run", names.join(", ")))
    })
}

/// A checkpoint of the folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(super) step: i64,
    /// What its name ends with.
    pub(super) ending: &'static str,
    /// The metric that tells which are the best, where the run was told it at this step.
    pub(super) metric: Option<f64>,
}

/// A checkpoint that a run goes on from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// The newer ones that were passed over since they are damaged: a sentence each, which names the file and what is wrong with
    /// it.
    pub passed_over: Vec<String>,
}

impl Entry {
    /// One that is known by a number of its own.
    #[cfg(feature = "learner")]
    pub(crate) fn numbered(number: i64, metric: Option<f64>) -> Self {
        Entry { step: number, ending: FORMS[0].1, metric }
    }

    /// The step, or that number.
    #[cfg(feature = "learner")]
    pub(crate) fn number(&self) -> i64 {
        self.step
    }

    /// The name of its file, or of its folder.
    pub(super) fn name(&self) -> String {
        named(&format!("step-{}", self.step), self.ending)
    }

    /// That of this name, without its metric.
    fn of(name: &str) -> Option<Self> {
        let (step, found) = name.strip_prefix("step-")?.rsplit_once('.')?;
        let (_, ending) = FORMS.iter().find(|(_, ending)| *ending == found)?;
        let entry = Entry { step: step.parse().ok()?, ending, metric: None };
        (entry.name() == name).then_some(entry)
    }
}

/// A name of a checkpoint.
pub(super) fn named(stem: &str, ending: &str) -> String {
    format!("{stem}.{ending}")
}

/// The checkpoints that a folder has, the newest first; none where there is no folder.
fn there(folder: &Path) -> Result<Vec<Entry>> {
    let names = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.and_then(|names| names.map(|name| Ok(name?.file_name())).collect::<std::io::Result<Vec<_>>>()),
    };
    let names = names.doing("cannot list the folder").in_file(folder)?;
    let mut entries: Vec<Entry> = names.iter().filter_map(|name| Entry::of(name.to_str()?)).collect();
    entries.sort_unstable_by(|a, b| b.step.cmp(&a.step).then(a.ending.cmp(b.ending)));
    Ok(entries)
}

/// The newest under the name that does not change.
fn last(folder: &Path) -> Option<PathBuf> {
    FORMS.iter().map(|(_, ending)| folder.join(named(LAST, ending))).find(|last| last.exists())
}

/// The newest checkpoint of a folder that is complete and undamaged, in whichever format it is kept: `last.pt`, or where that is not, the one before it, and so on.
/// `None` where there is no folder, or none in it.
///
/// # Errors
/// When there are some, and all are damaged; when the folder or a file cannot be read at all, which says nothing of what is in it.
///
/// ```
/// # use rekindle_recorder::Checkpoint;
/// use rekindle_train::checkpoints::newest;
///
/// # let folder = tempfile::tempdir().unwrap();
/// assert!(newest(folder.path())?.is_none());
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn newest(folder: impl AsRef<Path>) -> Result<Option<Found>> {
    let folder = folder.as_ref();
    let mut paths: Vec<PathBuf> = there(folder)?.iter().map(|entry| folder.join(entry.name())).collect();
    // Under a name of its own where the one with its step was taken away.
    if paths.is_empty() {
        paths.extend(last(folder));
    }
    newest_of(folder, &paths)
}

/// The first of these files that is complete and undamaged. `None` where there are none.
///
/// # Errors
/// As [`newest`].
pub(crate) fn newest_of(folder: &Path, paths: &[PathBuf]) -> Result<Option<Found>> {
    let mut passed_over = Vec::new();
    for path in paths {
        match whole(path) {
            Ok(checkpoint) => return Ok(Some(Found { checkpoint, path: path.clone(), passed_over })),
            Err(error) if is_damage(&error) => passed_over.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if passed_over.is_empty() {
        return Ok(None);
    }
    let all = passed_over.join("; ");
    Err(invalid(format!(
        "none of the checkpoints here is whole, and a run does not begin anew by itself: {all}; take them away, or name another \
         folder, to begin anew"
    ))
    .in_file(folder))
}

/// Whether a folder holds checkpoints of a run, whole or not.
///
/// # Errors
/// When there is a folder that cannot be listed.
pub fn any_in(folder: impl AsRef<Path>) -> Result<bool> {
    let folder = folder.as_ref();
    Ok(folder.is_dir() && (!there(folder)?.is_empty() || last(folder).is_some()))
}

/// A checkpoint whose bytes are all as they were written.
fn whole(path: &Path) -> Result<Checkpoint> {
    let report = verify(path, &OpenOptions::default(), false)?;
    match report.problems.into_iter().next() {
        Some(problem) => Err(problem.error.in_file(path)),
        None => Checkpoint::open(path),
    }
}

/// Whether a file is not as it was written; and not, say, one that this user may not read.
fn is_damage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotACheckpoint { .. }
            | ErrorKind::Truncated { .. }
            | ErrorKind::Missing { .. }
            | ErrorKind::Damaged { .. }
            | ErrorKind::Checksum
            | ErrorKind::Pickle { .. }
            | ErrorKind::Limit { .. }
            | ErrorKind::InvalidTensor { .. }
            | ErrorKind::Unsupported { .. }
    )
}

/// What a folder holds, the newest first, with the values of a metric. Damaged ones have none.
pub(super) fn entries(folder: &Path, metric: Option<&str>) -> Result<Vec<Entry>> {
    let told = |entry: &Entry| {
        let checkpoint = Checkpoint::open(folder.join(entry.name())).ok()?;
        let metrics = checkpoint.value(&format!("{BESIDE}.told")).ok()?;
        metrics.as_dict()?.get(metric?)?.as_f64()
    };
    Ok(there(folder)?.into_iter().map(|entry| Entry { metric: told(&entry), ..entry }).collect())
}

/// The best of these, the best first: of equal ones the newer.
fn best<'a>(entries: &'a [Entry], options: &CheckpointOptions) -> Vec<&'a Entry> {
    let Some((_, better)) = &options.metric else { return Vec::new() };
    let mut told: Vec<(&Entry, f64)> = entries.iter().filter_map(|entry| Some((entry, entry.metric?))).collect();
    told.sort_by(|(a, value), (b, other)| {
        let (first, second) = (better.prefers(*value, *other), better.prefers(*other, *value));
        second.cmp(&first).then(b.step.cmp(&a.step))
    });
    told.into_iter().map(|(entry, _)| entry).collect()
}

/// Which of these, the newest first, go.
pub(crate) fn gone(entries: &[Entry], options: &CheckpointOptions) -> Vec<i64> {
    let best = best(entries, options).into_iter().take(options.keep_best).map(|entry| entry.step);
    let kept: HashSet<i64> =
        entries.iter().take(options.keep_last.max(1)).map(|entry| entry.step).chain(best).collect();
    let for_ever = |step: i64| {
        let every = options.keep_every.and_then(|every| i64::try_from(every).ok()).filter(|&every| every > 0);
        every.is_some_and(|every| step % every == 0)
    };
    entries.iter().map(|entry| entry.step).filter(|step| !kept.contains(step) && !for_ever(*step)).collect()
}

/// Settles a folder in which a checkpoint was put: `last.pt` and `best.pt` are what they should be, and what is not kept goes. The
/// entries are the newest first.
pub(super) fn settle(folder: &Path, entries: &mut Vec<Entry>, options: &CheckpointOptions) -> Result<()> {
    if let Some(last) = entries.first() {
        link(folder, last, LAST)?;
    }
    if let Some(first) = best(entries, options).first() {
        link(folder, first, BEST)?;
    }
    for step in gone(entries, options) {
        for entry in entries.iter().filter(|entry| entry.step == step) {
            remove(&folder.join(entry.name()))?;
        }
        entries.retain(|entry| entry.step != step);
    }
    Ok(())
}

/// Removes a checkpoint, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() {
        // Under a name that is none of a checkpoint's, until all of it is gone.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let leaves = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        fs::rename(path, &leaves).and_then(|()| fs::remove_dir_all(&leaves))
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing("cannot remove a checkpoint that is not kept").in_file(path)
        }
        _ => Ok(()),
    }
}

/// Gives a checkpoint another name, in one step. It is the same file, where the file system has no links a copy; of a folder it
/// is a link that leads there. The same name of a checkpoint in another format goes.
fn link(folder: &Path, entry: &Entry, name: &str) -> Result<()> {
    let (from, to) = (folder.join(entry.name()), folder.join(named(name, entry.ending)));
    let staged = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&staged);
    let linked = if from.is_dir() {
        link_folder(Path::new(&entry.name()), &staged)
    } else {
        fs::hard_link(&from, &staged).or_else(|_| fs::copy(&from, &staged).map(drop))
    };
    linked.and_then(|()| fs::rename(&staged, &to)).doing("cannot name the checkpoint").in_file(&to)?;
    // Two names of one file stay both where one is renamed to the other.
    let _ = fs::remove_file(&staged);
    let others = FORMS.iter().filter(|(_, ending)| *ending != entry.ending);
    others.into_iter().try_for_each(|(_, ending)| remove(&folder.join(named(name, ending))))
}

#[cfg(unix)]
fn link_folder(to: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, link)
}

#[cfg(windows)]
fn link_folder(to: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(to, link)
}

#[cfg(not(any(unix, windows)))]
fn link_folder(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
