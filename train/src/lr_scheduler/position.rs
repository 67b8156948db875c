//! What can be asked of a scheduler before it is stepped: where it stands, what it is stepped by, and the rates to come.

use rekindle_recorder::{Result, Value};

use super::kind::SchedulerKind;
use super::options::SteppedBy;
use super::scheduler::LRScheduler;
use crate::attributes::invalid;
use crate::call::shown;
use crate::optim::ParamGroup;

impl LRScheduler {
    /// How far it has come: `last_epoch`, which counts steps where it is stepped with the optimizer; for a
    /// `ChainedScheduler` that of its first scheduler, for mmengine's `_global_step`. `None` where neither the state nor
    /// anybody has said it: see [`set_position`](Self::set_position).
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        self.class.rule.position(self)
    }

    /// Says how far it has come, for a scheduler whose state does not: timm's, whose count is the epoch or update that was
    /// begun last. No learning rate changes.
    pub fn set_position(&mut self, position: i64) {
        self.position = Some(position);
    }

    /// Whether it cannot go on before its position is said.
    #[must_use]
    pub fn needs_position(&self) -> bool {
        self.class.rule.told_position() && self.position().is_none()
    }

    /// How often `step()` was called, the constructor's included: `_step_count`. `None` where the class does not count.
    #[must_use]
    pub fn step_count(&self) -> Option<i64> {
        self.attributes.int("_step_count").ok()
    }

    /// What it is stepped by, where its class or its state says so: `None` where it may be steps or epochs.
    #[must_use]
    pub fn stepped_by(&self) -> Option<SteppedBy> {
        match self.class.rule.stepped_by(self) {
            None if self.counts_events() => None,
            None if self.is_fractional() => Some(SteppedBy::Fraction),
            None => self.children.iter().find_map(LRScheduler::stepped_by),
            known => known,
        }
    }

    /// Whether it is stepped by parts of epochs: its epoch is a `float`, as no whole epochs make it.
    #[must_use]
    pub fn is_fractional(&self) -> bool {
        self.fraction().is_some() || matches!(self.attributes.get("T_cur"), Some(Value::Float(_))) && !self.is_divided()
    }

    /// Whether it was stepped to an epoch, and that may have been a whole one: after a period that was longer than the one
    /// before, PyTorch's division makes a `float` of it in either case.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        let number = |name: &str| self.attributes.float(name).unwrap_or(0.0);
        let later = number("T_mult") > 1.0 && number("last_epoch") >= number("T_0");
        self.fraction().is_none() && later && matches!(self.attributes.get("T_cur"), Some(Value::Float(_)))
    }

    /// The epoch with its part that it was stepped to last, where that was not whole: a `CosineAnnealingWarmRestarts` with
    /// such a `T_cur`.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let Some(Value::Float(within)) = self.attributes.get("T_cur") else { return None };
        let part = within.rem_euclid(1.0);
        let whole = self.attributes.float("last_epoch").ok()?;
        (part != 0.0).then_some(whole + part)
    }

    /// Whether the groups have the learning rates that it sets at a position, to the last digits: whoever set them stood
    /// there. Only for a scheduler whose state [does not say](Self::needs_position) how far it has come.
    #[must_use]
    pub fn stands_at(&self, position: i64, groups: &[ParamGroup]) -> bool {
        self.standing(groups, position..=position).next().is_some()
    }

    /// The positions in a range at which the groups have the learning rates that it sets.
    pub fn standing<'a>(
        &'a self,
        groups: &'a [ParamGroup],
        positions: impl IntoIterator<Item = i64> + 'a,
    ) -> impl Iterator<Item = i64> + 'a {
        let (mut there, mut set) = (self.clone(), groups.to_vec());
        positions.into_iter().filter(move |&position| {
            #[allow(clippy::cast_precision_loss)]
            let stepped = there.class.rule.step_to(&mut there, &mut set, position as f64);
            stepped.is_ok()
                && set.iter().zip(groups).all(|(set, found)| match (set.lr(), found.lr()) {
                    (Ok(set), Ok(found)) => (set - found).abs() <= 1e-13 * found.abs(),
                    _ => false,
                })
        })
    }

    /// The name of the metric that it goes by, where its state has one: mmengine's `monitor`.
    #[must_use]
    pub fn monitor(&self) -> Option<String> {
        self.attributes.text("monitor").ok().filter(|_| self.class.rule.by_metric())
    }

    /// Whether its state says that it counts epochs.
    pub(crate) fn counts_epochs(&self) -> bool {
        self.attributes.flag("by_epoch").is_ok_and(|by_epoch| by_epoch) || self.class.package == "timm.scheduler"
    }

    /// Whether its state belongs into a checkpoint. nanoGPT's loop, for one, keeps none.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.class.rule.is_saved()
    }

    /// The learning rates of each group after each of the next steps, with nothing changed: `rates[step][group]`.
    ///
    /// # Errors
    /// As [`step`](Self::step), if one of the steps cannot be made; and for a scheduler that goes by a metric.
    pub fn preview(&self, groups: &[ParamGroup], steps: usize) -> Result<Vec<Vec<f64>>> {
        let mut rates = Vec::new();
        self.ahead(groups, steps, |groups| {
            rates.push(groups.iter().map(ParamGroup::lr).collect::<Result<_>>()?);
            Ok(())
        })?;
        Ok(rates)
    }

    /// The rates that it comes to by itself where it stands, if each follows from the one before, and few enough were made to look at
    /// all of them.
    pub(crate) fn by_itself(&self, groups: &[ParamGroup]) -> Option<Vec<f64>> {
        const CHAINED: [SchedulerKind; 7] = [
            SchedulerKind::StepLR,
            SchedulerKind::MultiStepLR,
            SchedulerKind::ConstantLR,
            SchedulerKind::LinearLR,
            SchedulerKind::PolynomialLR,
            SchedulerKind::CosineAnnealingLR,
            SchedulerKind::ExponentialLR,
        ];
        let steps =
            self.last_epoch().ok().filter(|steps| CHAINED.contains(&self.kind()) && (0..=10_000).contains(steps))?;
        let bases = self.attributes.get("base_lrs")?.items()?;
        let (mut again, mut groups) = (self.clone(), groups.get(..bases.len())?.to_vec());
        groups.iter_mut().zip(bases).for_each(|(group, base)| group.set("lr", base));
        again.attributes.set("last_epoch", -1);
        again.initial_step(&mut groups).ok()?;
        for _ in 0..steps {
            again.step_groups(&mut groups, None).ok()?;
        }
        groups.iter().map(|group| group.lr().ok()).collect()
    }

    /// Whether so many steps can be made, such as beyond the end of a `OneCycleLR`; nothing is changed.
    ///
    /// # Errors
    /// As [`preview`](Self::preview). The error says at which step.
    pub fn check_steps(&self, groups: &[ParamGroup], steps: usize) -> Result<()> {
        self.ahead(groups, steps, |_| Ok(()))
    }

    /// Whether the next step sets an entry of a group to what does not depend on what it is now. Not where nobody can tell.
    pub(crate) fn sets_anew(&self, groups: &[ParamGroup], place: usize, key: &str) -> bool {
        let after = |groups: &[ParamGroup]| {
            let mut found = None;
            let stepped = self.ahead(groups, 1, |groups| {
                found = groups.get(place).and_then(|group| group.get(key).map(shown));
                Ok(())
            });
            stepped.ok().and(found)
        };
        let mut others = groups.to_vec();
        let Some(group) = others.get_mut(place) else { return false };
        match group.get(key).map(|value| (value.items(), value.as_f64())) {
            Some((Some(items), _)) => {
                let other = items.into_iter().map(|item| item.as_f64().map_or(item, |number| (number / 2.0).into()));
                let other: Vec<Value> = other.collect();
                group.set(key, Value::tuple(other));
            }
            Some((None, Some(number))) => group.set_float(key, number / 2.0 + 0.25),
            _ => match group.float(key) {
                Ok(number) => group.set_float(key, number / 2.0 + 0.25),
                Err(_) => return false,
            },
        }
        matches!((after(groups), after(&others)), (Some(one), Some(other)) if one == other)
    }

    fn ahead(
        &self,
        groups: &[ParamGroup],
        steps: usize,
        mut see: impl FnMut(&[ParamGroup]) -> Result<()>,
    ) -> Result<()> {
        if self.class.rule.by_metric() {
            let name = self.class.name;
            return Err(invalid(format!("{name} goes by a metric, so that its rates cannot be told beforehand")));
        }
        let (mut next, mut groups) = (self.clone(), groups.to_vec());
        next.check(groups.len())?;
        for _ in 0..steps {
            next.step_groups(&mut groups, None)?;
            see(&groups)?;
        }
        Ok(())
    }
}
