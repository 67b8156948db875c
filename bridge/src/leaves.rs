//! Walking a Burn module: every parameter and buffer with the fields that lead to it.

use std::any::Any;

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Device, Int, Tensor as BurnTensor, TensorData};

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
    pub(super) dtype: burn::tensor::DType,
    pub(super) torch_dtype: DType,
    pub(super) requires_grad: bool,
    /// A floating-point parameter, trainable or frozen; not a running state, an integer or a boolean.
    pub(super) parameter: bool,
    /// A Burn running state, or another that makes a new parameter for each visit.
    pub(super) running: bool,
    pub(super) device: Device,
    /// The parameter itself: clones share the value.
    pub(super) value: Box<dyn Value>,
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

/// A `Param` of any rank and kind.
pub(super) trait Value: Any + Send {
    fn data(&self) -> Result<TensorData>;
    /// Where the value lies, once there is one.
    fn address(&self) -> Option<usize>;
    fn as_any(&self) -> &dyn Any;
}

impl std::fmt::Debug for dyn Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Param")
    }
}

macro_rules! values {
    ($($kind:ty),*) => { $(
        impl<const D: usize> Value for Param<$kind> {
            fn data(&self) -> Result<TensorData> {
                self.base().try_into_data().map_err(|error| {
                    ErrorKind::Invalid(format!("the device did not give the parameter's elements: {error:?}")).into()
                })
            }

            fn address(&self) -> Option<usize> {
                let value: &$kind = if self.is_initialized() { self } else { return None };
                Some(std::ptr::from_ref(value).addr())
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    )* };
}

values!(BurnTensor<D>, BurnTensor<D, Int>, BurnTensor<D, Bool>);

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
        let asks = |name: &str| rows.row(name).is_some_and(Row::asks_for_fields);
        let asks_frame = |frame: &Frame| matches!(&frame.container, Container::Struct(name) if asks(name));
        if leaves.items.iter().flat_map(Item::frames).any(asks_frame) {
            leaves.fields = Fields::read(module, asks);
        }
        Ok(leaves)
    }
}

struct Walk {
    frames: Vec<Frame>,
    /// For each frame, how many items had been met on entering it.
    entered: Vec<usize>,
    leaves: Leaves,
    error: Option<rekindle_recorder::Error>,
}

impl Walk {
    fn leaf(&mut self, leaf: Result<Leaf>) {
        match leaf {
            Ok(leaf) => {
                let place = self.leaves.all.len();
                self.leaves.all.push(leaf);
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

/// Whether the parameter can be described, and replaced, without making its first value: one that is mapped on the way
/// (a `Linear` in column layout) states the shape of another form. Burn shows the mappers in `Debug` only.
pub(super) fn is_lazy<P: std::fmt::Debug>(initialized: bool, param: &P) -> bool {
    !initialized && format!("{param:?}").ends_with("ParamMapper { load: false, save: false }")
}

/// Whether the parameter is meant to be trained, also where its tensor is on a device without autodiff just now.
fn is_trained<const D: usize>(param: &Param<BurnTensor<D>>, lazy: bool) -> bool {
    if lazy {
        // Any tensor loaded in the parameter's place takes over what the parameter is meant for.
        let any = BurnTensor::zeros([1; D], &param.lazy_device());
        return param.clone().transform_for_load(any, param.id).train().is_require_grad();
    }
    param.is_require_grad() || (!param.is_autodiff() && param.clone().train().is_require_grad())
}

macro_rules! visit {
    ($($visit:ident $kind:ty, $dtype:ident, $parameter:literal, $trained:expr;)*) => { $(
        fn $visit<const D: usize>(&mut self, param: &Param<$kind>) {
            let lazy = is_lazy(param.is_initialized(), param);
            let (shape, dtype, device) = if lazy {
                let device = param.lazy_device();
                (param.lazy_shape(), device.settings().$dtype.into(), device)
            } else {
                (param.shape(), param.dtype(), param.device())
            };
            let trained: fn(&Param<$kind>, bool) -> bool = $trained;
            let leaf = data::torch_dtype(dtype).map(|torch_dtype| Leaf {
                id: param.id,
                shape: shape.as_slice().to_vec(),
                dtype,
                torch_dtype,
                requires_grad: trained(param, lazy),
                parameter: $parameter,
                running: false,
                device,
                value: Box::new(param.clone()),
            });
            self.leaf(leaf);
        }
    )* };
}

impl ModuleVisitor for Walk {
    visit! {
        visit_float BurnTensor<D>, float_dtype, true, is_trained;
        visit_int BurnTensor<D, Int>, int_dtype, false, |_, _| false;
        visit_bool BurnTensor<D, Bool>, bool_dtype, false, |_, _| false;
    }

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
    fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
        self.0.push(param.address());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<BurnTensor<D, Int>>) {
        self.0.push(param.address());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<BurnTensor<D, Bool>>) {
        self.0.push(param.address());
    }
}
