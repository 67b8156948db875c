//! Parameters that are not trained: told by the user, or asked about where a checkpoint has no state for them.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::{Question, frozen_setting};
use rekindle_recorder::{Checkpoint, Result};

use crate::attributes::invalid;
use crate::optim::{Optimizer, Select};
use crate::parameters::ids;

/// What the user said of which parameters are trained.
pub(super) struct Trained {
    /// Those that were said to be trained.
    told: HashSet<ParamId>,
    /// Whether anything was said of it.
    said: bool,
}

/// What an optimizer leaves open of which parameters are trained.
#[derive(Default)]
pub(super) struct Frozen {
    pub(super) questions: Vec<Question>,
    /// What nothing tells, and no answer is needed for, a clause each.
    pub(super) untold: Vec<String>,
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
        let said = !frozen.is_empty() || !told.is_empty() || !file.is_empty();
        let model = model.map(&mut Grad { ids: &frozen, trained: false }).map(&mut Grad { ids: &told, trained: true });
        told.extend(of_file(true));
        Ok((model, Trained { told, said }))
    }

    /// The parameters that the optimizer may not have trained, and of which nobody said anything: those without state where others
    /// have some, and those that made fewer steps than others. Where an optimizer has no state that could tell it, that is said, and
    /// asked about where a setting of the checkpoint speaks of something frozen.
    pub(super) fn open(&self, optimizer: &Optimizer, checkpoint: &Checkpoint) -> Frozen {
        let parameters: Vec<&NamedParameter> = optimizer.parameters().collect();
        let said = |named: &NamedParameter| named.pieces.iter().any(|piece| self.told.contains(&piece.id));
        let is_open = |named: &NamedParameter| named.requires_grad && !said(named);
        let unsaid: HashSet<&str> =
            parameters.iter().filter(|named| is_open(named)).map(|named| named.name.as_str()).collect();
        let ask = |names: Vec<&str>, are: &str, why: &str| {
            let (first, glob) = (names.first()?, glob(&names, &parameters));
            let what = format!("{} parameters {are}, '{first}' the first of them, {why}", names.len());
            let freeze =
                Question::new(what).or(format!("ResumeOptions::freeze(\"{glob}\")"), "to leave them as they are");
            Some(freeze.or(format!("ResumeOptions::unfreeze(\"{glob}\")"), "to train them from now on"))
        };
        let without = optimizer.without_state().into_iter().flatten().filter(|name| unsaid.contains(name)).collect();
        let frozen = "while others of their group have some: they were frozen, or never used";
        let mut questions: Vec<Question> =
            ask(without, "are in the optimizer and have no state", frozen).into_iter().collect();

        let (groups, bare) = (optimizer.param_groups(), optimizer.bare_groups());
        let mut untold = Vec::new();
        let members = |place: usize| parameters.get(groups[place].params()).unwrap_or_default().iter();
        if bare.len() == groups.len() {
            let keeps = bare.iter().any(|(_, keeps)| *keeps);
            let why = match optimizer.kind() {
                kind if !keeps => format!("{kind} keeps no state of each, by which it could be told"),
                kind => format!("no step of {kind} has left state, by which it could be told"),
            };
            match frozen_setting(checkpoint).filter(|_| !self.said && !unsaid.is_empty()) {
                Some((place, value)) => questions.push(
                    Question::new(format!("{place} ({value}) speaks of frozen parameters, and {why}"))
                        .or("ResumeOptions::freeze(GLOB)", "of those that were frozen")
                        .or("ResumeOptions::unfreeze(\"*\")", "to train all of them"),
                ),
                None if !self.said && !unsaid.is_empty() => untold.push(untold_of("all", &why)),
                None => {}
            }
        } else {
            let scheduled = groups.iter().any(|group| group.contains("initial_lr"));
            for (place, keeps) in bare {
                let open: Vec<&str> =
                    members(place).filter(|named| is_open(named)).map(|named| named.name.as_str()).collect();
                // A group that was added after the scheduler was made lacks what that notes in each.
                if open.is_empty() || scheduled && !groups[place].contains("initial_lr") {
                    continue;
                }
                if keeps {
                    let are = format!("are all of group {place} and have no state");
                    let why = "while other groups have some: they were frozen, or never used, or the group is new";
                    questions.extend(ask(open, &are, why));
                } else {
                    let why =
                        format!("{} keeps no state without momentum, by which it could be told", optimizer.kind());
                    untold.push(untold_of(&format!("those of group {place}"), &why));
                }
            }
        }

        let behind: Vec<_> = optimizer.behind().into_iter().filter(|(name, _)| unsaid.contains(name)).collect();
        let least = behind.iter().map(|(_, steps)| *steps).fold(f64::INFINITY, f64::min);
        let fewer =
            format!("have made fewer steps than others, as few as {least} of {}", optimizer.steps().unwrap_or(0.0));
        let again = "and the file does not say whether they are trained by now or frozen again";
        questions.extend(ask(behind.into_iter().map(|(name, _)| name).collect(), &fewer, again));
        Frozen { questions, untold }
    }
}

/// What nothing tells of frozen parameters.
fn untold_of(which: &str, why: &str) -> String {
    format!(
        "which parameters were frozen: {why}; {which} are trained (`ResumeOptions::freeze(GLOB)` leaves some as they are)"
    )
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
