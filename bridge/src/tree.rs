//! The module as PyTorch sees it: a tree of modules, each with its parameters, its buffers and its children, by PyTorch's
//! names and in PyTorch's order. Made of what a walk met and of the rows's rows.

use std::collections::{HashMap, hash_map};

use indexmap::IndexMap;

use crate::data;
use crate::layer_rows::{Condition, Entry, LayerRows, Part, Places, Role, Row, Shapes, Transform, head};
use crate::leaves::{Container, Frame, Item, Leaf, Leaves};
use crate::named::{NamedParameter, Piece};
use rekindle_recorder::{DType, Error, Result, ResultExt as _, Tensor};

/// A parameter or buffer of the state dict.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tensor: NamedParameter,
    pub(super) role: Role,
    /// PyTorch's element type, where it is not that of the Burn parameter.
    pub(super) saved_dtype: Option<DType>,
    /// A state dict may lack it.
    pub(super) optional: bool,
    /// For each piece, its index in [`Leaves::all`].
    pub(super) leaves: Vec<usize>,
}

impl Slot {
    /// The tensor that PyTorch would have.
    pub(super) fn read(&self, leaves: &Leaves) -> Result<Tensor> {
        let pieces = self.leaves.iter().filter_map(|&leaf| leaves.all.get(leaf)).map(|leaf| leaf.value.data());
        let joined = pieces.collect::<Result<_>>().and_then(|pieces| self.tensor.join_owned(pieces));
        let tensor = joined.and_then(|tensor| match self.saved_dtype {
            Some(dtype) => data::cast(&tensor, dtype),
            None => Ok(tensor),
        });
        tensor.of_tensor(&*self.tensor.name)
    }
}

/// A line of the state dict.
#[derive(Debug)]
pub(super) enum Line {
    Slot(Slot),
    /// A buffer that PyTorch has and Burn lacks.
    Constant(String, Tensor),
}

/// The whole state dict without the elements.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) lines: Vec<Line>,
    /// Every module with its version, parents before children; the root is `""`.
    pub(super) modules: Vec<(String, i64)>,
}

impl Tree {
    pub(super) fn build(rows: &LayerRows, leaves: &Leaves) -> Result<Self> {
        let rows = Rows::choose(rows, leaves)?;
        let mut root = Node::default();
        for item in &leaves.items {
            root.place(&rows, item)?;
        }
        let mut tree = Tree::default();
        root.emit("", leaves, &mut tree)?;
        let mut names = std::collections::HashSet::new();
        for slot in tree.slots() {
            if !names.insert(slot.tensor.name.as_str()) {
                let name = &slot.tensor.name;
                return Err(invalid(format!(
                    "two parameters of the module are called '{name}' in PyTorch; give one of their structs another row or mark it `as_is`"
                )));
            }
        }
        Ok(tree)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.lines.iter().filter_map(|line| match line {
            Line::Slot(slot) => Some(slot),
            Line::Constant(..) => None,
        })
    }
}

/// The row of each struct in the module, by the path of the struct in it.
struct Rows<'a> {
    chosen: HashMap<String, &'a Row>,
}

impl<'a> Rows<'a> {
    fn choose(rows: &'a LayerRows, leaves: &Leaves) -> Result<Self> {
        let mut chosen = HashMap::new();
        for (first, item) in leaves.items.iter().enumerate() {
            let frames = item.frames();
            for (depth, frame) in frames.iter().enumerate() {
                let Container::Struct(module) = &frame.container else { continue };
                let Some(row) = rows.row(module) else { continue };
                if let hash_map::Entry::Vacant(vacant) = chosen.entry(path_of(&frames[..depth])) {
                    let frames = &frames[..depth];
                    let layer = Layer { rows, leaves, module, first, frames, path: vacant.key() };
                    let row = layer.choose(row)?;
                    vacant.insert(row);
                }
            }
        }
        Ok(Rows { chosen })
    }

    fn at(&self, frames: &[Frame]) -> Option<&'a Row> {
        self.chosen.get(&path_of(frames)).copied()
    }
}

/// Where a struct is, in Burn's names.
fn path_of(frames: &[Frame]) -> String {
    frames.iter().map(|frame| frame.name.as_str()).collect::<Vec<_>>().join(".")
}

