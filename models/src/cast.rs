//! A network in another floating-point type: PyTorch's `module.to(dtype)`.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{FloatDType, Tensor};

/// The module with its floating-point parameters and buffers in this type, as PyTorch's `module.to(dtype)`; integers and truth
/// values stay. What is trained stays trained.
///
/// A [`Program`](crate::graph::Program) has constants, too: [`Program::to_dtype`](crate::graph::Program::to_dtype).
#[must_use]
pub fn to_dtype<M: Module>(module: M, dtype: FloatDType) -> M {
    module.map(&mut In(dtype))
}

struct In(FloatDType);

impl ModuleMapper for In {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (trained, autodiff) = (tensor.is_require_grad(), tensor.is_autodiff());
        let cast = tensor.inner().cast(self.0);
        let cast = if autodiff { Tensor::from_inner(cast).set_require_grad(trained) } else { cast };
        Param::from_mapped_value(id, cast, mapper)
    }
}
