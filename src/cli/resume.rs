//! `rekindle resume`: a training run goes on.
//!
//! - `given.rs`: its arguments, and what one run and several are made with.
//! - `told.rs`: what the run is told.
//! - `batches.rs`: what it is trained on.
//! - `course.rs`: what is shown of it.

pub(super) mod batches;
pub(super) mod course;
pub(super) mod given;
pub(super) mod told;

use std::path::{Path, PathBuf};

use rekindle::Checkpoint;
use rekindle::models::Network;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::run::{Question, RunState};
use rekindle::recorder::{Error, ErrorKind, ResultExt as _, Value};
use rekindle::train::checkpoints::{Checkpoints, any_in};
use rekindle::train::data::Batch;
use rekindle::train::log::{LogLine, read_log};
use rekindle::train::run::{EpochOf, Plan, Run};

use super::amp::Within;
use super::answer::{Answer, Anything, note, sentence, tell, usage};
use super::flags::in_flags;
use super::kept::{Kept, Measure, is_written, new_files, say, say_stopped};
use super::loss_dtype::LossIn;
use super::mean_over::Meant;
use super::plan::show;
use super::rescue::or_rescued;
use super::schedule::{Scheduling, Source, Teller};
use super::settings::Settings;
use super::task::{Loss, Task};
use super::{precision, several, smoothing, started};

pub(super) use given::Resume;

use batches::Batches;
use course::Course;
use given::{drawing, planned, unless_open};

impl Resume {
    /// What resuming would do: yes where nothing is open.
    pub(super) fn plan(self) -> Answer {
        let mut this = started::restored(self)?;
        this.plan = true;
        this.planned()
    }

    fn planned(mut self) -> Answer {
        self.settings.complete(&self.checkpoint)?;
        let mut scheduling = self.scheduling(self.source())?;
        let (device, models) = (self.device()?.autodiff(), told::models(&self)?);
        if models.len() > 1 {
            return several::plan(&self, &device, &models);
        }
        let Some((checkpoint, network, options)) = unless_open(told::run(&self, &device, &models[0]), self.json)?
        else {
            return Ok(false);
        };
        let state = RunState::read(&checkpoint).ok();
        scheduling.steps_per_epoch =
            scheduling.steps_per_epoch.or(state.as_ref().and_then(|state| state.steps_per_epoch));
        let Some(mut plan) = planned(&checkpoint, &network, options, self.json)? else { return Ok(false) };
        plan.questions.extend(scheduling.open(&plan));
        // What is wrong with the data is said where they are trained on.
        let batches = self.settings.data.as_ref().and_then(|_| Batches::read(&self).ok());
        let loader = state.as_ref().and_then(|state| state.loader.as_ref());
        if let Some(epoch) = batches.and_then(|(batches, _)| self.epoch_of(&batches, loader)) {
            match plan.ask_epochs(epoch) {
                Some(question) => plan.questions.push(question),
                None => plan.untold.extend(plan.other_epochs(epoch)),
            }
        }
        let meant = self.meant(&checkpoint, &network, Some(&plan))?;
        plan.questions.extend(meant.open());
        plan.questions.extend(self.smoothing(&checkpoint));
        let within = Within::find(&self.settings, &checkpoint, &network);
        plan.questions.extend(within.open());
        let loss_in = LossIn::find(&self.settings, &within, &checkpoint, &network)?;
        plan.questions.extend(loss_in.open());
        scheduling.explain(&mut plan);
        within.explain(&mut plan);
        meant.explain(self.settings.mean_over, &mut plan);
        loss_in.explain(self.settings.loss_dtype, &mut plan);
        show(&plan, self.json)
    }

    /// Where the batches come from, as far as the settings tell.
    pub(super) fn source(&self) -> Source {
        match self.settings.batches {
            Some(_) => Source::Fixed,
            None => Source::Data { held_back: self.settings.held_back.unwrap_or(0) > 0 },
        }
    }

    pub(super) fn run(self) -> Answer {
        let this = started::restored(self)?;
        if this.plan { this.planned() } else { this.resumed() }
    }