/// A struct that a row is for.
struct Layer<'a> {
    rows: &'a LayerRows,
    leaves: &'a Leaves,
    module: &'a str,
    /// The first item in it.
    first: usize,
    frames: &'a [Frame],
    path: &'a str,
}

impl Layer<'_> {
    /// The row itself, or the variant of it that fits.
    fn choose<'r>(&self, row: &'r Row) -> Result<&'r Row> {
        // What has no parameters has nothing to lose; and is not known in `Debug`.
        let Some((_, first)) = self.parameters().next() else { return Ok(row) };
        for demand in &row.demands {
            let field = &demand.field;
            if let Some(value) = self.field(field, first)?.filter(|value| !demand.allows(value)) {
                let what = format!("{self} with {field} = {}", head(value));
                let advice = format!(
                    "{}. For a state dict with Burn's names, mark `{}` as_is in the layer rows, or give it a row",
                    demand.why, self.module
                );
                return Err(Error::unsupported(what).advise(advice));
            }
        }
        for (condition, variant) in &row.variants {
            let fits = match condition {
                Condition::Field(field, value) => self.field(field, first)? == Some(value),
                Condition::Shapes(fit) => fit(&self.shapes()),
            };
            if fits {
                return Ok(variant);
            }
        }
        Ok(row)
    }

    /// The parameters with their paths from the struct.
    fn parameters(&self) -> impl Iterator<Item = (&[Frame], &Leaf)> {
        let items = self.leaves.items.iter().skip(self.first);
        let within = items.map_while(|item| Some((item, item.frames().strip_prefix(self.frames)?)));
        within.filter_map(|(item, frames)| match item {
            Item::Leaf { leaf, .. } => Some((frames, self.leaves.all.get(*leaf)?)),
            _ => None,
        })
    }

    fn shapes(&self) -> Shapes {
        let steps = |frames: &[Frame]| steps(frames).collect::<Vec<_>>().join(".");
        Shapes { all: self.parameters().map(|(frames, leaf)| (steps(frames), leaf.shape.clone())).collect() }
    }

    /// The value of a plain field; none where the struct has no such field: it only has a layer's name.
    fn field(&self, field: &str, parameter: &Leaf) -> Result<Option<&str>> {
        if let Some(value) = self.rows.said(self.module, field) {
            return Ok(Some(value));
        }
        match self.leaves.fields.of(self.module, &parameter.id.to_string()) {
            Some(fields) => Ok(fields.get(field).map(String::as_str)),
            None => Err(invalid(format!(
                "the module's `Debug` does not show {self}, whose field '{field}' decides how it lies in PyTorch; derive \
                 `Debug`, or say the value with `LayerRows::field`, or mark `{}` as_is if it is not burn-nn's",
                self.module
            ))),
        }
    }
}

impl std::fmt::Display for Layer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path {
            "" => write!(f, "a {}", self.module),
            path => write!(f, "the {} '{path}'", self.module),
        }
    }
}

/// The names on the way, as rows spell them.
fn steps(frames: &[Frame]) -> impl Iterator<Item = &str> {
    frames.iter().filter(|frame| frame.container != Container::Enum).map(|frame| frame.name.as_str())
}

#[derive(Default)]
struct Node<'a> {
    /// The rows of the Burn structs that make the module: several where one is wrapped in another.
    rows: Vec<&'a Row>,
    tensors: Vec<Gathered>,
    children: IndexMap<String, Node<'a>>,
}

/// A PyTorch tensor whose parts are being met.
struct Gathered {
    name: String,
    /// Its layer in a stack and its index in the row; what the row does not name comes behind.
    order: (usize, usize),
    entry: Entry,
    parts: Vec<Option<usize>>,
}

