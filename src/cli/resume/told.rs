//! What a run is told: the settings as options of the library.

use std::path::Path;

use rekindle::Checkpoint;
use rekindle::models::{Config, Network};
use rekindle::recorder::LoadOptions;
use rekindle::train::ema::Averaging;
use rekindle::train::lr_scheduler::Schedule;
use rekindle::train::optim::Hyperparameters;
use rekindle::train::run::{BatchNorms, ResumeOptions, SchedulePer, Unexpected};

use super::given::Resume;
use crate::cli::answer::{Anything, usage};
use crate::cli::kept::opened;
use crate::cli::predict::is_program;
use crate::cli::settings::{Settings, key_and_value};
use crate::cli::source::here;
use crate::cli::{named, precision};

/// A network, and which part of the checkpoint it is, where there are several.
pub(in crate::cli) type Model = (Option<String>, String);

/// The networks that are trained.
pub(super) fn models(resume: &Resume) -> Anything<Vec<Model>> {
    let models: Vec<Model> = resume.settings.model.iter().map(|model| part_and_name(model)).collect();
    match &models[..] {
        [] => {
            let names = Network::names().collect::<Vec<_>>().join(", ");
            let name = resume.checkpoint.display();
            Err(usage(format!(
                "{name}: which network is it? name one with --model: {names}, or a program of torch.export (.pt2); --help has their settings"
            )))
        }
        [_, _, ..] if models.iter().any(|(part, _)| part.is_none()) => {
            Err(usage("--model: of several networks each is named with its part of the checkpoint, such as G=mlp"))
        }
        _ => Ok(models),
    }
}

/// A part of the checkpoint and its network, `PART=NAME`; of several signs, the first that a network's name is behind.
fn part_and_name(model: &str) -> Model {
    // What stands in parentheses are the network's settings.
    let known = |name: &str| Network::names().any(|known| name.split('(').next() == Some(known));
    let is_network = |name: &str| Path::new(name).is_file() || known(name);
    let all = || model.match_indices('=').map(|(at, _)| (&model[..at], &model[at + 1..]));
    let all = || all().filter(|(part, _)| !part.contains('('));
    match all().find(|(_, name)| is_network(name)).or_else(|| all().next()) {
        Some((part, name)) => (Some(part.to_owned()), name.to_owned()),
        None => (None, model.to_owned()),
    }
}

/// The checkpoint, a network of it, and what was told.
pub(in crate::cli) fn run(
    resume: &Resume,
    device: &burn::tensor::Device,
    model: &Model,
) -> Anything<(Checkpoint, Network, ResumeOptions)> {
    let aloud = models(resume)?.first() == Some(model);
    let checkpoint = opened(&resume.checkpoint, &resume.settings.opening(), aloud)?;
    let network = network(resume, device, model, &checkpoint)?;
    let network = match resume.settings.dtype.as_deref() {
        // As networks are made.
        Some("f32") => network,
        Some(other) => return Err(usage(format!("rekindle.toml: dtype is f32, and not '{other}'"))),
        None => {
            let dtype = precision::of(&checkpoint, &network, device);
            precision::as_in(network, dtype)
        }
    };
    Ok((checkpoint, network, options(&resume.settings)?.part(model.0.clone())))
}

fn network(
    resume: &Resume,
    device: &burn::tensor::Device,
    (part, name): &Model,
    checkpoint: &Checkpoint,
) -> Anything<Network> {
    let models = models(resume)?;
    let parts: Vec<&str> = models.iter().filter_map(|(part, _)| part.as_deref()).collect();
    // `G.sizes` is G's alone.
    let of = |pair: &'_ str| {
        let owners = parts.iter().filter(|part| pair.strip_prefix(*part).is_some_and(|rest| rest.starts_with('.')));
        owners.max_by_key(|part| part.len()).copied()
    };
    let mut config = Config::new();
    for pair in &resume.settings.config {
        let owner = of(pair);
        let own = owner.and_then(|owner| pair.strip_prefix(owner)?.strip_prefix('.')).unwrap_or(pair);
        if owner.is_none() || owner == part.as_deref() {
            let (key, value) = key_and_value(own)?;
            config.set(key, value);
        }
    }
    let path = Path::new(name);
    if !is_program(path) {
        return Ok(named::build(name, &config, checkpoint, part.as_deref(), true, device)?);
    }
    if let Some((key, _)) = config.iter().next() {
        return Err(usage(format!("--config {key}: a program has no settings; {name} says itself what it is")));
    }
    let network = Network::open(here(path)?, device)?;
    if let (Network::Program(program), false) = (&network, resume.settings.from_eval)
        && !program.lacks_for_training().is_empty()
    {
        let lacks = program.lacks_for_training().join(", ");
        return Err(usage(format!(
            "{name}: it was exported in evaluation ({lacks}); --from-eval trains it all the same, with what it has turned on, \
             or export it after model.train()"
        )));
    }
    Ok(network)
}

/// How often the schedulers are stepped, as far as it was told.
pub(super) fn pers(settings: &Settings) -> Anything<Vec<SchedulePer>> {
    let named = |name: &String| name.parse().map_err(|error| usage(format!("--schedule-per: {error}")));
    settings.schedule_per.iter().map(named).collect()
}

