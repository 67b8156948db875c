//! The log of a run, a line a step, and how far two runs are apart.
//!
//! A line is one JSON object, `{"step": 6, "loss": 1.2345678, "lr": [0.001]}`: the step's number from 1, the loss as computed,
//! and the learning rate of each parameter group that the step used.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// The step's number, from 1.
    pub step: u64,
    /// The loss that the step computed.
    #[serde(deserialize_with = "python_float")]
    pub loss: f64,
    /// The learning rate of each parameter group in this step.
    pub lr: Vec<f64>,
}

/// Why a log cannot be read or written.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A line is not what a log holds.
    #[error("{}: line {line}: {source}; lines like {{\"step\": 6, \"loss\": 1.25, \"lr\": [0.001]}} are expected", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

rekindle_recorder::debug_is_display!(LogError);

/// Reads a log; empty lines are skipped.
///
/// # Errors
/// When the file cannot be read or a line is not of this form.
pub fn read_log(path: impl AsRef<Path>) -> Result<Vec<LogLine>, LogError> {
    let path = path.as_ref();
    let io = |source| LogError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut lines = Vec::new();
    for (i, text) in BufReader::new(file).lines().enumerate() {
        let text = text.map_err(io)?;
        if !text.trim().is_empty() {
            let line = serde_json::from_str(&without_python_constants(&text));
            lines.push(line.map_err(|source| LogError::Line { path: path.to_owned(), line: i + 1, source })?);
        }
    }
    Ok(lines)
}

/// Goes on with the log of a run that stands at this step: what comes after it in the file, of steps that were lost with a process
/// that was killed, is taken off, and so is a line that was not finished. A log that is not there begins. Gives the file, at its
/// end, and the lines that it has.
///
/// # Errors
/// As [`read_log`], and when the file cannot be written.
pub fn continue_log(path: impl AsRef<Path>, step: u64) -> Result<(File, Vec<LogLine>), LogError> {
    let path = path.as_ref();
    let io = |source| LogError::Io { path: path.to_owned(), source };
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(io)?;
    let (mut lines, mut end) = (Vec::new(), 0);
    for (i, raw) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let line = serde_json::from_str::<LogLine>(&without_python_constants(&String::from_utf8_lossy(raw)));
        match line {
            _ if !raw.ends_with(b"\n") => break,
            Ok(line) if line.step > step => break,
            Ok(line) => lines.push(line),
            Err(_) if raw.trim_ascii().is_empty() => {}
            Err(source) => return Err(LogError::Line { path: path.to_owned(), line: i + 1, source }),
        }
        end += raw.len() as u64;
    }
    file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(io)?;
    Ok((file, lines))
}

/// Python's `json` writes NaN and the infinities as bare words, which JSON does not know.
fn without_python_constants(text: &str) -> String {
    text.replace("NaN", "\"nan\"").replace("Infinity", "\"inf\"").replace("-\"inf\"", "\"-inf\"")
}

/// A number, or one of the words that [`without_python_constants`] puts in quotes.
fn python_float<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Float {
        Number(f64),
        Word(String),
    }
    match Float::deserialize(deserializer)? {
        Float::Number(x) => Ok(x),
        Float::Word(word) => word.parse().map_err(|_| serde::de::Error::custom(format!("'{word}' is no number"))),
    }
}

/// Writes one line; a loss that is not finite is written as `NaN` or `Infinity`, as Python's `json` does.
///
/// # Errors
/// When `out` fails.
pub fn write_line(out: &mut impl Write, line: &LogLine) -> std::io::Result<()> {
    if line.loss.is_finite() {
        serde_json::to_writer(&mut *out, line)?;
        return out.write_all(b"\n");
    }
    let loss = if line.loss.is_nan() {
        "NaN"
    } else if line.loss > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    writeln!(out, "{{\"step\":{},\"loss\":{loss},\"lr\":{}}}", line.step, serde_json::to_string(&line.lr)?)
}

/// How far two logs are apart over the steps that both have.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Apart {
    /// How many steps both have.
    pub steps: usize,
    /// The largest relative difference of a loss, `|a - b| / |b|`; infinite where one is NaN and the other is not.
    pub largest: f64,
    /// The step where it is.
    pub at: u64,
    /// Whether the learning rates of all these steps are equal to the last bit.
    pub same_lr: bool,
}

impl Apart {
    /// Compares `ours` with `theirs` by step; `None` where they have no step in common.
    #[must_use]
    pub fn between(ours: &[LogLine], theirs: &[LogLine]) -> Option<Self> {
        let mut apart: Option<Apart> = None;
        for a in ours {
            let Some(b) = find(theirs, a.step) else { continue };
            let relative = relative(a.loss, b.loss);
            let apart = apart.get_or_insert(Apart { steps: 0, largest: 0.0, at: a.step, same_lr: true });
            apart.steps += 1;
            if relative > apart.largest {
                (apart.largest, apart.at) = (relative, a.step);
            }
            apart.same_lr &= a.lr.iter().map(|lr| lr.to_bits()).eq(b.lr.iter().map(|lr| lr.to_bits()));
        }
        apart
    }
}

/// The mean loss of the steps `from..=to` that a log has; `None` where it has none of them.
#[must_use]
pub fn mean_loss(lines: &[LogLine], from: u64, to: u64) -> Option<f64> {
    let losses: Vec<f64> = lines.iter().filter(|line| (from..=to).contains(&line.step)).map(|line| line.loss).collect();
    #[allow(clippy::cast_precision_loss)] // a count of steps
    (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}

/// The line of a step, in a log whose steps follow one another; any other log is searched through.
fn find(lines: &[LogLine], step: u64) -> Option<&LogLine> {
    let guess = step.checked_sub(lines.first()?.step).and_then(|i| lines.get(usize::try_from(i).ok()?));
    guess.filter(|line| line.step == step).or_else(|| lines.iter().find(|line| line.step == step))
}

fn relative(a: f64, b: f64) -> f64 {
    #[allow(clippy::float_cmp)] // equal losses are no distance apart, zero and infinity included
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let relative = (a - b).abs() / b.abs();
    if relative.is_nan() { f64::INFINITY } else { relative }
}
