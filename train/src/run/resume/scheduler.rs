//! The schedulers that a checkpoint's states are of, where each of them stands, and how often it is stepped.

use rekindle_recorder::run::{Layout, Question, RunState};
use rekindle_recorder::{Checkpoint, Result, Value};

use crate::attributes::invalid;
use crate::lr_scheduler::{LRScheduler, NanoGpt, SteppedBy};
use crate::optim::Optimizer;
use crate::run::options::{ResumeOptions, SchedulePer};
use crate::run::plan::SchedulerPlan;
use crate::run::schedule::{Scheduled, Schedulers};

use super::counts::{Counts, ask};
use super::told;

/// How many positions are tried for one at which the learning rates are those of the file.
const TRIED: i64 = 200_000;

/// Schedulers that go on, and the plan of each.
#[derive(Default)]
pub(super) struct Scheduling {
    pub(super) schedulers: Schedulers,
    pub(super) plans: Vec<SchedulerPlan>,
    /// Whether one was made as the checkpoint says that it was.
    pub(super) by_told: bool,
}

impl Scheduling {
    /// The schedulers of a run, whose optimizer has made so many steps.
    ///
    /// # Errors
    /// When one is another than was said, or cannot be stepped as often as was said.
    pub(super) fn make(
        state: &RunState,
        checkpoint: &Checkpoint,
        step: Option<i64>,
        optimizer: &mut Optimizer,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Scheduling> {
        let count = state.schedulers.len();
        if count == 0 && state.told.scheduled && !options.no_scheduler {
            questions.push(none("the run had a scheduler, and its state is missing".to_owned()));
        }
        if count == 0 && !options.no_scheduler && !state.layout.keeps_scheduler() {
            return Self::made_again(state, checkpoint, step, optimizer, options, questions);
        }
        let said = std::mem::take(&mut options.schedule_per);
        let default = said.first().copied().unwrap_or_default();
        if count == 0 || options.no_scheduler {
            return Ok(Scheduling::none(default));
        }
        if said.len() > 1 && said.len() != count {
            let what = format!("how often is said of {} schedulers, and the file has {count}", said.len());
            return Err(invalid(what));
        }
        let counts = Counts { epoch: state.epoch, step };
        let (mut list, mut plans, mut open, mut by_told) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (place, saved) in state.schedulers.iter().enumerate() {
            let mut scheduler = match restored(state, saved, optimizer, options) {
                Ok((made, told)) => {
                    by_told |= told;
                    made
                }
                Err(error) => {
                    questions.push(made_how(error.to_string()));
                    continue;
                }
            };
            let placed = scheduler.needs_position();
            if placed && let Some(question) = place_at(&mut scheduler, options.schedule_at, &counts, optimizer) {
                questions.push(question);
                continue;
            }
            let said = said.get(place).or(said.first()).copied();
            let told = said.map_or_else(|| Ok(counts.per(&scheduler)), |per| as_said(&scheduler, per).map(Some))?;
            open.push((scheduler.kind(), scheduler.position(), told.as_ref().map(|(per, _)| *per)));
            let (per, mut why) = told.unwrap_or((SchedulePer::Step, "not told".to_owned()));
            if placed && options.schedule_at.is_none() {
                why += ", and the learning rates where it stands";
            }
            let next = if count == 1 && per != SchedulePer::Fraction {
                scheduler.preview(optimizer.param_groups(), 5).unwrap_or_default()
            } else {
                Vec::new()
            };
            let counted = counts.counted(&scheduler).map(|(per, _)| per);
            plans.push(SchedulerPlan {
                kind: scheduler.kind(),
                last_epoch: scheduler.position(),
                per,
                why,
                counted,
                next,
            });
            list.push(Scheduled { scheduler, per });
        }
        if let Some(expected) = options.scheduler
            && !plans.is_empty()
            && !plans.iter().any(|plan| plan.kind == expected)
        {
            return Err(invalid(format!("the checkpoint's scheduler is {}, not {expected}", plans[0].kind)));
        }
        questions.extend(ask(&open));
        Ok(Scheduling { schedulers: Schedulers::new(list, default), plans, by_told })
    }
}

impl Scheduling {
    /// The scheduler of a program that keeps none, and makes it again when it resumes: nanoGPT's is told by its `config`.
    fn made_again(
        state: &RunState,
        checkpoint: &Checkpoint,
        step: Option<i64>,
        optimizer: &mut Optimizer,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Scheduling> {
        let said = options.schedule_per.first().copied();
        let nothing = Scheduling::none(said.unwrap_or_default());
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
        let per = said.or(own).unwrap_or(SchedulePer::Epoch);
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
        let (kind, last_epoch, why) = (made.kind(), Some(position), why.to_owned());
        let plan = SchedulerPlan { kind, last_epoch, per, why, counted: None, next };
        let schedulers = Schedulers::new(vec![Scheduled { scheduler: made, per }], per);
        Ok(Scheduling { schedulers, plans: vec![plan], by_told: false })
    }

    /// None.
    fn none(per: SchedulePer) -> Self {
        Scheduling { schedulers: Schedulers::new(Vec::new(), per), plans: Vec::new(), by_told: false }
    }
}

/// One of the schedulers of a file, and whether it was made as the checkpoint says that it was. The schedule that was named is
/// that of the only one, or of the first that needs it.
fn restored(
    state: &RunState,
    saved: &Value,
    optimizer: &Optimizer,
    options: &mut ResumeOptions,
) -> Result<(LRScheduler, bool)> {
    let made = LRScheduler::from_state_dict(saved, optimizer);
    if made.is_ok() && state.schedulers.len() > 1 {
        return made.map(|made| (made, false));
    }
    if let Some(schedule) = options.schedule.take() {
        return LRScheduler::resume(schedule, saved, optimizer).map(|made| (made, false));
    }
    match made {
        Ok(made) => Ok((made, false)),
        Err(error) => told::scheduler(state, saved, optimizer).map(|made| (made, true)).ok_or(error),
    }
}

/// Says how far a scheduler has come whose state does not say it: to where the learning rates of the file are its own.
fn place_at(
    scheduler: &mut LRScheduler,
    said: Option<i64>,
    counts: &Counts,
    optimizer: &Optimizer,
) -> Option<Question> {
    if let Some(at) = said {
        scheduler.set_position(at);
        return None;
    }
    let groups = optimizer.param_groups();
    let likely: Vec<i64> = match (scheduler.stepped_by(), counts.epoch, counts.step) {
        // Programs save the epoch that they finished, counted from 0, or how many they finished.
        (Some(SteppedBy::Epoch), Some(epoch), _) => vec![epoch, epoch.saturating_add(1)],
        (Some(SteppedBy::Step), _, Some(step)) => vec![step],
        _ => Vec::new(),
    };
    let mut found: Vec<i64> = scheduler.standing(groups, likely.clone()).collect();
    let among = likely.is_empty() || found.is_empty();
    if among {
        found = scheduler.standing(groups, 0..=TRIED).take(3).collect();
    }
    if let ([at], true) = (&found[..], likely.is_empty() || !among) {
        scheduler.set_position(*at);
        return None;
    }
    let fits = match &found[..] {
        [] => "no position of it has the learning rates of the file".to_owned(),
        _ => "the learning rates of the file do not tell it for certain".to_owned(),
    };
    let mut question =
        Question::new(format!("the state of {} does not say how far it has come, and {fits}", scheduler.kind()));
    for at in &found {
        question = question.or(format!("ResumeOptions::schedule_at({at})"), "to go on from there");
    }
    if found.len() != 1 {
        question = question.or("ResumeOptions::schedule_at(N)", "for the epoch or update that it was stepped to last");
    }
    Some(question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are"))
}

/// How often a scheduler is stepped, as somebody said it.
fn as_said(scheduler: &LRScheduler, per: SchedulePer) -> Result<(SchedulePer, String)> {
    let kind = scheduler.kind();
    let by_metric = scheduler.stepped_by() == Some(SteppedBy::Metric);
    match (per, by_metric) {
        (SchedulePer::Fraction, _) if !scheduler.takes_parts() => {
            Err(invalid(format!("{kind} is not stepped to parts of epochs; it is stepped per step or epoch")))
        }
        (SchedulePer::Metric, false) => {
            Err(invalid(format!("{kind} goes by no metric; it is stepped per step or epoch")))
        }
        (SchedulePer::Step | SchedulePer::Epoch, false) if scheduler.fraction().is_some() => Err(invalid(format!(
            "{kind} stands between two epochs, so that it was stepped by parts of them; say \
             `ResumeOptions::schedule_per(fraction)`"
        ))),
        (_, true) => Ok((SchedulePer::Metric, "it goes by a metric".to_owned())),
        (per, false) => Ok((per, "as it was said".to_owned())),
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
