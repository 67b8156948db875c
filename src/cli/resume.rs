//! `rekindle resume`: a training run goes on.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rekindle::Checkpoint;
use rekindle::models::{Config, Network};
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::run::RunState;
use rekindle::recorder::{Error, ErrorKind, ResultExt as _};
use rekindle::train::data::{DataLoader, FixedBatches, ReadOptions, read_dataset};
use rekindle::train::ema::Averaging;
use rekindle::train::log::{Apart, LogLine, mean_loss, read_log, write_line};
use rekindle::train::lr_scheduler::Schedule;
use rekindle::train::run::{ResumeOptions, Run, SchedulePer};
use serde_json::json;

use super::answer::{Answer, note, print, sentence, usage};
use super::batches::Batches;
use super::flags::in_flags;
use super::plan::show;
use super::schedule::{Metric, Scheduling, Source, Teller};
use super::settings::Settings;
use super::several;
use super::task::{Loss, Task};
use super::{doubles, json};

/// The arguments of `rekindle resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rekindle resume examples/digits/run.pt\n\n\
    A rekindle.toml beside the checkpoint may hold the same settings; flags win over it.")]
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
pub(super) struct Resume {
    /// The checkpoint to go on from
    pub(super) checkpoint: PathBuf,
    /// The network, such as digits, lenet or mlp; of a file of several models, PART=NAME, once for each that is trained
    #[arg(long, value_name = "[PART=]NAME")]
    model: Vec<String>,
    /// A setting of the network, such as sizes=20,32,16,10; PART.K=V is of one of several
    #[arg(long, value_name = "K=V")]
    config: Vec<String>,
    /// Batches made elsewhere: `inputs` and `targets` with a leading axis of steps
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    batches: Option<PathBuf>,
    /// A data set: .csv[.gz] with the label last, or a checkpoint of `inputs` and `targets`
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The shape of one input, such as 1,8,8
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    input_shape: Option<Vec<usize>>,
    /// What inputs are divided by
    #[arg(long, value_name = "X")]
    divide_by: Option<f32>,
    /// How many of the data set's last samples are not trained on but asked for accuracy
    #[arg(long, value_name = "N")]
    held_back: Option<usize>,
    /// Samples of a batch
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// How many steps to take (default: all fixed batches, or one epoch)
    #[arg(long, value_name = "N")]
    pub(super) steps: Option<u64>,
    /// The loss (default: `cross_entropy`)
    #[arg(long, value_enum, value_name = "NAME")]
    loss: Option<Loss>,
    /// The optimizer, where the checkpoint leaves it open
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// The scheduler, where the checkpoint leaves it open, as it was made: `transformers.cosine(warmup=100, total=1000)`; `none`
    /// leaves it and the learning rates as they are
    #[arg(long, value_name = "NAME[(K=V,..)]|none")]
    scheduler: Option<String>,
    /// How often the scheduler steps (default: as the file tells); of several, each of them in the file's order
    #[arg(long, value_parser = ["step", "epoch", "fraction", "metric"], value_delimiter = ',', value_name = "PER[,PER]")]
    schedule_per: Vec<String>,
    /// How far the scheduler has come, where its state does not say it, such as timm's
    #[arg(long, value_name = "N")]
    schedule_at: Option<i64>,
    /// What a scheduler is told that goes by a metric, such as `ReduceLROnPlateau`
    #[arg(long, value_enum, value_name = "NAME")]
    metric: Option<Metric>,
    /// How many steps an epoch has, with --batches (default: as the file's epochs and steps tell)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) steps_per_epoch: Option<i64>,
    /// The parameters of one optimizer group, by glob; once a group, in the file's order
    #[arg(long, value_name = "GLOB[,GLOB]")]
    group: Vec<String>,
    /// Parameters that are not trained
    #[arg(long, value_name = "GLOB")]
    freeze: Vec<String>,
    /// Parameters that are trained from now on, where the checkpoint has no state for them
    #[arg(long, value_name = "GLOB")]
    unfreeze: Vec<String>,
    /// What is before the model's names in the checkpoint, where it is a member of what was saved: `net.`
    #[arg(long, value_name = "PREFIX")]
    member: Option<String>,
    /// Where in the checkpoint the generator's state is, such as `extra.torch_rng`
    #[arg(long, value_name = "PATH")]
    rng: Option<String>,
    /// Seed of the generator, where the checkpoint holds no state of it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How the average of the weights goes on, where the checkpoint does not say it: how much of it stays at each step, `swa` for
    /// the mean, or `ema_pytorch(beta=0.999, update_every=10)`, `yolo(decay=0.9999)`; `none` leaves it as it is
    #[arg(long, value_name = "DECAY|RULE|none")]
    ema: Option<String>,
    /// How often the average of the weights is updated (default: as its count tells)
    #[arg(long, value_parser = ["step", "epoch"])]
    ema_per: Option<String>,
    /// Where in the checkpoint the average of the weights is, where there are several
    #[arg(long, value_name = "PATH")]
    ema_at: Option<String>,
    /// Where in the checkpoint the model's optimizer is, where there are several
    #[arg(long, value_name = "PATH")]
    optimizer_at: Option<String>,
    /// Where in the checkpoint the optimizer's scheduler is, where there are several
    #[arg(long, value_name = "PATH")]
    scheduler_at: Option<String>,
    /// Go on with a checkpoint that holds objects which plain `torch.load` refuses to open, and write them, too
    #[arg(long)]
    pub(super) allow_objects: bool,
    /// Where to compute: cpu, cuda[:N], vulkan[:N], wgpu[:N], metal (default: cpu)
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// The checkpoint to write (default: NAME-resumed.pt in the current folder, of a folder NAME-resumed)
    #[arg(long, value_name = "OUT")]
    save: Option<PathBuf>,
    /// Write a line a step
    #[arg(long, value_name = "FILE.jsonl")]
    log: Option<PathBuf>,
    /// PyTorch's losses, to compare with
    #[arg(long, value_name = "FILE.jsonl")]
    expect: Option<PathBuf>,
    /// Replace OUT and the log if they exist
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Only print what would be done, as `rekindle plan` does
    #[arg(long)]
    plan: bool,
    /// Print the summary as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Resume {
    /// What resuming would do: yes where nothing is open.
    pub(super) fn plan(self) -> Answer {
        let settings = Settings::beside(&self.checkpoint)?;
        let device = rekindle::device(self.device.as_deref().or(settings.device.as_deref()).unwrap_or("cpu"))?;
        let models = self.models(&settings)?;
        if models.len() > 1 {
            return several::plan(&self, &settings, &device.autodiff(), &models);
        }
        let fixed = if self.data.is_some() { None } else { self.batches.as_ref().or(settings.batches.as_ref()) };
        let held_back = self.held_back.or(settings.held_back).unwrap_or(0) > 0;
        let source = if fixed.is_some() { Source::Fixed } else { Source::Data { held_back } };
        let (checkpoint, network, options) = self.told(&settings, &device.autodiff(), &models[0])?;
        let mut scheduling = self.scheduling(&settings, source)?;
        let of_layout = || RunState::read(&checkpoint).ok()?.steps_per_epoch;
        scheduling.steps_per_epoch = scheduling.steps_per_epoch.or_else(of_layout);
        match Run::plan(&checkpoint, &network, options) {
            Err(error) if matches!(error.kind(), ErrorKind::Open(_)) => {
                print(&format!("open: {}\n", in_flags(&error.to_string())))?;
                Ok(false)
            }
            plan => {
                let mut plan = plan?;
                plan.questions.extend(scheduling.open(&plan));
                scheduling.explain(&mut plan);
                show(&plan, self.json)
            }
        }
    }

