//! The model with the checkpoint's weights, and the average of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::{Question, RunState};
use rekindle_recorder::{DType, Error, ErrorKind, LoadOptions, LoadReport, Result, StateDict, Tensor};

use crate::attributes::invalid;
use crate::run::average::{Average, Saved};
use crate::run::freeze::Trained;
use crate::run::members::member;
use crate::run::names::Names;
use crate::run::norms;
use crate::run::options::{ResumeOptions, Unexpected};
use crate::run::plan::few;
use crate::run::ties::{members, tie};

/// A model that has its weights.
pub(super) struct Weights<M> {
    pub(super) model: M,
    /// What the user said of which parameters are trained.
    pub(super) trained: Trained,
    /// What was put before all names by a wrapper.
    pub(super) prefix: String,
    /// What is before the names of the model, where it is a member of what was saved.
    pub(super) member: Option<String>,
    /// What of that stays as it is.
    pub(super) beside: Vec<String>,
    /// What its batch norms have counted.
    pub(super) counts: Vec<(String, i64)>,
    /// How the user mapped the names.
    pub(super) names: Names,
    pub(super) report: LoadReport,
    pub(super) average: Average,
    /// What becomes of the average, for the plan.
    pub(super) says: String,
    /// What the user changed, a sentence each.
    pub(super) said: Vec<String>,
}

impl<M: Module> Weights<M> {
    /// Loads the weights of a run into its model; `passed` is how many batches it has passed through, where several make a step.
    ///
    /// # Errors
    /// When they do not fit, or the average that is to go on does not.
    pub(super) fn load(
        state: &RunState,
        model: M,
        options: &mut ResumeOptions,
        rows: &Arc<LayerRows>,
        passed: Option<i64>,
        questions: &mut Vec<Question>,
    ) -> Result<Weights<M>> {
        let own = model.named_parameters_with(rows)?;
        let half = own.iter().any(|named| matches!(named.dtype, DType::Float16 | DType::BFloat16));
        let mut saved = Saved::read(state, options, (half, passed), questions)?;
        let says = std::mem::take(&mut saved.says);
        let told = options.load.take();
        let mut load = told.clone().unwrap_or_else(LoadOptions::strict);
        let mapped = load.apply(&saved.weights)?;
        let mut prefix = wrapped(&mapped, &own);
        let mut found = options.member.take();
        if found.is_some() && told.is_some() {
            let both = "the names of a member (`ResumeOptions::member`) are taken off and put back by themselves";
            return Err(invalid(format!("{both}, and cannot be mapped otherwise, too (`LoadOptions::rename`)")));
        }
        if found.is_none() && told.is_none() && prefix.is_empty() && state.layout.has_members() {
            found = member(&saved.weights, &own).map_err(|which| Error::new(ErrorKind::Open(vec![which])))?;
        }
        let (mut beside, mut said) = (Vec::new(), Vec::new());
        let names: HashSet<String> = model.state_dict_with(rows)?.keys().map(ToOwned::to_owned).collect();
        let unexpected = if found.is_none() && load.is_strict() {
            let places = Places { weights: &saved.weights, own: &own, names: &names, load: &load, prefix: &prefix };
            places.unexpected(told.is_none())?
        } else {
            Vec::new()
        };
        let unexpected_all = unexpected;
        let own_average = |name: &String| saved.has(&own, found.as_deref().unwrap_or(&prefix), name);
        let (averaged, unexpected): (Vec<String>, Vec<String>) = unexpected_all.into_iter().partition(own_average);
        let drop = !unexpected.is_empty() && options.unexpected == Some(Unexpected::Drop);
        if drop {
            let unexpected: Vec<&str> = unexpected.iter().map(String::as_str).collect();
            let option = "`ResumeOptions::unexpected(drop)`";
            said.push(format!("{} of the file's model is left out of what is written ({option})", few(&unexpected)));
        } else if !unexpected.is_empty() && options.unexpected.is_none() {
            questions.push(ask_unexpected(&unexpected));
        }
        if found.is_none() && told.is_none() && (!averaged.is_empty() || !unexpected.is_empty()) && !drop {
            found = Some(prefix.clone());
        }
        if let Some(member) = &found {
            prefix.clone_from(member);
        }
        if found.is_some() || !averaged.is_empty() || !unexpected.is_empty() {
            let names: HashSet<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
            let is_own = move |name: &str| names.contains(name);
            if told.is_none() && !drop {
                let names = saved.weights.keys().filter(|name| !is_own(name) && !saved.has(&own, &prefix, name));
                beside = names.map(ToOwned::to_owned).collect();
            } else if !drop {
                beside.clone_from(&unexpected);
            }
            load = load.filter(move |name, _| is_own(name));
        }
        if !prefix.is_empty() {
            load = load.strip_prefix(prefix.as_str());
        }
        let names = told.map(|_| Names::of(&load, &saved.weights)).transpose()?.unwrap_or_default();
        let names = if drop { names.without_others(&unexpected) } else { names };
        let (model, tied) = tie(model, &own, &mapped, &prefix, members(&state.optimizers))?;
        said.extend(tied);
        let grads = requires_grad(&mapped, &prefix);
        let frozen = std::mem::take(&mut options.frozen);
        let (mut model, trained) = Trained::set(model, grads, frozen, std::mem::take(&mut options.trained), rows)?;
        let report = model.load_state_dict_with_rows(&saved.weights, &load, rows)?;
        let average = saved.go_on(&model, rows, &prefix)?;
        let names = names.without(&report);
        let counts = norms::counts(&mapped, &prefix);
        Ok(Weights { model, trained, prefix, member: found, beside, counts, names, report, average, says, said })
    }
}

