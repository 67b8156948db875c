//! Runs of several models, such as a GAN's: each part is a run of its own, with a model of its own type, and all of them are
//! saved as one checkpoint.

use std::path::Path;

use burn::module::Module;
use rekindle_recorder::checkpoint::{SaveOptions, SaveReport};
use rekindle_recorder::run::{Question, RunPart, RunState, place_of};
use rekindle_recorder::{Checkpoint, Dict, Error, ErrorKind, Result, Value};

use super::options::ResumeOptions;
use super::parts::Run;
use crate::attributes::invalid;

/// A [`Run`] of any model: a part of a run of several.
pub trait AnyRun {
    /// The name of its part, such as `G`; `None` for a run of one model.
    fn part(&self) -> Option<&str>;

    /// The checkpoint that it was resumed from.
    fn origin(&self) -> Option<&Checkpoint>;

    /// A copy of a checkpoint with this part in it: its model, optimizer, scheduler and average. With `shared`, the position, the
    /// loss, the scaler and the generator's state are this run's, too.
    ///
    /// # Errors
    /// When the checkpoint has no place for it.
    fn put_into(&self, checkpoint: &Checkpoint, shared: bool) -> Result<Checkpoint> {
        self.put_whole_into(checkpoint, shared).map(|(written, _)| written)
    }

    /// As [`put_into`](Self::put_into), and all of the part that no layout has a place for.
    ///
    /// # Errors
    /// As [`put_into`](Self::put_into).
    fn put_whole_into(&self, checkpoint: &Checkpoint, shared: bool) -> Result<(Checkpoint, Value)>;

    /// A run of one model as a checkpoint ([`Run::checkpoint`]), and all of it that no layout has a place for.
    ///
    /// # Errors
    /// As [`Run::checkpoint`].
    fn alone(&self) -> Result<(Checkpoint, Value)>;

    /// Goes to where the run was that this is all of, as [`put_whole_into`](Self::put_whole_into) or [`alone`](Self::alone) gave it.
    ///
    /// # Errors
    /// As [`Run::restore`].
    fn restore_from(&mut self, own: &Value) -> Result<()>;

    /// The metrics that the run was told since its last step.
    fn told_metrics(&self) -> Value;
}

impl<M: Module> AnyRun for Run<M> {
    fn part(&self) -> Option<&str> {
        let resumed = self.part.as_ref().map(|part| part.name.as_str());
        resumed.or(self.name.as_deref())
    }

    fn origin(&self) -> Option<&Checkpoint> {
        self.origin.as_ref()
    }

    fn put_whole_into(&self, checkpoint: &Checkpoint, shared: bool) -> Result<(Checkpoint, Value)> {
        let now = self.now()?;
        let mut state = self.state_of(&now)?;
        if self.origin.is_none() {
            state.step = self.step;
        }
        if !shared {
            (state.scaler, state.rng, state.loss) = (None, None, None);
            (state.epoch, state.step, state.loader) = (None, None, None);
        }
        let written = match (&self.origin, self.part()) {
            (Some(_), _) => state.write_back(checkpoint)?,
            (None, Some(name)) => added(&state, checkpoint, name)?,
            (None, None) => {
                return Err(invalid("a part of a run of several models needs a name; give it one with `as_part`"));
            }
        };
        Ok((written, self.own(&now)?))
    }

    fn alone(&self) -> Result<(Checkpoint, Value)> {
        let now = self.now()?;
        let checkpoint = self.named(self.state_of(&now).and_then(|state| self.written(&state)))?;
        Ok((checkpoint, self.own(&now)?))
    }

    fn restore_from(&mut self, own: &Value) -> Result<()> {
        self.restore_own(own)
    }

    fn told_metrics(&self) -> Value {
        self.notes.told()
    }
}

impl<M: Module> Run<M> {
    /// Names a run that begins, as a part of a run of several models: [`save_parts`] keeps it under `NAME_state_dict`,
    /// `NAME_optimizer_state_dict`, `NAME_scheduler_state_dict` and `NAME_ema`. One that is resumed has its part's name.
    #[must_use]
    pub fn as_part(self, name: impl Into<String>) -> Self {
        Run { name: Some(name.into()), ..self }
    }
}

/// Several runs as one checkpoint. Resumed ones go back where they came from, and what is no part of theirs stays as it is. The
/// first run's are the position, the loss, the scaler and the state of the generator, which all of them share: whatever is drawn
/// by hand is drawn from its [`generator_mut`](Run::generator_mut), and it has the loader.
///
/// # Errors
/// When there is none, two are of one part, they come from different files, or one cannot be written.
pub fn checkpoint_of(parts: &[&dyn AnyRun]) -> Result<Checkpoint> {
    gathered(parts).map(|(checkpoint, _)| checkpoint)
}

