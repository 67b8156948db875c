//! `Outline`: what a program says of itself, whether it can be run here or not: its operations with the values that they take and
//! give, and its layers as a tree with their weights.

use std::collections::{BTreeMap, HashMap, HashSet};

use rekindle_recorder::container::export::ExportedProgram;
use rekindle_recorder::{Tensor, Value};

use super::expression::Expression;
use super::place::{layers_of, line_of};
use super::plan::dtype_of;
use super::schema::{
    Argument, Document, Graph, InputSpec, Node as RawNode, OptionalTensor, OutputSpec, Size, Symbolic, TensorMeta,
};
use crate::Result;
use crate::functional::dtype_name;

/// A program as its archive describes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outline {
    /// The PyTorch that exported it.
    pub torch_version: String,
    /// The values that it is given when it runs.
    pub inputs: Vec<OutlineValue>,
    /// The values that it gives.
    pub outputs: Vec<OutlineValue>,
    /// The symbols in shapes with the smallest and the greatest value that each may have.
    pub ranges: Vec<(String, Option<i64>, Option<i64>)>,
    /// The operations, in order; those within control flow come behind it.
    pub nodes: Vec<OutlineNode>,
    /// The layers: the network itself first, each before those within it, in the order in which they are used.
    pub layers: Vec<OutlineLayer>,
}

/// A value: its name, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlineValue {
    /// Its name in the program.
    pub name: String,
    /// Its element type; `None` for what is no tensor.
    pub dtype: Option<String>,
    /// Its lengths: numbers, symbols, and expressions of symbols.
    pub shape: Option<Vec<String>>,
}

/// An operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutlineNode {
    /// Its name, such as `aten.conv2d.default`.
    pub operation: String,
    /// What it is given, by the names of its arguments.
    pub inputs: Vec<OutlineInput>,
    /// What it gives.
    pub outputs: Vec<OutlineValue>,
    /// Its layer's place among the layers.
    pub layer: usize,
    /// The line of Python that it came from; empty where it is not told.
    pub line: String,
}

/// What an operation is given as an argument.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutlineInput {
    /// The argument's name.
    pub name: String,
    /// The values in it by their names: of a weight or constant its own.
    pub values: Vec<String>,
    /// How it reads.
    pub text: String,
}

/// A layer: a module of the network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutlineLayer {
    /// Its path, such as `layer1.0.conv1`; empty for the network itself.
    pub path: String,
    /// Its class, such as `Conv2d`; empty where no operation is within it, and nothing tells.
    pub class: String,
    /// Its own weights, not those of the layers within it.
    pub weights: Vec<OutlineWeight>,
    /// How often it has each operation itself.
    pub operations: BTreeMap<String, usize>,
}

/// A parameter or buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlineWeight {
    /// Its name in the layer.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is a parameter.
    pub is_parameter: bool,
    /// The parameter that it is the same tensor as, which has been named before.
    pub tied_to: Option<String>,
}

impl OutlineLayer {
    /// How many elements its own parameters have; those that are tied to others are not counted again.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let parameters = self.weights.iter().filter(|weight| weight.is_parameter && weight.tied_to.is_none());
        parameters.map(|weight| weight.shape.iter().product::<usize>()).sum()
    }

    /// How many layers it is within.
    #[must_use]
    pub fn depth(&self) -> usize {
        if self.path.is_empty() { 0 } else { self.path.split('.').count() }
    }

    /// Whether it is this layer, or within it.
    #[must_use]
    pub fn is_within(&self, path: &str) -> bool {
        path.is_empty() || self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl std::fmt::Display for OutlineValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match (&self.dtype, &self.shape) {
            (Some(dtype), Some(shape)) => write!(f, " {dtype}[{}]", shape.join(", ")),
            _ => Ok(()),
        }
    }
}

impl Outline {
    /// Reads the outline of an archive's program.
    ///
    /// # Errors
    /// When the document cannot be read, or was written in another major version of the format.
    pub fn of(program: &ExportedProgram) -> Result<Self> {
        let document = Document::of(program)?;
        let module = &document.graph_module;
        let mut drawing = Drawing::new(program, &document);
        drawing.graph(&module.graph, 0);
        let input = |spec: &InputSpec| match spec {
            InputSpec::UserInput { arg } => name_of(arg).map(|name| drawing.value(&module.graph, name)),
            _ => None,
        };
        let output = |spec: &OutputSpec| match spec {
            OutputSpec::UserOutput { arg } => match name_of(arg) {
                Some(name) => Some(drawing.value(&module.graph, name)),
                None => {
                    let name = drawing.text(arg, &mut Vec::new()).unwrap_or_default();
                    Some(OutlineValue { name, dtype: None, shape: None })
                }
            },
            OutputSpec::LossOutput { arg } => Some(drawing.value(&module.graph, &arg.name)),
            _ => None,
        };
        let range = |(name, range): (&String, &super::schema::Range)| (name.clone(), range.min_val, range.max_val);
        Ok(Outline {
            torch_version: document.torch_version.clone(),
            inputs: module.signature.input_specs.iter().filter_map(input).collect(),
            outputs: module.signature.output_specs.iter().filter_map(output).collect(),
            ranges: document.range_constraints.iter().map(range).collect(),
            nodes: drawing.nodes,
            layers: drawing.layers,
        }
        .in_order())
    }

