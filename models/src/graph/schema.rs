//! The document of an exported program, as `torch/_export/serde/schema.py` lays it down (major version 8; those from 3 to 7 have less,
//! and versions 1 and 2 are brought into today's layout first). Only what running it needs is read; what a newer minor version adds is passed over.

use std::collections::BTreeMap;

use rekindle_recorder::container::export::ExportedProgram;
use rekindle_recorder::{Checkpoint, Value};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::old::{decoded, upgraded};
use crate::{ModelError, Result};

/// The whole document.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) graph_module: GraphModule,
    #[serde(default)]
    pub(super) torch_version: String,
    #[serde(default)]
    pub(super) range_constraints: BTreeMap<String, Range>,
    /// In version 1: the network's own names of weights that the archive has under the tracer's.
    #[serde(default)]
    pub(super) renamed: BTreeMap<String, String>,
    /// In version 1: constants, each a file of `torch.save`'s in base 64.
    #[serde(default)]
    constants: BTreeMap<String, String>,
}

/// The last version of the format that is read.
const MAJOR: i64 = 8;

impl Document {
    /// The document of an archive's program.
    pub(super) fn of(program: &ExportedProgram) -> Result<Self> {
        let wrong = |reason: String| ModelError::Program { reason };
        let unread = |error: serde_json::Error| wrong(format!("its document cannot be read: {error}"));
        let head: Head = serde_json::from_slice(&program.document).map_err(unread)?;
        let (major, minor) = match head.schema_version {
            Versions::Number(major) => (major, 0),
            Versions::Pair(Version { major, minor }) => (major, minor),
        };
        if !(1..=MAJOR).contains(&major) {
            let reason = format!("it was written in version {major}.{minor} of the format; 1 to {MAJOR} are supported");
            return Err(wrong(reason));
        }
        if let Versions::Pair(_) = head.schema_version {
            return serde_json::from_slice(&program.document).map_err(unread);
        }
        let old: serde_json::Value = serde_json::from_slice(&program.document).map_err(unread)?;
        let new = upgraded(old)
            .ok_or_else(|| wrong("its document, of an old version of the format, is not whole".to_owned()))?;
        serde_json::from_value(new).map_err(unread)
    }

    /// A constant that the document itself holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn constant(&self, name: &str) -> Result<Option<Value>> {
        let wrong = |reason: String| ModelError::Program { reason: format!("its constant '{name}': {reason}") };
        let Some(text) = self.constants.get(name) else { return Ok(None) };
        let bytes = decoded(text).ok_or_else(|| wrong("it is no text in base 64".to_owned()))?;
        let file = Checkpoint::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(file.root().clone()))
    }
}

/// What tells how the rest is laid out.
#[derive(Deserialize)]
struct Head {
    schema_version: Versions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    /// Of PyTorch 2.1 and 2.2.
    Number(i64),
    Pair(Version),
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Version {
    major: i64,
    #[serde(default)]
    minor: i64,
}

/// The values that a symbol may have.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) min_val: Option<i64>,
    #[serde(default)]
    pub(super) max_val: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GraphModule {
    pub(super) graph: Graph,
    pub(super) signature: Signature,
    #[serde(default)]
    pub(super) module_call_graph: Vec<ModuleCall>,
}

/// Nodes in the order of execution, and what is known of every value.
#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    pub(super) inputs: Vec<Argument>,
    pub(super) outputs: Vec<Argument>,
    pub(super) nodes: Vec<Node>,
    #[serde(default)]
    pub(super) tensor_values: BTreeMap<String, TensorMeta>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) target: String,
    #[serde(default)]
    pub(super) inputs: Vec<NamedArgument>,
    #[serde(default)]
    pub(super) outputs: Vec<Argument>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NamedArgument {
    pub(super) name: String,
    pub(super) arg: Argument,
}

/// A value that a node is given or gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names)] // the schema's names
pub(super) enum Argument {
    AsNone(serde::de::IgnoredAny),
    AsTensor(Name),
    AsTensors(Vec<Name>),
    AsOptionalTensors(Vec<OptionalTensor>),
    AsInt(i64),
    AsInts(Vec<i64>),
    AsFloat(Float),
    AsFloats(Vec<Float>),
    AsBool(bool),
    AsBools(Vec<bool>),
    AsString(String),
    AsStrings(serde::de::IgnoredAny),
    AsSymInt(Symbolic),
    AsSymInts(Vec<Symbolic>),
    AsSymFloat(Symbolic),
    AsSymFloats(Vec<Symbolic>),
    AsSymBool(Symbolic),
    AsSymBools(Vec<Symbolic>),
    AsScalarType(i64),
    AsMemoryFormat(serde::de::IgnoredAny),
    AsLayout(serde::de::IgnoredAny),
    AsDevice(serde::de::IgnoredAny),
    AsGraph(Box<NamedGraph>),
    AsComplex(serde::de::IgnoredAny),
    AsCustomObj(serde::de::IgnoredAny),
    AsOperator(String),
    AsIntLists(serde::de::IgnoredAny),
    AsFloatLists(serde::de::IgnoredAny),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OptionalTensor {
    AsTensor(Name),
    AsNone(serde::de::IgnoredAny),
}

/// A number, or the name of one that is computed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names)] // the schema's names
pub(super) enum Symbolic {
    AsName(String),
    AsInt(i64),
    AsFloat(Float),
    AsBool(bool),
}

/// JSON has no infinite numbers: they are strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Float(pub(super) f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelled {
            Number(f64),
            Text(String),
        }
        match Spelled::deserialize(deserializer)? {
            Spelled::Number(number) => Ok(Float(number)),
            Spelled::Text(text) => match text.as_str() {
                "Infinity" => Ok(Float(f64::INFINITY)),
                "-Infinity" => Ok(Float(f64::NEG_INFINITY)),
                "NaN" => Ok(Float(f64::NAN)),
                other => Err(D::Error::custom(format!("'{other}' is no number"))),
            },
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct NamedGraph {
    pub(super) name: String,
    pub(super) graph: std::sync::Arc<Graph>,
}

impl<'de> Deserialize<'de> for NamedGraph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Owned {
            #[serde(default)]
            name: String,
            graph: Graph,
        }
        let Owned { name, graph } = Owned::deserialize(deserializer)?;
        Ok(NamedGraph { name, graph: std::sync::Arc::new(graph) })
    }
}

