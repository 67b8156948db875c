//! `Paths`: where the parts of a run are in a checkpoint.

use crate::run::path::KeyPath;
use crate::run::several::RunPart;
use crate::run::spellings::Role;
use crate::{Error, Result, Value};

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
