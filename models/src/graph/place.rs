//! Where a node came from: the layer, and the line of Python.

use super::schema::Node;

/// Where a node came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The layer's path and class: `layer1.0.conv1 (Conv2d)`.
    pub(super) layer: String,
    /// The last line of Python that led to it.
    pub(super) line: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.layer.as_str(), self.line.as_str()) {
            ("", "") => f.write_str("somewhere in the program"),
            (layer, "") => f.write_str(layer),
            ("", line) => f.write_str(line),
            (layer, line) => write!(f, "{layer}, {line}"),
        }
    }
}

impl Place {
    /// The layer and the line that a node's metadata tell.
    pub(super) fn of(node: &Node) -> Place {
        let layer = layers_of(node).last().map(|(path, class)| match (path, class) {
            ("", class) => class.to_owned(),
            (path, "") => path.to_owned(),
            (path, class) => format!("{path} ({class})"),
        });
        Place { layer: layer.unwrap_or_default(), line: line_of(node) }
    }
}

/// The layers that a node is in, the outermost first: the path of each, and its class.
pub(super) fn layers_of(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    // What the tracer calls where there is no layer.
    const NOWHERE: &str = "_empty_nn_module_stack_from_metadata_hook";
    let stack = node.metadata.get("nn_module_stack").map(String::as_str).unwrap_or_default();
    let layers = stack.split(';').filter(|entry| !entry.is_empty()).map(|entry| {
        // `key,path,class`
        let mut parts = entry.splitn(3, ',').skip(1);
        let (path, class) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (path, class.rsplit('.').next().unwrap_or_default())
    });
    layers.filter(|(path, _)| *path != NOWHERE)
}

/// The last line of Python that led to a node.
pub(super) fn line_of(node: &Node) -> String {
    let trace = node.metadata.get("stack_trace").map(String::as_str).unwrap_or_default();
    let line = trace.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let number = rest.split(',').next().unwrap_or_default();
        Some(format!("{}:{number}", file.rsplit(['/', '\\']).next().unwrap_or(file)))
    });
    line.unwrap_or_default()
}
