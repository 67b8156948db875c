//! LBFGS's options, and what its groups say.

use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Error, Result, Value};

use super::scalar::Scalar::{self, Int};
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::optim::array::{Real, largest_magnitude};
use crate::optim::options::{int_or, options};
use crate::optim::rule::{Range, Rule, View};

options! {
    /// The options of `torch.optim.LBFGS`, with its defaults.
    LbfgsOptions {
        /// Learning rate: the step's length without a line search, and the first that is tried with one. Default 1.
        lr: f64 = 1.0 => |lr, _| int_or(1, lr);
        /// Iterations of one step. Default 20.
        max_iter: u32 = 20;
        /// Evaluations of one step, after which it ends; `None` for `max_iter * 5 / 4`. Default `None`.
        max_eval: Option<u32> = None => |most, options| {
            most.map_or(i64::from(options.max_iter) * 5 / 4, i64::from).into()
        };
        /// A step ends when no element of the gradient is larger. Default 1e-7.
        tolerance_grad: f64 = 1e-7;
        /// A step ends when the loss or every parameter changes by less. Default 1e-9.
        tolerance_change: f64 = 1e-9;
        /// How many steps the approximation of the Hessian looks back. Default 100.
        history_size: u32 = 100;
        /// How a step's length is found. Default `None`: it is the learning rate.
        line_search_fn: Option<LineSearch> = None => |search, _| {
            search.map(|LineSearch::StrongWolfe| STRONG_WOLFE).into()
        };
        /// Ascend instead of descend. Default false.
        maximize: bool = false;
    }
}

/// How [`LbfgsOptions`] finds a step's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineSearch {
    /// A point that fulfils the strong Wolfe conditions: `strong_wolfe`.
    StrongWolfe,
}

const STRONG_WOLFE: &str = "strong_wolfe";

pub(in crate::optim) const RULE: Rule = Rule {
    gained: &[],
    ranges: &[Range::at_least_0(&["lr"])],
    check: |group| Settings::of(group).map(drop),
    scalars: &[],
    view: View::Closure,
    admit,
    ..Rule::new(|_, _| Err(invalid("LBFGS has no update of a single parameter: call step_closure")))
};

fn admit(parameter: &NamedParameter) -> Result<()> {
    if matches!(parameter.dtype, DType::Float32 | DType::Float64) {
        return Ok(());
    }
    let what = format!("LBFGS over '{}', a parameter of {},", parameter.name, parameter.dtype);
    Err(Error::unsupported(what).advise("train it in float32"))
}

/// So many steps are more than any history has; `al` has a place for each from the beginning, as PyTorch's has.
const LONGEST: i64 = 1 << 24;

/// A group's numbers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// An `int` or a `float`.
    lr: Value,
    pub(super) max_iter: i64,
    pub(super) max_eval: i64,
    pub(super) tolerance_grad: f64,
    pub(super) tolerance_change: f64,
    pub(super) history_size: usize,
    pub(super) line_search: bool,
    pub(crate) maximize: bool,
}

impl Settings {
    pub(crate) fn of(group: &Attributes) -> Result<Self> {
        let value = group.get("line_search_fn").unwrap_or(&Value::None);
        let line_search = match (value, value.as_str()) {
            (Value::None, _) => false,
            (_, Some(STRONG_WOLFE)) => true,
            (_, Some(name)) => {
                return Err(invalid(format!("there is no line_search_fn '{name}'; there is {STRONG_WOLFE}")));
            }
            _ => return Err(wrong_type("line_search_fn", "a str or None", value)),
        };
        let max_eval = group.int("max_eval")?;
        if line_search && max_eval < 1 {
            return Err(invalid(format!("max_eval must be at least 1 for a line search, and is {max_eval}")));
        }
        let history_size = group.int("history_size")?;
        if history_size < 1 {
            return Err(invalid(format!("history_size must be at least 1, and is {history_size}")));
        }
        if history_size > LONGEST {
            let what = format!("an LBFGS with a history_size of {history_size}");
            return Err(Error::unsupported(what).advise(format!("set it to {LONGEST} at most")));
        }
        Ok(Settings {
            lr: match group.get("lr") {
                Some(Value::Int(lr)) => (*lr).into(),
                _ => group.float("lr")?.into(),
            },
            max_iter: group.int("max_iter")?,
            max_eval,
            tolerance_grad: group.float("tolerance_grad")?,
            tolerance_change: group.float("tolerance_change")?,
            history_size: usize::try_from(history_size).unwrap_or(usize::MAX),
            line_search,
            // Groups of PyTorch 2.12 and before do not say.
            maximize: group.is_set("maximize")?,
        })
    }

    pub(super) fn lr<T: Real>(&self) -> Scalar<T> {
        Scalar::read(&self.lr).unwrap_or(Int(0))
    }

    /// Whether no element of a gradient is large enough to go on.
    pub(super) fn at_minimum<T: Real>(&self, grad: &[T]) -> bool {
        largest_magnitude(grad) <= T::of(self.tolerance_grad)
    }
}
