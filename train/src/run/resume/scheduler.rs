//! The schedulers of a run: those that a checkpoint's states are of, where each of them stands and how often it is stepped; or a
//! new one.

use rekindle_recorder::run::{BESIDE, Layout, Question, RunState};
use rekindle_recorder::{Checkpoint, Result, Value};

use crate::attributes::invalid;
use crate::lr_scheduler::{LRScheduler, NanoGpt, Recognition, Schedule, SchedulerKind, SteppedBy};
use crate::optim::{Optimizer, ParamGroup};
use crate::run::options::{ResumeOptions, SchedulePer};
use crate::run::plan::SchedulerPlan;
use crate::run::schedule::{Scheduled, Schedulers};

use super::by_hand;
use super::changes::Changes;
use super::counts::{Counts, Told, ask, new_choices};
use super::told;

/// What a schedule does that is named where there is none.
const ANEW: &str =
    "to begin it anew, or with `ResumeOptions::schedule_at(N)` beside it to go on where it was stepped N times";

/// How many positions are tried for one at which the learning rates are those of the file.
const TRIED: i64 = 200_000;

/// Schedulers that go on or begin, and the plan of each.
#[derive(Default)]
pub(super) struct Scheduling {
    pub(super) schedulers: Schedulers,
    pub(super) plans: Vec<SchedulerPlan>,
    /// Whether one was made as the checkpoint says that it was.
    pub(super) by_told: bool,
    /// What the user changed, a sentence each.
    pub(super) said: Vec<String>,
}

/// What the schedulers of a run are made by.
pub(super) struct Making<'a> {
    pub(super) state: &'a RunState,
    pub(super) checkpoint: &'a Checkpoint,
    /// How many steps the optimizer has made.
    pub(super) step: Option<i64>,
    /// How many batches were passed through, where several make a step.
    pub(super) batches: Option<i64>,
    pub(super) optimizer: &'a mut Optimizer,
    /// What the user changed in its groups.
    pub(super) changes: &'a Changes,
    pub(super) options: &'a mut ResumeOptions,
    pub(super) questions: &'a mut Vec<Question>,
}

impl Scheduling {
    /// The schedulers of a run.
    ///
    /// # Errors
    /// When one is another than was said, cannot be stepped as often as was said, or a new one cannot be made.
    pub(super) fn make(making: Making<'_>) -> Result<Scheduling> {
        let (state, options) = (making.state, &*making.options);
        let (anew, alone) = (options.new_schedule, options.weights_only);
        let default = options.schedule_per.first().copied().unwrap_or_default();
        let nothing = Scheduling { schedulers: Schedulers::new(Vec::new(), default), ..Scheduling::default() };
        let count = state.schedulers.len();
        if options.no_scheduler {
            let stays =
                "the scheduler stays as it is, and so do the learning rates (`ResumeOptions::no_scheduler(true)`)";
            let said = (count > 0).then(|| stays.to_owned());
            return Ok(Scheduling { said: said.into_iter().collect(), ..nothing });
        }
        let schedule = options.schedule.clone();
        if count == 0 && state.told.scheduled && schedule.is_none() {
            making.questions.push(none("the run had a scheduler, and its state is missing".to_owned()));
        }
        let (new, own) = (options.new_optimizer.is_some() || alone, making.checkpoint.value(BESIDE).is_ok());
        let asks = count == 0 && !state.told.scheduled && state.layout.keeps_scheduler() && schedule.is_none();
        if asks && !new && !own && !making.changes.rates() {
            let begun = making.step > Some(0) || state.epoch > Some(0);
            let what = by_hand::missing(state, making.checkpoint.root(), making.optimizer.param_groups(), begun);
            making.questions.extend(what.map(|what| none(what).or("ResumeOptions::schedule(NAME(..))", ANEW)));
        }
        match (schedule, &state.schedulers[..]) {
            (_, []) if !state.layout.keeps_scheduler() && !anew && !alone => making.made_again(),
            (Some(schedule), []) => making.begin(schedule, None),
            (None, []) => match making.options.scheduler {
                Some(kind) => Err(invalid(format!(
                    "the checkpoint has no scheduler; say how a new {kind} is made: `ResumeOptions::schedule({kind}(..))`"
                ))),
                None => Ok(nothing),
            },
            (Some(schedule), [saved]) if anew || !schedule.fits(saved) => {
                let old = SchedulerKind::infer(saved).map_or("the file's".to_owned(), |kind| kind.to_string());
                making.begin(schedule, Some(&old))
            }
            (Some(_), [_, ..]) if anew => Err(invalid(format!(
                "the file holds {count} schedulers, and a new one cannot stand for them all (`ResumeOptions::new_schedule`)"
            ))),
            _ => making.go_on(),
        }
    }
}

