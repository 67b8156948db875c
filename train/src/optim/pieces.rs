//! The Burn parameters that make up one of PyTorch's, out of a model: piece by piece as Burn has them, or all elements in
//! PyTorch's order, for updates that need a parameter's rows and columns, or its norm, or all parameters at once.

use burn::module::ParamId;
use burn::tensor::{DType as BurnDType, Tensor};
use indexmap::IndexMap;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Result};

use super::array::{Array as _, dot, in_torch, rounded_to, with_real};
use crate::attributes::invalid;
use crate::parameters::{Back, Taken, in_host_memory, unreadable};

/// A parameter's pieces, in PyTorch's order.
#[derive(Debug)]
pub(super) struct Pieces(pub(super) Vec<Piece>);

/// One of them.
#[derive(Debug)]
pub(super) struct Piece {
    id: ParamId,
    /// `None` while, and after, an update has it that failed.
    pub(super) param: Option<Tensor<1>>,
    grad: Option<Tensor<1>>,
    back: Back,
}

impl Pieces {
    /// Those of a parameter, out of what was taken. `None` if another parameter has them.
    ///
    /// # Errors
    /// When they are not of the shape and type that the parameter had when the optimizer was made.
    pub(super) fn of(named: &NamedParameter, taken: &mut IndexMap<ParamId, Taken>) -> Result<Option<Self>> {
        let mut pieces = Vec::with_capacity(named.pieces.len());
        for piece in &named.pieces {
            let Some(Taken { param, grad, back }) = taken.swap_remove(&piece.id) else { return Ok(None) };
            let same_type = match param.dtype() {
                BurnDType::F64 => named.dtype == DType::Float64,
                BurnDType::F32 | BurnDType::Flex32 => named.dtype == DType::Float32,
                BurnDType::F16 => named.dtype == DType::Float16,
                BurnDType::BF16 => named.dtype == DType::BFloat16,
                _ => false,
            };
            if !same_type || back.shape[..] != piece.shape[..] {
                return Err(invalid(format!(
                    "the optimizer's parameter '{}' was made for {:?} of {}, and the model has {:?} of {:?}; make the optimizer \
                     for the model that it is to train",
                    named.name,
                    piece.shape,
                    named.dtype,
                    &back.shape[..],
                    param.dtype()
                )));
            }
            pieces.push(Piece { id: piece.id, param: Some(param), grad, back });
        }
        Ok(Some(Pieces(pieces)))
    }

    /// Whether any of them has a gradient.
    pub(super) fn has_gradient(&self) -> bool {
        self.0.iter().any(|piece| piece.grad.is_some())
    }

    /// The norm of its gradient, in its type.
    pub(super) fn norm_of_gradient(&self) -> Result<f64> {
        let mut squares = 0.0;
        for grad in self.0.iter().filter_map(|piece| piece.grad.as_ref()) {
            squares += if in_host_memory(&grad.device()) {
                let data = grad.clone().try_into_data().map_err(unreadable)?;
                with_real!(in_torch(grad.dtype()), T => {
                    let elements = data.as_slice::<T>().map_err(unreadable)?;
                    dot(elements, elements)
                })
            } else {
                grad.norm()?.powi(2)
            };
        }
        Ok(self.round(squares.sqrt()))
    }

    /// A number as its type has it.
    pub(super) fn round(&self, number: f64) -> f64 {
        self.params().next().map_or(number, |param| rounded_to(param.dtype(), number))
    }

    pub(super) fn in_host_memory(&self) -> bool {
        self.params().all(|param| in_host_memory(&param.device()))
    }

