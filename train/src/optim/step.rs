//! A step by updates that treat each element by itself: parameters and gradients are taken out of the model, updated, and put
//! back. Those in host memory all at once, shared out among the cores; those elsewhere one after the other, by the operations
//! of their device.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType as BurnDType, Device, Gradients, Shape, Tensor};
use rayon::prelude::*;
use rekindle_recorder::Result;

use super::Optimizer;
use super::elementwise::{PART, Update};
#[cfg(feature = "learner")]
use super::group::{Hyperparameters, ParamGroup};
use super::optimizer::Parameter;
use super::state::Buffer;
#[cfg(feature = "learner")]
use super::state::ParamState;
use super::whole::{Places, unreadable};

/// What a look at the model tells before a step.
pub(super) struct Survey {
    /// How often each Burn parameter occurs.
    pub(super) seen: HashMap<ParamId, usize>,
    /// Of each parameter, whether any piece of it has a gradient.
    pub(super) started: Vec<bool>,
}

/// Looks at a model with the gradients of a backward pass.
pub(super) fn survey<M: Module>(model: &M, places: &Places, parameters: usize, grads: &Gradients) -> Survey {
    struct Look<'a> {
        places: &'a Places,
        grads: &'a Gradients,
        survey: Survey,
    }

    impl ModuleVisitor for Look<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Survey { seen, started } = &mut self.survey;
            *seen.entry(param.id).or_default() += 1;
            if let Some((place, _)) = self.places.get(&param.id)
                && !started[*place]
            {
                started[*place] = param.base().grad(self.grads).is_some();
            }
        }
    }

    let survey = Survey { seen: HashMap::new(), started: vec![false; parameters] };
    let mut look = Look { places, grads, survey };
    model.visit(&mut look);
    look.survey
}

impl Optimizer {
    /// Runs an update for each parameter that has one. `seen` is how often each Burn parameter occurs.
    pub(super) fn step_elements<M: Module>(
        &mut self,
        model: M,
        updates: &[Option<Box<dyn Update>>],
        grads: &mut Gradients,
        seen: HashMap<ParamId, usize>,
    ) -> Result<M> {
        let jobs = updates.iter().map(|_| Vec::new()).collect();
        let mut take = Take { places: &self.places, updates, grads, jobs };
        let model = model.map(&mut take);

        let work = take.jobs.into_iter().zip(updates).zip(&mut self.parameters);
        let (here, elsewhere): (Vec<_>, Vec<_>) = work
            .filter_map(|((jobs, update), parameter)| Some((jobs, &**update.as_ref()?, parameter)))
            .partition(|(jobs, ..)| !self.op_by_op && jobs.iter().all(|job| in_host_memory(&job.param.device())));
        let mut updated = HashMap::new();
        for (jobs, update, parameter) in elsewhere {
            updated.extend(run(jobs, update, parameter, false)?);
        }
        let in_place = |(jobs, update, parameter)| run(jobs, update, parameter, true);
        // Too little is not worth waking the other cores; they give gradients back on the way, too.
        let elements: usize = here.iter().flat_map(|(jobs, ..)| jobs).map(|job| job.back.shape.num_elements()).sum();
        let here: Vec<_> = if elements <= PART {
            here.into_iter().map(in_place).collect::<Result<_>>()?
        } else {
            here.into_par_iter().map(in_place).collect::<Result<_>>()?
        };
        updated.extend(here.into_iter().flatten());
        Ok(model.map(&mut Put { updated, seen, tied: HashMap::new() }))
    }
}

/// A piece of a parameter that is to be updated.
struct Job {
    id: ParamId,
    piece: usize,
    param: Tensor<1>,
    grad: Tensor<1>,
    back: Back,
}

/// How the model has a tensor.
struct Back {
    shape: Shape,
    requires_grad: bool,
}

/// Takes out of a model what is to be updated, so that nothing else holds it.
struct Take<'a> {
    places: &'a Places,
    updates: &'a [Option<Box<dyn Update>>],
    grads: &'a mut Gradients,
    /// Of each parameter.
    jobs: Vec<Vec<Job>>,
}

