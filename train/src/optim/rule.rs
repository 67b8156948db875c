//! `Rule`: what sets one optimizer of `torch.optim` apart, as data. The rest (groups, state dicts, the walk over a model) is the
//! same for all. Which rules there are is `registry.rs`'s to know.

use burn::tensor::Device;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Dict, Result, Value};

use super::elementwise::Update;
use super::group::ParamGroup;
use super::state::ParamState;
use crate::attributes::{Attributes, invalid};

/// Brings a parameter's state to where one step needs it (makes it, counts the step), and gives the update to run.
type Prepare = fn(&ParamGroup, &mut ParamState) -> Result<Box<dyn Update>>;

/// One optimizer of `torch.optim`. It keeps nothing itself: its numbers are in the group, its state is the parameter's.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The entries that a group written by an older release may lack, in the order of PyTorch's `__setstate__`. They get
    /// their defaults.
    pub(super) gained: &'static [&'static str],
    /// What else is done to a group from a file.
    pub(super) complete: fn(&mut Attributes),
    /// The ranges that PyTorch's constructor demands.
    pub(super) ranges: &'static [Range],
    /// Those that it demands of its own arguments, and not of a group.
    pub(super) ranges_of_defaults: &'static [Range],
    /// Refuses what else PyTorch's constructor refuses.
    pub(super) check: fn(&Attributes) -> Result<()>,
    /// The names of state tensors of no dimensions.
    pub(crate) scalars: &'static [&'static str],
    /// The names of state tensors of the parameter's shape.
    pub(crate) moments: &'static [&'static str],
    /// The names of numbers in the state that are no tensors.
    pub(crate) counters: &'static [&'static str],
    /// The names of what it keeps in a group, of all its parameters together.
    pub(crate) group_state: &'static [&'static str],
    /// What a step does to a group, before it is its parameters' turn.
    pub(super) count: fn(&mut ParamGroup) -> Result<()>,
    /// The largest norm that all gradients together may have, where it clips them.
    pub(super) clips: fn(&[ParamGroup]) -> Result<Option<f64>>,
    /// The name of the state tensor that an average of the weights is of, which are evaluated in place of those that are trained.
    pub(super) averages: Option<&'static str>,
    /// The entries that the state of a parameter that was stepped must have, where the group's options leave some out.
    pub(super) needs: Option<fn(&Attributes) -> Result<Vec<&'static str>>>,
    /// Makes what a parameter's state holds before the first step, by the optimizer's defaults: nothing, but for Adagrad.
    pub(super) begin: fn(&Attributes, &mut ParamState) -> Result<()>,
    pub(super) prepare: Prepare,
    /// What its update sees of a parameter.
    pub(crate) view: View,
    /// Refuses a parameter that it cannot train.
    pub(super) admit: fn(&NamedParameter) -> Result<()>,
    /// Refuses a device that it cannot compute on.
    pub(super) runs_on: fn(&Device) -> Result<()>,
    /// The shape of one of its moments for a parameter of this shape; `None` if such a parameter has none.
    pub(super) state_shape: fn(&str, &[usize]) -> Option<Vec<usize>>,
    /// The shape of the parameter that this is the state of, where that can be told.
    pub(super) parameter_shape: fn(&Rule, &Dict) -> Option<Vec<usize>>,
}

impl Rule {
    /// Of elements that are updated each by itself, with a `step` and what most groups gained over the releases.
    pub(super) const fn new(prepare: Prepare) -> Self {
        Rule {
            gained: &["foreach", "maximize", "differentiable", "capturable"],
            complete: |_| {},
            ranges: &[],
            ranges_of_defaults: &[],
            check: |_| Ok(()),
            scalars: &["step"],
            moments: &[],
            counters: &[],
            group_state: &[],
            count: |_| Ok(()),
            clips: |_| Ok(None),
            averages: None,
            needs: None,
            begin: |_, _| Ok(()),
            prepare,
            view: View::Elements,
            admit: |_| Ok(()),
            runs_on: |_| Ok(()),
            state_shape: |_, shape| Some(shape.to_vec()),
            parameter_shape: |rule, state| {
                let mut moments = rule.moments.iter().filter_map(|name| state.get(name));
                moments.find_map(|value| Some(value.as_tensor()?.shape().to_vec()))
            },
        }
    }

    /// Adds what a group written by an older release lacks.
    pub(super) fn complete(&self, group: &mut Attributes, defaults: &Attributes) {
        for name in self.gained {
            group.set_default(name, defaults.get(name).cloned().unwrap_or(Value::None));
        }
        (self.complete)(group);
    }

    /// Refuses the numbers that PyTorch's constructor refuses.
    pub(crate) fn check(&self, group: &Attributes) -> Result<()> {
        for range in self.ranges {
            range.names.iter().try_for_each(|name| range.check(group, name))?;
        }
        (self.check)(group)
    }

    /// Refuses the defaults that PyTorch's constructor refuses, and takes in a group.
    pub(super) fn check_defaults(&self, defaults: &Attributes) -> Result<()> {
        let mut ranges = self.ranges_of_defaults.iter();
        ranges.try_for_each(|range| range.names.iter().try_for_each(|name| range.check(defaults, name)))
    }

    /// The entries that the state of a parameter that was stepped must have.
    pub(super) fn needs(&self, group: &Attributes) -> Result<Vec<&'static str>> {
        self.needs.map_or_else(|| Ok([self.scalars, self.moments, self.counters].concat()), |needs| needs(group))
    }
}

/// Hyper-parameters, or pairs of them, that must fulfil a condition.
pub(super) struct Range {
    names: &'static [&'static str],
    fits: fn(f64) -> bool,
    condition: &'static str,
}

impl Range {
    pub(super) const fn new(names: &'static [&'static str], fits: fn(f64) -> bool, condition: &'static str) -> Self {
        Range { names, fits, condition }
    }

    pub(super) const fn at_least_0(names: &'static [&'static str]) -> Self {
        Range::new(names, |x| x >= 0.0, "at least 0")
    }

    /// What is left of an average at each step.
    pub(super) const fn decay(names: &'static [&'static str]) -> Self {
        Range::new(names, |x| (0.0..1.0).contains(&x), "at least 0 and less than 1")
    }

    fn check(&self, group: &Attributes, name: &str) -> Result<()> {
        let numbers = match group.get(name) {
            Some(Value::Tuple(_) | Value::List(_)) => group.floats(name)?,
            _ => vec![group.float(name)?],
        };
        match numbers.into_iter().find(|&number| !(self.fits)(number)) {
            Some(number) => Err(invalid(format!("{name} must be {}, and is {number}", self.condition))),
            None => Ok(()),
        }
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
