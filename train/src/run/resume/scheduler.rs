//! The scheduler that a checkpoint's state is of, and how often it is stepped.

use rekindle_recorder::run::{Layout, Question, RunState};
use rekindle_recorder::{Checkpoint, Result};

use super::told;
use crate::attributes::invalid;
use crate::lr_scheduler::{LRScheduler, NanoGpt, SteppedBy};
use crate::optim::Optimizer;
use crate::run::options::{ResumeOptions, SchedulePer};
use crate::run::plan::{SchedulerPlan, ask_schedule_per, schedule_per};

/// A scheduler that goes on, or none.
#[derive(Default)]
pub(super) struct Scheduled {
    pub(super) scheduler: Option<LRScheduler>,
    pub(super) plan: Option<SchedulerPlan>,
    pub(super) per: SchedulePer,
    /// Whether it was made as the checkpoint says that it was.
    pub(super) by_told: bool,
}

impl Scheduled {
    /// The scheduler of a run, whose optimizer has made so many steps.
    ///
    /// # Errors
    /// When it is another one than was said.
    pub(super) fn make(
        state: &RunState,
        checkpoint: &Checkpoint,
        step: Option<i64>,
        optimizer: &mut Optimizer,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Scheduled> {
        let nothing = Scheduled { per: options.schedule_per.unwrap_or_default(), ..Scheduled::default() };
        let (Some(saved), false) = (state.schedulers.first(), options.no_scheduler) else {
            if state.told.scheduled && !options.no_scheduler {
                questions.push(none("the run had a scheduler, and its state is missing".to_owned()));
            }
            let again = !options.no_scheduler && !state.layout.keeps_scheduler();
            return if again {
                Self::made_again(state, checkpoint, step, optimizer, options, questions)
            } else {
                Ok(nothing)
            };
        };
        if state.schedulers.len() > 1 {
            questions.push(none(format!("the file holds {} schedulers, and one can go on", state.schedulers.len())));
            return Ok(nothing);
        }
        let mut by_told = false;
        let made = match options.schedule.take() {
            Some(schedule) => LRScheduler::resume(schedule, saved, optimizer),
            None => LRScheduler::from_state_dict(saved, optimizer).or_else(|error| {
                let made = told::scheduler(state, saved, optimizer);
                by_told = made.is_some();
                made.ok_or(error)
            }),
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                questions.push(made_how(error.to_string()));
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
        let counted = || {
            // As often as there were epochs, while nobody counts steps: of one each, if it was stepped per step.
            let epochs = state.epoch.filter(|epoch| step.is_none() && *epoch > 0 && state.layout.counts_epochs())?;
            (last_epoch == Some(epochs))
                .then(|| (SchedulePer::Epoch, format!("it was stepped {epochs} times, as the epochs")))
        };
        let found = said.or_else(|| schedule_per(&made, state.epoch, step)).or_else(counted);
        if found.is_none() {
            questions.push(ask_schedule_per(kind, last_epoch));
        }
        let (per, why) = found.unwrap_or((SchedulePer::Step, "not told".to_owned()));
        let next = made.preview(optimizer.param_groups(), 5).unwrap_or_default();
        let plan = SchedulerPlan { kind, last_epoch, per, why, next };
        Ok(Scheduled { scheduler: Some(made), plan: Some(plan), per, by_told })
    }
}

impl Scheduled {
    /// The scheduler of a program that keeps none, and makes it again when it resumes: nanoGPT's is told by its `config`.
    fn made_again(
        state: &RunState,
        checkpoint: &Checkpoint,
        step: Option<i64>,
        optimizer: &mut Optimizer,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Scheduled> {
        let nothing = Scheduled { per: options.schedule_per.unwrap_or_default(), ..Scheduled::default() };
        let layout = &state.layout;
        let (schedule, why) = match (options.schedule.take(), layout) {
            (Some(schedule), _) => (schedule, "as it was said"),
            (None, Layout::NanoGpt) => {
                let config = checkpoint.value("config").and_then(|config| NanoGpt::from_config(&config));
                match config {
                    Ok(schedule) => (schedule.into(), "as `config` says"),
                    Err(error) => {
                        questions.push(made_how(format!("nanogpt sets the learning rates itself ({error})")));
                        return Ok(nothing);
                    }
                }
            }
            (None, _) => {
                questions
                    .push(made_how(format!("{layout} makes its schedule again when it resumes, and no file has it")));
                return Ok(nothing);
            }
        };
        // Made anew only to be asked, with the groups as they were afterwards.
        let groups = optimizer.param_groups().to_vec();
        let mut made = LRScheduler::new(schedule.clone(), optimizer)?;
        optimizer.param_groups_mut().clone_from_slice(&groups);
        let own = match made.stepped_by() {
            Some(SteppedBy::Step) => Some(SchedulePer::Step),
            Some(SteppedBy::Epoch) => Some(SchedulePer::Epoch),
            _ => None,
        };
        let per = options.schedule_per.or(own).unwrap_or(SchedulePer::Epoch);
        let position = if per == SchedulePer::Step { step } else { state.epoch };
        let Some(position) = position else {
            let what = format!("{layout} does not say how far its schedule has come");
            questions.push(none(what));
            return Ok(nothing);
        };
        // PyTorch's own are made where they are, the others stepped there.
        made = match LRScheduler::at(schedule.clone(), position, optimizer) {
            Ok(made) => made,
            Err(_) => LRScheduler::with_last_epoch(schedule, optimizer, position.saturating_sub(1))?,
        };
        let next = made.preview(optimizer.param_groups(), 5).unwrap_or_default();
        let plan = SchedulerPlan { kind: made.kind(), last_epoch: Some(position), per, why: why.to_owned(), next };
        Ok(Scheduled { scheduler: Some(made), plan: Some(plan), per, by_told: false })
    }
}

/// A question that is answered by saying how the scheduler was made.
fn made_how(what: String) -> Question {
    none(what).or("ResumeOptions::schedule(NAME(..))", "to say how it was made")
}

/// A question that is answered by leaving the scheduler as it is.
fn none(what: String) -> Question {
    Question::new(what).or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
}
