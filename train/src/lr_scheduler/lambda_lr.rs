//! `torch.optim.lr_scheduler.LambdaLR`: the initial learning rate times a function of the epoch; and `MultiplicativeLR`: the
//! current one times such a function.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now};
use super::schedule::{Function, Options, Schedule, attributes, wrong_count};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `LambdaLR(optimizer, lr_lambda)`: the initial learning rate times `lr_lambda(epoch)`.
///
/// ```
/// use rekindle_train::lr_scheduler::LambdaLR;
///
/// let decay = LambdaLR::new(|epoch| 0.95_f64.powf(epoch as f64));
/// ```
#[derive(Clone, Debug)]
pub struct LambdaLR {
    lr_lambda: Lambdas,
}

/// `MultiplicativeLR(optimizer, lr_lambda)`: the current learning rate times `lr_lambda(epoch)`, from epoch 1 on.
#[derive(Clone, Debug)]
pub struct MultiplicativeLR {
    lr_lambda: Lambdas,
}

#[derive(Clone, Debug)]
enum Lambdas {
    Same(Function),
    Each(Vec<Function>),
}

impl Lambdas {
    fn of(&self, groups: usize) -> Result<Vec<Function>> {
        match self {
            Lambdas::Same(function) => Ok(vec![function.clone(); groups]),
            Lambdas::Each(functions) if functions.len() == groups => Ok(functions.clone()),
            Lambdas::Each(functions) => Err(wrong_count("lr_lambda", functions.len(), groups)),
        }
    }
}

macro_rules! lambda {
    ($($options:ident)*) => { $(
        impl $options {
            /// The same function for all groups.
            pub fn new(lr_lambda: impl Fn(i64) -> f64 + Send + Sync + 'static) -> Self {
                $options::from(Function::new(lr_lambda))
            }

            /// A function for each group.
            pub fn each(lr_lambdas: impl IntoIterator<Item = Function>) -> Self {
                $options { lr_lambda: Lambdas::Each(lr_lambdas.into_iter().collect()) }
            }
        }

        impl From<Function> for $options {
            fn from(function: Function) -> Self {
                $options { lr_lambda: Lambdas::Same(function) }
            }
        }

        impl From<$options> for Schedule {
            fn from(options: $options) -> Self {
                Schedule::new(options)
            }
        }

        impl Options for $options {
            fn kind(&self) -> SchedulerKind {
                SchedulerKind::$options
            }

            fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
                Ok(attributes([]))
            }

            fn functions(&self, groups: usize) -> Result<Vec<Function>> {
                self.lr_lambda.of(groups)
            }
        }
    )* };
}

lambda! { LambdaLR MultiplicativeLR }

#[derive(Debug)]
pub(super) struct Lambda;

impl Formula for Lambda {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check(scheduler, groups)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        Ok(now.base * factor(scheduler, now)?)
    }
}

#[derive(Debug)]
pub(super) struct Multiplicative;

impl Formula for Multiplicative {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check(scheduler, groups)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        if now.initial { Ok(now.lr) } else { Ok(now.lr * factor(scheduler, now)?) }
    }
}

fn check(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    match scheduler.functions.len() {
        found if found == groups => Ok(()),
        found => Err(wrong_count("lr_lambda", found, groups)),
    }
}

fn factor(scheduler: &LRScheduler, now: &Now) -> Result<f64> {
    let function = scheduler.functions.get(now.place);
    let function =
        function.ok_or_else(|| invalid(format!("{} has no function for group {}", scheduler.kind(), now.place)))?;
    Ok(function.call(now.epoch))
}