    /// The layers each before those within it, with the nodes' numbers for them.
    fn in_order(mut self) -> Self {
        // The order of first use, but that whatever is within a layer comes right behind it.
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.layers.len()];
        let places: HashMap<&str, usize> =
            self.layers.iter().enumerate().map(|(place, layer)| (layer.path.as_str(), place)).collect();
        for (place, layer) in self.layers.iter().enumerate().skip(1) {
            let parent = layer.path.rsplit_once('.').map_or("", |(parent, _)| parent);
            children[places.get(parent).copied().unwrap_or(0)].push(place);
        }
        let mut order = Vec::with_capacity(self.layers.len());
        let mut open = vec![0];
        while let Some(place) = open.pop() {
            order.push(place);
            open.extend(children[place].iter().rev());
        }
        let mut new = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &old)| new[old] = place);
        self.nodes.iter_mut().for_each(|node| node.layer = new[node.layer]);
        let mut layers: Vec<Option<OutlineLayer>> = self.layers.into_iter().map(Some).collect();
        self.layers = order.into_iter().filter_map(|old| layers[old].take()).collect();
        self
    }
}

struct Drawing<'a> {
    /// The graph within control flow that is being read, with a dot, for its names are its own.
    within: String,
    /// What the graph calls weights and constants, and their own names.
    own_names: HashMap<&'a str, &'a str>,
    nodes: Vec<OutlineNode>,
    layers: Vec<OutlineLayer>,
    places: HashMap<String, usize>,
}

impl<'a> Drawing<'a> {
    fn new(program: &ExportedProgram, document: &'a Document) -> Self {
        let mut own_names = HashMap::new();
        let mut parameters = HashSet::new();
        for spec in &document.graph_module.signature.input_specs {
            match spec {
                InputSpec::Parameter { arg, parameter_name } => {
                    own_names.insert(arg.name.as_str(), parameter_name.as_str());
                    parameters.insert(parameter_name.as_str());
                }
                InputSpec::Buffer { arg, buffer_name: name, .. }
                | InputSpec::TensorConstant { arg, tensor_constant_name: name } => {
                    own_names.insert(arg.name.as_str(), name.as_str());
                }
                _ => {}
            }
        }
        let mut drawing =
            Drawing { within: String::new(), own_names, nodes: Vec::new(), layers: Vec::new(), places: HashMap::new() };
        drawing.layer("", "");
        for node in &document.graph_module.graph.nodes {
            for (path, class) in layers_of(node) {
                drawing.layer(path, class);
            }
        }
        let mut known: Vec<(&str, &Tensor)> = Vec::new();
        for (name, weight) in &program.weights {
            let Value::Tensor(tensor) = weight else { continue };
            let name = document.renamed.get(&**name).map_or(&**name, String::as_str);
            let (path, own) = name.rsplit_once('.').unwrap_or(("", name));
            let layer = drawing.layer(path, "");
            let is_parameter = parameters.contains(name) || tensor.is_parameter();
            let same = known.iter().find(|(_, known)| known.view() == tensor.view());
            let tied_to = same.filter(|_| is_parameter).map(|(name, _)| (*name).to_owned());
            known.push((name, tensor));
            let (name, dtype, shape) = (own.to_owned(), tensor.dtype().to_string(), tensor.shape().to_vec());
            drawing.layers[layer].weights.push(OutlineWeight { name, dtype, shape, is_parameter, tied_to });
        }
        drawing
    }

    /// The place of a layer, which is made with all that it is within where it is not there yet.
    fn layer(&mut self, path: &str, class: &str) -> usize {
        if let Some(&place) = self.places.get(path) {
            if self.layers[place].class.is_empty() {
                class.clone_into(&mut self.layers[place].class);
            }
            return place;
        }
        if let Some((parent, _)) = path.rsplit_once('.') {
            self.layer(parent, "");
        }
        let place = self.layers.len();
        let (path, class) = (path.to_owned(), class.to_owned());
        self.places.insert(path.clone(), place);
        self.layers.push(OutlineLayer { path, class, weights: Vec::new(), operations: BTreeMap::new() });
        place
    }

    /// The name of a weight's own; another value's name is that of the program.
    fn own_name(&self, name: &str) -> String {
        match self.own_names.get(name) {
            Some(own) if self.within.is_empty() => (*own).to_owned(),
            _ => format!("{}{name}", self.within),
        }
    }

    fn value(&self, graph: &Graph, name: &str) -> OutlineValue {
        let meta: Option<&TensorMeta> = graph.tensor_values.get(name);
        OutlineValue {
            name: self.own_name(name),
            dtype: meta.map(|meta| type_name(meta.dtype)),
            shape: meta.map(|meta| meta.sizes.iter().map(length).collect()),
        }
    }