    fn resumed(mut self) -> Answer {
        self.settings.complete(&self.checkpoint)?;
        let settings = &self.settings;
        let save = settings.save.clone().unwrap_or_else(|| resumed_name(&self.checkpoint));
        let kept = Kept::of(settings)?;
        let begun = kept.as_ref().is_some_and(|kept| kept.begun);
        new_files(&save, settings.log.as_ref(), self.overwrite, begun)?;
        let mut expected = settings.expect.as_ref().map(read_log).transpose()?.unwrap_or_default();

        let device = self.device()?;
        let (batches, source) = Batches::read(&self)?;
        let models = told::models(&self)?;
        if models.len() > 1 {
            return several::run(&self, &device, &models, &(batches, source), (save, expected, kept));
        }
        let (checkpoint, network, options) = told::run(&self, &device.clone().autodiff(), &models[0])?;
        let run = Run::resume_with(checkpoint.clone(), network, options)?;
        let mut scheduling = self.scheduling(batches.source())?;
        scheduling.steps_per_epoch = scheduling.steps_per_epoch.or_else(|| run.known_steps_per_epoch());
        let plan = run.resumed_by().cloned();
        let meant = self.meant(&checkpoint, run.model(), plan.as_ref())?;
        let mut open = plan.as_ref().map(|plan| scheduling.open(plan)).unwrap_or_default();
        let epoch = self.epoch_of(&batches, run.loader_state());
        open.extend(plan.as_ref().zip(epoch).and_then(|(plan, epoch)| plan.ask_epochs(epoch)));
        open.extend(meant.open());
        open.extend(self.smoothing(&checkpoint));
        let within = Within::find(settings, &checkpoint, run.model());
        open.extend(within.open());
        let loss_in = LossIn::find(settings, &within, &checkpoint, run.model())?;
        open.extend(loss_in.open());
        if !open.is_empty() {
            return Err(Error::new(ErrorKind::Open(open)).in_file(&self.checkpoint).into());
        }
        let per_epoch = plan.as_ref().and_then(|plan| scheduling.epoch_length(plan));
        let mut run = Resume::with_epochs(run, &batches, per_epoch)?;
        let steps = self.steps(&run, &batches).map_err(|said| usage(format!("{}: {said}", source.display())))?;
        let first = run.steps();
        let steps = self.counted(steps, first, &batches);
        // Where nobody knows at which step the run is, the lines that are expected are those of the next steps.
        let begins = expected.first().map(|line| line.step).filter(|_| run.known_steps().is_none());
        for line in &mut expected {
            line.step = begins.map_or(line.step, |begins| line.step.saturating_sub(begins).saturating_add(1));
        }
        run = match (&batches, settings.steps) {
            // Its last step is made before the last batch of an epoch.
            (Batches::Data { .. }, None) if run.leaves_batches() => {
                let epochs = i64::try_from(settings.epochs.unwrap_or(1)).unwrap_or(i64::MAX);
                let end = run.epochs().saturating_add(epochs);
                run.until_epoch(end)
            }
            _ => run.until_step(first.saturating_add(i64::try_from(steps).unwrap_or(i64::MAX))),
        };

        // What could fail later is tried before any work.
        let (first, all) = batches.first().in_file(&source)?;
        let loss = settings.loss.clone().unwrap_or_else(|| Loss::of(run.model(), first.first()));
        let dtype = precision::dtype_of(run.model());
        let task = Task::new(device, loss, dtype, within.dtype).with_mean_over(meant.over);
        let task = task.with_label_smoothing(settings.label_smoothing).with_losses_in(loss_in.dtype);
        if steps == 0 && settings.steps.is_some() {
            return Err(usage(format!("{}: there is nothing to do in 0 steps", self.checkpoint.display())));
        }
        first.iter().try_for_each(|batch| task.check(run.model(), batch, all)).in_file(&source)?;
        let options = SaveOptions::default().overwrite(self.overwrite).allow_objects(settings.allow_objects);
        run.try_save(&save, &options)?;
        let teller = plan.as_ref().map(|plan| scheduling.teller(&run, plan, &task, batches.held_back()));
        let teller = teller.transpose()?.flatten();
        let held_back = batches.held_back();
        let measure = kept.as_ref().map(|kept| kept.measure(&task, held_back, &run));
        let mut measure = measure.transpose()?.flatten();
        // Where the run began: what was taken since then is told by the steps.
        let from = Began { step: run.steps(), batches: run.batches() };
        if let Some(kept) = &kept {
            run = run.with_checkpoints(kept.open(&checkpoint)?)?;
            if !self.restored {
                started::keep(kept.folder())?;
            }
        }
        let written = is_written(&save, self.overwrite, run.is_done(), || Ok(run.checkpoint()?))?;
        let mut course = Course::of(&run, steps, from.step, settings.log.as_deref(), &expected, self.json)?
            .with_events(settings.tensorboard.as_deref())?;
        if let Some(mut plan) = plan {
            plan.untold.extend(epoch.and_then(|epoch| plan.other_epochs(epoch)));
            scheduling.explain(&mut plan);
            within.explain(&mut plan);
            meant.explain(settings.mean_over, &mut plan);
            loss_in.explain(settings.loss_dtype, &mut plan);
            tell(in_flags(&plan.to_string()).trim_end());
        }
        run.notes().for_each(note);
        say(run.went_on(), run.steps());
        if run.loader_state().is_some() {
            note("the checkpoint's place in the data stays as it is: --batches are taken as they are");
        }
        course.header()?;
        let helpers = Helpers { teller: teller.as_ref(), measure: measure.as_mut() };
        let done = go(&mut run, &task, &batches, from, helpers, &mut course);
        if let (Ok(()), Some(signal)) = (&done, run.signal()) {
            run.wait()?;
            course.clear();
            run.checkpoints().into_iter().for_each(|checkpoints| say_stopped(checkpoints, signal, run.steps()));
            run.finish()?;
        }
        let done = match (done, run.checkpoints().map(Checkpoints::last)) {
            (Ok(()), Some(_)) => run.finish().map_err(Into::into),
            (Err(error), Some(last)) => {
                let kept = run.finish();
                let what = match &kept {
                    Ok(()) => format!("what was done until then is in {}", last.display()),
                    Err(error) => format!("the run goes on from {} ({error})", last.display()),
                };
                return Err(usage(format!("{}; {what}", sentence(&*error))));
            }
            (done, None) => done,
        };
        if written {
            done?;
        } else {
            let saved = done.and_then(|()| Ok(run.save_with(&save, &options)?));
            let report = or_rescued(saved, &save, run.steps(), |path| run.save_with(path, &options))?;
            report.notes.iter().for_each(|said| note(said));
        }
        let taken = run.loader().filter(|loader| loader.taken() > 0).map(|loader| (loader.taken(), loader.len()));
        if let (Some((taken, of)), false) = (taken, run.keeps_place()) {
            tell(&format!(
                "note: stopped after {taken} of the {of} batches of epoch {}; the checkpoint has no place for that, so whoever goes on \
                 begins an epoch anew; --add-loader writes it",
                run.epochs() + 1
            ));
        }
        let accuracy = match batches.held_back() {
            Some((held_back, size)) => task.accuracy(run.model(), held_back, size)?,
            None => None,
        };
        course.finish(&save, accuracy)
    }

