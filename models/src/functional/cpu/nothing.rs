//! What is made of nothing: zeros, through which no gradient comes to anything. It keeps what it was made of on the tape, as PyTorch does:
//! after the backward pass of an empty batch the parameters have gradients, and all are 0.

use burn::backend::flex::FlexTensor;
use burn::backend::{DType, Shape};

use super::backend::Operator;
use super::memory::lengths;

/// Zeros of this shape and type, of any tensors.
#[derive(Clone, Debug)]
pub(crate) struct Nothing {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
}

impl Operator for Nothing {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        (FlexTensor::zeros(Shape::from(self.shape.clone()), self.dtype), inputs.to_vec())
    }

    fn backward(&self, kept: &[FlexTensor], _: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let zeros = |of: &FlexTensor| FlexTensor::zeros(Shape::from(lengths(of)), of.dtype());
        kept.iter().zip(wanted).map(|(of, wanted)| wanted.then(|| zeros(of))).collect()
    }
}
