//! A Python with PyTorch that takes steps when told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

type Error = Box<dyn std::error::Error>;

pub(crate) struct Torch {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    /// Starts a script of this folder with these numbers; `None` where `REKINDLE_TORCH` names no Python.
    pub(crate) fn start(script: &str, numbers: &[usize]) -> Result<Option<Self>, Error> {
        let Some(python) = std::env::var_os("REKINDLE_TORCH") else { return Ok(None) };
        let mut command = Command::new(python);
        command
            .arg(format!("{}/benches/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(numbers.iter().map(usize::to_string));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (ask, answers) = (process.stdin.take().ok_or("no input")?, process.stdout.take().ok_or("no output")?);
        let mut torch = Torch { process, ask, answers: BufReader::new(answers) };
        println!("PyTorch: {}", torch.line()?.trim());
        Ok(Some(torch))
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }

    /// The seconds that a step took.
    pub(crate) fn step(&mut self, which: &str) -> Result<f64, Error> {
        writeln!(self.ask, "{which}")?;
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It has nothing to lose.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
