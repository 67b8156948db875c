//! Walking a Burn module: every parameter and buffer with the fields that lead to it.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamId, Parameter};
use burn::tensor::{Bool, DType as BurnDType, Device, Int, Tensor as BurnTensor, TensorData};

use crate::data;
use crate::fields::Fields;
use crate::layer_rows::{LayerRows, Row};
use rekindle_recorder::{DType, ErrorKind, Result};

/// One step on the way to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The field, the place in a `Vec`, or the variant.
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
}

impl Frame {
    fn new(name: &str, container: &str) -> Self {
        let container = match container.split_once(':') {
            Some(("Struct", module)) => Container::Struct(module.to_owned()),
            Some(("Enum", _)) => Container::Enum,
            _ => Container::Place,
        };
        Frame { name: name.to_owned(), container }
    }
}

/// What a walk meets, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// A parameter or buffer: its place in [`Leaves::all`].
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
    /// The place of the first leaf that is the same parameter; its own where there is none before it. A running state is
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

/// A kind of tensor that a module can hold, of any rank.
pub(super) trait Kind: Parameter + Sync + 'static {
    /// Whether PyTorch would hold it as a parameter.
    const PARAMETER: bool;

    fn dtype(&self) -> BurnDType;
    /// The element type that the device gives to what is not made yet.
    fn default_dtype(device: &Device) -> BurnDType;
    /// Whether the parameter is meant to be trained, also where its tensor is on a device without autodiff just now.
    fn is_trained(param: &Param<Self>, lazy: bool) -> bool;
    fn read(self) -> Result<TensorData>;
    fn made(data: TensorData, leaf: &Leaf) -> Self;
    fn without_autodiff(self) -> Self;
}

macro_rules! kinds {
    ($($kind:ty, $parameter:literal, $default:ident, $trained:expr, $dtype:expr;)*) => { $(
        impl<const D: usize> Kind for $kind {
            const PARAMETER: bool = $parameter;

            fn dtype(&self) -> BurnDType {
                self.dtype()
            }

            fn default_dtype(device: &Device) -> BurnDType {
                device.settings().$default.into()
            }

            fn is_trained(param: &Param<Self>, lazy: bool) -> bool {
                let trained: fn(&Param<Self>, bool) -> bool = $trained;
                trained(param, lazy)
            }

            fn read(self) -> Result<TensorData> {
                self.try_into_data().map_err(|error| {
                    ErrorKind::Invalid(format!("the device did not give the parameter's elements: {error:?}")).into()
                })
            }

            fn made(data: TensorData, leaf: &Leaf) -> Self {
                let dtype: fn(&TensorData, &Leaf) -> BurnDType = $dtype;
                let dtype = dtype(&data, leaf);
                Self::from_data(data, (&leaf.device, dtype))
            }

            fn without_autodiff(self) -> Self {
                self.without_autodiff()
            }
        }
    )* };
}

kinds! {
    // The file's type may be adopted.
    BurnTensor<D>, true, float_dtype, is_trained, |data, _| data.dtype();
    BurnTensor<D, Int>, false, int_dtype, |_, _| false, |_, leaf| leaf.dtype;
    BurnTensor<D, Bool>, false, bool_dtype, |_, _| false, |_, leaf| leaf.dtype;
}

fn is_trained<const D: usize>(param: &Param<BurnTensor<D>>, lazy: bool) -> bool {
    if lazy {
        // Any tensor loaded in the parameter's place takes over what the parameter is meant for.
        let any = BurnTensor::zeros([1; D], &param.lazy_device());
        return param.clone().transform_for_load(any, param.id).train().is_require_grad();
    }
    param.is_require_grad() || (!param.is_autodiff() && param.clone().train().is_require_grad())
}

/// A `Param` of any rank and kind.
pub(super) trait Value: Any + Send {
    fn data(&self) -> Result<TensorData>;
    /// Where the value lies, once there is one.
    fn address(&self) -> Option<usize>;
    /// The parameter with these elements; trained as it is, where nothing else is said.
    fn with_data(&self, data: TensorData, leaf: &Leaf, requires_grad: Option<bool>) -> Box<dyn Value>;
    /// This occurrence of a parameter with the tensor of the first: one leaf of the graph, not two. `None` if that is of
    /// another rank or kind.
    fn tied_to(&self, first: &dyn Value, requires_grad: Option<bool>) -> Option<Box<dyn Value>>;
}

impl std::fmt::Debug for dyn Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Param")
    }
}

/// The parameter that it is, if it is of this kind and rank.
pub(super) fn downcast<T: Kind>(value: &dyn Value) -> Option<&Param<T>> {
    let value: &dyn Any = value;
    value.downcast_ref()
}

impl<T: Kind> Value for Param<T> {
    fn data(&self) -> Result<TensorData> {
        self.base().read()
    }

    fn address(&self) -> Option<usize> {
        let value: &T = if self.is_initialized() { self } else { return None };
        Some(std::ptr::from_ref(value).addr())
    }

    fn with_data(&self, data: TensorData, leaf: &Leaf, requires_grad: Option<bool>) -> Box<dyn Value> {
        let (known, tensor) = (self.clone(), T::made(data, leaf));
        if leaf.running {
            return Box::new(Param::initialized(self.id, tensor));
        }
        let loaded = if is_lazy(&known) {
            known.transform_for_load(tensor, self.id)
        } else {
            // Mappers work on the form that Burn's records have; this is the form that the layer has.
            let (id, old, mapper) = known.consume();
            Param::from_mapped_value(id, tensor.set_require_grad(old.is_require_grad()), mapper)
        };
        Box::new(match requires_grad {
            Some(requires_grad) => loaded.set_require_grad(requires_grad),
            None => loaded,
        })
    }

    fn tied_to(&self, first: &dyn Value, requires_grad: Option<bool>) -> Option<Box<dyn Value>> {
        let first = downcast::<T>(first)?;
        if is_lazy(self) {
            return Some(Box::new(first.clone()));
        }
        let own = match requires_grad {
            Some(requires_grad) => self.clone().set_require_grad(requires_grad),
            None => self.clone(),
        };
        let (id, _, mapper) = own.consume();
        Some(Box::new(Param::from_mapped_value(id, first.base(), mapper)))
    }
}

/// Whether the parameter can be described, and replaced, without making its first value: one that is mapped on the way
/// (a `Linear` in column layout) states the shape of another form. Burn shows the mappers in `Debug` only.
fn is_lazy<T: Kind>(param: &Param<T>) -> bool {
    !param.is_initialized() && format!("{param:?}").ends_with("ParamMapper { load: false, save: false }")
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
        for place in 0..self.all.len() {
            let leaf = &self.all[place];
            if leaf.running {
                continue;
            }
            let known = firsts.entry(leaf.id).or_default();
            match known.iter().find(|&&first| self.all[first].is_like(leaf)) {
                Some(&first) => self.all[place].first = first,
                None => known.push(place),
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
        let place = self.leaves.all.len();
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
                    first: place,
                });
                self.leaves.items.push(Item::Leaf { frames: self.frames.clone(), leaf: place });
            }
            Err(error) => {
                let path: Vec<&str> = self.frames.iter().map(|frame| frame.name.as_str()).collect();
                let message = format!("the parameter '{}': {error}", path.join("."));
                self.error.get_or_insert_with(|| ErrorKind::Invalid(message).into());
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
