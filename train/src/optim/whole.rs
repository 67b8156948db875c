//! Parameters as PyTorch has them: taken out of a model, each as one row of elements in PyTorch's order, whatever pieces
//! Burn keeps it in and however they lie, and put back. For updates that need a parameter's rows and columns, or its norm, or
//! all parameters at once.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Shape, Tensor};
use rekindle_burn::{NamedParameter, Piece, Transform};
use rekindle_recorder::{Error, Result};

use super::elementwise::Update;
use super::optimizer::{Optimizer, Parameter};
use super::step::{apply, in_host_memory};
use crate::attributes::invalid;

/// Which parameter, and which piece of it, a Burn parameter is.
pub(super) type Places = HashMap<ParamId, (usize, usize)>;

/// A parameter and its gradient.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) param: Tensor<1>,
    /// Zeros where a piece of a parameter has none.
    pub(super) grad: Tensor<1>,
}

impl Optimizer {
    /// Runs an update for each parameter that has one.
    pub(super) fn step_whole<M: Module>(
        &mut self,
        model: M,
        updates: &[Option<Box<dyn Update>>],
        grads: &Gradients,
    ) -> Result<M> {
        let taken = take(&model, &self.parameters, &self.places, grads, |place| updates[place].is_some())?;
        let mut values = Vec::with_capacity(taken.len());
        for ((taken, update), parameter) in taken.into_iter().zip(updates).zip(&mut self.parameters) {
            values.push(match (taken, update) {
                (Some(Taken { param, grad }), Some(update)) => {
                    let state = parameter.state.buffers(update.state(), 0)?;
                    let in_place = in_host_memory(&param.device()) && !self.op_by_op;
                    Some(apply(&**update, param, grad, state, in_place)?)
                }
                _ => None,
            });
        }
        put(model, &self.parameters, &self.places, values)
    }
}

/// The parameters that are wanted, with their gradients.
pub(super) fn take<M: Module>(
    model: &M,
    parameters: &[Parameter],
    places: &Places,
    grads: &Gradients,
    wanted: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Taken>>> {
    let pieces = parameters.iter().enumerate().map(|(place, parameter)| {
        let count = if wanted(place) { parameter.named.pieces.len() } else { 0 };
        vec![None; count]
    });
    let mut take = Take { parameters, places, grads, pieces: pieces.collect() };
    model.visit(&mut take);
    let whole = take.pieces.into_iter().zip(parameters).map(|(pieces, parameter)| {
        if pieces.is_empty() {
            return Ok(None);
        }
        let pieces: Vec<Taken> = pieces.into_iter().collect::<Option<_>>().ok_or_else(|| gone(&parameter.named))?;
        let (params, grads) = pieces.into_iter().map(|Taken { param, grad }| (param, grad)).unzip();
        Ok(Some(Taken { param: join(&parameter.named, params), grad: join(&parameter.named, grads) }))
    });
    whole.collect()
}

fn gone(parameter: &NamedParameter) -> Error {
    invalid(format!("the optimizer's parameter '{}' is not in this model", parameter.name))
}

/// Puts new values in the place of parameters; those without one stay as they are.
pub(super) fn put<M: Module>(
    model: M,
    parameters: &[Parameter],
    places: &Places,
    values: Vec<Option<Tensor<1>>>,
) -> Result<M> {
    let split = |(value, parameter): (Option<Tensor<1>>, &Parameter)| match value {
        Some(value) => split(&parameter.named, value),
        None => Vec::new(),
    };
    let pieces = values.into_iter().zip(parameters).map(split).collect();
    Ok(model.map(&mut Put { parameters, places, pieces }))
}

/// Where each parameter is.
pub(super) fn devices<M: Module>(model: &M, parameters: &[Parameter], places: &Places) -> Vec<Option<Device>> {
    struct Find<'a>(&'a Places, Vec<Option<Device>>);

    impl ModuleVisitor for Find<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(&(place, _)) = self.0.get(&param.id) {
                self.1[place] = Some(param.base().inner().device());
            }
        }
    }

    let mut find = Find(places, vec![None; parameters.len()]);
    model.visit(&mut find);
    find.1
}

struct Take<'a> {
    parameters: &'a [Parameter],
    places: &'a Places,
    grads: &'a Gradients,
    /// Of each parameter; none for those that are not wanted.
    pieces: Vec<Vec<Option<Taken>>>,
}

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(&(place, piece)) = self.places.get(&param.id) else { return };
        // A parameter that occurs several times is the same each time.
        let Some(slot @ None) = self.pieces[place].get_mut(piece) else { return };
        let transform = self.parameters[place].named.pieces[piece].transform;
        let tensor = param.base();
        let grad = tensor.grad(self.grads);
        let tensor = tensor.inner();
        let grad = grad.unwrap_or_else(|| tensor.zeros_like());
        *slot = Some(Taken { param: to_torch(tensor, transform), grad: to_torch(grad, transform) });
    }
}