impl ModuleMapper for Take<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(&(place, piece)) = self.places.get(&param.id) else { return param };
        if self.updates[place].is_none() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let jobs = &mut self.jobs[place];
        let grad = tensor.grad_remove(self.grads);
        let back = Back { shape: tensor.shape(), requires_grad: tensor.is_require_grad() };
        let tensor = tensor.inner();
        let device = tensor.device();
        // A parameter that occurs several times is the same each time.
        if jobs.iter().all(|job| job.id != id) {
            let len = back.shape.num_elements();
            // A tensor of which one piece has no gradient has one of zeros there in PyTorch.
            let grad = grad.unwrap_or_else(|| tensor.zeros_like()).reshape([len]);
            jobs.push(Job { id, piece, param: tensor.reshape([len]), grad, back });
        }
        Param::from_mapped_value(id, Tensor::empty([1; D], &device), mapper)
    }
}

fn run(
    jobs: Vec<Job>,
    update: &dyn Update,
    parameter: &mut Parameter,
    in_place: bool,
) -> Result<Vec<(ParamId, (Tensor<1>, Back))>> {
    let run = |Job { id, piece, param, grad, back }| {
        let state = parameter.state.buffers(update.state(), piece)?;
        Ok((id, (apply(update, param, grad, state, in_place)?, back)))
    };
    jobs.into_iter().map(run).collect()
}

/// Puts back what was updated.
struct Put {
    updated: HashMap<ParamId, (Tensor<1>, Back)>,
    seen: HashMap<ParamId, usize>,
    /// Parameters that occur several times: the tensor that all of them are.
    tied: HashMap<ParamId, Box<dyn Any>>,
}

impl ModuleMapper for Put {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if let Some(tensor) = self.tied.get(&param.id).and_then(|tensor| tensor.downcast_ref::<Tensor<D>>()) {
            let (id, _, mapper) = param.consume();
            return Param::from_mapped_value(id, tensor.clone(), mapper);
        }
        let Some((tensor, back)) = self.updated.remove(&param.id) else { return param };
        let (id, _, mapper) = param.consume();
        let tensor = Tensor::from_inner(tensor.reshape(back.shape)).set_require_grad(back.requires_grad);
        if self.seen.get(&id).is_some_and(|times| *times > 1) {
            self.tied.insert(id, Box::new(tensor.clone()));
        }
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Runs an update over a tensor: in place, if it lies in host memory, or by tensor operations.
pub(super) fn apply<const D: usize>(
    update: &dyn Update,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    state: Vec<&mut Buffer>,
    in_place: bool,
) -> Result<Tensor<D>> {
    let (device, dtype, shape) = (tensor.device(), tensor.dtype(), tensor.shape());
    let len = shape.num_elements();
    if !in_place {
        let mut state = state;
        let taken = state.iter_mut().map(|buffer| buffer.take(len, dtype, &device)).collect::<Result<_>>()?;
        let (tensor, after) = update.tensor(tensor.reshape([len]), grad.reshape([len]), taken)?;
        state.into_iter().zip(after).for_each(|(buffer, tensor)| buffer.put(tensor));
        return Ok(tensor.reshape(shape));
    }
    let mut data = tensor.try_into_data().map_err(unreadable)?;
    let grad = grad.try_into_data().map_err(unreadable)?;
    match dtype {
        BurnDType::F64 => {
            let state = state.into_iter().map(|buffer| buffer.f64(len)).collect::<Result<_>>()?;
            update.f64(data.as_mut_slice().map_err(unreadable)?, grad.as_slice().map_err(unreadable)?, state)?;
        }
        _ => {
            let state = state.into_iter().map(|buffer| buffer.f32(len)).collect::<Result<_>>()?;
            update.f32(data.as_mut_slice().map_err(unreadable)?, grad.as_slice().map_err(unreadable)?, state)?;
        }
    }
    Ok(Tensor::from_data(data, (&device, dtype)))
}

/// One step of one tensor by itself, whose state this is.
#[cfg(feature = "learner")]
pub(crate) fn step_alone<const D: usize>(
    hyperparameters: &Hyperparameters,
    lr: f64,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    state: &mut ParamState,
) -> Result<Tensor<D>> {
    let Hyperparameters { rule, defaults } = hyperparameters;
    let mut attributes = defaults.clone();
    attributes.set("lr", lr);
    if state.is_empty() {
        rule.begin(defaults, state)?;
    }
    let update = rule.prepare(&ParamGroup::new(attributes, 0..1), state)?;
    let in_place = in_host_memory(&tensor.device());
    apply(&*update, tensor, grad, state.buffers(update.state(), 0)?, in_place)
}

/// Whether tensors of this device can be taken out and put back without a copy.
#[cfg(feature = "flex")]
pub(crate) fn in_host_memory(device: &Device) -> bool {
    matches!(device.as_dispatch(), burn::backend::DispatchDevice::Flex(_))
}

#[cfg(not(feature = "flex"))]
pub(crate) fn in_host_memory(_: &Device) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use rekindle_random::{Generator, uniform_};

