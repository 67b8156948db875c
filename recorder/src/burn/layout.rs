//! How each layer of burn-nn lies in PyTorch, as data: one [`Row`] for each Burn struct, found by the struct's name.
//!
//! A row says which PyTorch tensors the layer has, in PyTorch's order, of which Burn parameters each is made and how
//! (as it is, transposed, several joined along an axis), what the layer's children are called, and the version that
//! PyTorch writes into `_metadata`. What a row does not name keeps its Burn name and lies as it is.

use std::collections::HashMap;

use crate::{DType, Tensor};

/// How a Burn parameter and its part of a PyTorch tensor lie to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transform {
    /// The same elements in the same order.
    #[default]
    AsIs,
    /// Burn's matrix is PyTorch's transposed: `[in, out]` for `[out, in]`.
    Transpose,
    /// Burn's `[1]` is PyTorch's scalar: Burn has no tensors without dimensions.
    Scalar,
}

/// Whether PyTorch holds a tensor as a parameter or as a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `named_parameters()` has it, frozen or not.
    Parameter,
    /// It is only in the state dict.
    Buffer,
}

/// A Burn parameter that makes a PyTorch tensor, or a part of one: its path from the row's struct, and how it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(super) path: String,
    pub(super) transform: Transform,
}

impl Part {
    /// The parameter at this path, such as `weight` or `input_gate.input_transform.weight`, as it is. Enum variants are
    /// left out of the path, places in a `Vec` are numbers.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Part { path: path.into(), transform: Transform::AsIs }
    }

    /// The same parameter, which lies so.
    #[must_use]
    pub fn with(self, transform: Transform) -> Self {
        Part { transform, ..self }
    }

    /// The same parameter, a matrix that is PyTorch's transposed.
    #[must_use]
    pub fn transposed(self) -> Self {
        self.with(Transform::Transpose)
    }
}

/// A PyTorch tensor of a row.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) parts: Vec<Part>,
    pub(super) axis: usize,
    pub(super) role: Option<Role>,
    /// PyTorch's element type, where it is not that of the Burn parameter.
    pub(super) dtype: Option<DType>,
    /// A state dict may lack it.
    pub(super) optional: bool,
}

/// A layer: how a Burn struct of one name lies in PyTorch.
///
/// ```
/// use rekindle_recorder::burn::{Part, Row};
///
/// // Three Burn matrices `[in, out]`, which PyTorch keeps as one `in_proj_weight [3 * out, in]`.
/// let row = Row::new("Attention")
///     .joined("in_proj_weight", 0, ["query", "key", "value"].map(|part| Part::new(part).transposed()))
///     .child("output", "out_proj");
/// ```
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) module: String,
    pub(super) version: i64,
    pub(super) entries: Vec<Entry>,
    /// Burn field -> PyTorch child; `None` leaves the field out of the path.
    pub(super) children: HashMap<String, Option<String>>,
    /// Tensors that PyTorch has and Burn lacks, with what they are at the start.
    pub(super) constants: Vec<(String, Tensor)>,
}

impl Row {
    /// A row for the Burn struct of this name that changes nothing yet.
    #[must_use]
    pub fn new(module: impl Into<String>) -> Self {
        Row { module: module.into(), version: 1, entries: Vec::new(), children: HashMap::new(), constants: Vec::new() }
    }

    /// The version that PyTorch's `_metadata` has for the layer. Default 1.
    #[must_use]
    pub fn version(self, version: i64) -> Self {
        Row { version, ..self }
    }

    /// PyTorch's tensor `name` is this one Burn parameter. Within a module, tensors stand in the order in which the row
    /// names them.
    #[must_use]
    pub fn tensor(self, name: impl Into<String>, part: Part) -> Self {
        self.joined(name, 0, [part])
    }

    /// PyTorch's tensor `name` is these Burn parameters, one after the other along PyTorch's dimension `axis`.
    #[must_use]
    pub fn joined(mut self, name: impl Into<String>, axis: usize, parts: impl IntoIterator<Item = Part>) -> Self {
        let parts = parts.into_iter().collect();
        self.entries.push(Entry { name: name.into(), parts, axis, role: None, dtype: None, optional: false });
        self
    }

    /// The tensor named last is a parameter or a buffer. By default, running states, integers and booleans are buffers and
    /// the rest are parameters.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.role = Some(role);
        }
        self
    }

    /// The tensor named last has this element type in PyTorch, whatever Burn's is.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.dtype = Some(dtype);
        }
        self
    }

    /// A state dict may lack the tensor named last: the module then keeps its own.
    #[must_use]
    pub fn optional(mut self) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.optional = true;
        }
        self
    }

    /// The field is called `name` in PyTorch.
    #[must_use]
    pub fn child(mut self, field: impl Into<String>, name: impl Into<String>) -> Self {
        self.children.insert(field.into(), Some(name.into()));
        self
    }

    /// The field is not in PyTorch's path: what is in it belongs to the layer itself. So a `Sequential { layers: Vec<..> }`
    /// has the keys `0.weight`, `2.weight`.
    #[must_use]
    pub fn transparent(mut self, field: impl Into<String>) -> Self {
        self.children.insert(field.into(), None);
        self
    }

    /// PyTorch has a buffer `name` that Burn lacks: it is written as `value`, and passed over when loading.
    #[must_use]
    pub fn constant(mut self, name: impl Into<String>, value: Tensor) -> Self {
        self.constants.push((name.into(), value));
        self
    }
}

