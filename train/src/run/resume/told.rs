//! What a checkpoint says of how its run was made, beside the parts: it goes on by it, or is said.

use rekindle_recorder::run::{Accounted, Leftover, Question, RunState, Taken, Told, ToldBy};
use rekindle_recorder::{Checkpoint, Dict, Error, Value};

use crate::lr_scheduler::{LRScheduler, Schedule, SchedulerKind};
use crate::optim::{Optimizer, OptimizerKind};
use crate::run::options::ResumeOptions;

/// The scheduler, made as the checkpoint says that it was; only where this leads to the rates that it has now.
pub(super) fn scheduler(state: &RunState, saved: &Value, optimizer: &Optimizer) -> Option<LRScheduler> {
    let schedule: Schedule = state.told.schedule.as_ref()?.parse().ok()?;
    let before = Dict::from_iter(saved.as_dict()?.entries());
    let position = before.get("last_epoch")?.as_i64()?;
    before.insert("last_epoch", position.checked_sub(1)?);
    let before = LRScheduler::resume(schedule.clone(), &before.into(), optimizer).ok()?;
    let now = before.preview(optimizer.param_groups(), 1).ok()?.pop()?;
    let saved_now = saved.as_dict()?.get("_last_lr")?.items()?;
    let same = |(now, saved): (&f64, &Value)| saved.as_f64().is_some_and(|saved| saved.to_bits() == now.to_bits());
    let fits = now.len() == saved_now.len() && now.iter().zip(&saved_now).all(same);
    fits.then(|| LRScheduler::resume(schedule, saved, optimizer).ok())?
}

/// What of it goes on or has to be known, a clause each; the schedule, where the run has it by this.
pub(super) fn clauses(told: &Told, schedule: bool) -> Vec<String> {
    let mut clauses = Vec::new();
    let mut say = |what: String| clauses.push(format!("{what} ({})", told.by));
    if let Some(schedule) = told.schedule.as_ref().filter(|_| schedule) {
        say(format!("the schedule is {schedule}"));
    }
    for what in &told.not_continued {
        say(format!("not continued: {what}"));
    }
    if let Some(batches) = several(told) {
        clauses.push(format!("a step took {batches} batches ({})", by(told)));
    }
    if let Some(ToldBy { place, number }) = &told.smoothed {
        clauses.push(format!("labels were smoothed by {number} ({place})"));
    }
    if let Some((place, value)) = &told.autocast {
        clauses.push(format!("not continued by itself: autocast ({place} is {value})"));
    }
    clauses
}

/// What says how many batches made a step.
fn by(told: &Told) -> &str {
    told.accumulated_by.as_ref().unwrap_or(&told.by)
}

/// How many batches made a step, where it was more than one.
fn several(told: &Told) -> Option<i64> {
    told.accumulated.filter(|batches| *batches > 1)
}

/// How many batches an epoch has, where they are no whole number of steps of so many: the last step takes what is left.
pub(super) fn ragged(state: &RunState, accumulate: u64) -> Option<u64> {
    let (batches, steps) = (state.told.batches_per_epoch?, state.steps_per_epoch.filter(|&steps| steps > 0)?);
    let (batches, steps) = (u64::try_from(batches).ok()?, u64::try_from(steps).ok()?);
    (batches % accumulate.max(1) != 0 && batches.div_ceil(accumulate.max(1)) == steps).then_some(batches)
}