    pub(super) fn run(mut self) -> Answer {
        if self.plan {
            return self.plan();
        }
        let mut settings = Settings::beside(&self.checkpoint)?;
        let save = self.save.take().or(settings.save.take()).unwrap_or_else(|| resumed_name(&self.checkpoint));
        let log = self.log.take().or(settings.log.take());
        for path in [Some(&save), log.as_ref()].into_iter().flatten() {
            if path.exists() && !self.overwrite {
                let sentence = format!("{}: the file exists already; pass --overwrite to replace it", path.display());
                return Err(usage(sentence));
            }
        }
        let expect = self.expect.take().or(settings.expect.take());
        let expected = expect.map(read_log).transpose()?.unwrap_or_default();

        let device = rekindle::device(self.device.as_deref().or(settings.device.as_deref()).unwrap_or("cpu"))?;
        let (batches, source) = self.batches(&mut settings)?;
        let models = self.models(&settings)?;
        if models.len() > 1 {
            let dtype = doubles::of(&Checkpoint::open(&self.checkpoint)?, &device);
            let task = Task::new(device.clone(), self.loss.or(settings.loss_named()?).unwrap_or_default(), dtype);
            let batches = (batches, source);
            return several::run(&self, &settings, &device.autodiff(), &models, &batches, &task, (save, log, expected));
        }
        let mut scheduling = self.scheduling(&settings, batches.source())?;
        let (checkpoint, network, options) = self.told(&settings, &device.clone().autodiff(), &models[0])?;
        let mut run = Run::resume_with(checkpoint, network, options)?;
        let plan = run.resumed_by().cloned();
        scheduling.steps_per_epoch = scheduling.steps_per_epoch.or_else(|| run.known_steps_per_epoch());
        if let Some(plan) = &plan {
            let open = scheduling.open(plan);
            if !open.is_empty() {
                return Err(Error::new(ErrorKind::Open(open)).in_file(&self.checkpoint).into());
            }
            if let (Batches::Fixed(_), Some(steps)) = (&batches, scheduling.epoch_length(plan)) {
                run = run.steps_per_epoch(steps);
            }
        }
        let steps = match (&batches, self.steps.or(settings.steps)) {
            (Batches::Fixed(fixed), steps) => steps.unwrap_or(fixed.len() as u64).min(fixed.len() as u64),
            (Batches::Data { train, batch_size, .. }, steps) => {
                steps.unwrap_or_else(|| train.len().div_ceil(*batch_size) as u64)
            }
        };
        if let Batches::Data { train, batch_size, .. } = &batches {
            run = run.with_loader(DataLoader::new(train.clone(), *batch_size)?.shuffle(true));
        }
        let first = run.steps();
        // Where nobody knows at which step the run is, the lines that are expected are those of the next steps.
        let begins = expected.first().map(|line| line.step).filter(|_| run.known_steps().is_none());
        let mut expected = expected;
        for line in &mut expected {
            line.step = begins.map_or(line.step, |begins| line.step.saturating_sub(begins).saturating_add(1));
        }
        run = run.until_step(first.saturating_add(i64::try_from(steps).unwrap_or(i64::MAX)));

        // What could fail later is tried before any work.
        let loss = self.loss.or(settings.loss_named()?).unwrap_or_default();
        let task = Task::new(device, loss, doubles::dtype_of(run.model()));
        if steps == 0 && self.steps.or(settings.steps).is_some() {
            return Err(usage(format!("{}: there is nothing to do in 0 steps", self.checkpoint.display())));
        }
        let (batch, all) = batches.first().in_file(&source)?;
        task.check(run.model(), &batch, all).in_file(&source)?;
        let options = SaveOptions::default().overwrite(self.overwrite).allow_objects(self.allow_objects);
        run.try_save(&save, &options)?;
        let teller = plan.as_ref().map(|plan| scheduling.teller(&run, plan, &task, batches.held_back()));
        let mut teller = teller.transpose()?.flatten();
        let mut course = Course::new(steps, log.as_deref(), &expected, self.json)?;
        if let Some(mut plan) = plan {
            scheduling.explain(&mut plan);
            eprint!("{}", in_flags(&plan.to_string()));
        }
        run.notes().for_each(note);
        course.header()?;
        if let Err(error) = go(&mut run, &task, &batches, steps, teller.as_mut(), &mut course) {
            // What was done is not lost.
            let stem = save.file_stem().unwrap_or_default().to_string_lossy();
            let extension = if self.checkpoint.is_dir() && save.extension().is_none() { "" } else { ".pt" };
            let beside = save.with_file_name(format!("{stem}-until-step-{}{extension}", run.steps()));
            let said = match run.save_with(&beside, &options) {
                Ok(_) => format!("what was done until then is in {}", beside.display()),
                Err(lost) => format!("what was done until then could not be saved: {lost}"),
            };
            return Err(usage(format!("{}; {said}", sentence(&*error))));
        }
        let accuracy = match &batches {
            Batches::Data { held_back, batch_size, .. } => task.accuracy(run.model(), held_back, *batch_size)?,
            Batches::Fixed(_) => None,
        };
        let taken = run.loader().filter(|loader| loader.taken() > 0).map(|loader| (loader.taken(), loader.len()));
        if let Some((taken, of)) = taken {
            eprintln!(
                "note: stopped after {taken} of the {of} batches of epoch {}; PyTorch's checkpoints have no place for that, so \
                 whoever goes on begins an epoch anew",
                run.epochs() + 1
            );
        }
        let report = run.save_with(&save, &options)?;
        report.notes.iter().for_each(|said| note(said));
        course.finish(&save, accuracy)
    }

