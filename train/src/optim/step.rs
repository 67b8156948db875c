//! A step: parameters and gradients are taken out of the model, updated, and put back. All that can be refused is refused
//! before anything changes. What is in host memory is updated all at once, shared out among the cores; the rest one after the
//! other, by the operations of its device.

use std::borrow::BorrowMut;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType as BurnDType, Gradients, Tensor, TensorData, bf16, f16};
use rayon::prelude::*;
use rekindle_burn::NamedParameter;
use rekindle_recorder::Result;

use super::array::{Real, with_real};
use super::elementwise::{PART, Place, Slices, Update};
use super::group::ParamGroup;
use super::optimizer::{Optimizer, Parameter, list};
use super::pieces::Pieces;
#[cfg(feature = "learner")]
use super::registry::Hyperparameters;
use super::room::Room;
use super::rule::{Rule, View};
use super::state::{Buffer, Held, ParamState, missing};
use crate::attributes::invalid;
use crate::beside::Step;
#[cfg(feature = "learner")]
use crate::parameters::in_host_memory;
use crate::parameters::{elements_of, hollow, put, take, unreadable};

impl Optimizer {
    /// Whether memory is kept from step to step for what comes of parameters and state that something else holds, such as a checkpoint
    /// that is being written: as much again as what was held, and given back where this is called with `false`, or with the
    /// optimizer. Memory that is new to the process costs more than the copy into it. Default: it is not kept; a
    /// [`Run`](crate::Run) whose checkpoints are written in the background keeps it.
    pub fn keep_room(&mut self, keep: bool) {
        self.keeps_room = keep;
        if !keep {
            self.parameters.iter_mut().for_each(|parameter| parameter.room.keep(0, 0));
        }
    }

    /// Makes one step with the gradients of a backward pass, and gives the model back with its parameters updated. Where
    /// several optimizers share a model's parameters among them, give each `&mut gradients` of the same pass: each takes out
    /// those of its own parameters.
    ///
    /// Parameters on Burn's CPU backend that nothing else holds are updated where they lie, without a copy: keep no clone of
    /// the model over a step unless you need one. The gradients' memory is freed: with an allocator that gives it back to
    /// the system at once, as glibc's may, the next backward pass waits for new pages, and a step takes half as long again.
    ///
    /// Fields of the model that share a parameter's id are one parameter: it is updated with the sum of their gradients, and
    /// all of them hold it afterwards.
    ///
    /// # Errors
    /// When the model is not the one the optimizer was made for, a group has something else than the numbers that the
    /// optimizer needs, or its state does not fit its parameters; for LBFGS, which needs [`Optimizer::step_closure`]. The model
    /// is gone then; [`try_step`](Self::try_step) gives it back.
    pub fn step<M: Module>(&mut self, model: M, grads: impl BorrowMut<Gradients>) -> Result<M> {
        let (model, done) = self.try_step(model, grads);
        done.map(|()| model)
    }

    /// As [`step`](Self::step), but gives the model back from a step that failed, too.
    ///
    /// Neither the model nor the optimizer has changed then, unless a device failed on the way: the gradients are gone.
    ///
    /// ```
    /// # use burn::nn::LinearConfig;
    /// # use burn::tensor::{Device, Tensor};
    /// # use rekindle_train::optim::{Optimizer, SgdOptions};
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let mut optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    /// # let grads = |model: &burn::nn::Linear| model.forward(Tensor::<2>::ones([4, 3], &device)).sum().backward();
    /// optimizer.param_groups_mut()[0].set("lr", "fast");
    /// let gradients = grads(&model);
    /// let (model, done) = optimizer.try_step(model, gradients);
    /// assert!(done.is_err());
    ///
    /// optimizer.param_groups_mut()[0].set("lr", 0.1);
    /// let gradients = grads(&model);
    /// let model = optimizer.step(model, gradients)?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// The second value, as [`step`](Self::step).
    pub fn try_step<M: Module>(&mut self, model: M, mut grads: impl BorrowMut<Gradients>) -> (M, Result<()>) {
        let (view, op_by_op) = (self.rule().view, self.op_by_op);
        let mut jobs = match self.jobs(&model, grads.borrow_mut()) {
            Ok(jobs) => jobs,
            Err(error) => return (model, Err(error)),
        };
        let model = hollow(model, &jobs.iter().flat_map(|job| job.pieces.ids()).collect());
        let done = run(&mut jobs, view, op_by_op);
        (put(model, jobs.into_iter().flat_map(|job| job.pieces.into_values()).collect()), done)
    }

