//! Training programs whose checkpoints are dicts of parts: each told by keys that no other has, its parts found as those of a
//! tutorial's dict.

use super::paths::{Paths, way};
use super::tutorial::{parts, tutorial};
use crate::run::spellings::{Role, has_tensors, is_optimizer, looks_like_scaler, number_like, whole};
use crate::run::told::{Leftover, Told, ToldAverage, ToldWarmUp};
use crate::state_dict::module;
use crate::walk::repr;
use crate::{Result, Value};

/// What is under a name, and under another in that, ...: keys of dicts, attributes of objects such as an `argparse.Namespace`.
pub(super) fn at(root: &Value, names: &[&str]) -> Option<Value> {
    names.iter().try_fold(root.clone(), |value, name| match &value {
        Value::Object(object) => object.read().states.last()?.as_dict()?.get(name),
        other => other.as_dict()?.get(name),
    })
}

/// Where mmengine's `message_hub` has the epoch and the iteration that ran last.
pub(super) const RUNNING_EPOCH: &[&str] = &["message_hub", "runtime_info", "epoch"];
pub(super) const RUNNING_ITER: &[&str] = &["message_hub", "runtime_info", "iter"];
/// Where detectron2's trainers count.
pub(super) const TRAINERS: [&[&str]; 2] = [&["trainer", "iteration"], &["trainer", "_trainer", "iteration"]];

/// What `DeepSpeed`'s engine saves beside what the script has it save.
const DEEPSPEED: [&str; 20] = [
    "module",
    "buffer_names",
    "optimizer",
    "zero_optimizer",
    "param_shapes",
    "frozen_param_shapes",
    "frozen_param_fragments",
    "shared_params",
    "lr_scheduler",
    "data_sampler",
    "random_ltd",
    "sparse_tensor_module_names",
    // Before 0.5.
    "csr_tensor_module_names",
    "skipped_steps",
    "global_steps",
    "global_samples",
    "dp_world_size",
    "mp_world_size",
    "ds_config",
    "ds_version",
];

/// `DeepSpeed`'s: told by its version, by nothing but keys of its own around the `module`, of which one is no other program's, or by the
/// `module` alone.
pub(super) fn deepspeed(root: &Value) -> Option<Paths> {
    let dict = root.as_dict()?;
    let is_model = has_tensors(&dict.get("module")?) && !module::is_module(&dict.get("module")?);
    let alone = || dict.entries().iter().all(|(key, _)| key.as_str().is_some_and(|key| DEEPSPEED.contains(&key)));
    let own = || {
        ["skipped_steps", "global_samples", "dp_world_size", "param_shapes"].iter().any(|key| dict.get(key).is_some())
    };
    if !is_model || dict.get("ds_version").is_none() && !(alone() && (own() || dict.len() == 1)) {
        return None;
    }
    let mut paths = parts(root)?;
    if !paths.has(Some(Role::Model)) {
        paths.push(Role::Model, way(&["module"]));
    }
    Some(paths)
}

/// The norm that `DeepSpeed`'s `ZeRO` clips gradients to, by `clip_grad_norm_`'s formula.
pub(super) fn deepspeed_clip(root: &Value) -> Option<f64> {
    at(root, &["zero_optimizer", "clip_grad"])?.as_f64().filter(|&norm| norm > 0.0)
}

/// The norm that nanoGPT clips gradients to.
pub(super) fn nanogpt_clip(root: &Value) -> Option<f64> {
    at(root, &["config", "grad_clip"])?.as_f64().filter(|&norm| norm != 0.0)
}

/// How many batches a step of nanoGPT took, those of all its processes counted in.
pub(super) fn nanogpt_told(root: &Value) -> Told {
    let accumulated = at(root, &["config", "gradient_accumulation_steps"]).and_then(|steps| steps.as_i64());
    let text =
        |name| at(root, &["config", name]).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    // On the CPU its context is none.
    let half = text("dtype").contains("16") && text("device").starts_with("cuda");
    let autocast = half.then(|| ("config.dtype".to_owned(), repr(&Value::from(text("dtype")))));
    Told { by: "config".to_owned(), accumulated, autocast, ..Told::default() }
}

/// That of timm's `--clip-grad`, in the mode that is the default.
pub(super) fn timm_clip(root: &Value) -> Option<f64> {
    let mode = at(root, &["args", "clip_mode"])?;
    at(root, &["args", "clip_grad"])?.as_f64().filter(|_| mode.as_str() == Some("norm"))
}

