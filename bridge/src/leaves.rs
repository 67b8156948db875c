//! Walking a Burn module: every parameter and buffer with the fields that lead to it.

use std::collections::HashMap;

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType as BurnDType, Device, Int, Tensor as BurnTensor, TensorData};

use crate::data;
use crate::fields::Fields;
use crate::layer_rows::{LayerRows, Row};
use crate::value::{Kind, Value, is_lazy};
use rekindle_recorder::{DType, Error, Result};

/// One step on the way to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The field, the index in a `Vec`, or the variant.
    pub(super) name: String,
    pub(super) container: Container,
}

/// What the step is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// A field of the struct of this name.
    Struct(String),
    /// A variant of an enum.
    Enum,
    /// A place in a `Vec`, an array or a tuple, or whatever else a module calls its container.
    Place,
    /// A tensor `[1]` that PyTorch holds without dimensions, in a module that writes its own `visit`: [`SCALAR`].
    Scalar,
}

/// What a module that writes its own [`visit`](Module::visit) calls the container of a tensor `[1]` which has no dimensions in
/// PyTorch.
pub const SCALAR: &str = "Scalar:";

impl Frame {
    fn new(name: &str, container: &str) -> Self {
        let container = match container.split_once(':') {
            Some(("Struct", module)) => Container::Struct(module.to_owned()),
            Some(("Enum", _)) => Container::Enum,
            Some(("Scalar", _)) => Container::Scalar,
            _ => Container::Place,
        };
        Frame { name: name.to_owned(), container }
    }
}

/// What a walk meets, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// A parameter or buffer: its index in [`Leaves::all`].
    Leaf { frames: Vec<Frame>, leaf: usize },
    /// A flag: the module that holds it is there, though it may have no parameters.
    Flag { frames: Vec<Frame> },
    /// A step with nothing behind it: an absent `Option`, a constant, or a module without parameters.
    Empty { frames: Vec<Frame> },
}

impl Item {
    pub(super) fn frames(&self) -> &[Frame] {
        match self {
            Item::Leaf { frames, .. } | Item::Flag { frames } | Item::Empty { frames } => frames,
        }
    }
}

/// A parameter or buffer.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) id: ParamId,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: BurnDType,
    pub(super) torch_dtype: DType,
    pub(super) requires_grad: bool,
    /// A floating-point parameter, trainable or frozen; not a running state, an integer or a boolean.
    pub(super) parameter: bool,
    /// A Burn running state, or another that makes a new parameter for each visit.
    pub(super) running: bool,
    pub(super) device: Device,
    /// The parameter itself: clones share the value.
    pub(super) value: Box<dyn Value>,
    /// The index of the first leaf that is the same parameter; its own where there is none before it. A running state is
    /// always its own.
    pub(super) first: usize,
}

/// Everything a walk met.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    pub(super) items: Vec<Item>,
    pub(super) all: Vec<Leaf>,
    pub(super) flags: Vec<Param<Flag>>,
    /// The plain fields of the layers whose rows ask for them.
    pub(super) fields: Fields,
}

impl Leaves {
    /// Walks the module. Nothing in it changes, but parameters that were not initialised yet are where `collect` needs
    /// to know how they lie.
    pub(super) fn collect(module: &impl Module, rows: &LayerRows) -> Result<Self> {
        let mut walk = Walk { frames: Vec::new(), entered: Vec::new(), leaves: Leaves::default(), error: None };
        module.visit(&mut walk);
        if let Some(error) = walk.error {
            return Err(error);
        }
        let mut leaves = walk.leaves;

        // A running state shows itself as a parameter that is made for the visit. A true one is at the same address the
        // second time; `value` keeps the first one alive, so that a new one cannot be.
        let mut addresses = Addresses(Vec::new());
        module.visit(&mut addresses);
        for (leaf, again) in leaves.all.iter_mut().zip(addresses.0) {
            if let (Some(first), Some(again)) = (leaf.value.address(), again)
                && first != again
            {
                leaf.running = true;
                leaf.parameter = false;
            }
        }
        leaves.tie();
        let asks = |name: &str| rows.row(name).is_some_and(Row::asks_for_fields);
        let asks_frame = |frame: &Frame| matches!(&frame.container, Container::Struct(name) if asks(name));
        if leaves.items.iter().flat_map(Item::frames).any(asks_frame) {
            leaves.fields = Fields::read(module, asks);
        }
        Ok(leaves)
    }