impl<'a> Node<'a> {
    fn at<'n>(&mut self, path: impl IntoIterator<Item = &'n str>) -> &mut Node<'a> {
        path.into_iter().fold(self, |node, name| node.children.entry(name.to_owned()).or_default())
    }

    /// Puts an item where its frames and the rows of the structs on the way lead.
    fn place(&mut self, rows: &Rows<'a>, item: &Item) -> Result<()> {
        let frames = item.frames();
        let mut path: Vec<&str> = Vec::new();
        let mut stack = 0;
        // What the row says of the places in the field.
        let mut places: Option<&Places> = None;
        for (depth, frame) in frames.iter().enumerate() {
            match &frame.container {
                Container::Enum => {}
                Container::Scalar => path.push(&frame.name),
                Container::Place => match (places.take(), frame.name.parse::<usize>()) {
                    (Some(Places::Stacked), Ok(index)) => stack = index,
                    (Some(Places::Named(names)), Ok(index)) => path.push(names.get(index).ok_or_else(|| {
                        let field = path_of(&frames[..depth]);
                        invalid(format!("the row names {} places of '{field}', which has more", names.len()))
                    })?),
                    _ => path.push(&frame.name),
                },
                Container::Struct(_) => {
                    let node = self.at(path.iter().copied());
                    places = None;
                    let Some(row) = rows.at(&frames[..depth]) else {
                        path.push(&frame.name);
                        continue;
                    };
                    if !node.rows.iter().any(|known| std::ptr::eq(*known, row)) {
                        node.rows.push(row);
                    }
                    if let Item::Leaf { leaf, .. } = item {
                        if let Some((order, part)) = row.claims(&frames[depth..]) {
                            return self.gather(path, (stack, order), &row.entries[order], part, *leaf);
                        }
                    } else if row.covers(&frame.name) {
                        // Inside a tensor's parts there are no modules that PyTorch knows.
                        return Ok(());
                    }
                    places = row.places.get(&frame.name);
                    match row.children.get(&frame.name) {
                        None => path.push(&frame.name),
                        Some(renamed) => path.extend(renamed.as_deref()),
                    }
                }
            }
        }
        match (item, frames.last().map(|frame| &frame.container)) {
            (Item::Leaf { leaf, .. }, container) => {
                let scalar = container == Some(&Container::Scalar);
                let transform = if scalar { Transform::Scalar } else { Transform::AsIs };
                let Some(name) = path.pop() else {
                    return Err(invalid(
                        "a parameter of the module has no name in PyTorch: its row leaves it out".to_owned(),
                    ));
                };
                let entry = Entry {
                    name: name.to_owned(),
                    parts: vec![Part::new("").with(transform)],
                    axis: 0,
                    role: None,
                    dtype: None,
                    optional: false,
                };
                self.gather(path, (stack, usize::MAX), &entry, 0, *leaf)
            }
            // A place in a `Vec` or a variant is a module even with nothing in it; an empty field may be an absent `Option`.
            (Item::Empty { .. }, Some(Container::Place | Container::Enum)) => {
                self.at(path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts a parameter in its place in the tensor of the module at this path.
    fn gather(
        &mut self,
        path: Vec<&str>,
        order: (usize, usize),
        entry: &Entry,
        part: usize,
        leaf: usize,
    ) -> Result<()> {
        let name = match order.0 {
            0 => entry.name.clone(),
            layer => entry.name.replace("_l0", &format!("_l{layer}")),
        };
        let (mut path, mut name) = (path, name.as_str());
        if let Some((child, last)) = name.rsplit_once('.') {
            path.extend(child.split('.'));
            name = last;
        }
        let node = self.at(path.iter().copied());
        // Of one tensor that a row spells in several ways, `order` tells the spellings apart.
        let known = node.tensors.iter().position(|known| known.order == order && known.name == name);
        let index = known.unwrap_or_else(|| {
            let parts = vec![None; entry.parts.len()];
            node.tensors.push(Gathered { name: name.to_owned(), order, entry: entry.clone(), parts });
            node.tensors.len() - 1
        });
        match node.tensors.get_mut(index).and_then(|tensor| tensor.parts.get_mut(part)) {
            Some(open @ None) => {
                *open = Some(leaf);
                Ok(())
            }
            _ => Err(invalid(format!(
                "two parameters of the module are the same part of '{}'",
                key(&path.join("."), name)
            ))),
        }
    }

    fn emit(self, path: &str, leaves: &Leaves, tree: &mut Tree) -> Result<()> {
        let rows = self.rows;
        tree.modules.push((path.to_owned(), rows.iter().map(|row| row.version).max().unwrap_or(1)));

        let mut tensors = self.tensors;
        tensors.sort_by_key(|tensor| tensor.order);
        let mut slots = tensors.into_iter().map(|tensor| tensor.slot(path, leaves)).collect::<Result<Vec<_>>>()?;
        let buffers = slots.extract_if(.., |slot| slot.role == Role::Buffer).collect::<Vec<_>>();
        let constants =
            rows.iter().flat_map(|row| &row.constants).map(|(name, value)| (key(path, name), value.clone()));
        let constants =
            constants.filter(|(name, _)| buffers.iter().all(|slot| slot.tensor.name != *name)).collect::<Vec<_>>();
        tree.lines.extend(slots.into_iter().chain(buffers).map(Line::Slot));
        tree.lines.extend(constants.into_iter().map(|(name, value)| Line::Constant(name, value)));
        let order: Vec<&String> = rows.iter().flat_map(|row| &row.order).collect();
        let mut children: Vec<(String, Node)> = self.children.into_iter().collect();
        children.sort_by_key(|(name, _)| order.iter().position(|known| *known == name).unwrap_or(order.len()));
        for (name, child) in children {
            child.emit(&key(path, &name), leaves, tree)?;
        }
        Ok(())
    }
}

impl Gathered {
    fn slot(self, path: &str, leaves: &Leaves) -> Result<Slot> {
        let name = key(path, &self.name);
        let (mut pieces, mut indices, mut shape) = (Vec::new(), Vec::new(), None::<Vec<usize>>);
        let mut met = Vec::new();
        let axis = self.entry.axis;
        for (part, found) in self.entry.parts.iter().zip(&self.parts) {
            let Some((index, leaf)) = found.and_then(|index| Some((index, leaves.all.get(index)?))) else {
                return Err(invalid(format!("the module has no '{}', which is a part of '{name}'", part.path)));
            };
            let transform = part.transform;
            let Some(torch) = transform.torch_shape(&leaf.shape) else {
                let (found, wanted) = (&leaf.shape, transform.describe());
                return Err(invalid(format!(
                    "'{name}' has the shape {found:?}, where the row of its struct wants {wanted}; if the struct is not \
                     burn-nn's, mark it `as_is` in the layer rows"
                )));
            };
            match &mut shape {
                None => shape = Some(torch),
                Some(whole) if joins(whole, &torch, axis) => whole[axis] += torch[axis],
                Some(whole) => {
                    return Err(invalid(format!("'{name}': {torch:?} does not join {whole:?} along dimension {axis}")));
                }
            }
            pieces.push(Piece { id: leaf.id, shape: leaf.shape.clone(), transform });
            indices.push(index);
            met.push(leaf);
        }
        let Some((first, shape)) = met.first().zip(shape) else {
            return Err(invalid(format!("'{name}' is made of no parameter: its row names none")));
        };
        if let Some(other) = met.iter().find(|leaf| leaf.torch_dtype != first.torch_dtype) {
            let (one, other) = (first.torch_dtype, other.torch_dtype);
            return Err(invalid(format!(
                "'{name}' is made of parameters of {one} and {other}; cast the module to one of them"
            )));
        }
        let guessed = if met.iter().all(|leaf| leaf.parameter) { Role::Parameter } else { Role::Buffer };
        let (dtype, requires_grad) = (first.torch_dtype, met.iter().any(|leaf| leaf.requires_grad));
        Ok(Slot {
            tensor: NamedParameter { name, shape, dtype, requires_grad, axis, pieces },
            role: self.entry.role.unwrap_or(guessed),
            saved_dtype: self.entry.dtype.filter(|&saved| saved != dtype),
            optional: self.entry.optional,
            leaves: indices,
        })
    }
}

/// Whether two shapes are equal but for one dimension that both have.
fn joins(one: &[usize], other: &[usize], axis: usize) -> bool {
    axis < one.len()
        && one.len() == other.len()
        && one.iter().zip(other).enumerate().all(|(dimension, (a, b))| dimension == axis || a == b)
}

impl Row {
    /// Which tensor, and which part of it, the parameter at the end of these frames is; the first frame is a field of the
    /// row's struct.
    fn claims(&self, frames: &[Frame]) -> Option<(usize, usize)> {
        self.entries.iter().enumerate().find_map(|(order, entry)| {
            let part = entry.parts.iter().position(|part| part.path.split('.').eq(steps(frames)))?;
            Some((order, part))
        })
    }

    /// Whether a part of one of the row's tensors lies within this field.
    fn covers(&self, field: &str) -> bool {
        let mut parts = self.entries.iter().flat_map(|entry| &entry.parts);
        parts.any(|part| part.path.split_once('.').is_some_and(|(first, _)| first == field))
    }
}

fn key(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn invalid(what: String) -> Error {
    Error::invalid(what)
}
