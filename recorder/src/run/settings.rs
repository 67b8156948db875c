//! What settings of a checkpoint say of its steps, under whatever key they are: `args.max_grad_norm`, `config.label_smoothing`,
//! `hyper_parameters.accumulate_grad_batches`; or in a text, as JSON, YAML or Python has them: `meta.cfg`.

use super::generators;
use super::layout::Layout;
use super::path::{KeyPath, children, is_container};
use super::spellings::is_optimizer;
use super::told::{Told, ToldBy};
use crate::Value;
use crate::state_dict::module;
use crate::walk::repr;

/// How deep a setting is looked for, and in how many values.
const DEPTH: usize = 6;
const MOST: usize = 20_000;

/// The longest text that is looked through.
const TEXT: usize = 1 << 20;

/// Names of the norm that gradients are clipped to.
const NORMS: &[&str] = &[
    "clip",
    "clip_grad",
    "clip_gradient",
    "clip_gradients",
    "clip_grad_norm",
    "clip_norm",
    "gradient_clip",
    "gradient_clip_norm",
    "gradient_clip_val",
    "gradient_clipping",
    "grad_clip",
    "grad_clip_norm",
    "grad_norm_clip",
    "max_grad_norm",
    "max_norm",
];

/// Names of what each element of the gradients is clipped to.
const VALUES: &[&str] = &["clip_value", "clip_grad_value", "grad_clip_value", "gradient_clip_value"];

/// Names of how many batches make a step.
const BATCHES: &[&str] = &[
    "accumulative_counts",
    "accum",
    "accum_iter",
    "accum_steps",
    "accumulate",
    "accumulate_grad",
    "accumulate_grad_batches",
    "accumulation_steps",
    "grad_accum",
    "grad_accum_steps",
    "grad_accumulation",
    "grad_accumulation_steps",
    "gradient_accumulation",
    "gradient_accumulation_steps",
    "num_accumulation_steps",
    "update_freq",
];

/// Names of how much labels are smoothed.
const SMOOTHED: &[&str] = &["label_smooth", "label_smoothing", "label_smoothing_factor", "smoothing"];

/// Names of settings that switch autocast on, by themselves or with a type.
const AUTOCAST: &[&str] = &["amp", "autocast", "bf16", "fp16", "mixed_precision", "precision", "use_amp"];

/// Names of the type that autocast computes in.
const TYPES: &[&str] = &["amp_dtype", "autocast_dtype"];

/// Names of the learning rate that a run begins with.
const RATES: &[&str] = &["base_lr", "init_lr", "initial_lr", "learning_rate", "lr", "lr0", "start_lr"];

/// Names of a schedule of the learning rates.
const SCHEDULES: &[&str] = &[
    "lr_policy",
    "lr_sched",
    "lr_schedule",
    "lr_scheduler",
    "lr_scheduler_type",
    "sched",
    "scheduler",
    "scheduler_name",
    "scheduler_type",
];

/// Names of how long they are warmed up.
const WARM_UPS: &[&str] = &[
    "lr_warmup",
    "lr_warmup_epochs",
    "lr_warmup_steps",
    "num_warmup_steps",
    "warmup",
    "warmup_epochs",
    "warmup_iters",
    "warmup_steps",
];

/// Whose clipping is read from where their programs have it.
const CLIPPED: [Layout; 5] =
    [Layout::HfTrainer, Layout::NanoGpt, Layout::Timm, Layout::Torchvision, Layout::Ultralytics];

/// The first setting that is taken, outside of models and optimizers, and where it is.
pub(super) fn first<T>(root: &Value, take: impl Fn(&str, &Value) -> Option<T>) -> Option<(KeyPath, T)> {
    look(root, &KeyPath::default(), DEPTH, &mut 0, &take)
}

fn look<T>(
    value: &Value,
    path: &KeyPath,
    depth: usize,
    seen: &mut usize,
    take: &impl Fn(&str, &Value) -> Option<T>,
) -> Option<(KeyPath, T)> {
    if depth == 0 || !is_container(value) || module::is_module(value) || is_optimizer(value) {
        return None;
    }
    let inside = children(value);
    // A state dict, and not a dict that has a generator's state or a loss beside its settings.
    if inside.iter().filter(|(_, value)| value.as_tensor().is_some()).count() * 2 > inside.len() {
        return None;
    }
    for (key, inside) in inside {
        *seen += 1;
        if *seen > MOST {
            return None;
        }
        let path = path.clone().then(key.clone());
        if let Some(taken) = key.as_str().and_then(|key| take(key, &inside)) {
            return Some((path, taken));
        }
        if let Some(taken) = inside.as_str().and_then(|text| in_text(text, take)) {
            return Some((path, taken));
        }
        if let Some(found) = look(&inside, &path, depth - 1, seen, take) {
            return Some(found);
        }
    }
    None
}

