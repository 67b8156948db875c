//! The run that a checkpoint is of: its parts made as they were, and everything that could fail at its end tried at once.
//!
//! - `anew.rs`: a new run, with a checkpoint's weights.
//! - `weights.rs`: the model with its weights, and the average of them.
//! - `optimizer.rs`: the optimizer, its groups, and what it says of parameters without state; or a new one.
//! - `changes.rs`: hyper-parameters that are changed.
//! - `around.rs`: clipping, and steps of several batches.
//! - `scheduler.rs`: the schedulers, and where each of them stands; or a new one.
//! - `trainer.rs`: an optimizer with its schedulers.
//! - `shared.rs`: several optimizers of one model.
//! - `batches.rs`: steps of several batches.
//! - `counts.rs`: how often a scheduler is stepped.
//! - `by_hand.rs`: learning rates that no scheduler has set.
//! - `told.rs`: what the checkpoint says of how the run was made.
//! - `position.rs`: which numbers count the epochs and the steps.
//! - `generator.rs`: where random numbers come from.
//! - `place.rs`: the place in the data.

mod anew;
mod around;
mod batches;
mod by_hand;
mod changes;
mod counts;
mod generator;
pub(super) mod optimizer;
mod place;
pub(super) mod position;
mod scheduler;
mod shared;
mod told;
mod trainer;
pub(super) mod weights;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use rekindle_recorder::run::{Layout, Leftover, RunState, account_of};
use rekindle_recorder::{Checkpoint, Dict, Error, ErrorKind, Result, ResultExt as _, Value};

use super::norms;
use super::options::ResumeOptions;
use super::parts::{Beside, Clip, Run, STALE, Tried};
use super::place::Place;
use super::plan::{OptimizerPlan, Plan};
use super::several::gather;
use super::share::Passed;
use super::whole::{Kept, seal, unpacked};
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::optim::OptimizerKind;

use anew::Anew;
use around::Around;
use batches::Batched;
use generator::Drawn;
use optimizer::Optimized;
use shared::shares;
use trainer::{Of, Trainer};
use weights::Weights;

/// What is said of a checkpoint that has all of its run.
const WHOLE: &str = "it was saved here with all of its run, which goes on at the very batch";

impl<M: Module> Run<M> {
    /// A run that goes on from a checkpoint, PyTorch's or one of [`save`](Self::save): its weights are loaded into the model,
    /// its optimizer, scheduler, scaler and generator are made as they were.
    ///
    /// # Errors
    /// When the checkpoint is not one of a training run, the model does not fit it, or it leaves open which optimizer it was
    /// or how parameters are divided into groups; [`Run::resume_with`] takes the answers. When it holds several models or
    /// optimizers. And when the run could not be saved again: what saving needs is tried here, before any work is done.
    pub fn resume(checkpoint: Checkpoint, model: M) -> Result<Self> {
        Run::resume_with(checkpoint, model, ResumeOptions::default())
    }

    /// As [`Run::resume`], with answers to what the checkpoint leaves open.
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume_with(checkpoint: Checkpoint, model: M, options: ResumeOptions) -> Result<Self> {
        let path = checkpoint.path().map(ToOwned::to_owned);
        prepared(checkpoint, model, options).in_file_if(path.as_deref()).and_then(|(run, plan)| {
            if plan.questions.is_empty() {
                return Ok(Run { plan: Some(plan), ..run });
            }
            Err(Error::new(ErrorKind::Open(plan.questions)).in_file_if(path.as_deref()))
        })
    }

    /// What [`Run::resume_with`] would do, and what has to be told first. Nothing is changed.
    ///
    /// # Errors
    /// As [`Run::resume`], but for what is open.
    pub fn plan(checkpoint: &Checkpoint, model: &M, options: ResumeOptions) -> Result<Plan> {
        let prepared = prepared(checkpoint.clone(), model.clone(), options);
        prepared.map(|(_, plan)| plan).in_file_if(checkpoint.path())
    }
}

/// How many steps were made in an epoch that was cut short, as by Lightning's `max_steps`, and counts as finished.
fn cut_short(state: &RunState) -> Option<i64> {
    let length = state.steps_per_epoch.filter(|&length| length > 0 && state.layout == Layout::Lightning)?;
    Some(state.step?.checked_sub(state.step_in_epoch?)?.rem_euclid(length))
}

