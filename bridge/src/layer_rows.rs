//! How a layer lies in PyTorch, as data: one [`Row`] for each Burn struct, found by the struct's name in a [`LayerRows`].
//!
//! A row says which PyTorch tensors the layer has, in PyTorch's order, of which Burn parameters each is made and how
//! (as it is, transposed, several joined along an axis), what the layer's children are called, and the version that
//! PyTorch writes into `_metadata`. What a row does not name keeps its Burn name and lies as it is. The rows of burn-nn's
//! layers are in `burn_nn.rs`.

use std::collections::HashMap;

use rekindle_recorder::{DType, Tensor};

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
    /// The weight `[in, out]` or the bias `[out]` of a linear layer that makes queries or keys for rotary embedding. The
    /// weight is transposed; and within each `head` outputs, Burn's
    /// [`RotaryEncoding`](::burn::nn::RotaryEncoding) turns neighbours together, `(0, 1)`, `(2, 3)`, ..., as Meta's Llama
    /// does, where PyTorch's layer turns the halves together, `(0, head/2)`, `(1, head/2 + 1)`, ..., as those of Hugging
    /// Face and GPT-NeoX do. So Burn's output `2 i` is PyTorch's `i`, and `2 i + 1` is `head/2 + i`.
    HalfRotated {
        /// The outputs of one head: an even number.
        head: usize,
    },
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
/// use rekindle_burn::{Part, Row};
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
    /// The fields whose places are called otherwise in PyTorch.
    pub(super) places: HashMap<String, Places>,
    /// PyTorch's order of the children.
    pub(super) order: Vec<String>,
    /// Tensors that PyTorch has and Burn lacks, with what they are at the start.
    pub(super) constants: Vec<(String, Tensor)>,
    /// What the layer must be to be one of PyTorch's.
    pub(super) demands: Vec<Demand>,
    /// Rows that stand in for this one.
    pub(super) variants: Vec<(Condition, Row)>,
}

/// What the places of a `Vec`, an array or a tuple are called in PyTorch.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// By these names, one for each place.
    Named(Vec<String>),
    /// Nothing: they are layers of one module, told apart in the names of its tensors.
    Stacked,
}

/// What a plain field must be, or must not be, for PyTorch to have such a layer.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) field: String,
    pub(super) values: Vec<String>,
    /// Whether it must be one of them, or none of them.
    pub(super) wanted: bool,
    pub(super) why: String,
}

impl Demand {
    /// Whether the field may have this value, as `Debug` shows it: what stands before its content decides.
    pub(super) fn allows(&self, value: &str) -> bool {
        self.values.iter().any(|known| known == head(value)) == self.wanted
    }
}

/// Of `Some(1.0)` the `Some`; of a number or a `bool` all of it.
pub(super) fn head(value: &str) -> &str {
    value.split([' ', '(']).next().unwrap_or_default()
}

/// When a row stands in for another.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The plain field has this value.
    Field(String, String),
    /// The parameters have such shapes.
    Shapes(fn(&Shapes) -> bool),
}

/// The Burn parameters of a layer with their shapes in Burn, for [`Row::when_shapes`].
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    pub(super) all: HashMap<String, Vec<usize>>,
}

impl Shapes {
    /// The shape of the parameter at a path such as `query.weight`, spelled as for [`Part::new`]. Empty where the layer has
    /// no such parameter.
    pub fn of(&self, path: &str) -> &[usize] {
        self.all.get(path).map_or(&[], Vec::as_slice)
    }
}

impl Row {
    /// A row for the Burn struct of this name that changes nothing yet.
    #[must_use]
    pub fn new(module: impl Into<String>) -> Self {
        Row {
            module: module.into(),
            version: 1,
            entries: Vec::new(),
            children: HashMap::new(),
            places: HashMap::new(),
            order: Vec::new(),
            constants: Vec::new(),
            demands: Vec::new(),
            variants: Vec::new(),
        }
    }

    /// The version that PyTorch's `_metadata` has for the layer. Default 1.
    #[must_use]
    pub fn version(self, version: i64) -> Self {
        Row { version, ..self }
    }

    /// PyTorch's tensor `name` is this one Burn parameter. Within a module, tensors stand in the order in which the row
    /// names them. A name with a dot is a tensor of a child: `q_proj.weight`.
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
    pub fn role(self, role: Role) -> Self {
        self.last(|entry| entry.role = Some(role))
    }