/// What else timm's arguments say of its steps.
pub(super) fn timm_told(root: &Value) -> Told {
    let clip = at(root, &["args", "clip_grad"]).and_then(|clip| clip.as_f64()).filter(|_| timm_clip(root).is_none());
    let mode = at(root, &["args", "clip_mode"]).and_then(|mode| mode.as_str().map(str::to_owned)).unwrap_or_default();
    let otherwise = clip.map(|clip| format!("gradients were clipped to {clip} by the mode '{mode}'"));
    let accumulated = at(root, &["args", "grad_accum_steps"]).and_then(|steps| steps.as_i64());
    let number = |name| at(root, &["args", name]).and_then(|value| value.as_f64());
    let on = |name| matches!(at(root, &["args", name]), Some(Value::Bool(true)));
    let average = number("model_ema_decay").filter(|_| on("model_ema")).map(|decay| {
        let warmup = i32::from(on("model_ema_warmup"));
        ToldAverage { rule: format!("timm(decay={decay}, use_warmup={warmup})"), every: 1, copied: 0 }
    });
    let not_continued = otherwise.into_iter().collect();
    Told { by: "args".to_owned(), accumulated, average, not_continued, ..Told::default() }
}

/// What torchvision's arguments say of its average, whose decay goes by how often it is updated.
pub(super) fn torchvision_told(root: &Value) -> Told {
    let number = |name| at(root, &["args", name]).and_then(|value| value.as_f64());
    let average = || {
        matches!(at(root, &["args", "model_ema"]), Some(Value::Bool(true))).then_some(())?;
        let (every, decay) = (number("model_ema_steps")?, number("model_ema_decay")?);
        let adjust = number("world_size").unwrap_or(1.0) * number("batch_size")? * every / number("epochs")?;
        let decay = 1.0 - ((1.0 - decay) * adjust).min(1.0);
        let whole = |number: f64| format!("{number:.0}").parse::<i64>().ok();
        let copied = whole(number("lr_warmup_epochs").unwrap_or(0.0))?;
        Some(ToldAverage { rule: format!("{decay:?}"), every: whole(every).filter(|&every| every > 0)?, copied })
    };
    Told { by: "args".to_owned(), average: average(), ..Told::default() }
}

/// How many batches a step of ultralytics takes: as many as make its nominal batch size; and its warm-up.
pub(super) fn ultralytics_told(root: &Value) -> Told {
    let number =
        |name| at(root, &["train_args", name]).and_then(|value| value.as_f64()).filter(|number| *number >= 0.0);
    let (nominal, batch) = (number("nbs"), number("batch").filter(|batch| *batch > 0.0));
    let warm_up = ToldWarmUp { epochs: number("warmup_epochs"), least: 0, momentum: number("momentum") };
    Told {
        by: "train_args.nbs and batch".to_owned(),
        accumulated: nominal.zip(batch).map(|(nominal, batch)| batches_for(nominal, batch)),
        nominal: Some(nominal.map_or(NOMINAL, as_count)),
        leftover: Leftover::Carried,
        warm_up: Some(warm_up),
        ..Told::default()
    }
}

/// How many samples a step of `YOLOv5` is of, whatever a batch is.
const NOMINAL: i64 = 64;

/// How many batches make so many samples.
#[allow(clippy::cast_possible_truncation)] // a count
fn batches_for(nominal: f64, batch: f64) -> i64 {
    (nominal / batch).round_ties_even().max(1.0) as i64
}

#[allow(clippy::cast_possible_truncation)] // a count
fn as_count(number: f64) -> i64 {
    number as i64
}

/// How many batches a step of `YOLOv5` takes: as many as make 64 samples; and its warm-up. What does not keep `opt` is older than 6.2 and
/// warms up over 1,000 batches at least, as its descendants do, and not 100.
#[allow(clippy::cast_precision_loss)] // a small constant
pub(super) fn yolov5_told(root: &Value) -> Told {
    let size = at(root, &["opt", "batch_size"]).and_then(|size| size.as_f64()).filter(|size| *size >= 1.0);
    let hyper = |name| at(root, &["opt", "hyp", name]).and_then(|value| value.as_f64());
    let least = if has(root, &["opt"]) { 100 } else { 1000 };
    Told {
        by: format!("opt.batch_size, of a nominal {NOMINAL}"),
        accumulated: size.map(|size| batches_for(NOMINAL as f64, size)),
        nominal: Some(NOMINAL),
        leftover: Leftover::Dropped,
        warm_up: Some(ToldWarmUp { epochs: hyper("warmup_epochs"), least, momentum: hyper("momentum") }),
        ..Told::default()
    }
}

