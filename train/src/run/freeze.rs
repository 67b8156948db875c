//! Parameters that are not trained: told by the user, or asked about where a checkpoint has no state for them.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::Result;
use rekindle_recorder::run::Question;

use crate::attributes::invalid;
use crate::optim::{Optimizer, Select};
use crate::parameters::ids;

/// What the user said of which parameters are trained.
pub(super) struct Trained {
    /// Those that were said to be trained.
    told: HashSet<ParamId>,
}

impl Trained {
    /// Sets whether parameters are trained, as the file has it where it says so, and then as the user has it.
    ///
    /// # Errors
    /// When a pattern cannot be read or fits no parameter.
    pub(super) fn set<M: Module>(
        model: M,
        file: HashMap<String, bool>,
        freeze: Vec<Select>,
        unfreeze: Vec<Select>,
        rows: &LayerRows,
    ) -> Result<(M, Trained)> {
        let named = model.named_parameters_with(rows)?;
        let of_file = |trained: bool| ids(named.iter().filter(|named| file.get(&named.name) == Some(&trained)));
        let mut frozen = of_file(false);
        frozen.extend(selected(&named, freeze, "ResumeOptions::freeze")?);
        let mut told = selected(&named, unfreeze, "ResumeOptions::unfreeze")?;
        let model = model.map(&mut Grad { ids: &frozen, trained: false }).map(&mut Grad { ids: &told, trained: true });
        told.extend(of_file(true));
        Ok((model, Trained { told }))
    }

    /// The parameters that the optimizer may not have trained, and of which nobody said anything: those without state in a group
    /// where others have some, and those that made fewer steps than others.
    pub(super) fn open(&self, optimizer: &Optimizer) -> Vec<Question> {
        let parameters: Vec<&NamedParameter> = optimizer.parameters().collect();
        let said = |named: &NamedParameter| named.pieces.iter().any(|piece| self.told.contains(&piece.id));
        let unsaid: HashSet<&str> = parameters
            .iter()
            .filter(|named| named.requires_grad && !said(named))
            .map(|named| named.name.as_str())
            .collect();
        let without = optimizer.without_state().into_iter().flatten().filter(|name| unsaid.contains(name));
        let behind: Vec<_> = optimizer.behind().into_iter().filter(|(name, _)| unsaid.contains(name)).collect();
        let least = behind.iter().map(|(_, steps)| *steps).fold(f64::INFINITY, f64::min);
        let fewer =
            format!("have made fewer steps than others, as few as {least} of {}", optimizer.steps().unwrap_or(0.0));
        let asks = [
            (
                without.collect::<Vec<_>>(),
                "are in the optimizer and have no state",
                "while others of their group have some: they were frozen, or never used",
            ),
            (
                behind.into_iter().map(|(name, _)| name).collect(),
                &*fewer,
                "and the file does not say whether they are trained by now or frozen again",
            ),
        ];
        let question = |(names, are, why): (Vec<&str>, &str, &str)| {
            let (first, glob) = (names.first()?, glob(&names, &parameters));
            let what = format!("{} parameters {are}, '{first}' the first of them, {why}", names.len());
            let freeze =
                Question::new(what).or(format!("ResumeOptions::freeze(\"{glob}\")"), "to leave them as they are");
            Some(freeze.or(format!("ResumeOptions::unfreeze(\"{glob}\")"), "to train them from now on"))
        };
        asks.into_iter().filter_map(question).collect()
    }
}

/// The parameters that are selected.
fn selected(named: &[NamedParameter], selects: Vec<Select>, option: &str) -> Result<HashSet<ParamId>> {
    let mut found = HashSet::new();
    for select in selects {
        let said = select.to_string();
        let belongs = select.compile()?;
        let fitting = ids(named.iter().filter(|named| belongs(named)));
        if fitting.is_empty() {
            return Err(invalid(format!("no parameter of the model fits {said} (`{option}`)")));
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
        let pattern = if whole { format!("{}.*", globset::escape(module)) } else { globset::escape(name) };
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
