//! `Buffer`: a tensor that a layer updates as it computes, as PyTorch's `register_buffer` makes one.
//!
//! Burn's `RunningState` serves the same end, for floating-point tensors only, and keeps the last update aside until the
//! next: a record or state dict taken in between lacks it. A `Buffer` is updated at once, and of any type.

use std::convert::identity;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Device, Int, Tensor};

/// A tensor that belongs to a layer's state but is not trained.
///
/// Clones share it, so that what one computes in training is seen by the others, as with Burn's `RunningState`. A module
/// that was mapped (by an optimizer's step, or by loading) has its own from then on.
#[derive(Clone, Debug)]
pub struct Buffer<T> {
    id: ParamId,
    value: Arc<Mutex<T>>,
}

impl<T: Clone> Buffer<T> {
    /// A buffer that holds this.
    pub fn new(value: T) -> Self {
        Buffer::with_id(ParamId::new(), value)
    }

    /// What it holds.
    #[must_use]
    pub fn value(&self) -> T {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds this from now on.
    pub fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn with_id(id: ParamId, value: T) -> Self {
        Buffer { id, value: Arc::new(Mutex::new(value)) }
    }
}

macro_rules! buffers {
    ($($kind:ty: $visit:ident $map:ident $settle:ident $moved:path;)*) => { $(
        impl<const D: usize> Module for Buffer<$kind> {
            fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
                visitor.$visit(&Param::initialized(self.id, self.value()));
            }

            fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
                let (id, value, _) = mapper.$map(Param::initialized(self.id, self.value())).consume();
                Buffer::with_id(id, $settle(value))
            }

            fn to_device(self, device: &Device) -> Self {
                Buffer::with_id(self.id, $moved(self.value(), device))
            }

            fn fork(self, device: &Device) -> Self {
                self.to_device(device)
            }

            fn collect_devices(&self, mut devices: Vec<Device>) -> Vec<Device> {
                let device = self.value().device();
                if !devices.contains(&device) {
                    devices.push(device);
                }
                devices
            }

            fn materialize(self) -> Self {
                self
            }

            fn valid(&self) -> Self {
                Buffer::with_id(self.id, self.value().without_autodiff())
            }

            fn train(self) -> Self {
                Buffer::with_id(self.id, Tensor::from_inner(self.value()))
            }
        }

        impl<const D: usize> ModuleDisplayDefault for Buffer<$kind> {
            fn content(&self, content: Content) -> Option<Content> {
                content.add_formatted(&format!("Buffer {{shape: {:?}}}", self.value().dims())).optional()
            }
        }

        impl<const D: usize> ModuleDisplay for Buffer<$kind> {}
    )* };
}

buffers! {
    Tensor<D>: visit_float map_float detached Tensor::to_device;
    Tensor<D, Int>: visit_int map_int identity Tensor::to_device;
    Tensor<D, Bool>: visit_bool map_bool identity truth_to_device;
}

/// Truth values go to another device as numbers: Burn 0.22 takes them along as this one stores them, which the other may not.
fn truth_to_device<const D: usize>(value: Tensor<D, Bool>, device: &Device) -> Tensor<D, Bool> {
    if value.device() == *device { value } else { value.int().to_device(device).bool() }
}

/// A mapper may hand back a tensor with a graph behind it; a buffer has none.
fn detached<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    value.detach()
}
