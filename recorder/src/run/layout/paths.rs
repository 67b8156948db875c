//! `Paths`: where the parts of a run are in a checkpoint.

use crate::Value;
use crate::run::path::KeyPath;
use crate::run::spellings::Role;

/// Where the parts of a run are, those of one role in order.
#[derive(Default)]
pub(in crate::run) struct Paths(Vec<(Role, KeyPath)>);

impl Paths {
    pub(super) fn model_at(path: KeyPath) -> Self {
        Paths(vec![(Role::Model, path)])
    }

    /// Adds what is of a role.
    pub(super) fn push(&mut self, role: Role, path: KeyPath) {
        self.0.push((role, path));
    }

    pub(in crate::run) fn of(&self, role: Role) -> Vec<&KeyPath> {
        self.0.iter().filter(|(r, _)| *r == role).map(|(_, path)| path).collect()
    }

    /// What is here.
    pub(in crate::run) fn role(&self, path: &KeyPath) -> Option<Role> {
        self.0.iter().find(|(_, known)| known == path).map(|(role, _)| *role)
    }

    /// Whether there is anything of a role.
    pub(in crate::run) fn has(&self, role: Option<Role>) -> bool {
        self.0.iter().any(|(known, _)| Some(*known) == role)
    }

    /// Whether something is inside what is here.
    pub(in crate::run) fn inside(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|(_, known)| known.is_within(path))
    }

    /// Says which state is the generator's.
    pub(in crate::run) fn set_generator(&mut self, path: KeyPath) {
        self.0.retain(|(role, _)| *role != Role::Rng);
        self.0.push((Role::Rng, path));
    }

    pub(in crate::run) fn values<'a>(
        &'a self,
        root: &'a Value,
        role: Role,
    ) -> impl Iterator<Item = (&'a KeyPath, Value)> {
        self.0.iter().filter(move |(r, _)| *r == role).filter_map(|(_, path)| Some((path, path.value(root)?)))
    }
}
