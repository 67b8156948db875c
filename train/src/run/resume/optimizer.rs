//! The optimizer of a run: the one that a checkpoint's state is of, or a new one in its place.

use std::collections::HashSet;
use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::Question;
use rekindle_recorder::{Dict, Error, ErrorKind, Result, Value};

use super::changes::Changes;
use crate::attributes::invalid;
use crate::call::shown;
use crate::optim::{
    Hyperparameters, Optimizer, OptimizerBuilder, OptimizerKind, ParamGroup, Select, TOLD_OF_BITSANDBYTES,
};
use crate::run::options::ResumeOptions;
use crate::run::plan::GroupPlan;

/// An optimizer that goes on or begins.
pub(super) struct Optimized {
    pub(super) optimizer: Optimizer,
    /// What told which it is.
    pub(super) told: &'static str,
    pub(super) groups: Vec<GroupPlan>,
    /// How many steps the checkpoint's has made.
    pub(super) steps: Option<i64>,
    pub(super) changes: Changes,
    /// The checkpoint's, where a new one is in its place and takes its parameters over.
    pub(super) before: Option<Optimizer>,
}

impl Optimized {
    /// The optimizer of a model: from its state dict, or a new one. `share`: the groups that are said have a share of its
    /// parameters, and other optimizers the rest; the number of its first group among all.
    ///
    /// # Errors
    /// When it is open which it is or whose parameters it has, or the state does not fit the model.
    pub(super) fn make<M: Module>(
        saved: Option<&Value>,
        class: Option<&str>,
        model: &M,
        options: &mut ResumeOptions,
        rows: &Arc<LayerRows>,
        share: Option<usize>,
        questions: &mut Vec<Question>,
    ) -> Result<Optimized> {
        if let Some(hyperparameters) = options.new_optimizer.clone() {
            return Optimized::begin(hyperparameters, saved, model, options, rows, questions);
        }
        let saved = saved.ok_or_else(|| {
            let what = "the checkpoint holds no optimizer's state";
            let question =
                Question::new(what).or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new optimizer");
            Error::new(ErrorKind::Open(vec![question]))
        })?;
        let by_class = class.filter(|_| options.optimizer.is_none());
        let by_class = by_class.map(|class| of_class(class, saved)).transpose()?;
        let told = match (options.optimizer, OptimizerKind::recognise(saved)) {
            (Some(_), Ok(recognition)) if recognition.note.is_some() => TOLD_OF_BITSANDBYTES,
            (Some(_), _) => "the options",
            (None, _) if by_class.is_some() => "its class",
            (None, _) => "the keys of its state",
        };
        let kind = options
            .optimizer
            .or(by_class)
            .map_or_else(|| OptimizerKind::infer(saved).map_err(|e| ask_which(e, saved)), Ok)?;
        let saved = &by_id(saved)?;
        let (saved, changes) = Changes::apply(saved, kind, options, share.unwrap_or(0))?;
        let own = model.named_parameters_with(rows)?;
        let trained = own.iter().filter(|named| named.requires_grad).count();
        let told_which = options.optimizer.is_some();
        let mut builder = Optimizer::builder(Hyperparameters::of(kind)).rows(Arc::clone(rows)).foreign_keys(told_which);
        if share.is_none() && (!options.groups.is_empty() || !options.order.is_empty()) && members(&saved) < own.len() {
            builder = without_frozen(builder, &own);
        }
        let builder = arranged(builder, options, &own)?;
        let asked = |error| if share.is_some() { error } else { ask(error, &saved, &own, trained) };
        let optimizer = builder.build_from(model, &saved).map_err(asked)?;
        let groups = groups(&optimizer, &saved)?;
        #[allow(clippy::cast_possible_truncation)]
        let steps = optimizer.steps().map(|steps| steps as i64);
        Ok(Optimized { optimizer, told, groups, steps, changes, before: None })
    }

