//! The one way of taking parameters and their gradients out of a model and putting them back. A parameter is what has one
//! Burn id: fields that share an id are one parameter, though each may be a leaf of its own in the backward pass. Its gradient
//! is the sum of theirs, and what is put back is one tensor in all of them.

use std::any::Any;
use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Shape, Tensor, TensorData};
use indexmap::IndexMap;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{Error, Result};

use crate::attributes::invalid;

/// A parameter and its gradient, in Burn's order of elements.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Without autodiff.
    pub(crate) param: Tensor<1>,
    /// `None` if no field has one.
    pub(crate) grad: Option<Tensor<1>>,
    pub(crate) back: Back,
}

/// How the model has a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Back {
    pub(crate) shape: Shape,
    requires_grad: bool,
    autodiff: bool,
    /// How many fields hold it.
    fields: usize,
    /// Which of them is the leaf that the gradient belongs to.
    leaf: usize,
}

/// The parameters that are wanted, in the model's order, each with its gradient, which is taken out of `grads`. The model
/// still holds them: see [`hollow`].
///
/// # Errors
/// When fields that share an id hold tensors of different shapes, types or devices, which cannot be one parameter.
pub(crate) fn take<M: Module>(
    model: &M,
    grads: &mut Gradients,
    wanted: impl Fn(ParamId) -> bool,
) -> Result<IndexMap<ParamId, Taken>> {
    let mut take = Take { wanted, grads, taken: IndexMap::new(), error: None };
    model.visit(&mut take);
    match take.error {
        Some(error) => Err(error),
        None => Ok(take.taken),
    }
}

struct Take<'a, F> {
    wanted: F,
    grads: &'a mut Gradients,
    taken: IndexMap<ParamId, Taken>,
    error: Option<Error>,
}

impl<F: Fn(ParamId) -> bool> ModuleVisitor for Take<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !(self.wanted)(param.id) {
            return;
        }
        let tensor = param.base();
        let (requires_grad, autodiff, shape) = (tensor.is_require_grad(), tensor.is_autodiff(), tensor.shape());
        // Of two fields that are one leaf, the first takes all there is.
        let grad = tensor.grad_remove(self.grads).map(flat);
        let tensor = tensor.inner();
        let Some(known) = self.taken.get_mut(&param.id) else {
            let back = Back { shape, requires_grad, autodiff, fields: 1, leaf: 0 };
            self.taken.insert(param.id, Taken { param: flat(tensor), grad, back });
            return;
        };
        let (one, back) = (&known.param, &mut known.back);
        if back.shape != shape || one.dtype() != tensor.dtype() || one.device() != tensor.device() {
            self.error.get_or_insert_with(|| {
                invalid(format!(
                    "two fields of the model share a parameter's id and hold tensors {:?} and {shape:?}, which are not of one \
                     shape, type and device; give one of them an id of its own",
                    back.shape
                ))
            });
            return;
        }
        known.grad = match (known.grad.take(), grad) {
            (Some(sum), Some(grad)) => Some(sum + grad),
            (None, Some(grad)) => {
                back.leaf = back.fields;
                Some(grad)
            }
            (sum, None) => sum,
        };
        back.requires_grad |= requires_grad;
        back.autodiff |= autodiff;
        back.fields += 1;
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.flatten(0, D - 1)
}

fn shaped<const D: usize>(tensor: Tensor<1>, shape: Shape) -> Tensor<D> {
    // Burn takes the 0 of a shape for something else.
    if shape.num_elements() == 0 {
        return Tensor::empty(shape, (&tensor.device(), tensor.dtype()));
    }
    tensor.reshape(shape)
}

/// The model without these parameters, so that nothing else holds what was [taken](take): until they are [put](put) back,
/// something small is in their places.
pub(crate) fn hollow<M: Module>(model: M, taken: &HashSet<ParamId>) -> M {
    struct Hollow<'a>(&'a HashSet<ParamId>);

    impl ModuleMapper for Hollow<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.0.contains(&param.id) {
                return param;
            }
            let (id, tensor, mapper) = param.consume();
            let device = tensor.inner().device();
            Param::from_mapped_value(id, Tensor::empty([1; D], &device), mapper)
        }
    }

    model.map(&mut Hollow(taken))
}

/// Puts values in the place of parameters, in all fields that hold them; the others stay as they are.
pub(crate) fn put<M: Module>(model: M, values: HashMap<ParamId, (Tensor<1>, Back)>) -> M {
    struct Put {
        values: HashMap<ParamId, (Tensor<1>, Back)>,
        /// Those that several fields hold: the tensor that all of them are.
        tied: HashMap<ParamId, Box<dyn Any>>,
    }

    impl ModuleMapper for Put {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let tensor = if let Some((value, back)) = self.values.remove(&param.id) {
                let tensor = shaped(value, back.shape);
                let tensor = if back.autodiff { Tensor::from_inner(tensor) } else { tensor };
                let tensor = tensor.set_require_grad(back.requires_grad);
                if back.fields > 1 {
                    self.tied.insert(param.id, Box::new(tensor.clone()));
                }
                tensor
            } else if let Some(tensor) = self.tied.get(&param.id).and_then(|tied| tied.downcast_ref::<Tensor<D>>()) {
                tensor.clone()
            } else {
                return param;
            };
            let (id, _, mapper) = param.consume();
            Param::from_mapped_value(id, tensor, mapper)
        }
    }

    model.map(&mut Put { values, tied: HashMap::new() })
}

