//! An average inside the model, as latent diffusion's `LitEma` is: buffers whose names are those of the parameters without their dots; or the
//! same as a state dict of its own.

use rekindle_burn::NamedParameter;
use rekindle_recorder::StateDict;
use rekindle_recorder::run::RunState;

use crate::ema::{in_lit, is_lit};

/// The state dict of a `LitEma`, and where it is.
pub(super) struct Lit {
    pub(super) state: StateDict,
    /// What is before its names in the model's state dict; `None` where it is one of its own.
    pub(super) inside: Option<String>,
}

impl Lit {
    /// That of a run, if it has one: its own average, or where it has none one inside its model.
    pub(super) fn find(state: &RunState) -> Option<Lit> {
        if let Some(own) = &state.ema {
            let state = StateDict::from_value(own).ok().filter(is_lit)?;
            return Some(Lit { state, inside: None });
        }
        let prefixes = state.model.keys().filter_map(|name| name.strip_suffix("num_updates")).filter(|p| !p.is_empty());
        prefixes
            .map(|prefix| Lit { state: under(&state.model, prefix), inside: Some(prefix.to_owned()) })
            .find(|lit| is_lit(&lit.state))
    }

    /// What it has before the names of the model's parameters, which are a member of what it is of: it has all of them, or as many
    /// as there are.
    pub(super) fn before(&self, own: &[NamedParameter], member: &str) -> Option<String> {
        let ends = member.match_indices('.').map(|(at, _)| &member[at + 1..]);
        let has = |before: &str| {
            let there = |named: &&NamedParameter| {
                let shadow = self.state.get(&in_lit(before, &named.name));
                shadow.is_some_and(|shadow| *shadow.shape() == *named.shape)
            };
            own.iter().filter(there).count()
        };
        let found = [member].into_iter().chain(ends).map(|before| (has(before), before));
        // The longest of those that have as many.
        let best = found.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        (best.0 > 0).then(|| best.1.to_owned())
    }

    /// Whether an entry of the model's state dict is one of its own.
    pub(super) fn has(&self, name: &str) -> bool {
        let inside = self.inside.as_deref();
        inside.and_then(|inside| name.strip_prefix(inside)).is_some_and(|name| self.state.contains(name))
    }

    /// Its name in the model.
    pub(super) fn name(&self) -> Option<&str> {
        self.inside.as_deref().map(|inside| inside.trim_end_matches('.'))
    }
}

/// What is under a prefix in a state dict.
fn under(model: &StateDict, prefix: &str) -> StateDict {
    let mut state = StateDict::new();
    for (name, value) in model.values() {
        if let Some(name) = name.strip_prefix(prefix) {
            state.insert_value(name, value.clone());
        }
    }
    state
}