    /// An update for each parameter that has a gradient.
    fn jobs<M: Module>(&mut self, model: &M, grads: &mut Gradients) -> Result<Vec<Job<'_>>> {
        let mut taken = take(model, grads, |id| self.places.contains_key(&id))?;
        self.all_seen(|id| taken.contains_key(&id))?;
        let rule = self.rule();
        if rule.view == View::Closure {
            return Err(invalid(format!(
                "{} evaluates the model several times in a step: call step_closure in place of step",
                self.kind()
            )));
        }
        let pieces = self.parameters.iter().map(|Parameter { named, frozen, .. }| {
            Ok(Pieces::of(named, &mut taken)?.filter(|pieces| !frozen && pieces.has_gradient()))
        });
        let pieces: Vec<Option<Pieces>> = pieces.collect::<Result<_>>()?;
        self.start_training()?;
        let divide = clip(rule, &self.groups, &pieces)?;
        self.rehearse(&pieces)?;
        self.groups.iter_mut().try_for_each(rule.count)?;

        let defaults = &self.hyperparameters.defaults;
        let mut jobs = Vec::with_capacity(pieces.len());
        for ((place, parameter), pieces) in self.parameters.iter_mut().enumerate().zip(pieces) {
            let Some(pieces) = pieces else { continue };
            let new = parameter.state.is_empty();
            if new {
                (rule.begin)(defaults, &mut parameter.state)?;
            }
            parameter.state.divide = divide;
            let update = (rule.prepare)(&self.groups[parameter.group], &mut parameter.state)?;
            if new && !parameter.state.is_empty() {
                list(&mut self.order, place);
            }
            let places = if self.keeps_room { pieces.0.len() } else { 0 };
            parameter.room.keep(places, places * update.state().len());
            let Parameter { named, state, room, .. } = parameter;
            jobs.push(Job { named, state, room, update, pieces });
        }
        Ok(jobs)
    }

    /// Fails where preparing a step would, and has changed nothing then.
    fn rehearse(&self, pieces: &[Option<Pieces>]) -> Result<()> {
        let rule = self.rule();
        let mut rehearsed = vec![false; self.groups.len()];
        let mut groups = self.groups.clone();
        groups.iter_mut().try_for_each(rule.count)?;
        for (parameter, pieces) in self.parameters.iter().zip(pieces) {
            let Some(pieces) = pieces else { continue };
            let group = &groups[parameter.group];
            pieces.params().try_for_each(|param| (rule.runs_on)(&param.device()))?;
            if let Some(lacking) = parameter.state.lacks(rule, group)? {
                return Err(missing(lacking));
            }
            if !std::mem::replace(&mut rehearsed[parameter.group], true) {
                let mut state = ParamState::of(rule, &parameter.named);
                (rule.begin)(&self.hyperparameters.defaults, &mut state)?;
                (rule.prepare)(group, &mut state)?;
            }
        }
        Ok(())
    }
}

/// What all gradients are divided by in this step: 1 where their norm is small enough, `None` where they are not clipped.
fn clip(rule: &Rule, groups: &[ParamGroup], pieces: &[Option<Pieces>]) -> Result<Option<f64>> {
    let Some(max_norm) = (rule.clips)(groups)? else { return Ok(None) };
    let with_gradient: Vec<&Pieces> = pieces.iter().flatten().collect();
    let norms: Vec<f64> = with_gradient.iter().map(|pieces| pieces.norm_of_gradient()).collect::<Result<_>>()?;
    let round = |number: f64| with_gradient.iter().fold(number, |number, pieces| pieces.round(number));
    let norm = round(norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt());
    Ok(Some(round(norm / round(max_norm)).max(1.0)))
}