/// What of the steps has to be said.
pub(super) fn open(state: &RunState, options: &ResumeOptions) -> Vec<Question> {
    let mut open = Vec::new();
    let clipping = options.clip_norm.is_some() || options.clip_value.is_some() || options.no_clip;
    if let Some(norm) = state.told.clips_by_default.filter(|_| !clipping && state.clip_norm.is_none()) {
        let what = format!("gradients are clipped to a norm of {norm} unless that was changed, and nothing tells it");
        let question = Question::new(what).or(format!("ResumeOptions::clip_norm({norm})"), "where it was not");
        let question = question.or("ResumeOptions::clip_norm(X)", "for another norm");
        open.push(question.or("ResumeOptions::no_clip(true)", "where they were not clipped"));
    }
    for (said, option) in [(&state.told.clipped, "clip_norm"), (&state.told.clipped_values, "clip_value")] {
        if let Some(ToldBy { place, number }) = said.as_ref().filter(|_| !clipping && state.clip_norm.is_none()) {
            let what = format!(
                "a setting speaks of clipped gradients ({place} is {number}), and nothing tells whether they were"
            );
            let question = Question::new(what).or(format!("ResumeOptions::{option}({number:?})"), "to clip them so");
            open.push(question.or("ResumeOptions::no_clip(true)", "where they were not clipped"));
        }
    }
    let unknown = state.told.nominal.filter(|_| state.told.accumulated.is_none() && options.accumulate.is_none());
    if let Some(nominal) = unknown {
        let what = format!(
            "a step of {} took as many batches as make {nominal} samples, and no file tells how large they were",
            state.layout
        );
        let question = Question::new(what).or("ResumeOptions::accumulate(N)", "for so many batches a step");
        open.push(question.or("ResumeOptions::accumulate(1)", "where each is a whole step's"));
    }
    if let Some(batches) = several(&state.told).filter(|_| options.accumulate.is_none()) {
        let what = format!("a step took {batches} batches ({}), and nothing tells what yours are", by(&state.told));
        let each = format!("ResumeOptions::accumulate({batches})");
        let says = match state.told.leftover {
            Leftover::Stepped => "where they are as small as those, to take so many for a step",
            _ => {
                "where they are as small as those, to take so many for a step, the first alone, as it does itself when it resumes"
            }
        };
        let mut question = Question::new(what).or(each, says);
        for more in (batches.saturating_add(1)..).take(8).filter_map(|more| u64::try_from(more).ok()) {
            if let Some(all) = ragged(state, more) {
                let left = all % more;
                question = question.or(
                    format!("ResumeOptions::accumulate({more})"),
                    format!("where the last step of an epoch of {all} batches took {left}"),
                );
            }
        }
        open.push(question.or("ResumeOptions::accumulate(1)", "where each of them is a whole step's"));
    }
    open
}

/// Asks about schedulers that were pickled whole, where there is no state dict of one: such an object holds an optimizer of its own.
pub(super) fn whole_schedulers(state: &RunState, values: &[Accounted], options: &ResumeOptions) -> Option<Question> {
    let answered = options.no_scheduler || options.schedule.is_some() || options.weights_only;
    let whole = |value: &&Accounted| value.taken == Taken::Open("scheduler");
    let Accounted { place, value, .. } =
        values.iter().find(whole).filter(|_| !answered && state.schedulers.is_empty())?;
    let what = format!("{place} is {value}, and not a scheduler's `state_dict()`, from which one goes on");
    let question =
        Question::new(what).or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are");
    Some(question.or("ResumeOptions::schedule(NAME(..))", "to begin a new one"))
}

