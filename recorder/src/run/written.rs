//! The parts of a run, written where the checkpoint has them and in the shape that they have there.

use super::layout::{Layout, Paths, Progress};
use super::path::KeyPath;
use super::spellings::Role;
use super::{RunState, by_name, generators, loaders, progress, spellings, types, whole};
use crate::state_dict::module;
use crate::{DType, Error, Result, StateDict, Tensor, Value, rebuild};

impl RunState {
    /// The root with the place in the data; a layout without room for a new key leaves it out.
    pub(super) fn with_loader(&self, root: Value, open: bool) -> Result<Value> {
        match (&self.loader, &self.loader_place) {
            (Some(loader), Some(place)) => {
                let path = KeyPath::find(&root, place).ok_or_else(|| Error::missing_key(place.clone()))?;
                let before = path.value(&root).unwrap_or(Value::None);
                path.replaced(&root, loaders::written(loader, &before)?)
            }
            (Some(loader), None) if open => KeyPath::key(loaders::KEY).replaced(&root, loader.clone()),
            _ => Ok(root),
        }
    }

    pub(super) fn written(&self, before: &Value, layout: &Layout, paths: &Paths) -> Result<Value> {
        let mut root = before.clone();
        let old_root = before;
        let before = progress(&root, layout, paths);
        let model = paths.values(&root, Role::Model).next();
        let model = model.and_then(|(path, value)| StateDict::read(&value, &path.spelled(&root), false).ok());
        let weights = model.as_ref().and_then(types::of_weights);
        for role in Role::ALL {
            let parts = self.of_role(role, layout);
            let mut there = paths.of(role);
            if role == Role::Scaler {
                // A run has one; further ones stay.
                there.truncate(1);
            }
            if !parts.is_empty() && !there.is_empty() && parts.len() != there.len() {
                let reason = format!("the checkpoint holds {} {role} entries, the run {}", there.len(), parts.len());
                return Err(Error::invalid(reason));
            }
            if there.is_empty() && parts.len() > 1 && layout.is_open() {
                let reason = format!("the checkpoint has no keys for {} {role} entries", parts.len());
                return Err(Error::invalid(reason));
            }
            for (i, part) in parts.iter().enumerate() {
                match there.get(i) {
                    Some(path) => {
                        let old = path.value(&root).unwrap_or(Value::None);
                        let new = match part {
                            Part::Optimizer(_) if whole::is_whole(&old) => {
                                let models = |root: &Value| {
                                    paths.values(root, Role::Model).map(|(_, model)| model).collect::<Vec<_>>()
                                };
                                let new = part.like(&whole::to_ids(&old, &[])?, &path.spelled(&root), weights)?;
                                whole::from_ids(&new, &old, &models(old_root), &models(&root))?
                            }
                            part => part.like(&old, &path.spelled(&root), weights)?,
                        };
                        root = path.replaced(&root, new)?;
                    }
                    // What else counts says it.
                    None if role == Role::Epoch && before.epoch.is_some() => {}
                    None if role == Role::Step && before.step.is_some() => {}
                    None if layout.is_open() => {
                        root = KeyPath::key(role.new_key(&root)).replaced(&root, part.new_value())?;
                    }
                    None => {}
                }
            }
        }
        let RunState { epoch, step, step_in_epoch, steps_per_epoch, batches_per_step, .. } = *self;
        layout.settle(root, &before, &Progress { epoch, step, step_in_epoch, steps_per_epoch, batches_per_step })
    }

    fn of_role(&self, role: Role, layout: &Layout) -> Vec<Part<'_>> {
        let value = |value: &'_ Option<Value>| value.iter().cloned().map(Part::Value).collect();
        let number = |number: Option<i64>| number.map(|n| Part::Number(Value::Int(n))).into_iter().collect();
        let (epoch, step) = layout.numbers(self.epoch, self.step);
        match role {
            Role::Model => {
                let others = self.other_models.iter().map(|(_, model)| model);
                std::iter::once(&self.model).chain(others).map(Part::Model).collect()
            }
            Role::Optimizer => self.optimizers.iter().map(Part::Optimizer).collect(),
            Role::Scheduler => self.schedulers.iter().cloned().map(Part::Value).collect(),
            Role::Scaler => value(&self.scaler),
            Role::Ema => self.ema.iter().cloned().map(Part::Average).collect(),
            Role::Updates => number(self.updates),
            Role::Rng => self.rng.iter().map(Part::Generator).collect(),
            Role::Epoch => number(epoch),
            Role::Step => number(step),
            Role::Loss => self.loss.iter().cloned().map(Part::Number).collect(),
            Role::Position => Vec::new(),
        }
    }
}

