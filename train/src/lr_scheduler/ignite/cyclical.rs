//! `LinearCyclicalScheduler` and `CosineAnnealingScheduler`: from one value to another in each cycle. Both keep the same; which of them
//! it was, and whether the linear one is monotonic, is told by the values in the groups alone.

use super::{check_events, common, own, put};
use crate::lr_scheduler::kind::SchedulerKind;
use crate::lr_scheduler::prelude::*;

macro_rules! cyclical {
    ($(#[$about:meta])* $name:ident { $($(#[$more:meta])* $option:ident: $kind:ty = $default:expr,)* }) => {
        options! {
            $(#[$about])*
            #[derive(PartialEq)]
            pub struct $name;

            /// From `start_value` to `end_value` in cycles of `cycle_size` events.
            pub fn new(
                /// The entry of the groups that it sets, such as `lr`.
                param_name(impl Into<String>): String,
                /// The value at the beginning of a cycle.
                start_value: f64,
                /// The value at the end of a cycle, or in its midst.
                end_value: f64,
                /// Events of a cycle, 2 or more.
                cycle_size: i64,
            );

            /// How many times as long each cycle is than the one before. Default 1.
            cycle_mult: f64 = 1.0,
            /// What `start_value` is multiplied by after each cycle. Default 1.
            start_value_mult: f64 = 1.0,
            /// What `end_value` is multiplied by after each cycle. Default 1.
            end_value_mult: f64 = 1.0,
            /// Events after each cycle in which it goes back to the start in a straight line. Default 0.
            warmup_duration: i64 = 0,
            /// Which group it is of. Default `None`: all.
            param_group_index(impl Into<Option<i64>>): Option<i64> = None,
            $($(#[$more])* $option: $kind = $default,)*
        }
    };
}

cyclical! {
    /// `LinearCyclicalScheduler(optimizer, param_name, start_value, end_value, cycle_size, ...)`: in a straight line to `end_value` in
    /// the midst of each cycle, and back.
    LinearCyclicalScheduler {
        /// Whether it goes to `end_value` in the whole of a cycle, and not back. Default: no.
        monotonic: bool = false,
    }
}

cyclical! {
    /// `CosineAnnealingScheduler(optimizer, param_name, start_value, end_value, cycle_size, ...)`: half a cosine wave to `end_value` in
    /// each cycle.
    CosineAnnealingScheduler {}
}

/// What their state dicts have.
const KEPT: &[&str] = &[
    "event_index",
    "param_name",
    "save_history",
    "param_group_index",
    "start_value",
    "end_value",
    "cycle_size",
    "cycle_mult",
    "cycle",
    "start_value_mult",
    "end_value_mult",
    "warmup_duration",
    "total_cycle_size",
];

/// The attributes of either, of what their options have in common.
fn attributes(given: &dyn Fields, (size, warmup): (i64, i64)) -> Result<Entries> {
    if size < 2 {
        return Err(invalid(format!("a cycle must have 2 events or more, and cycle_size is {size}")));
    }
    let mut given = given.entries();
    let mut take = |name: &str| {
        let place = given.iter().position(|(known, _)| *known == name);
        place.map_or(Value::None, |place| given.remove(place).1)
    };
    let name = take("param_name");
    let own = ["start_value", "end_value", "cycle_size", "cycle_mult"].map(|name| (name, take(name)));
    let later = ["start_value_mult", "end_value_mult", "warmup_duration"].map(|name| (name, take(name)));
    let group = take("param_group_index");
    let base = with(common(name.as_str().unwrap_or_default()).to_vec(), [("param_group_index", group)]);
    let total = [("total_cycle_size", size.saturating_add(warmup).into())];
    Ok(base.into_iter().chain(own).chain([("cycle", 0.into())]).chain(later).chain(total).collect())
}

impl Options for LinearCyclicalScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        if self.warmup_duration > 0 && !self.monotonic {
            return Err(invalid("LinearCyclicalScheduler takes a warmup_duration only with monotonic=True"));
        }
        let entries = attributes(self, (self.cycle_size, self.warmup_duration))?;
        Ok(with(entries, [(MONOTONIC, self.monotonic.into())]))
    }

    fn unsaved(&self, _groups: &[ParamGroup]) -> Result<Entries> {
        Ok(vec![(MONOTONIC, self.monotonic.into())])
    }
}

impl Options for CosineAnnealingScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        attributes(self, (self.cycle_size, self.warmup_duration))
    }
}

/// The attribute that no state dict has.
const MONOTONIC: &str = "monotonic";

/// The way from the start to the end of a cycle.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    ThereAndBack,
    Monotonic,
    Cosine,
}

impl Way {
    /// All of them, with the scheduler that goes so, and what is said of it.
    const ALL: [(Way, SchedulerKind, &str); 3] = [
        (Way::ThereAndBack, SchedulerKind::LinearCyclicalScheduler, "for a straight line there and back"),
        (Way::Monotonic, SchedulerKind::LinearCyclicalScheduler, "for a straight line there"),
        (Way::Cosine, SchedulerKind::CosineAnnealingScheduler, "for half a cosine wave"),
    ];
}

/// The value at an event, of the cycle that is under way.
fn value(attributes: &Attributes, way: Way, event: i64) -> Computed<f64> {
    let (start, end) = (attributes.float("start_value")?, attributes.float("end_value")?);
    let size = attributes.int("cycle_size")?;
    if event > size {
        let part = divide(real(event.saturating_sub(size)), real(attributes.int("warmup_duration")?))?;
        return Ok(end + (start - end) * part);
    }
    let part = divide(real(event), real(size))?;
    Ok(match way {
        Way::ThereAndBack => end + (start - end) * (part - 0.5).abs() * 2.0,
        Way::Monotonic => start + (end - start) * part,
        Way::Cosine => start + ((end - start) / 2.0) * (1.0 - (PI * part).cos()),
    })
}

