//! The run that a checkpoint is of: its parts made as they were, and everything that could fail at its end tried at once.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{ModuleStateDict as _, NamedParameter};
use rekindle_random::Generator;
use rekindle_recorder::run::{Question, RunState, Taken, account};
use rekindle_recorder::{Checkpoint, Dict, Error, ErrorKind, LoadOptions, Result, ResultExt as _, StateDict, Value};

use super::average::Saved;
use super::freeze::Trained;
use super::options::{ResumeOptions, SchedulePer};
use super::parts::{Run, Tried};
use super::plan::{GroupPlan, Plan, SchedulerPlan, ask_schedule_per, schedule_per};
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::lr_scheduler::LRScheduler;
use crate::optim::{Hyperparameters, Optimizer, OptimizerKind, ParamGroup, Select};

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
fn prepared<M: Module>(checkpoint: Checkpoint, model: M, options: ResumeOptions) -> Result<(Run<M>, Plan)> {
    let mut state = RunState::read(&checkpoint)?;
    if !state.other_models.is_empty() {
        let names: Vec<_> = state.model_names().map(|name| format!("'{name}'")).collect();
        let what = format!("resuming a run of several models ({})", names.join(", "));
        return Err(Error::unsupported(what).advise("load each by its path, with an optimizer of its own"));
    }
    let values = account(&checkpoint)?;
    let mut questions = Vec::new();
    let rows = options.rows.unwrap_or_default();
    let averages = options.average.is_some();
    let saved = Saved::read(&state, options.average)?;
    let (mut model, trained) = Trained::set(model, options.frozen, options.trained, &rows)?;
    let own = model.named_parameters_with(&rows)?;
    let prefix = if options.load.is_none() { wrapped(&saved.weights, &own) } else { String::new() };
    let load = options.load.unwrap_or_else(LoadOptions::strict);
    let load = if prefix.is_empty() { load } else { load.strip_prefix(prefix.as_str()) };
    let report = model.load_state_dict_with_rows(&saved.weights, &load, &rows)?;
    let average = saved.go_on(&model, &rows)?;

    let saved = only(&state.optimizers, "optimizer")?
        .ok_or_else(|| Error::missing_key("optimizer_state_dict").advise("start a new run with its weights instead"))?;
    let told = if options.optimizer.is_some() { "the options" } else { "the keys of its state" };
    let kind = options.optimizer.map_or_else(|| OptimizerKind::infer(saved), Ok)?;
    let mut builder = Optimizer::builder(Hyperparameters::of(kind)).rows(Arc::clone(&rows));
    if !options.groups.is_empty() && members(saved) < own.len() {
        // Those that are frozen were not given to it.
        let frozen = model.named_parameters_with(&rows)?.into_iter().filter(|named| !named.requires_grad);
        let frozen: HashSet<String> = frozen.map(|named| named.name).collect();
        builder = builder.exclude(Select::matching(move |named| frozen.contains(&named.name)));
    }
    for select in options.groups {
        builder = builder.group(select, [("lr", 0.0); 0]);
    }
    let rest = own.len() - (model.named_parameters_with(&rows)?.iter()).filter(|named| !named.requires_grad).count();
    let ask = |error: Error| {
        if members(saved) >= rest {
            return error;
        }
        let what = format!(
            "the optimizer's state is of {} parameters, and the model has {rest} that are trained",
            members(saved)
        );
        let question =
            Question::new(format!("{what}: {error}")).or("ResumeOptions::freeze(GLOB)", "of those that are not");
        Error::new(ErrorKind::Open(vec![question]))
    };
    let optimizer = builder.build_from(&model, saved).map_err(ask)?;
    questions.extend(trained.open(&optimizer, saved));
    let groups = groups(&optimizer, saved)?;
    #[allow(clippy::cast_possible_truncation)]
    let step = state.step.or(optimizer.steps().map(|steps| steps as i64));

    let (mut scheduler, mut scheduler_plan) = (None, None);
    let mut per = options.schedule_per;
    if let (Some(saved), false) = (state.schedulers.first(), options.no_scheduler) {
        let made = match options.schedule {
            Some(schedule) => LRScheduler::resume(schedule, saved, &optimizer),
            None => LRScheduler::from_state_dict(saved, &optimizer),
        };
        let none = |what: String| {
            Question::new(what).or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
        };
        match made {
            _ if state.schedulers.len() > 1 => {
                questions
                    .push(none(format!("the file holds {} schedulers, and one can go on", state.schedulers.len())));
            }
            Err(error) => {
                let named = none(error.to_string()).or("ResumeOptions::schedule(NAME(..))", "to say how it was made");
                questions.push(named);
            }
            Ok(made) if made.needs_position() || made.is_fractional() => {
                let why = if made.needs_position() {
                    "does not say how far it has come"
                } else {
                    "is stepped by parts of epochs"
                };
                questions.push(none(format!(
                    "the scheduler {} {why}, and a run steps it after whole steps or epochs",
                    made.kind()
                )));
            }
            Ok(made) => {
                if let Some(expected) = options.scheduler
                    && expected != made.kind()
                {
                    return Err(invalid(format!("the checkpoint's scheduler is {}, not {expected}", made.kind())));
                }
                let (kind, last_epoch) = (made.kind(), made.position());
                let said = per.map(|per| (per, "as it was said".to_owned()));
                let found = said.or_else(|| schedule_per(&made, state.epoch, step));
                if found.is_none() {
                    questions.push(ask_schedule_per(kind, last_epoch));
                }
                let (stepped, why) = found.unwrap_or((SchedulePer::Step, "not told".to_owned()));
                per = Some(stepped);
                let next = made.preview(optimizer.param_groups(), 5).unwrap_or_default();
                scheduler_plan = Some(SchedulerPlan { kind, last_epoch, per: stepped, why, next });
                scheduler = Some(made);
            }
        }
    }

    if let Some(place) = &options.rng {
        state.take_generator(&checkpoint, place)?;
    }
    let (generator, from) = match (&state.rng, options.seed) {
        (Some(rng), _) => {
            let place = state.rng_place.clone().unwrap_or_default();
            let generator =
                Generator::from_state(&rng.to_vec::<u8>()?).map_err(|error| invalid(format!("rng_state: {error}")))?;
            (generator, format!("the state at {place}"))
        }
        (None, Some(seed)) => (Generator::new(seed), format!("seed {seed}")),
        (None, None) => {
            let open =
                values.iter().filter(|value| matches!(value.taken, Taken::Open("generator") | Taken::Odd("generator")));
            let places: Vec<_> = open.clone().map(|value| value.place.as_str()).collect();
            if !places.is_empty() {
                let mut question = Question::new(format!("{} may be the generator's state", places.join(", ")));
                for value in open.filter(|value| value.taken == Taken::Open("generator")) {
                    question = question.or(format!("ResumeOptions::rng(\"{}\")", value.place), "to take it");
                }
                questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
            }
            (Generator::default(), "none in the file: PyTorch's default seed".to_owned())
        }
    };
    let dtypes: BTreeSet<String> = report.cast.iter().map(|cast| cast.from.to_string()).collect();
    let plan = Plan {
        layout: state.layout.to_string(),
        model: state.model_key.clone(),
        tensors: report.loaded.len(),
        prefix,
        cast: dtypes.into_iter().collect(),
        optimizer: kind,
        told,
        groups,
        scheduler: scheduler_plan,
        scaler: state.scaler.is_some(),
        average: match (state.ema.is_some(), averages) {
            (_, true) => "goes on by the rule that was given",
            (true, false) => "stays as it is",
            (false, false) => "",
        },
        generator: from,
        epoch: state.epoch,
        step,
        values,
        questions,
    };
    let mut run = Run {
        scheduler,
        schedule_per: per.unwrap_or_default(),
        scaler: state.scaler.as_ref().map(GradScaler::from_state_dict).transpose()?,
        average,
        rows,
        generator,
        rng_place: options.rng,
        epoch: state.epoch.unwrap_or(0),
        step,
        origin: Some(checkpoint),
        report: Some(report),
        allow_objects: options.allow_objects,
        ..Run::start(model, optimizer)
    };
    run.try_parts()?;
    run.tried = Tried { parts: true, end: false };
    Ok((run, plan))
}

