//! The optimizer that a checkpoint's state is of.

use std::collections::HashSet;
use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::Question;
use rekindle_recorder::{Dict, Error, ErrorKind, Result, Value};

use crate::optim::{Hyperparameters, Optimizer, OptimizerKind, ParamGroup, Select, TOLD_OF_BITSANDBYTES};
use crate::run::options::ResumeOptions;
use crate::run::plan::GroupPlan;

/// An optimizer that goes on.
pub(super) struct Optimized {
    pub(super) optimizer: Optimizer,
    /// What told which it is.
    pub(super) told: &'static str,
    pub(super) groups: Vec<GroupPlan>,
}

impl Optimized {
    /// The optimizer of a model, from its state dict.
    ///
    /// # Errors
    /// When it is open which it is or whose parameters it has, or the state does not fit the model.
    pub(super) fn make<M: Module>(
        saved: &Value,
        model: &M,
        options: &mut ResumeOptions,
        rows: &Arc<LayerRows>,
    ) -> Result<Optimized> {
        let told = match (options.optimizer, OptimizerKind::recognise(saved)) {
            (Some(_), Ok(recognition)) if recognition.note.is_some() => TOLD_OF_BITSANDBYTES,
            (Some(_), _) => "the options",
            (None, _) => "the keys of its state",
        };
        let kind = options.optimizer.map_or_else(|| OptimizerKind::infer(saved), Ok)?;
        let mut builder = Optimizer::builder(Hyperparameters::of(kind)).rows(Arc::clone(rows));
        let own = model.named_parameters_with(rows)?;
        let trained = own.iter().filter(|named| named.requires_grad).count();
        if !options.groups.is_empty() && members(saved) < own.len() {
            // Those that are frozen were not given to it.
            let frozen = own.into_iter().filter(|named| !named.requires_grad).map(|named| named.name);
            let frozen: HashSet<String> = frozen.collect();
            builder = builder.exclude(Select::matching(move |named| frozen.contains(&named.name)));
        }
        for select in std::mem::take(&mut options.groups) {
            builder = builder.group(select, [("lr", 0.0); 0]);
        }
        let optimizer = builder.build_from(model, saved).map_err(|error| ask(error, members(saved), trained))?;
        let groups = groups(&optimizer, saved)?;
        Ok(Optimized { optimizer, told, groups })
    }
}

/// An error of an optimizer that has fewer parameters than are trained is a question.
fn ask(error: Error, members: usize, trained: usize) -> Error {
    if members >= trained {
        return error;
    }
    let what = format!(
        "the optimizer's state is of {members} parameters, and the model has {trained} that are trained: {error}"
    );
    let question = Question::new(what).or("ResumeOptions::freeze(GLOB)", "of those that are not");
    Error::new(ErrorKind::Open(vec![question]))
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
    let group = |(group, ids): (&ParamGroup, &Value)| {
        let ids = ids.as_dict().and_then(|group| group.get("params")?.items()).unwrap_or_default();
        let made = |state: &Value| state.as_dict().is_none_or(|state| !state.entries().is_empty());
        let is = |key: &Value, id: &Value| key.as_i64().is_some() && key.as_i64() == id.as_i64();
        let has = |id: &&Value| state.iter().any(|(key, state)| is(key, id) && made(state));
        let members = parameters.get(group.params()).unwrap_or_default();
        let frozen = members.iter().filter(|named| !named.requires_grad).map(|named| named.name.clone()).collect();
        Ok(GroupPlan { lr: group.lr()?, parameters: members.len(), with_state: ids.iter().filter(has).count(), frozen })
    };
    optimizer.param_groups().iter().zip(&ids).map(group).collect()
}
