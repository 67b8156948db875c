//! A step that a closure is called in, which evaluates the model: LBFGS asks for it as often as it needs.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor, TensorData};
use rayon::prelude::*;
use rekindle_recorder::{DType, Error, Result};

use super::array::{Array as _, Real, in_a_row};
use super::lbfgs::{Memory, Numbers, Objective, Settings, minimize};
use super::optimizer::{Optimizer, Parameter, Places, list};
use super::pieces::Pieces;
use super::rule::View;
use crate::attributes::invalid;
use crate::parameters::{put, take, unreadable};

impl Optimizer {
    /// `optimizer.step(closure)`: makes one step with the loss and gradients that `closure` gives for a model, which LBFGS asks
    /// for as often as it needs; the other optimizers ask once. Gives the model back with its parameters updated, and the
    /// loss before the step.
    ///
    /// ```
    /// # use burn::nn::LinearConfig;
    /// # use burn::tensor::{Device, Tensor};
    /// # use rekindle_train::optim::{LbfgsOptions, LineSearch, Optimizer};
    /// # let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(3, 2).init(&device);
    /// let options = LbfgsOptions::default().line_search_fn(Some(LineSearch::StrongWolfe));
    /// let mut optimizer = Optimizer::builder(options).build(&model)?;
    ///
    /// let (model, loss) = optimizer.step_closure(model, |model| {
    ///     let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
    ///     let grads = loss.backward();
    ///     (loss, grads)
    /// })?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// LBFGS computes in host memory, wherever the model is.
    ///
    /// # Errors
    /// As [`Optimizer::step`]; for LBFGS also when the parameters are not of one type. The model is gone then;
    /// [`try_step_closure`](Self::try_step_closure) gives it back.
    pub fn step_closure<M: Module>(
        &mut self,
        model: M,
        mut closure: impl FnMut(&M) -> (Tensor<1>, Gradients),
    ) -> Result<(M, f64)> {
        let (model, loss) = self.try_step_closure(model, |model| Ok(closure(model)));
        loss.map(|loss| (model, loss))
    }

    /// As [`step_closure`](Self::step_closure), but the closure may fail, and a step that failed gives the model back, too.
    /// Neither the model nor the optimizer has changed then, unless a device failed on the way.
    ///
    /// # Errors
    /// The second value, as [`step_closure`](Self::step_closure), and what the closure fails with.
    pub fn try_step_closure<M: Module>(
        &mut self,
        model: M,
        mut closure: impl FnMut(&M) -> Result<(Tensor<1>, Gradients)>,
    ) -> (M, Result<f64>) {
        if self.rule().view == View::Closure && !self.parameters.is_empty() {
            let memory = self.memory.clone();
            return match self.minimized(model.clone(), closure) {
                Ok((model, loss)) => (model, Ok(loss)),
                Err(error) => {
                    self.memory = memory;
                    (model, Err(error))
                }
            };
        }
        let evaluated = self
            .check_model(&model)
            .and_then(|()| closure(&model))
            .and_then(|(loss, grads)| Ok((loss.try_into_scalar::<f64>().map_err(unreadable)?, grads)));
        match evaluated {
            Ok((loss, grads)) => {
                let (model, done) = self.try_step(model, grads);
                (model, done.map(|()| loss))
            }
            Err(error) => (model, Err(error)),
        }
    }