/// The rows by which modules are read and written: those of burn-nn's layers, and the user's.
///
/// Rows are found by the name of the Burn struct alone, which is all that Burn tells. Of a struct of one's own that
/// happens to be called like a layer of burn-nn, say so with [`Layout::as_is`].
#[derive(Clone, Debug)]
pub struct Layout {
    rows: HashMap<String, Row>,
    /// A name that PyTorch has and Burn lacks, and the name that it stands for.
    ties: Vec<(String, String)>,
}

impl Layout {
    /// No rows at all: every name and every tensor stays as Burn has it.
    #[must_use]
    pub fn empty() -> Self {
        Layout { rows: HashMap::new(), ties: Vec::new() }
    }

    /// With this row, in the place of one for the same struct.
    #[must_use]
    pub fn with(mut self, row: Row) -> Self {
        self.rows.insert(row.module.clone(), row);
        self
    }

    /// Without a row for the struct of this name: it stays as Burn has it.
    #[must_use]
    pub fn as_is(mut self, module: &str) -> Self {
        self.rows.remove(module);
        self
    }

    /// In PyTorch, `alias` is another name of the tensor `name`, which is all that the Burn module has: GPT-2's
    /// `lm_head.weight` is its `transformer.wte.weight`. A state dict gets both names on one storage, the alias at the end; and
    /// one of them is enough for loading.
    ///
    /// Names that lie on one storage in the file need no declaration for loading, and neither do two fields of the module
    /// that share a parameter for saving.
    #[must_use]
    pub fn tied(mut self, alias: impl Into<String>, name: impl Into<String>) -> Self {
        self.ties.push((alias.into(), name.into()));
        self
    }

    pub(super) fn ties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ties.iter().map(|(alias, name)| (alias.as_str(), name.as_str()))
    }

    /// The other names that are declared for a tensor.
    pub(super) fn tied_with(&self, name: &str) -> Vec<&str> {
        let other = |(alias, of)| if alias == name { Some(of) } else { (of == name).then_some(alias) };
        self.ties().filter_map(other).collect()
    }

    pub(super) fn row(&self, module: &str) -> Option<&Row> {
        self.rows.get(module)
    }
}

/// The rows of burn-nn's layers. A layer with several lines for one PyTorch tensor is written in several ways.
impl Default for Layout {
    fn default() -> Self {
        BUILT_IN
            .iter()
            .flat_map(|line| line.modules.iter().map(move |module| line.row(module)))
            .chain([batch_norm(), Row::new("Sequential").transparent("layers")])
            .fold(Layout::empty(), Layout::with)
    }
}

/// Layers that differ from PyTorch's in names and transposition only.
struct Line {
    modules: &'static [&'static str],
    version: i64,
    /// PyTorch's name, Burn's name, how they lie to each other.
    tensors: &'static [(&'static str, &'static str, Transform)],
}

const BUILT_IN: &[Line] = &[
    Line {
        modules: &["Linear"],
        version: 1,
        tensors: &[("weight", "weight", Transform::Transpose), ("bias", "bias", Transform::AsIs)],
    },
    Line {
        modules: &["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"],
        version: 1,
        tensors: &[("weight", "weight", Transform::AsIs), ("bias", "bias", Transform::AsIs)],
    },
    Line {
        modules: &["LayerNorm", "GroupNorm", "RmsNorm"],
        version: 1,
        tensors: &[("weight", "gamma", Transform::AsIs), ("bias", "beta", Transform::AsIs)],
    },
    Line {
        modules: &["InstanceNorm"],
        version: 2,
        tensors: &[("weight", "gamma", Transform::AsIs), ("bias", "beta", Transform::AsIs)],
    },
    Line { modules: &["PRelu"], version: 1, tensors: &[("weight", "alpha", Transform::AsIs)] },
    Line { modules: &["Embedding"], version: 1, tensors: &[("weight", "weight", Transform::AsIs)] },
];

impl Line {
    fn row(&self, module: &str) -> Row {
        self.tensors.iter().fold(Row::new(module).version(self.version), |row, &(torch, burn, transform)| {
            row.tensor(torch, Part::new(burn).with(transform))
        })
    }
}

/// burn-nn's `BatchNorm` (`gamma`, `beta`, no count of batches), and one that is spelled as PyTorch's. State dicts of
/// before PyTorch 0.4.1 have no count either.
fn batch_norm() -> Row {
    Row::new("BatchNorm")
        .version(2)
        .tensor("weight", Part::new("gamma"))
        .tensor("weight", Part::new("weight"))
        .tensor("bias", Part::new("beta"))
        .tensor("bias", Part::new("bias"))
        .tensor("running_mean", Part::new("running_mean"))
        .role(Role::Buffer)
        .tensor("running_var", Part::new("running_var"))
        .role(Role::Buffer)
        .tensor("num_batches_tracked", Part::new("num_batches_tracked").with(Transform::Scalar))
        .role(Role::Buffer)
        .dtype(DType::Int64)
        .optional()
        .constant("num_batches_tracked", Tensor::scalar(0_i64))
}