    /// The batches, from the flags or the settings.
    fn batches(&mut self, settings: &mut Settings) -> Result<(Batches, PathBuf), Box<dyn std::error::Error>> {
        let (batches, data) = match (self.batches.take(), self.data.take()) {
            (None, None) => (settings.batches.take(), settings.data.take()),
            flags => flags,
        };
        let data = match (batches, data) {
            (Some(path), None) => return Ok((Batches::Fixed(FixedBatches::read(&path)?), path)),
            (None, Some(path)) => path,
            (Some(_), Some(_)) => {
                return Err(usage("rekindle.toml names both `batches` and `data`; one of them is needed"));
            }
            (None, None) => {
                let name = self.checkpoint.display();
                return Err(usage(format!(
                    "{name}: nothing to train on; name a data set with --data or batches with --batches"
                )));
            }
        };
        let mut options = ReadOptions::default();
        if let Some(shape) = self.input_shape.take().or(settings.input_shape.take()) {
            options = options.input_shape(shape);
        }
        if let Some(by) = self.divide_by.or(settings.divide_by) {
            options = options.divide_by(by);
        }
        let dataset = read_dataset(&data, &options)?;
        let held_back = self.held_back.or(settings.held_back).unwrap_or(0);
        let Some(at) = dataset.len().checked_sub(held_back) else {
            let sentence = format!("{}: {held_back} samples cannot be held back of {}", data.display(), dataset.len());
            return Err(usage(sentence));
        };
        let (train, held_back) = dataset.split_at(at)?;
        let batch_size = self.batch_size.or(settings.batch_size).filter(|&size| size > 0);
        let batch_size = batch_size.ok_or_else(|| usage("--data needs a --batch-size of at least 1"))?;
        Ok((Batches::Data { train, held_back, batch_size }, data))
    }

