//! The rows: what is measured, against whom, and what the goal is. One file each; a rival in PyTorch has a file of the same name in
//! `benches/torch/`.

mod data;
mod generator;
mod inference;
mod interpreter;
mod load;
mod networks;
mod open;
mod optimizer;
mod read;
mod save;
mod stall;
mod training;

use crate::setting::{Error, Setting};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A turn: the seconds that it took.
pub(crate) type Turn = Box<dyn FnMut() -> Result<f64>>;

/// A row, which its name picks on the command line.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Makes the files.
    pub(crate) prepare: fn(&Setting) -> Result<()>,
    /// What is compared with what.
    pub(crate) lines: fn(&Setting) -> Vec<Line>,
    /// Makes what takes turns, by the name of a variant.
    pub(crate) turns: fn(&str, &Setting) -> Result<Turn>,
}

/// All there are.
pub(crate) const ROWS: &[Row] = &[
    open::OPEN,
    open::MANY,
    read::READ,
    load::LOAD,
    save::SAVE,
    stall::STALL,
    optimizer::OPTIMIZER,
    generator::GENERATOR,
    training::TRAINING,
    inference::INFERENCE,
    interpreter::INTERPRETER,
];

/// How large the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// As the goals have it.
    Full,
    /// To see that it runs.
    Small,
}

/// Who takes a turn, by the name of a variant.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// This program: we, Burn, or plain Rust.
    Rust(String),
    /// PyTorch.
    Torch(String),
}

impl Who {
    pub(crate) fn variant(&self) -> &str {
        match self {
            Who::Rust(variant) | Who::Torch(variant) => variant,
        }
    }
}

/// Whom ours is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) label: String,
    pub(crate) who: Who,
    /// Of the rival's time, how much ours may take.
    pub(crate) goal: Option<f64>,
}

/// A line of the table: a figure of ours, and those of the rivals.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) ours: Who,
    pub(crate) rivals: Vec<Rival>,
    pub(crate) rounds: usize,
    /// Whether each turn is the first of a process: what has room in memory once is not given it again.
    pub(crate) anew: bool,
    /// Whether the median counts.
    pub(crate) median: bool,
    /// How much memory of its own ours may need, in bytes.
    pub(crate) memory: Option<u64>,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, variant: impl Into<String>) -> Self {
        let (ours, rivals) = (Who::Rust(variant.into()), Vec::new());
        Line { what: what.into(), ours, rivals, rounds: 15, anew: false, median: false, memory: None }
    }

    /// Against another variant of this program.
    pub(crate) fn rust(self, label: &str, variant: impl Into<String>, goal: impl Into<Option<f64>>) -> Self {
        self.rival(label, Who::Rust(variant.into()), goal.into())
    }

    /// Against PyTorch.
    pub(crate) fn torch(self, label: &str, variant: impl Into<String>, goal: impl Into<Option<f64>>) -> Self {
        self.rival(label, Who::Torch(variant.into()), goal.into())
    }

    fn rival(mut self, label: &str, who: Who, goal: Option<f64>) -> Self {
        self.rivals.push(Rival { label: label.to_owned(), who, goal });
        self
    }

    pub(crate) fn rounds(self, rounds: usize) -> Self {
        Line { rounds, ..self }
    }

    pub(crate) fn anew(self) -> Self {
        Line { anew: true, ..self }
    }

    pub(crate) fn median(self) -> Self {
        Line { median: true, ..self }
    }

    pub(crate) fn memory(self, bytes: u64) -> Self {
        Line { memory: Some(bytes), ..self }
    }
}

/// The seconds that it takes.
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<f64> {
    let begin = std::time::Instant::now();
    let made = run()?;
    let seconds = begin.elapsed().as_secs_f64();
    // What is given back, is after the clock.
    drop(std::hint::black_box(made));
    Ok(seconds)
}

fn unknown<T>(variant: &str) -> Result<T> {
    Err(format!("there is no variant '{variant}'").into())
}

fn nothing(_: &Setting) -> Result<()> {
    Ok(())
}
