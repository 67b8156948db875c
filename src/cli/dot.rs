//! A program as Graphviz draws it: operations in boxes, each layer a frame around its own. Whatever is out of the file is text
//! between quotes.

use std::collections::HashMap;
use std::fmt::Write as _;

use rekindle::models::graph::{Outline, OutlineLayer, OutlineValue};
use rekindle::recorder::printable;

use super::program::called_here;

/// The program in Graphviz's language. Weights and constants are left out: every operation would have an arrow from some.
pub(super) fn drawn(outline: &Outline) -> String {
    let mut out = String::from("digraph program {\n  node [shape=box];\n");
    // Where each value comes from.
    let mut from: HashMap<&str, String> = HashMap::new();
    for (index, input) in outline.inputs.iter().enumerate() {
        from.insert(&input.name, format!("input{index}"));
        line(&mut out, 1, &format!("input{index} [shape=ellipse, label={}];", label(&input.name, &shapes([input]))));
    }
    frames(&mut out, outline);
    for (index, node) in outline.nodes.iter().enumerate() {
        for value in node.inputs.iter().flat_map(|input| &input.values) {
            if let Some(source) = from.get(value.as_str()) {
                line(&mut out, 1, &format!("{source} -> node{index};"));
            }
        }
        node.outputs.iter().for_each(|output| drop(from.insert(&output.name, format!("node{index}"))));
    }
    for (index, output) in outline.outputs.iter().enumerate() {
        line(&mut out, 1, &format!("output{index} [shape=ellipse, label={}];", label(&output.name, &shapes([output]))));
        if let Some(source) = from.get(output.name.as_str()) {
            line(&mut out, 1, &format!("{source} -> output{index};"));
        }
    }
    out + "}\n"
}

/// The operations, each within the frames of its layers.
fn frames(out: &mut String, outline: &Outline) {
    let used = |layer: &OutlineLayer| {
        outline.nodes.iter().any(|node| outline.layers.get(node.layer).is_some_and(|own| own.is_within(&layer.path)))
    };
    let mut open: Vec<&OutlineLayer> = Vec::new();
    for (place, layer) in outline.layers.iter().enumerate().filter(|(_, layer)| used(layer)) {
        while open.last().is_some_and(|outer| !layer.is_within(&outer.path)) {
            line(out, open.len(), "}");
            open.pop();
        }
        if !layer.path.is_empty() {
            open.push(layer);
            line(out, open.len(), &format!("subgraph cluster{place} {{"));
            line(out, open.len() + 1, &format!("label={};", label(&called_here(layer), "")));
        }
        for (index, node) in outline.nodes.iter().enumerate().filter(|(_, node)| node.layer == place) {
            let text = label(&node.operation, &shapes(&node.outputs));
            line(out, open.len() + 1, &format!("node{index} [label={text}];"));
        }
    }
    while open.pop().is_some() {
        line(out, open.len() + 1, "}");
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:width$}{text}", "", width = 2 * depth);
}

/// The types and shapes of values, a line each.
fn shapes<'a>(values: impl IntoIterator<Item = &'a OutlineValue>) -> String {
    let shape = |value: &OutlineValue| Some(format!("{}[{}]", value.dtype.as_ref()?, value.shape.as_ref()?.join(", ")));
    values.into_iter().filter_map(shape).collect::<Vec<_>>().join("\n")
}

/// Text between quotes: nothing in it can end it.
fn label(first: &str, second: &str) -> String {
    let mut out = String::from("\"");
    for (index, text) in first.lines().chain(second.lines()).enumerate() {
        if index > 0 {
            out += "\\n";
        }
        for c in printable(text).chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out.push('"');
    out
}
