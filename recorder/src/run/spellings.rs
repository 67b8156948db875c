//! The keys under which people save each part of a run: one table, read from the PyTorch tutorials and from the training
//! programs that follow them.

use crate::run::generators;
use crate::serde::scalar;
use crate::state_dict::module;
use crate::{Value, walk};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Model,
    Optimizer,
    Scheduler,
    Scaler,
    Ema,
    Rng,
    Epoch,
    Step,
    Loss,
    /// How often the average was updated.
    Updates,
    /// What else counts epochs and steps.
    Position,
}

/// How a part is spelled.
pub(super) struct Spelling {
    pub(super) role: Role,
    /// The keys, the likeliest first; a new key is the first of its style.
    pub(super) keys: &'static [&'static str],
    /// What the keys of one part of several begin with: `modelA_state_dict`, `optimizer_G`, `netD`.
    pub(super) stems: &'static [&'static str],
    /// Whether a value under one of the keys can be the part.
    pub(super) fits: fn(&Value) -> bool,
    /// Whether a value under another key that begins with a stem, or ends in `_state_dict`, must be the part.
    pub(super) must: fn(&Value) -> bool,
}

const fn never(_: &Value) -> bool {
    false
}

/// What most rows have.
const ROW: Spelling = Spelling { role: Role::Position, keys: &[], stems: &[], fits: never, must: never };

/// The table.
pub(super) const SPELLINGS: [Spelling; 10] = [
    Spelling {
        role: Role::Epoch,
        keys: &["epoch", "current_epoch", "last_epoch"],
        // -1 is before the first.
        fits: |value| whole(value).is_some_and(|epoch| epoch >= -1),
        ..ROW
    },
    Spelling {
        role: Role::Model,
        keys: &[
            "model_state_dict",
            "state_dict",
            "model",
            "net",
            "net_state_dict",
            "network",
            "model_state",
            "weights",
        ],
        stems: &["model", "net"],
        fits: is_state_dict,
        must: has_tensors,
    },
    Spelling {
        role: Role::Optimizer,
        keys: &[
            "optimizer_state_dict",
            "optimizer",
            "optim",
            "opt",
            "optim_state_dict",
            "opt_state_dict",
            "optimizer_state",
        ],
        stems: &["optimizer", "optim", "opt"],
        fits: is_optimizer,
        must: is_optimizer,
    },
    Spelling {
        role: Role::Scheduler,
        keys: &[
            "scheduler_state_dict",
            "lr_scheduler_state_dict",
            "scheduler",
            "lr_scheduler",
            "sched",
            "lr_sched",
            "scheduler_state",
        ],
        stems: &["scheduler", "lr_scheduler", "sched"],
        fits: |value| value.as_dict().is_some() && !is_optimizer(value) && !has_tensors(value),
        must: looks_like_scheduler,
    },
    Spelling {
        role: Role::Scaler,
        keys: &["scaler_state_dict", "scaler", "grad_scaler", "grad_scaler_state_dict", "amp_scaler"],
        fits: |value| value.as_dict().is_some_and(crate::Dict::is_empty) || looks_like_scaler(value),
        must: looks_like_scaler,
        ..ROW
    },
    Spelling {
        role: Role::Ema,
        keys: &[
            "ema_state_dict",
            "ema",
            "model_ema",
            "ema_model",
            "state_dict_ema",
            "ema_model_state_dict",
            "model_ema_state_dict",
            "params_ema",
            "swa_model",
            "swa_state_dict",
            "swa_model_state_dict",
            "shadow_params",
        ],
        fits: |value| is_average(value) || has_tensors(value),
        ..ROW
    },
    Spelling { role: Role::Loss, keys: &["loss", "train_loss"], fits: |value| number(value).is_some(), ..ROW },
    Spelling {
        role: Role::Step,
        keys: &[
            "global_step",
            "step",
            "iteration",
            "iter",
            "iter_num",
            "steps",
            "current_step",
            "num_updates",
            "n_iter",
            "iterations",
            "global_steps",
            "total_iter",
            "cur_iter",
            "current_iter",
            "train_step",
            "num_iter",
            "niter",
            "itr",
            "iters",
            "batches_done",
            "steps_done",
        ],
        fits: |value| whole(value).is_some_and(|step| step >= 0),
        ..ROW
    },
    Spelling {
        role: Role::Rng,
        keys: &["rng_state", "torch_rng_state", "rng", "cpu_rng_state", "torch_rng", "random_state", "rng_states"],
        fits: generators::is_state,
        ..ROW
    },
    Spelling {
        role: Role::Updates,
        keys: &["updates", "ema_updates", "swa_n"],
        fits: |value| whole(value).is_some_and(|updates| updates >= 0),
        ..ROW
    },
];