/// Asks which of two schedulers is stepped from here on where one is an `SWALR`: as PyTorch's recipe has it, it takes over from the other at
/// an epoch that no file tells.
pub(super) fn takes_over(checkpoint: &Checkpoint, values: &[Accounted], options: &ResumeOptions) -> Option<Question> {
    let said = options.scheduler_at.is_some() || options.no_scheduler || options.schedule.is_some();
    let candidates = values.iter().filter(|value| matches!(value.taken, Taken::Kept | Taken::Part("scheduler")));
    let found = candidates.filter_map(|value| {
        let saved = checkpoint.value(&value.place).ok()?;
        let stepped = saved.as_dict()?.get("last_epoch")?.as_i64()?;
        let kind = SchedulerKind::infer(&saved).ok();
        let last = kind == Some(SchedulerKind::SWALR);
        (last || value.taken == Taken::Part("scheduler")).then_some((&value.place, stepped, last))
    });
    let found: Vec<_> = found.collect();
    let (place, stepped, _) = found.iter().find(|(_, _, last)| *last)?;
    if said || found.iter().all(|(_, _, last)| *last) {
        return None;
    }
    let so_far = if *stepped > 0 { format!("was stepped {stepped} times") } else { "was not stepped yet".to_owned() };
    let what = format!(
        "{place} is an SWALR, which takes over from another scheduler at an epoch that no file tells, and {so_far}"
    );
    let mut found = found.clone();
    // One that was stepped has taken over.
    found.sort_by_key(|(_, _, last)| *last != (*stepped > 0));
    let question = found.iter().fold(Question::new(what), |question, (place, _, last)| {
        let says = if *last { "to go on with it" } else { "to go on with the other alone" };
        question.or(format!("ResumeOptions::scheduler_at(\"{place}\")"), says)
    });
    Some(question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are"))
}

/// Asks about what stands beside an optimizer's state in a dict that is called the optimizer's: a wrapper has put it there, which may change
/// the steps.
pub(super) fn wrapped_optimizer(state: &RunState, values: &[Accounted], kind: OptimizerKind) -> Option<Question> {
    let place = &values.iter().find(|value| value.taken == Taken::Part("optimizer"))?.place;
    // What PyTorch's optimizers never have beside their states and groups, such as the slow weights of Lookahead.
    let more = |saved: &Value| {
        let own = |key: &str| matches!(key, "state" | "param_groups" | "defaults") || key.starts_with('_');
        let empty = |value: &Value| match value {
            Value::None => true,
            Value::Dict(dict) => dict.is_empty(),
            _ => false,
        };
        let entries = saved.as_dict().map(Dict::entries).unwrap_or_default();
        let entries = entries.into_iter().filter(|(_, value)| !empty(value));
        let keys = entries.filter_map(|(key, _)| key.as_str().filter(|key| !own(key)).map(ToOwned::to_owned));
        keys.take(3).collect::<Vec<String>>()
    };
    let inside: Vec<String> = state.optimizers.iter().flat_map(more).collect();
    if !inside.is_empty() {
        return Some(ask_of_wrapper(place, &inside.join(", "), kind));
    }
    let (parent, _) = place.rsplit_once('.')?;
    let name = parent.rsplit('.').next().unwrap_or(parent).to_lowercase();
    if !name.contains("optim") && name != "opt" {
        return None;
    }
    let own = |value: &&Accounted| {
        let inside = value.place.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']));
        inside && matches!(value.taken, Taken::Kept | Taken::Odd(_))
    };
    let beside: Vec<&str> = values.iter().filter(own).map(|value| value.place.as_str()).take(3).collect();
    if beside.is_empty() {
        return None;
    }
    Some(ask_of_wrapper(place, &beside.join(", "), kind))
}

/// The question of what stands beside an optimizer's state.
fn ask_of_wrapper(place: &str, beside: &str, kind: OptimizerKind) -> Question {
    let what = format!(
        "beside the optimizer's state ({place}) there is {beside}, of a wrapper that nobody here knows: does it change the steps?"
    );
    let question =
        Question::new(what).or(format!("ResumeOptions::optimizer({kind})"), format!("where {kind} steps alone"));
    question.or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new one")
}

/// The member of the model that is called an average of its weights, and is none that is known.
fn inside(beside: &[String]) -> Option<&str> {
    let is_average = |name: &&String| {
        let member = name.split('.').next().unwrap_or_default().to_lowercase();
        member.split('_').any(|word| matches!(word, "ema" | "swa" | "shadow" | "averaged"))
    };
    beside.iter().find(is_average)?.split('.').next()
}

/// Asks about an average of the weights that is kept in the model itself and does not go on; or says that it stays as it is, once it was
/// said that it is to.
pub(super) fn stale_average(beside: &[String], kept: bool, questions: &mut Vec<Question>) -> Option<String> {
    let member = inside(beside)?;
    if kept {
        return Some(format!(
            "how the average inside the model, '{member}', goes on: it stays as it is, and is stale after the first step"
        ));
    }
    let what =
        format!("'{member}' inside the model is called an average of its weights, and how it goes on is not known");
    let says = "to leave it as it is, which is stale after the first step";
    questions.push(Question::new(what).or("ResumeOptions::keep_average(true)", says));
    None
}

/// The error of a checkpoint without an optimizer's state.
pub(super) fn no_optimizer(told: &Told) -> Error {
    let unknown = || ("optimizer_state_dict", "start a new run with its weights instead".to_owned());
    let (key, advice) = told.optimizer.clone().unwrap_or_else(unknown);
    Error::missing_key(key).advise(advice)
}
