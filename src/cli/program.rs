//! What `rekindle inspect` shows of a program of torch.export: what it takes and gives, its layers and its operations.

use std::path::Path;

use burn::tensor::Device;
use rekindle::Checkpoint;
use rekindle::models::graph::{
    Input, Outline, OutlineInput, OutlineLayer, OutlineNode, OutlineValue, OutlineWeight, Program, exported_all,
};
use rekindle::recorder::container::export::ExportedProgram;
use rekindle::recorder::{Format, printable_name};
use serde_json::{Map, Value as Json, json};

use super::answer::Lines;
use super::dot;

/// A program: its outline, and itself where it can be run here.
pub(super) struct Shown {
    /// Its name, where the archive has several.
    name: Option<String>,
    outline: Outline,
    program: Result<Program, String>,
    /// Whether its operations are listed.
    graph: bool,
}

impl Shown {
    /// The programs of this archive; `None` where it is none, or comes from standard input; the reason where one cannot be read.
    pub(super) fn all(path: &Path, checkpoint: &Checkpoint, graph: bool) -> Option<Result<Vec<Self>, String>> {
        let is_program = checkpoint.format() == Some(Format::PT2) && path.is_file();
        let shown = || {
            let archives = exported_all(path).map_err(|error| error.to_string())?;
            let several = archives.len() > 1;
            let one = |archive: &ExportedProgram| {
                let outline = Outline::of(archive).map_err(|error| error.to_string())?;
                let program = Program::from_exported(archive, &Device::flex()).map_err(|error| error.to_string());
                Ok(Shown { name: several.then(|| archive.name.to_string()), outline, program, graph })
            };
            archives.iter().map(one).collect()
        };
        is_program.then(shown)
    }

    /// The program as Graphviz draws it.
    pub(super) fn dot(&self) -> String {
        dot::drawn(&self.outline)
    }

    pub(super) fn text(&self) -> String {
        let Outline { torch_version, inputs, ranges, nodes, .. } = &self.outline;
        let mut lines = Lines::default();
        let kinds: std::collections::BTreeSet<&str> = nodes.iter().map(|node| node.operation.as_str()).collect();
        let name = self.name.as_ref().map(|name| format!(" '{}'", printable_name(name))).unwrap_or_default();
        lines.add(format_args!(
            "program{name} of PyTorch {torch_version}: {} operations of {} kinds",
            nodes.len(),
            kinds.len()
        ));
        match &self.program {
            Ok(program) => program.inputs().iter().for_each(|input| lines.add(format_args!("  takes {input}"))),
            Err(error) => {
                lines.add(format_args!("  it cannot be run here: {error}"));
                inputs.iter().for_each(|input| lines.add(format_args!("  takes {input}")));
            }
        }
        self.outputs().for_each(|output| lines.add(format_args!("  gives {output}")));
        for (symbol, min, max) in ranges {
            let bound = |bound: &Option<i64>| bound.map(|bound| bound.to_string());
            let (min, max) = (bound(min).unwrap_or_else(|| "0".to_owned()), bound(max));
            match max {
                Some(max) => lines.add(format_args!("  {symbol} is {min} to {max}")),
                None => lines.add(format_args!("  {symbol} is {min} or more")),
            }
        }
        let lacks = self.program.as_ref().map(Program::lacks_for_training).unwrap_or_default();
        if !lacks.is_empty() {
            lines.add(format_args!("  exported in evaluation: {}", lacks.join(", ")));
        }
        if self.graph {
            lines.add("operations");
            nodes.iter().for_each(|node| lines.add(format_args!("  {}", self.operation(node))));
        } else {
            lines.add("layers");
            self.outline.layers.iter().for_each(|layer| lines.add(self.layer(layer)));
        }
        lines.text()
    }

    /// The outputs, by the names under which they are given.
    fn outputs(&self) -> impl Iterator<Item = OutlineValue> {
        let names: Vec<&str> = self.program.as_ref().map(|program| program.outputs().collect()).unwrap_or_default();
        self.outline.outputs.iter().enumerate().map(move |(index, value)| {
            let mut value = value.clone();
            if let Some(name) = names.get(index) {
                (*name).clone_into(&mut value.name);
            }
            value
        })
    }

    fn operation(&self, node: &OutlineNode) -> String {
        let outputs: Vec<String> = node.outputs.iter().map(ToString::to_string).collect();
        let gives = if outputs.is_empty() { String::new() } else { format!("{} = ", outputs.join(", ")) };
        let input = |input: &OutlineInput| match input.values.as_slice() {
            [] => format!("{}={}", input.name, input.text),
            _ => input.text.clone(),
        };
        let inputs: Vec<String> = node.inputs.iter().map(input).collect();
        let place = self.outline.layers.get(node.layer).map(called).unwrap_or_default();
        let line = if node.line.is_empty() { String::new() } else { format!(", {}", node.line) };
        format!("{gives}{}({})  in {place}{line}", node.operation, inputs.join(", "))
    }