    /// A new optimizer: the weights are kept, and what the checkpoint's optimizer knew of them is left out.
    fn begin<M: Module>(
        hyperparameters: Hyperparameters,
        saved: Option<&Value>,
        model: &M,
        options: &mut ResumeOptions,
        rows: &Arc<LayerRows>,
        questions: &mut Vec<Question>,
    ) -> Result<Optimized> {
        let kind = hyperparameters.kind();
        let mut builder = Optimizer::builder(hyperparameters).rows(Arc::clone(rows));
        let as_saved = saved.filter(|_| options.groups.is_empty());
        if let Some(saved) = as_saved {
            let (count, members) = (group_count(saved), members(saved));
            let own = model.named_parameters_with(rows)?;
            if members < own.len() {
                builder = without_frozen(builder, &own);
            }
            let trained = own.iter().filter(|named| named.requires_grad).count();
            let question = match (count, members < trained) {
                (0 | 1, false) => None,
                (0 | 1, true) => Some(
                    Question::new(format!(
                        "the checkpoint's optimizer has {members} parameters, and the model {trained} that are trained: which has \
                         the new one?"
                    ))
                    .or("ResumeOptions::freeze(GLOB)", "of those that are not trained"),
                ),
                (count, _) => Some(Question::new(format!(
                    "the checkpoint's optimizer has {count} groups: which parameters are whose in the new one?"
                ))),
            };
            let all = "with '*' for one group of all, or once a group";
            questions.extend(question.map(|question| question.or("ResumeOptions::group(GLOB)", all)));
        }
        let builder = arranged(builder, options, &model.named_parameters_with(rows)?)?;
        let mut optimizer = builder.build(model)?;
        let (begun, changes) = Changes::apply(&optimizer.state_dict(model)?, kind, options, 0)?;
        optimizer.load_state_dict(model, &begun)?;
        let groups = groups(&optimizer, &begun)?;
        let old = saved
            .map(|saved| OptimizerKind::infer(saved).map_or("the checkpoint's".to_owned(), |kind| kind.to_string()));
        let (old, lost) = old.map_or(("none".to_owned(), ""), |old| (old, " and its state is left out"));
        let mut said =
            vec![format!("optimizer {old} -> {kind}, which begins anew{lost} (`ResumeOptions::new_optimizer`)")];
        said.extend(changes.said);
        let changes = Changes { said, ..changes };
        let before = as_saved.and_then(|saved| {
            let kind = OptimizerKind::infer(saved).ok()?;
            Optimizer::builder(Hyperparameters::of(kind)).rows(Arc::clone(rows)).build_from(model, saved).ok()
        });
        let steps = saved.and_then(steps);
        Ok(Optimized { optimizer, told: "the options", groups, steps, changes, before })
    }
}

/// The groups and the order that were said.
///
/// # Errors
/// When a pattern of the order cannot be read or fits nothing.
fn arranged(
    builder: OptimizerBuilder,
    options: &mut ResumeOptions,
    own: &[NamedParameter],
) -> Result<OptimizerBuilder> {
    let groups = std::mem::take(&mut options.groups);
    let builder = groups.into_iter().fold(builder, |builder, select| builder.group(select, [("lr", 0.0); 0]));
    let builder = builder.rest_frozen(options.rest_frozen);
    let mut order: Vec<String> = Vec::new();
    for pattern in &options.order {
        let belongs = Select::from(pattern.as_str()).compile()?;
        let fitting: Vec<_> = own.iter().filter(|named| named.name == *pattern || belongs(named)).collect();
        if fitting.is_empty() {
            return Err(invalid(format!("no parameter of the model fits '{pattern}' (`ResumeOptions::order`)")));
        }
        // An exact name stands before a pattern that fits it, too.
        let named = |named: &&NamedParameter| !order.contains(&named.name);
        let more: Vec<String> = fitting.into_iter().filter(named).map(|named| named.name.clone()).collect();
        order.extend(more);
    }
    Ok(if order.is_empty() { builder } else { builder.order(order) })
}

