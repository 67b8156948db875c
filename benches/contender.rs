//! A process that takes turns when it is told to: this program once more, or a Python with PyTorch. It makes what it needs, says
//! `ready` and the version of what it measures, and then answers each line, which says how often, with the seconds that one took.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::memory::{Memory, Watch};
use crate::rows::{Row, Who};
use crate::setting::{Error, Setting, TAKE_TURNS};

pub(crate) struct Contender {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: Option<String>,
    /// What it holds before its first turn, and the most since then.
    watch: Watch,
    name: String,
}

impl Contender {
    pub(crate) fn start(row: &Row, who: &Who, setting: &Setting) -> Result<Self, Error> {
        let variant = who.variant();
        let mut command = match who {
            Who::Torch(_) => {
                let mut command = Command::new(setting.python.as_ref().ok_or("REKINDLE_TORCH names no Python")?);
                command.arg(format!("{}/benches/torch/turns.py", env!("CARGO_MANIFEST_DIR")));
                command.args([row.name, variant]).arg(setting.threads.to_string());
                command
            }
            Who::Rust(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([TAKE_TURNS, row.name, variant]);
                command
            }
        };
        let mut process = command.args(setting.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (ask, answers) = (process.stdin.take().ok_or("no input")?, process.stdout.take().ok_or("no output")?);
        let watch = Watch::default();
        let name = format!("{} ({variant})", row.name);
        let mut this = Contender { process, ask, answers: BufReader::new(answers), version: None, watch, name };
        let ready = this.line()?;
        this.version = ready.strip_prefix("ready").map(|version| version.trim().to_owned());
        if this.version.is_none() {
            return Err(format!("{}: '{ready}'", this.name).into());
        }
        this.watch = Watch::of(this.process.id());
        Ok(this)
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{}: ended before it answered", self.name).into());
        }
        Ok(line.trim().to_owned())
    }

    /// The seconds of what a turn does, the mean of so many.
    pub(crate) fn turn(&mut self, times: u32) -> Result<f64, Error> {
        let watching = self.watch.begin();
        writeln!(self.ask, "{times}")?;
        let line = self.line()?;
        self.watch.end(watching);
        Ok(line.parse().map_err(|_| format!("{}: '{line}' is no time", self.name))?)
    }

    pub(crate) fn memory(&self) -> Option<Memory> {
        self.watch.most()
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref().filter(|version| !version.is_empty())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It has nothing to lose.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The other side of it: answers lines until there are no more.
pub(crate) fn take_turns(row: &Row, variant: &str, setting: &Setting) -> Result<(), Error> {
    let mut turn = (row.turns)(variant, setting)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let times: u32 = line?.trim().parse()?;
        let seconds = (0..times).map(|_| turn()).sum::<Result<f64, Error>>()?;
        println!("{:e}", seconds / f64::from(times));
    }
    Ok(())
}