    /// The tensor named last has this element type in PyTorch, whatever Burn's is.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        self.last(|entry| entry.dtype = Some(dtype))
    }

    /// A state dict may lack the tensor named last: the module then keeps its own.
    #[must_use]
    pub fn optional(self) -> Self {
        self.last(|entry| entry.optional = true)
    }

    fn last(mut self, change: impl FnOnce(&mut Entry)) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            change(entry);
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

    /// PyTorch's names of the places of a field that is a `Vec`, an array or a tuple, where they are not 0, 1, 2, ...: an
    /// `nn.Sequential` counts its layers without parameters, too. A place without a name is an error.
    ///
    /// ```
    /// # use rekindle_burn::Row;
    /// // features = nn.Sequential(Conv2d, ReLU, MaxPool2d, Conv2d, ReLU), of which Burn has `features: Vec<Conv2d>`.
    /// let row = Row::new("Net").places("features", [0, 3]);
    /// ```
    #[must_use]
    pub fn places(mut self, field: impl Into<String>, names: impl IntoIterator<Item = impl ToString>) -> Self {
        let names = names.into_iter().map(|name| name.to_string()).collect();
        self.places.insert(field.into(), Places::Named(names));
        self
    }

    /// The layers in this field, a `Vec`, an array or a tuple, are one PyTorch module with several layers: what is called
    /// `weight_ih_l0` within a layer is `weight_ih_l1` for the second. So a `Stack { layers: Vec<Lstm> }` is an `nn.LSTM`
    /// with its `num_layers`, once the field is [`transparent`](Self::transparent), too.
    #[must_use]
    pub fn stacked(mut self, field: impl Into<String>) -> Self {
        self.places.insert(field.into(), Places::Stacked);
        self
    }

    /// PyTorch's order of the layer's children, by PyTorch's names. Those it does not name come behind, in the order of the
    /// fields.
    #[must_use]
    pub fn order(mut self, children: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.order = children.into_iter().map(Into::into).collect();
        self
    }

    /// Of a layer whose plain field (a number, a `bool`, an `Option` or enum of such) has this value in `Debug`, `row` tells
    /// the rest, in place of all that this one says but what it requires and refuses. The first row that fits is taken.
    #[must_use]
    pub fn when(mut self, field: impl Into<String>, value: impl Into<String>, row: Row) -> Self {
        self.variants.push((Condition::Field(field.into(), value.into()), row));
        self
    }

    /// As [`when`](Self::when), of a layer whose parameters have such shapes.
    #[must_use]
    pub fn when_shapes(mut self, condition: fn(&Shapes) -> bool, row: Row) -> Self {
        self.variants.push((Condition::Shapes(condition), row));
        self
    }

    /// Only with one of these values in this plain field does a PyTorch layer compute the same: with another one, the layer
    /// is neither loaded nor saved, but an error that says `why`. Of an enum the variant is compared: `Some`, `Tanh`.
    /// `forward.clip` is the field of a struct in a field.
    #[must_use]
    pub fn require(
        self,
        field: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
        why: impl Into<String>,
    ) -> Self {
        self.demand(field.into(), values.into_iter().map(Into::into).collect(), true, why.into())
    }

    /// The contrary of [`require`](Self::require): with one of these values, no PyTorch layer computes the same.
    #[must_use]
    pub fn refuse(
        self,
        field: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
        why: impl Into<String>,
    ) -> Self {
        self.demand(field.into(), values.into_iter().map(Into::into).collect(), false, why.into())
    }

    fn demand(mut self, field: String, values: Vec<String>, wanted: bool, why: String) -> Self {
        self.demands.push(Demand { field, values, wanted, why });
        self
    }

    /// Whether it depends on plain fields, which only the module's `Debug` shows.
    pub(super) fn asks_for_fields(&self) -> bool {
        let by_field = |(condition, _): &(Condition, Row)| matches!(condition, Condition::Field(..));
        !self.demands.is_empty() || self.variants.iter().any(by_field)
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
/// happens to be called like a layer of burn-nn, say so with [`LayerRows::as_is`].
///
/// [`LayerRows::default`] has a row for each layer of burn-nn; the table of them is there.
#[derive(Clone, Debug)]
pub struct LayerRows {
    rows: HashMap<String, Row>,
    /// The values of plain fields that modules do not show.
    fields: HashMap<(String, String), String>,
    /// A name that PyTorch has and Burn lacks, and the name that it stands for.
    ties: Vec<(String, String)>,
}

impl LayerRows {
    /// No rows at all: every name and every tensor stays as Burn has it.
    #[must_use]
    pub fn empty() -> Self {
        LayerRows { rows: HashMap::new(), fields: HashMap::new(), ties: Vec::new() }
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

    /// In every struct of this name the plain field has this value, as `Debug` would print it. Rows that depend on plain
    /// fields read them from the module's `Debug`; this is for modules whose `Debug` is not derived and does not show them.
    #[must_use]
    pub fn field(mut self, module: impl Into<String>, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert((module.into(), field.into()), value.into());
        self
    }

    /// The row for the struct of this name.
    pub fn row(&self, module: &str) -> Option<&Row> {
        self.rows.get(module)
    }

    /// What [`field`](Self::field) said.
    pub(super) fn said(&self, module: &str, field: &str) -> Option<&str> {
        self.fields.get(&(module.to_owned(), field.to_owned())).map(String::as_str)
    }
}
