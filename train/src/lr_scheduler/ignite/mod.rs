//! ignite's schedulers (`ignite.handlers.param_scheduler`): handlers that count the events they are called at, and set an entry of the
//! groups to what belongs to that count. ignite's documentation calls them at the beginning of an iteration, so that they are stepped
//! before the optimizer; where a program calls them is in no file.

mod cyclical;
mod parts;
mod piecewise;
mod wrapped;

use std::ops::Range;

use rekindle_recorder::{Result, Value};

use super::kind::SchedulerKind;
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

pub use cyclical::{CosineAnnealingScheduler, LinearCyclicalScheduler};
pub use parts::{ConcatScheduler, ParamGroupScheduler};
pub use piecewise::PiecewiseLinear;
pub use wrapped::IgniteLRScheduler;

pub(super) use cyclical::{Cyclical, spelled, told_apart};
pub(super) use parts::{Concat, OfGroups};
pub(super) use piecewise::Piecewise;
pub(super) use wrapped::Wrapped;

/// The package, as the table of all schedulers has it.
pub(super) const PACKAGE: &str = "ignite.handlers";

/// What the base class keeps.
pub(super) const EVENTS: &[&str] = &["event_index", "param_name", "save_history", "param_group_index"];

/// What the base class sets, for an entry of all groups.
fn common(param_name: &str) -> [(&'static str, Value); 4] {
    [
        ("event_index", 0.into()),
        ("param_name", param_name.into()),
        ("save_history", false.into()),
        ("param_group_index", Value::None),
    ]
}

/// Which of so many groups a scheduler is of: all, or one.
fn own(attributes: &Attributes, count: usize) -> Result<Range<usize>> {
    let index = match attributes.get("param_group_index") {
        None | Some(Value::None) => return Ok(0..count),
        Some(_) => attributes.int("param_group_index")?,
    };
    // Python counts from the end where it is negative.
    let place = i64::try_from(count).ok().map(|count| if index < 0 { index + count } else { index });
    let place = place.and_then(|place| usize::try_from(place).ok()).filter(|place| *place < count);
    place
        .map(|place| place..place + 1)
        .ok_or_else(|| invalid(format!("the scheduler is of group {index}, and the optimizer has {count} groups")))
}

/// Counts an event, at which the groups get this value.
fn put(scheduler: &mut LRScheduler, groups: &mut [ParamGroup], value: f64) -> Result<()> {
    let attributes = &mut scheduler.attributes;
    let (name, own) = (attributes.text("param_name")?, own(attributes, groups.len())?);
    groups[own].iter_mut().for_each(|group| group.set(&name, value));
    attributes.set("event_index", attributes.int("event_index")?.saturating_add(1));
    Ok(())
}

/// Refuses what no scheduler can count by.
fn check_events(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    let attributes = &scheduler.attributes;
    attributes.int("event_index")?;
    attributes.text("param_name")?;
    own(attributes, groups).map(drop)
}

impl LRScheduler {
    /// Whether it counts the events that it is called at, so that the first one sets the first rate: one of ignite's.
    pub(crate) fn counts_events(&self) -> bool {
        self.class.package == PACKAGE
    }
}

impl SchedulerKind {
    /// Whether it is one of ignite's.
    pub(crate) fn counts_events(self) -> bool {
        self.package() == PACKAGE
    }
}