/// A parameter that is to be updated.
struct Job<'a> {
    named: &'a NamedParameter,
    state: &'a mut ParamState,
    room: &'a mut Room,
    update: Box<dyn Update>,
    pieces: Pieces,
}

fn run(jobs: &mut [Job], view: View, op_by_op: bool) -> Result<()> {
    let in_place = |job: &Job| !op_by_op && job.pieces.in_host_memory();
    if view == View::Whole {
        return jobs.iter_mut().try_for_each(|job| job.whole(in_place(job)));
    }
    let (here, elsewhere): (Vec<_>, Vec<_>) = jobs.iter_mut().partition(|job| in_place(job));
    elsewhere.into_iter().try_for_each(|job| job.elements(false))?;
    // Too little is not worth waking the other cores; they give gradients back on the way, too.
    if here.iter().map(|job| job.pieces.elements()).sum::<usize>() <= PART {
        here.into_iter().try_for_each(|job| job.elements(true))
    } else {
        let _step = Step::begin();
        here.into_par_iter().try_for_each(|job| job.elements(true))
    }
}

impl Job<'_> {
    /// Updates each piece where it lies.
    fn elements(&mut self, in_place: bool) -> Result<()> {
        if in_place && self.has_rest() {
            return self.in_order();
        }
        for (place, piece) in self.pieces.0.iter_mut().enumerate() {
            if let Some(grad) = piece.gradient() {
                let state = self.state.buffers(self.update.state(), place)?;
                apply(&*self.update, &mut piece.param, grad, state, self.room, in_place)?;
            }
        }
        Ok(())
    }

    /// Whether it has elements that are computed otherwise because of their place in PyTorch's order.
    fn has_rest(&self) -> bool {
        let vector = with_real!(self.named.dtype, T => T::VECTOR);
        !self.pieces.elements().is_multiple_of(vector) && self.named.shape.len() > 1
    }

    /// As [`elements`](Self::elements), with all of them in PyTorch's order.
    fn in_order(&mut self) -> Result<()> {
        let (param, grad) = self.pieces.join(self.named)?;
        let (device, dtype) = (param.device(), param.dtype());
        let lens: Vec<usize> = self.named.pieces.iter().map(|piece| piece.shape.iter().product()).collect();
        let mut joined = Vec::new();
        for name in self.update.state() {
            let tensor = |(place, len): (usize, &usize)| match &mut self.state.buffers(&[name], place)?[..] {
                [buffer] => buffer.take(*len, dtype, &device),
                _ => Err(missing(name)),
            };
            let pieces = lens.iter().enumerate().map(tensor).collect::<Result<_>>()?;
            let mut buffer = Buffer::Filled(0.0, None);
            buffer.put(self.named.join_tensors(pieces)?);
            joined.push(buffer);
        }
        self.pieces.let_go();
        let mut param = Some(param);
        let applied = apply(&*self.update, &mut param, grad, joined.iter_mut().collect(), self.room, true);
        param.map_or(Ok(()), |param| self.pieces.split(self.named, param))?;
        applied?;
        for (name, mut buffer) in self.update.state().iter().zip(joined) {
            let tensor = buffer.take(lens.iter().sum(), dtype, &device)?;
            for (place, piece) in self.named.split_tensor(tensor)?.into_iter().enumerate() {
                self.state.buffers(&[name], place)?.into_iter().for_each(|buffer| buffer.put(piece.clone()));
            }
        }
        Ok(())
    }

    /// Updates all of it, in PyTorch's order.
    fn whole(&mut self, in_place: bool) -> Result<()> {
        let (param, grad) = self.pieces.join(self.named)?;
        let state = self.state.buffers(self.update.state(), 0)?;
        self.pieces.let_go();
        let mut param = Some(param);
        let applied = apply(&*self.update, &mut param, grad, state, self.room, in_place);
        param.map_or(Ok(()), |param| self.pieces.split(self.named, param))?;
        applied
    }
}

