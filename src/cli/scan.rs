//! `rekindle scan`: what the pickles in a file would run in Python.

use std::path::{Path, PathBuf};

use rekindle::recorder::pickle::Verdict;
use rekindle::recorder::scan::{ScanReport, scan, scan_bytes};
use rekindle::recorder::{Limits, ResultExt as _};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Lines, Said, each};
use super::flags::in_flags;
use super::input::standard_input;

/// The arguments of `rekindle scan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle scan downloaded.pt models/ --json\n\n\
    torch: plain torch.load takes the name. inert: it refuses it, and it is known to be harmless data. unknown: Python would\n\
    import it and may call it, and nobody here knows it. dangerous: it would run code in Python, or reach files, processes or\n\
    the network. Exit status: 0 nothing but torch and inert, 1 something is unknown or dangerous, 2 something could not be\n\
    looked through.")]
pub(super) struct Scan {
    /// Checkpoints, or folders: every file in them is scanned; - is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON document: an array, an object for each PATH
    #[arg(long)]
    json: bool,
}

impl Scan {
    pub(super) fn run(&self) -> Answer {
        each(&self.paths, self.json, |path| {
            let report = match standard_input(path)? {
                Some(bytes) => scan_bytes(bytes, &Limits::default()).in_file("standard input")?,
                None => scan(path, &Limits::default())?,
            };
            let said = |place: &str| format!("{}: {place}", path.display()).trim_end_matches(": ").to_owned();
            let failures =
                report.problems.iter().map(|problem| in_flags(&format!("{}: {}", said(&problem.place), problem.error)));
            Ok(Said {
                document: document(path, &report),
                text: text(path, &report),
                failures: failures.collect(),
                answer: !report.is_dangerous() && !report.is_unknown(),
            })
        })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Torch => "torch",
        Verdict::Inert => "inert",
        Verdict::Unknown => "unknown",
        Verdict::Dangerous => "dangerous",
    }
}

/// The verdict on a file: the worst that is true of it.
fn whole(report: &ScanReport) -> &'static str {
    let table = [
        (report.is_dangerous(), "dangerous"),
        (report.is_unknown(), "unknown"),
        (!report.problems.is_empty(), "incomplete"),
    ];
    table.into_iter().find_map(|(is, word)| is.then_some(word)).unwrap_or("safe")
}

fn document(path: &Path, report: &ScanReport) -> Json {
    let names = report
        .entries
        .iter()
        .map(|entry| json!({"name": entry.name.to_string(), "verdict": word(entry.verdict), "reason": entry.reason, "places": entry.places}));
    let problems = report.problems.iter().map(
        |problem| json!({"place": problem.place, "error": in_flags(&problem.error.to_string()), "dangerous": problem.deceives}),
    );
    json!({
        "path": path.display().to_string(),
        "verdict": whole(report),
        "safe": report.is_safe(),
        "dangerous": report.is_dangerous(),
        "pickles": report.pickles,
        "names": names.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn text(path: &Path, report: &ScanReport) -> String {
    let mut lines = Lines::default();
    let verdict = match whole(report) {
        "dangerous" => "DANGEROUS",
        "unknown" => "not known to be safe",
        "incomplete" => "not all of it could be looked through",
        other => other,
    };
    let (pickles, names) = (report.pickles, report.entries.len());
    lines.add(format_args!("{}: {verdict}, {pickles} pickles, {names} names", path.display()));
    for entry in &report.entries {
        let more = entry.places.len().saturating_sub(3);
        let places =
            entry.places.iter().take(3).filter(|place| !place.is_empty()).cloned().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let places = if places.is_empty() { String::new() } else { format!("  ({places}{more})") };
        // Of a name that plain torch.load takes, there is no more to say.
        let reason = if entry.verdict == Verdict::Torch { String::new() } else { format!(": {}", entry.reason) };
        lines.add(format_args!("  {:9}  {}{reason}{places}", word(entry.verdict), entry.name));
    }
    lines.text()
}