    /// What the losses of a step are the mean over.
    fn meant(&self, checkpoint: &Checkpoint, network: &Network, plan: Option<&Plan>) -> Anything<Meant> {
        let Settings { mean_over, accumulate, .. } = self.settings;
        Meant::find(mean_over, accumulate, checkpoint, network, plan)
    }

    /// What epochs are made of, where nobody has said what a step is.
    fn epoch_of(&self, batches: &Batches, state: Option<&Value>) -> Option<EpochOf> {
        batches.epoch(state).filter(|_| self.settings.accumulate.is_none())
    }

    /// What has to be told of smoothed labels.
    fn smoothing(&self, checkpoint: &Checkpoint) -> Option<Question> {
        smoothing::open(self.settings.label_smoothing, self.settings.loss.as_ref(), checkpoint)
    }

    fn device(&self) -> Anything<burn::tensor::Device> {
        Ok(rekindle::device(self.settings.device.as_deref().unwrap_or("cpu"))?)
    }

    /// So many steps as they are counted from the checkpoint, after this step.
    pub(super) fn counted(&self, steps: u64, first: i64, batches: &Batches) -> u64 {
        let made = self.made.and_then(|made| u64::try_from(made.saturating_sub(first)).ok()).unwrap_or(0);
        match batches {
            Batches::Fixed(fixed) if made > 0 => {
                steps.saturating_add(made).min(fixed.len() as u64 / self.settings.accumulate.unwrap_or(1).max(1))
            }
            _ => steps.saturating_add(made),
        }
    }

