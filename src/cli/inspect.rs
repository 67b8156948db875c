//! `rekindle inspect`: what is in a checkpoint.

use std::path::PathBuf;

use rekindle::Checkpoint;
use rekindle::recorder::inspect::{Inspection, TensorEntry};
use rekindle::recorder::value::Part;
use rekindle::recorder::walk::UnknownTensor;
use rekindle::recorder::{Format, Result, printable_name};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Lines, print, print_json, usage};
use super::input::{Opening, say_notes};
use super::json;
use super::program::Shown;
use super::source::{here, is_remote, opened};

/// The arguments of `rekindle inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rekindle inspect run.pt --json\n  rekindle inspect net.pt2 --graph\n  \
    rekindle inspect net.pt2 --dot | dot -Tsvg > net.svg")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct Inspect {
    /// The checkpoint: a path, or a source such as https://..; - is standard input
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
    /// Of a program of torch.export (.pt2), list the operations with what they take and give, the layer and the line of Python
    #[arg(long, conflicts_with = "keys")]
    graph: bool,
    /// Draw a program of torch.export (.pt2) in Graphviz's language, and print nothing else
    #[arg(long, conflicts_with_all = ["keys", "json", "hash", "graph"])]
    dot: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Inspect {
    pub(super) fn run(mut self) -> Answer {
        let checkpoint = self.open()?;
        let programs = if self.keys { None } else { Shown::all(&self.path, &checkpoint, self.graph) };
        if self.graph || self.dot {
            let path = self.path.display();
            match &programs {
                None => {
                    return Err(usage(format!(
                        "{path}: --graph and --dot are for files of programs of torch.export (.pt2)"
                    )));
                }
                Some(Err(error)) => return Err(usage(error)),
                Some(Ok(programs)) if self.dot => {
                    print(&programs.iter().map(Shown::dot).collect::<String>())?;
                    return Ok(true);
                }
                Some(Ok(_)) => {}
            }
        }
        let inspection = Inspection::of(&checkpoint, self.hash)?;
        match (self.json, self.keys) {
            (true, _) => {
                let (mut program, mut several) = (None, None);
                match programs {
                    Some(Ok(programs)) => match &*programs {
                        [only] => program = Some(only.json()),
                        all => several = Some(all.iter().map(Shown::json).collect()),
                    },
                    Some(Err(error)) => program = Some(json!({ "error": error })),
                    None => {}
                }
                print_json(&self.document(&inspection, program, several))?;
            }
            (false, true) => print(&keys(&inspection))?,
            (false, false) => {
                let programs = programs.map(|programs| match programs {
                    Ok(programs) => programs.iter().map(Shown::text).collect(),
                    Err(error) => format!("program that cannot be read: {error}\n"),
                });
                print(&format!("{}{}", self.text(&inspection), programs.unwrap_or_default()))?;
            }
        }
        Ok(true)
    }

    /// The checkpoint; on a server where it is, unless all of it is read or it is a program, which is shown from its file.
    fn open(&mut self) -> Result<Checkpoint> {
        if is_remote(&self.path) && !(self.hash || self.graph || self.dot) {
            let checkpoint = opened(&self.path, &self.opening.options())?;
            if checkpoint.format() != Some(Format::PT2) {
                say_notes(&checkpoint);
                self.path = checkpoint.path().map_or_else(|| self.path.clone(), ToOwned::to_owned);
                return Ok(checkpoint);
            }
        }
        self.path = here(&self.path)?;
        self.opening.open(&self.path)
    }

    fn document<'a>(
        &self,
        inspection: &'a Inspection,
        program: Option<Json>,
        programs: Option<Vec<Json>>,
    ) -> Document<'a> {
        Document {
            path: self.path.display().to_string(),
            container: inspection.container,
            layout: inspection.layout,
            bytes: inspection.bytes,
            tensors: inspection.tensors.iter().map(tensor).collect(),
            unknown: inspection.unknown.iter().map(unknown).collect(),
            values: json::Ordered(inspection.values.iter().map(|(path, value)| (&**path, json::leaf(value))).collect()),
            program,
            programs,
        }
    }

    fn text(&self, inspection: &Inspection) -> String {
        let mut lines = Lines::default();
        lines.add(format_args!(
            "{}: {}, layout {}, {} bytes, {} tensors of {} elements{}",
            self.path.display(),
            inspection.container,
            inspection.layout,
            inspection.bytes,
            inspection.tensors.len(),
            inspection.tensors.iter().map(|tensor| tensor.elements).sum::<u64>(),
            in_unknown_forms(&inspection.unknown),
        ));
        let width = inspection.tensors.iter().map(|tensor| printable_name(&tensor.name).chars().count()).max();
        let width = width.unwrap_or(0);
        for entry in &inspection.tensors {
            let TensorEntry { name, dtype, shape, device, tied_to, sha256, .. } = entry;
            let (name, shape) = (printable_name(name), format!("{shape:?}"));
            let class = entry.class.as_ref().map(|class| format!("  {class}")).unwrap_or_default();
            let part = entry.part.as_ref().map(|part| format!("  {}", words(part))).unwrap_or_default();
            let tied = tied_to.as_deref().map(|name| format!("  shares {}", printable_name(name))).unwrap_or_default();
            let hash = sha256.as_ref().map(|hash| format!("  {hash}")).unwrap_or_default();
            lines.add(format_args!("  {name:width$}  {dtype:9} {shape:<20} {device}{class}{part}{tied}{hash}"));
        }
        for UnknownTensor { name, function, .. } in &inspection.unknown {
            lines.add(format_args!("  {}: a tensor in a form that is not known ({function})", printable_name(name)));
        }
        for (path, value) in &inspection.values {
            lines.add(format_args!("  {} = {}", printable_name(path), json::leaf(value)));
        }
        lines.text()
    }
}

