//! `rekindle inspect`: what is in a checkpoint.

use std::fmt::Write as _;
use std::path::PathBuf;

use rekindle::recorder::inspect::{Inspection, TensorEntry};
use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, print};
use super::input::Opening;
use super::json;

/// The arguments of `rekindle inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle inspect run.pt --json")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct Inspect {
    /// The checkpoint; - is standard input
    path: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Read the tensors too, and give the SHA-256 of each one's elements
    #[arg(long)]
    hash: bool,
    /// Print the names of the tensors, a line each, and nothing else
    #[arg(long)]
    keys: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Inspect {
    pub(super) fn run(&self) -> Answer {
        let checkpoint = self.opening.open(&self.path)?;
        let inspection = Inspection::of(&checkpoint, self.hash)?;
        print(&match (self.json, self.keys) {
            (true, _) => format!("{:#}\n", self.document(&inspection)),
            (false, true) => inspection.tensors.iter().map(|tensor| format!("{}\n", tensor.name)).collect(),
            (false, false) => self.text(&inspection),
        })?;
        Ok(true)
    }

    fn document(&self, inspection: &Inspection) -> Json {
        let tensors: Vec<Json> = inspection.tensors.iter().map(tensor).collect();
        let values: Map<String, Json> =
            inspection.values.iter().map(|(path, value)| (path.clone(), json::leaf(value))).collect();
        json!({
            "path": self.path.display().to_string(),
            "container": inspection.container,
            "layout": inspection.layout,
            "bytes": inspection.bytes,
            "tensors": tensors,
            "values": values,
        })
    }

    fn text(&self, inspection: &Inspection) -> String {
        let mut out = format!(
            "{}: {}, layout {}, {} bytes, {} tensors of {} elements\n",
            self.path.display(),
            inspection.container,
            inspection.layout,
            inspection.bytes,
            inspection.tensors.len(),
            inspection.tensors.iter().map(|tensor| tensor.elements).sum::<u64>(),
        );
        let width = inspection.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
        for entry in &inspection.tensors {
            let shape = format!("{:?}", entry.shape);
            let tied = entry.tied_to.as_ref().map(|name| format!("  shares {name}")).unwrap_or_default();
            let hash = entry.sha256.as_ref().map(|hash| format!("  {hash}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ =
                writeln!(out, "  {:width$}  {:9} {shape:<20} {}{tied}{hash}", entry.name, entry.dtype, entry.device);
        }
        for (path, value) in &inspection.values {
            let _ = writeln!(out, "  {path} = {}", json::leaf(value));
        }
        out
    }
}

fn tensor(entry: &TensorEntry) -> Json {
    let mut object = json!({
        "name": entry.name,
        "dtype": entry.dtype,
        "shape": entry.shape,
        "stride": entry.stride,
        "offset": entry.offset,
        "storage": entry.storage,
        "device": entry.device,
        "requires_grad": entry.requires_grad,
    });
    let also = [
        ("layout", entry.sparse.map(|layout| json!(layout))),
        ("sha256", entry.sha256.as_ref().map(|hash| json!(hash))),
    ];
    if let Some(object) = object.as_object_mut() {
        object.extend(also.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    object
}