struct Put<'a> {
    parameters: &'a [Parameter],
    places: &'a Places,
    pieces: Vec<Vec<Tensor<1>>>,
}

impl ModuleMapper for Put<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(&(place, piece)) = self.places.get(&param.id) else { return param };
        let Some(value) = self.pieces[place].get(piece) else { return param };
        let transform = self.parameters[place].named.pieces[piece].transform;
        let (id, tensor, mapper) = param.consume();
        let value = from_torch(value.clone(), transform, tensor.shape());
        let value = Tensor::from_inner(value).set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, value, mapper)
    }
}

/// A piece's elements in PyTorch's order.
fn to_torch<const D: usize>(tensor: Tensor<D>, transform: Transform) -> Tensor<1> {
    let len = tensor.shape().num_elements();
    match transform {
        Transform::Transpose => tensor.swap_dims(0, 1).reshape([len]),
        // No other one moves elements.
        _ => tensor.reshape([len]),
    }
}

/// Back to Burn's order and shape.
fn from_torch<const D: usize>(elements: Tensor<1>, transform: Transform, shape: Shape) -> Tensor<D> {
    match (transform, &shape[..]) {
        (Transform::Transpose, &[rows, columns]) => {
            elements.reshape([columns, rows]).swap_dims(0, 1).reshape([rows, columns]).reshape(shape)
        }
        _ => elements.reshape(shape),
    }
}

/// How often a run of a piece's elements comes in the whole: as often as there are places before the axis.
fn runs(parameter: &NamedParameter) -> usize {
    parameter.shape.iter().take(parameter.axis).product()
}

fn join(parameter: &NamedParameter, mut pieces: Vec<Tensor<1>>) -> Tensor<1> {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let runs = runs(parameter);
    let pieces: Vec<Tensor<2>> = pieces
        .into_iter()
        .map(|piece| {
            let len = piece.dims()[0];
            piece.reshape([runs, len / runs.max(1)])
        })
        .collect();
    let whole = Tensor::cat(pieces, 1);
    let len = whole.shape().num_elements();
    whole.reshape([len])
}

fn split(parameter: &NamedParameter, whole: Tensor<1>) -> Vec<Tensor<1>> {
    if parameter.pieces.len() == 1 {
        return vec![whole];
    }
    let (runs, all) = (runs(parameter), whole.dims()[0]);
    let whole: Tensor<2> = whole.reshape([runs, all / runs.max(1)]);
    let mut start = 0;
    let mut piece = |piece: &Piece| {
        let len: usize = piece.shape.iter().product();
        let run = len / runs.max(1);
        let part = whole.clone().narrow(1, start, run).reshape([len]);
        start += run;
        part
    };
    parameter.pieces.iter().map(&mut piece).collect()
}

/// An error of a device.
pub(super) fn unreadable(error: impl std::fmt::Display) -> Error {
    invalid(format!("a parameter or its gradient cannot be read from its device: {error}"))
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::DType as BurnDType;
    use rekindle_burn::{LayerRows, ModuleStateDict as _, Part, Row};

    use super::*;
    use crate::optim::state::ParamState;
    use crate::optim::{Hyperparameters, OptimizerKind, ParamGroup};

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
        let hyperparameters = Hyperparameters::of(OptimizerKind::Adafactor);
        let group = hyperparameters.group(&[], None, 0);
        let optimizer = Optimizer::arranged(hyperparameters, true, [(members, group)]).unwrap();
        let (parameters, places) = (&optimizer.parameters, &optimizer.places);

        let elements = |tensor: Tensor<1>| tensor.into_data().try_into_vec::<f32>().unwrap();
        // The gradient of the first piece only.
        let grads = (gates.a.val() * gates.a.val()).sum().backward();
        let taken = take(&gates, parameters, places, &grads, |place| place == 0).unwrap();
        assert!(taken[1].is_none());
        let taken = taken[0].clone().unwrap();
        let expected = [1.0, 2.0, 3.0, 7.0, 8.0, 4.0, 5.0, 6.0, 9.0, 10.0];
        assert_eq!(elements(taken.param.clone()), expected);
        assert_eq!(elements(taken.grad), [2.0, 4.0, 6.0, 0.0, 0.0, 8.0, 10.0, 12.0, 0.0, 0.0]);

        let gates = put(gates, parameters, places, vec![Some(taken.param * 2.0), None]).unwrap();
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
            if rule.admit(named).is_err() {
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
                let update = rule.prepare(&group, &mut in_host).unwrap();
                let state = in_host.buffers(update.state(), 0).unwrap();
                let state = state.into_iter().map(|buffer| buffer.f32(len).unwrap()).collect();
                update.f32(&mut param, &values(step), state).unwrap();

                let update = rule.prepare(&group, &mut in_tensors).unwrap();
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
