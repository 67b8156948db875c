//! `--run DIR`: the checkpoints of a run in a folder, from which the same command goes on.

use std::path::{Path, PathBuf};

use rekindle::Checkpoint;
use rekindle::models::Network;
use rekindle::recorder::Format;
use rekindle::recorder::diff::{Tolerance, compare};
use rekindle::train::checkpoints::{Better, CheckpointOptions, Checkpoints, Found, any_in, newest};
use rekindle::train::data::Samples;
use rekindle::train::run::{AnyRun, Run, restore_parts, whole_checkpoint_of};

use super::answer::{Anything, new_file, note, tell, usage};
use super::flags::in_flags;
use super::input::{Opening, say_notes};
use super::schedule::{Metric, measured};
use super::settings::Settings;
use super::task::Task;

/// The folder of a run.
pub(super) struct Kept {
    folder: PathBuf,
    options: CheckpointOptions,
    best: Option<Metric>,
    /// Whether it has checkpoints already, from which the run goes on.
    pub(super) begun: bool,
}

impl Kept {
    /// As the settings have it; `None` without `--run`. Nothing is made yet.
    pub(super) fn of(settings: &Settings) -> Anything<Option<Kept>> {
        let flags = [
            ("--every", settings.every.is_some()),
            ("--keep", settings.keep.is_some()),
            ("--keep-format", settings.keep_format.is_some()),
            ("--best", settings.best.is_some()),
        ];
        let Some(folder) = settings.run.clone() else {
            return match flags.iter().find(|(_, said)| *said) {
                Some((flag, _)) => Err(usage(format!("{flag} is about the folder of --run DIR, which is not said"))),
                None => Ok(None),
            };
        };
        // A key of rekindle.toml that a flag would have refused.
        if settings.every == Some(0) || settings.keep == Some(0) {
            return Err(usage("--every and --keep are at least 1"));
        }
        let mut options =
            CheckpointOptions::default().every_steps(settings.every).allow_objects(settings.allow_objects);
        if let Some(keep) = settings.keep {
            options = options.keep_last(usize::try_from(keep).unwrap_or(usize::MAX));
        }
        if let Some(format) = &settings.keep_format {
            options = options.format(format.parse::<Format>()?);
        }
        if let Some(best) = settings.best {
            let better = if best == Metric::Accuracy { Better::Higher } else { Better::Lower };
            options = options.best(best.name(), better);
        }
        let begun = any_in(&folder)?;
        Ok(Some(Kept { folder, options, best: settings.best, begun }))
    }

    /// Its checkpoints, for this process alone. A run's folder holds objects that its files do.
    pub(super) fn open(&self, origin: &Checkpoint) -> Anything<Checkpoints> {
        let objects = self.options.allow_objects || origin.path().is_some_and(Path::is_dir);
        Ok(Checkpoints::new(&self.folder, self.options.clone().allow_objects(objects))?)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is measured when a checkpoint is due.
    pub(super) fn measure<'a>(
        &self,
        task: &'a Task,
        held_back: Option<(&'a dyn Samples, usize)>,
        run: &Run<Network>,
    ) -> Anything<Option<Measure<'a>>> {
        let Some(metric) = self.best else { return Ok(None) };
        if metric != Metric::Loss {
            measured("--best", metric, task, held_back, run.model())?;
        }
        Ok(Some(Measure { metric, task, held_back, at: run.steps() }))
    }
}

/// Refuses to replace a file that is there, before any work: the log only where the run begins, and OUT unless the run may be at its
/// end, so that OUT may be what it came to.
pub(super) fn new_files(save: &Path, log: Option<&PathBuf>, overwrite: bool, begun: bool) -> Anything<()> {
    if begun {
        return Ok(());
    }
    [Some(save), log.map(PathBuf::as_path)].into_iter().flatten().try_for_each(|path| new_file(path, overwrite))
}

/// Says from where the run goes on, if it does, and what was passed over.
pub(super) fn say(found: Option<&Found>, step: i64) {
    let Some(found) = found else { return };
    for damaged in &found.passed_over {
        tell(&in_flags(&format!("warning: {damaged}; it was set aside, and the one before is taken")));
    }
    note(&format!("the run goes on from {}, after step {step}", found.path.display()));
}

/// Says that a signal ended the run, and how it goes on.
pub(super) fn say_stopped(checkpoints: &Checkpoints, signal: i32, step: i64) {
    let name = match signal {
        2 => "SIGINT".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    };
    let last = checkpoints.last();
    note(&format!("{name} ended the run after step {step}; the same command goes on from {}", last.display()));
}

/// Whether OUT is there and is what the run has come to, which was at its end already.
pub(super) fn is_written(
    save: &Path,
    overwrite: bool,
    at_end: bool,
    checkpoint: impl Fn() -> Anything<Checkpoint>,
) -> Anything<bool> {
    if !save.exists() || overwrite {
        return Ok(false);
    }
    let same = at_end
        && Checkpoint::open(save).is_ok_and(|there| {
            checkpoint()
                .is_ok_and(|own| compare(&there, &own, Tolerance::default()).is_ok_and(|apart| apart.is_empty()))
        });
    if same {
        note(&format!("the run is at its end already, and {} is what it came to", save.display()));
        return Ok(true);
    }
    new_file(save, overwrite).map(|()| false)
}

