//! What the command shows of a run while it goes, and at its end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use rekindle::Progress;
use rekindle::models::Network;
use rekindle::train::Run;
use rekindle::train::checkpoints::Found;
use rekindle::train::log::{Apart, LogLine, continue_log, mean_loss, write_line};
use rekindle::train::tensorboard::EventWriter;
use serde_json::json;

use crate::cli::answer::{Answer, Anything, note, print, print_json, usage};
use crate::cli::json;

/// What the command shows of a run while it goes, and at its end.
pub(in crate::cli) struct Course<'a> {
    bar: Progress,
    log: Option<(PathBuf, BufWriter<File>)>,
    events: Option<EventWriter>,
    expected: &'a [LogLine],
    lines: Vec<LogLine>,
    /// Where the current epoch began, as an index into `lines`.
    epoch_began: usize,
    /// How many of the lines are of the process before.
    before: usize,
    /// The checkpoint that the run went on from.
    went_on: Option<PathBuf>,
    json: bool,
}

impl<'a> Course<'a> {
    pub(in crate::cli) fn new(steps: u64, log: Option<&Path>, expected: &'a [LogLine], json: bool) -> Anything<Self> {
        let bar = Progress::new(steps);
        let log = log
            .map(|path| match File::create(path) {
                Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
                Err(error) => Err(usage(format!("{}: cannot write the log: {error}", path.display()))),
            })
            .transpose()?;
        Ok(Course {
            bar,
            log,
            events: None,
            expected,
            lines: Vec::new(),
            epoch_began: 0,
            before: 0,
            went_on: None,
            json,
        })
    }

    /// That of a run which has made `first` steps where it began, and may have gone on from a checkpoint in its folder: its log is then
    /// continued.
    pub(in crate::cli) fn of(
        run: &Run<Network>,
        steps: u64,
        first: i64,
        log: Option<&Path>,
        expected: &'a [LogLine],
        json: bool,
    ) -> Anything<Self> {
        let epochs = run.known_steps_per_epoch().map_or(0, |length| run.steps().rem_euclid(length.max(1)));
        Course::going_on(run.went_on(), (first, run.steps(), epochs), steps, log, expected, json)
    }

    /// As [`of`](Self::of): `(first, now, in_epoch)` are the steps where the run began, those that were made, and those since an
    /// epoch ended.
    pub(in crate::cli) fn going_on(
        found: Option<&Found>,
        (first, now, in_epoch): (i64, i64, i64),
        steps: u64,
        log: Option<&Path>,
        expected: &'a [LogLine],
        json: bool,
    ) -> Anything<Self> {
        let Some(found) = found else { return Course::new(steps, log, expected, json) };
        let count = |steps: i64| u64::try_from(steps).unwrap_or(0);
        let mut course = Course::new(steps, None, expected, json)?;
        course.went_on = Some(found.path.clone());
        course.bar.go_on_after(count(now.saturating_sub(first)));
        if let Some(path) = log {
            let (file, lines) = continue_log(path, count(now))?;
            let last = lines.last().map_or(count(first), |line| line.step);
            if last < count(now) {
                note(&format!("{}: it ends after step {last}, and the run goes on after step {now}", path.display()));
            }
            course.log = Some((path.to_owned(), BufWriter::new(file)));
            course.lines = lines.into_iter().filter(|line| line.step > count(first)).collect();
        }
        course.before = course.lines.len();
        course.epoch_began = course.before.saturating_sub(usize::try_from(in_epoch).unwrap_or(0));
        Ok(course)
    }

    /// Takes the bar away.
    pub(in crate::cli) fn clear(&self) {
        self.bar.finish();
    }

    /// With TensorBoard's event files in this folder.
    pub(in crate::cli) fn with_events(self, folder: Option<&Path>) -> Anything<Self> {
        let begin = |folder: &Path| {
            EventWriter::create(folder)
                .map_err(|error| usage(format!("{}: cannot write event files: {error}", folder.display())))
        };
        Ok(Course { events: folder.map(begin).transpose()?, ..self })
    }

