//! torchtitan's checkpoints, and those of other programs that save an optimizer flattened by the names of its parameters.

use super::paths::{Paths, way};
use super::tutorial;
use crate::run::by_name::is_flat;
use crate::run::loaders;
use crate::run::spellings::{Role, SPELLINGS, whole};
use crate::run::told::Told;
use crate::{Dict, Value};

const STEP: [&str; 2] = ["train_state", "step"];

/// The key of an optimizer's flattened state.
fn optimizer(dict: &Dict) -> Option<&'static str> {
    let spelling = SPELLINGS.iter().find(|spelling| spelling.role == Role::Optimizer)?;
    spelling.keys.iter().copied().find(|key| dict.get(key).as_ref().is_some_and(is_flat))
}

/// Whether its optimizer is flattened, or it counts steps as torchtitan does.
pub(super) fn is_ours(root: &Value) -> bool {
    let step = way(&STEP).value(root).is_some_and(|step| whole(&step).is_some());
    step || root.as_dict().and_then(optimizer).is_some()
}

/// `model`, `optimizer`, `lr_scheduler`, `train_state`, `dataloader`.
pub(super) fn torchtitan(root: &Value) -> Option<Paths> {
    if !is_ours(root) {
        return None;
    }
    let mut paths = tutorial::tutorial(root)?;
    if let Some(key) = root.as_dict().and_then(optimizer) {
        paths.forget(Role::Optimizer);
        paths.push(Role::Optimizer, way(&[key]));
    }
    if way(&STEP).value(root).is_some_and(|step| whole(&step).is_some()) {
        paths.forget(Role::Step);
        paths.push(Role::Step, way(&STEP));
    }
    Some(paths)
}

/// What goes on only in torchtitan itself.
pub(super) fn torchtitan_told(root: &Value) -> Told {
    let there = |names: &[&str]| way(names).value(root).is_some();
    let mut told = Told::default();
    // A state of one rank's loader is a loader's like any other.
    if way(&["dataloader"]).value(root).is_some_and(|state| !loaders::is_state(&state)) {
        "torchtitan".clone_into(&mut told.by);
        told.not_continued.push("the place in the data that 'dataloader' has".to_owned());
    }
    if there(&["train_state", "ntokens_seen"]) {
        "torchtitan".clone_into(&mut told.by);
        told.not_continued.push("the count of tokens, train_state.ntokens_seen".to_owned());
    }
    told
}