    fn graph(&mut self, graph: &Graph, outer: usize) {
        for node in &graph.nodes {
            let layer = layers_of(node).last().map_or(outer, |(path, class)| self.layer(path, class));
            let operation = node.target.strip_prefix("torch.ops.").unwrap_or(&node.target).to_owned();
            *self.layers[layer].operations.entry(operation.clone()).or_insert(0) += 1;
            let inputs = node.inputs.iter().filter_map(|input| self.input(&input.name, &input.arg)).collect();
            let outputs = self.outputs(node, graph);
            self.nodes.push(OutlineNode { operation, inputs, outputs, layer, line: line_of(node) });
            for input in &node.inputs {
                if let Argument::AsGraph(inner) = &input.arg {
                    let within = std::mem::replace(&mut self.within, format!("{}.", inner.name));
                    self.graph(&inner.graph, layer);
                    self.within = within;
                }
            }
        }
    }

    fn outputs(&self, node: &RawNode, graph: &Graph) -> Vec<OutlineValue> {
        let mut outputs = Vec::new();
        for output in &node.outputs {
            match output {
                Argument::AsTensors(names) => outputs.extend(names.iter().map(|name| self.value(graph, &name.name))),
                Argument::AsOptionalTensors(names) => outputs.extend(names.iter().filter_map(|name| match name {
                    OptionalTensor::AsTensor(name) => Some(self.value(graph, &name.name)),
                    OptionalTensor::AsNone(_) => None,
                })),
                other => outputs.extend(name_of(other).map(|name| self.value(graph, name))),
            }
        }
        outputs
    }

    fn input(&self, name: &str, argument: &Argument) -> Option<OutlineInput> {
        let mut values = Vec::new();
        let text = self.text(argument, &mut values)?;
        Some(OutlineInput { name: name.to_owned(), values, text })
    }

    /// How an argument reads; `None` for what says nothing here.
    fn text(&self, argument: &Argument, values: &mut Vec<String>) -> Option<String> {
        let mut named = |name: &str| {
            let name = self.own_name(name);
            values.push(name.clone());
            name
        };
        let symbolic = |value: &Symbolic, named: &mut dyn FnMut(&str) -> String| match value {
            Symbolic::AsName(name) => named(name),
            Symbolic::AsInt(int) => int.to_string(),
            Symbolic::AsFloat(float) => float.0.to_string(),
            Symbolic::AsBool(flag) => flag.to_string(),
        };
        let list = |all: Vec<String>| format!("[{}]", all.join(", "));
        Some(match argument {
            Argument::AsNone(_) => "None".to_owned(),
            Argument::AsTensor(name) => named(&name.name),
            Argument::AsTensors(names) => list(names.iter().map(|name| named(&name.name)).collect()),
            Argument::AsOptionalTensors(names) => {
                let mut one = |name: &OptionalTensor| match name {
                    OptionalTensor::AsTensor(name) => named(&name.name),
                    OptionalTensor::AsNone(_) => "None".to_owned(),
                };
                list(names.iter().map(&mut one).collect())
            }
            Argument::AsInt(int) => int.to_string(),
            Argument::AsInts(all) => list(all.iter().map(ToString::to_string).collect()),
            Argument::AsFloat(float) => float.0.to_string(),
            Argument::AsFloats(all) => list(all.iter().map(|float| float.0.to_string()).collect()),
            Argument::AsBool(flag) => flag.to_string(),
            Argument::AsBools(all) => list(all.iter().map(ToString::to_string).collect()),
            Argument::AsString(text) | Argument::AsOperator(text) => format!("'{text}'"),
            Argument::AsSymInt(value) | Argument::AsSymFloat(value) | Argument::AsSymBool(value) => {
                symbolic(value, &mut named)
            }
            Argument::AsSymInts(all) | Argument::AsSymFloats(all) | Argument::AsSymBools(all) => {
                list(all.iter().map(|value| symbolic(value, &mut named)).collect())
            }
            Argument::AsScalarType(number) => type_name(*number),
            Argument::AsGraph(inner) => format!("graph {}", inner.name),
            Argument::AsComplex(_)
            | Argument::AsCustomObj(_)
            | Argument::AsStrings(_)
            | Argument::AsIntLists(_)
            | Argument::AsFloatLists(_) => "..".to_owned(),
            Argument::AsMemoryFormat(_) | Argument::AsLayout(_) | Argument::AsDevice(_) => return None,
        })
    }
}

fn name_of(argument: &Argument) -> Option<&str> {
    super::plan::name_of(argument)
}

fn length(size: &Size) -> String {
    match (size, size.symbol()) {
        (Size::AsInt(length), _) => length.to_string(),
        (_, Some(symbol)) => symbol.to_owned(),
        (Size::AsExpr(found), _) => {
            Expression::read(&found.expr_str).map_or_else(|| "?".to_owned(), |expression| expression.to_string())
        }
    }
}

/// PyTorch's name of an element type that the schema numbers.
fn type_name(number: i64) -> String {
    let other = [(9, "complex32"), (10, "complex64"), (11, "complex128")];
    let known = dtype_of(number).map(dtype_name);
    let name = known.or_else(|| other.iter().find(|(known, _)| *known == number).map(|(_, name)| *name));
    name.map_or_else(|| format!("type {number}"), str::to_owned)
}
