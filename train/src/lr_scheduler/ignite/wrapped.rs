//! ignite's `LRScheduler`: sets the rates that one of PyTorch's schedulers has at its epoch, and counts that on. PyTorch's `step()` is
//! never called, so that its `_step_count` and `_last_lr` stay as its constructor left them.

use super::{check_events, common};
use crate::lr_scheduler::prelude::*;
use crate::lr_scheduler::schedule::Schedule;

/// ignite's `LRScheduler(lr_scheduler)`, around one of PyTorch's.
#[derive(Clone, Debug)]
pub struct IgniteLRScheduler {
    lr_scheduler: Vec<Schedule>,
}

impl IgniteLRScheduler {
    /// Around this one.
    pub fn new(lr_scheduler: impl Into<Schedule>) -> Self {
        IgniteLRScheduler { lr_scheduler: vec![lr_scheduler.into()] }
    }
}

impl Fields for IgniteLRScheduler {}

impl InWords for IgniteLRScheduler {
    const MAKE: Option<Make> = Some(|given| {
        let call: String = given.required("lr_scheduler")?;
        Ok(IgniteLRScheduler::new(call.parse::<Schedule>()?).into())
    });
}

impl Options for IgniteLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(common("lr").to_vec())
    }

    fn children(&self) -> &[Schedule] {
        &self.lr_scheduler
    }
}

pub(in crate::lr_scheduler) struct Wrapped;

impl Rule for Wrapped {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_events(scheduler, groups)?;
        let [child] = &scheduler.children[..] else {
            return Err(invalid("ignite's LRScheduler is around one scheduler of PyTorch's"));
        };
        child.check(groups)?;
        // Those that are no formula have no rates but where they are stepped, in ignite as here.
        let name = child.class.name;
        if !child.class.rule.is_formula() || child.takes_parts() {
            let what = format!("ignite's LRScheduler around {name}");
            return Err(Error::unsupported(what).advise("make a new scheduler, which takes its place"));
        }
        Ok(())
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let event = scheduler.attributes.int("event_index")?;
        let Some(child) = scheduler.children.first_mut() else {
            return Err(invalid("ignite's LRScheduler is around one scheduler of PyTorch's"));
        };
        child.class.rule.set_rates(child, groups)?;
        child.attributes.set("last_epoch", child.attributes.int("last_epoch")?.saturating_add(1));
        scheduler.attributes.set("event_index", event.saturating_add(1));
        Ok(())
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.attributes.int("event_index").ok()
    }
}