    use super::*;
    use crate::optim::SgdOptions;

    #[derive(Module, Debug)]
    struct Tied {
        wide: Param<Tensor<2>>,
        first: Param<Tensor<1>>,
        again: Param<Tensor<1>>,
        frozen: Param<Tensor<1>>,
        unused: Param<Tensor<1>>,
    }

    impl Tied {
        /// With so many rows.
        fn new(rows: usize) -> Self {
            let device = Device::flex().autodiff();
            let mut generator = Generator::new(1);
            let mut draw = |count| {
                let mut values = vec![0.0_f32; count];
                uniform_(&mut generator, &mut values, -1.0, 1.0).unwrap();
                Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
            };
            let first = Param::from_tensor(draw(500));
            Tied {
                wide: Param::from_tensor(draw(rows * 500).reshape([rows, 500])),
                again: first.clone(),
                first,
                frozen: Param::from_tensor(draw(500)).no_grad(),
                unused: Param::from_tensor(draw(500)),
            }
        }

        /// Half the sum of squares of all but what is not used; what is tied counts twice.
        fn loss(&self) -> Tensor<1> {
            let half = |tensor: Tensor<1>| tensor.powi_scalar(2).sum() * 0.5;
            let wide = self.wide.val();
            let len = wide.shape().num_elements();
            half(wide.reshape([len])) + half(self.first.val()) + half(self.again.val()) + half(self.frozen.val())
        }

        fn values(&self) -> [Vec<f32>; 5] {
            let values = |tensor: Tensor<1>| tensor.inner().into_data().try_into_vec::<f32>().unwrap();
            let len = self.wide.shape().num_elements();
            let wide = values(self.wide.val().reshape([len]));
            [
                wide,
                values(self.first.val()),
                values(self.again.val()),
                values(self.frozen.val()),
                values(self.unused.val()),
            ]
        }
    }

    #[test]
    fn many_elements_are_updated_as_few_are_and_what_is_tied_stays_tied() {
        // 2 rows are updated on this thread, 400 by all cores.
        for rows in [2, 400] {
            let mut model = Tied::new(rows);
            let mut optimizer = Optimizer::sgd(&model, SgdOptions { lr: 0.25, ..Default::default() }).unwrap();
            for _ in 0..2 {
                let [wide, first, _, frozen, unused] = model.values();
                let gradients = model.loss().backward();
                model = optimizer.step(model, gradients).unwrap();
                // Powers of two: nothing is rounded but by the update itself.
                let scaled = |values: Vec<f32>, by: f32| values.into_iter().map(|x| x * by).collect::<Vec<_>>();
                let tied = scaled(first, 0.5);
                assert_eq!(model.values(), [scaled(wide, 0.75), tied.clone(), tied, frozen, unused]);
            }
            assert_eq!(model.wide.shape().as_slice(), [rows, 500]);
            assert!(model.first.val().is_require_grad() && !model.frozen.val().is_require_grad());
        }
    }
}
