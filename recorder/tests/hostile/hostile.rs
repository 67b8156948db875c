//! Files made to attack whoever loads them: the test corpora of pickle scanners, looked for in `../shared/corpora` beside the
//! workspace. Each must be scanned with the verdict that its manifest gives, and opened to a value or one clear error, in
//! bounded time. Without the corpora the test says "skipped".

use rekindle_recorder::pickle::Verdict;
use rekindle_recorder::scan::{ScanReport, scan};
use rekindle_recorder::{Checkpoint, Limits};
use rekindle_testing::{Computed, corpora};
use serde::Deserialize;

/// A row of `hostile/manifest.json`.
#[derive(Deserialize)]
struct Row {
    file: String,
    unsafe_globals: Vec<String>,
    expect: String,
}

/// What the scan must say, by how the manifest's expectation begins. The longest that fits counts.
enum Expected {
    Dangerous,
    /// Dangerous, or an error: only never safe.
    NotSafe,
    /// Anything but dangerous: an error is as good as a list of names.
    NotDangerous,
    /// All of it can be looked through, and nothing in it is dangerous. A class of the author's own is not known.
    Safe,
}

const EXPECTED: &[(&str, Expected)] = &[
    ("REFUSE (", Expected::Dangerous),
    ("REFUSE or error", Expected::NotSafe),
    ("refuse: not a torch container", Expected::NotSafe),
    ("clean not-a-checkpoint error", Expected::NotSafe),
    ("error / DoS-bounded", Expected::NotDangerous),
    ("inert:", Expected::Safe),
    ("read as inert data or refuse", Expected::NotDangerous),
    ("inspect only", Expected::Safe),
    ("benign control", Expected::Safe),
];

fn disagreement(row: &Row, scanned: &rekindle_recorder::Result<ScanReport>) -> Option<String> {
    let (_, expected) = EXPECTED.iter().find(|(start, _)| row.expect.starts_with(start)).expect("a row of the table");
    let (safe, dangerous) = scanned.as_ref().map_or((false, false), |report| (report.is_safe(), report.is_dangerous()));
    let agrees = match expected {
        Expected::Dangerous => dangerous,
        Expected::NotSafe => !safe,
        Expected::NotDangerous => !dangerous,
        Expected::Safe => {
            safe || scanned.as_ref().is_ok_and(|report| !dangerous && report.is_unknown() && report.problems.is_empty())
        }
    };
    let listed: Vec<String> = scanned
        .as_ref()
        .map_or_else(|_| vec![], |report| report.entries.iter().map(|entry| entry.name.to_string()).collect());
    // Four rows hold what the manifest's own machine had on its stack where a name is made while the file is loaded.
    let is_name = |name: &&String| name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    let missing: Vec<&String> =
        row.unsafe_globals.iter().filter(is_name).filter(|name| !listed.contains(name)).collect();
    if agrees && missing.is_empty() {
        return None;
    }
    let said = match scanned {
        Ok(report) => format!(
            "{:?}\n    {:?}",
            report.entries.iter().map(|entry| (entry.name.to_string(), entry.verdict)).collect::<Vec<_>>(),
            report.problems
        ),
        Err(error) => error.to_string(),
    };
    Some(format!("{}\n  expected: {}\n  not listed: {missing:?}\n  said: {said}", row.file, row.expect))
}

#[test]
fn every_hostile_file_gets_its_verdict_and_is_opened_in_bounded_time() {
    let Some(folder) = corpora::unpack("hostile.tar.gz") else { return };
    let hostile = folder.path().join("hostile");
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(hostile.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(rows.len(), 221);
    let mut disagreements = Vec::new();
    let mut times = corpora::Times::default();
    for row in &rows {
        let path = hostile.join(&row.file);
        let start = Computed::now();
        let scanned = scan(&path, &Limits::default());
        times.note("scan", &row.file, start);
        disagreements.extend(disagreement(row, &scanned));
        let start = Computed::now();
        let opened = Checkpoint::open(&path);
        times.note("open", &row.file, start);
        if let Err(error) = &opened {
            assert!(error.file().is_some(), "{error}");
        }
        drop(opened);
        times.note("drop", &row.file, start);
    }
    times.report();
    assert!(disagreements.is_empty(), "{} of {}:\n{}", disagreements.len(), rows.len(), disagreements.join("\n"));
    // The folder as a whole holds all of it.
    let all = scan(&hostile, &Limits::default()).unwrap();
    assert!(all.entries.iter().any(|entry| entry.verdict == Verdict::Dangerous));
}