/// What the checkpoint leaves open, and what is changed.
fn options(settings: &Settings) -> Anything<ResumeOptions> {
    let (optimizer, scheduler) = (settings.optimizer.as_deref(), settings.scheduler.as_deref());
    let ema = settings.ema.as_deref();
    let ema_per = settings.ema_per.as_deref().map(|per| match per.parse::<SchedulePer>() {
        Ok(
            SchedulePer::Metric | SchedulePer::Fraction | SchedulePer::BeforeStep | SchedulePer::BeforeEpoch,
        )
        | Err(_) => {
            Err(usage(format!("an average is updated per step, per batch, per epoch, or every so many, such as 10-steps, and not per '{per}' (--ema-per)")))
        }
        Ok(per) => Ok(per),
    });
    let unexpected = settings.unexpected.as_deref().map(|said| match said {
        "keep" => Ok(Unexpected::Keep),
        "drop" => Ok(Unexpected::Drop),
        other => Err(usage(format!("rekindle.toml: unexpected is keep or drop, and not '{other}'"))),
    });
    let unexpected = unexpected.transpose()?;
    let clip_norm = settings.clip_norm.as_deref();
    let number = |norm: &str| {
        let wrong = || usage(format!("--clip-norm {norm}: a number or none is expected"));
        norm.parse::<f64>().map_err(|_| wrong())
    };
    let mut options = ResumeOptions::default()
        .optimizer(optimizer.filter(|name| !name.contains('(')).map(str::parse).transpose()?)
        .lr(settings.lr.iter().copied())
        .clip_norm(clip_norm.filter(|norm| *norm != "none").map(number).transpose()?)
        .no_clip(clip_norm == Some("none"))
        .clip_value(settings.clip_value)
        .accumulate(settings.accumulate)
        .new_schedule(settings.new_scheduler)
        .scheduler(scheduler.filter(|&name| name != "none" && !name.contains('(')).map(str::parse).transpose()?)
        .no_scheduler(scheduler == Some("none"))
        .schedules_per(pers(settings)?)
        .schedule_at(settings.schedule_at)
        .epoch_at(settings.epoch_at.clone().filter(|place| place != "none"))
        .keep_numbers(settings.epoch_at.as_deref() == Some("none"))
        .step_at(settings.step_at.clone())
        .steps_made(settings.steps_made)
        .rng(settings.rng.clone())
        .loader_rng(settings.loader_rng.clone().filter(|place| place != "none"))
        .no_loader_rng(settings.loader_rng.as_deref() == Some("none"))
        .loader_state(settings.loader_state.clone().filter(|place| place != "none"))
        .no_loader_state(settings.loader_state.as_deref() == Some("none"))
        .add_loader(settings.add_loader)
        .add_rng(settings.add_rng)
        .member(settings.member.clone())
        .unexpected(unexpected)
        .batch_norm(settings.batch_norm.as_deref().map(str::parse::<BatchNorms>).transpose()?)
        .weights_only(settings.weights_only)
        .seed(settings.seed)
        .optimizer_at(settings.optimizer_at.clone())
        .scheduler_at(settings.scheduler_at.clone())
        .average_at(settings.ema_at.clone())
        .average(ema.filter(|&rule| rule != "none").map(str::parse::<Averaging>).transpose()?)
        .keep_average(ema == Some("none"))
        .average_per(ema_per.transpose()?)
        .allow_objects(settings.allow_objects);
    if let Some(call) = scheduler.filter(|name| name.contains('(')) {
        options = options.schedule(call.parse::<Schedule>()?);
    }
    if let Some(call) = optimizer.filter(|name| name.contains('(')) {
        options = options.new_optimizer(call.parse::<Hyperparameters>()?);
    }
    if let Some(order) = &settings.order {
        options = options.order(names(order)?);
    }
    if let Some(other) = settings.rest.as_deref().filter(|rest| *rest != "frozen") {
        return Err(usage(format!("rekindle.toml: rest is frozen, and not '{other}'")));
    }
    options = options.rest_frozen(settings.rest.is_some());
    if !settings.strip_prefix.is_empty() || !settings.rename.is_empty() {
        let mut load = LoadOptions::strict();
        for prefix in &settings.strip_prefix {
            load = load.strip_prefix(prefix.as_str());
        }
        for rename in &settings.rename {
            let Some((pattern, with)) = rename.split_once('=') else {
                return Err(usage(format!("--rename {rename}: RE=WITH is expected, such as '^encoder=backbone'")));
            };
            load = load.rename(pattern, with);
        }
        options = options.load(load);
    }
    for change in &settings.set {
        options = options.set_parsed(change)?;
    }
    for globs in &settings.group {
        options = options.group(globs.split(',').map(str::to_owned).collect::<Vec<_>>());
    }
    for glob in &settings.freeze {
        options = options.freeze(glob.as_str());
    }
    for glob in &settings.unfreeze {
        options = options.unfreeze(glob.as_str());
    }
    Ok(options)
}

/// The names in a file, one a line, or else those between commas.
fn names(order: &str) -> Anything<Vec<String>> {
    let path = Path::new(order);
    let given = |text: &str, between: &[char]| {
        let names = text.split(between).map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    if path.is_file() {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| usage(format!("{order}: cannot read the order: {error}")))?;
        return Ok(given(&text, &['\n']));
    }
    Ok(given(order, &[',']))
}
