//! Gradients as Burn's backward pass leaves them, by parameter: summed over several passes, and rewritten before a step.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor};
use rekindle_burn::{NamedParameter, data_to_tensor, tensor_to_data};
use rekindle_recorder::{Error, Result, Value};

use crate::attributes::{invalid, wrong_type};
use crate::parameters::{Taken, ids, put_gradients, take};

/// Adds the gradients of a backward pass to those of passes before it: what `loss.backward()` does in PyTorch while nobody
/// calls `zero_grad()`.
///
/// As there, gradients are summed: for the mean over several batches, divide each loss by their number. The model must be
/// the same all the while; a step makes another one of it, and its gradients begin anew.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use rekindle_train::gradients::accumulate;
/// use rekindle_train::optim::{Optimizer, SgdOptions};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 2).init(&device);
/// let mut optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
/// let loss = |batch: f32| model.forward(Tensor::<2>::full([4, 3], batch, &device)).powf_scalar(2.0).mean() / 2.0;
///
/// let grads = loss(1.0).backward();
/// let grads = accumulate(&model, grads, loss(2.0).backward());
/// let model = optimizer.step(model, grads)?;
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[must_use]
pub fn accumulate<M: Module>(model: &M, sum: Gradients, mut grads: Gradients) -> Gradients {
    let mut adder = Adder { sum, grads: &mut grads };
    model.visit(&mut adder);
    adder.sum
}

/// Leaf by leaf: of a parameter in several fields each keeps its own.
struct Adder<'a> {
    sum: Gradients,
    grads: &'a mut Gradients,
}

impl ModuleVisitor for Adder<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        // Of two fields that are one leaf, the second finds nothing left to add.
        if let Some(grad) = tensor.grad_remove(self.grads) {
            let grad = match tensor.grad_remove(&mut self.sum) {
                Some(sum) => sum + grad,
                None => grad,
            };
            tensor.grad_replace(&mut self.sum, grad);
        }
    }
}

/// The gradients of the passes since the last step.
#[derive(Default)]
pub(crate) struct Pending(Option<Gradients>);

impl Pending {
    pub(crate) fn add<M: Module>(&mut self, model: &M, grads: Gradients) {
        self.0 = Some(match self.0.take() {
            Some(sum) => accumulate(model, sum, grads),
            None => grads,
        });
    }

    pub(crate) fn take(&mut self) -> Option<Gradients> {
        self.0.take()
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.0.is_some()
    }

    /// Those of a model, one after the other as its fields come, `None` for a field without; nothing where there are none at all.
    ///
    /// # Errors
    /// When one cannot be read from its device.
    pub(crate) fn listed<M: Module>(&self, model: &M) -> Result<Option<Value>> {
        struct List<'a> {
            grads: &'a Gradients,
            found: Vec<Value>,
            error: Option<Error>,
        }

        impl ModuleVisitor for List<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let grad = param.base().grad(self.grads).map(|grad| {
                    let data = grad.try_into_data().map_err(unreadable)?;
                    data_to_tensor(data)
                });
                match grad.transpose() {
                    Ok(grad) => self.found.push(grad.into()),
                    Err(error) => self.error = self.error.take().or(Some(error)),
                }
            }
        }

        let Some(grads) = &self.0 else { return Ok(None) };
        let mut list = List { grads, found: Vec::new(), error: None };
        model.visit(&mut list);
        match list.error {
            Some(error) => Err(error),
            None => Ok(Some(list.found.into())),
        }
    }

    /// Those that were [listed](Self::listed) of this model.
    ///
    /// # Errors
    /// When they are of another one.
    pub(crate) fn of_list<M: Module>(model: &M, list: &Value) -> Result<Self> {
        struct Put {
            list: std::vec::IntoIter<Value>,
            grads: Option<Gradients>,
            error: Option<Error>,
        }

        impl Put {
            fn put<const D: usize>(&mut self, tensor: &Tensor<D>) -> Result<()> {
                let other = || invalid("the gradients that wait for a step are of another model");
                let value = self.list.next().ok_or_else(other)?;
                let Some(grad) = value.as_tensor() else { return Ok(()) };
                if grad.shape() != tensor.shape().as_slice() {
                    return Err(other());
                }
                let data = tensor_to_data(grad)?;
                let dtype = data.dtype();
                let grad = Tensor::<D>::from_data(data, (&tensor.clone().inner().device(), dtype));
                // A backward pass of something else makes the container.
                let anything = || Tensor::<1>::ones([1], &tensor.device()).require_grad().backward();
                tensor.grad_replace(self.grads.get_or_insert_with(anything), grad);
                Ok(())
            }
        }

        impl ModuleVisitor for Put {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if self.error.is_none() {
                    self.error = self.put(&param.base()).err();
                }
            }
        }

        let list = list.items().ok_or_else(|| wrong_type("gradients", "a list", list))?;
        let mut put = Put { list: list.into_iter(), grads: None, error: None };
        model.visit(&mut put);
        match put.error {
            Some(error) => Err(error),
            None if put.list.next().is_some() => {
                Err(invalid("the gradients that wait for a step are of another model"))
            }
            None => Ok(Pending(put.grads)),
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Pending(gradients)" } else { "Pending(none)" })
    }
}

/// Puts in the place of the gradient of each of these parameters that has one what a function makes of it: flat, and of a
/// parameter in several fields the sum.
///
/// # Errors
/// As [`take`].
pub(crate) fn for_each<'a, M: Module>(
    model: &M,
    parameters: impl IntoIterator<Item = &'a NamedParameter>,
    grads: &mut Gradients,
    mut function: impl FnMut(ParamId, Tensor<1>) -> Tensor<1>,
) -> Result<()> {
    let wanted = ids(parameters);
    let taken = take(model, grads, |id| wanted.contains(&id))?;
    let changed =
        taken.into_iter().filter_map(|(id, Taken { grad, back, .. })| Some((id, (function(id, grad?), back))));
    let changed = changed.collect();
    put_gradients(model, grads, changed);
    Ok(())
}

/// A number that a gradient's elements make.
pub(crate) enum Reduced {
    Here(Result<f64>),
    /// On its device, where the tensors that follow need not wait for it.
    There(Tensor<1>),
}

impl Reduced {
    /// Of what lies in host memory.
    pub(crate) fn here(
        grad: Tensor<1>,
        of_floats: impl FnOnce(&[f32]) -> f64,
        of_doubles: impl FnOnce(&[f64]) -> f64,
    ) -> Self {
        Reduced::Here(grad.try_into_data().map_err(unreadable).map(|data| match data.as_slice::<f32>() {
            Ok(elements) => of_floats(elements),
            Err(_) => of_doubles(&data.iter::<f64>().collect::<Vec<_>>()),
        }))
    }

    pub(crate) fn read(self) -> Result<f64> {
        match self {
            Reduced::Here(number) => number,
            Reduced::There(tensor) => tensor.try_into_scalar::<f64>().map_err(|error| unreadable(format!("{error:?}"))),
        }
    }
}

fn unreadable(error: impl fmt::Display) -> Error {
    invalid(format!("a gradient cannot be read from its device: {error}"))
}
