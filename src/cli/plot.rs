//! `rekindle plot`: a picture of logs.

use std::path::{Path, PathBuf};

use rekindle::plot::{Curve, check_name, plot};
use rekindle::train::log::{Apart, LogLine, read_log};
use rekindle::train::tensorboard::read_events;
use serde_json::json;

use super::answer::{Answer, Anything, new_file, print, print_json, usage};
use super::json;

/// The arguments of `rekindle plot`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle plot pytorch.jsonl ours.jsonl -o curve.svg")]
pub(super) struct Plot {
    /// Logs with a line of JSON a step ({"step": 6, "loss": 1.25, "lr": [0.001]}), or TensorBoard's event files; the first is what the
    /// others are compared with
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The picture to write: .svg or .png
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// What a log is called in the picture, once a log (default: the file's name)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// The tag of the loss in event files; learning rates are what is called lr, or lr/ and more
    #[arg(long, value_name = "TAG", default_value = "loss")]
    tag: String,
    /// Replace FILE if it exists
    #[arg(long)]
    overwrite: bool,
    /// Print what was drawn as one JSON document
    #[arg(long)]
    json: bool,
}

impl Plot {
    pub(super) fn run(self) -> Answer {
        check_name(&self.out)?;
        new_file(&self.out, self.overwrite)?;
        if self.name.len() > self.logs.len() {
            let (names, logs) = (self.name.len(), self.logs.len());
            return Err(usage(format!("--name is said {names} times, and there are {logs} logs")));
        }
        let curves = self.logs.iter().enumerate().map(|(number, path)| self.curve(number, path));
        let curves = curves.collect::<Anything<Vec<_>>>()?;
        plot(&curves, &self.out)?;
        let first = &curves[0];
        let apart: Vec<_> = curves.iter().map(|curve| Apart::between(&curve.lines, &first.lines)).collect();
        if self.json {
            let logs = curves.iter().zip(&self.logs).zip(&apart).enumerate().map(|(number, ((curve, path), apart))| {
                let apart = apart.as_ref().filter(|_| number > 0).map(|apart| {
                    json!({"steps": apart.steps, "largest": json::leaf(&apart.largest.into()), "at": apart.at, "same_lr": apart.same_lr})
                });
                json!({
                    "path": path.display().to_string(), "name": curve.name, "steps": curve.lines.len(),
                    "first": curve.lines.first().map(|line| line.step), "last": curve.lines.last().map(|line| line.step), "apart": apart,
                })
            });
            let logs: Vec<_> = logs.collect();
            print_json(&json!({"saved": self.out.display().to_string(), "logs": logs}))?;
            return Ok(true);
        }
        for (curve, apart) in curves.iter().zip(&apart).skip(1) {
            let (name, with) = (&curve.name, &first.name);
            print(&match apart {
                Some(apart) => format!(
                    "{name} and {with}: over {} steps the losses are at most {:.1e} apart (relative, at step {})\n",
                    apart.steps, apart.largest, apart.at
                ),
                None => format!("{name} and {with} have no step in common\n"),
            })?;
        }
        print(&format!("wrote {}\n", self.out.display()))?;
        Ok(true)
    }

    fn curve(&self, number: usize, path: &Path) -> Anything<Curve> {
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.name.get(number).cloned().unwrap_or_else(stem);
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut lines = if file.contains("tfevents") { self.events(path)? } else { read_log(path)? };
        lines.sort_by_key(|line| line.step);
        if lines.is_empty() {
            return Err(usage(format!("{}: there is no step in it", path.display())));
        }
        Ok(Curve { name, lines })
    }

    /// The losses of an event file, and the learning rates at the same steps.
    fn events(&self, path: &Path) -> Anything<Vec<LogLine>> {
        let scalars = read_events(path)?;
        let losses = scalars.iter().filter(|scalar| scalar.tag == self.tag);
        let rate = |scalar: &&rekindle::train::tensorboard::Scalar| scalar.tag == "lr" || scalar.tag.starts_with("lr/");
        let mut lines: Vec<LogLine> =
            losses.map(|loss| LogLine { step: loss.step, loss: loss.value, lr: Vec::new() }).collect();
        if lines.is_empty() {
            let mut tags: Vec<_> = scalars.iter().map(|scalar| scalar.tag.as_str()).collect();
            tags.sort_unstable();
            tags.dedup();
            let tags = tags.join(", ");
            return Err(usage(format!(
                "{}: no scalar is called '{}' (--tag); there are {tags}",
                path.display(),
                self.tag
            )));
        }
        for line in &mut lines {
            line.lr = scalars
                .iter()
                .filter(rate)
                .filter(|scalar| scalar.step == line.step)
                .map(|scalar| scalar.value)
                .collect();
        }
        Ok(lines)
    }
}
