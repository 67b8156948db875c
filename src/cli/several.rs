//! `rekindle resume` of several models of one checkpoint: each is trained on the same batches, with its own optimizer.

use std::path::{Path, PathBuf};

use rekindle::models::Network;
use rekindle::recorder::ResultExt as _;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::run::{Question, RunState};
use rekindle::train::data::Loader;
use rekindle::train::log::LogLine;
use rekindle::train::run::{AnyRun, Plan, Run, SchedulePer, save_parts_with};

use super::answer::{Answer, note, tell, usage};
use super::flags::in_flags;
use super::plan::show_several;
use super::rescue::or_rescued;
use super::resume::told::{self, Model};
use super::resume::{Batches, Course, Resume, drawing, planned};
use super::schedule::Scheduling;
use super::task::Task;
use super::{answer, precision};

/// What resuming would do with each part.
pub(super) fn plan(resume: &Resume, device: &burn::tensor::Device, models: &[Model]) -> Answer {
    takes(resume)?;
    let mut scheduling = resume.scheduling(resume.source())?;
    let mut plans = Vec::new();
    for model in models {
        let (checkpoint, network, options) = told::run(resume, device, model)?;
        let Some(mut plan) = planned(&checkpoint, &network, options)? else { return Ok(false) };
        let of_layout = || RunState::read(&checkpoint).ok()?.steps_per_epoch;
        scheduling.steps_per_epoch = scheduling.steps_per_epoch.or_else(of_layout);
        plan.questions.extend(open(&plan, &scheduling));
        plans.push(plan);
    }
    show_several(&plans, resume.json)
}

/// What has to be told yet of when a part's schedulers are stepped.
fn open(plan: &Plan, scheduling: &Scheduling) -> Vec<Question> {
    if plan.schedulers.iter().any(|scheduler| scheduler.per == SchedulePer::Metric) {
        let what = "a scheduler goes by a metric, which the command does not give several models";
        let leave = "to leave the learning rates as they are";
        return vec![Question::new(what).or("ResumeOptions::no_scheduler(true)", leave)];
    }
    scheduling.open(plan)
}

