//! A dict with a value for each file of a folder, as transformers' Trainer and accelerate leave one for each checkpoint.

use super::paths::Paths;
use super::progress::{Progress, Settle};
use crate::run::path::KeyPath;
use crate::run::spellings::{Role, is_optimizer, looks_like_scaler, looks_like_scheduler, whole};
use crate::run::told::Told;
use crate::{Dict, Result, Value};

/// What the Trainer says of a run.
const TRAINER_STATE: &str = "trainer_state.json";

/// The keys of a dict that fit `before` and `after` with a number between them, by that number; the plain key first.
fn numbered(dict: &Dict, before: &str, after: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = dict
        .entries()
        .iter()
        .filter_map(|(key, _)| {
            let key = key.as_str()?;
            let between = key.strip_prefix(before)?.strip_suffix(after)?;
            let number = if between.is_empty() { 0 } else { between.strip_prefix('_')?.parse().ok()? };
            Some((number, key.to_owned()))
        })
        .collect();
    found.sort();
    found
}

/// The weights of one model, the first form that is there: of one file or of several, by safetensors or by `torch.save`.
fn weights(dict: &Dict, paths: &mut Paths) {
    const NAMES: [&str; 6] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "adapter_model.safetensors",
        "adapter_model.bin",
    ];
    if let Some(name) = NAMES.into_iter().find(|name| dict.get(name).is_some()) {
        paths.push(Role::Model, KeyPath::key(name));
    }
}

/// `checkpoint-500/` of transformers' Trainer.
pub(super) fn hf_trainer(root: &Value) -> Option<Paths> {
    let dict = root.as_dict()?;
    let state =
        dict.get(TRAINER_STATE).filter(|state| state.as_dict().is_some_and(|it| it.get("global_step").is_some()));
    let generators = numbered(dict, "rng_state", ".pth");
    let optimizer = dict.get("optimizer.pt").filter(is_optimizer);
    let scheduler = dict.get("scheduler.pt").filter(|value| value.as_dict().is_some());
    if optimizer.is_none() && scheduler.is_none() && generators.is_empty() {
        return None;
    }
    let mut paths = Paths::default();
    weights(dict, &mut paths);
    if optimizer.is_some() {
        paths.push(Role::Optimizer, KeyPath::key("optimizer.pt"));
    }
    if scheduler.is_some() {
        paths.push(Role::Scheduler, KeyPath::key("scheduler.pt"));
    }
    if dict.get("scaler.pt").as_ref().is_some_and(looks_like_scaler) {
        paths.push(Role::Scaler, KeyPath::key("scaler.pt"));
    }
    // Of several processes each had its own: which is to go on has to be said.
    if let [(_, name)] = &generators[..]
        && dict.get(name).is_some_and(|states| states.as_dict().is_some_and(|states| states.get("cpu").is_some()))
    {
        paths.push(Role::Rng, KeyPath::key(name.as_str()).then("cpu"));
    }
    let step = state.as_ref().and_then(Value::as_dict).and_then(|state| state.get("global_step")?.as_i64());
    if let Some(step) = step {
        paths.push(Role::Step, KeyPath::key(TRAINER_STATE).then("global_step"));
        // What it says of epochs goes on where it is told how many steps one has.
        if steps_per_epoch(root, step).is_some() {
            paths.push(Role::Epoch, KeyPath::key(TRAINER_STATE).then("epoch"));
        }
    }
    Some(paths)
}

/// The Trainer counts steps, and says how many epochs these are, parts included.
pub(super) const TRAINER: Settle = Settle { read: trainer_progress, write: trainer_settled };

fn epochs(root: &Value) -> Option<f64> {
    KeyPath::key(TRAINER_STATE).then("epoch").value(root)?.as_f64().filter(|epochs| epochs.is_finite() && *epochs > 0.0)
}

/// How many steps an epoch has: the file has the quotient of two whole numbers.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // counts of steps
fn steps_per_epoch(root: &Value, step: i64) -> Option<i64> {
    let per_epoch = step as f64 / epochs(root)?;
    let whole = per_epoch.round();
    (whole >= 1.0 && (per_epoch - whole).abs() < 1e-6 * whole).then_some(whole as i64)
}