/// Without the parameters that are frozen: they were not given to the optimizer.
fn without_frozen(builder: OptimizerBuilder, own: &[NamedParameter]) -> OptimizerBuilder {
    let frozen = own.iter().filter(|named| !named.requires_grad).map(|named| named.name.clone());
    let frozen: HashSet<String> = frozen.collect();
    builder.exclude(Select::matching(move |named| frozen.contains(&named.name)))
}

/// A state dict whose states are under the ids of its groups: texts that spell those numbers, as JSON and other formats without numbers for
/// keys leave them, are taken for them.
///
/// # Errors
/// The question what becomes of a state of which nothing is under an id of the groups.
fn by_id(saved: &Value) -> Result<Value> {
    let Some((dict, states)) = saved.as_dict().and_then(|dict| Some((dict, dict.get("state")?.as_dict()?.entries())))
    else {
        return Ok(saved.clone());
    };
    let groups = dict.get("param_groups").and_then(|groups| groups.items()).unwrap_or_default();
    let ids = groups.iter().filter_map(|group| group.as_dict()?.get("params")?.items()).flatten().collect::<Vec<_>>();
    let numbers: HashSet<i64> = ids.iter().filter_map(Value::as_i64).collect();
    let texts: HashSet<&str> = ids.iter().filter_map(Value::as_str).collect();
    let known = |key: &Value| {
        key.as_str().is_some_and(|key| texts.contains(key)) || key.as_i64().is_some_and(|key| numbers.contains(&key))
    };
    // Of one whose states are not dicts each, nothing is known.
    let is_state = |(_, state): &(Value, Value)| state.as_dict().is_some();
    if states.is_empty() || ids.is_empty() || !states.iter().all(is_state) || states.iter().any(|(key, _)| known(key)) {
        return Ok(saved.clone());
    }
    let numbered = |(key, state): &(Value, Value)| {
        let id = Value::Int(key.as_str()?.parse::<i64>().ok()?);
        known(&id).then(|| (id, state.clone()))
    };
    if let Some(numbered) = states.iter().map(numbered).collect::<Option<Vec<_>>>() {
        let with = Dict::from_iter(dict.entries());
        with.insert("state", numbered.into_iter().collect::<Dict>());
        return Ok(with.into());
    }
    let first = states.first().map_or_else(String::new, |(key, _)| shown(key));
    let what = format!("the optimizer's state is under keys that none of its groups has, {first} the first of them");
    let question = Question::new(what).or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new optimizer");
    Err(Error::new(ErrorKind::Open(vec![question])))
}

/// How many groups a state dict has.
fn group_count(saved: &Value) -> usize {
    saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).map_or(0, |groups| groups.len())
}

/// How many steps a state dict's parameters have seen.
pub(in crate::run) fn steps(saved: &Value) -> Option<i64> {
    let state = saved.as_dict()?.get("state")?.as_dict()?.entries();
    let counts = state.iter().filter_map(|(_, state)| match state.as_dict()?.get("step")? {
        Value::Tensor(tensor) => tensor.item().ok(),
        number => number.as_f64(),
    });
    #[allow(clippy::cast_possible_truncation)]
    counts.reduce(f64::max).map(|steps| steps as i64)
}

