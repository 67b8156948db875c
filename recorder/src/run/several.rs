//! The parts of a run of several models: which optimizer, scheduler and average is whose, told by the stems that their keys have
//! in common (`netG`, `optimizerG`), by shapes, or by their order.

use std::collections::HashMap;

use crate::run::averages;
use crate::run::generators;
use crate::run::layout::Paths;
use crate::run::part::RunPart;
use crate::run::path::{KeyPath, children, is_container};
use crate::run::shared::shares;
use crate::run::spellings::{Role, SPELLINGS, has_tensors, is_average, is_kept, is_optimizer};
use crate::run::whole;
use crate::{StateDict, Value};

/// Words in a key that say what is under it, and not whose it is.
const ROLE_WORDS: [&str; 31] = [
    "model",
    "models",
    "net",
    "nets",
    "network",
    "networks",
    "module",
    "state",
    "states",
    "dict",
    "dicts",
    "weights",
    "params",
    "optimizer",
    "optimizers",
    "optimiser",
    "optim",
    "optims",
    "opt",
    "opts",
    "scheduler",
    "schedulers",
    "sched",
    "scheds",
    "lr",
    "ema",
    "swa",
    "average",
    "averaged",
    "shadow",
    "param",
];

/// Those that are written together with a letter or two: `optimd`, `dnet`.
const GLUED: [&str; 7] = ["optimizer", "optim", "opt", "scheduler", "sched", "model", "net"];

/// What models are called, beside the keys of the table.
const MODELS: [&str; 17] = [
    "generator",
    "discriminator",
    "critic",
    "actor",
    "encoder",
    "decoder",
    "policy",
    "value",
    "student",
    // Beside an average that is under the name of the model.
    "raw",
    "online",
    "live",
    "backbone",
    "head",
    "classifier",
    "gen",
    "disc",
];

/// Whose a key says that it is: `netG`, `optimizer_G` and `G_state_dict` are G's.
struct Stem {
    /// As it is written.
    written: String,
    /// In small letters.
    plain: String,
    /// How many words it has.
    words: usize,
}

impl Stem {
    fn of(path: &KeyPath) -> Stem {
        let owners: Vec<String> = path.keys().iter().flat_map(words).filter_map(|word| owner(&word)).collect();
        let written = owners.concat();
        Stem { plain: written.to_lowercase(), written, words: owners.len() }
    }

    /// Whether one is short for the other.
    fn is_like(&self, other: &Stem) -> bool {
        let (a, b) = (self.plain.as_str(), other.plain.as_str());
        !a.is_empty() && !b.is_empty() && (a.starts_with(b) || b.starts_with(a))
    }
}

/// The stem of a place, as it is spelled.
pub(super) fn stem_of(place: &str) -> String {
    words(&Value::from(place)).iter().filter_map(|word| owner(word)).collect::<String>().to_lowercase()
}

/// What of a word says whose it is.
fn owner(word: &str) -> Option<String> {
    let plain = word.to_lowercase();
    if ROLE_WORDS.contains(&plain.as_str()) {
        return None;
    }
    let short = |rest: &&str| (1..=2).contains(&rest.len());
    let rest = GLUED.iter().find_map(|glued| plain.strip_prefix(glued).filter(short));
    let rest = rest.or_else(|| GLUED.iter().find_map(|glued| plain.strip_suffix(glued).filter(short)));
    Some(rest.map_or_else(|| word.to_owned(), ToOwned::to_owned))
}

