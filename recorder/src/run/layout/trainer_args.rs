//! `training_args.bin`: the arguments of transformers' Trainer, an object whose attributes are read and nothing else.

use crate::run::path::KeyPath;
use crate::run::told::Told;
use crate::{Dict, Value, walk};

/// Where the arguments are.
const ARGUMENTS: &str = "training_args.bin";

/// `max_grad_norm` where nothing was said of it.
const CLIPS: f64 = 1.0;

/// What the arguments say of how the run was made.
pub(super) fn trainer_told(root: &Value) -> Told {
    let optimizer = Some(("optimizer.pt", elsewhere(root)));
    let nothing = Told { scheduled: true, optimizer, ..Told::default() };
    let Some(arguments) = arguments(root) else {
        let only = "what is told only there, such as how many batches made a step, mixed precision, label smoothing";
        return Told {
            by: format!("no {ARGUMENTS} that can be read"),
            clips_by_default: Some(CLIPS),
            not_continued: vec![only.to_owned()],
            ..nothing
        };
    };
    let number = |key: &str| arguments.get(key).and_then(|value| value.as_f64());
    let steps = KeyPath::key("trainer_state.json").then("max_steps").value(root).and_then(|steps| steps.as_i64());
    let base_lrs = KeyPath::key("scheduler.pt").then("base_lrs").value(root).and_then(|rates| rates.items());
    let base_lrs = base_lrs.unwrap_or_default();
    let on = |key: &&str| matches!(arguments.get(key), Some(Value::Bool(true)));
    let autocast =
        ["fp16", "bf16"].into_iter().find(on).map(|key| (format!("{key} in {ARGUMENTS}"), "True".to_owned()));
    let compiled = on(&"torch_compile").then(|| "it was compiled".to_owned());
    let mut not_continued: Vec<String> = compiled.into_iter().collect();
    if let Some(alpha) = number("neftune_noise_alpha").filter(|alpha| *alpha != 0.0) {
        not_continued.push(format!("embeddings got noise (neftune_noise_alpha {alpha})"));
    }
    Told {
        by: ARGUMENTS.to_owned(),
        schedule: steps.and_then(|steps| schedule(&arguments, steps, &base_lrs)),
        clips_by_default: arguments.get("max_grad_norm").is_none().then_some(CLIPS),
        accumulated: arguments.get("gradient_accumulation_steps").and_then(|steps| steps.as_i64()),
        autocast,
        not_continued,
        ..nothing
    }
}

/// The norm that gradients are clipped to.
pub(super) fn trainer_clip(root: &Value) -> Option<f64> {
    arguments(root)?.get("max_grad_norm")?.as_f64().filter(|norm| *norm > 0.0)
}

/// Where the optimizer's state is, if it is not in its file.
fn elsewhere(root: &Value) -> String {
    let entries = root.as_dict().map(Dict::entries).unwrap_or_default();
    let folder = entries.iter().find_map(|(key, value)| {
        let key = key.as_str().filter(|_| value.as_dict().is_some())?;
        let digits = key.strip_prefix("global_step")?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| key.to_owned())
    });
    folder.map_or_else(
        || "start a new run with its weights instead".to_owned(),
        |folder| format!("it is DeepSpeed's, in the folder {folder}, which is not read here"),
    )
}

/// The attributes of the arguments.
fn arguments(root: &Value) -> Option<Dict> {
    let Some(Value::Object(object)) = root.as_dict()?.get(ARGUMENTS) else { return None };
    let data = object.read();
    let class = data.class().filter(|class| class.name.ends_with("TrainingArguments"));
    class.and_then(|_| data.states.last()?.as_dict().cloned())
}

/// A text, or the one that an enumeration's member is made of.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => object.read().arguments().first()?.as_str().map(str::to_owned),
        other => other.as_str().map(str::to_owned),
    }
}

/// Schedules that are made without `num_training_steps`.
const ENDLESS: [&str; 3] = ["constant", "constant_with_warmup", "inverse_sqrt"];

/// Those that transformers makes without `lr_scheduler_kwargs`, whatever is in them.
const PLAIN: [&str; 2] = ["constant", "constant_with_warmup"];

/// `create_scheduler` of the Trainer, in words; `base_lrs` are the rates that the scheduler began with.
fn schedule(arguments: &Dict, steps: i64, base_lrs: &[Value]) -> Option<String> {
    let kind = word(&arguments.get("lr_scheduler_type")?)?;
    // `optimizer.defaults["lr"]`, which no file has: an optimizer of somebody's own may have another than the arguments say.
    let lr = || {
        let lr = arguments.get("learning_rate")?.as_f64()?;
        base_lrs.iter().any(|base| base.as_f64() == Some(lr)).then_some(lr)
    };
    let mut given: Vec<(&str, Value)> = Vec::new();
    if kind != "constant" {
        given.push(("num_warmup_steps", Value::Int(warmup_steps(arguments, steps)?)));
    }
    if !ENDLESS.contains(&&*kind) {
        given.push(("num_training_steps", Value::Int(steps)));
    }
    if kind == "polynomial" {
        given.push(("learning_rate", Value::Float(lr()?)));
    }
    let more = match arguments.get("lr_scheduler_kwargs") {
        Some(Value::Dict(more)) if !PLAIN.contains(&&*kind) => more.entries(),
        Some(Value::Dict(_) | Value::None) | None => Vec::new(),
        Some(_) => return None,
    };
    // What is None is as if it was not said.
    for (key, value) in more.iter().filter(|(_, value)| !matches!(value, Value::None)) {
        given.push(match key.as_str()? {
            "min_lr" => ("min_lr_rate", Value::Float(value.as_f64()? / lr()?)),
            key => (key, value.clone()),
        });
    }
    let given: Vec<String> = given.iter().map(|(key, value)| format!("{key}={}", walk::repr(value))).collect();
    Some(format!("transformers.{kind}({})", given.join(", ")))
}

/// `get_warmup_steps`: a number of steps, or a part of all of them. Before transformers 5 the part was `warmup_ratio`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // counts of steps
fn warmup_steps(arguments: &Dict, steps: i64) -> Option<i64> {
    let warmup = arguments.get("warmup_steps")?.as_f64()?;
    let ratio = arguments.get("warmup_ratio").and_then(|ratio| ratio.as_f64());
    Some(if warmup >= 1.0 { warmup as i64 } else { (steps as f64 * ratio.unwrap_or(warmup)).ceil() as i64 })
}
