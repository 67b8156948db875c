//! The scheduler that a checkpoint's state is of, and how often it is stepped.

use rekindle_recorder::Result;
use rekindle_recorder::run::{Question, RunState};

use crate::attributes::invalid;
use crate::lr_scheduler::LRScheduler;
use crate::optim::Optimizer;
use crate::run::options::{ResumeOptions, SchedulePer};
use crate::run::plan::{SchedulerPlan, ask_schedule_per, schedule_per};

/// A scheduler that goes on, or none.
#[derive(Default)]
pub(super) struct Scheduled {
    pub(super) scheduler: Option<LRScheduler>,
    pub(super) plan: Option<SchedulerPlan>,
    pub(super) per: SchedulePer,
}

impl Scheduled {
    /// The scheduler of a run, whose optimizer has made so many steps.
    ///
    /// # Errors
    /// When it is another one than was said.
    pub(super) fn make(
        state: &RunState,
        step: Option<i64>,
        optimizer: &Optimizer,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Scheduled> {
        let nothing = Scheduled { per: options.schedule_per.unwrap_or_default(), ..Scheduled::default() };
        let (Some(saved), false) = (state.schedulers.first(), options.no_scheduler) else { return Ok(nothing) };
        if state.schedulers.len() > 1 {
            questions.push(none(format!("the file holds {} schedulers, and one can go on", state.schedulers.len())));
            return Ok(nothing);
        }
        let made = match options.schedule.take() {
            Some(schedule) => LRScheduler::resume(schedule, saved, optimizer),
            None => LRScheduler::from_state_dict(saved, optimizer),
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let named = none(error.to_string()).or("ResumeOptions::schedule(NAME(..))", "to say how it was made");
                questions.push(named);
                return Ok(nothing);
            }
        };
        if made.needs_position() || made.is_fractional() {
            let why = if made.needs_position() {
                "does not say how far it has come"
            } else {
                "is stepped by parts of epochs"
            };
            questions.push(none(format!(
                "the scheduler {} {why}, and a run steps it after whole steps or epochs",
                made.kind()
            )));
            return Ok(nothing);
        }
        let (kind, last_epoch) = (made.kind(), made.position());
        if let Some(expected) = options.scheduler
            && expected != kind
        {
            return Err(invalid(format!("the checkpoint's scheduler is {kind}, not {expected}")));
        }
        let said = options.schedule_per.map(|per| (per, "as it was said".to_owned()));
        let found = said.or_else(|| schedule_per(&made, state.epoch, step));
        if found.is_none() {
            questions.push(ask_schedule_per(kind, last_epoch));
        }
        let (per, why) = found.unwrap_or((SchedulePer::Step, "not told".to_owned()));
        let next = made.preview(optimizer.param_groups(), 5).unwrap_or_default();
        let plan = SchedulerPlan { kind, last_epoch, per, why, next };
        Ok(Scheduled { scheduler: Some(made), plan: Some(plan), per })
    }
}

/// A question that is answered by leaving the scheduler as it is.
fn none(what: String) -> Question {
    Question::new(what).or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
}