/// What is known of a tensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TensorMeta {
    pub(super) dtype: i64,
    pub(super) sizes: Vec<Size>,
    #[serde(default)]
    pub(super) strides: Vec<Size>,
    #[serde(default)]
    pub(super) storage_offset: Option<Size>,
    #[serde(default)]
    pub(super) device: Option<DeviceName>,
}

/// Where a tensor was: `cpu`, `cuda`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DeviceName {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// A length: a number, or an expression of symbols with the number it had at export.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Size {
    AsInt(i64),
    AsExpr(Expression),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Expression {
    pub(super) expr_str: String,
    #[serde(default)]
    hint: Option<Hint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names)] // the schema's names
enum Hint {
    AsInt(i64),
    AsFloat(serde::de::IgnoredAny),
    AsBool(serde::de::IgnoredAny),
}

impl Size {
    /// The number it had at export.
    pub(super) fn hint(&self) -> Option<i64> {
        match self {
            Size::AsInt(number) | Size::AsExpr(Expression { hint: Some(Hint::AsInt(number)), .. }) => Some(*number),
            Size::AsExpr(_) => None,
        }
    }

    /// The symbol, where it is one alone: `Symbol('s77', positive=True, integer=True)`.
    pub(super) fn symbol(&self) -> Option<&str> {
        let Size::AsExpr(expression) = self else { return None };
        let rest = expression.expr_str.strip_prefix("Symbol('")?;
        let (name, rest) = rest.split_once('\'')?;
        // Nothing but the symbol's own properties comes behind its name.
        (rest.matches('(').count() == 0 && rest.matches(')').count() == 1).then_some(name)
    }
}

/// What the inputs and outputs of the graph are.
#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    pub(super) input_specs: Vec<InputSpec>,
    pub(super) output_specs: Vec<OutputSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputSpec {
    UserInput {
        arg: Argument,
    },
    Parameter {
        arg: Name,
        parameter_name: String,
    },
    Buffer {
        arg: Name,
        buffer_name: String,
        #[serde(default = "yes")]
        persistent: bool,
    },
    TensorConstant {
        arg: Name,
        tensor_constant_name: String,
    },
    CustomObj {
        custom_obj_name: String,
    },
    Token(serde::de::IgnoredAny),
    ConstantInput(serde::de::IgnoredAny),
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputSpec {
    UserOutput { arg: Argument },
    LossOutput { arg: Name },
    BufferMutation { arg: Name, buffer_name: String },
    ParameterMutation { parameter_name: String },
    UserInputMutation(serde::de::IgnoredAny),
    GradientToParameter(serde::de::IgnoredAny),
    GradientToUserInput(serde::de::IgnoredAny),
    Token(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub(super) struct ModuleCall {
    #[serde(default)]
    pub(super) fqn: String,
    #[serde(default)]
    pub(super) signature: Option<CallSignature>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CallSignature {
    #[serde(default)]
    pub(super) in_spec: String,
    #[serde(default)]
    pub(super) out_spec: String,
    #[serde(default)]
    pub(super) forward_arg_names: Option<Vec<String>>,
}

/// The nesting of inputs or outputs: `[1, {type, context, children_spec}]`.
#[derive(Debug, Deserialize)]
pub(super) struct TreeSpec {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) context: Option<String>,
    #[serde(default)]
    pub(super) children_spec: Vec<TreeSpec>,
}

impl TreeSpec {
    /// A name for each leaf: keys of dicts and places of tuples, joined by dots.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.collect("", &mut names);
        names
    }

    fn collect(&self, prefix: &str, names: &mut Vec<String>) {
        if self.kind.is_none() {
            names.push(prefix.to_owned());
            return;
        }
        let keys = self.keys();
        for (index, child) in self.children_spec.iter().enumerate() {
            let key = keys.get(index).cloned().unwrap_or_else(|| index.to_string());
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            child.collect(&name, names);
        }
    }

    /// The keys of a dict, or of what is like one.
    fn keys(&self) -> Vec<String> {
        let Some(context) = &self.context else { return Vec::new() };
        let spelled = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match serde_json::from_str::<serde_json::Value>(context) {
            Ok(serde_json::Value::Array(keys)) => {
                // Classes that are dicts keep `[keys, class name]` or the keys alone.
                let keys = match keys.first() {
                    Some(serde_json::Value::Array(inner)) => inner.clone(),
                    _ => keys,
                };
                if keys.len() == self.children_spec.len() { keys.iter().map(spelled).collect() } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }
}