/// [`checkpoint_of`] several runs, and all of each that no layout has a place for.
pub(super) fn gathered(parts: &[&dyn AnyRun]) -> Result<(Checkpoint, Vec<Value>)> {
    let Some((first, others)) = parts.split_first() else { return Err(invalid("there is no run to save")) };
    for (i, part) in parts.iter().enumerate() {
        if parts[..i].iter().any(|before| before.part() == part.part()) {
            return Err(invalid(format!("two of the runs are of the part '{}'", part.part().unwrap_or_default())));
        }
        let (path, begun) = (part.origin().and_then(Checkpoint::path), part.origin().is_none());
        if path != first.origin().and_then(Checkpoint::path) || begun != first.origin().is_none() {
            return Err(invalid("the runs are not of one checkpoint"));
        }
    }
    let begins = Checkpoint::from(Dict::new());
    let (mut written, own) = first.put_whole_into(first.origin().unwrap_or(&begins), true)?;
    let mut owns = vec![own];
    for part in others {
        let own;
        (written, own) = part.put_whole_into(&written, false)?;
        owns.push(own);
    }
    Ok((written, owns))
}

/// Writes [`checkpoint_of`] several runs to a file, whole or not at all. A file that is there is replaced.
///
/// # Errors
/// As [`checkpoint_of`], and when it cannot be written.
pub fn save_parts(parts: &[&dyn AnyRun], path: impl AsRef<Path>) -> Result<SaveReport> {
    save_parts_with(parts, path, &SaveOptions::default())
}