    /// A layer as a line of the tree: how many parameters are in it, its own weights, its own operations.
    fn layer(&self, layer: &OutlineLayer) -> String {
        let name = format!("{:width$}{}", "", called_here(layer), width = 2 + 2 * layer.depth());
        let parameters = match self.parameters_within(layer) {
            0 => String::new(),
            count => format!("{count} parameters"),
        };
        let weight = |weight: &OutlineWeight| {
            let tied = weight.tied_to.as_ref().map(|name| format!(" which is {name}")).unwrap_or_default();
            let buffer = if weight.is_parameter { "" } else { " (buffer)" };
            format!("{} {:?}{buffer}{tied}", weight.name, weight.shape)
        };
        let weights: Vec<String> = layer.weights.iter().map(weight).collect();
        let times = |(name, &count): (&String, &usize)| match count {
            1 => name.clone(),
            count => format!("{count} {name}"),
        };
        let operations: Vec<String> = layer.operations.iter().map(times).collect();
        let parts = [name, parameters, weights.join(", "), operations.join(", ")];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }

    fn parameters_within(&self, layer: &OutlineLayer) -> usize {
        self.outline.layers.iter().filter(|inner| inner.is_within(&layer.path)).map(OutlineLayer::parameters).sum()
    }

    pub(super) fn json(&self) -> Json {
        let Outline { torch_version, inputs, ranges, nodes, layers, .. } = &self.outline;
        let mut operations: Map<String, Json> = Map::new();
        for node in nodes {
            let count = operations.get(&node.operation).and_then(Json::as_u64).unwrap_or(0);
            operations.insert(node.operation.clone(), json!(count + 1));
        }
        let range =
            |(symbol, min, max): &(String, Option<i64>, Option<i64>)| (symbol.clone(), json!({"min": min, "max": max}));
        let mut shown = json!({
            "torch_version": torch_version,
            "inputs": inputs.iter().map(value).collect::<Vec<_>>(),
            "outputs": self.outputs().map(|output| value(&output)).collect::<Vec<_>>(),
            "ranges": ranges.iter().map(range).collect::<Map<_, _>>(),
            "operations": operations,
            "layers": layers.iter().map(|layer| self.layer_json(layer)).collect::<Vec<_>>(),
        });
        let Some(object) = shown.as_object_mut() else { return shown };
        if let Some(name) = &self.name {
            object.insert("name".to_owned(), json!(name));
        }
        match &self.program {
            Ok(program) => {
                let name = |(input, own): (&mut Json, &Input)| input["name"] = json!(own.name);
                let given = object.get_mut("inputs").and_then(Json::as_array_mut);
                given.into_iter().flatten().zip(program.inputs()).for_each(name);
                object.insert("lacks_for_training".to_owned(), json!(program.lacks_for_training()));
            }
            Err(error) => drop(object.insert("error".to_owned(), json!(error))),
        }
        if self.graph {
            let nodes: Vec<Json> = nodes.iter().map(|node| self.node_json(node)).collect();
            object.insert("nodes".to_owned(), Json::Array(nodes));
        }
        shown
    }

    fn layer_json(&self, layer: &OutlineLayer) -> Json {
        let weight = |weight: &OutlineWeight| {
            json!({
                "name": weight.name,
                "dtype": weight.dtype,
                "shape": weight.shape,
                "parameter": weight.is_parameter,
                "tied_to": weight.tied_to,
            })
        };
        json!({
            "path": layer.path,
            "class": layer.class,
            "parameters": self.parameters_within(layer),
            "weights": layer.weights.iter().map(weight).collect::<Vec<_>>(),
            "operations": layer.operations,
        })
    }

    fn node_json(&self, node: &OutlineNode) -> Json {
        let layer = self.outline.layers.get(node.layer);
        let input = |input: &OutlineInput| json!({"name": input.name, "value": input.text});
        json!({
            "operation": node.operation,
            "inputs": node.inputs.iter().map(input).collect::<Vec<_>>(),
            "outputs": node.outputs.iter().map(value).collect::<Vec<_>>(),
            "layer": layer.map(|layer| &layer.path),
            "class": layer.map(|layer| &layer.class),
            "line": node.line,
        })
    }
}

fn value(value: &OutlineValue) -> Json {
    json!({"name": value.name, "dtype": value.dtype, "shape": value.shape})
}

/// A layer by its path and class: `layer1.0.conv1 (Conv2d)`.
fn called(layer: &OutlineLayer) -> String {
    with_class(&layer.path, &layer.class)
}

/// A layer by the last part of its path, and its class.
pub(super) fn called_here(layer: &OutlineLayer) -> String {
    with_class(layer.path.rsplit('.').next().unwrap_or_default(), &layer.class)
}

fn with_class(name: &str, class: &str) -> String {
    match (name, class) {
        ("", "") => "the network".to_owned(),
        ("", class) => class.to_owned(),
        (name, "") => name.to_owned(),
        (name, class) => format!("{name} ({class})"),
    }
}