/// Trains the parts. A line of the log has the sum of their losses, and the rates of all, in the order in which they were named.
pub(super) fn run(
    resume: &Resume,
    device: &burn::tensor::Device,
    models: &[Model],
    (batches, source): &(Batches, PathBuf),
    (save, expected): (PathBuf, Vec<LogLine>),
) -> Answer {
    takes(resume)?;
    let settings = &resume.settings;
    let mut runs = Vec::new();
    for model in models {
        let (checkpoint, network, options) = told::run(resume, &device.clone().autodiff(), model)?;
        runs.push(Run::resume_with(checkpoint, network, options)?);
    }
    let (length, there) = match batches {
        Batches::Fixed(fixed) => (settings.steps_per_epoch, fixed.len() as u64),
        Batches::Data { .. } | Batches::Tokens(_) => {
            // The first has the loader and the generator.
            let first = runs.remove(0);
            let loader = batches.loader(first.loader_state())?;
            let length = loader.as_ref().map(Loader::len).filter(|&length| length < usize::MAX);
            runs.insert(0, loader.into_iter().fold(first, Run::with_loader));
            (length.and_then(|length| i64::try_from(length).ok()), length.unwrap_or(0) as u64)
        }
    };
    let said = match (settings.epochs, length.and_then(|length| u64::try_from(length).ok())) {
        (None, _) => settings.steps,
        (Some(epochs), Some(length)) => Some(epochs.saturating_mul(length)),
        (Some(_), None) => return Err(usage("nothing tells how many steps an epoch has; say --steps-per-epoch N")),
    };
    let steps = match batches {
        Batches::Fixed(_) => said.unwrap_or(there).min(there),
        Batches::Data { .. } | Batches::Tokens(_) => said.unwrap_or(there),
    };
    let scheduling = resume.scheduling(batches.source())?;
    let runs = runs.into_iter().map(|run| {
        let (mut pers, mut found, mut average) = (Vec::new(), None, None);
        if let Some(plan) = run.resumed_by() {
            pers.extend(plan.schedulers.iter().map(|scheduler| scheduler.per));
            average = plan.average_per;
            found = scheduling.epoch_length(plan);
        }
        let by_epochs = |per: &SchedulePer| matches!(per, SchedulePer::Epoch | SchedulePer::Fraction);
        let end = run.steps().saturating_add(i64::try_from(steps).unwrap_or(i64::MAX));
        let run = run.until_step(end);
        match length.or_else(|| run.known_steps_per_epoch()).or(found) {
            _ if pers.contains(&SchedulePer::Metric) => Err(usage(format!(
                "{}: a scheduler goes by a metric, which the command does not give several models; say --scheduler none",
                resume.checkpoint.display()
            ))),
            None if pers.iter().any(by_epochs) => Err(usage(format!(
                "{}: a scheduler is stepped per epoch, and nothing tells how many steps an epoch has; say --steps-per-epoch N",
                resume.checkpoint.display()
            ))),
            None if average == Some(SchedulePer::Epoch) => Err(usage(format!(
                "{}: an average is updated per epoch, and nothing tells how many steps an epoch has; say --steps-per-epoch N, or \
                 --ema none",
                resume.checkpoint.display()
            ))),
            Some(length) if run.loader().is_none() => Ok(run.steps_per_epoch(length)),
            _ => Ok(run),
        }
    });
    let mut runs = runs.collect::<Result<Vec<_>, _>>()?;

    // What could fail later is tried before any work.
    let dtype = precision::dtype_of(runs[0].model());
    let task = &Task::new(device.clone(), settings.loss.clone().unwrap_or_default(), dtype);
    if steps == 0 {
        return Err(usage(format!("{}: there is nothing to do in 0 steps", resume.checkpoint.display())));
    }
    let (first, all) = batches.first().in_file(source)?;
    let options = SaveOptions::default().overwrite(resume.overwrite).allow_objects(settings.allow_objects);
    for run in &runs {
        first.iter().try_for_each(|batch| task.check(run.model(), batch, all)).in_file(source)?;
        run.try_save(&save, &options)?;
    }
    rekindle::train::run::checkpoint_of(&parts(&runs))?;
    let mut course = Course::new(steps, settings.log.as_deref(), &expected, resume.json)?
        .with_events(settings.tensorboard.as_deref())?;
    for run in &runs {
        if let Some(plan) = run.resumed_by() {
            tell(in_flags(&plan.to_string()).trim_end());
        }
        run.notes().for_each(note);
    }
    course.header()?;
    let done = go(&mut runs, task, batches, steps, &mut course);
    let write = |path: &Path| save_parts_with(&parts(&runs), path, &options);
    let saved = done.and_then(|()| Ok(write(&save)?));
    let report = or_rescued(saved, &save, runs[0].steps(), write)?;
    report.notes.iter().for_each(|said| note(said));
    course.finish(&save, None)
}

/// Refuses what is of one model.
fn takes(resume: &Resume) -> answer::Anything<()> {
    let settings = &resume.settings;
    let flags = [("--accumulate", settings.accumulate.is_some()), ("--weights-only", settings.weights_only)];
    match flags.iter().find(|(_, said)| *said) {
        Some((flag, _)) => Err(usage(format!("{flag} is for a run of one model, and several are named"))),
        None => Ok(()),
    }
}

fn parts(runs: &[Run<Network>]) -> Vec<&dyn AnyRun> {
    runs.iter().map(|run| run as &dyn AnyRun).collect()
}

/// Takes the steps.
fn go(
    runs: &mut [Run<Network>],
    task: &Task,
    batches: &Batches,
    steps: u64,
    course: &mut Course,
) -> Result<(), Box<dyn std::error::Error>> {
    for i in 0..steps {
        let batch = match batches {
            Batches::Fixed(fixed) => fixed.batch(usize::try_from(i)?)?,
            Batches::Data { .. } | Batches::Tokens(_) => match runs[0].next_batch()? {
                Some(batch) => batch,
                None => break,
            },
        };
        course.saw(batch.input_shape().first().copied().unwrap_or(0));
        let (epoch, mut line) = (runs[0].epochs(), LogLine { step: 0, loss: 0.0, lr: Vec::new() });
        for run in runs.iter_mut() {
            line.lr.extend(run.lr()?);
            drawing(run, |run| {
                let loss = task.loss(run.model(), &batch)?;
                run.step(loss)
            })?;
            line.loss += run.loss()?.unwrap_or(f64::NAN);
        }
        line.step = u64::try_from(runs[0].steps())?;
        course.step(line)?;
        if runs[0].epochs() > epoch {
            course.epoch(runs[0].epochs())?;
        }
    }
    Ok(())
}