    pub(super) fn elements(&self) -> usize {
        self.0.iter().map(|piece| piece.back.shape.num_elements()).sum()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ParamId> {
        self.0.iter().map(|piece| piece.id)
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Tensor<1>> {
        self.0.iter().filter_map(|piece| piece.param.as_ref())
    }

    /// All elements, and the gradient, in PyTorch's order.
    pub(super) fn join(&mut self, named: &NamedParameter) -> Result<(Tensor<1>, Tensor<1>)> {
        Ok((self.join_param(named)?, self.join_gradient(named)?))
    }

    /// All elements.
    pub(super) fn join_param(&self, named: &NamedParameter) -> Result<Tensor<1>> {
        named.join_tensors(self.params().cloned().collect())
    }

    /// All of the gradient, which is taken.
    pub(super) fn join_gradient(&mut self, named: &NamedParameter) -> Result<Tensor<1>> {
        named.join_tensors(self.0.iter_mut().filter_map(Piece::gradient).collect())
    }

    /// Has no elements until it is [split](Self::split) anew: what was [joined](Self::join) has them alone then, and need not be copied.
    pub(super) fn let_go(&mut self) {
        self.0.iter_mut().for_each(|piece| piece.param = None);
    }

    /// Other elements, in PyTorch's order.
    pub(super) fn split(&mut self, named: &NamedParameter, elements: Tensor<1>) -> Result<()> {
        for (piece, param) in self.0.iter_mut().zip(named.split_tensor(elements)?) {
            piece.param = Some(param);
        }
        Ok(())
    }

    /// What the model is to have.
    pub(super) fn values(&self) -> impl Iterator<Item = (ParamId, (Tensor<1>, Back))> {
        self.0.iter().filter_map(|piece| Some((piece.id, (piece.param.clone()?, piece.back.clone()))))
    }

    /// What is to be put back into the model.
    pub(super) fn into_values(self) -> impl Iterator<Item = (ParamId, (Tensor<1>, Back))> {
        self.0.into_iter().filter_map(|piece| Some((piece.id, (piece.param?, piece.back))))
    }
}

impl Piece {
    /// Its gradient: a tensor of which one piece has none has zeros there in PyTorch.
    pub(super) fn gradient(&mut self) -> Option<Tensor<1>> {
        self.grad.take().or_else(|| Some(self.param.as_ref()?.zeros_like()))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::nn::LinearConfig;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::{DType as BurnDType, Device};
    use rekindle_burn::{LayerRows, ModuleStateDict as _, Part, Row};

    use super::*;
    use crate::optim::elementwise::{Elements, Place, Slices};
    use crate::optim::group::ParamGroup;
    use crate::optim::registry::{Hyperparameters, OptimizerKind};
    use crate::optim::state::ParamState;
    use crate::parameters::{put, take};

    /// Two matrices that PyTorch has side by side in one, and transposed.
    #[derive(Module, Debug)]
    struct Gates {
        a: Param<Tensor<2>>,
        b: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    #[test]
    fn parameters_are_taken_and_put_as_pytorch_has_them() {
        let device = Device::flex().autodiff();
        let gates = Gates {
            a: Param::from_tensor(Tensor::from_data([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], &device)),
            b: Param::from_tensor(Tensor::from_data([[7.0, 9.0], [8.0, 10.0]], &device)),
            bias: Param::from_tensor(Tensor::from_data([11.0, 12.0], &device)),
        };
        let joined = ["a", "b"].map(|part| Part::new(part).transposed());
        let rows = LayerRows::default().with(Row::new("Gates").joined("weight", 1, joined));
        let members = gates.named_parameters_with(&rows).unwrap();
        let names: Vec<&str> = members.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["weight", "bias"]);

        let elements = |tensor: Tensor<1>| tensor.into_data().try_into_vec::<f32>().unwrap();
        // The gradient of the first piece only.
        let mut grads = (gates.a.val() * gates.a.val()).sum().backward();
        let mut taken = take(&gates, &mut grads, |_| true).unwrap();
        let mut weight = Pieces::of(&members[0], &mut taken).unwrap().unwrap();
        let bias = Pieces::of(&members[1], &mut taken).unwrap().unwrap();
        assert!(weight.has_gradient() && !bias.has_gradient());
        let (param, grad) = weight.join(&members[0]).unwrap();
        let expected = [1.0, 2.0, 3.0, 7.0, 8.0, 4.0, 5.0, 6.0, 9.0, 10.0];
        assert_eq!(elements(param.clone()), expected);
        assert_eq!(elements(grad), [2.0, 4.0, 6.0, 0.0, 0.0, 8.0, 10.0, 12.0, 0.0, 0.0]);

        weight.split(&members[0], param * 2.0).unwrap();
        let gates = put(gates, weight.into_values().collect());
        assert_eq!(elements(gates.a.val().inner().reshape([6])), [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]);
        assert_eq!(elements(gates.b.val().inner().reshape([4])), [14.0, 18.0, 16.0, 20.0]);
        assert_eq!(elements(gates.bias.val().inner()), [11.0, 12.0]);
        assert!(gates.a.val().is_require_grad());
    }

    /// What a GPU computes, computed here.
    #[test]
    fn an_update_by_tensor_operations_agrees_with_the_one_in_host_memory() {
        let device = Device::flex();
        let mut parameters = LinearConfig::new(9, 4).init(&device).named_parameters().unwrap();
        parameters.extend(Conv2dConfig::new([3, 2], [2, 2]).init(&device).named_parameters().unwrap());
        for (kind, named) in [OptimizerKind::Adafactor, OptimizerKind::Muon, OptimizerKind::SparseAdam]
            .into_iter()
            .flat_map(|kind| parameters.iter().map(move |named| (kind, named)))
        {
            let rule = kind.rule();
            if (rule.admit)(named).is_err() {
                continue;
            }
            let group = ParamGroup::new(Hyperparameters::of(kind).group(&[], None, 0), 0..1);
            let len: usize = named.shape.iter().product();
            // Every fifth row or so has no gradient.
            let row = len / named.shape[0];
            #[allow(clippy::cast_precision_loss)]
            let values = |step: usize| -> Vec<f32> {
                let value =
                    |i: usize| if (i / row + step) % 5 == 4 { 0.0 } else { ((i * 7 + step * 3) as f32 * 0.61).sin() };
                (0..len).map(value).collect()
            };
            let tensor = |values: Vec<f32>| Tensor::<1>::from_data(&values[..], &device);
            let (mut in_host, mut in_tensors) = (ParamState::of(rule, named), ParamState::of(rule, named));
            let (mut param, mut as_tensor) = (values(0), tensor(values(0)));
            for step in 1..6 {
                let update = (rule.prepare)(&group, &mut in_host).unwrap();
                let state = in_host.buffers(update.state(), 0).unwrap();
                let place = |to| Place { to, from: None };
                let state = state.into_iter().map(|buffer| place(buffer.values(len).unwrap())).collect();
                let grad = values(step);
                update.host(Elements::F32(Slices { param: place(&mut param), grad: &grad, state })).unwrap();

                let update = (rule.prepare)(&group, &mut in_tensors).unwrap();
                let mut state = in_tensors.buffers(update.state(), 0).unwrap();
                let taken = state.iter_mut().map(|buffer| buffer.take(len, BurnDType::F32, &device).unwrap()).collect();
                let (updated, after) = update.tensor(as_tensor, tensor(values(step)), taken).unwrap();
                state.into_iter().zip(after).for_each(|(buffer, tensor)| buffer.put(tensor));
                as_tensor = updated;

                let found = as_tensor.to_data().try_into_vec::<f32>().unwrap();
                for (place, (a, b)) in found.iter().zip(&param).enumerate() {
                    // Four units in the last place of 1, the largest element.
                    let apart = (a - b).abs();
                    assert!(
                        apart <= 4.0 * f32::EPSILON,
                        "{kind}, {}, step {step}, {place}: {a:e} and {b:e}",
                        named.name
                    );
                }
            }
        }
    }
}