/// Puts gradients back where they were [taken](take) from: that of a parameter in several fields all to one of them.
pub(crate) fn put_gradients<M: Module>(model: &M, grads: &mut Gradients, values: HashMap<ParamId, (Tensor<1>, Back)>) {
    struct Put<'a> {
        grads: &'a mut Gradients,
        values: HashMap<ParamId, (Tensor<1>, Back)>,
    }

    impl ModuleVisitor for Put<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            match self.values.get_mut(&param.id) {
                Some((_, back)) if back.leaf > 0 => back.leaf -= 1,
                Some(_) => {
                    if let Some((grad, back)) = self.values.remove(&param.id) {
                        param.base().grad_replace(self.grads, shaped(grad, back.shape));
                    }
                }
                None => {}
            }
        }
    }

    model.visit(&mut Put { grads, values });
}

/// The Burn parameters behind these.
pub(crate) fn ids<'a>(parameters: impl IntoIterator<Item = &'a NamedParameter>) -> HashSet<ParamId> {
    parameters.into_iter().flat_map(|parameter| parameter.pieces.iter().map(|piece| piece.id)).collect()
}

/// The Burn parameters that a model has.
pub(crate) fn ids_of<M: Module>(model: &M) -> HashSet<ParamId> {
    struct Ids(HashSet<ParamId>);

    impl ModuleVisitor for Ids {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.insert(param.id);
        }
    }

    let mut ids = Ids(HashSet::new());
    model.visit(&mut ids);
    ids.0
}

/// Whether tensors of this device can be taken out and put back without a copy.
#[cfg(feature = "flex")]
pub(crate) fn in_host_memory(device: &Device) -> bool {
    matches!(device.as_dispatch(), burn::backend::DispatchDevice::Flex(_))
}

#[cfg(not(feature = "flex"))]
pub(crate) fn in_host_memory(_: &Device) -> bool {
    false
}

/// The elements of a tensor in host memory. Where something else holds them, too, they are only to be read, and are no copy; the
/// memory they are in comes with them.
#[cfg(feature = "flex")]
pub(crate) fn elements_of(tensor: Tensor<1>) -> Result<(TensorData, Option<Spare>)> {
    let tensor = tensor.try_into_primitive::<burn::backend::Flex>();
    let tensor = tensor.map_err(|_| unreadable("it is not in host memory"))?;
    let (layout, dtype) = (tensor.layout().clone(), tensor.dtype());
    let whole = layout.is_contiguous()
        && layout.start_offset() == 0
        && tensor.bytes().len() == layout.num_elements() * dtype.size();
    if tensor.is_unique() || !whole {
        return Ok((tensor.into_data(), None));
    }
    let spare = Spare(tensor.clone());
    Ok((rekindle_burn::shared_data(Spare(tensor), layout.shape().clone(), dtype), Some(spare)))
}

#[cfg(not(feature = "flex"))]
pub(crate) fn elements_of(tensor: Tensor<1>) -> Result<(TensorData, Option<Spare>)> {
    Ok((tensor.try_into_data().map_err(unreadable)?, None))
}

/// The memory of a tensor, all of it and in order, for other elements once nothing else holds it any more.
#[cfg(feature = "flex")]
#[derive(Debug)]
pub(crate) struct Spare(burn::backend::flex::FlexTensor);

#[cfg(feature = "flex")]
impl Spare {
    /// Whether nothing else holds it, and it has so many elements of this type.
    pub(crate) fn is_free<T: burn::tensor::Element>(&self, len: usize) -> bool {
        self.0.is_unique() && self.0.dtype() == T::dtype() && self.0.layout().num_elements() == len
    }

    /// The memory; a copy of it where something else holds it.
    pub(crate) fn into_data(self) -> TensorData {
        self.0.into_data()
    }
}

#[cfg(feature = "flex")]
impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// There is none: all that is not in host memory is computed by its device.
#[cfg(not(feature = "flex"))]
#[derive(Debug)]
pub(crate) enum Spare {}

#[cfg(not(feature = "flex"))]
impl Spare {
    pub(crate) fn is_free<T: burn::tensor::Element>(&self, _: usize) -> bool {
        match *self {}
    }

    pub(crate) fn into_data(self) -> TensorData {
        match self {}
    }
}

/// An error of a device.
pub(crate) fn unreadable(error: impl std::fmt::Display) -> Error {
    invalid(format!("a parameter or its gradient cannot be read from its device: {error}"))
}