/// Whether the groups have the value that was set at the last event.
fn stands(attributes: &Attributes, groups: &[ParamGroup], way: Way) -> Option<bool> {
    let event = attributes.int("event_index").ok().filter(|event| *event > 0)?.saturating_sub(1);
    let (name, value) = (attributes.text("param_name").ok()?, value(attributes, way, event).ok()?);
    let mut own = groups[own(attributes, groups.len()).ok()?].iter();
    Some(own.all(|group| group.float(&name).is_ok_and(|found| found.to_bits() == value.to_bits())))
}

/// Which of the schedulers that keep the same it was, told by the values in the groups; whether it is monotonic is put among the
/// attributes. One that is `done`, and is never called again, may be any.
pub(in crate::lr_scheduler) fn told_apart(
    attributes: &mut Attributes,
    groups: &[ParamGroup],
    done: bool,
) -> Option<SchedulerKind> {
    complete(attributes);
    let fits = |way: Way| done || stands(attributes, groups, way).unwrap_or(false);
    let found: Vec<_> = Way::ALL.into_iter().filter(|(way, ..)| fits(*way)).collect();
    let (way, kind, _) = match found[..] {
        [one] => one,
        [first, ..] if done => first,
        _ => return None,
    };
    if kind == SchedulerKind::LinearCyclicalScheduler {
        attributes.set_default(MONOTONIC, way == Way::Monotonic);
    }
    Some(kind)
}

/// How each of the schedulers that a state may be of is said in words, and what it does.
pub(in crate::lr_scheduler) fn spelled(attributes: &Attributes) -> Vec<(String, &'static str)> {
    let shown = |name: &str| attributes.get(name).map_or_else(|| "None".to_owned(), crate::call::shown);
    let [name, start, end, size] = ["param_name", "start_value", "end_value", "cycle_size"].map(shown);
    let warmup = attributes.int("warmup_duration").unwrap_or(0);
    let ways = Way::ALL.into_iter().filter(|(way, ..)| *way != Way::ThereAndBack || warmup == 0);
    let spelled = ways.map(|(way, kind, says)| {
        let monotonic = if way == Way::Monotonic { ", monotonic=True" } else { "" };
        (format!("{kind}({name}, {start}, {end}, {size}{monotonic})"), says)
    });
    spelled.collect()
}

/// Releases before 0.4.13 had no warm-up.
fn complete(attributes: &mut Attributes) {
    attributes.set_default("warmup_duration", 0);
    if let Ok(size) = attributes.int("cycle_size") {
        attributes.set_default("total_cycle_size", size);
    }
}

/// The rule of either.
pub(in crate::lr_scheduler) struct Cyclical<const COSINE: bool>;

impl<const COSINE: bool> Cyclical<COSINE> {
    fn way(attributes: &Attributes) -> Result<Way> {
        Ok(match (COSINE, attributes.is_set(MONOTONIC)?) {
            (true, _) => Way::Cosine,
            (false, true) => Way::Monotonic,
            (false, false) => Way::ThereAndBack,
        })
    }
}

/// `int(size * factor)`.
fn longer(size: i64, factor: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // as Python's
    let longer = (real(size) * factor) as i64;
    longer
}

impl<const COSINE: bool> Rule for Cyclical<COSINE> {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_events(scheduler, groups)?;
        let attributes = &scheduler.attributes;
        for name in ["cycle_size", "cycle", "warmup_duration", "total_cycle_size"] {
            attributes.int(name)?;
        }
        for name in ["start_value", "end_value", "cycle_mult", "start_value_mult", "end_value_mult"] {
            attributes.float(name)?;
        }
        Self::way(attributes).map(drop)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let attributes = &mut scheduler.attributes;
        let mut event = attributes.int("event_index")?;
        if event != 0 && event == attributes.int("cycle_size")? {
            attributes.set("start_value", attributes.float("start_value")? * attributes.float("start_value_mult")?);
        }
        if event != 0 && event == attributes.int("total_cycle_size")? {
            event = 0;
            let factor = attributes.float("cycle_mult")?;
            let size = longer(attributes.int("cycle_size")?, factor);
            let warmup = longer(attributes.int("warmup_duration")?, factor);
            attributes.set("event_index", 0);
            attributes.set("cycle_size", size);
            attributes.set("warmup_duration", warmup);
            attributes.set("total_cycle_size", size.saturating_add(warmup));
            attributes.set("cycle", attributes.int("cycle")?.saturating_add(1));
            attributes.set("end_value", attributes.float("end_value")? * attributes.float("end_value_mult")?);
        }
        let value = value(attributes, Self::way(attributes)?, event).map_err(|failure| blame(scheduler, failure))?;
        put(scheduler, groups, value)
    }

    fn complete(&self, attributes: &mut Attributes) {
        complete(attributes);
    }

    /// Not where cycles grow: how long the first ones were is in no state.
    #[allow(clippy::float_cmp)]
    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        let attributes = &scheduler.attributes;
        let (cycle, event) = (attributes.int("cycle").ok()?, attributes.int("event_index").ok()?);
        let known = cycle == 0 || attributes.float("cycle_mult").ok()? == 1.0;
        let before = cycle.checked_mul(attributes.int("total_cycle_size").ok()?)?;
        known.then(|| before.saturating_add(event))
    }

    fn kept(&self) -> Option<&'static [&'static str]> {
        Some(KEPT)
    }
}
