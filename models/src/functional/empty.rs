//! Results without elements, and what is made of such: they stay on the tape.

use burn::tensor::DType;

use super::array::{Array, Kind, kind_of};
use super::cpu::nothing;
use super::device::is_on_cpu;
use super::number::Number;

/// As many tensors as an operator takes beside what there is so far.
const AT_ONCE: usize = 4;

impl Array {
    /// Zeros that were made of these tensors, of which no gradient comes to anything: what a sum, a product or a part of nothing is. As in
    /// PyTorch a backward pass goes through, and parameters behind it have gradients that are 0. (Off the CPU they have none.)
    pub(super) fn nothing(shape: &[usize], dtype: DType, of: &[&Array]) -> Self {
        let like = of.first().map(|first| first.device()).unwrap_or_default();
        let zeros = Array::full(shape, Number::Int(0), dtype, &like);
        let floats: Vec<&Array> =
            of.iter().copied().filter(|array| array.kind() == Kind::Float && is_on_cpu(array)).collect();
        if kind_of(dtype) != Kind::Float {
            return zeros;
        }
        floats.chunks(AT_ONCE).fold(zeros, |zeros, part| {
            let given: Vec<&Array> = std::iter::once(&zeros).chain(part.iter().copied()).collect();
            let burns = if shape.is_empty() { vec![1] } else { shape.to_vec() };
            nothing(burns, dtype, &given).map_or_else(|| zeros.clone(), |made| Array::new(made, shape))
        })
    }
}
