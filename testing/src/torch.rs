//! A real PyTorch, where there is one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::fixtures;

/// A Python that has torch.
#[derive(Debug)]
pub struct Torch {
    python: PathBuf,
}

impl Torch {
    /// The Python that `REKINDLE_TORCH` names, or a loud word that the test is skipped.
    pub fn find() -> Option<Self> {
        let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
        if python.is_none() {
            eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        }
        python.map(|python| Torch { python })
    }

    /// Runs a script of `tests/with_torch`, on one thread so that it computes the same everywhere, and gives what it printed;
    /// a script that fails, fails the test.
    pub fn run<A: AsRef<OsStr>>(&self, script: &str, arguments: impl IntoIterator<Item = A>) -> String {
        let mut command = Command::new(&self.python);
        command.arg(fixtures::root().join("tests/with_torch").join(script)).args(arguments);
        command.envs([("PYTHONDONTWRITEBYTECODE", "1"), ("OMP_NUM_THREADS", "1")]);
        let output = command.output().expect("the Python of REKINDLE_TORCH starts");
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