/// The words of a key: `netG_A`, `lr_scheduler2`.
fn words(key: &Value) -> Vec<String> {
    let Some(key) = key.as_str() else {
        return key.as_i64().map(|index| index.to_string()).into_iter().collect();
    };
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in key.chars() {
        let begins =
            before.is_lowercase() && letter.is_uppercase() || before.is_alphabetic() && letter.is_ascii_digit();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(letter);
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The shapes of a model's tensors, and how often there is each.
struct Shapes {
    tensors: usize,
    counts: HashMap<Vec<usize>, usize>,
}

impl Shapes {
    fn of(model: &Value) -> Shapes {
        let mut counts = HashMap::new();
        let model = StateDict::read(model, "", false).unwrap_or_default();
        model.iter().for_each(|(_, tensor)| *counts.entry(tensor.shape().to_vec()).or_default() += 1);
        Shapes { tensors: model.len(), counts }
    }

    /// Whether an optimizer can be this model's and no other's: it has no more parameters, and each that has state is of a shape
    /// that there is.
    fn fit(&self, optimizer: &Value) -> bool {
        let Some(dict) = optimizer.as_dict() else { return false };
        let groups = dict.get("param_groups").and_then(|groups| groups.items()).unwrap_or_default();
        let members =
            groups.iter().filter_map(|group| Some(group.as_dict()?.get("params")?.items()?.len())).sum::<usize>();
        let mut left = self.counts.clone();
        let mut take = |state: &Value| {
            let shapes = children(state).into_iter().filter_map(|(_, value)| Some(value.as_tensor()?.shape().to_vec()));
            let shapes: Vec<_> = shapes.filter(|shape| !shape.is_empty()).collect();
            let Some(largest) = shapes.iter().max_by_key(|shape| shape.iter().product::<usize>()) else { return true };
            left.get_mut(largest).is_some_and(|count| {
                let some = *count > 0;
                *count = count.saturating_sub(1);
                some
            })
        };
        let states = dict.get("state").map(|states| children(&states)).unwrap_or_default();
        members <= self.tensors && states.iter().all(|(_, state)| take(state))
    }
}

/// The parts of a run whose models, optimizers and schedulers are here.
pub(super) fn parts(root: &Value, paths: &Paths) -> Vec<RunPart> {
    let models: Vec<(&KeyPath, Value)> = paths.values(root, Role::Model).collect();
    let stems: Vec<Stem> = models.iter().map(|(path, _)| Stem::of(path)).collect();
    let shapes: Vec<Shapes> = models.iter().map(|(_, model)| Shapes::of(model)).collect();
    let ids = |optimizer: &Value| whole::to_ids(optimizer, &[]).unwrap_or(Value::None);
    let optimizers: Vec<(&KeyPath, Value)> =
        paths.values(root, Role::Optimizer).map(|(path, optimizer)| (path, ids(&optimizer))).collect();
    let schedulers: Vec<(&KeyPath, Value)> = paths.values(root, Role::Scheduler).collect();
    let averages: Vec<(KeyPath, Value)> = averages::all(root).into_iter().map(|path| (path, Value::None)).collect();

    let fits = |model: usize, optimizer: usize| shapes[model].fit(&optimizers[optimizer].1);
    let optimizer_of = owners(&stems, &stems_of(&optimizers), &fits);
    // Whoever has no optimizer has no scheduler.
    let trained = |model: usize, _| optimizer_of.contains(&Some(model));
    let scheduler_of = owners(&stems, &stems_of(&schedulers), &trained);
    let average_of =
        owners(&stems, &averages.iter().map(|(path, _)| Stem::of(path)).collect::<Vec<_>>(), &|_, _| false);

    let scalers: Vec<(&KeyPath, Value)> = paths.values(root, Role::Scaler).collect();
    let scaler_of = owners(&stems, &stems_of(&scalers), &|_, _| false);
    let place = |path: &KeyPath| path.spelled(root);
    let of = |owner: Option<usize>, owners: &[Option<usize>], all: &[(&KeyPath, Value)]| -> Vec<String> {
        let owned = owners.iter().zip(all).filter(|(found, _)| **found == owner);
        owned.map(|(_, (path, _))| place(path)).collect()
    };
    let left: Vec<usize> = (0..optimizers.len()).filter(|&optimizer| optimizer_of[optimizer].is_none()).collect();
    let named = |optimizer: &usize| place(optimizers[*optimizer].0);
    let open = |model: usize| left.iter().filter(|&&optimizer| fits(model, optimizer)).map(named).collect();
    let is_shared = |optimizer: usize| (0..models.len()).all(|model| !fits(model, optimizer));
    let shared: Vec<usize> = left.iter().copied().filter(|&optimizer| is_shared(optimizer)).collect();
    // One that trains all models which have none of their own.
    let free: Vec<usize> = (0..models.len()).filter(|&model| trained_by(&optimizer_of, model).is_none()).collect();
    let divided = match shared[..] {
        [one] => {
            let named = |&model: &usize| names_and_shapes(&models[model].1);
            shares(&optimizers[one].1, &free.iter().map(named).collect::<Vec<_>>()).map(|shares| (one, shares))
        }
        _ => None,
    };
    let share_of = |model: usize| {
        let (optimizer, shares) = divided.as_ref()?;
        let nth = free.iter().position(|&free| free == model)?;
        Some((place(optimizers[*optimizer].0), shares.get(nth)?.clone()))
    };
    let shared: Vec<String> = shared.iter().filter(|_| divided.is_none()).map(named).collect();
    // A scheduler of such an optimizer is one of each of them; one that goes by a metric would be told several.
    let unowned: Vec<usize> = (0..schedulers.len()).filter(|&scheduler| scheduler_of[scheduler].is_none()).collect();
    let by_metric =
        |&scheduler: &usize| schedulers[scheduler].1.as_dict().is_some_and(|dict| dict.get("num_bad_epochs").is_some());
    let theirs = || unowned.iter().map(|&scheduler| place(schedulers[scheduler].0)).collect::<Vec<_>>();
    let go_along = !unowned.iter().any(by_metric);
    let part = |(i, ((path, _), stem)): (usize, (&(&KeyPath, Value), &Stem))| RunPart {
        name: if stem.words == 1 { stem.written.clone() } else { place(path) },
        model: place(path),
        optimizers: share_of(i).map_or_else(|| of(Some(i), &optimizer_of, &optimizers), |(place, _)| vec![place]),
        share: share_of(i).map(|(_, share)| share),
        schedulers: match share_of(i) {
            Some(_) if go_along => theirs(),
            _ => of(Some(i), &scheduler_of, &schedulers),
        },
        average: average_of
            .iter()
            .zip(&averages)
            .find(|(owner, _)| **owner == Some(i))
            .map(|(_, (path, _))| place(path)),
        scaler: of(Some(i), &scaler_of, &scalers).into_iter().chain(of(None, &scaler_of, &scalers)).next(),
        open_optimizers: open(i),
        shared_optimizers: shared.clone(),
        open_schedulers: if share_of(i).is_some() && go_along {
            Vec::new()
        } else {
            of(None, &scheduler_of, &schedulers)
        },
    };
    models.iter().zip(&stems).enumerate().map(part).collect()
}

/// The optimizer that a model has to itself.
fn trained_by(owners: &[Option<usize>], model: usize) -> Option<usize> {
    owners.iter().position(|owner| *owner == Some(model))
}

/// The names and shapes of a model's tensors.
fn names_and_shapes(model: &Value) -> Vec<(String, Vec<usize>)> {
    let model = StateDict::read(model, "", false).unwrap_or_default();
    model.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect()
}

fn stems_of(all: &[(&KeyPath, Value)]) -> Vec<Stem> {
    all.iter().map(|(path, _)| Stem::of(path)).collect()
}

/// Which model each of some things belongs to: the only one, or the one of its stem, or of those that are left the only one that
/// it fits, or the next one, where all fit so.
fn owners(models: &[Stem], things: &[Stem], fits: &dyn Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    if models.len() == 1 {
        return vec![Some(0); things.len()];
    }
    let only = |is: &dyn Fn(&Stem) -> bool| {
        let mut found = models.iter().enumerate().filter(|(_, stem)| is(stem));
        found.next().filter(|_| found.next().is_none()).map(|(place, _)| place)
    };
    let told = |thing: &Stem| {
        only(&|model| !thing.plain.is_empty() && model.plain == thing.plain)
            .or_else(|| only(&|model| model.is_like(thing)))
    };
    let mut owners: Vec<Option<usize>> = things.iter().map(told).collect();
    // A stem that tells nothing of any model is no hint against the others.
    let free: Vec<usize> = (0..models.len()).filter(|model| !owners.contains(&Some(*model))).collect();
    let left: Vec<usize> = (0..things.len()).filter(|&thing| owners[thing].is_none()).collect();
    let by_shape: Vec<Option<usize>> = left
        .iter()
        .map(|&thing| {
            let fitting: Vec<_> = free.iter().filter(|&&model| fits(model, thing)).collect();
            if let [one] = fitting[..] { Some(*one) } else { None }
        })
        .collect();
    let distinct = by_shape.iter().enumerate().all(|(i, owner)| owner.is_some() && !by_shape[..i].contains(owner));
    let in_order = left.len() == free.len() && left.iter().zip(&free).all(|(&thing, &model)| fits(model, thing));
    for (i, &thing) in left.iter().enumerate() {
        owners[thing] = if distinct {
            by_shape[i]
        } else if in_order {
            Some(free[i])
        } else {
            None
        };
    }
    owners
}

/// The models of a checkpoint with optimizers that are under other keys than those of the table: of the same stem as an optimizer,
/// or, where no model is known, all that there are.
pub(super) fn more_models(root: &Value, paths: &Paths) -> Vec<KeyPath> {
    let optimizers: Vec<Stem> = paths.of(Role::Optimizer).into_iter().map(Stem::of).collect();
    if optimizers.is_empty() {
        return Vec::new();
    }
    let mut candidates = Vec::new();
    weights(root, &KeyPath::default(), 2, &mut candidates);
    candidates.retain(|path| paths.role(path).is_none());
    let known = !paths.of(Role::Model).is_empty();
    let said = |path: &KeyPath| {
        let stem = Stem::of(path);
        let named = MODELS.contains(&stem.plain.as_str());
        optimizers.iter().any(|optimizer| {
            optimizer.plain == stem.plain && !stem.plain.is_empty() || named && optimizer.is_like(&stem)
        }) || named && path.keys().len() == 1
    };
    let told: Vec<KeyPath> = candidates.iter().filter(|path| said(path)).cloned().collect();
    if known || !told.is_empty() { told } else { candidates }
}

/// What has weights in it and can be a model, with nothing in its names against it.
fn weights(value: &Value, path: &KeyPath, depth: usize, found: &mut Vec<KeyPath>) {
    for (key, inside) in children(value) {
        let path = path.clone().then(key);
        let name = path.words();
        let other = path.only_key().is_some_and(|key| {
            SPELLINGS.iter().any(|spelling| spelling.role != Role::Model && spelling.keys.contains(&&*key))
        });
        if !is_container(&inside) || is_kept(&name) || averages::is_name(&name) || is_optimizer(&inside) || other {
            continue;
        }
        // A dict of generators' states has no weights.
        let states = children(&inside).into_iter().any(|(_, inside)| generators::is_state(&inside));
        if has_tensors(&inside) && !is_average(&inside) && !states {
            found.push(path);
        } else if depth > 1 {
            weights(&inside, &path, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_part_have_one_stem() {
        for (keys, stem) in [
            (
                &[
                    "netG",
                    "optimizerG",
                    "optimizer_G",
                    "schedulerG",
                    "G_state_dict",
                    "lr_scheduler_G",
                    "g_optim",
                    "optimg",
                ][..],
                "g",
            ),
            (&["modelA_state_dict", "optimizerA_state_dict", "model_A", "A"][..], "a"),
            (&["netG_A2B", "optimizer_G_A2B", "G_A2B"][..], "ga2b"),
            (&["generator", "generator_state_dict", "generator_optimizer"][..], "generator"),
            (&["optimizer2", "model_2", "net2"][..], "2"),
            (&["model_state_dict", "optimizer", "optim_state", "net"][..], ""),
        ] {
            for key in keys {
                assert_eq!(Stem::of(&KeyPath::key(*key)).plain, stem, "{key}");
            }
        }
        assert_eq!(Stem::of(&KeyPath::key("models").then(1_i64)).plain, "1");
        assert_eq!(Stem::of(&KeyPath::key("D").then("optimizer")).plain, "d");
    }
}
