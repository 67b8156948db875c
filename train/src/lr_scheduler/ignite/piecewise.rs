//! `PiecewiseLinear`: straight lines between values at given events.

use super::{check_events, common, put};
use crate::lr_scheduler::prelude::*;

/// `PiecewiseLinear(optimizer, param_name, milestones_values, param_group_index)`: the first value until the first milestone, straight
/// lines from one to the next, and the last value from the last one on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PiecewiseLinear {
    param_name: String,
    milestones_values: Vec<(i64, f64)>,
    param_group_index: Option<i64>,
}

impl PiecewiseLinear {
    /// The entry of the groups that it sets, such as `lr`, and the events with their values, in ascending order.
    pub fn new(param_name: impl Into<String>, milestones_values: impl Into<Vec<(i64, f64)>>) -> Self {
        let (param_name, milestones_values) = (param_name.into(), milestones_values.into());
        PiecewiseLinear { param_name, milestones_values, param_group_index: None }
    }

    /// Which group it is of. Default `None`: all.
    #[must_use]
    pub fn param_group_index(self, param_group_index: impl Into<Option<i64>>) -> Self {
        PiecewiseLinear { param_group_index: param_group_index.into(), ..self }
    }
}

impl Fields for PiecewiseLinear {}

impl InWords for PiecewiseLinear {
    const MAKE: Option<Make> = Some(|given| {
        let name: String = given.required("param_name")?;
        let pairs = given.take("milestones_values").and_then(|list| list.items()).unwrap_or_default();
        let pair = |pair: &Value| match &pair.items()?[..] {
            [event, value] => Some((event.as_i64()?, value.as_f64()?)),
            _ => None,
        };
        let pairs: Option<Vec<_>> = pairs.iter().map(pair).collect();
        let pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or_else(|| {
            invalid("milestones_values must be a list of events with their values, such as [(0, 0.1), (100, 0.01)]")
        })?;
        let index: Option<i64> = given.optional("param_group_index", || None)?;
        Ok(PiecewiseLinear::new(name, pairs).param_group_index(index).into())
    });
}

impl Options for PiecewiseLinear {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let (milestones, values): (Vec<i64>, Vec<f64>) = self.milestones_values.iter().copied().unzip();
        if milestones.is_empty() || !milestones.is_sorted() {
            return Err(invalid("PiecewiseLinear's milestones must be one or more, in ascending order"));
        }
        let own = [("values", values.into()), ("milestones", milestones.into()), ("_index", 0.into())];
        let base = with(common(&self.param_name).to_vec(), [("param_group_index", self.param_group_index.into())]);
        Ok(base.into_iter().chain(own).collect())
    }
}

pub(in crate::lr_scheduler) struct Piecewise;

/// The line at an event: from which event to which, and from which value to which.
fn line(attributes: &mut Attributes) -> Result<(i64, i64, f64, f64)> {
    let event = attributes.int("event_index")?;
    let (milestones, values) = (attributes.ints("milestones")?, attributes.floats("values")?);
    let points: Vec<_> = milestones.into_iter().zip(values).collect();
    if let Some((_, first)) = points.first().filter(|(milestone, _)| *milestone > event) {
        return Ok((event.saturating_sub(1), event, *first, *first));
    }
    if let Some((_, last)) = points.last().filter(|(milestone, _)| *milestone <= event) {
        return Ok((event, event.saturating_add(1), *last, *last));
    }
    let before = usize::try_from(attributes.int("_index")?).unwrap_or(0);
    let lines = points.iter().zip(points.iter().skip(1)).enumerate().skip(before);
    for (index, (&(from, start), &(to, end))) in lines {
        if from <= event && event < to {
            attributes.set("_index", i64::try_from(index).unwrap_or(i64::MAX));
            return Ok((from, to, start, end));
        }
    }
    Err(invalid(format!("PiecewiseLinear has no value at event {event}")))
}

impl Rule for Piecewise {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_events(scheduler, groups)?;
        let attributes = &scheduler.attributes;
        attributes.int("_index")?;
        let (milestones, values) = (attributes.ints("milestones")?, attributes.floats("values")?);
        if milestones.is_empty() || milestones.len() != values.len() {
            let (found, expected) = (values.len(), milestones.len());
            return Err(invalid(format!("PiecewiseLinear has {expected} milestones and {found} values")));
        }
        Ok(())
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let event = scheduler.attributes.int("event_index")?;
        let (from, to, start, end) = line(&mut scheduler.attributes)?;
        let part = divide((end - start) * real(event.saturating_sub(from)), real(to.saturating_sub(from)));
        let value = part.map_err(|failure| blame(scheduler, failure))? + start;
        put(scheduler, groups, value)
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.attributes.int("event_index").ok()
    }
}
