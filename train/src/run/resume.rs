//! The run that a checkpoint is of: its parts made as they were, and everything that could fail at its end tried at once.
//!
//! - `weights.rs`: the model with its weights, and the average of them.
//! - `optimizer.rs`: the optimizer, its groups, and what it says of parameters without state.
//! - `scheduler.rs`: the schedulers, and where each of them stands.
//! - `counts.rs`: how often a scheduler is stepped.
//! - `told.rs`: what the checkpoint says of how the run was made.
//! - `generator.rs`: where random numbers come from.

mod counts;
mod generator;
mod optimizer;
mod scheduler;
mod told;
mod weights;

use std::collections::BTreeSet;

use burn::module::Module;
use rekindle_recorder::run::account_of;
use rekindle_recorder::{Checkpoint, Error, ErrorKind, Result, ResultExt as _, Value};

use super::options::ResumeOptions;
use super::parts::{Run, Tried};
use super::plan::Plan;
use super::several::gather;
use crate::amp::GradScaler;
use crate::clip::ClipGradNorm;

use generator::Drawn;
use optimizer::Optimized;
use scheduler::Scheduling;
use weights::Weights;

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

/// The run, and the plan of it. Where the plan has questions, the run is one that an answer may change.
fn prepared<M: Module>(checkpoint: Checkpoint, model: M, mut options: ResumeOptions) -> Result<(Run<M>, Plan)> {
    let mut state = gather(&checkpoint, &options)?;
    let values = account_of(&checkpoint, state.part.as_ref())?;
    let mut questions = Vec::new();
    let rows = options.rows.clone().unwrap_or_default();

    let Weights { model, trained, prefix, member, beside, report, average, says } =
        Weights::load(&state, model, &mut options, &rows, &mut questions)?;
    let saved = only(&state.optimizers, "optimizer")?.ok_or_else(|| told::no_optimizer(&state.told))?;
    if saved.as_dict().is_some_and(|saved| saved.get("hypers").is_some() && saved.get("param_groups").is_none()) {
        let advice = "its state is no state dict of torch.optim; train with OptimWrapper(opt=torch.optim.AdamW) there";
        return Err(Error::unsupported("an optimizer of fastai's own").advise(advice));
    }
    let Optimized { mut optimizer, told, groups } = Optimized::make(saved, &model, &mut options, &rows)?;
    // A schedule-free one: the file may have the weights that are evaluated, in place of those that are trained.
    let model = optimizer.train(model)?;
    questions.extend(trained.open(&optimizer));
    #[allow(clippy::cast_possible_truncation)]
    let counted = optimizer.steps().map(|steps| steps as i64);
    let step = state.step.or(counted);
    let scheduling = Scheduling::make(&state, &checkpoint, step, &mut optimizer, &mut options, &mut questions)?;
    if let Some(place) = &options.rng {
        state.take_generator(&checkpoint, place)?;
    }
    let Drawn { generator, from } = Drawn::make(&state, options.seed, &values, &mut questions)?;

    let dtypes: BTreeSet<String> = report.cast.iter().map(|cast| cast.from.to_string()).collect();
    let plan = Plan {
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
        schedulers: scheduling.plans,
        // Of one that is switched off there is nothing.
        scaler: state.scaler.as_ref().and_then(Value::as_dict).is_some_and(|scaler| !scaler.is_empty()),
        clip_norm: state.clip_norm,
        not_in_file: state.layout.not_in_file(),
        average: says,
        generator: from,
        epoch: state.epoch,
        step,
        told_of_run: told::clauses(&state.told, scheduling.by_told),
        counted: counted.filter(|counted| step.is_some_and(|step| step != *counted)),
        values,
        questions,
    };
    let mut run = Run {
        schedulers: scheduling.schedulers,
        scaler: state.scaler.as_ref().map(GradScaler::from_state_dict).transpose()?,
        clip: state.clip_norm.map(ClipGradNorm::new),
        steps_per_epoch: state.steps_per_epoch.filter(|&steps| steps > 0),
        average,
        rows,
        generator,
        part: state.part,
        rng_place: options.rng,
        epoch: state.epoch.unwrap_or(0),
        step,
        origin: Some(checkpoint),
        member,
        report: Some(report),
        allow_objects: options.allow_objects,
        ..Run::start(model, optimizer)
    };
    run.try_parts()?;
    run.tried = Tried { parts: true, end: false };
    Ok((run, plan))
}

/// The one state dict of its kind, where there is any.
fn only<'a>(found: &'a [Value], what: &str) -> Result<Option<&'a Value>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let what = format!("resuming a run with {} {what}s", several.len());
            Err(Error::unsupported(what).advise("load each into an `Optimizer` or `LRScheduler` of its own"))
        }
    }
}