/// The checkpoint that is resumed: of a folder of a run's checkpoints the newest that is whole. `aloud` says what is to be said of it.
pub(super) fn opened(path: &Path, opening: &Opening, aloud: bool) -> Anything<Checkpoint> {
    let found = if any_in(path)? { newest(path)? } else { None };
    let checkpoint = Checkpoint::open_with(found.as_ref().map_or(path, |found| &found.path), &opening.options())?;
    if aloud {
        for damaged in found.iter().flat_map(|found| &found.passed_over) {
            tell(&in_flags(&format!("warning: {damaged}; the one before is taken")));
        }
        say_notes(&checkpoint);
    }
    Ok(checkpoint)
}

/// What the losses are called since the last checkpoint.
const LOSSES: &str = "losses of the best";

/// Measures the run by the metric of `--best` when a checkpoint of it is due.
pub(super) struct Measure<'a> {
    metric: Metric,
    task: &'a Task,
    held_back: Option<(&'a dyn Samples, usize)>,
    /// The step that was measured last, or where the run began.
    at: i64,
}

impl Measure<'_> {
    /// Takes the loss of a step in.
    pub(super) fn after_step(&self, run: &mut Run<Network>, loss: f64) {
        if self.metric == Metric::Loss {
            run.record(LOSSES, loss);
        }
    }

    /// Tells the run its metric, where it is saved next, or has come to its end.
    pub(super) fn before_save(&mut self, run: &mut Run<Network>, at_end: bool) -> Anything<()> {
        if self.at == run.steps() || !(at_end || run.is_save_due()) {
            return Ok(());
        }
        let value = match self.metric {
            Metric::Loss => run.take_mean(LOSSES).unwrap_or(f64::NAN),
            _ => measured("--best", self.metric, self.task, self.held_back, run.model())?,
        };
        run.tell(self.metric.name(), value);
        self.at = run.steps();
        Ok(())
    }
}

/// The checkpoints of several runs, which have none of their own.
pub(super) struct Keeper {
    checkpoints: Checkpoints,
    /// What the runs went on from.
    pub(super) found: Option<Found>,
}

impl Keeper {
    /// Goes on from the newest checkpoint in the folder; where there is none, the beginning is saved.
    pub(super) fn open(kept: &Kept, origin: &Checkpoint, runs: &mut [Run<Network>]) -> Anything<Keeper> {
        let mut checkpoints = kept.open(origin)?;
        let found = checkpoints.newest()?;
        match &found {
            Some(found) => {
                let mut parts: Vec<&mut dyn AnyRun> = runs.iter_mut().map(|run| run as &mut dyn AnyRun).collect();
                restore_parts(&mut parts, &found.checkpoint)?;
            }
            None => {
                checkpoints.save(steps(runs), None, whole(runs)?)?;
                checkpoints.wait()?;
            }
        }
        Ok(Keeper { checkpoints, found })
    }

    /// Saves the runs where it is time to, after a step that may have ended an epoch; gives the signal that asks them to end.
    pub(super) fn after_step(&mut self, runs: &[Run<Network>], ended: bool) -> Anything<Option<i32>> {
        let signal = self.checkpoints.signal();
        let epoch = runs.first().map_or(0, Run::epochs);
        if signal.is_some() || self.checkpoints.is_due(steps(runs), epoch, ended) {
            self.save(runs)?;
        }
        Ok(signal)
    }

    fn save(&mut self, runs: &[Run<Network>]) -> Anything<()> {
        if self.checkpoints.saved() != Some(steps(runs)) {
            self.checkpoints.save(steps(runs), None, whole(runs)?)?;
        }
        Ok(())
    }

    /// Saves the runs as they are at their end, and passes the signal on that ended them, if one did.
    pub(super) fn finish(&mut self, runs: &[Run<Network>]) -> Anything<()> {
        self.save(runs)?;
        self.checkpoints.wait()?;
        if let Some(signal) = self.checkpoints.signal() {
            say_stopped(&self.checkpoints, signal, steps(runs));
        }
        Ok(self.checkpoints.pass_signal_on()?)
    }

    /// `DIR/last.pt`.
    pub(super) fn last(&self) -> PathBuf {
        self.checkpoints.last()
    }
}

/// The steps that were made, by the first of several runs.
fn steps(runs: &[Run<Network>]) -> i64 {
    runs.first().map_or(0, Run::steps)
}

fn whole(runs: &[Run<Network>]) -> Anything<Checkpoint> {
    let parts: Vec<&dyn AnyRun> = runs.iter().map(|run| run as &dyn AnyRun).collect();
    Ok(whole_checkpoint_of(&parts)?)
}