/// What the name of a state has in it that is not the run's present one, but kept beside it.
const KEPT: [&str; 12] = [
    "best",
    "teacher",
    "criterion",
    "initial",
    "previous",
    "ema",
    "swa",
    "average",
    "averaged",
    "target",
    "reference",
    "shadow",
];

/// Whether a name says that the value is kept beside the run's.
pub(super) fn is_kept(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).any(|word| KEPT.contains(&word)) || name.contains("best")
}

/// Where a dict of generators keeps that of the CPU.
pub(super) const CPU_GENERATOR: [&str; 5] = ["torch", "cpu", "torch_rng_state", "torch_cpu", "torch_state"];

impl Role {
    /// All parts that have a place in a run, in the order in which a new checkpoint holds them.
    pub(super) const ALL: [Role; 10] = [
        Role::Epoch,
        Role::Model,
        Role::Optimizer,
        Role::Scheduler,
        Role::Scaler,
        Role::Ema,
        Role::Loss,
        Role::Step,
        Role::Rng,
        Role::Updates,
    ];

    /// The key that this part gets in a checkpoint that has none for it: in the style of the model's, where there is one.
    pub(super) fn new_key(self, root: &Value) -> &'static str {
        let keys =
            SPELLINGS.iter().find(|spelling| spelling.role == self).map_or(&["extra"][..], |spelling| spelling.keys);
        let long = |key: &str| key.ends_with("_state_dict");
        let get = |key: &&&str| root.as_dict().and_then(|dict| dict.get(key));
        if let Some(key) = keys.iter().find(|key| matches!(get(key), Some(Value::None))) {
            return key;
        }
        let models =
            SPELLINGS.iter().filter(|spelling| spelling.role == Role::Model).flat_map(|spelling| spelling.keys);
        let style = !models.filter(|key| !long(key)).any(|key| get(&key).is_some());
        keys.iter().find(|key| long(key) == style).or(keys.first()).copied().unwrap_or("extra")
    }
}

impl Role {
    /// Whether it is a number, and not a part with a state of its own.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Role::Epoch | Role::Step | Role::Loss)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Model => "model",
            Role::Optimizer => "optimizer",
            Role::Scheduler => "scheduler",
            Role::Scaler => "scaler",
            Role::Ema => "ema",
            Role::Rng => "generator",
            Role::Epoch => "epoch",
            Role::Step => "step",
            Role::Loss => "loss",
            Role::Updates => "count of the average",
            Role::Position => "position",
        }
    }
}

crate::display_is_name!(Role);

/// The number in a Python number, a NumPy scalar, or a tensor of no dimensions.
pub(super) fn number(value: &Value) -> Option<Value> {
    let plain = match value {
        Value::Tensor(tensor) => scalar::of_tensor(tensor)?.ok()?,
        other => scalar::of_numpy(other).unwrap_or_else(|| other.clone()),
    };
    matches!(plain, Value::Int(_) | Value::Float(_)).then_some(plain)
}

/// A number in the type that another has.
pub(super) fn number_like(number: &Value, old: &Value) -> Option<Value> {
    if number.id().is_some() && number.id() == old.id() {
        return Some(old.clone());
    }
    let (number, before) = (self::number(number)?, self::number(old));
    let same = |a: &Value, b: &Value| match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a.as_i64().is_some() && a.as_i64() == b.as_i64(),
    };
    if before.is_some_and(|before| same(&before, &number)) {
        return Some(old.clone());
    }
    match old {
        Value::Tensor(tensor) => scalar::tensor_like(tensor, &number).map(Into::into),
        Value::Object(_) => scalar::numpy_like(old, &number),
        Value::Float(_) => number.as_f64().map(Value::Float),
        _ => Some(number),
    }
}