    /// How often the schedulers are stepped, as far as it was told.
    fn pers(&self, settings: &Settings) -> Result<Vec<SchedulePer>, Box<dyn std::error::Error>> {
        let told = if self.schedule_per.is_empty() { &settings.schedule_per } else { &self.schedule_per };
        let named = |name: &String| {
            let names = SchedulePer::ALL.map(SchedulePer::name).join(", ");
            let found = SchedulePer::ALL.into_iter().find(|per| per.name() == name);
            found.ok_or_else(|| usage(format!("rekindle.toml: schedule_per is one of {names}, and not '{name}'")))
        };
        told.iter().map(named).collect()
    }

    /// What was told of the schedulers.
    pub(super) fn scheduling(
        &self,
        settings: &Settings,
        source: Source,
    ) -> Result<Scheduling, Box<dyn std::error::Error>> {
        Ok(Scheduling {
            metric: self.metric.or(settings.metric_named()?),
            per: self.pers(settings)?,
            steps_per_epoch: self.steps_per_epoch.or(settings.steps_per_epoch),
            source,
        })
    }

    /// The networks, each with the part of the checkpoint that it is, where there are several.
    fn models(&self, settings: &Settings) -> Result<Vec<(Option<String>, String)>, Box<dyn std::error::Error>> {
        let models = if self.model.is_empty() { &settings.model } else { &self.model };
        let models: Vec<_> = models
            .iter()
            .map(|model| match model.split_once('=') {
                Some((part, name)) => (Some(part.to_owned()), name.to_owned()),
                None => (None, model.clone()),
            })
            .collect();
        match &models[..] {
            [] => {
                let names = Network::names().collect::<Vec<_>>().join(", ");
                let name = self.checkpoint.display();
                Err(usage(format!("{name}: which network is it? name one with --model: {names}")))
            }
            [_, _, ..] if models.iter().any(|(part, _)| part.is_none()) => {
                Err(usage("--model: of several networks each is named with its part of the checkpoint, such as G=mlp"))
            }
            _ => Ok(models),
        }
    }

