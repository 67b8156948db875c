//! What was asked for on the command line, and where the data lies.

use std::path::{Path, PathBuf};

use crate::rows::{ROWS, Row, Size, Who};

pub(crate) type Error = Box<dyn std::error::Error>;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Sizes, folders and threads, which all processes share.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) size: Size,
    /// Where files of the rows lie: on a disk.
    pub(crate) disk: PathBuf,
    /// The same in memory, where the system has such a place.
    pub(crate) memory: Option<PathBuf>,
    pub(crate) threads: usize,
    /// A Python with PyTorch.
    pub(crate) python: Option<PathBuf>,
    /// Whether all rows are measured as they should be.
    pub(crate) whole: bool,
    /// They go away with the process that made them.
    _folders: std::sync::Arc<Vec<tempfile::TempDir>>,
}

impl Setting {
    fn new(size: Size, folders: Option<(PathBuf, Option<PathBuf>)>) -> Result<Self, Error> {
        let mut made = Vec::new();
        let (disk, memory) = if let Some(folders) = folders {
            folders
        } else {
            let mut folder = |within: &Path| -> Result<PathBuf, Error> {
                let folder = tempfile::Builder::new().prefix("rekindle-bench-").tempdir_in(within)?;
                made.push(folder);
                Ok(made.last().map(|folder| folder.path().to_owned()).unwrap_or_default())
            };
            let disk = folder(&std::env::temp_dir())?;
            let memory = Path::new(MEMORY).is_dir().then(|| folder(Path::new(MEMORY))).transpose()?;
            (disk, memory)
        };
        let threads = std::thread::available_parallelism()?.get();
        let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
        let whole = size == Size::Full && python.is_some();
        Ok(Setting { size, disk, memory, threads, python, whole, _folders: made.into() })
    }

    /// A file of a row.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.disk.join(name)
    }

    /// One of the two sizes.
    pub(crate) fn sized<T>(&self, full: T, small: T) -> T {
        if self.size == Size::Small { small } else { full }
    }

    /// Whether this contender can be asked.
    pub(crate) fn has(&self, who: &Who) -> bool {
        !matches!(who, Who::Torch(_)) || self.python.is_some()
    }

    /// Removes the files of a row.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        for folder in std::iter::once(&self.disk).chain(&self.memory) {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
            }
        }
        Ok(())
    }

    /// The arguments by which another process of this program has the same setting.
    pub(crate) fn arguments(&self) -> Vec<PathBuf> {
        let memory = self.memory.clone().unwrap_or_default();
        vec![self.disk.clone(), memory, if self.size == Size::Small { "small" } else { "full" }.into()]
    }
}

/// What this process is to do.
pub(crate) enum Order {
    /// Say which rows there are.
    List,
    /// Measure these.
    Measure { rows: Vec<&'static Row>, setting: Setting, rounds: Option<usize> },
    /// Be measured.
    TakeTurns { row: &'static Row, variant: String, setting: Setting },
}

/// The first argument of a process that is measured.
pub(crate) const TAKE_TURNS: &str = "--take-turns";

fn row(name: &str) -> Result<&'static Row, Error> {
    let known = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let found = ROWS.iter().find(|row| row.name == name);
    found.ok_or_else(|| format!("there is no row '{name}'; there are {}", known()).into())
}

impl Order {
    pub(crate) fn of_arguments() -> Result<Self, Error> {
        let mut arguments = std::env::args().skip(1);
        let (mut rows, mut size, mut rounds) = (Vec::new(), Size::Full, None);
        while let Some(argument) = arguments.next() {
            match &*argument {
                // Cargo says so.
                "--bench" => {}
                "--list" => return Ok(Order::List),
                "--small" => size = Size::Small,
                "--rounds" => rounds = Some(arguments.next().ok_or("--rounds N")?.parse()?),
                TAKE_TURNS => {
                    let mut next = || arguments.next().ok_or("a contender is told row, variant, folders and size");
                    let (row, variant) = (row(&next()?)?, next()?);
                    let (disk, memory) = (PathBuf::from(next()?), PathBuf::from(next()?));
                    let size = if next()? == "small" { Size::Small } else { Size::Full };
                    let memory = (!memory.as_os_str().is_empty()).then_some(memory);
                    return Ok(Order::TakeTurns { row, variant, setting: Setting::new(size, Some((disk, memory)))? });
                }
                name => rows.push(row(name)?),
            }
        }
        if rows.is_empty() {
            rows = ROWS.iter().collect();
        }
        Ok(Order::Measure { rows, setting: Setting::new(size, None)?, rounds })
    }
}
