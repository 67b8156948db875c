//! The momentum that `CyclicLR` and `OneCycleLR` move, where a group has it: in `momentum`, or in the first place of `betas`.

use rekindle_recorder::{Result, Value};

use super::number::Number;
use super::options::PerGroup;
use crate::attributes::invalid;
use crate::optim::ParamGroup;

/// Whether the momentum is the first of `betas`, as Adam has it, for all groups; an error where there is neither.
pub(super) fn uses_beta1(groups: &[ParamGroup]) -> Result<bool> {
    let all = |name| groups.iter().all(|group| group.contains(name));
    match (all("betas"), all("momentum")) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(invalid("the optimizer has neither momentum nor betas; switch `cycle_momentum` off")),
    }
}

/// Puts a momentum where the group has it.
pub(super) fn set_momentum(group: &mut ParamGroup, momentum: Number) {
    match group.get("betas").and_then(Value::items) {
        Some(betas) => {
            group.set("betas", Value::tuple(std::iter::once(momentum.into()).chain(betas.into_iter().skip(1))));
        }
        None => group.set("momentum", momentum),
    }
}

/// Begins with the upper momentum, and writes both bounds into the groups, unless they are there; gives each group's bounds.
pub(super) fn put_momenta(
    groups: &mut [ParamGroup],
    fresh: bool,
    base: &PerGroup,
    max: &PerGroup,
) -> Result<(Vec<Number>, Vec<Number>)> {
    let max = max.of("max_momentum", groups.len())?;
    let base = base.of("base_momentum", groups.len())?;
    if fresh {
        for (group, (max, base)) in groups.iter_mut().zip(max.iter().zip(&base)) {
            set_momentum(group, *max);
            group.set("max_momentum", *max);
            group.set("base_momentum", *base);
        }
    }
    Ok((base, max))
}