/// Fills in what a layout does not tell by itself; the norm is the one that it tells.
pub(super) fn tell(root: &Value, layout: &Layout, clip_norm: Option<f64>, told: &mut Told) {
    let named = |path: &KeyPath, key: &str| {
        let place = path.spelled(root);
        // One of a text is called so in it.
        let own = path.last_key().is_some_and(|last| last == key);
        if own { place } else { format!("{key} in {place}") }
    };
    let by = |(path, (key, number)): (KeyPath, (String, f64))| ToldBy { place: named(&path, &key), number };
    let of = |names: &'static [&'static str]| {
        let take = move |key: &str, value: &Value| {
            let number = number(value).filter(|number| is(key, names) && *number > 0.0);
            number.map(|number| (key.to_owned(), number))
        };
        first(root, take).map(by)
    };
    if clip_norm.is_none() && !CLIPPED.contains(layout) {
        told.clipped = of(NORMS);
        told.clipped_values = of(VALUES);
    }
    told.smoothed = of(SMOOTHED).filter(|smoothed| smoothed.number < 1.0);
    told.rate = of(RATES);
    let planned = |key: &str, value: &Value| {
        let named = is(key, SCHEDULES) && value.as_str().is_some_and(names_a_schedule);
        let warms = is(key, WARM_UPS) && number(value).is_some_and(|number| number > 0.0);
        (named || warms).then(|| (key.to_owned(), value.clone()))
    };
    told.scheduling = first(root, planned).map(|(path, (key, value))| (named(&path, &key), repr(&value)));
    let counts = !matches!(layout, Layout::HfTrainer | Layout::NanoGpt | Layout::Lightning);
    if let Some(ToldBy { place, number }) = of(BATCHES).filter(|_| counts && told.accumulated.is_none()) {
        #[allow(clippy::cast_possible_truncation)] // a count
        let batches = (number.fract() == 0.0 && number < 1e6).then_some(number as i64);
        told.accumulated = batches;
        told.accumulated_by = batches.map(|_| place);
    }
    let cudas = |key: &str, value: &Value| generators::is_cudas(key, value).then_some(());
    told.cuda_generator = first(root, cudas).map(|(path, ())| path.spelled(root));
    let own = matches!(layout, Layout::HfTrainer | Layout::NanoGpt);
    let on =
        |key: &str, value: &Value| (is(key, AUTOCAST) && switches_on(value)).then(|| (key.to_owned(), value.clone()));
    if let Some((path, (key, value))) = first(root, on).filter(|_| !own) {
        // A type that stands beside the switch says more.
        let of_type =
            |key: &str, value: &Value| (is(key, TYPES) && says_half(value)).then(|| (key.to_owned(), value.clone()));
        let typed = first(root, of_type).filter(|_| !says_half(&value) && !key.contains("16"));
        let (path, (key, value)) = typed.unwrap_or((path, (key, value)));
        told.autocast = Some((named(&path, &key), repr(&value)));
    }
}

/// The first setting that is taken of those in a text: what stands before a colon or a sign of equality, and what follows it.
fn in_text<T>(text: &str, take: &impl Fn(&str, &Value) -> Option<T>) -> Option<T> {
    let text = text.get(..TEXT).unwrap_or(text);
    text.match_indices([':', '=']).find_map(|(at, sign)| {
        let (before, after) = (text[..at].trim_end(), text[at + sign.len()..].trim_start());
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
        let key = start.map_or(before, |start| before[start..].trim_start_matches(|c: char| !c.is_alphanumeric()));
        let value = after.split(|c: char| c.is_whitespace() || ",;)}]".contains(c)).next().unwrap_or_default();
        take(key, &Value::from(value.trim_matches(['"', '\''])))
    })
}

/// Whether a key is one of these names, in any case, and with its words apart in any way: `maxGradNorm`, `max-grad-norm`.
fn is(key: &str, names: &[&str]) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> + Clone {
        name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase)
    }
    let key = plain(key);
    names.iter().any(|name| plain(name).eq(key.clone()))
}

/// A number, one in a text, or the only one in a list.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(_) | Value::Float(_) => value.as_f64(),
        Value::Str(text) => text.trim().parse().ok(),
        Value::List(_) | Value::Tuple(_) => match &value.items()?[..] {
            [one] => number(one),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a word is the name of a schedule, and none of those that say that there is none.
fn names_a_schedule(word: &str) -> bool {
    const NONE: [&str; 7] = ["", "none", "null", "false", "no", "constant", "fixed"];
    !NONE.contains(&word.trim().to_lowercase().as_str())
}

/// Whether a setting's value asks for half precision: `True`, or a word such as `bf16-mixed`.
fn switches_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::Int(bits) => *bits == 16,
        Value::Str(text) => says_half(value) || text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// Whether it is the name of a type of half precision. `bf16-true` and the like are of weights, which tell it themselves.
fn says_half(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("16") && !text.ends_with("-true"))
}
