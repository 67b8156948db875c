//! `TorchLog`: burn-train's metrics as a log of lines, and as `TensorBoard`'s curves.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use burn_train::logger::{FileMetricLogger, MetricLogger};
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};

use crate::log::{LogError, LogLine, continue_log, write_line};
use crate::tensorboard::EventWriter;

/// Writes what burn-train measures for people who watch a run: a line a step in `log.jsonl`, as [`log`](crate::log) reads it and
/// `rekindle plot` draws it, and event files for `TensorBoard`, with a curve for each metric and split (`Loss/train`, `Accuracy/valid`).
/// Burn's own files are written beside them, as without it: checkpointing by a metric and early stopping read those.
///
/// A line needs `LossMetric` among the training's metrics; its learning rate is that of `LearningRateMetric`, and is left out without. It
/// panics where a file cannot be written: the trait has no errors.
///
/// ```no_run
/// use rekindle_train::learner::TorchLog;
///
/// let log = TorchLog::new("runs/digits", 299)?; // SupervisedTraining::with_metric_logger(log)
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TorchLog {
    burns: FileMetricLogger,
    names: HashMap<MetricId, String>,
    path: PathBuf,
    lines: File,
    events: EventWriter,
    step: u64,
}

impl std::fmt::Debug for TorchLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TorchLog").field("path", &self.path).field("step", &self.step).finish_non_exhaustive()
    }
}

/// The metrics that a line is made of, by burn-train's names.
const LOSS: &str = "Loss";
const LEARNING_RATE: &str = "Learning Rate";

impl TorchLog {
    /// The log in this folder, which is made if it is not there, of a training whose optimizer has made so many steps
    /// ([`TorchTraining::steps`](super::TorchTraining::steps)): lines of later steps, of a training that was stopped, are taken off.
    ///
    /// # Errors
    /// When the files cannot be made, or the log that is there is none.
    pub fn new(folder: impl AsRef<Path>, step: u64) -> Result<Self, LogError> {
        let folder = folder.as_ref();
        let path = folder.join("log.jsonl");
        let io = |source| LogError::Io { path: folder.to_owned(), source };
        let events = EventWriter::create(folder).map_err(io)?;
        let (lines, _) = continue_log(&path, step)?;
        Ok(TorchLog { burns: FileMetricLogger::new(folder), names: HashMap::new(), path, lines, events, step })
    }

    fn write(&mut self, update: &MetricsUpdate, split: &Split) -> io::Result<()> {
        let numbers: Vec<(String, &NumericEntry)> = update
            .entries_numeric
            .iter()
            .filter_map(|update| {
                Some((self.names.get(&update.entry.metric_id)?.clone(), update.numeric_entry.as_ref()?))
            })
            .collect();
        let ends = numbers.iter().any(|(_, entry)| matches!(entry, NumericEntry::Final(_)));
        let of = |wanted: &str| numbers.iter().find(|(name, _)| name == wanted).map(|(_, entry)| entry.current());
        let training = *split == Split::Train;
        // The mean of an epoch is told once more for the training, and alone for what it is validated on.
        if training == ends {
            return Ok(());
        }
        if training {
            self.step += 1;
            if let Some(loss) = of(LOSS) {
                let lr = of(LEARNING_RATE).into_iter().collect();
                write_line(&mut self.lines, &LogLine { step: self.step, loss, lr })?;
                self.lines.flush()?;
            }
        }
        for (name, entry) in &numbers {
            self.events.scalar(&format!("{name}/{split}"), entry.current(), self.step)?;
        }
        if ends { self.events.flush() } else { Ok(()) }
    }
}

impl MetricLogger for TorchLog {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        if let Err(error) = self.write(&update, split) {
            panic!("{}: the log cannot be written: {error}", self.path.display());
        }
        self.burns.log(update, epoch, split);
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        self.burns.read_numeric(name, epoch, split)
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id.clone(), definition.name.to_string());
        self.burns.log_metric_definition(definition);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        self.burns.log_epoch_summary(summary);
    }
}