    /// A step of LBFGS.
    fn minimized<M: Module>(
        &mut self,
        model: M,
        closure: impl FnMut(&M) -> Result<(Tensor<1>, Gradients)>,
    ) -> Result<(M, f64)> {
        self.check_model(&model)?;
        let dtype = self.parameters().next().map_or(DType::Float32, |first| first.dtype);
        if let Some(other) = self.parameters().find(|named| named.dtype != dtype) {
            let what = format!("LBFGS over parameters of {dtype} and of {} ('{}')", other.dtype, other.name);
            return Err(Error::unsupported(what));
        }
        let settings = Settings::of(&self.groups[0])?;
        let maximize = settings.maximize;
        let mut evaluated = Evaluated {
            model,
            closure,
            parameters: &self.parameters,
            places: &self.places,
            maximize,
            pieces: Vec::new(),
        };
        let memory = self.memory.get_or_insert_with(|| Memory::new(dtype));
        let start = match memory.numbers() {
            Numbers::F64(kept) => minimize(&mut evaluated, &settings, kept)?,
            Numbers::F32(kept) => minimize(&mut evaluated, &settings, kept)?,
        };
        memory.list();
        let model = evaluated.model;
        list(&mut self.order, 0);
        Ok((model, if maximize { -start } else { start }))
    }
}

/// The closure's loss, or what it lacks of a gain, as a function of the model's parameters.
struct Evaluated<'a, M, C> {
    model: M,
    closure: C,
    parameters: &'a [Parameter],
    places: &'a Places,
    maximize: bool,
    /// Of each parameter, as it was evaluated last.
    pieces: Vec<Pieces>,
}

impl<T: Real, M: Module, C: FnMut(&M) -> Result<(Tensor<1>, Gradients)>> Objective<T> for Evaluated<'_, M, C> {
    fn here(&mut self) -> Result<(f64, Vec<T>)> {
        let (loss, mut grads) = (self.closure)(&self.model)?;
        let loss = loss.try_into_scalar::<f64>().map_err(unreadable)?;
        let mut taken = take(&self.model, &mut grads, |id| self.places.contains_key(&id))?;
        let mut gradients = Vec::new();
        self.pieces.clear();
        for Parameter { named, .. } in self.parameters {
            let Some(mut pieces) = Pieces::of(named, &mut taken)? else {
                return Err(invalid(format!("the optimizer's parameter '{}' is not in this model", named.name)));
            };
            gradients.push(pieces.join_gradient(named)?);
            self.pieces.push(pieces);
        }
        let grad = flat(gradients)?;
        Ok(if self.maximize { (-loss, grad.neg()) } else { (loss, grad) })
    }

    fn params(&self) -> Result<Vec<T>> {
        let named = self.parameters.iter().map(|parameter| &parameter.named);
        let joined = named.zip(&self.pieces).map(|(named, pieces)| pieces.join_param(named));
        flat(joined.collect::<Result<_>>()?)
    }

    fn go(&mut self, params: &[T]) -> Result<()> {
        let (mut rest, mut parts) = (params, Vec::new());
        for pieces in &self.pieces {
            let Some((values, others)) = rest.split_at_checked(pieces.elements()) else {
                return Err(invalid("LBFGS lost parameters"));
            };
            parts.push(values);
            rest = others;
        }
        let parts: Vec<Vec<T>> = parts.into_par_iter().map(<[T]>::to_vec).collect();
        for ((Parameter { named, .. }, pieces), values) in self.parameters.iter().zip(&mut self.pieces).zip(parts) {
            let device = pieces.params().next().map(Tensor::device);
            if let Some(device) = device {
                let len = values.len();
                let data = TensorData::new(values, [len]);
                pieces.split(named, Tensor::from_data(data, (&device, <T as burn::tensor::Element>::dtype())))?;
            }
        }
        let values = self.pieces.iter().flat_map(Pieces::values).collect();
        self.model = put(self.model.clone(), values);
        Ok(())
    }
}

/// All elements of tensors, in a row.
fn flat<T: Real>(tensors: Vec<Tensor<1>>) -> Result<Vec<T>> {
    let data = |tensor: Tensor<1>| Ok(tensor.try_into_data().map_err(unreadable)?.convert::<T>());
    let data: Vec<TensorData> = tensors.into_iter().map(data).collect::<Result<_>>()?;
    let parts: Vec<&[T]> = data.iter().map(|data| data.as_slice().map_err(unreadable)).collect::<Result<_>>()?;
    Ok(in_a_row(&parts))
}