/// Which optimizer one is that was pickled whole: as its class says, where that is PyTorch's or one of those packages' that are
/// here; else it is asked whether it steps as the one whose keys its state has.
///
/// # Errors
/// That question; and when it is one that is not here.
fn of_class(class: &str, saved: &Value) -> Result<OptimizerKind> {
    let recognition = OptimizerKind::recognise(saved)?;
    let is_of = |package: &str, name: &str| {
        class
            .strip_prefix(package)
            .and_then(|inside| inside.strip_suffix(name))
            .is_some_and(|inside| inside.ends_with('.'))
    };
    let is_named = |kind: &OptimizerKind| match kind.name().rsplit_once('.') {
        Some((package, name)) => is_of(package, name),
        None => is_of("torch.optim", kind.name()),
    };
    if let Some(kind) = recognition.kinds.iter().copied().find(is_named) {
        return Ok(kind);
    }
    if class.starts_with("torch.optim.") || recognition.kinds.is_empty() {
        let advice = "`ResumeOptions::new_optimizer(NAME(..))` goes on with a new one";
        return Err(Error::unsupported(format!("going on with {class}")).advise(advice));
    }
    let question = Question::new(format!("the optimizer is {class}, pickled whole"));
    let question = recognition.kinds.iter().fold(question, |question, kind| {
        question.or(format!("ResumeOptions::optimizer(OptimizerKind::{kind:?})"), "where it steps as that")
    });
    let anew = question.or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new optimizer");
    Err(Error::new(ErrorKind::Open(vec![anew])))
}

/// An error of a state dict that could be of several optimizers, or of one with keys of the program's own, is a question.
pub(super) fn ask_which(error: Error, saved: &Value) -> Error {
    let Ok(recognition) = OptimizerKind::recognise(saved) else { return error };
    if recognition.kinds.is_empty() || recognition.foreign.iter().any(|key| key.owner.is_some()) {
        return error;
    }
    let why = if recognition.foreign.is_empty() { "where it is" } else { "where it steps as it all the same" };
    let ErrorKind::Invalid(what) = error.kind() else { return error };
    let kinds = recognition.kind.map_or(recognition.kinds, |kind| vec![kind]);
    let question = kinds.iter().fold(Question::new(what.clone()), |question, kind| {
        question.or(format!("ResumeOptions::optimizer(OptimizerKind::{kind:?})"), why)
    });
    let anew = question.or("ResumeOptions::new_optimizer(NAME(..))", "to go on with a new optimizer");
    Error::new(ErrorKind::Open(vec![anew]))
}

/// Before the advice of an error of groups that can be divided in several ways.
const SAY: &str = "; say with `OptimizerBuilder::group`";

/// An error of an optimizer that has fewer parameters than are trained, or groups that can be divided in several ways, is a question.
fn ask(error: Error, saved: &Value, own: &[NamedParameter], trained: usize) -> Error {
    let members = members(saved);
    if members >= trained && group_count(saved) > 1 && error.to_string().contains(SAY) {
        let said = error.to_string();
        let what = said.split(SAY).next().unwrap_or_default();
        let question = Question::new(what).or("ResumeOptions::group(GLOB)", "once a group, in the file's order");
        return Error::new(ErrorKind::Open(vec![question]));
    }
    if members >= trained {
        if !in_another_order(saved, own) {
            return error;
        }
        let what = format!(
            "the optimizer's moments have the shapes of the model's parameters in another order than the model's: {error}"
        );
        let question = Question::new(what).or("ResumeOptions::order(GLOB,..)", "in which order it was given them");
        return Error::new(ErrorKind::Open(vec![question]));
    }
    let what = format!(
        "the optimizer's state is of {members} parameters, and the model has {trained} that are trained: {error}"
    );
    let question = Question::new(what)
        .or("ResumeOptions::freeze(GLOB)", "of those that are not")
        .or("ResumeOptions::group(GLOB)", "once a group, with `ResumeOptions::rest_frozen(true)` for the others");
    Error::new(ErrorKind::Open(vec![question]))
}