/// What wrappers have put before all names of a state dict: `module.`, `_orig_mod.`, or both.
fn wrapped(weights: &StateDict, own: &[NamedParameter]) -> String {
    let mut prefix = String::new();
    while let Some(more) = ["module.", "_orig_mod."].into_iter().find(|more| {
        let longer = format!("{prefix}{more}");
        !weights.is_empty()
            && weights.keys().all(|name| name.starts_with(&longer))
            && !own.iter().any(|named| named.name.starts_with(&longer))
    }) {
        prefix += more;
    }
    prefix
}

/// How many parameters a state dict's groups have.
fn members(saved: &Value) -> usize {
    let groups = saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().filter_map(|group| Some(group.as_dict()?.get("params")?.items()?.len())).sum()
}

fn groups(optimizer: &Optimizer, saved: &Value) -> Result<Vec<GroupPlan>> {
    let parameters: Vec<&NamedParameter> = optimizer.parameters().collect();
    let state = saved.as_dict().and_then(|dict| dict.get("state"));
    let state = state.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
    let ids = saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    let group = |(group, ids): (&ParamGroup, &Value)| {
        let ids = ids.as_dict().and_then(|group| group.get("params")?.items()).unwrap_or_default();
        let has = |id: &&Value| state.iter().any(|(key, _)| key.as_i64().is_some() && key.as_i64() == id.as_i64());
        let members = parameters.get(group.params()).unwrap_or_default();
        let frozen = members.iter().filter(|named| !named.requires_grad).map(|named| named.name.clone()).collect();
        Ok(GroupPlan { lr: group.lr()?, parameters: members.len(), with_state: ids.iter().filter(has).count(), frozen })
    };
    optimizer.param_groups().iter().zip(&ids).map(group).collect()
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
