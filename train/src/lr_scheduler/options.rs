//! What options are made of: [`Function`], [`PerGroup`], words such as `"cos"`, and the `options!` macro that gives them their
//! setters.

use std::fmt;
use std::sync::Arc;

use rekindle_recorder::{Dict, Error, Result, Value};

use super::arguments::Argument;
use super::number::Number;
use crate::attributes::{Attributes, invalid};

/// How a scheduler is stepped, where its class or its state says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SteppedBy {
    /// After each step of the optimizer.
    Step,
    /// After each epoch.
    Epoch,
    /// To parts of an epoch: [`LRScheduler::step_to`](super::LRScheduler::step_to).
    Fraction,
    /// With a metric: [`LRScheduler::step_with_metric`](super::LRScheduler::step_with_metric).
    Metric,
}

/// Where a scheduler's attributes stand, for messages.
pub(super) const PLACE: &str = "scheduler.";

/// A scheduler's options: what `new` must be given (where nothing must, there is `Default` instead), and what has a default,
/// each with a setter of its name and documentation. In parentheses stands what a setter takes where it is not the field's
/// type, and after `=>` what that is wrapped in.
macro_rules! options {
    (
        $(#[$about:meta])*
        pub struct $name:ident;

        $(#[$new:meta])*
        pub fn new($( $(#[$doc:meta])* $given:ident $(($from:ty))?: $type:ty, )*);

        $( $(#[$more:meta])* $option:ident $(($($arg:tt)*))?: $kind:ty = $default:expr, )*
    ) => {
        $crate::lr_scheduler::options::options! {
            @all $(#[$about])* $name [$( $(#[$doc])* $given: $type, )*]
            [$( $(#[$more])* $option [$($($arg)*)?] $kind = $default, )*]
        }

        impl $name {
            $(#[$new])*
            #[must_use]
            pub fn new($($given: $crate::lr_scheduler::options::options!(@argument [$($from)?] $type)),*) -> Self {
                $name { $($given: $given.into(),)* $($option: $default,)* }
            }
        }
    };
    (
        $(#[$about:meta])*
        pub struct $name:ident;

        $( $(#[$more:meta])* $option:ident $(($($arg:tt)*))?: $kind:ty = $default:expr, )*
    ) => {
        $crate::lr_scheduler::options::options! {
            @all $(#[$about])* $name [] [$( $(#[$more])* $option [$($($arg)*)?] $kind = $default, )*]
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($option: $default,)* }
            }
        }
    };
    (
        @all $(#[$about:meta])* $name:ident [$( $(#[$doc:meta])* $given:ident: $type:ty, )*]
        [$( $(#[$more:meta])* $option:ident [$($arg:tt)*] $kind:ty = $default:expr, )*]
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct $name {
            $( $(#[$doc])* pub $given: $type, )*
            $( $(#[$more])* pub $option: $kind, )*
        }

        impl $name {
            $( rekindle_recorder::settings! { @setter $(#[$more])* $option [$($arg)*] $kind } )*
        }

        impl $crate::lr_scheduler::schedule::Fields for $name {
            fn entries(&self) -> $crate::lr_scheduler::schedule::Entries {
                use $crate::lr_scheduler::arguments::spelled;
                let $name { $($given,)* $($option,)* } = Clone::clone(self);
                vec![
                    $( (spelled(stringify!($given)), $given.into()), )*
                    $( (spelled(stringify!($option)), $option.into()), )*
                ]
            }
        }

        impl $crate::lr_scheduler::schedule::InWords for $name {
            const MAKE: Option<$crate::lr_scheduler::schedule::Make> = Some(|arguments| {
                $( let $given = arguments.required(stringify!($given))?; )*
                $( let $option = arguments.optional(stringify!($option), || $default)?; )*
                Ok($name { $($given,)* $($option,)* }.into())
            });
        }
    };
    (@argument [] $type:ty) => { $type };
    (@argument [$from:ty] $type:ty) => { $from };
}
pub(super) use options;

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
pub struct PerGroup(EachGroup<Number>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum EachGroup<T> {
    Same(T),
    Each(Vec<T>),
}

impl<T: Clone> EachGroup<T> {
    /// The item of each group; `name` is what they are, for messages.
    pub(super) fn of(&self, name: &str, groups: usize) -> Result<Vec<T>> {
        match self {
            EachGroup::Same(item) => Ok(vec![item.clone(); groups]),
            EachGroup::Each(items) if items.len() == groups => Ok(items.clone()),
            EachGroup::Each(items) => Err(wrong_count(name, items.len(), groups)),
        }
    }
}

impl PerGroup {
    /// The number of each group; `name` is what they are, for messages.
    pub(super) fn of(&self, name: &str, groups: usize) -> Result<Vec<Number>> {
        self.0.of(name, groups)
    }

    /// The number for all groups; `None` where each has its own.
    pub(super) fn same(&self) -> Option<Number> {
        match self.0 {
            EachGroup::Same(number) => Some(number),
            EachGroup::Each(_) => None,
        }
    }
}

/// An error about a list that is not one item for each group.
pub(super) fn wrong_count(name: &str, found: usize, groups: usize) -> Error {
    invalid(format!(
        "the optimizer has {groups} groups, and {name} has {found} values; give one, or one for each group"
    ))
}

/// As a list of Python's.
pub(super) fn values(numbers: Vec<Number>) -> Value {
    Value::list(numbers.into_iter().map(Value::from))
}

impl TryFrom<&Value> for PerGroup {
    type Error = Error;

    /// A number or a tensor of one element, which stays one as in PyTorch; or a list of them, one for each group.
    fn try_from(value: &Value) -> Result<Self> {
        match value {
            Value::List(_) | Value::Tuple(_) => {
                let items = value.items().unwrap_or_default();
                let numbers = items.iter().map(|item| Number::try_from(item).map_err(|()| no_number(item)));
                Ok(PerGroup(EachGroup::Each(numbers.collect::<Result<_>>()?)))
            }
            one => Ok(PerGroup(EachGroup::Same(Number::try_from(one).map_err(|()| no_number(one))?))),
        }
    }
}

fn no_number(value: &Value) -> Error {
    invalid(format!("{} is given, where a number, or a list of one for each group, is expected", value.describe()))
}

rekindle_recorder::from! { PerGroup:
    f64: number => PerGroup(EachGroup::Same(number.into()));
    Vec<f64>: numbers => PerGroup(EachGroup::Each(numbers.into_iter().map(Number::from).collect()));
}

impl<const N: usize> From<[f64; N]> for PerGroup {
    fn from(numbers: [f64; N]) -> Self {
        PerGroup::from(numbers.to_vec())
    }
}

/// An option that is one of two words in PyTorch.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// The two.
    const WORDS: [(&'static str, Self); 2];

    /// The word.
    fn name(self) -> &'static str {
        let [(first, value), (second, _)] = Self::WORDS;
        if self == value { first } else { second }
    }

    /// What a scheduler has under a name.
    fn read(attributes: &Attributes, name: &str) -> Result<Self> {
        let text = attributes.text(name)?;
        let [(first, _), (second, _)] = Self::WORDS;
        let known = Self::WORDS.into_iter().find(|(word, _)| *word == text).map(|(_, value)| value);
        known.ok_or_else(|| invalid(format!("{PLACE}{name} is '{text}', where '{first}' or '{second}' is expected")))
    }
}

/// Reads a word of `NAME(...)`, and gives it back, for types that are one.
macro_rules! word_argument {
    ($($type:ident: $expected:literal;)*) => { $(
        impl From<$type> for rekindle_recorder::Value {
            fn from(word: $type) -> Self {
                word.name().into()
            }
        }

        impl $crate::lr_scheduler::arguments::Argument for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &rekindle_recorder::Value) -> Option<Self> {
                let text = value.as_str()?;
                <$type as Word>::WORDS.into_iter().find(|(word, _)| *word == text).map(|(_, value)| value)
            }
        }
    )* };
}
pub(super) use word_argument;

impl From<PerGroup> for Value {
    fn from(numbers: PerGroup) -> Self {
        match numbers.0 {
            EachGroup::Same(number) => number.into(),
            EachGroup::Each(each) => values(each),
        }
    }
}

impl Argument for PerGroup {
    const EXPECTED: &'static str = "a number, or a list of one for each group";

    fn read(value: &Value) -> Option<Self> {
        PerGroup::try_from(value).ok()
    }
}
