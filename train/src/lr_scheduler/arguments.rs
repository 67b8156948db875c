//! `Arguments`: what stands in the parentheses of `NAME(...)`, and how an option is read from it.

use rekindle_recorder::{Error, Result, Value};

use crate::attributes::invalid;

/// The arguments of a call in Python's manner: by name or by place.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    /// Whose they are, for messages.
    call: String,
    given: Vec<(Option<String>, Value)>,
    /// The names that were asked for, in order.
    known: Vec<String>,
}

/// An option that can stand in a call.
pub(crate) trait Argument: Sized {
    /// What it is, for messages.
    const EXPECTED: &'static str;

    /// Reads it, if it is one.
    fn read(value: &Value) -> Option<Self>;
}

/// Names that an argument has besides its own.
const ALSO: &[(&str, &[&str])] = &[
    ("scale", &["mode"]),
    ("num_warmup_steps", &["warmup", "warmup_steps"]),
    ("num_training_steps", &["total", "training_steps", "total_steps"]),
    ("num_stable_steps", &["stable", "stable_steps"]),
    ("num_decay_steps", &["decay", "decay_steps"]),
    ("num_cycles", &["cycles"]),
    ("warmup_iters", &["warmup"]),
    ("lr_decay_iters", &["decay"]),
    ("learning_rate", &["lr"]),
];

/// An argument that two others stand for, whose product it is: in which call, and which.
const PRODUCTS: [(&str, &str, [&str; 2]); 1] = [("OneCycleLR", "total_steps", ["epochs", "steps_per_epoch"])];

/// Names as Python spells them, where Rust's setters differ.
const SPELLED: &[(&str, &str)] = &[("t_max", "T_max"), ("t_0", "T_0"), ("t_mult", "T_mult"), ("scale", "mode")];

pub(super) fn spelled(name: &str) -> &str {
    SPELLED.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| theirs)
}

impl Arguments {
    pub(super) fn new(call: impl Into<String>, given: Vec<(Option<String>, Value)>) -> Self {
        let mut arguments = Arguments { call: call.into(), given, known: Vec::new() };
        for (call, name, factors) in PRODUCTS {
            if call == arguments.call {
                arguments.product(name, factors);
            }
        }
        arguments
    }

    /// The argument of this name, in any case, or at this place among those that were asked for.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let also = ALSO.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, also)| also);
        self.known.push(spelled(name).to_owned());
        let fits = |given: &str| std::iter::once(&name).chain(also).any(|known| known.eq_ignore_ascii_case(given));
        let named = self.given.iter().position(|(given, _)| given.as_deref().is_some_and(fits));
        if let Some(found) = named {
            return Some(self.given.remove(found).1);
        }
        // Those by place come first, as in Python, and each that is asked for takes the next.
        self.given.first().is_some_and(|(given, _)| given.is_none()).then(|| self.given.remove(0).1)
    }

    /// Puts the product of two whole numbers in the place of an argument that they stand for.
    fn product(&mut self, name: &str, factors: [&str; 2]) {
        let given = |factor: &str| {
            let same = |given: &(Option<String>, Value)| given.0.as_deref() == Some(factor);
            self.given.iter().find(|given| same(given)).and_then(|(_, value)| i64::read(value))
        };
        if let (Some(a), Some(b)) = (given(factors[0]), given(factors[1])) {
            self.given.retain(|(given, _)| !given.as_deref().is_some_and(|given| factors.contains(&given)));
            self.given.push((Some(name.to_owned()), a.saturating_mul(b).into()));
        }
    }

    /// An argument that has a default.
    pub(super) fn optional<T: Argument>(&mut self, name: &str, default: impl FnOnce() -> T) -> Result<T> {
        match self.take(name) {
            None => Ok(default()),
            Some(value) => T::read(&value).ok_or_else(|| self.wrong(name, T::EXPECTED, &value)),
        }
    }

    /// An argument that must be there.
    pub(super) fn required<T: Argument>(&mut self, name: &str) -> Result<T> {
        match self.take(name) {
            None => Err(invalid(format!("{} needs the argument {}", self.call, spelled(name)))),
            Some(value) => T::read(&value).ok_or_else(|| self.wrong(name, T::EXPECTED, &value)),
        }
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        let found = match found {
            Value::Str(text) => format!("'{text}'"),
            other => other.describe(),
        };
        invalid(format!("{}'s {} is {found}, where {expected} is expected", self.call, spelled(name)))
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        let names = if self.known.is_empty() { "no arguments".to_owned() } else { self.known.join(", ") };
        match self.given.first() {
            None => Ok(()),
            Some((Some(name), _)) => Err(invalid(format!("{} has no argument '{name}'; it takes {names}", self.call))),
            Some((None, _)) => Err(invalid(format!("{} has more arguments than it takes: {names}", self.call))),
        }
    }
}

impl Argument for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(value: &Value) -> Option<Self> {
        matches!(value, Value::Int(_) | Value::Float(_)).then(|| value.as_f64()).flatten()
    }
}

impl Argument for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn read(value: &Value) -> Option<Self> {
        match *value {
            Value::Int(number) => Some(number),
            #[allow(clippy::cast_possible_truncation)]
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some(number as i64),
            _ => None,
        }
    }
}

impl Argument for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl Argument for String {
    const EXPECTED: &'static str = "a word";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl<T: Argument> Argument for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::None => Some(None),
            other => T::read(other).map(Some),
        }
    }
}

impl Argument for Vec<i64> {
    const EXPECTED: &'static str = "a list of whole numbers, such as [30, 60]";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::List(_) | Value::Tuple(_) => value.items()?.iter().map(i64::read).collect(),
            one => i64::read(one).map(|one| vec![one]),
        }
    }
}

impl Argument for Vec<f64> {
    const EXPECTED: &'static str = "a list of numbers, such as [1, 0.5]";

    fn read(value: &Value) -> Option<Self> {
        value.items()?.iter().map(f64::read).collect()
    }
}
