//! A folder of checkpoints, `step-400.pt`: which there are, which of them is the newest that is whole, and which stay.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::OpenOptions;
use rekindle_recorder::run::BESIDE;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, Error, ErrorKind, IoResultExt as _, Result, ResultExt as _};

use super::options::CheckpointOptions;
use crate::attributes::invalid;

/// The newest checkpoint, under a name that does not change.
pub(super) const LAST: &str = "last.pt";
/// The best one.
pub(super) const BEST: &str = "best.pt";

/// A checkpoint of the folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) step: i64,
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

/// The name of a step's file.
pub(super) fn name_of(step: i64) -> String {
    format!("step-{step}.pt")
}

/// The step whose file has this name.
fn step_of(name: &str) -> Option<i64> {
    let step = name.strip_prefix("step-")?.strip_suffix(".pt")?.parse().ok()?;
    (name_of(step) == name).then_some(step)
}

/// The steps that a folder has checkpoints of, the newest first; none where there is no folder.
fn steps(folder: &Path) -> Result<Vec<i64>> {
    let names = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.and_then(|names| names.map(|name| Ok(name?.file_name())).collect::<std::io::Result<Vec<_>>>()),
    };
    let names = names.doing("cannot list the folder").in_file(folder)?;
    let mut steps: Vec<i64> = names.iter().filter_map(|name| step_of(name.to_str()?)).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// The newest checkpoint of a folder that is complete and undamaged: `last.pt`, or where that is not, the one before it, and so on.
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
    let steps = steps(folder)?;
    // Under a name of its own where the one with its step was taken away.
    let last = folder.join(LAST);
    let paths: Vec<PathBuf> = steps.iter().map(|step| folder.join(name_of(*step))).collect();
    let paths = if paths.is_empty() && last.exists() { vec![last] } else { paths };
    let mut passed_over = Vec::new();
    for path in &paths {
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
    Ok(folder.is_dir() && (!steps(folder)?.is_empty() || folder.join(LAST).exists()))
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
    let told = |step: i64| {
        let checkpoint = Checkpoint::open(folder.join(name_of(step))).ok()?;
        let metrics = checkpoint.value(&format!("{BESIDE}.told")).ok()?;
        metrics.as_dict()?.get(metric?)?.as_f64()
    };
    Ok(steps(folder)?.into_iter().map(|step| Entry { step, metric: told(step) }).collect())
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
fn gone(entries: &[Entry], options: &CheckpointOptions) -> Vec<i64> {
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
        link(folder, last.step, LAST)?;
    }
    if let Some(first) = best(entries, options).first() {
        link(folder, first.step, BEST)?;
    }
    for step in gone(entries, options) {
        let path = folder.join(name_of(step));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing("cannot remove a checkpoint that is not kept").in_file(path);
            }
            _ => entries.retain(|entry| entry.step != step),
        }
    }
    Ok(())
}

/// Gives the checkpoint of a step another name, in one step. It is the same file; where the file system has no links, a copy.
fn link(folder: &Path, step: i64, name: &str) -> Result<()> {
    let (from, to) = (folder.join(name_of(step)), folder.join(name));
    let staged = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&staged);
    let linked = fs::hard_link(&from, &staged).or_else(|_| fs::copy(&from, &staged).map(drop));
    linked.and_then(|()| fs::rename(&staged, &to)).doing("cannot name the checkpoint").in_file(&to)?;
    // Two names of one file stay both where one is renamed to the other.
    let _ = fs::remove_file(&staged);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::options::Better;
    use super::*;

    fn entries(all: &[(i64, Option<f64>)]) -> Vec<Entry> {
        all.iter().map(|&(step, metric)| Entry { step, metric }).collect()
    }

    #[test]
    fn a_name_is_a_steps_or_nobodys() {
        assert_eq!(step_of(&name_of(400)), Some(400));
        for name in ["step-0400.pt", "step-4.pt.tmp", "step-.pt", "last.pt", "step-+4.pt"] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_newest_the_best_and_each_so_many_th_stay() {
        let all =
            entries(&[(60, None), (50, Some(0.7)), (40, Some(0.9)), (30, Some(0.9)), (20, Some(f64::NAN)), (10, None)]);
        let options = CheckpointOptions::default().keep_last(2);
        assert_eq!(gone(&all, &options), [40, 30, 20, 10]);
        let options = options.best("accuracy", Better::Higher).keep_every(20);
        // Of two that are as good, the newer one.
        assert_eq!(best(&all, &options)[0].step, 40);
        assert_eq!(gone(&all, &options), [30, 10]);
        assert_eq!(gone(&all, &options.clone().keep_best(2)), [10]);
        let lower = CheckpointOptions::default().keep_last(1).best("loss", Better::Lower);
        assert_eq!(gone(&all, &lower), [40, 30, 20, 10]);
        assert_eq!(gone(&all, &lower.clone().keep_last(0)), [40, 30, 20, 10], "one always stays");
    }
}