/// A part of a run, to be written.
enum Part<'a> {
    Model(&'a StateDict),
    Optimizer(&'a Value),
    Generator(&'a Tensor),
    Average(Value),
    Number(Value),
    Value(Value),
}

impl Part<'_> {
    fn new_value(&self) -> Value {
        match self {
            Part::Model(model) => model.to_value(),
            Part::Optimizer(state) => (*state).clone(),
            Part::Generator(state) => (*state).clone().into(),
            Part::Number(value) | Part::Value(value) | Part::Average(value) => value.clone(),
        }
    }

    /// The value that goes where `old` is: `old` itself where nothing has changed. `weights` is the type of the checkpoint's.
    fn like(&self, old: &Value, place: &str, weights: Option<DType>) -> Result<Value> {
        match self {
            Part::Value(value) => types::value_like(value, old),
            Part::Optimizer(state) => {
                let state = types::optimizer_like(state, &by_name::to_ids(old)?, weights)?;
                by_name::to_names(&state, old).map(|state| beside(&state, old))
            }
            Part::Average(value) => average_like(value, old),
            Part::Generator(state) => Ok(generators::like(state, old)),
            Part::Model(model) => model_like(model, old, place),
            Part::Number(number) => spellings::number_like(number, old).ok_or_else(|| {
                let reason = format!("{place} is {}, which cannot hold {number:?}", old.describe());
                Error::invalid(reason)
            }),
        }
    }
}

/// An optimizer's state dict with what a wrapper put beside its two keys, such as mmengine's `loss_scaler`.
fn beside(value: &Value, old: &Value) -> Value {
    let (true, Some(now), Some(old)) = (spellings::is_optimizer(value), value.as_dict(), old.as_dict()) else {
        return value.clone();
    };
    let more: Vec<_> = old.entries().into_iter().filter(|(key, _)| now.get_key(key).is_none()).collect();
    if more.is_empty() {
        return value.clone();
    }
    let both = module::shallow(now);
    for (key, value) in more {
        both.insert(key, value);
    }
    both.into()
}

/// A state dict in the shape that another has: the same kind of dict (or module), the order of its names, the prefix that a
/// wrapper gave them, its `_metadata` where the new one has none.
fn model_like(model: &StateDict, old: &Value, place: &str) -> Result<Value> {
    let before = StateDict::read(old, place, false)?;
    let model = model.typed_like(&before)?.spelled_like(&before);
    let same = |(a, b): ((&str, &Value), (&str, &Value))| a.0 == b.0 && a.1.id().is_some() && a.1.id() == b.1.id();
    if module::is_module(old) {
        module::with_state_dict(old, &model)
    } else if model.len() == before.len()
        && model.values().zip(before.values()).all(same)
        && model.has_attributes_of(&before)
    {
        Ok(old.clone())
    } else {
        Ok(model.to_value())
    }
}

/// An average in the shape that another has: in a module where it was one, in half precision where it was in that.
fn average_like(average: &Value, old: &Value) -> Result<Value> {
    if average.id().is_some() && average.id() == old.id() {
        return Ok(old.clone());
    }
    let half = |dtype: DType| matches!(dtype, DType::Float16 | DType::BFloat16);
    let dtypes = |value: &Value| -> Vec<DType> {
        let state = StateDict::from_value(value).unwrap_or_default();
        state.iter().map(|(_, tensor)| tensor.dtype()).filter(|dtype| dtype.is_floating_point()).collect()
    };
    let before = dtypes(old).into_iter().next().filter(|dtype| half(*dtype));
    let average = match before {
        Some(dtype) if !dtypes(average).iter().any(|dtype| half(*dtype)) => rebuild::cast(average, dtype)?,
        _ => average.clone(),
    };
    if module::is_module(old) && !module::is_module(&average) {
        return module::with_state_dict(old, &StateDict::from_value(&average)?);
    }
    Ok(average)
}
