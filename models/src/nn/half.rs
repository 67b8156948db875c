//! Layers in `float16` and `bfloat16` as PyTorch computes them: in `float32`, rounded once when all of a layer is done. Burn's own
//! round after every operation: a linear map of `bfloat16` twice, before its bias is added and after it.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{FloatDType, Tensor};

use crate::functional::is_narrow;

/// What a layer makes of an input of `float16` or `bfloat16`, computed in `float32` and rounded once; of any other type, what it
/// makes of it. Gradients are rounded to the parameters' type where they come out of the layer, once, too.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{DType, Device, Tensor};
/// use rekindle_models::nn::rounded_once;
///
/// let layer = LinearConfig::new(3, 2).init(&Device::flex());
/// let input = Tensor::<2>::ones([4, 3], &Device::flex()).cast(DType::BF16);
/// let output = rounded_once(&layer, input, |layer, x| layer.forward(x));
/// assert_eq!(output.dtype(), DType::BF16);
/// ```
pub fn rounded_once<M: Module, const A: usize, const B: usize>(
    layer: &M,
    input: Tensor<A>,
    forward: impl FnOnce(&M, Tensor<A>) -> Tensor<B>,
) -> Tensor<B> {
    let dtype = input.dtype();
    if !is_narrow(dtype) {
        return forward(layer, input);
    }
    forward(&layer.clone().map(&mut Widen), input.cast(FloatDType::F32)).cast(FloatDType::from(dtype))
}

/// Casts parameters, and keeps them in the graph of the backward pass.
struct Widen;

impl ModuleMapper for Widen {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        Param::initialized(param.id, param.val().cast(FloatDType::F32))
    }
}