/// A checkpoint's model, and the one that it goes into.
struct Places<'a> {
    weights: &'a StateDict,
    own: &'a [NamedParameter],
    names: &'a HashSet<String>,
    load: &'a LoadOptions,
    prefix: &'a str,
}

impl Places<'_> {
    /// The names in the checkpoint of what the model lacks, where all of its parameters are there.
    ///
    /// # Errors
    /// The question whether the model is a member of what was saved, where it can be.
    fn unexpected(&self, unmapped: bool) -> Result<Vec<String>> {
        let mapped = self.load.names(self.weights)?;
        let bare = |name: &str| name.strip_prefix(self.prefix).map(ToOwned::to_owned);
        let mapped: Vec<(String, Option<String>)> =
            mapped.into_iter().map(|(theirs, own)| (theirs, bare(&own))).collect();
        let there: HashSet<&str> = mapped.iter().filter_map(|(_, own)| own.as_deref()).collect();
        if self.own.iter().all(|named| there.contains(named.name.as_str())) {
            let lacks = |own: &Option<String>| own.as_ref().is_none_or(|own| !self.names.contains(own));
            let view = |theirs: &str| self.weights.get(theirs).map(Tensor::view);
            let known: HashSet<_> =
                mapped.iter().filter(|(_, own)| !lacks(own)).filter_map(|(theirs, _)| view(theirs)).collect();
            // Another name of a tensor that the model has is no entry of its own: they are tied.
            let tied = |theirs: &str| view(theirs).is_some_and(|view| known.contains(&view));
            let entries = mapped.iter().filter(|(theirs, own)| lacks(own) && !tied(theirs));
            return Ok(entries.map(|(theirs, _)| theirs.clone()).collect());
        }
        if !unmapped || !self.own.iter().all(|named| !there.contains(named.name.as_str())) {
            return Ok(Vec::new());
        }
        let question = match member(self.weights, self.own) {
            Ok(None) => return Ok(Vec::new()),
            Ok(Some(prefix)) => {
                let alone = self.weights.keys().all(|name| name.starts_with(&prefix));
                let (beside, keep) = if alone {
                    ("", "")
                } else {
                    (", and others are beside them", ", and keep the others as they are")
                };
                let what = format!("the names of the model are in the file's after '{prefix}'{beside}");
                Question::new(what).or(format!("ResumeOptions::member(\"{prefix}\")"), format!("to take those{keep}"))
            }
            Err(question) => question,
        };
        Err(Error::new(ErrorKind::Open(vec![question])))
    }
}

/// The question what becomes of entries that the model lacks.
fn ask_unexpected(names: &[String]) -> Question {
    let shown: Vec<&str> = names.iter().map(String::as_str).collect();
    let entries = if names.len() == 1 { "an entry".to_owned() } else { format!("{} entries", names.len()) };
    Question::new(format!("the file's model holds {entries} that the model lacks: {}", few(&shown)))
        .or("ResumeOptions::unexpected(keep)", "to keep them as they are")
        .or("ResumeOptions::unexpected(drop)", "to leave them out of what is written")
}

/// Which parameters are trained, where a file says it: one of plain `state_dict()` has no parameter that requires a gradient.
fn requires_grad(weights: &StateDict, prefix: &str) -> HashMap<String, bool> {
    if !weights.iter().any(|(_, tensor)| tensor.requires_grad()) {
        return HashMap::new();
    }
    let bare = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    weights.iter().map(|(name, tensor)| (bare(name), tensor.requires_grad())).collect()
}

/// What wrappers have put before all names of a state dict: `module.`, `_orig_mod.`, or both.
pub(in crate::run) fn wrapped(weights: &StateDict, own: &[NamedParameter]) -> String {
    let mut prefix = String::new();
    while let Some(more) = ["module.", "_orig_mod."].into_iter().find(|more| {
        let longer = format!("{prefix}{more}");
        !weights.is_empty()
            && weights.keys().all(|name| name.starts_with(&longer))
            && !own.iter().any(|named| named.name.starts_with(&longer))
    }) {
        prefix += more;
    }
    prefix
}
