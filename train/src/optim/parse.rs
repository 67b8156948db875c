//! `NAME(...)`: an optimizer in words, such as `AdamW(lr=3e-4, weight_decay=0.01)`.

use std::str::FromStr;

use rekindle_recorder::{Error, Result};

use super::registry::{Hyperparameters, OptimizerKind};
use crate::attributes::invalid;
use crate::call::{Call, shown, suits};

impl FromStr for Hyperparameters {
    type Err = Error;

    /// Takes `NAME(...)`, with the arguments of Python's constructor by name, but for the parameters; the first may be the learning
    /// rate by its place. What is not said has PyTorch's defaults.
    ///
    /// ```
    /// use rekindle_train::optim::{Hyperparameters, OptimizerKind};
    ///
    /// let adamw: Hyperparameters = "AdamW(lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)".parse()?;
    /// assert_eq!(adamw.kind(), OptimizerKind::AdamW);
    /// assert!("SGD(0.1, momentum='much')".parse::<Hyperparameters>().is_err());
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let call = Call::read(text)?;
        let kind: OptimizerKind = call.name.parse()?;
        let mut made = Hyperparameters::of(kind);
        let mut said: Vec<String> = Vec::new();
        for (place, (name, value)) in call.given.into_iter().enumerate() {
            let name = match name {
                Some(name) => name,
                None if place == 0 => "lr".to_owned(),
                None => return Err(invalid(format!("in {kind}(...) {} has no name; say NAME=VALUE", shown(&value)))),
            };
            if said.contains(&name) {
                return Err(invalid(format!("{kind}(...) says {name} twice")));
            }
            if let Some(default) = made.defaults.get(&name).filter(|default| !suits(&value, default)) {
                let (found, default) = (shown(&value), shown(default));
                return Err(invalid(format!("{kind}'s {name} cannot be {found}; it is something like {default}")));
            }
            made = made.with(&name, value)?;
            said.push(name);
        }
        made.rule().check_defaults(&made.defaults)?;
        made.rule().check(&made.defaults)?;
        Ok(made)
    }
}
