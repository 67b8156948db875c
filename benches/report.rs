//! What was measured: printed line by line, and put into the table of docs/benchmarks.md.

use std::fs;
use std::path::PathBuf;

use crate::machine::{load, machine, today};
use crate::memory::Memory;
use crate::rows::Line;
use crate::setting::{Error, Setting};

/// The table lies between these.
const BEGIN: &str = "<!-- The table that `cargo bench` writes begins here. -->";
const END: &str = "<!-- It ends here. -->";
const HEAD: &str = "| what | time | against | its time | ratio | goal | memory, ours and its | measured |\n|---|---|---|---|---|---|---|---|\n";

/// What one contender's turns took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    seconds: Vec<f64>,
    memory: Option<Memory>,
    version: Option<String>,
}

impl Measured {
    pub(crate) fn add(&mut self, seconds: f64, memory: Option<Memory>, version: Option<&str>) {
        self.seconds.push(seconds);
        self.version = version.map(str::to_owned);
        let Some(memory) = memory else { return };
        let most = self.memory.unwrap_or_default();
        self.memory = Some(Memory { own: most.own.max(memory.own), resident: most.resident.max(memory.resident) });
    }

    /// Leaves out the time of the last turn.
    pub(crate) fn forget_time(&mut self) {
        self.seconds.pop();
    }

    /// The best, or the median.
    fn figure(&self, median: bool) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(if median { sorted.len() / 2 } else { 0 }).copied().unwrap_or(f64::NAN)
    }
}

/// Three digits and a unit.
fn time(seconds: f64) -> String {
    let (number, unit) = match seconds.abs() {
        0.9995.. => (seconds, "s"),
        0.000_999_5.. => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    format!("{} {unit}", digits(number))
}

/// Three digits.
fn digits(number: f64) -> String {
    match number.abs() {
        99.95.. => format!("{number:.0}"),
        9.995.. => format!("{number:.1}"),
        0.0995.. => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

/// Its own, and where mapped files make more of it, all.
fn memory(memory: Option<Memory>) -> String {
    let Some(Memory { own, resident }) = memory else { return "-".to_owned() };
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    if resident > own + (16 << 20) {
        format!("{} MiB ({} with the map)", mebibytes(own), mebibytes(resident))
    } else {
        format!("{} MiB", mebibytes(own))
    }
}

pub(crate) struct Report {
    machine: String,
    /// Whether it goes into the file.
    whole: bool,
    torch: Option<String>,
    lines: Vec<String>,
}

impl Report {
    pub(crate) fn new(setting: &Setting) -> Self {
        let machine = machine(setting.threads);
        println!("{machine}");
        if setting.python.is_none() {
            println!("without PyTorch: REKINDLE_TORCH names a Python that has it");
        }
        Report { machine, whole: setting.whole, torch: None, lines: Vec::new() }
    }

    /// A line, with its rivals one below the other.
    pub(crate) fn add(&mut self, line: &Line, measured: &[Option<Measured>]) {
        let Some((Some(own), rivals)) = measured.split_first() else { return };
        let ours = own.figure(line.median);
        let when = load().map_or_else(today, |load| format!("{}, load {load}", today()));
        for (rival, measured) in line.rivals.iter().zip(rivals) {
            let Some(its) = measured else {
                println!("{}: {} | {}: not measured", line.what, time(ours), rival.label);
                continue;
            };
            let theirs = its.figure(line.median);
            let ratio = ours / theirs;
            let goal = rival.goal.map_or_else(String::new, |goal| {
                format!("{}, {}", digits(goal), if ratio <= goal { "met" } else { "missed" })
            });
            let mut space = memory(own.memory);
            if let (Some(goal), Some(memory)) = (line.memory, own.memory) {
                let met = if memory.own <= goal { "met" } else { "missed" };
                space = format!("{space} (goal {} MiB, {met})", goal >> 20);
            }
            let cells = [
                line.what.clone(),
                time(ours),
                rival.label.clone(),
                time(theirs),
                digits(ratio),
                goal,
                format!("{space}; {}", memory(its.memory)),
                when.clone(),
            ];
            let row = format!("| {} |", cells.join(" | "));
            println!("{row}");
            self.lines.push(row);
            self.torch = its.version.clone().or(self.torch.take());
        }
    }

    /// Puts the lines into the file: in the place of those that say the same, which stay where they were not measured. A table of
    /// another machine's is another table.
    pub(crate) fn write(&self) -> Result<(), Error> {
        if !self.whole {
            println!("docs/benchmarks.md stays as it is: that takes PyTorch and the full sizes");
            return Ok(());
        }
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        let text = fs::read_to_string(&path)?;
        let lost = || format!("{} has lost the marks of its table", path.display());
        let (before, rest) = text.split_once(BEGIN).ok_or_else(lost)?;
        let (table, after) = rest.split_once(END).ok_or_else(lost)?;
        let heading = format!("{}; PyTorch {}", self.machine, self.torch.as_deref().unwrap_or("none"));
        let mut lines: Vec<&str> = Vec::new();
        if table.contains(&*heading) {
            lines = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what ")).collect();
        }
        for new in &self.lines {
            match lines.iter().position(|line| key(line) == key(new)) {
                Some(place) => lines[place] = new,
                None => lines.push(new),
            }
        }
        let table = format!("{before}{BEGIN}\n{heading}.\n\n{HEAD}{}\n{END}{after}", lines.join("\n"));
        fs::write(&path, table)?;
        println!("{} has it", path.display());
        Ok(())
    }
}

/// What a row of the table is about, and against whom.
fn key(row: &str) -> (Option<&str>, Option<&str>) {
    let mut cells = row.split(" | ");
    (cells.next(), cells.nth(1))
}