/// Whether the moments of a state dict of one group have the shapes of the parameters, or of those that are trained, and not in
/// their order. Parameters without moments may have any shape.
fn in_another_order(saved: &Value, own: &[NamedParameter]) -> bool {
    let shapes = || {
        let dict = saved.as_dict()?;
        let (state, groups) = (dict.get("state")?.as_dict()?.clone(), dict.get("param_groups")?.items()?);
        let [group] = &groups[..] else { return None };
        let ids = group.as_dict()?.get("params")?.items()?;
        let shape = |id: &Value| {
            let entries = state.get_key(id)?.as_dict()?.entries();
            let tensors =
                entries.iter().filter_map(|(_, value)| value.as_tensor()).map(|tensor| tensor.shape().to_vec());
            // Adafactor has the rows and the columns each by themselves, of length 1 along the other.
            let both = |a: Vec<usize>, b: Vec<usize>| {
                if a.len() == b.len() { a.iter().zip(&b).map(|(&a, &b)| a.max(b)).collect() } else { a }
            };
            tensors.filter(|shape| !shape.is_empty()).reduce(both)
        };
        Some(ids.iter().map(shape).collect::<Vec<Option<Vec<usize>>>>())
    };
    let Some(theirs) = shapes() else { return false };
    let of = |own: &mut dyn Iterator<Item = &NamedParameter>| own.map(|named| named.shape.clone()).collect::<Vec<_>>();
    let candidates = [of(&mut own.iter()), of(&mut own.iter().filter(|named| named.requires_grad))];
    let Some(ours) = candidates.into_iter().find(|ours| ours.len() == theirs.len()) else { return false };
    let fits = |(known, shape): (&Option<Vec<usize>>, &Vec<usize>)| known.as_ref().is_none_or(|known| known == shape);
    let mut left = ours.clone();
    let mut take =
        |known: &Vec<usize>| left.iter().position(|shape| shape == known).map(|place| left.swap_remove(place));
    !theirs.iter().zip(&ours).all(fits)
        && theirs.iter().flatten().next().is_some()
        && theirs.iter().flatten().all(|known| take(known).is_some())
}

/// How many parameters a state dict's groups have.
fn members(saved: &Value) -> usize {
    let groups = saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().filter_map(|group| Some(group.as_dict()?.get("params")?.items()?.len())).sum()
}

fn groups(optimizer: &Optimizer, saved: &Value) -> Result<Vec<GroupPlan>> {
    let parameters: Vec<&NamedParameter> = optimizer.parameters().collect();
    let state = saved.as_dict().and_then(|dict| dict.get("state"));
    let state = state.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
    let ids = saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    let differing = differing(optimizer.param_groups());
    let group = |(group, ids): (&ParamGroup, &Value)| {
        let ids = ids.as_dict().and_then(|group| group.get("params")?.items()).unwrap_or_default();
        let made = |state: &Value| state.as_dict().is_none_or(|state| !state.entries().is_empty());
        let is = |key: &Value, id: &Value| key.as_i64().is_some() && key.as_i64() == id.as_i64();
        let has = |id: &&Value| state.iter().any(|(key, state)| is(key, id) && made(state));
        let members = parameters.get(group.params()).unwrap_or_default();
        let frozen = members.iter().filter(|named| !named.requires_grad).map(|named| named.name.clone()).collect();
        let with_state = ids.iter().filter(has).count();
        let differs = differing.iter().filter_map(|key| Some((key.clone(), shown(group.get(key)?)))).collect();
        Ok(GroupPlan { lr: group.lr()?, parameters: members.len(), with_state, frozen, differs })
    };
    optimizer.param_groups().iter().zip(&ids).map(group).collect()
}

/// The hyper-parameters in which groups differ. Rates are shown anyway, and names of parameters are none.
fn differing(groups: &[ParamGroup]) -> Vec<String> {
    const NONE: [&str; 6] = ["params", "lr", "initial_lr", "max_lr", "min_lr", "param_names"];
    let Some((first, rest)) = groups.split_first() else { return Vec::new() };
    let entries = first.to_dict().entries();
    let keys = entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
    let differ = |key: &str, value: &Value| {
        rest.iter().any(|group| group.get(key).is_none_or(|other| shown(other) != shown(value)))
    };
    keys.filter(|(key, value)| !NONE.contains(key) && differ(key, value)).map(|(key, _)| key.to_owned()).collect()
}