/// As [`save_parts`], with options.
///
/// # Errors
/// As [`save_parts`], and when the file exists and is not to be replaced.
pub fn save_parts_with(parts: &[&dyn AnyRun], path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport> {
    checkpoint_of(parts)?.save_with(path, options)
}

/// A checkpoint with a part that it has no keys for yet.
fn added(state: &RunState, checkpoint: &Checkpoint, name: &str) -> Result<Checkpoint> {
    let root: Dict = checkpoint.root().as_dict().map(Dict::entries).unwrap_or_default().into_iter().collect();
    let key = |what: &str| format!("{name}_{what}");
    let (optimizer, scheduler) = (state.optimizers.first(), state.schedulers.first());
    let numbers = [("epoch", state.epoch), ("step", state.step)];
    let rng = state.rng.clone().map(Value::from);
    let entries = numbers
        .map(|(key, number)| (key.to_owned(), number.map(Value::Int)))
        .into_iter()
        .chain([
            (key("state_dict"), Some(state.model.to_value())),
            (key("optimizer_state_dict"), optimizer.cloned()),
            (key("scheduler_state_dict"), scheduler.cloned()),
            (key("ema"), state.ema.clone()),
            ("scaler_state_dict".to_owned(), state.scaler.clone()),
            ("loss".to_owned(), state.loss.clone()),
            ("rng_state".to_owned(), rng),
            ("dataloader_state_dict".to_owned(), state.loader.clone()),
        ])
        .filter_map(|(key, value)| Some((key, value?)));
    for (key, value) in entries {
        if root.insert(key.as_str(), value).is_some() {
            return Err(invalid(format!("two of the runs would be kept under '{key}'")));
        }
    }
    Ok(Checkpoint::from(root))
}

/// What is gathered from a checkpoint: the part that was said, or everything where there is only one.
///
/// # Errors
/// A question where it is open which model goes on, or which optimizer or scheduler is the model's.
pub(super) fn gather(checkpoint: &Checkpoint, options: &ResumeOptions) -> Result<RunState> {
    let parts = RunState::parts(checkpoint)?;
    let mut part = match (&options.part, &parts[..]) {
        (Some(name), _) => named(&parts, name, checkpoint)?.clone(),
        (None, [one]) => one.clone(),
        (None, _) => return Err(which(&parts)),
    };
    let spelled = |place: &String| place_of(checkpoint, place).unwrap_or_else(|| place.clone());
    for (place, places) in
        [(&options.optimizer_at, &mut part.optimizers), (&options.scheduler_at, &mut part.schedulers)]
    {
        if let Some(place) = place {
            *places = vec![spelled(place)];
        }
    }
    if let Some(place) = &options.average_at {
        part.average = Some(spelled(place));
    }
    let state = if parts.len() == 1 && parts[0] == part {
        RunState::read(checkpoint)?
    } else {
        RunState::read_part(checkpoint, &part)?
    };
    if parts.len() == 1 && parts[0] == part && part.optimizers.len() < 2 {
        return Ok(state);
    }
    // Several are of one model together, unless they have more parameters than it has.
    let together = members(&state) <= state.model.len() && options.new_optimizer.is_none();
    if part.optimizers.len() < 2 || !together && !options.weights_only {
        ask_optimizer(&part)?;
    }
    if part.schedulers.is_empty() && !part.open_schedulers.is_empty() && !options.no_scheduler {
        let question = format!("nothing tells which of the file's schedulers is the one of '{}'", part.model);
        let question = choices(Question::new(question), &part.open_schedulers, "ResumeOptions::scheduler_at");
        return Err(open(question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")));
    }
    fits(&state, &part)?;
    Ok(state)
}

/// The part of this name, or of the model under this key.
fn named<'a>(parts: &'a [RunPart], name: &str, checkpoint: &Checkpoint) -> Result<&'a RunPart> {
    let found = parts.iter().find(|part| part.model == name).or_else(|| parts.iter().find(|part| part.name == name));
    let place = place_of(checkpoint, name);
    let found = found.or_else(|| parts.iter().find(|part| Some(&part.model) == place.as_ref()));
    let same = |part: &&RunPart| part.name.eq_ignore_ascii_case(name);
    found.or_else(|| parts.iter().find(same)).ok_or_else(|| {
        let names: Vec<_> = parts.iter().map(|part| format!("'{}'", part.model)).collect();
        Error::missing_key(name).advise(format!("the models of the checkpoint are {}", names.join(", ")))
    })
}

fn open(question: Question) -> Error {
    Error::new(ErrorKind::Open(vec![question]))
}

/// The question of which model goes on.
fn which(parts: &[RunPart]) -> Error {
    let trained = |part: &&RunPart| !part.optimizers.is_empty() || !part.open_optimizers.is_empty();
    if !parts.iter().any(|part| trained(&part))
        && let Some(place) = parts.iter().flat_map(|part| &part.shared_optimizers).next()
    {
        return shared(place, parts);
    }
    let names: Vec<_> = parts.iter().map(|part| format!("'{}'", part.model)).collect();
    let mut question = Question::new(format!("the file holds several models ({}): which goes on?", names.join(", ")));
    let asked = parts.iter().any(|part| trained(&part));
    for part in parts.iter().filter(|part| !asked || trained(part)) {
        let with = part.optimizers.join(", ");
        let with = if with.is_empty() { String::new() } else { format!(" with {with}") };
        let name =
            if parts.iter().any(|other| other != part && other.name == part.name) { &part.model } else { &part.name };
        question =
            question.or(format!("ResumeOptions::part(\"{name}\")"), format!("to go on with {}{with}", part.model));
    }
    open(question)
}

/// The error of an optimizer that trains several models, of which a run has one.
fn shared(place: &str, parts: &[RunPart]) -> Error {
    let names: Vec<_> = parts.iter().map(|part| format!("'{}'", part.model)).collect();
    let what = format!(
        "going on with {place}, which has more parameters than any one of {}: it trains several at once, and nothing tells which of its \
         parameters are whose, or it computes with all of them together (LBFGS, LAMB); that",
        names.join(", ")
    );
    Error::unsupported(what).advise("go on with it in PyTorch, or give each model an optimizer of its own there")
}

fn choices(question: Question, places: &[String], option: &str) -> Question {
    places.iter().fold(question, |question, place| question.or(format!("{option}(\"{place}\")"), "to take it"))
}

/// A model goes on with one optimizer.
fn ask_optimizer(part: &RunPart) -> Result<()> {
    let option = "ResumeOptions::optimizer_at";
    match (&part.optimizers[..], &part.open_optimizers[..]) {
        ([], []) if !part.shared_optimizers.is_empty() => {
            Err(shared(&part.shared_optimizers[0], std::slice::from_ref(part)))
        }
        ([_], _) | ([], []) => Ok(()),
        ([], places) => {
            let question = format!("nothing tells which of the file's optimizers is the one of '{}'", part.model);
            Err(open(choices(Question::new(question), places, option)))
        }
        (several, _) => {
            let question = format!(
                "the file holds {} optimizers for one model, and a run goes on with one; the others stay as they are",
                several.len()
            );
            Err(open(choices(Question::new(question), several, option)))
        }
    }
}

/// How many parameters all optimizers have together.
fn members(state: &RunState) -> usize {
    let groups = state.optimizers.iter().filter_map(|saved| saved.as_dict()?.get("param_groups")?.items()).flatten();
    groups.filter_map(|group| Some(group.as_dict()?.get("params")?.items()?.len())).sum()
}

/// An optimizer that has more parameters than its part's model trains something else, too.
fn fits(state: &RunState, part: &RunPart) -> Result<()> {
    let members = members(state);
    if members > state.model.len() {
        let place = part.optimizers.first().map_or("", String::as_str);
        let what = format!(
            "going on with {place}, which is of {members} parameters, where '{}' has {}: it trains others, too; that",
            part.model,
            state.model.len()
        );
        return Err(
            Error::unsupported(what).advise("say another with `ResumeOptions::optimizer_at`, or train both in PyTorch")
        );
    }
    Ok(())
}