/// `YOLOv5` clips since version 6.2, which is the first to save `opt`.
pub(super) fn yolov5_clip(root: &Value) -> Option<f64> {
    has(root, &["opt"]).then_some(10.0)
}

/// That of torchvision's `--clip-grad-norm`.
pub(super) fn torchvision_clip(root: &Value) -> Option<f64> {
    at(root, &["args", "clip_grad_norm"])?.as_f64()
}

fn has(root: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| at(root, &[name]).is_some())
}

/// The whole number there.
pub(super) fn number(root: &Value, names: &[&str]) -> Option<i64> {
    whole(&at(root, names)?)
}

/// A copy with another number there, where there is one.
pub(super) fn put(root: Value, names: &[&str], value: i64) -> Result<Value> {
    let path = way(names);
    match path.value(&root).map(|old| number_like(&Value::Int(value), &old)) {
        Some(Some(value)) => path.replaced(&root, value),
        _ => Ok(root),
    }
}

/// nanoGPT's `ckpt.pt`: `iter_num` is the number of steps.
pub(super) fn nanogpt(root: &Value) -> Option<Paths> {
    let told = has(root, &["model", "iter_num"]) && at(root, &["model_args"])?.as_dict().is_some();
    told.then(|| tutorial(root))?
}

/// timm's `CheckpointSaver`, whose `epoch` has been the index of the finished epoch since version 2.
pub(super) fn timm(root: &Value) -> Option<Paths> {
    let told = has(root, &["arch", "state_dict", "epoch"]) && number(root, &["version"])? > 1;
    told.then(|| tutorial(root))?
}

/// mmengine's `Runner`, and mmcv's: `meta` has the numbers of finished epochs and iterations.
pub(super) fn mmengine(root: &Value) -> Option<Paths> {
    let told =
        has(root, &["state_dict"]) && ["epoch", "iter"].iter().all(|name| number(root, &["meta", name]).is_some());
    let mut paths = told.then(|| tutorial(root))??;
    for (role, name) in [(Role::Epoch, "epoch"), (Role::Step, "iter")] {
        paths.forget(role);
        paths.push(role, way(&["meta", name]));
    }
    paths.all_in(root, Role::Scheduler, "param_schedulers");
    paths.count_at(root, &[RUNNING_EPOCH, RUNNING_ITER]);
    // `AmpOptimWrapper` keeps its scaler with the optimizer.
    if at(root, &["optimizer", "loss_scaler"]).is_some_and(|scaler| looks_like_scaler(&scaler)) {
        paths.push(Role::Scaler, way(&["optimizer", "loss_scaler"]));
    }
    Some(paths)
}

/// detectron2 and what else saves with fvcore's `Checkpointer`: `iteration` is the index of the finished iteration.
/// maskrcnn-benchmark has the same keys and counts iterations; its schedulers were stepped as often. In the model zoo there are the
/// weights alone, and who made them.
pub(super) fn detectron2(root: &Value) -> Option<Paths> {
    if has(root, &["model", "__author__"]) {
        return tutorial(root);
    }
    let iteration = number(root, &["iteration"]).filter(|_| has(root, &["model"]))?;
    let trainer = number(root, &["trainer", "iteration"]) == Some(iteration);
    let next = iteration.checked_add(1);
    let stepped = has(root, &["optimizer"]) && number(root, &["scheduler", "last_epoch"]) == next;
    let mut paths = (trainer || stepped).then(|| tutorial(root))??;
    paths.forget(Role::Step);
    paths.push(Role::Step, way(&["iteration"]));
    paths.count_at(root, &TRAINERS);
    Some(paths)
}

/// ignite's `Checkpoint`: the trainer's state has the iteration, or the epoch.
pub(super) fn ignite(root: &Value) -> Option<Paths> {
    let length = number(root, &["trainer", "epoch_length"])?;
    let counts = [(Role::Step, "iteration"), (Role::Epoch, "epoch")];
    let (role, name) = counts.into_iter().find(|(_, name)| number(root, &["trainer", name]).is_some() && length > 0)?;
    let mut paths = tutorial(root)?;
    [Role::Step, Role::Epoch].into_iter().for_each(|role| paths.forget(role));
    paths.push(role, way(&["trainer", name]));
    Some(paths)
}

