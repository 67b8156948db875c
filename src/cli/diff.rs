//! `rekindle diff`: which tensors and values of two checkpoints differ, and by how much.

use std::path::{Path, PathBuf};

use rekindle::recorder::diff::{Difference, Tolerance, compare};
use rekindle::recorder::printable_name;
use serde_json::{Value as Json, json};

use super::answer::{Answer, Lines, print, print_json, usage};
use super::input::{Opening, is_stream};
use super::json;
use super::source::here;

/// The arguments of `rekindle diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle diff run.pt run-resumed.pt --rtol 1e-5\n\n\
    Numbers are equal when |a - b| <= atol + rtol * |b|; with neither given, when they are the same.")]
pub(super) struct Diff {
    /// The one checkpoint; - is standard input
    a: PathBuf,
    /// The other, likewise
    b: PathBuf,
    /// Relative tolerance
    #[arg(long, default_value_t = 0.0)]
    rtol: f64,
    /// Absolute tolerance
    #[arg(long, default_value_t = 0.0)]
    atol: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Diff {
    pub(super) fn run(&self) -> Answer {
        if is_stream(&self.a) && is_stream(&self.b) {
            return Err(usage("standard input can be one of the two checkpoints alone"));
        }
        let open = |path: &Path| here(path).and_then(|path| self.opening.open(&path));
        let (a, b) = (open(&self.a)?, open(&self.b)?);
        let tolerance = Tolerance { relative: self.rtol, absolute: self.atol };
        let differences = compare(&a, &b, tolerance)?;
        if self.json {
            print_json(&self.document(&differences))?;
        } else {
            print(&text(&differences))?;
        }
        Ok(differences.is_empty())
    }

    fn document(&self, differences: &[(String, Difference)]) -> Json {
        let list: Vec<Json> = differences
            .iter()
            .map(|(name, difference)| {
                let mut row = match difference {
                    Difference::OnlyInA => json!({"kind": "only-in-a"}),
                    Difference::OnlyInB => json!({"kind": "only-in-b"}),
                    Difference::Kind { a, b } => json!({"kind": "type", "a": a, "b": b}),
                    Difference::Value { a, b } => json!({"kind": "value", "a": json::leaf(a), "b": json::leaf(b)}),
                    Difference::Elements { count, of, max_abs, max_rel } => json!({
                        "kind": "elements", "count": count, "of": of,
                        "max_abs": number(*max_abs), "max_rel": number(*max_rel),
                    }),
                    other => json!({"kind": other.to_string()}),
                };
                row["name"] = json!(name);
                row
            })
            .collect();
        json!({
            "a": self.a.display().to_string(),
            "b": self.b.display().to_string(),
            "equal": differences.is_empty(),
            "differences": list,
        })
    }
}

/// A double as JSON, which has no infinity.
fn number(x: f64) -> Json {
    json::leaf(&x.into())
}

fn text(differences: &[(String, Difference)]) -> String {
    if differences.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut lines = Lines::default();
    for (name, difference) in differences {
        lines.add(format_args!("{}: {difference}", printable_name(name)));
    }
    lines.text()
}