/// The whole number in one of these.
pub(super) fn whole(value: &Value) -> Option<i64> {
    match number(value)? {
        #[allow(clippy::cast_possible_truncation)] // it is whole and within 2^53
        Value::Float(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => Some(x as i64),
        other => other.as_i64(),
    }
}

/// `{'state': ..., 'param_groups': ...}`.
pub(super) fn is_optimizer(value: &Value) -> bool {
    value.as_dict().is_some_and(|dict| dict.get("state").is_some() && dict.get("param_groups").is_some())
}

/// Keys that the classes of `lr_scheduler` keep.
const OF_SCHEDULERS: [&str; 7] =
    ["last_epoch", "_step_count", "base_lrs", "_last_lr", "_schedulers", "num_bad_epochs", "cooldown_counter"];

/// Keys that all of ignite's schedulers of an optimizer keep.
const OF_EVENTS: [&str; 3] = ["event_index", "param_name", "param_group_index"];

/// Two of the keys that the classes of `lr_scheduler` keep, or those of ignite's schedulers.
pub(super) fn looks_like_scheduler(value: &Value) -> bool {
    value.as_dict().is_some_and(|dict| {
        OF_SCHEDULERS.iter().filter(|mark| dict.get(mark).is_some()).count() > 1
            || OF_EVENTS.iter().all(|mark| dict.get(mark).is_some())
            || is_of_groups(dict)
    })
}

/// ignite's `ParamGroupScheduler`: its schedulers and nothing else, each with a name.
fn is_of_groups(dict: &crate::Dict) -> bool {
    let named = |pair: &Value| match &pair.items().unwrap_or_default()[..] {
        [name, state] => name.as_str().is_some() && looks_like_scheduler(state),
        _ => false,
    };
    let pairs = dict.get("schedulers").filter(|_| dict.len() == 1).and_then(|list| list.items()).unwrap_or_default();
    !pairs.is_empty() && pairs.iter().all(named)
}

/// Whether it is an object with the attributes of a scheduler or an optimizer: one that was pickled whole.
pub(super) fn looks_like_whole(value: &Value) -> Option<Role> {
    let entries = if matches!(value, Value::Object(_)) { walk::entries(value)? } else { return None };
    let has = |key: &&&str| entries.iter().any(|(found, _)| found.as_str() == Some(key));
    let all = |keys: &[&str]| keys.iter().filter(has).count();
    let optimizer = || (all(&["state", "param_groups"]) == 2).then_some(Role::Optimizer);
    if all(&OF_SCHEDULERS) > 1 { Some(Role::Scheduler) } else { optimizer() }
}

/// What a `GradScaler` keeps.
pub(super) fn looks_like_scaler(value: &Value) -> bool {
    value.as_dict().is_some_and(|dict| dict.get("growth_factor").is_some() && dict.get("scale").is_some())
}

/// What an `AveragedModel` keeps, `torch_ema`'s and diffusers' averages (a list of tensors), and `ema_pytorch`'s.
pub(super) fn is_average(value: &Value) -> bool {
    let marks = ["n_averaged", "shadow_params", "initted"];
    value.as_dict().is_some_and(|dict| marks.iter().any(|mark| dict.get(mark).is_some()))
}

/// Whether it is a module, or a dict with names for keys and at least one tensor.
pub(super) fn has_tensors(value: &Value) -> bool {
    module::is_module(value)
        || !is_optimizer(value)
            && !matches!(value, Value::Object(_) if !is_filled(value))
            && walk::entries(value).is_some_and(|entries| {
                entries.iter().all(|(key, _)| key.as_str().is_some())
                    && entries.iter().any(|(_, value)| value.as_tensor().is_some())
            })
}

/// The same, or a dict without entries.
fn is_state_dict(value: &Value) -> bool {
    has_tensors(value) || value.as_dict().is_some_and(crate::Dict::is_empty)
}

/// Whether it is an object that was filled like a dict.
fn is_filled(value: &Value) -> bool {
    matches!(value, Value::Object(object) if !object.read().entries.is_empty())
}
