//! `Rule`: what sets one optimizer of `torch.optim` apart. The rest (groups, state dicts, the walk over a model) is the same for
//! all. Which rules there are is `registry.rs`'s to know.

use burn::tensor::Device;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Dict, Result, Value};

use super::elementwise::Update;
use super::group::ParamGroup;
use super::state::ParamState;
use crate::attributes::Attributes;

/// One optimizer of `torch.optim`. It keeps nothing itself: its numbers are in the group, its state is the parameter's.
pub(crate) trait Rule: Send + Sync + std::fmt::Debug {
    /// Adds what a group written by an older release lacks, in the order of PyTorch's `__setstate__`.
    fn complete(&self, group: &mut Attributes) {
        complete(group);
    }

    /// Refuses the numbers that PyTorch's constructor refuses.
    fn check(&self, group: &Attributes) -> Result<()>;

    /// The names of state tensors of no dimensions.
    fn scalars(&self) -> &'static [&'static str] {
        &["step"]
    }

    /// The names of state tensors of the parameter's shape.
    fn moments(&self) -> &'static [&'static str];

    /// The entries that the state of a parameter that was stepped must have: all, unless the group's options leave some out.
    fn needs(&self, _: &Attributes) -> Result<Vec<&'static str>> {
        Ok([self.scalars(), self.moments()].concat())
    }

    /// Makes what a parameter's state holds before the first step, by the optimizer's defaults: nothing, but for Adagrad.
    fn begin(&self, _defaults: &Attributes, _state: &mut ParamState) -> Result<()> {
        Ok(())
    }

    /// Brings a parameter's state to where one step needs it (makes it, counts the step), and gives the update to run.
    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>>;

    /// What its update sees of a parameter.
    fn view(&self) -> View {
        View::Elements
    }

    /// Refuses a parameter that it cannot train.
    fn admit(&self, _: &NamedParameter) -> Result<()> {
        Ok(())
    }

    /// Refuses a device that it cannot compute on.
    fn runs_on(&self, _: &Device) -> Result<()> {
        Ok(())
    }

    /// The names of numbers in the state that are no tensors.
    fn counters(&self) -> &'static [&'static str] {
        &[]
    }

    /// The shape of one of its [`moments`](Rule::moments) for a parameter of this shape; `None` if such a parameter has none.
    fn state_shape(&self, _name: &str, shape: &[usize]) -> Option<Vec<usize>> {
        Some(shape.to_vec())
    }

    /// The shape of the parameter that this is the state of, where that can be told.
    fn parameter_shape(&self, state: &Dict) -> Option<Vec<usize>> {
        let mut moments = self.moments().iter().filter_map(|name| state.get(name));
        moments.find_map(|value| Some(value.as_tensor()?.shape().to_vec()))
    }
}

/// Adds the keys that the groups of most optimizers gained over the releases.
pub(super) fn complete(group: &mut Attributes) {
    group.set_default("foreach", Value::None);
    for name in ["maximize", "differentiable", "capturable"] {
        group.set_default(name, false);
    }
}

/// What an update sees of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Each of its elements by itself: Burn's pieces can be updated where they lie.
    Elements,
    /// All of it, its elements in PyTorch's order, and its state too.
    Whole,
    /// All parameters together, and what the model makes of them: a closure evaluates it.
    Closure,
}

/// The type of `step`: `torch.get_default_dtype()`, which is `float32` unless a program changes it.
pub(crate) const STEP_DTYPE: DType = DType::Float32;
