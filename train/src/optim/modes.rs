//! The modes of an optimizer that evaluates other weights than it trains: schedule-free ones, whose model has the weights that
//! gradients are taken at, or their average.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use rekindle_recorder::{Result, Value};

use super::number::Number;
use super::optimizer::Optimizer;
use crate::attributes::invalid;

const TRAIN_MODE: &str = "train_mode";

impl Optimizer {
    /// `optimizer.train()`: the model with the weights that are trained, where it has those that are evaluated; a schedule-free
    /// optimizer makes steps in this mode only. Other optimizers have no modes, and leave the model as it is.
    ///
    /// ```
    /// # use rekindle_train::optim::{AdamWScheduleFreeOptions, Optimizer};
    /// # use burn::tensor::{Device, Tensor};
    /// # let device = Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// let mut optimizer = Optimizer::adamw_schedule_free(&model, AdamWScheduleFreeOptions::default())?;
    /// let model = optimizer.train(model)?;
    /// let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
    /// let model = optimizer.step(model, loss.backward())?;
    /// let model = optimizer.eval(model)?; // to evaluate, or to save
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model is not the one the optimizer was made for. It is gone then.
    pub fn train<M: Module>(&mut self, model: M) -> Result<M> {
        self.change_mode(model, true)
    }

    /// `optimizer.eval()`: the model with the weights that are evaluated, where it has those that are trained.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn eval<M: Module>(&mut self, model: M) -> Result<M> {
        self.change_mode(model, false)
    }

    /// Whether the model has other weights than those that are trained, so that [`train`](Self::train) must come before the next
    /// step.
    #[must_use]
    pub fn is_evaluating(&self) -> bool {
        self.rule().averages.is_some_and(|iterate| {
            self.groups.iter().any(|group| {
                let members = &self.parameters[group.params()];
                !group.is_set(TRAIN_MODE).unwrap_or(false)
                    && members.iter().any(|parameter| parameter.state.has_moment(iterate))
            })
        })
    }

    /// Model and [`state_dict`](Self::state_dict) as they are after [`eval`](Self::eval).
    ///
    /// # Errors
    /// When the model is not the one the optimizer was made for, or state cannot be read from its device.
    pub fn evaluated<M: Module>(&self, model: &M) -> Result<(M, Value)> {
        let state_dict = self.state_dict(model)?;
        let evaluated = self.mixed(model.clone(), false)?;
        if self.rule().averages.is_some() {
            let groups = state_dict.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
            groups.iter().filter_map(Value::as_dict).for_each(|group| drop(group.insert(TRAIN_MODE, false)));
        }
        Ok((evaluated, state_dict))
    }

    /// Goes into training mode where that changes no weight: before the first step.
    pub(super) fn start_training(&mut self) -> Result<()> {
        if self.is_evaluating() {
            return Err(invalid(format!(
                "{} is in evaluation mode: the model has the average of the weights, and steps are made of others; call \
                 `Optimizer::train` first",
                self.kind()
            )));
        }
        if self.rule().averages.is_some() {
            self.groups.iter_mut().for_each(|group| group.set(TRAIN_MODE, true));
        }
        Ok(())
    }

    fn change_mode<M: Module>(&mut self, model: M, train: bool) -> Result<M> {
        if self.rule().averages.is_none() {
            return Ok(model);
        }
        let model = self.mixed(model, train)?;
        self.groups.iter_mut().for_each(|group| group.set(TRAIN_MODE, train));
        Ok(model)
    }

    /// The weights of the groups that are in the other mode.
    pub(crate) fn mixed<M: Module>(&self, model: M, train: bool) -> Result<M> {
        let Some(iterate) = self.rule().averages else { return Ok(model) };
        self.check_model(&model)?;
        let mut ends = HashMap::new();
        for group in &self.groups {
            if group.is_set(TRAIN_MODE)? == train {
                continue;
            }
            let beta1 = group.pair("betas")?.0;
            let weight = if train { 1.0 - beta1 } else { 1.0 - 1.0 / beta1 };
            for parameter in &self.parameters[group.params()] {
                for (place, piece) in parameter.named.pieces.iter().enumerate() {
                    let end = parameter.state.piece(iterate, place, piece.shape.iter().product())?;
                    ends.extend(end.map(|end| (piece.id, (end, weight))));
                }
            }
        }
        Ok(model.map(&mut Mix { ends }))
    }
}

/// `param.lerp_(end, weight)`.
struct Mix {
    ends: HashMap<ParamId, (TensorData, f64)>,
}

impl ModuleMapper for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((end, weight)) = self.ends.get(&param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let (autodiff, requires_grad) = (tensor.is_autodiff(), tensor.is_require_grad());
        let (shape, tensor) = (tensor.shape(), tensor.inner());
        let end = Tensor::<1>::from_data(end.clone(), (&tensor.device(), tensor.dtype()));
        let mixed =
            if end.dims()[0] == 0 { tensor } else { tensor.flatten(0, D - 1).lerp(end, *weight).reshape(shape) };
        let mixed = if autodiff { Tensor::from_inner(mixed) } else { mixed };
        Param::from_mapped_value(id, mixed.set_require_grad(requires_grad), mapper)
    }
}