    /// How many steps are taken.
    fn steps(&self, run: &Run<Network>, batches: &Batches) -> Result<u64, String> {
        let (settings, epoch) =
            (&self.settings, run.known_steps_per_epoch().and_then(|steps| u64::try_from(steps).ok()));
        let of_epochs = match (settings.epochs, epoch) {
            (Some(epochs), Some(epoch)) => Some(epochs.saturating_mul(epoch)),
            (Some(_), None) => {
                return Err("nothing tells how many steps an epoch has; say --steps-per-epoch N".to_owned());
            }
            (None, _) => None,
        };
        let Batches::Fixed(fixed) = batches else {
            return Ok(settings.steps.or(of_epochs).or(epoch).unwrap_or(0));
        };
        let (there, each) = (fixed.len() as u64, settings.accumulate.unwrap_or(1));
        let all = run.steps_of(there);
        match (of_epochs, settings.steps) {
            (Some(steps), _) if steps > all => {
                Err(format!("{there} batches are there, and so many epochs have {steps} steps of {each}"))
            }
            (Some(steps), _) => Ok(steps),
            (None, None) if there > 0 && !run.leaves_batches() && run.steps_of(there) == run.steps_of(there - 1) => {
                Err(format!("{there} batches are no whole number of steps of {each} batches; say how many --steps"))
            }
            (None, steps) => Ok(steps.unwrap_or(u64::MAX).min(all)),
        }
    }

    /// What was told of the schedulers.
    pub(super) fn scheduling(&self, source: Source) -> Anything<Scheduling> {
        let Settings { metric, steps_per_epoch, .. } = self.settings;
        Ok(Scheduling { metric, per: told::pers(&self.settings)?, steps_per_epoch, source })
    }

    /// The run with its loader, or told how many steps an epoch has.
    fn with_epochs(run: Run<Network>, batches: &Batches, per_epoch: Option<i64>) -> Anything<Run<Network>> {
        Ok(match (batches.loader(run.loader_state())?, per_epoch) {
            (Some(loader), _) => run.with_loader(loader),
            (None, Some(steps)) => run.steps_per_epoch(steps),
            (None, None) => run,
        })
    }
}

/// Where a run began.
#[derive(Clone, Copy)]
struct Began {
    step: i64,
    /// How many batches it had passed through.
    batches: u64,
}

/// What is measured on the way.
struct Helpers<'a, 'b> {
    teller: Option<&'a Teller<'b>>,
    measure: Option<&'a mut Measure<'b>>,
}

/// The next batch, once the run was measured and saved where it is time to; `None` at its end.
fn next(
    run: &mut Run<Network>,
    batches: &Batches,
    from: Began,
    measure: Option<&mut Measure>,
) -> Anything<Option<Batch>> {
    if let Some(measure) = measure {
        measure.before_save(run, run.is_done() && run.signal().is_none())?;
    }
    let Batches::Fixed(fixed) = batches else { return Ok(run.next_batch()?) };
    if !run.goes_on()? {
        return Ok(None);
    }
    Ok(Some(fixed.batch(usize::try_from(run.batches().saturating_sub(from.batches))?)?))
}

/// Takes the steps, until the run is at its end.
fn go(
    run: &mut Run<Network>,
    task: &Task,
    batches: &Batches,
    from: Began,
    mut helpers: Helpers,
    course: &mut Course,
) -> Anything<()> {
    let mut epoch = run.epochs();
    while let Some(batch) = next(run, batches, from, helpers.measure.as_deref_mut())? {
        course.saw(batch.input_shape().first().copied().unwrap_or(0));
        let (lr, before) = (run.next_lr()?, run.steps());
        drawing(run, |run| run.step_closure_of(|network| task.shared(network, &batch)))?;
        let ended = run.epochs() > epoch;
        epoch = run.epochs();
        // Of several batches a step is made of, only the last one makes it.
        if run.steps() > before {
            let loss = run.loss()?.unwrap_or(f64::NAN);
            course.step(LogLine { step: u64::try_from(run.steps())?, loss, lr })?;
            if let Some(teller) = helpers.teller {
                teller.after_step(run, loss, ended)?;
            }
            if let Some(measure) = &helpers.measure {
                measure.after_step(run, loss);
            }
        }
        if ended {
            course.epoch(run.epochs())?;
        }
    }
    Ok(())
}

/// `NAME-resumed.pt` in the current folder; of a folder `NAME-resumed`.
fn resumed_name(checkpoint: &Path) -> PathBuf {
    if checkpoint.is_dir() {
        let full = checkpoint.canonicalize().unwrap_or_default();
        let name = full.file_name().unwrap_or_default().to_string_lossy();
        // A folder of a run's checkpoints holds files.
        let extension = if any_in(checkpoint).unwrap_or(false) { ".pt" } else { "" };
        return PathBuf::from(format!("{name}-resumed{extension}"));
    }
    let stem = checkpoint.file_stem().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{stem}-resumed.pt"))
}