/// The programs of torchvision's `references`, and those that were written after them (DETR, MAE): `epoch` is the index of the
/// finished epoch, and `args` have the `start_epoch`, which becomes the next one. A scheduler that was stepped as often as
/// `epoch` says that the program counts otherwise.
pub(super) fn torchvision(root: &Value) -> Option<Paths> {
    let told = has(root, &["model", "optimizer", "epoch"]) && number(root, &["args", "start_epoch"]).is_some();
    let other =
        number(root, &["epoch"]).is_some_and(|epoch| number(root, &["lr_scheduler", "last_epoch"]) == Some(epoch));
    (told && !other).then(|| tutorial(root))?
}

/// fastai's `learner.save`.
pub(super) fn fastai(root: &Value) -> Option<Paths> {
    let optimizer = at(root, &["opt"])?;
    let own = has(&optimizer, &["state", "hypers"]);
    let told = has(root, &["model"]) && root.as_dict()?.len() == 2 && (own || is_optimizer(&optimizer));
    let mut paths = told.then(|| tutorial(root))??;
    if own {
        paths.push(Role::Optimizer, way(&["opt"]));
    }
    Some(paths)
}

/// `BasicSR`'s `net_g_*.pth`: a network by itself, with its average. Its training states are told, and have no parts to go on from.
pub(super) fn basicsr(root: &Value) -> Option<Paths> {
    if is_basicsr_state(root) {
        return Some(Paths::default());
    }
    let dict = root.as_dict()?;
    let nets = ["params", "params_ema"].map(|name| dict.get(name).filter(has_tensors));
    let count = nets.iter().flatten().count();
    if count == 0 || count != dict.len() {
        return None;
    }
    let mut paths = Paths::default();
    match nets {
        [Some(_), average] => {
            paths.push(Role::Model, way(&["params"]));
            if average.is_some() {
                paths.push(Role::Ema, way(&["params_ema"]));
            }
        }
        _ => paths.push(Role::Model, way(&["params_ema"])),
    }
    Some(paths)
}

/// `BasicSR`'s `training_states/*.state`, which has no network.
fn is_basicsr_state(root: &Value) -> bool {
    has(root, &["epoch", "iter", "optimizers", "schedulers"]) && tutorial(root).is_none()
}

/// `BasicSR`'s training state with a network put into it: the program steps its schedulers before each step.
pub(super) fn basicsr_told(root: &Value) -> Told {
    let is_list = |name: &&str| matches!(at(root, &[name]), Some(Value::List(_)));
    let stepped_before = ["optimizers", "schedulers"].iter().all(is_list) && has(root, &["epoch", "iter"]);
    let by = if stepped_before { "`iter` beside `optimizers` and `schedulers`" } else { "" };
    Told { by: by.to_owned(), stepped_before, ..Told::default() }
}

/// ultralytics: the network is the average (`ema`), a whole module in half precision, where `model` is None. It goes on from
/// that itself.
pub(super) fn ultralytics(root: &Value) -> Option<Paths> {
    if !has(root, &["train_args", "ema", "model", "epoch"]) {
        return None;
    }
    let mut paths = parts(root)?;
    let average = at(root, &["ema"]).filter(module::is_module);
    if !paths.has(Some(Role::Model)) && average.is_some() {
        paths.forget(Role::Ema);
        paths.forget(Role::Updates);
        paths.push(Role::Model, way(&["ema"]));
    }
    paths.has(Some(Role::Model)).then_some(paths)
}

/// `YOLOv5`, and the programs that were written after it: `epoch` is the index of the finished one, and `best_fitness` stands beside an
/// average with its `updates`. What was stripped of its optimizer is no run.
pub(super) fn yolov5(root: &Value) -> Option<Paths> {
    let told = has(root, &["model", "ema", "epoch", "best_fitness"]) && number(root, &["updates"]).is_some();
    let optimizer = at(root, &["optimizer"]).is_some_and(|optimizer| is_optimizer(&optimizer));
    (told && optimizer).then(|| tutorial(root))?
}

/// Megatron-LM's, of one rank: `checkpoint_version` and `iteration` beside `args` and `model`. Its weights are found where they are under
/// their names, and no optimizer is beside them.
pub(super) fn megatron(root: &Value) -> Option<Paths> {
    let told = has(root, &["checkpoint_version", "iteration"]) && (has(root, &["model"]) || has(root, &["model0"]));
    if !told {
        return None;
    }
    let weights = tutorial(root).filter(|_| !has(root, &["optimizer"]) && !has(root, &["model0"]));
    Some(weights.unwrap_or_default())
}