/// What `--json` prints, in this order.
#[derive(serde::Serialize)]
struct Document<'a> {
    path: String,
    container: &'a str,
    layout: &'a str,
    bytes: u64,
    tensors: Vec<Json>,
    unknown: Vec<Json>,
    values: json::Ordered<'a>,
    /// Of an archive of torch.export.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Json>,
    /// Of one of several, each with its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    programs: Option<Vec<Json>>,
}

fn keys(inspection: &Inspection) -> String {
    let mut lines = Lines::default();
    inspection.tensors.iter().for_each(|tensor| lines.add(printable_name(&tensor.name)));
    lines.text()
}

/// For the first line: how many tensors there are that nobody here can read, and what makes them.
fn in_unknown_forms(unknown: &[UnknownTensor]) -> String {
    let mut functions: Vec<String> = unknown.iter().map(|tensor| tensor.function.to_string()).collect();
    functions.sort();
    functions.dedup();
    match unknown.len() {
        0 => String::new(),
        1 => format!(", 1 tensor in a form not known: {}", functions.join(", ")),
        count => format!(", {count} tensors in a form not known: {}", functions.join(", ")),
    }
}

/// Which part of which whole a tensor is.
fn words(part: &Part) -> String {
    let whole = part.whole.as_ref().map_or_else(|| "a whole that is not told".to_owned(), |whole| format!("{whole:?}"));
    if part.is_partial {
        return format!("a term of the sum that {whole} is");
    }
    if part.is_whole() {
        return format!("all of {whole}");
    }
    match &part.offsets {
        Some(offsets) => {
            let range = |(&from, &size): (&usize, &usize)| format!("{from}:{}", from.saturating_add(size));
            let ranges: Vec<String> = offsets.iter().zip(&part.sizes).map(range).collect();
            format!("the part [{}] of {whole}", ranges.join(", "))
        }
        None => format!("a part of {whole}, the file does not tell which"),
    }
}

fn unknown(tensor: &UnknownTensor) -> Json {
    json!({"name": tensor.name, "function": tensor.function.to_string()})
}

fn part(part: &Part) -> Json {
    json!({"offsets": part.offsets, "sizes": part.sizes, "whole": part.whole, "sum": part.is_partial})
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
        ("class", entry.class.as_ref().map(|class| json!(class))),
        ("part", entry.part.as_ref().map(part)),
        ("sha256", entry.sha256.as_ref().map(|hash| json!(hash))),
    ];
    if let Some(object) = object.as_object_mut() {
        object.extend(also.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    object
}
