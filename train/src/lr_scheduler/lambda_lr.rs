//! `torch.optim.lr_scheduler.LambdaLR`: the initial learning rate times a function of the epoch; and `MultiplicativeLR`: the
//! current one times such a function.

use super::options::EachGroup;
use super::prelude::*;

/// `LambdaLR(optimizer, lr_lambda)`: the initial learning rate times `lr_lambda(epoch)`.
///
/// ```
/// use rekindle_train::lr_scheduler::LambdaLR;
///
/// let decay = LambdaLR::new(|epoch| 0.95_f64.powf(epoch as f64));
/// ```
#[derive(Clone, Debug)]
pub struct LambdaLR {
    lr_lambda: EachGroup<Function>,
}

/// `MultiplicativeLR(optimizer, lr_lambda)`: the current learning rate times `lr_lambda(epoch)`, from epoch 1 on.
#[derive(Clone, Debug)]
pub struct MultiplicativeLR {
    lr_lambda: EachGroup<Function>,
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
                $options { lr_lambda: EachGroup::Each(lr_lambdas.into_iter().collect()) }
            }
        }

        impl From<Function> for $options {
            fn from(function: Function) -> Self {
                $options { lr_lambda: EachGroup::Same(function) }
            }
        }

        impl Fields for $options {}

        impl InWords for $options {}

        impl Options for $options {
            fn functions(&self, groups: usize) -> Result<Vec<Function>> {
                self.lr_lambda.of("lr_lambda", groups)
            }
        }
    )* };
}

lambda! { LambdaLR MultiplicativeLR }

/// The formula of both, with the function of each group.
pub(super) struct Lambda<const MULTIPLICATIVE: bool>(Vec<Function>);

impl<const MULTIPLICATIVE: bool> Formula for Lambda<MULTIPLICATIVE> {
    fn read(given: &Given) -> Computed<Self> {
        match given.functions.len() {
            found if found == given.groups => Ok(Lambda(given.functions.to_vec())),
            found => Err(wrong_count("lr_lambda", found, given.groups).into()),
        }
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let factor = || self.0[now.index].call(now.epoch);
        Ok(match MULTIPLICATIVE {
            true if now.initial => now.lr,
            true => now.lr * factor(),
            false => now.base()? * factor(),
        })
    }
}
