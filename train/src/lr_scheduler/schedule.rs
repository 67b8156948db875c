//! `Schedule`: how a scheduler is set, before there is one.

use std::fmt;
use std::sync::Arc;

use rekindle_recorder::{Dict, Result, Value};

use super::kind::SchedulerKind;
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// A scheduler's options, and what its constructor does with them.
pub(crate) trait Options: Send + Sync + fmt::Debug {
    /// Whose options they are.
    fn kind(&self) -> SchedulerKind;

    /// The attributes that PyTorch's constructor sets before it calls that of the base class, in order, and what it puts
    /// into the groups. `fresh` unless it goes on from a `last_epoch`.
    fn attributes(&self, groups: &mut [ParamGroup], fresh: bool) -> Result<Attributes>;

    /// The rest of the constructor: that of the base class, as a rule.
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.construct(groups, last_epoch)
    }

    /// The functions that it calls.
    fn functions(&self, _groups: usize) -> Result<Vec<Function>> {
        Ok(Vec::new())
    }

    /// The schedulers that it is made of, which are constructed first, in this order.
    fn children(&self) -> &[Schedule] {
        &[]
    }
}

/// How a scheduler is set: made from the options of one, such as [`CosineAnnealingLR`](super::CosineAnnealingLR).
#[derive(Clone, Debug)]
pub struct Schedule(Arc<dyn Options>);

impl Schedule {
    pub(super) fn new(options: impl Options + 'static) -> Self {
        Schedule(Arc::new(options))
    }

    pub(super) fn options(&self) -> &dyn Options {
        &*self.0
    }

    /// Which scheduler it makes.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        self.0.kind()
    }
}

/// Named values as a scheduler's attributes.
pub(super) fn attributes<const N: usize>(entries: [(&str, Value); N]) -> Attributes {
    let mut attributes = Attributes::new(PLACE);
    entries.into_iter().for_each(|(name, value)| attributes.set(name, value));
    attributes
}

/// Where a scheduler's attributes stand, for messages.
pub(super) const PLACE: &str = "scheduler.";

/// A function of the epoch, or of whatever else a scheduler counts: a factor of a learning rate.
///
/// No file holds it. A state dict says of it what PyTorch's would: `None` for a plain function, or the attributes of a
/// callable object.
///
/// ```
/// use rekindle_train::lr_scheduler::{Function, LambdaLR};
///
/// let decay = LambdaLR::new(|epoch| 0.95_f64.powf(epoch as f64));
/// let each = LambdaLR::each([Function::new(|epoch| 1.0 / (1.0 + 0.1 * epoch as f64)), Function::new(|_| 1.0)]);
/// ```
#[derive(Clone)]
pub struct Function {
    call: Arc<dyn Fn(i64) -> f64 + Send + Sync>,
    state: Value,
}

impl Function {
    /// A plain function: its state is `None`.
    pub fn new(call: impl Fn(i64) -> f64 + Send + Sync + 'static) -> Self {
        Function { call: Arc::new(call), state: Value::None }
    }

    /// One that stands for an object of PyTorch's with these attributes; a `functools.partial` has none.
    #[must_use]
    pub fn with_state(self, state: Dict) -> Self {
        Function { state: state.into(), ..self }
    }

    pub(super) fn call(&self, count: i64) -> f64 {
        (self.call)(count)
    }

    /// What a state dict says of it.
    pub(super) fn state(&self) -> Value {
        match &self.state {
            Value::Dict(dict) => dict.entries().into_iter().collect::<Dict>().into(),
            other => other.clone(),
        }
    }

    /// Takes over the attributes that a file has of it, if any.
    pub(super) fn load(&mut self, state: Value) {
        if !matches!(state, Value::None) {
            self.state = state;
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

/// A number for all groups, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct PerGroup(Numbers);

#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    Same(f64),
    Each(Vec<f64>),
}

impl PerGroup {
    /// The number of each group; `name` is what they are, for messages.
    pub(super) fn of(&self, name: &str, groups: usize) -> Result<Vec<f64>> {
        match &self.0 {
            Numbers::Same(number) => Ok(vec![*number; groups]),
            Numbers::Each(numbers) if numbers.len() == groups => Ok(numbers.clone()),
            Numbers::Each(numbers) => Err(wrong_count(name, numbers.len(), groups)),
        }
    }

    /// The number for all groups; `None` where each has its own.
    pub(super) fn same(&self) -> Option<f64> {
        match self.0 {
            Numbers::Same(number) => Some(number),
            Numbers::Each(_) => None,
        }
    }
}

/// An error about a list that is not one item for each group.
pub(super) fn wrong_count(name: &str, found: usize, groups: usize) -> rekindle_recorder::Error {
    invalid(format!(
        "the optimizer has {groups} groups, and {name} has {found} values; give one, or one for each group"
    ))
}

impl From<f64> for PerGroup {
    fn from(number: f64) -> Self {
        PerGroup(Numbers::Same(number))
    }
}

impl From<Vec<f64>> for PerGroup {
    fn from(numbers: Vec<f64>) -> Self {
        PerGroup(Numbers::Each(numbers))
    }
}

impl<const N: usize> From<[f64; N]> for PerGroup {
    fn from(numbers: [f64; N]) -> Self {
        PerGroup(Numbers::Each(numbers.into()))
    }
}
