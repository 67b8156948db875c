//! What `rekindle inspect` shows of a program of torch.export: what it takes and gives, and its operations.

use std::path::Path;

use burn::tensor::Device;
use rekindle::Checkpoint;
use rekindle::models::graph::Program;
use rekindle::recorder::Format;
use serde_json::{Value as Json, json};

use super::answer::Lines;

/// A program, or why it cannot be run here.
pub(super) struct Shown {
    program: Result<Program, String>,
    /// Whether its operations are listed.
    graph: bool,
}

impl Shown {
    /// The program of this archive; `None` where it is none, or comes from standard input.
    pub(super) fn of(path: &Path, checkpoint: &Checkpoint, graph: bool) -> Option<Self> {
        let is_program = checkpoint.format() == Some(Format::PT2) && path.is_file();
        let program = || Program::open(path, &Device::flex()).map_err(|error| error.to_string());
        is_program.then(|| Shown { program: program(), graph })
    }

    pub(super) fn text(&self) -> String {
        let mut lines = Lines::default();
        let program = match &self.program {
            Ok(program) => program,
            Err(error) => {
                lines.add(format_args!("program that cannot be run here: {error}"));
                return lines.text();
            }
        };
        let counts = program.operations();
        let operations: usize = counts.values().sum();
        let torch = program.torch_version();
        lines.add(format_args!("program of PyTorch {torch}: {operations} operations of {} kinds", counts.len()));
        program.inputs().iter().for_each(|input| lines.add(format_args!("  takes {input}")));
        program.outputs().for_each(|output| lines.add(format_args!("  gives {output}")));
        if !program.lacks_for_training().is_empty() {
            lines.add(format_args!("  exported in evaluation: {}", program.lacks_for_training().join(", ")));
        }
        if self.graph {
            program.nodes().for_each(|(operation, place)| lines.add(format_args!("  {operation}  {place}")));
        } else {
            let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
            counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
            counts.into_iter().for_each(|(name, count)| lines.add(format_args!("  {count:>5}  {name}")));
        }
        lines.text()
    }

    pub(super) fn json(&self) -> Json {
        match &self.program {
            Err(error) => json!({ "error": error }),
            Ok(program) => {
                let inputs: Vec<String> = program.inputs().iter().map(ToString::to_string).collect();
                let outputs: Vec<&str> = program.outputs().collect();
                let mut shown = json!({
                    "torch_version": program.torch_version(),
                    "inputs": inputs,
                    "outputs": outputs,
                    "operations": program.operations(),
                    "lacks_for_training": program.lacks_for_training(),
                });
                if let (true, Some(object)) = (self.graph, shown.as_object_mut()) {
                    let nodes: Vec<Json> = program
                        .nodes()
                        .map(|(operation, place)| json!({"operation": operation, "place": place}))
                        .collect();
                    object.insert("nodes".to_owned(), Json::Array(nodes));
                }
                shown
            }
        }
    }
}