impl Making<'_> {
    /// The checkpoint's schedulers, each at its position.
    fn go_on(self) -> Result<Scheduling> {
        let Making { state, checkpoint, step, batches, optimizer, changes, options, questions } = self;
        let said = std::mem::take(&mut options.schedule_per);
        let default = said.first().copied().unwrap_or_default();
        let count = state.schedulers.len();
        if said.len() > 1 && said.len() != count {
            let what = format!("how often is said of {} schedulers, and the file has {count}", said.len());
            return Err(invalid(what));
        }
        let named = options.schedule.clone().filter(|_| count == 1);
        let has_state = |saved: &Value| {
            let state = saved.as_dict().and_then(|dict| dict.get("state"));
            state.and_then(|state| state.as_dict().map(|state| !state.is_empty())).unwrap_or(false)
        };
        let begun = state.optimizers.iter().any(has_state);
        let before = state.told.stepped_before.then(|| state.told.by.clone());
        let lightning = state.layout == Layout::Lightning;
        let counted_anew = state.steps_per_epoch.filter(|_| lightning);
        // A frequency is of batches, and of steps where each is of one.
        let anew = lightning && state.told.accumulated.is_none_or(|batches| batches == 1);
        let counts = Counts { epoch: state.epoch, step, batches, begun, counted_anew, anew, before };
        // What was saved here with all of its run is restored as it was.
        let looked_at = !changes.rates() && options.new_optimizer.is_none() && checkpoint.value(BESIDE).is_err();
        let mut by_hand = looked_at && by_hand::is_set(&state.schedulers, optimizer.param_groups());
        let at = options.schedule_at;
        let (mut list, mut plans, mut open, mut by_told) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (place, saved) in state.schedulers.iter().enumerate() {
            let mut scheduler = match restored(state, saved, optimizer, options) {
                Ok((made, told)) => {
                    by_told |= told;
                    made
                }
                Err(error) => {
                    let nobodys = matches!(
                        SchedulerKind::recognise(saved),
                        Ok(Recognition::Unknown { .. } | Recognition::Refused { .. }) | Err(_)
                    );
                    let says = if nobodys { "to begin a new one" } else { "to say how it was made" };
                    let mut question = none(error.to_string());
                    for (call, says) in SchedulerKind::spelled_apart(saved) {
                        question = question.or(format!("ResumeOptions::schedule(\"{call}\")"), says);
                    }
                    let form = SchedulerKind::form(saved);
                    questions.push(question.or(format!("ResumeOptions::schedule({form})"), says));
                    continue;
                }
            };
            if misordered(saved, optimizer) {
                let what = "the scheduler has the learning rates of the optimizer's groups in another order than the groups are in";
                questions.push(none(what.to_owned()).or(
                    "ResumeOptions::schedule(NAME(..))",
                    "with `ResumeOptions::new_schedule(true)` beside it, to begin a new one",
                ));
                continue;
            }
            let placed = scheduler.needs_position();
            if placed {
                options.schedule_at = None;
            }
            if placed && let Some(question) = place_at(&mut scheduler, at, &counts, optimizer) {
                questions.push(question);
                continue;
            }
            let same = named.as_ref().filter(|named| named.kind() == scheduler.kind());
            questions.extend(same.and_then(|named| unlike(&scheduler, named, optimizer)));
            questions.extend(conflict(&scheduler, optimizer, changes, options));
            let said = said.get(place).or(said.first()).copied();
            let mut told = said.map_or_else(|| Ok(counts.per(&scheduler)), |per| as_said(&scheduler, per).map(Some))?;
            let accelerated = told.is_none() && state.layout == Layout::Accelerate;
            let times = accelerated.then(|| counts.times(&scheduler)).flatten().unwrap_or(1);
            if times > 1 {
                let why = format!("{times} times after each, as accelerate does with {times} processes");
                told = Some((SchedulePer::Step, why));
            }
            open.push(Told {
                kind: scheduler.kind(),
                at: scheduler.position(),
                per: told.as_ref().map(|(per, _)| *per),
                choices: counts.choices(&scheduler),
            });
            let (per, mut why) = told.unwrap_or((SchedulePer::Step, "not told".to_owned()));
            let mut warm_up = None;
            by_hand |= looked_at
                && count == 1
                && !state.told.stepped_before
                && by_hand::is_apart(&scheduler, optimizer.param_groups());
            // Asked once, where no warm-up is known.
            if std::mem::take(&mut by_hand) {
                let made = step.filter(|_| per == SchedulePer::BeforeStep);
                warm_up = made.and_then(|made| by_hand::warm_up(optimizer.param_groups(), made));
                match warm_up {
                    Some(iterations) => {
                        why = format!(
                            "{why}; warmed up by hand over {iterations} iterations, as the learning rates tell"
                        );
                    }
                    None if options.scheduler.is_none() && named.is_none() => {
                        questions.push(by_hand::ask(scheduler.kind()));
                    }
                    None => {}
                }
            }
            if placed && at.is_none() {
                why += ", and the learning rates where it stands";
            }
            let scheduled = Scheduled { times, counts_in_epoch: lightning, warm_up, ..Scheduled::new(scheduler, per) };
            let next = if count != 1 || per == SchedulePer::Fraction {
                Vec::new()
            } else if per == SchedulePer::BeforeStep {
                before_steps(&scheduled, optimizer, step.unwrap_or(0))
            } else {
                after_steps(&scheduled.scheduler, optimizer, times)
            };
            let scheduler = &scheduled.scheduler;
            let counted = counts.counted(scheduler).map(|(per, _)| per);
            plans.push(SchedulerPlan {
                kind: scheduler.kind(),
                monitor: scheduler.monitor(),
                last_epoch: scheduler.position(),
                per,
                times,
                why,
                counted,
                next,
            });
            list.push(scheduled);
        }
        if let Some(expected) = options.scheduler
            && !plans.is_empty()
            && !plans.iter().any(|plan| plan.kind == expected)
        {
            return Err(invalid(format!(
                "the checkpoint's scheduler is {}, not {expected}; say `ResumeOptions::schedule({expected}(..))` to begin a new one",
                plans[0].kind
            )));
        }
        if let Some(schedule) = options.schedule.take().filter(|_| list.len() == count) {
            return Err(invalid(format!(
                "the file's {count} schedulers go on by their own numbers, and none takes the {} that was said",
                schedule.kind()
            )));
        }
        questions.extend(ask(&open, named.is_some()));
        Ok(Scheduling { schedulers: Schedulers::new(list, default), plans, by_told, said: Vec::new() })
    }

    /// The scheduler of a program that keeps none, and makes it again when it resumes: nanoGPT's is told by its `config`.
    fn made_again(self) -> Result<Scheduling> {
        let Making { state, checkpoint, step, optimizer, changes, options, questions, .. } = self;
        let said = options.schedule_per.first().copied();
        let nothing =
            Scheduling { schedulers: Schedulers::new(Vec::new(), said.unwrap_or_default()), ..Scheduling::default() };
        let layout = &state.layout;
        let (schedule, why) = match (options.schedule.take(), layout) {
            (Some(schedule), _) => (schedule, "as it was said"),
            (None, Layout::NanoGpt) => {
                let config = checkpoint.value("config")?;
                if !NanoGpt::is_in(&config) {
                    return Ok(nothing);
                }
                match NanoGpt::from_config(&config) {
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
            Some(SteppedBy::Metric) => Some(SchedulePer::Metric),
            _ => None,
        };
        let by_metric = own == Some(SchedulePer::Metric);
        let per = said.filter(|_| !by_metric).or(own).unwrap_or(SchedulePer::Epoch);
        let at_said = options.schedule_at.is_some();
        let position = options.schedule_at.take().or(match per {
            SchedulePer::Step => step,
            SchedulePer::Steps(each) => step.map(|step| step / i64::from(each)),
            SchedulePer::Epochs(each) => state.epoch.map(|epoch| epoch / i64::from(each)),
            _ => state.epoch,
        });
        let Some(position) = position else {
            let what = format!("{layout} does not say how far its schedule has come");
            questions.push(none(what));
            return Ok(nothing);
        };
        let position = match layout {
            Layout::YoloV5 if !at_said => by_hand::stands_at(&schedule, position, optimizer),
            _ => position,
        };
        let warms_up = matches!(layout, Layout::Ultralytics | Layout::YoloV5) && !at_said && !changes.rates();
        if warms_up && by_hand::is_off(&schedule, position, optimizer) {
            questions.push(by_hand::ask_off(layout, &schedule, position));
        } else if let Some(told) = state.told.warm_up.filter(|_| warms_up)
            && by_hand::is_warming(told, optimizer.param_groups(), state)
        {
            questions.push(by_hand::ask_warming(state, position));
        }
        // PyTorch's own are made where they are, the others stepped there.
        made = match LRScheduler::at(schedule.clone(), position, optimizer) {
            Ok(made) => made,
            // What it knows of the metric is in no file: it begins anew, as it does there.
            Err(_) if by_metric => made,
            Err(_) => LRScheduler::with_last_epoch(schedule, optimizer, position.saturating_sub(1))?,
        };
        questions.extend(conflict(&made, optimizer, changes, options));
        let next = made.preview(optimizer.param_groups(), 5).unwrap_or_default();
        let (kind, last_epoch, why) = (made.kind(), Some(position).filter(|_| !by_metric), why.to_owned());
        let monitor = made.monitor();
        let counted = made.counts_epochs().then_some(SchedulePer::Epoch);
        let plan = SchedulerPlan { kind, monitor, last_epoch, per, times: 1, why, counted, next };
        let schedulers = Schedulers::new(vec![Scheduled::new(made, per)], per);
        Ok(Scheduling { schedulers, plans: vec![plan], ..Scheduling::default() })
    }

    /// A new scheduler, over the groups as they are: PyTorch's constructor takes their `initial_lr` for the base, and their
    /// `lr` where there is none.
    fn begin(self, schedule: Schedule, old: Option<&str>) -> Result<Scheduling> {
        let Making { state, step, optimizer, changes, options, questions, .. } = self;
        for (place, _) in changes.entries.iter().filter(|(_, key)| key == "lr") {
            let group = &mut optimizer.param_groups_mut()[*place];
            // A rate that the user gives is the one that the new schedule begins with.
            if let Some(lr) = group.get("lr").cloned().filter(|_| group.contains("initial_lr")) {
                group.set("initial_lr", lr);
            }
        }
        let said = match options.schedule_per[..] {
            [] => None,
            [per] => Some(per),
            _ => return Err(invalid("how often is said of several schedulers, and the new one is one")),
        };
        let kind = schedule.kind();
        let goes_on = options.schedule_at.filter(|_| state.schedulers.is_empty());
        let mut before = optimizer.clone();
        let mut scheduler = LRScheduler::new(schedule.clone(), optimizer)?;
        let mut at = 0;
        if let Some(said) = goes_on.filter(|_| !scheduler.needs_position()) {
            (options.schedule_at, at) = (None, said);
            let (stepped, open) = by_hand::stepped(&schedule, at, &mut before, state)?;
            (scheduler, *optimizer) = (stepped, before);
            questions.extend(open);
        } else if scheduler.needs_position() {
            // What no file holds the state of, nanoGPT's loop, is a function of the step.
            at = if scheduler.is_saved() { 0 } else { step.unwrap_or(0) };
            scheduler = LRScheduler::at(schedule, at, optimizer)?;
        }
        let its_kind = |per| (per, "its kind says so".to_owned());
        let counted = scheduler.counts_epochs().then_some(SchedulePer::Epoch);
        let told = match (said, scheduler.stepped_by()) {
            (Some(per), _) => Some(as_said(&scheduler, per)?),
            (None, Some(SteppedBy::Metric)) => Some(its_kind(SchedulePer::Metric)),
            (None, Some(SteppedBy::Epoch)) => Some(its_kind(SchedulePer::Epoch)),
            (None, Some(SteppedBy::Step)) => Some(its_kind(SchedulePer::Step)),
            (None, _) => None,
        };
        if told.is_none() {
            let mut question =
                Question::new(format!("nothing tells whether the new {kind} is stepped per step or per epoch"));
            for (per, when) in new_choices(&scheduler) {
                question = question.or(format!("ResumeOptions::schedule_per({})", per.name()), when);
            }
            questions.push(question);
        }
        let (per, why) = told.unwrap_or((SchedulePer::Step, "not told".to_owned()));
        let next = match per {
            SchedulePer::Fraction => Vec::new(),
            _ => scheduler.preview(optimizer.param_groups(), 5).unwrap_or_default(),
        };
        let begins = match at {
            0 => "which begins anew".to_owned(),
            _ if scheduler.needs_position() => format!("which goes on at step {at}"),
            _ => format!("which goes on where it was stepped {at} times"),
        };
        let line = format!("scheduler {} -> {kind}, {begins} (`ResumeOptions::schedule`)", old.unwrap_or("none"));
        let (monitor, last_epoch) = (scheduler.monitor(), scheduler.position());
        let plan = SchedulerPlan { kind, monitor, last_epoch, per, times: 1, why, counted, next };
        let schedulers = Schedulers::new(vec![Scheduled::new(scheduler, per)], per).since(step.unwrap_or(0));
        Ok(Scheduling { schedulers, plans: vec![plan], by_told: false, said: vec![line] })
    }
}

/// The rates of the next five steps, before each of which it is stepped.
fn before_steps(scheduled: &Scheduled, optimizer: &Optimizer, made: i64) -> Vec<Vec<f64>> {
    let (mut scheduled, mut groups) = (scheduled.clone(), optimizer.param_groups().to_vec());
    let steps = (made..made.saturating_add(5)).map(|made| {
        scheduled.before_step(&mut groups, made, None)?;
        groups.iter().map(ParamGroup::lr).collect::<Result<_>>()
    });
    steps.map_while(Result::ok).collect()
}

/// The rates after each of the next five steps, at each of which it is stepped so many times.
fn after_steps(scheduler: &LRScheduler, optimizer: &Optimizer, times: i64) -> Vec<Vec<f64>> {
    let times = usize::try_from(times).unwrap_or(1).max(1);
    let next = scheduler.preview(optimizer.param_groups(), times.saturating_mul(5)).unwrap_or_default();
    next.into_iter().skip(times - 1).step_by(times).collect()
}

/// Asks where a schedule was named that is of the kind of the checkpoint's scheduler, and has other numbers.
fn unlike(made: &LRScheduler, named: &Schedule, optimizer: &Optimizer) -> Option<Question> {
    let (kind, (key, file, said)) = (made.kind(), made.differs(named, optimizer)?);
    let what = format!(
        "the file's scheduler is a {kind}, too, and goes on with what the file has: {key} is {file} there, and {said} was said"
    );
    let question = none(what).or(format!("ResumeOptions::scheduler({kind})"), "to go on with the file's");
    Some(question.or("ResumeOptions::new_schedule(true)", "beside it to begin the one that was said"))
}

/// Asks where the user changes what the checkpoint's scheduler sets, too: most compute the rates from those that they began with.
fn conflict(made: &LRScheduler, optimizer: &Optimizer, changes: &Changes, options: &ResumeOptions) -> Option<Question> {
    let (kind, groups) = (made.kind(), optimizer.param_groups());
    let lost = |(place, key): &&(usize, String)| made.sets_anew(groups, *place, key);
    let lost = changes.entries.iter().find(lost);
    let rates = changes.rates() || options.new_optimizer.is_some();
    let what = match lost {
        Some((place, key)) => format!(
            "{key} of group {place} was said, and the checkpoint's scheduler, {kind}, sets it to what it computes at its next step"
        ),
        None if rates && options.scheduler != Some(kind) => format!(
            "the learning rate was said, and the checkpoint's scheduler, {kind}, would go on with its own numbers from there"
        ),
        None => return None,
    };
    let question = Question::new(what)
        .or("ResumeOptions::no_scheduler(true)", "to keep what was said")
        .or("ResumeOptions::schedule(NAME(..))", "to begin a new schedule with it");
    let also = format!("ResumeOptions::scheduler({kind})");
    Some(if lost.is_none() { question.or(also, "to go on with the checkpoint's all the same") } else { question })
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
        (per, false) if per != SchedulePer::Fraction && scheduler.fraction().is_some() => Err(invalid(format!(
            "{kind} stands between two epochs, so that it was stepped by parts of them; say \
             `ResumeOptions::schedule_per(fraction)`"
        ))),
        (SchedulePer::Batch, true) => {
            Err(invalid(format!("{kind} goes by a metric, which it is told per step or epoch")))
        }
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

/// Whether a scheduler's rates are those of the groups in another order, as where groups were divided anew by the names of their
/// parameters: which is whose is then not told by their places.
fn misordered(saved: &Value, optimizer: &Optimizer) -> bool {
    let groups = optimizer.param_groups();
    [("base_lrs", "initial_lr"), ("_last_lr", "lr")].iter().any(|(list, key)| {
        let theirs = saved.as_dict().and_then(|dict| dict.get(list)?.items()).unwrap_or_default();
        let theirs: Option<Vec<f64>> = theirs.iter().map(Value::as_f64).collect();
        let ours: Option<Vec<f64>> = groups.iter().map(|group| group.get(key)?.as_f64()).collect();
        let (Some(mut theirs), Some(mut ours)) = (theirs, ours) else { return false };
        let differ = theirs != ours;
        theirs.sort_by(f64::total_cmp);
        ours.sort_by(f64::total_cmp);
        differ && theirs == ours
    })
}
