//! `rekindle resume` of several models of one checkpoint: each is trained on the same batches, with its own optimizer.

use std::path::PathBuf;

use rekindle::models::Network;
use rekindle::recorder::ResultExt as _;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::train::data::DataLoader;
use rekindle::train::log::LogLine;
use rekindle::train::run::{AnyRun, Run, SchedulePer, save_parts_with};

use super::answer::{Answer, note, print, sentence, usage};
use super::batches::Batches;
use super::flags::in_flags;
use super::plan::show_several;
use super::resume::{Course, Resume};
use super::settings::Settings;
use super::task::Task;

type Models = [(Option<String>, String)];

/// What resuming would do with each part.
pub(super) fn plan(resume: &Resume, settings: &Settings, device: &burn::tensor::Device, models: &Models) -> Answer {
    let mut plans = Vec::new();
    for model in models {
        let (checkpoint, network, options) = resume.told(settings, device, model)?;
        match Run::plan(&checkpoint, &network, options) {
            Err(error) if matches!(error.kind(), rekindle::recorder::ErrorKind::Open(_)) => {
                print(&format!("open: {}\n", in_flags(&error.to_string())))?;
                return Ok(false);
            }
            plan => plans.push(plan?),
        }
    }
    show_several(&plans, resume.json)
}

/// Trains the parts. A line of the log has the sum of their losses, and the rates of all, in the order in which they were named.
pub(super) fn run(
    resume: &Resume,
    settings: &Settings,
    device: &burn::tensor::Device,
    models: &Models,
    (batches, source): &(Batches, PathBuf),
    task: &Task,
    (save, log, expected): (PathBuf, Option<PathBuf>, Vec<LogLine>),
) -> Answer {
    let mut runs = Vec::new();
    for model in models {
        let (checkpoint, network, options) = resume.told(settings, device, model)?;
        runs.push(Run::resume_with(checkpoint, network, options)?);
    }
    let said = resume.steps.or(settings.steps);
    let (length, there) = match batches {
        Batches::Fixed(fixed) => (resume.steps_per_epoch.or(settings.steps_per_epoch), fixed.len() as u64),
        Batches::Data { train, batch_size, .. } => {
            let loader = DataLoader::new(train.clone(), *batch_size)?.shuffle(true);
            let length = loader.len();
            // The first has the loader and the generator.
            let first = runs.remove(0);
            runs.insert(0, first.with_loader(loader));
            (i64::try_from(length).ok(), length as u64)
        }
    };
    let steps = match batches {
        Batches::Fixed(_) => said.unwrap_or(there).min(there),
        Batches::Data { .. } => said.unwrap_or(there),
    };
    let scheduling = resume.scheduling(settings, batches.source())?;
    let runs = runs.into_iter().map(|run| {
        let (mut pers, mut found) = (Vec::new(), None);
        if let Some(plan) = run.resumed_by() {
            pers.extend(plan.schedulers.iter().map(|scheduler| scheduler.per));
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
            Some(length) if run.loader().is_none() => Ok(run.steps_per_epoch(length)),
            _ => Ok(run),
        }
    });
    let mut runs = runs.collect::<Result<Vec<_>, _>>()?;

    // What could fail later is tried before any work.
    if steps == 0 {
        return Err(usage(format!("{}: there is nothing to do in 0 steps", resume.checkpoint.display())));
    }
    let (batch, all) = batches.first().in_file(source)?;
    let options = SaveOptions::default().overwrite(resume.overwrite).allow_objects(resume.allow_objects);
    for run in &runs {
        task.check(run.model(), &batch, all).in_file(source)?;
        run.try_save(&save, &options)?;
    }
    rekindle::train::run::checkpoint_of(&parts(&runs))?;
    let mut course = Course::new(steps, log.as_deref(), &expected, resume.json)?;
    for run in &runs {
        if let Some(plan) = run.resumed_by() {
            eprint!("{}", in_flags(&plan.to_string()));
        }
        run.notes().for_each(note);
    }
    course.header()?;
    if let Err(error) = go(&mut runs, task, batches, steps, &mut course) {
        // What was done is not lost.
        let stem = save.file_stem().unwrap_or_default().to_string_lossy();
        let beside = save.with_file_name(format!("{stem}-until-step-{}.pt", runs[0].steps()));
        let said = match save_parts_with(&parts(&runs), &beside, &options) {
            Ok(_) => format!("what was done until then is in {}", beside.display()),
            Err(lost) => format!("what was done until then could not be saved: {lost}"),
        };
        return Err(usage(format!("{}; {said}", sentence(&*error))));
    }
    let report = save_parts_with(&parts(&runs), &save, &options)?;
    report.notes.iter().for_each(|said| note(said));
    course.finish(&save, None)
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
            Batches::Data { .. } => match runs[0].next_batch()? {
                Some(batch) => batch,
                None => break,
            },
        };
        let (epoch, mut line) = (runs[0].epochs(), LogLine { step: 0, loss: 0.0, lr: Vec::new() });
        for run in runs.iter_mut() {
            line.lr.extend(run.lr()?);
            let loss = task.loss(run.model(), &batch)?;
            run.step(loss)?;
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