    /// Finds the fields that share a parameter: they have its id, and nothing tells them apart.
    fn tie(&mut self) {
        let mut firsts: HashMap<ParamId, Vec<usize>> = HashMap::new();
        for index in 0..self.all.len() {
            let leaf = &self.all[index];
            if leaf.running {
                continue;
            }
            let known = firsts.entry(leaf.id).or_default();
            match known.iter().find(|&&first| self.all[first].is_like(leaf)) {
                Some(&first) => self.all[index].first = first,
                None => known.push(index),
            }
        }
    }

    /// Whether a leaf and the first one of its id are one tensor now: a clone of a module has its ids, too, and may have
    /// gone its own way since.
    pub(super) fn is_tied(&self, leaf: &Leaf) -> Result<bool> {
        let Some(first) = self.all.get(leaf.first) else { return Ok(false) };
        if leaf.value.address() == first.value.address() {
            return Ok(true);
        }
        Ok(is_equal(&leaf.value.data()?, &first.value.data()?))
    }
}

impl Leaf {
    fn is_like(&self, other: &Leaf) -> bool {
        let kind = |leaf: &Leaf| (*leaf.value).type_id();
        kind(self) == kind(other)
            && (&self.shape, self.dtype, self.requires_grad) == (&other.shape, other.dtype, other.requires_grad)
            && self.device == other.device
    }
}

/// Whether both have the same elements, bit for bit.
pub(super) fn is_equal(one: &TensorData, other: &TensorData) -> bool {
    one.dtype() == other.dtype() && one.shape() == other.shape() && one.as_bytes() == other.as_bytes()
}

struct Walk {
    frames: Vec<Frame>,
    /// For each frame, how many items had been met on entering it.
    entered: Vec<usize>,
    leaves: Leaves,
    error: Option<rekindle_recorder::Error>,
}

impl Walk {
    fn leaf<T: Kind>(&mut self, param: &Param<T>) {
        let lazy = is_lazy(param);
        let (shape, dtype, device) = if lazy {
            let device = param.lazy_device();
            (param.lazy_shape(), T::default_dtype(&device), device)
        } else {
            (param.shape(), Kind::dtype(&**param), param.device())
        };
        let index = self.leaves.all.len();
        match data::torch_dtype(dtype) {
            Ok(torch_dtype) => {
                self.leaves.all.push(Leaf {
                    id: param.id,
                    shape: shape.as_slice().to_vec(),
                    dtype,
                    torch_dtype,
                    requires_grad: T::is_trained(param, lazy),
                    parameter: T::PARAMETER,
                    running: false,
                    device,
                    value: Box::new(param.clone()),
                    first: index,
                });
                self.leaves.items.push(Item::Leaf { frames: self.frames.clone(), leaf: index });
            }
            Err(error) => {
                let path: Vec<&str> = self.frames.iter().map(|frame| frame.name.as_str()).collect();
                let message = format!("the parameter '{}': {error}", path.join("."));
                self.error.get_or_insert_with(|| Error::invalid(message));
            }
        }
    }
}

/// Every kind of tensor alike.
macro_rules! visit_all {
    ($self:ident, $param:ident => $visit:expr) => {
        fn visit_float<const D: usize>(&mut $self, $param: &Param<BurnTensor<D>>) {
            $visit;
        }

        fn visit_int<const D: usize>(&mut $self, $param: &Param<BurnTensor<D, Int>>) {
            $visit;
        }

        fn visit_bool<const D: usize>(&mut $self, $param: &Param<BurnTensor<D, Bool>>) {
            $visit;
        }
    };
}

impl ModuleVisitor for Walk {
    visit_all!(self, param => self.leaf(param));

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.leaves.flags.push(flag.clone());
        self.leaves.items.push(Item::Flag { frames: self.frames.clone() });
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.frames.push(Frame::new(name, container));
        self.entered.push(self.leaves.items.len());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        if self.entered.pop() == Some(self.leaves.items.len()) {
            self.leaves.items.push(Item::Empty { frames: self.frames.clone() });
        }
        self.frames.pop();
    }
}

struct Addresses(Vec<Option<usize>>);

impl ModuleVisitor for Addresses {
    visit_all!(self, param => self.0.push(param.address()));
}
