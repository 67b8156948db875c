//! The module as PyTorch sees it: a tree of modules, each with its parameters, its buffers and its children, by PyTorch's
//! names and in PyTorch's order. Made of what a walk met and of the layout's rows.

use indexmap::IndexMap;

use super::layout::{Entry, Layout, Role, Row};
use super::leaves::{Container, Frame, Item, Leaves};
use super::named::{NamedParameter, Piece};
use crate::{DType, Error, ErrorKind, Result, Tensor};

/// A parameter or buffer of the state dict.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tensor: NamedParameter,
    pub(super) role: Role,
    /// PyTorch's element type, where it is not that of the Burn parameter.
    pub(super) saved_dtype: Option<DType>,
    /// A state dict may lack it.
    pub(super) optional: bool,
    /// For each piece, its place in [`Leaves::all`].
    pub(super) leaves: Vec<usize>,
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
    pub(super) fn build(layout: &Layout, leaves: &Leaves) -> Result<Self> {
        let mut root = Node::default();
        for item in &leaves.items {
            root.place(layout, item)?;
        }
        let mut tree = Tree::default();
        root.emit("", layout, leaves, &mut tree)?;
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

#[derive(Default)]
struct Node {
    /// The Burn structs that make the module: several where one is wrapped in another.
    structs: Vec<String>,
    tensors: Vec<Gathered>,
    children: IndexMap<String, Node>,
}

/// A PyTorch tensor whose parts are being met.
struct Gathered {
    name: String,
    /// Its place in the row; what the row does not name comes behind.
    order: usize,
    entry: Entry,
    parts: Vec<Option<usize>>,
}

impl Node {
    fn at(&mut self, path: &[String]) -> &mut Node {
        path.iter().fold(self, |node, name| node.children.entry(name.clone()).or_default())
    }

    /// Puts an item where its frames and the rows of the structs on the way lead.
    fn place(&mut self, layout: &Layout, item: &Item) -> Result<()> {
        let (frames, leaf) = match item {
            Item::Leaf { frames, leaf } => (frames, Some(*leaf)),
            Item::Flag { frames } | Item::Empty { frames } => (frames, None),
        };
        let mut path: Vec<String> = Vec::new();
        for (depth, frame) in frames.iter().enumerate() {
            if let Container::Struct(name) = &frame.container {
                let node = self.at(&path);
                if !node.structs.contains(name) {
                    node.structs.push(name.clone());
                }
                if let Some(row) = layout.row(name) {
                    match leaf {
                        Some(leaf) => {
                            if let Some((order, part)) = row.claims(&frames[depth..]) {
                                return node.gather(&path, order, &row.entries[order], part, leaf);
                            }
                        }
                        // Inside a tensor's parts there are no modules that PyTorch knows.
                        None if row.covers(&frame.name) => return Ok(()),
                        None => {}
                    }
                }
            }
            path.extend(frame.torch_name(layout));
        }
        match (item, frames.last().map(|frame| &frame.container)) {
            (Item::Leaf { leaf, .. }, _) => {
                let Some(name) = path.pop() else {
                    return Err(invalid(
                        "a parameter of the module has no name in PyTorch: its row leaves it out".to_owned(),
                    ));
                };
                let entry = Entry {
                    name,
                    parts: vec![super::layout::Part::new("")],
                    axis: 0,
                    role: None,
                    dtype: None,
                    optional: false,
                };
                self.at(&path).gather(&path, usize::MAX, &entry, 0, *leaf)
            }
            // A place in a `Vec` or a variant is a module even with nothing in it; an empty field may be an absent `Option`.
            (Item::Empty { .. }, Some(Container::Place | Container::Enum)) => {
                self.at(&path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn gather(&mut self, path: &[String], order: usize, entry: &Entry, part: usize, leaf: usize) -> Result<()> {
        // Of one tensor that a row spells in several ways, `order` tells the spellings apart.
        let known = self.tensors.iter().position(|known| known.order == order && known.name == entry.name);
        let index = known.unwrap_or_else(|| {
            let parts = vec![None; entry.parts.len()];
            self.tensors.push(Gathered { name: entry.name.clone(), order, entry: entry.clone(), parts });
            self.tensors.len() - 1
        });
        match self.tensors.get_mut(index).and_then(|tensor| tensor.parts.get_mut(part)) {
            Some(place @ None) => {
                *place = Some(leaf);
                Ok(())
            }
            _ => Err(invalid(format!(
                "two parameters of the module are the same part of '{}'",
                key(&path.join("."), &entry.name)
            ))),
        }
    }

    fn emit(self, path: &str, layout: &Layout, leaves: &Leaves, tree: &mut Tree) -> Result<()> {
        let rows: Vec<&Row> = self.structs.iter().filter_map(|name| layout.row(name)).collect();
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
        for (name, child) in self.children {
            child.emit(&key(path, &name), layout, leaves, tree)?;
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
        for (part, place) in self.entry.parts.iter().zip(&self.parts) {
            let Some((index, leaf)) = place.and_then(|index| Some((index, leaves.all.get(index)?))) else {
                return Err(invalid(format!("the module has no '{}', which is a part of '{name}'", part.path)));
            };
            let transform = part.transform;
            let Some(torch) = transform.torch_shape(&leaf.shape) else {
                let (found, wanted) = (&leaf.shape, transform.describe());
                return Err(invalid(format!(
                    "'{name}' has the shape {found:?}, where the row of its struct wants {wanted}; if the struct is not \
                     burn-nn's, mark it `as_is` in the layout"
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
        let steps =
            || frames.iter().filter(|frame| frame.container != Container::Enum).map(|frame| frame.name.as_str());
        self.entries.iter().enumerate().find_map(|(order, entry)| {
            let part = entry.parts.iter().position(|part| part.path.split('.').eq(steps()))?;
            Some((order, part))
        })
    }

    /// Whether a part of one of the row's tensors lies within this field.
    fn covers(&self, field: &str) -> bool {
        let mut parts = self.entries.iter().flat_map(|entry| &entry.parts);
        parts.any(|part| part.path.split_once('.').is_some_and(|(first, _)| first == field))
    }
}

impl Frame {
    /// The step in PyTorch's path; `None` where PyTorch has none.
    fn torch_name(&self, layout: &Layout) -> Option<String> {
        match &self.container {
            Container::Enum => None,
            Container::Place => Some(self.name.clone()),
            Container::Struct(module) => match layout.row(module).and_then(|row| row.children.get(&self.name)) {
                Some(renamed) => renamed.clone(),
                None => Some(self.name.clone()),
            },
        }
    }
}

fn key(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn invalid(what: String) -> Error {
    ErrorKind::Invalid(what).into()
}