    /// The checkpoint, a network of it, and what was told.
    pub(super) fn told(
        &self,
        settings: &Settings,
        device: &burn::tensor::Device,
        (part, name): &(Option<String>, String),
    ) -> Result<(Checkpoint, Network, ResumeOptions), Box<dyn std::error::Error>> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        let mut config = Config::new();
        let parts = self.models(settings)?;
        let parts: Vec<&str> = parts.iter().filter_map(|(part, _)| part.as_deref()).collect();
        // `G.sizes` is G's alone.
        let own = |key: &'_ str| match key.split_once('.') {
            Some((of, own)) if parts.contains(&of) => (Some(of) == part.as_deref()).then(|| own.to_owned()),
            _ => Some(key.to_owned()),
        };
        for (key, value) in &settings.config {
            if let (Some(_), toml::Value::Table(table)) = (part.as_deref().filter(|part| part == key), value) {
                table.iter().for_each(|(key, value)| config.set(key, setting(value)));
            } else if let Some(key) = own(key).filter(|_| !value.is_table()) {
                config.set(key, setting(value));
            }
        }
        for pair in &self.config {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(usage(format!("--config {pair}: K=V is expected, such as sizes=20,32,16,10")));
            };
            if let Some(key) = own(key) {
                config.set(key, value);
            }
        }
        let network = doubles::as_in(Network::build(name, &config, device)?, doubles::of(&checkpoint, device));

        let optimizer = self.optimizer.as_ref().or(settings.optimizer.as_ref());
        let scheduler = self.scheduler.as_deref().or(settings.scheduler.as_deref());
        let ema = self.ema.clone().or_else(|| settings.ema.as_ref().map(setting));
        let ema_per = self.ema_per.as_deref().or(settings.ema_per.as_deref()).map(|per| match per {
            "step" => Ok(SchedulePer::Step),
            "epoch" => Ok(SchedulePer::Epoch),
            other => Err(usage(format!("rekindle.toml: ema_per is step or epoch, and not '{other}'"))),
        });
        let mut options = ResumeOptions::default()
            .optimizer(optimizer.map(|name| name.parse()).transpose()?)
            .scheduler(scheduler.filter(|&name| name != "none" && !name.contains('(')).map(str::parse).transpose()?)
            .no_scheduler(scheduler == Some("none"))
            .schedules_per(self.pers(settings)?)
            .schedule_at(self.schedule_at.or(settings.schedule_at))
            .rng(self.rng.clone().or(settings.rng.clone()))
            .member(self.member.clone().or(settings.member.clone()))
            .seed(self.seed.or(settings.seed))
            .part(part.clone())
            .optimizer_at(self.optimizer_at.clone().or(settings.optimizer_at.clone()))
            .scheduler_at(self.scheduler_at.clone().or(settings.scheduler_at.clone()))
            .average_at(self.ema_at.clone().or(settings.ema_at.clone()))
            .average(ema.as_deref().filter(|&rule| rule != "none").map(str::parse::<Averaging>).transpose()?)
            .keep_average(ema.as_deref() == Some("none"))
            .average_per(ema_per.transpose()?)
            .allow_objects(self.allow_objects);
        if let Some(call) = scheduler.filter(|name| name.contains('(')) {
            options = options.schedule(call.parse::<Schedule>()?);
        }
        for globs in if self.group.is_empty() { &settings.group } else { &self.group } {
            options = options.group(globs.split(',').map(str::to_owned).collect::<Vec<_>>());
        }

        for glob in if self.freeze.is_empty() { &settings.freeze } else { &self.freeze } {
            options = options.freeze(glob.as_str());
        }
        for glob in if self.unfreeze.is_empty() { &settings.unfreeze } else { &self.unfreeze } {
            options = options.unfreeze(glob.as_str());
        }
        Ok((checkpoint, network, options))
    }
}