/// The run, and the plan of it. Where the plan has questions, the run is one that an answer may change.
fn prepared<M: Module>(checkpoint: Checkpoint, model: M, mut options: ResumeOptions) -> Result<(Run<M>, Plan)> {
    let mut state = gather(&checkpoint, &options)?;
    let (checkpoint, kept) = unpacked(&checkpoint, state.part.as_ref().map(|part| part.name.as_str()))?;
    let kept = if options.weights_only { Kept::Nothing } else { kept };
    let accumulated = options.accumulate.and_then(|batches| i64::try_from(batches).ok()).or(kept.accumulated());
    let mut values = account_of(&checkpoint, state.part.as_ref())?;
    let anew = Anew::begin(&mut state, &mut values, &options)?;
    let mut questions = Vec::new();
    let rows = options.rows.clone().unwrap_or_default();

    // Whoever names the member has seen what is beside it.
    let told_member = options.member.is_some();
    let around = Around::read(&options)?;
    let named = options.optimizer.is_some() || options.new_optimizer.is_some() || options.weights_only;
    questions.extend(position::told(&mut state, &checkpoint, &options, &mut values)?);
    questions.extend(told::open(&state, &options));
    questions.extend(told::whole_schedulers(&state, &values, &options));
    let clip = around.clip_after(state.clip_norm);
    let batched = Batched::read(&state, &options, accumulated);
    // Whatever goes by steps goes by the optimizer's.
    state.step = batched.counted.and(batched.made).or(state.step);
    let asked_of_batches = batched.question.is_some();
    questions.extend(batched.question);
    let Weights { model, trained, prefix, member, beside, counts, names, report, average, says, said } =
        Weights::load(&state, model, &mut options, &rows, batched.passed, &mut questions)?;
    if let Some(question) = told::takes_over(&checkpoint, &values, &options) {
        // Whatever else would be asked of them depends on the answer.
        state.schedulers.clear();
        questions.push(question);
    }
    let saved: Vec<Value> = state.optimizers.iter().map(|saved| names.in_model(saved)).collect();
    let hypers = |saved: &Dict| saved.get("hypers").is_some() && saved.get("param_groups").is_none();
    if options.new_optimizer.is_none() && saved.iter().filter_map(Value::as_dict).any(hypers) {
        let advice = "its state is no state dict of torch.optim; train with OptimWrapper(opt=torch.optim.AdamW) there, or begin a new optimizer here \
                      (`ResumeOptions::new_optimizer`)";
        return Err(Error::unsupported("an optimizer of fastai's own").advise(advice));
    }
    let classes = state.optimizer_classes.clone();
    let class = |nth: usize| classes.get(nth).and_then(Option::as_deref);
    let of = Of {
        saved: saved.first(),
        class: class(0),
        state: &state,
        checkpoint: &checkpoint,
        model: &model,
        rows: &rows,
        trained: &trained,
        share: None,
        batches: batched.passed,
    };
    let mut shares = if saved.len() > 1 { shares(&saved, &of, &mut options)? } else { Vec::new() };
    let mut trainers = Vec::new();
    for (nth, (share, saved)) in shares.iter_mut().zip(&saved).enumerate() {
        let of = Of { saved: Some(saved), class: class(nth), state: &share.state, share: Some(share.first), ..of };
        trainers.push(Trainer::make(&of, &mut share.options, &mut questions).at(&share.place)?);
    }
    let first =
        if trainers.is_empty() { Trainer::make(&of, &mut options, &mut questions)? } else { trainers.remove(0) };
    let Trainer {
        optimized: Optimized { mut optimizer, told, groups, steps, changes, .. },
        mut scheduling,
        mut untold,
    } = first;
    // A schedule-free one: the file may have the weights that are evaluated, in place of those that are trained.
    let mut model = optimizer.train(model)?;
    let scheduler_places = shares.iter().flat_map(|share| share.schedulers.clone()).collect();
    let (mut further, mut more, mut steps) = (Vec::new(), Vec::new(), steps);
    let mut changed_there = Vec::new();
    for (Trainer { optimized, scheduling: own, untold: more_untold }, share) in
        trainers.into_iter().zip(shares.iter().skip(1))
    {
        let Optimized { mut optimizer, told, groups, steps: counted, changes, .. } = optimized;
        model = optimizer.train(model)?;
        untold.extend(steps.zip(counted).filter(|(ours, theirs)| ours != theirs).map(|(ours, theirs)| {
            let first = &shares[0].place;
            format!(
                "how often each optimizer is stepped: {first} made {ours} steps and {} {theirs}; here each makes one on every batch",
                share.place
            )
        }));
        steps = steps.max(counted);
        changed_there.extend(changes.said);
        scheduling.plans.extend(own.plans);
        untold.extend(more_untold.iter().map(|clause| format!("{}: {clause}", share.place)));
        more.push(OptimizerPlan { place: share.place.clone(), optimizer: optimizer.kind(), told, groups });
        further.push(Beside { optimizer, schedulers: own.schedulers });
    }
    let (switched, norms, norms_untold) = norms::settle(
        model,
        &rows,
        &counts,
        (&state, batched.counted.or(steps), accumulated),
        &options,
        &mut questions,
    )?;
    model = switched;
    untold.extend(norms_untold);
    average.covers(optimizer.parameters().chain(further.iter().flat_map(|beside| beside.optimizer.parameters())))?;
    let kept_average = options.keep_average || options.unexpected.is_some() || told_member;
    untold.extend(told::stale_average(&beside, kept_average, &mut questions));
    if !named {
        questions.extend(told::wrapped_optimizer(&state, &values, optimizer.kind()));
    }
    if around.accumulate > 1 && optimizer.kind() == OptimizerKind::Lbfgs {
        let what = "LBFGS evaluates one batch as often as it needs, so that a step cannot take several";
        return Err(invalid(format!("{what} (`ResumeOptions::accumulate`)")));
    }
    let leftover = if around.accumulate > 1 { state.told.leftover } else { Leftover::Stepped };
    // The steps of a program that counts batches are those of whole epochs; its optimizer's, of a warm-up, are other ones.
    let step = state.step.or(steps).filter(|_| leftover == Leftover::Stepped);
    if let Some(said) = options.steps_made {
        position::agrees(said, steps.filter(|_| options.new_optimizer.is_none()))?;
    }
    if options.schedule_at.is_some() && questions.is_empty() {
        let what = "no scheduler of the run has to be told where it stands (`ResumeOptions::schedule_at`)";
        return Err(invalid(what));
    }
    let mapped = names.example().map(|(theirs, own, count)| {
        let which = "`LoadOptions::strip_prefix`, `LoadOptions::rename`";
        format!(
            "{count} names are mapped, such as '{theirs}' to '{own}', and mapped back where they are written ({which})"
        )
    });
    let changed = [
        anew.said,
        said,
        mapped.into_iter().collect(),
        norms,
        changes.said,
        changed_there,
        scheduling.said,
        around.said(),
    ]
    .concat();
    let Drawn { generator, from, loader, said: drawn } =
        Drawn::make(&checkpoint, &mut state, &options, &mut values, &mut questions)?;
    let batched_says: Vec<String> = batched
        .counted
        .filter(|_| !asked_of_batches)
        .map(|counted| format!("its step counts batches, {counted} so far, and goes on so"))
        .into_iter()
        .collect();
    let placed = place::take(&checkpoint, &mut state, &options, &mut values, &mut questions)?;
    let changed = [changed, drawn].concat();

    let dtypes: BTreeSet<String> = report.cast.iter().map(|cast| cast.from.to_string()).collect();
    let mut plan = Plan {
        layout: state.layout.to_string(),
        part: state.part.as_ref().map(|part| part.name.clone()),
        model: state.model_key.clone(),
        tensors: report.loaded.len(),
        prefix,
        beside,
        cast: dtypes.into_iter().collect(),
        optimizer: optimizer.kind(),
        told,
        groups,
        more,
        schedulers: scheduling.plans,
        // Of one that is switched off there is nothing.
        scaler: state.scaler.as_ref().and_then(Value::as_dict).is_some_and(|scaler| !scaler.is_empty()),
        clip_norm: clip.and_then(Clip::norm),
        not_in_file: state.layout.not_in_file(),
        untold,
        average: says,
        average_per: average.per(),
        average_by_epochs: average.goes_by_epochs(state.epoch),
        drops_batches: leftover == Leftover::Dropped,
        generator: from,
        epoch: state.epoch,
        step,
        told_of_run: [told::clauses(&state.told, scheduling.by_told), placed, batched_says].concat(),
        counted: steps
            .filter(|_| options.new_optimizer.is_none())
            .filter(|counted| step.is_some_and(|step| step != *counted)),
        changed,
        values,
        questions,
    };
    let mut run = Run {
        schedulers: scheduling.schedulers,
        beside: further,
        scheduler_places,
        accumulate: around.accumulate,
        leftover,
        passed: if leftover == Leftover::Stepped { Passed::default() } else { Passed::all_but_one(around.accumulate) },
        new_optimizer: options.new_optimizer.is_some(),
        scaler: state.scaler.as_ref().map(GradScaler::from_state_dict).transpose()?,
        clip,
        steps_per_epoch: state.steps_per_epoch.filter(|&steps| steps > 0),
        cut: cut_short(&state).unwrap_or(0),
        batches_per_epoch: told::ragged(&state, around.accumulate),
        average,
        names,
        rows,
        generator: Arc::new(Mutex::new(generator)),
        part: state.part,
        rng_place: options.rng,
        position_at: (options.epoch_at, options.step_at),
        loader_rng: loader,
        add_rng: options.add_rng,
        place: Place { state: state.loader, at: state.loader_place, added: options.add_loader, ..Place::default() },
        epoch: state.epoch.unwrap_or(0),
        step,
        origin: (!options.weights_only).then_some(checkpoint),
        member,
        report: Some(report),
        allow_objects: options.allow_objects,
        ..Run::start(model, optimizer)
    };
    run.began = run.origin.as_ref().and_then(seal);
    let batches = |run: &Run<M>| i64::try_from(run.batches()).unwrap_or(i64::MAX);
    match kept {
        Kept::Nothing => {}
        Kept::Own(own, lossy) => {
            let seeded = (options.seed.is_some() && state.rng.is_none()).then(|| run.generator().clone());
            run.resume_own(&own, lossy)?;
            if let Some(seeded) = seeded {
                *run.generator() = seeded;
            }
            (plan.step, plan.epoch, plan.counted) = (run.step, Some(run.epoch), None);
            plan.told_of_run.push(WHOLE.to_owned());
        }
        Kept::Stale(_) => {
            run.stale = true;
            plan.told_of_run.push(STALE.to_owned());
        }
    }
    run.counts_batches = batched.counted.map(|counted| counted.saturating_sub(batches(&run)));
    run.try_parts()?;
    run.tried = Tried { parts: true, end: false };
    Ok((run, plan))
}
