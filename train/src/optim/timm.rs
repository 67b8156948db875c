//! What timm's optimizers have in common: caution, and weight decay that is corrected for the schedule.

use super::group::ParamGroup;
use super::vector::Vector;
use crate::attributes::Attributes;
use rekindle_recorder::{Result, Value};

/// `max_lr_snapshot` of a group: the learning rate that the optimizer was made with, unless it was said.
pub(super) fn snapshot(given: Option<f64>, lr: f64) -> Value {
    given.unwrap_or(lr).into()
}

/// A group of a release before there was a `max_lr_snapshot`: the learning rate that it was made with, where the group tells it.
/// It is left out where it counts and is not told.
pub(super) fn complete(group: &mut Attributes) {
    let made_with = ["initial_lr", "lr"].into_iter().find(|name| group.contains(name)).unwrap_or("lr");
    let counts = group.is_set("corrected_weight_decay").unwrap_or(true);
    if let Ok(lr) = group.float(made_with)
        && (made_with == "initial_lr" || !counts)
    {
        group.set_default("max_lr_snapshot", lr);
    }
}

/// What weight decay is multiplied by where it is decoupled: `lr`, or `lr ** 2 / max_lr` where it is corrected.
pub(super) fn decay_rate(group: &Attributes) -> Result<f64> {
    let lr = group.float("lr")?;
    if group.flag("corrected_weight_decay")? { Ok(lr.powi(2) / group.float("max_lr_snapshot")?) } else { Ok(lr) }
}

/// Counts a step of a group that has an `int` for it, from 1.
pub(super) fn count(group: &mut ParamGroup) -> Result<()> {
    let step = if group.contains("step") { group.int("step")? } else { 0 };
    group.set("step", step.saturating_add(1));
    Ok(())
}

/// Caution as in "Cautious Optimizers" (<https://arxiv.org/abs/2411.16085>): of an update, what has the gradient's sign, larger by
/// as much as there is left out.
pub(super) fn cautious<X: Vector>(update: X, grad: X) -> Result<X> {
    let mask = update.clone().mul_by(grad).by_sign(0.0, 0.0, 1.0);
    let kept = mask.mean()?.max(mask.round(1e-3));
    Ok(update.mul_by(mask.div(kept)))
}
