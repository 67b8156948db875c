//! The run that a checkpoint is of: its parts made as they were, and everything that could fail at its end tried at once.

use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::ModuleStateDict as _;
use rekindle_random::Generator;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Checkpoint, Error, LoadOptions, Result, ResultExt as _, Value};

use super::average::Saved;
use super::options::ResumeOptions;
use super::parts::{Run, Tried};
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::lr_scheduler::LRScheduler;
use crate::optim::{Hyperparameters, Optimizer, OptimizerKind};

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
        resumed(checkpoint, model, options).in_file_if(path.as_deref())
    }
}

fn resumed<M: Module>(checkpoint: Checkpoint, mut model: M, options: ResumeOptions) -> Result<Run<M>> {
    let state = RunState::read(&checkpoint)?;
    if !state.other_models.is_empty() {
        let names: Vec<_> = state.model_names().map(|name| format!("'{name}'")).collect();
        let what = format!("resuming a run of several models ({})", names.join(", "));
        return Err(Error::unsupported(what).advise("load each by its path, with an optimizer of its own"));
    }
    let rows = options.rows.unwrap_or_default();
    let saved = Saved::read(&state, options.average)?;
    let load = options.load.unwrap_or_else(LoadOptions::strict);
    let report = model.load_state_dict_with_rows(&saved.weights, &load, &rows)?;
    let average = saved.go_on(&model, &rows)?;

    let saved = only(&state.optimizers, "optimizer")?
        .ok_or_else(|| Error::missing_key("optimizer_state_dict").advise("start a new run with its weights instead"))?;
    let kind = options.optimizer.map_or_else(|| OptimizerKind::infer(saved), Ok)?;
    let mut builder = Optimizer::builder(Hyperparameters::of(kind)).rows(Arc::clone(&rows));
    for select in options.groups {
        builder = builder.group(select, [("lr", 0.0); 0]);
    }
    let mut optimizer = builder.build(&model)?;
    optimizer.load_state_dict(&model, saved)?;

    let mut scheduler = None;
    if let Some(saved) = only(&state.schedulers, "scheduler")? {
        let made = match options.schedule {
            Some(schedule) => LRScheduler::resume(schedule, saved, &optimizer)?,
            None => LRScheduler::from_state_dict(saved, &optimizer)?,
        };
        if let Some(expected) = options.scheduler
            && expected != made.kind()
        {
            return Err(invalid(format!("the checkpoint's scheduler is {}, not {expected}", made.kind())));
        }
        scheduler = Some(made);
    }

    let generator = match (&state.rng, options.seed) {
        (Some(rng), _) => {
            Generator::from_state(&rng.to_vec::<u8>()?).map_err(|error| invalid(format!("rng_state: {error}")))?
        }
        (None, Some(seed)) => Generator::new(seed),
        (None, None) => Generator::default(),
    };
    #[allow(clippy::cast_possible_truncation)]
    let step = state.step.or(optimizer.steps().map(|steps| steps as i64));
    let mut run = Run {
        scheduler,
        scaler: state.scaler.as_ref().map(GradScaler::from_state_dict).transpose()?,
        average,
        rows,
        generator,
        epoch: state.epoch.unwrap_or(0),
        step,
        origin: Some(checkpoint),
        report: Some(report),
        allow_objects: options.allow_objects,
        ..Run::start(model, optimizer)
    };
    run.try_parts()?;
    run.tried = Tried { parts: true, end: false };
    Ok(run)
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