/// Runs an update over a parameter: in place, if it lies in host memory, or by tensor operations.
fn apply(
    update: &dyn Update,
    param: &mut Option<Tensor<1>>,
    grad: Tensor<1>,
    mut state: Vec<&mut Buffer>,
    room: &mut Room,
    in_place: bool,
) -> Result<()> {
    let Some(tensor) = param.take() else { return Ok(()) };
    let (device, dtype, len) = (tensor.device(), tensor.dtype(), tensor.dims()[0]);
    if len == 0 {
        *param = Some(tensor);
        return Ok(());
    }
    if !in_place {
        // Kept for the case that the device fails.
        *param = Some(tensor.clone());
        let taken = state.iter_mut().map(|buffer| buffer.take(len, dtype, &device)).collect::<Result<_>>()?;
        let (tensor, after) = update.tensor(tensor, grad, taken)?;
        state.into_iter().zip(after).for_each(|(buffer, tensor)| buffer.put(tensor));
        *param = Some(tensor);
        return Ok(());
    }
    let grad = grad.try_into_data().map_err(unreadable)?;
    let (data, done) = match dtype {
        BurnDType::F64 => in_host::<f64>(update, tensor, &grad, &mut state, room)?,
        BurnDType::F16 => in_host::<f16>(update, tensor, &grad, &mut state, room)?,
        BurnDType::BF16 => in_host::<bf16>(update, tensor, &grad, &mut state, room)?,
        _ => in_host::<f32>(update, tensor, &grad, &mut state, room)?,
    };
    *param = Some(Tensor::from_data(data, (&device, dtype)));
    done
}

/// Updates elements where they lie in host memory; those of the state are brought there if need be. What something else holds, too,
/// stays as it is, and what comes of it gets memory of its own. Gives the parameter as it is then; with an error, as it was.
fn in_host<T: Held>(
    update: &dyn Update,
    param: Tensor<1>,
    grad: &TensorData,
    state: &mut [&mut Buffer],
    room: &mut Room,
) -> Result<(TensorData, Result<()>)> {
    let len = param.dims()[0];
    let grad = grad.as_slice::<T>().map_err(unreadable)?;
    state.iter_mut().try_for_each(|buffer| buffer.bring::<T>(len))?;
    let (mut own, from) = match elements_of(param)? {
        (data, None) => (data, None),
        (shared, Some(before)) => (room.param::<T>(len, before), Some(shared)),
    };
    let before: Vec<Option<Arc<Vec<T>>>> = state.iter_mut().map(|buffer| room.moved::<T>(buffer)).collect();
    let updated = |state: &mut [&mut Buffer], own: &mut TensorData| {
        let mut places = Vec::with_capacity(state.len());
        for (buffer, before) in state.iter_mut().zip(&before) {
            places.push(Place { to: buffer.values(len)?, from: before.as_ref().map(|before| before.as_slice()) });
        }
        let from = from.as_ref().map(TensorData::as_slice::<T>).transpose().map_err(unreadable)?;
        let param = Place { to: own.as_mut_slice().map_err(unreadable)?, from };
        update.host(T::elements(Slices { param, grad, state: places }))
    };
    let done = updated(state, &mut own);
    if done.is_err() {
        for (buffer, before) in state.iter_mut().zip(before) {
            before.into_iter().for_each(|before| **buffer = T::held(before));
        }
        own = from.unwrap_or(own);
        room.clear();
    }
    Ok((own, done))
}

/// One step of one tensor by itself, whose state this is, with the hyper-parameters of its group.
#[cfg(feature = "learner")]
pub(crate) fn step_alone<const D: usize>(
    hyperparameters: &Hyperparameters,
    group: &ParamGroup,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    state: &mut ParamState,
) -> Result<Tensor<D>> {
    let rule = hyperparameters.rule();
    if state.is_empty() {
        (rule.begin)(&hyperparameters.defaults, state)?;
    }
    let update = (rule.prepare)(group, state)?;
    let (shape, in_place) = (tensor.shape(), in_host_memory(&tensor.device()));
    let len = shape.num_elements();
    let mut param = Some(tensor.reshape([len]));
    let state = state.buffers(update.state(), 0)?;
    apply(&*update, &mut param, grad.reshape([len]), state, &mut Room::default(), in_place)?;
    param.map(|param| param.reshape(shape)).ok_or_else(|| unreadable("it is gone"))
}