/// Takes the steps.
fn go(
    run: &mut Run<Network>,
    task: &Task,
    batches: &Batches,
    steps: u64,
    mut teller: Option<&mut Teller>,
    course: &mut Course,
) -> Result<(), Box<dyn std::error::Error>> {
    for i in 0..steps {
        let batch = match batches {
            Batches::Fixed(fixed) => fixed.batch(usize::try_from(i)?)?,
            Batches::Data { .. } => match run.next_batch()? {
                Some(batch) => batch,
                None => break,
            },
        };
        let (lr, epoch) = (run.lr()?, run.epochs());
        run.step_closure(|network| task.loss(network, &batch))?;
        let loss = run.loss()?.unwrap_or(f64::NAN);
        course.step(LogLine { step: u64::try_from(run.steps())?, loss, lr })?;
        let ended = run.epochs() > epoch;
        if let Some(teller) = &mut teller {
            teller.after_step(run, loss, ended)?;
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
        return PathBuf::from(format!("{name}-resumed"));
    }
    let stem = checkpoint.file_stem().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{stem}-resumed.pt"))
}

/// A setting of rekindle.toml as `--config` spells it: lists with commas.
fn setting(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(setting).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// What the command shows of a run while it goes, and at its end.
pub(super) struct Course<'a> {
    bar: ProgressBar,
    log: Option<(PathBuf, BufWriter<File>)>,
    expected: &'a [LogLine],
    lines: Vec<LogLine>,
    /// Where the current epoch began, as an index into `lines`.
    epoch_began: usize,
    json: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        steps: u64,
        log: Option<&Path>,
        expected: &'a [LogLine],
        json: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let bar = ProgressBar::new(steps);
        if !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} steps  {elapsed}  {msg}")?);
        let log = log
            .map(|path| match File::create(path) {
                Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
                Err(error) => Err(usage(format!("{}: cannot write the log: {error}", path.display()))),
            })
            .transpose()?;
        Ok(Course { bar, log, expected, lines: Vec::new(), epoch_began: 0, json })
    }

    pub(super) fn header(&self) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        print(if self.expected.is_empty() {
            "epoch       loss\n"
        } else {
            "epoch    PyTorch       here   largest difference of a step\n"
        })
    }

    pub(super) fn step(&mut self, line: LogLine) -> Result<(), Box<dyn std::error::Error>> {
        if let Some((path, file)) = &mut self.log {
            // Flushed line by line: a run that is killed leaves its log.
            let written = write_line(file, &line).and_then(|()| file.flush());
            written.map_err(|error| usage(format!("{}: cannot write the log: {error}", path.display())))?;
        }
        self.bar.set_message(format!("loss {:.4}", line.loss));
        self.bar.inc(1);
        self.lines.push(line);
        Ok(())
    }

    /// Shows the epoch that has just ended.
    pub(super) fn epoch(&mut self, number: i64) -> std::io::Result<()> {
        let lines = &self.lines[self.epoch_began..];
        self.epoch_began = self.lines.len();
        let (Some(first), Some(last), false) = (lines.first(), lines.last(), self.json) else { return Ok(()) };
        let ours = mean_loss(lines, first.step, last.step).unwrap_or(f64::NAN);
        let row = match (mean_loss(self.expected, first.step, last.step), Apart::between(lines, self.expected)) {
            (Some(theirs), Some(apart)) => format!("{number:5}   {theirs:8.6}   {ours:8.6}   {:.1e}\n", apart.largest),
            _ if self.expected.is_empty() => format!("{number:5}   {ours:8.6}\n"),
            _ => format!("{number:5}          -   {ours:8.6}   -\n"),
        };
        self.bar.suspend(|| print(&row))
    }

    pub(super) fn finish(&self, save: &Path, accuracy: Option<f64>) -> Answer {
        self.bar.finish_and_clear();
        let apart = Apart::between(&self.lines, self.expected);
        let last = self.lines.last();
        if self.json {
            let compared = apart.as_ref().map(|apart| {
                json!({"steps": apart.steps, "largest": json::leaf(&apart.largest.into()), "at": apart.at, "same_lr": apart.same_lr})
            });
            let document = json!({
                "saved": save.display().to_string(),
                "steps": self.lines.len(),
                "step": last.map(|line| line.step),
                "loss": last.map(|line| json::leaf(&line.loss.into())),
                "accuracy": accuracy,
                "expect": compared,
            });
            print(&format!("{document:#}\n"))?;
            return Ok(true);
        }
        if let Some(line) = last {
            print(&format!("{} steps taken, to step {}: loss {:.6}\n", self.lines.len(), line.step, line.loss))?;
        }
        if let Some(accuracy) = accuracy {
            print(&format!("accuracy on the samples held back: {accuracy:.4}\n"))?;
        }
        match apart {
            Some(apart) => print(&format!(
                "over {} steps the losses are at most {:.1e} apart (relative, at step {}); the learning rates {}\n",
                apart.steps,
                apart.largest,
                apart.at,
                if apart.same_lr { "are equal to the last bit" } else { "differ" },
            ))?,
            None if self.expected.is_empty() => {}
            None => print("none of these steps is among the expected ones\n")?,
        }
        print(&format!("wrote {}\n", save.display()))?;
        Ok(true)
    }
}
