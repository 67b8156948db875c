//! `rekindle resume` of several models of one checkpoint: each is trained on the same batches, with its own optimizer.

use std::path::{Path, PathBuf};

use rekindle::models::Network;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::run::{Question, RunState};
use rekindle::recorder::{Error, ErrorKind, ResultExt as _};
use rekindle::train::data::Loader;
use rekindle::train::log::LogLine;
use rekindle::train::run::{AnyRun, Plan, Run, SchedulePer, save_parts_with, step_together};

use super::amp::Within;
use super::answer::{Answer, note, tell, usage};
use super::flags::in_flags;
use super::kept::{Keeper, Kept, is_written, say};
use super::loss_dtype::LossIn;
use super::plan::show_several;
use super::precision;
use super::rescue::or_rescued;
use super::resume::batches::Batches;
use super::resume::course::Course;
use super::resume::given::{Resume, drawing, planned, unless_open};
use super::resume::told::{self, Model};
use super::schedule::Scheduling;
use super::task::{Loss, Task};
use super::{answer, started};

/// What resuming would do with each part.
pub(super) fn plan(resume: &Resume, device: &burn::tensor::Device, models: &[Model]) -> Answer {
    takes(resume)?;
    let mut scheduling = resume.scheduling(resume.source())?;
    let mut plans = Vec::new();
    for model in models {
        let Some((checkpoint, network, options)) = unless_open(told::run(resume, device, model), resume.json)? else {
            return Ok(false);
        };
        let Some(mut plan) = planned(&checkpoint, &network, options, resume.json)? else { return Ok(false) };
        let of_layout = || RunState::read(&checkpoint).ok()?.steps_per_epoch;
        scheduling.steps_per_epoch = scheduling.steps_per_epoch.or_else(of_layout);
        plan.questions.extend(open(&plan, &scheduling));
        let within = Within::find(&resume.settings, &checkpoint, &network);
        plan.questions.extend(within.open());
        let loss_in = LossIn::find(&resume.settings, &within, &checkpoint, &network)?;
        plan.questions.extend(loss_in.open());
        loss_in.explain(resume.settings.loss_dtype, &mut plan);
        within.explain(&mut plan);
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

/// Trains the parts. The folder of `--run` is of all of them. A line of the log has the sum of their losses, and the rates of all, in the order in which they were named.
pub(super) fn run(
    resume: &Resume,
    device: &burn::tensor::Device,
    models: &[Model],
    (batches, source): &(Batches, PathBuf),
    (save, expected, kept): (PathBuf, Vec<LogLine>, Option<Kept>),
) -> Answer {
    takes(resume)?;
    let settings = &resume.settings;
    let (mut runs, mut losses_in) = (Vec::new(), Vec::new());
    for model in models {
        let (checkpoint, network, options) = told::run(resume, &device.clone().autodiff(), model)?;
        let run = Run::resume_with(checkpoint.clone(), network, options)?;
        let within = Within::find(settings, &checkpoint, run.model());
        let loss_in = LossIn::find(settings, &within, &checkpoint, run.model())?;
        let open: Vec<Question> = within.open().into_iter().chain(loss_in.open()).collect();
        if !open.is_empty() {
            return Err(Error::new(ErrorKind::Open(open)).in_file(&resume.checkpoint).into());
        }
        losses_in.push((within, loss_in));
        runs.push(run);
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
    let each = settings.accumulate.unwrap_or(1);
    if let (Batches::Data { .. } | Batches::Tokens(_), true) = (batches, there % each != 0) {
        let what = format!("an epoch has {there} batches, which are no whole number of steps of {each} (--accumulate)");
        return Err(usage(format!("{}: {what}; of several models the last ones cannot make a step", source.display())));
    }
    let length = match batches {
        Batches::Fixed(_) => length,
        _ => length.map(|length| length / i64::try_from(each).unwrap_or(i64::MAX)),
    };
    let there = there / each;
    let said = match (settings.epochs, length.and_then(|length| u64::try_from(length).ok())) {
        (None, _) => settings.steps,
        (Some(epochs), Some(length)) => Some(epochs.saturating_mul(length)),
        (Some(_), None) => return Err(usage("nothing tells how many steps an epoch has; say --steps-per-epoch N")),
    };
    let steps = match batches {
        Batches::Fixed(_) => said.unwrap_or(there).min(there),
        Batches::Data { .. } | Batches::Tokens(_) => said.unwrap_or(there),
    };
    let steps = resume.counted(steps, runs.first().map_or(0, Run::steps), batches);
    let scheduling = resume.scheduling(batches.source())?;
    let runs = runs.into_iter().map(|run| {
        let (mut pers, mut found, mut average) = (Vec::new(), None, None);
        if let Some(plan) = run.resumed_by() {
            pers.extend(plan.schedulers.iter().map(|scheduler| scheduler.per));
            average = plan.average_per;
            found = scheduling.epoch_length(plan);
        }
        let end = run.steps().saturating_add(i64::try_from(steps).unwrap_or(i64::MAX));
        let run = run.until_step(end);
        match length.or_else(|| run.known_steps_per_epoch()).or(found) {
            _ if pers.contains(&SchedulePer::Metric) => Err(usage(format!(
                "{}: a scheduler goes by a metric, which the command does not give several models; say --scheduler none",
                resume.checkpoint.display()
            ))),
            None if pers.iter().any(|per: &SchedulePer| per.is_by_epochs()) => Err(usage(format!(
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
    if steps == 0 {
        return Err(usage(format!("{}: there is nothing to do in 0 steps", resume.checkpoint.display())));
    }
    let (first, all) = batches.first().in_file(source)?;
    let mut losses = runs.iter().map(|run| Loss::of(run.model(), first.first()));
    let loss = match (&settings.loss, losses.next()) {
        (Some(loss), _) => loss.clone(),
        (None, Some(loss)) if losses.any(|other| other != loss) => {
            return Err(usage(
                "the networks' losses differ (their problem_type), and one is taken for all: say --loss",
            ));
        }
        (None, loss) => loss.unwrap_or_default(),
    };
    let task = &Task::new(device.clone(), loss, dtype, losses_in[0].0.dtype).with_losses_in(losses_in[0].1.dtype);
    let options = SaveOptions::default().overwrite(resume.overwrite).allow_objects(settings.allow_objects);
    for run in &runs {
        first.iter().try_for_each(|batch| task.check(run.model(), batch, all)).in_file(source)?;
        run.try_save(&save, &options)?;
    }
    rekindle::train::run::checkpoint_of(&parts(&runs))?;
    let (began, passed) = (runs[0].steps(), runs[0].batches());
    let origin = runs[0].origin().cloned();
    let mut keeper = match (&kept, origin) {
        (Some(kept), Some(origin)) => Some(Keeper::open(kept, &origin, &mut runs)?),
        _ => None,
    };
    if let Some(kept) = kept.as_ref().filter(|_| !resume.restored) {
        started::keep(kept.folder())?;
    }
    let now = (began, runs[0].steps(), length.map_or(0, |length| runs[0].steps().rem_euclid(length.max(1))));
    let at_end = runs[0].is_done();
    let written =
        is_written(&save, resume.overwrite, at_end, || Ok(rekindle::train::run::checkpoint_of(&parts(&runs))?))?;
    let found = keeper.as_ref().and_then(|keeper| keeper.found.as_ref()).cloned();
    let log = settings.log.as_deref();
    let mut course = Course::going_on(found.as_ref(), now, steps, log, &expected, resume.json)?
        .with_events(settings.tensorboard.as_deref())?;
    for (run, (within, loss_in)) in runs.iter().zip(&losses_in) {
        if let Some(mut plan) = run.resumed_by().cloned() {
            loss_in.explain(settings.loss_dtype, &mut plan);
            within.explain(&mut plan);
            tell(in_flags(&plan.to_string()).trim_end());
        }
        run.notes().for_each(note);
    }
    say(found.as_ref(), runs[0].steps());
    course.header()?;
    let done = go(&mut runs, task, batches, passed, keeper.as_mut(), &mut course);
    let done = match (done, &mut keeper) {
        (Ok(()), Some(keeper)) => {
            course.clear();
            keeper.finish(&runs)
        }
        (Err(error), Some(keeper)) => {
            // A step of one of them may have been made, and that of another not.
            let last = keeper.last();
            Err(usage(format!("{}; the runs go on from {}", answer::sentence(&*error), last.display())))
        }
        (done, None) => done,
    };
    if keeper.is_some() {
        done?;
        if !written {
            let report = save_parts_with(&parts(&runs), &save, &options)?;
            report.notes.iter().for_each(|said| note(said));
        }
        return course.finish(&save, None);
    }
    let write = |path: &Path| save_parts_with(&parts(&runs), path, &options);
    let saved = done.and_then(|()| Ok(write(&save)?));
    let report = or_rescued(saved, &save, runs[0].steps(), write)?;
    report.notes.iter().for_each(|said| note(said));
    course.finish(&save, None)
}

/// Refuses what is of one model.
fn takes(resume: &Resume) -> answer::Anything<()> {
    let settings = &resume.settings;
    let flags = [
        ("--mean-over", settings.mean_over.is_some()),
        ("--label-smoothing", settings.label_smoothing.is_some()),
        ("--weights-only", settings.weights_only),
        ("--best", settings.best.is_some()),
    ];
    match flags.iter().find(|(_, said)| *said) {
        Some((flag, _)) => Err(usage(format!("{flag} is for a run of one model, and several are named"))),
        None => Ok(()),
    }
}

fn parts(runs: &[Run<Network>]) -> Vec<&dyn AnyRun> {
    runs.iter().map(|run| run as &dyn AnyRun).collect()
}

/// The places of the runs that make their steps together, because they have one optimizer.
fn together(runs: &[Run<Network>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let shared = run.shared_optimizer();
        let same = groups.iter_mut().find(|group| {
            shared.is_some() && group.first().is_some_and(|&first| runs[first].shared_optimizer() == shared)
        });
        match same {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// Takes the steps.
fn go(
    runs: &mut [Run<Network>],
    task: &Task,
    batches: &Batches,
    began: u64,
    mut keeper: Option<&mut Keeper>,
    course: &mut Course,
) -> Result<(), Box<dyn std::error::Error>> {
    let groups = together(runs);
    while !runs[0].is_done() {
        let batch = match batches {
            Batches::Fixed(fixed) => fixed.batch(usize::try_from(runs[0].batches().saturating_sub(began))?)?,
            Batches::Data { .. } | Batches::Tokens(_) => match runs[0].next_batch()? {
                Some(batch) => batch,
                None => break,
            },
        };
        course.saw(batch.input_shape().first().copied().unwrap_or(0));
        let (epoch, steps) = (runs[0].epochs(), runs[0].steps());
        let mut line = LogLine { step: 0, loss: 0.0, lr: Vec::new() };
        for run in runs.iter() {
            line.lr.extend(run.next_lr()?);
        }
        for group in &groups {
            let members = runs.iter_mut().enumerate().filter(|(place, _)| group.contains(place));
            let mut together: Vec<&mut Run<Network>> = members.map(|(_, run)| run).collect();
            if let [alone] = &mut together[..] {
                drawing(alone, |run| run.step_closure(|network| task.loss(network, &batch)))?;
            } else {
                let losses = together.iter_mut().map(|run| drawing(run, |run| task.loss(run.model(), &batch)));
                let losses = losses.collect::<Result<Vec<_>, _>>()?;
                step_together(&mut together, losses)?;
            }
        }
        // Of several batches a step is made of, only the last one makes it.
        if runs[0].steps() == steps {
            continue;
        }
        for run in runs.iter() {
            line.loss += run.loss()?.unwrap_or(f64::NAN);
        }
        line.step = u64::try_from(runs[0].steps())?;
        course.step(line)?;
        let ended = runs[0].epochs() > epoch;
        if ended {
            course.epoch(runs[0].epochs())?;
        }
        if let Some(keeper) = &mut keeper
            && keeper.after_step(runs, ended)?.is_some()
        {
            break;
        }
    }
    Ok(())
}
