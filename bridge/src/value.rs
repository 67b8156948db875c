//! `Value`: a parameter or buffer of any rank and kind, to be read and to be replaced.

use std::any::Any;

use burn::module::{Module as _, Param, Parameter};
use burn::tensor::{Bool, DType as BurnDType, Device, Int, Tensor as BurnTensor, TensorData};

use rekindle_recorder::{Error, Result};

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
    /// Of these elements, on the device. A float keeps their type, which may be the file's; `dtype` is that of the others.
    fn made(data: TensorData, device: &Device, dtype: BurnDType) -> Self;
    fn without_autodiff(self) -> Self;
}

macro_rules! kinds {
    ($($kind:ty, $parameter:literal, $default:ident, $trained:expr;)*) => { $(
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
                #[cfg(feature = "flex")]
                {
                    let here = self.clone().without_autodiff().try_into_primitive::<burn::backend::Flex>();
                    if let Some(data) = here.ok().and_then(crate::host::shared) {
                        return Ok(data);
                    }
                }
                self.try_into_data().map_err(|error| {
                    Error::invalid(format!("the device did not give the parameter's elements: {error:?}"))
                })
            }

            fn made(data: TensorData, device: &Device, dtype: BurnDType) -> Self {
                let dtype = if $parameter { data.dtype() } else { dtype };
                Self::from_data(data, (device, dtype))
            }

            fn without_autodiff(self) -> Self {
                self.without_autodiff()
            }
        }
    )* };
}

kinds! {
    BurnTensor<D>, true, float_dtype, is_trained;
    BurnTensor<D, Int>, false, int_dtype, |_, _| false;
    BurnTensor<D, Bool>, false, bool_dtype, |_, _| false;
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
    /// The parameter with these elements, on the device and, if it is no float, of the type; trained as it is, where nothing
    /// else is said.
    fn with_data(
        &self,
        data: TensorData,
        device: &Device,
        dtype: BurnDType,
        requires_grad: Option<bool>,
    ) -> Box<dyn Value>;
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

    fn with_data(
        &self,
        data: TensorData,
        device: &Device,
        dtype: BurnDType,
        requires_grad: Option<bool>,
    ) -> Box<dyn Value> {
        let (known, tensor) = (self.clone(), T::made(data, device, dtype));
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
pub(super) fn is_lazy<T: Kind>(param: &Param<T>) -> bool {
    !param.is_initialized() && format!("{param:?}").ends_with("ParamMapper { load: false, save: false }")
}
