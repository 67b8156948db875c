//! `rekindle verify`: whether a checkpoint is whole.

mod samples;

use std::path::{Path, PathBuf};

use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::printable_name;
use rekindle::recorder::verify::{NotFinite, VerifyReport, verify, verify_bytes};
use rekindle::recorder::{Error, ResultExt as _};
use serde_json::{Value as Json, json};

use self::samples::Computed;
use super::answer::{Answer, Lines, Said, each};
use super::flags::in_flags;
use super::input::standard_input;

/// The arguments of `rekindle verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rekindle verify runs/*.pt --finite\n  rekindle verify net.pt2 --run\n\n\
    Exit status: 0 all whole (with --finite free of NaN and infinity, with --run computing the same without them twice), 1 not, \
    2 something could not be read.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct Verify {
    /// The checkpoints; - is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Count NaN and infinity in every tensor
    #[arg(long)]
    finite: bool,
    /// Compute the sample inputs of programs of torch.export (.pt2) twice: NaN and infinity in the outputs, and whether both times
    /// gave the same bits
    #[arg(long)]
    run: bool,
    /// Read what is there of a folder whose files contradict each other
    #[arg(long)]
    lenient: bool,
    /// Print one JSON document: an array, an object for each PATH
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(&self) -> Answer {
        each(&self.paths, self.json, |path| {
            let options = OpenOptions::default().lenient(self.lenient);
            let report = match standard_input(path)? {
                None => verify(path, &options, self.finite)?,
                Some(_) if self.run => return Err(Error::invalid("--run computes programs in files; name the file")),
                Some(bytes) => verify_bytes(bytes, &options, self.finite).in_file("standard input")?,
            };
            let (mut document, mut text) = (document(path, &report), text(path, &report));
            let (mut answer, mut failures) = (report.is_sound() && report.is_finite(), Vec::new());
            // What is damaged is not computed with.
            if self.run && report.is_sound() {
                match Computed::all(path) {
                    Ok(computed) => {
                        document["run"] = match &*computed {
                            [only] => only.json(),
                            all => all.iter().map(Computed::json).collect(),
                        };
                        computed.iter().for_each(|computed| text += &computed.text());
                        answer &= computed.iter().all(Computed::is_good);
                    }
                    Err(error) => {
                        let error = in_flags(&error.to_string());
                        document["run"] = json!({ "error": error });
                        failures.push(error);
                    }
                }
            }
            Ok(Said { document, text, failures, answer })
        })
    }
}

fn document(path: &Path, report: &VerifyReport) -> Json {
    let problems = report.problems.iter().map(|problem| {
        let error = in_flags(&problem.error.to_string());
        json!({"place": problem.place, "tensor": problem.tensor, "offset": problem.offset, "error": error})
    });
    let not_finite = report
        .not_finite
        .iter()
        .map(|tensor| json!({"name": tensor.name, "nan": tensor.nan, "inf": tensor.inf, "elements": tensor.elements}));
    json!({
        "path": path.display().to_string(),
        "sound": report.is_sound(),
        "files": report.files,
        "records": report.records,
        "without_checksum": report.unchecked,
        "tensors": report.tensors,
        "unopened": report.unopened,
        "problems": problems.collect::<Vec<_>>(),
        "not_finite": not_finite.collect::<Vec<_>>(),
        "notes": report.notes.iter().map(|note| in_flags(note)).collect::<Vec<_>>(),
    })
}

fn text(path: &Path, report: &VerifyReport) -> String {
    let mut lines = Lines::default();
    let verdict = if report.is_sound() { "whole" } else { "DAMAGED" };
    let unchecked = match report.unchecked {
        0 => String::new(),
        count => format!(", {count} without a checksum"),
    };
    lines.add(format_args!(
        "{}: {verdict}, {} checksums{unchecked}, {} tensors",
        path.display(),
        report.records,
        report.tensors
    ));
    for place in &report.unopened {
        lines.add(format_args!("  {place}: a compressed archive, whose own records were not looked at"));
    }
    report.problems.iter().for_each(|problem| lines.add(format_args!("  {}", in_flags(&problem.error.to_string()))));
    report.notes.iter().for_each(|note| lines.add(format_args!("  note: {}", in_flags(note))));
    for NotFinite { name, nan, inf, elements, .. } in &report.not_finite {
        lines.add(format_args!("  {}: {nan} NaN, {inf} infinite, of {elements}", printable_name(name)));
    }
    lines.text()
}