#[allow(clippy::cast_possible_truncation)] // a count of epochs
fn trainer_progress(root: &Value, told: Progress) -> Progress {
    let Some(steps) = told.step.and_then(|step| steps_per_epoch(root, step)) else {
        return Progress { epoch: epochs(root).map(|epochs| epochs.floor() as i64), ..told };
    };
    let step = told.step.unwrap_or_default();
    Progress {
        epoch: Some(step / steps),
        step: Some(step),
        step_in_epoch: Some(step % steps),
        steps_per_epoch: Some(steps),
        ..told
    }
}

#[allow(clippy::cast_precision_loss)] // counts of steps
fn trainer_settled(root: Value, before: &Progress, now: &Progress) -> Result<Value> {
    match (before.steps_per_epoch, now.step) {
        // As the Trainer adds them up.
        (Some(steps), Some(step)) => {
            let epochs = (step / steps) as f64 + (step % steps) as f64 / steps as f64;
            KeyPath::key(TRAINER_STATE).then("epoch").replaced(&root, Value::Float(epochs))
        }
        _ => Ok(root),
    }
}

/// A folder of accelerate's `save_state`.
pub(super) fn accelerate(root: &Value) -> Option<Paths> {
    let dict = root.as_dict()?;
    let optimizers = numbered(dict, "optimizer", ".bin");
    let schedulers = numbered(dict, "scheduler", ".bin");
    let generators = numbered(dict, "random_states", ".pkl");
    if optimizers.is_empty() && schedulers.is_empty() && generators.is_empty() {
        return None;
    }
    let mut paths = Paths::default();
    weights(dict, &mut paths);
    for (before, after) in [("model", ".safetensors"), ("pytorch_model", ".bin")] {
        for (_, name) in numbered(dict, before, after).into_iter().filter(|(number, _)| *number > 0) {
            paths.push(Role::Model, KeyPath::key(name));
        }
    }
    for (role, names) in [(Role::Optimizer, optimizers), (Role::Scheduler, schedulers)] {
        names.into_iter().for_each(|(_, name)| paths.push(role, KeyPath::key(name)));
    }
    // What was registered for checkpointing, such as a scheduler that was not prepared.
    for (_, name) in numbered(dict, "custom_checkpoint", ".pkl") {
        if dict.get(&name).as_ref().is_some_and(looks_like_scheduler) {
            paths.push(Role::Scheduler, KeyPath::key(name));
        }
    }
    if dict.get("scaler.pt").as_ref().is_some_and(looks_like_scaler) {
        paths.push(Role::Scaler, KeyPath::key("scaler.pt"));
    }
    if let [(_, name)] = &generators[..] {
        let place = KeyPath::key(name.as_str()).then("torch_manual_seed");
        if place.value(root).is_some() {
            paths.push(Role::Rng, place);
        }
    }
    Some(paths)
}

/// What the groups say of a scheduler, which is in no file where it was not prepared.
pub(super) fn accelerate_told(root: &Value) -> Told {
    let group = KeyPath::key("optimizer.bin").then("param_groups").then(0).value(root);
    let scheduled = group.is_some_and(|group| group.as_dict().is_some_and(|group| group.get("initial_lr").is_some()));
    let optimizer = Some(("optimizer.bin", "start a new run with its weights instead".to_owned()));
    let by = "random_states_0.pkl.step, the batches of the epoch".to_owned();
    Told { by, scheduled, optimizer, accumulated: accelerates_batches(root), ..Told::default() }
}

/// How many batches made a step, where `Accelerator.step`, which counts those of an epoch, has counted more than there were steps.
fn accelerates_batches(root: &Value) -> Option<i64> {
    let batches = KeyPath::key("random_states_0.pkl").then("step").value(root)?.as_i64()?;
    let states = KeyPath::key("optimizer.bin").then("state").value(root)?.as_dict()?.entries();
    let steps = states.iter().filter_map(|(_, state)| whole(&state.as_dict()?.get("step")?)).max()?;
    let each = if steps > 0 { batches / steps } else { 0 };
    (each > 1 && batches / each == steps).then_some(each)
}