    /// A batch of so many samples was passed through.
    pub(in crate::cli) fn saw(&mut self, samples: usize) {
        self.bar.saw(samples);
    }

    pub(in crate::cli) fn header(&self) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        print(if self.expected.is_empty() {
            "epoch       loss\n"
        } else {
            "epoch    PyTorch       here   largest difference of a step\n"
        })
    }

    pub(in crate::cli) fn step(&mut self, line: LogLine) -> Anything<()> {
        if let Some((path, file)) = &mut self.log {
            // Flushed line by line: a run that is killed leaves its log.
            let written = write_line(file, &line).and_then(|()| file.flush());
            written.map_err(|error| usage(format!("{}: cannot write the log: {error}", path.display())))?;
        }
        if let Some(events) = &mut self.events {
            let written = scalars(events, &line);
            written.map_err(|error| usage(format!("{}: cannot write the events: {error}", events.path().display())))?;
        }
        self.bar.step(line.step, line.loss, &line.lr);
        self.lines.push(line);
        Ok(())
    }

    /// Shows the epoch that has just ended.
    pub(in crate::cli) fn epoch(&mut self, number: i64) -> std::io::Result<()> {
        let lines = &self.lines[self.epoch_began..];
        self.epoch_began = self.lines.len();
        let (Some(first), Some(last), false) = (lines.first(), lines.last(), self.json) else { return Ok(()) };
        let ours = mean_loss(lines, first.step, last.step).unwrap_or(f64::NAN);
        let row = match (mean_loss(self.expected, first.step, last.step), Apart::between(lines, self.expected)) {
            (Some(theirs), Some(apart)) => format!("{number:5}   {theirs:8.6}   {ours:8.6}   {:.1e}\n", apart.largest),
            _ if self.expected.is_empty() => format!("{number:5}   {ours:8.6}\n"),
            _ => format!("{number:5}          -   {ours:8.6}   -\n"),
        };
        self.bar.suspend(|| print(&row))
    }

    pub(in crate::cli) fn finish(&self, save: &Path, accuracy: Option<f64>) -> Answer {
        self.bar.finish();
        let apart = Apart::between(&self.lines, self.expected);
        let last = self.lines.last();
        if self.json {
            let compared = apart.as_ref().map(|apart| {
                json!({"steps": apart.steps, "largest": json::leaf(&apart.largest.into()), "at": apart.at, "same_lr": apart.same_lr})
            });
            let document = json!({
                "saved": save.display().to_string(),
                "steps": self.lines.len() - self.before,
                "step": last.map(|line| line.step),
                "loss": last.map(|line| json::leaf(&line.loss.into())),
                "accuracy": accuracy,
                "expect": compared,
                "went_on_from": self.went_on.as_ref().map(|path| path.display().to_string()),
            });
            print_json(&document)?;
            return Ok(true);
        }
        if let Some(line) = last {
            let taken = self.lines.len() - self.before;
            print(&format!("{taken} steps taken, to step {}: loss {:.6}\n", line.step, line.loss))?;
        }
        if let Some(accuracy) = accuracy {
            print(&format!("accuracy on the samples held back: {accuracy:.4}\n"))?;
        }
        match apart {
            Some(apart) => print(&format!(
                "over {} steps the losses are at most {:.1e} apart (relative, at step {}); the learning rates {}\n",
                apart.steps,
                apart.largest,
                apart.at,
                if apart.same_lr { "are equal to the last bit" } else { "differ" },
            ))?,
            None if self.expected.is_empty() => {}
            None => print("none of these steps is among the expected ones\n")?,
        }
        print(&format!("wrote {}\n", save.display()))?;
        Ok(true)
    }
}

/// A step's numbers: `loss`, and `lr` or `lr/0`, `lr/1`, ...
fn scalars(events: &mut EventWriter, line: &LogLine) -> std::io::Result<()> {
    events.scalar("loss", line.loss, line.step)?;
    for (group, lr) in line.lr.iter().enumerate() {
        let tag = if line.lr.len() == 1 { "lr".to_owned() } else { format!("lr/{group}") };
        events.scalar(&tag, *lr, line.step)?;
    }
    events.flush()
}
