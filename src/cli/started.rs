//! How a run was started whose checkpoints a folder keeps: `rekindle resume DIR` alone goes on by the same command.

use std::path::{Path, PathBuf};

use clap::{Args as _, FromArgMatches as _};
use rekindle::train::checkpoints::{any_in, newest};
use serde::{Deserialize, Serialize};

use super::answer::{Anything, note, usage};
use super::resume::given::Resume;
use super::source::{here, here_from};

/// The file in the folder.
const NAME: &str = "started.json";

/// The command that was given.
#[derive(Debug, Serialize, Deserialize)]
struct Started {
    /// The folder that its paths start from.
    folder: PathBuf,
    /// What followed the verb.
    arguments: Vec<String>,
}

/// Keeps the command of this process in a run's folder. One whose arguments are no text is not kept.
pub(super) fn keep(folder: &Path) -> Anything<()> {
    let arguments = std::env::args_os().skip(2).map(|argument| argument.into_string().ok());
    let Some(arguments) = arguments.collect::<Option<Vec<String>>>() else { return Ok(()) };
    let started = Started { folder: std::env::current_dir()?, arguments };
    let (path, staged) = (folder.join(NAME), folder.join(format!(".{NAME}.tmp")));
    let cannot = |error: std::io::Error| usage(format!("{}: cannot be written: {error}", path.display()));
    std::fs::write(&staged, serde_json::to_string(&started)? + "\n").map_err(cannot)?;
    std::fs::rename(&staged, &path).map_err(cannot)
}

/// The command that the folder's run was started with, where only its folder was named: with what was given anew in the place of what
/// it said. Steps and epochs that were given anew count from the newest checkpoint: `Resume::made` says how many there are before.
pub(super) fn restored(mut given: Resume) -> Anything<Resume> {
    given.checkpoint = here(&given.checkpoint)?;
    let folder = given.checkpoint.clone();
    // Settings of the folder's own say how it is resumed, as any checkpoint is.
    let alone = folder.is_dir() && any_in(&folder)? && !folder.join("rekindle.toml").exists();
    let path = folder.join(NAME);
    if !alone || !path.exists() || given.settings.run.as_ref().is_some_and(|run| *run != folder) {
        return Ok(given);
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        usage(format!("{}: it does not say how the run was started ({error}); remove it, and say how", path.display()))
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
    let started: Started = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    let command = Resume::augment_args(clap::Command::new("resume").no_binary_name(true));
    let matches = command.try_get_matches_from(&started.arguments);
    let matches = matches.map_err(|error| unreadable(&error.to_string().lines().next().unwrap_or_default()))?;
    let mut resume = Resume::from_arg_matches(&matches).map_err(|error| unreadable(&error))?;
    resume.checkpoint = here_from(&started.folder, &resume.checkpoint)?;
    resume.settings.start_at(&started.folder);
    resume.settings.save = resume.settings.save.map(|save| started.folder.join(save));
    if !resume.checkpoint.exists() {
        return Err(usage(format!(
            "{}: the run began from {}, which is not there any more; put it back, or say how {} goes on (--model, --data, ..), named \
             as a checkpoint by itself",
            folder.display(),
            resume.checkpoint.display(),
            folder.join("last.pt").display()
        )));
    }
    note(&format!("the run goes on as it was started: rekindle resume {}", started.arguments.join(" ")));
    let anew = given.settings.steps.is_some() || given.settings.epochs.is_some();
    for said in given.settings.over(&mut resume.settings) {
        note(&said);
    }
    resume.settings.run = Some(folder.clone());
    resume.overwrite |= given.overwrite;
    (resume.plan, resume.json) = (given.plan, given.json);
    resume.made = if anew { newest(&folder)?.and_then(|found| found.step()) } else { None };
    resume.restored = true;
    Ok(resume)
}
