//! `Paths`: where the parts of a run are in a checkpoint.

use crate::run::part::RunPart;
use crate::run::path::{KeyPath, children};
use crate::run::spellings::Role;
use crate::{Error, Result, Value};

/// What the dict is called that weights at the root are looked at in.
pub(super) const WEIGHTS: &str = "the weights at the root";

/// The path of names.
pub(super) fn way(names: &[&str]) -> KeyPath {
    names.iter().fold(KeyPath::default(), |path, name| path.then(*name))
}

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

    /// Adds the places that count, too, as far as they are there.
    pub(super) fn count_at(&mut self, root: &Value, places: &[&[&str]]) {
        let there = places.iter().map(|place| way(place)).filter(|path| path.value(root).is_some());
        self.0.extend(there.map(|path| (Role::Position, path)));
    }

    /// Leaves out what is of a role.
    pub(super) fn forget(&mut self, role: Role) {
        self.0.retain(|(known, _)| *known != role);
    }

    /// The same in what is under a key.
    pub(super) fn within(self, key: &Value) -> Self {
        let within =
            |path: &KeyPath| path.keys().iter().fold(KeyPath::key(key.clone()), |path, key| path.then(key.clone()));
        Paths(self.0.iter().map(|(role, path)| (*role, within(path))).collect())
    }

    /// With those of others whose role has none here.
    pub(super) fn and(mut self, others: Paths) -> Self {
        let roles: Vec<Role> = self.0.iter().map(|(role, _)| *role).collect();
        self.0.extend(others.0.into_iter().filter(|(role, _)| !roles.contains(role)));
        self
    }

    /// Leaves out what is inside a key of the root.
    pub(super) fn leave_out(&mut self, key: &str) {
        self.0.retain(|(_, path)| path.keys().first().and_then(crate::Value::as_str) != Some(key));
    }

    /// Adds what a list at the root has of a role, all of it, whatever it looks like.
    pub(super) fn all_in(&mut self, root: &Value, role: Role, key: &str) {
        let list = KeyPath::key(key);
        let items = list.value(root).map(|value| children(&value)).unwrap_or_default();
        let known = |path: &KeyPath| self.0.iter().any(|(_, known)| known == path || known.is_within(path));
        let more = items.into_iter().map(|(index, _)| list.clone().then(index)).filter(|path| !known(path));
        let more: Vec<_> = more.map(|path| (role, path)).collect();
        self.0.extend(more);
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

    /// Leaves the models, optimizers, schedulers, averages and the scaler of one part of a run.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`](crate::ErrorKind::MissingKey) when something of it is not there.
    pub(in crate::run) fn narrow(&mut self, root: &Value, part: &RunPart) -> Result<()> {
        let models = std::slice::from_ref(&part.model);
        let (average, scaler) = (part.average.as_slice(), part.scaler.as_slice());
        for (role, places) in [
            (Role::Model, models),
            (Role::Optimizer, &part.optimizers),
            (Role::Scheduler, &part.schedulers),
            (Role::Ema, average),
            (Role::Scaler, scaler),
        ] {
            self.0.retain(|(known, _)| *known != role);
            for place in places {
                let path = KeyPath::find(root, place).ok_or_else(|| Error::missing_key(place.clone()))?;
                self.push(role, path);
            }
        }
        Ok(())
    }

    /// Says what is of a role, and of no other.
    pub(in crate::run) fn set(&mut self, role: Role, path: KeyPath) {
        self.forget(role);
        self.0.retain(|(_, known)| *known != path);
        self.0.push((role, path));
    }

    pub(in crate::run) fn values<'a>(
        &'a self,
        root: &'a Value,
        role: Role,
    ) -> impl Iterator<Item = (&'a KeyPath, Value)> {
        self.0.iter().filter(move |(r, _)| *r == role).filter_map(|(_, path)| Some((path, path.value(root)?)))
    }
}
