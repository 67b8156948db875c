//! Parameters that are not trained: told by the user, or asked about where a checkpoint has no state for them.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::Question;
use rekindle_recorder::{Result, Value};

use crate::attributes::invalid;
use crate::optim::{Optimizer, OptimizerKind, Select};
use crate::parameters::ids;

/// What the user said of which parameters are trained.
pub(super) struct Trained {
    /// Those that were said to be trained.
    told: HashSet<ParamId>,
}

impl Trained {
    /// Sets whether parameters are trained, as the user has it.
    ///
    /// # Errors
    /// When a pattern cannot be read or fits no parameter.
    pub(super) fn set<M: Module>(
        model: M,
        freeze: Vec<Select>,
        unfreeze: Vec<Select>,
        rows: &LayerRows,
    ) -> Result<(M, Trained)> {
        let named = model.named_parameters_with(rows)?;
        let frozen = selected(&named, freeze)?;
        let told = selected(&named, unfreeze)?;
        let model = model.map(&mut Grad { ids: &frozen, trained: false }).map(&mut Grad { ids: &told, trained: true });
        Ok((model, Trained { told }))
    }

    /// The members of groups that have no state while others of their group have some, and of which nobody said anything.
    pub(super) fn open(&self, optimizer: &Optimizer, saved: &Value) -> Option<Question> {
        let state = saved.as_dict()?.get("state")?.as_dict()?.clone();
        let groups = saved.as_dict()?.get("param_groups")?.items()?;
        if optimizer.kind() == OptimizerKind::Lbfgs {
            return None;
        }
        let parameters: Vec<&NamedParameter> = optimizer.parameters().collect();
        let mut place = 0;
        let mut open: Vec<&NamedParameter> = Vec::new();
        for group in groups {
            let ids = group.as_dict()?.get("params")?.items()?;
            let members = parameters.get(place..place + ids.len())?;
            place += ids.len();
            // Adagrad's state is there from the start, at step 0, and a schedule-free optimizer's is empty then.
            let unmade = |state: &Value| state.as_dict().is_some_and(|state| state.entries().is_empty());
            let bare = |id: &Value| state.get_key(id).is_none_or(|state| unmade(&state) || step(&state) == Some(0.0));
            let without = ids.iter().zip(members).filter(|(id, _)| bare(id)).map(|(_, named)| *named);
            let without: Vec<_> = without.collect();
            if without.len() < members.len() {
                let said = |named: &&NamedParameter| named.pieces.iter().any(|piece| self.told.contains(&piece.id));
                open.extend(without.into_iter().filter(|named| named.requires_grad && !said(named)));
            }
        }
        let names: Vec<_> = open.iter().map(|named| named.name.as_str()).collect();
        let first = names.first()?;
        let glob = glob(&names, &parameters);
        let what = format!(
            "{} parameters are in the optimizer and have no state, '{first}' the first of them, while others of their group \
             have some: they were frozen, or never used",
            names.len()
        );
        let freeze = format!("ResumeOptions::freeze(\"{glob}\")");
        let question = Question::new(what).or(freeze, "to leave them as they are");
        Some(question.or(format!("ResumeOptions::unfreeze(\"{glob}\")"), "to train them from now on"))
    }
}

/// How many steps a parameter's state has seen.
fn step(state: &Value) -> Option<f64> {
    match state.as_dict()?.get("step")? {
        Value::Tensor(tensor) => tensor.item().ok(),
        number => number.as_f64(),
    }
}

/// The parameters that are selected.
fn selected(named: &[NamedParameter], selects: Vec<Select>) -> Result<HashSet<ParamId>> {
    let mut found = HashSet::new();
    for select in selects {
        let said = format!("{select:?}");
        let belongs = select.compile()?;
        let fitting = ids(named.iter().filter(|named| belongs(named)));
        if fitting.is_empty() {
            return Err(invalid(format!("no parameter of the model fits {said}")));
        }
        found.extend(fitting);
    }
    Ok(found)
}

/// A pattern for these names and no others: modules where all of a module's are among them.
fn glob(names: &[&str], all: &[&NamedParameter]) -> String {
    let mut patterns: Vec<String> = Vec::new();
    for name in names {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        let inside = |name: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
        let whole =
            !module.is_empty() && all.iter().filter(|n| inside(&n.name)).all(|n| names.contains(&n.name.as_str()));
        let pattern = if whole { format!("{module}.*") } else { (*name).to_owned() };
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    if let [one] = &patterns[..] { one.clone() } else { format!("{{{}}}", patterns.join(",")) }
}

/// Sets whether some parameters have gradients.
struct Grad<'a> {
    ids: &'a HashSet<ParamId>,
    trained: bool,
}

impl ModuleMapper for Grad<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.ids.contains(&param.id) { param.set_require_grad(self.trained) } else { param }
    }
}
