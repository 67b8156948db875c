//! `timm.scheduler.PlateauLRScheduler`: PyTorch's `ReduceLROnPlateau` after a warm-up, with noise.

use super::base::{noise, range, update_groups};
use crate::lr_scheduler::prelude::*;
use crate::lr_scheduler::reduce_lr_on_plateau::{PlateauMode, ReduceLROnPlateau, check, judge};

options! {
    /// `PlateauLRScheduler(optimizer, decay_rate, patience_t, ...)`: times `decay_rate` after `patience_t` epochs without a better
    /// metric.
    ///
    /// Its state dict has the best metric and how many were told, and nothing else, so that timm begins to count anew when it goes
    /// on. Who knows the counts says them: `num_bad_epochs` and `cooldown_counter` are no arguments of timm's.
    #[derive(PartialEq)]
    pub struct PlateauLRScheduler;

    /// The factor, below 1. Default 0.1.
    decay_rate: f64 = 0.1,
    /// How many epochs without a better metric are borne. Default 10.
    patience_t: i64 = 10,
    /// By which part of the best metric one must be better to count. Default 1e-4.
    threshold: f64 = 1e-4,
    /// Epochs after a change in which none is counted. Default 0.
    cooldown_t: i64 = 0,
    /// Epochs until the whole learning rate, in which no metric counts. Default 0.
    warmup_t: i64 = 0,
    /// The learning rate that it begins with, if there is a warm-up. Default 0.
    warmup_lr_init: f64 = 0.0,
    /// The lowest learning rate. Default 0.
    lr_min: f64 = 0.0,
    /// Which metric is better. Default: a higher one.
    mode: PlateauMode = PlateauMode::Max,
    /// From which epoch on the rates are noisy, and until which if there are two. Default `None`: never.
    noise_range_t(impl Into<Vec<i64>> => Some): Option<Vec<i64>> = None,
    /// `"normal"`, else uniform. Default: normal.
    noise_type(impl Into<String>): String = "normal".to_owned(),
    /// The most that the noise is, as a part of the rate. Default 0.67.
    noise_pct: f64 = 0.67,
    /// The standard deviation of the noise. Default 1.
    noise_std: f64 = 1.0,
    /// What the noise of an epoch is drawn by, with that added. Default 42.
    noise_seed: i64 = 42,
    /// How many epochs in a row were no better. Default 0.
    num_bad_epochs: i64 = 0,
    /// For how many epochs none is counted yet. Default 0.
    cooldown_counter: i64 = 0,
}

/// All that timm saves.
const KEPT: &[&str] = &["best", "last_epoch"];

impl Options for PlateauLRScheduler {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let plateau = ReduceLROnPlateau::default()
            .mode(self.mode)
            .factor(self.decay_rate)
            .patience(self.patience_t)
            .threshold(self.threshold)
            .cooldown(self.cooldown_t)
            .min_lr(self.lr_min);
        let (mut entries, others): (Entries, Entries) =
            plateau.attributes(groups, -1)?.into_iter().partition(|(name, _)| KEPT.contains(name));
        // timm's order.
        entries.reverse();
        let counts = [("num_bad_epochs", self.num_bad_epochs), ("cooldown_counter", self.cooldown_counter)];
        let others = others.into_iter().map(|(name, value)| {
            let said = counts.iter().find(|(count, _)| *count == name).map(|(_, said)| Value::from(*said));
            (name, said.unwrap_or(value))
        });
        entries.extend(others);
        let base =
            |group: &ParamGroup| if group.contains("initial_lr") { group.float("initial_lr") } else { group.lr() };
        let bases = groups.iter().map(base).collect::<Result<Vec<f64>>>()?;
        entries.extend([
            ("base_values", bases.into()),
            ("warmup_t", self.warmup_t.into()),
            ("warmup_lr_init", self.warmup_lr_init.into()),
            ("noise_range_t", range(self.noise_range_t.clone().into())),
            ("noise_type", (&*self.noise_type).into()),
            ("noise_pct", self.noise_pct.into()),
            ("noise_std", self.noise_std.into()),
            ("noise_seed", self.noise_seed.into()),
        ]);
        Ok(entries)
    }

    fn unsaved(&self, groups: &[ParamGroup]) -> Result<Entries> {
        let all = self.attributes(&mut groups.to_vec(), -1)?;
        Ok(all.into_iter().filter(|(name, _)| !KEPT.contains(name)).collect())
    }
}

pub(in crate::lr_scheduler) struct TimmPlateau;

/// The rates of an epoch of the warm-up.
fn warm_up(attributes: &Attributes, epoch: i64) -> Result<Vec<f64>> {
    let (from, length) = (attributes.float("warmup_lr_init")?, attributes.int("warmup_t")?);
    let step = |base: f64| if length == 0 { 1.0 } else { (base - from) / real(length) };
    Ok(attributes.floats("base_values")?.into_iter().map(|base| from + real(epoch) * step(base)).collect())
}

fn to(scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: i64, metric: Option<f64>) -> Result<()> {
    scheduler.position = Some(epoch);
    let attributes = &mut scheduler.attributes;
    if epoch <= attributes.int("warmup_t")? {
        return update_groups(groups, warm_up(attributes, epoch)?);
    }
    if attributes.get("restore_lr").is_some_and(|before| before.items().is_some()) {
        for (group, lr) in groups.iter_mut().zip(attributes.floats("restore_lr")?) {
            group.set("lr", lr);
        }
        attributes.set("restore_lr", Value::None);
    }
    if let Some(metric) = metric {
        judge(attributes, groups, metric)?;
    }
    if let Some(noise) = noise(attributes, epoch)? {
        let before = groups.iter().map(ParamGroup::lr).collect::<Result<Vec<f64>>>()?;
        for (group, lr) in groups.iter_mut().zip(&before) {
            group.set("lr", lr + lr * noise);
        }
        attributes.set("restore_lr", before);
    }
    Ok(())
}

impl Rule for TimmPlateau {
    fn by_metric(&self) -> bool {
        true
    }

    fn kept(&self) -> Option<&'static [&'static str]> {
        Some(KEPT)
    }

    fn told_position(&self) -> bool {
        true
    }

    /// The epoch that it was stepped to: with a metric after each epoch past the warm-up.
    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        let told = scheduler.attributes.int("last_epoch").unwrap_or(0);
        let warmup_t = scheduler.attributes.int("warmup_t").unwrap_or(0);
        scheduler.position.or_else(|| (told > 0 || warmup_t == 0).then(|| told.saturating_add(warmup_t)))
    }

    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        put_initial("lr", groups)?;
        let attributes = &scheduler.attributes;
        update_groups(groups, attributes.floats("base_values")?)?;
        if attributes.int("warmup_t")? != 0 {
            let from = attributes.float("warmup_lr_init")?;
            update_groups(groups, std::iter::repeat_n(from, groups.len()).collect::<Vec<_>>())?;
        }
        scheduler.position = Some(0);
        Ok(())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        if !attributes.contains("patience") {
            return Err(invalid(
                "the state of timm's PlateauLRScheduler keeps neither its options nor for how many epochs the metric was no \
                 better; go on with the schedule that it was made with, such as \
                 `PlateauLRScheduler(decay_rate=0.1, patience_t=10, num_bad_epochs=0)` (`ResumeOptions::schedule`)",
            ));
        }
        for name in ["warmup_t", "noise_seed"] {
            attributes.int(name)?;
        }
        for name in ["warmup_lr_init", "noise_pct", "noise_std"] {
            attributes.float(name)?;
        }
        attributes.floats("base_values")?;
        check(attributes, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        let Some(position) = self.position(scheduler) else {
            return Err(invalid(
                "the state of timm's PlateauLRScheduler does not say how far it has come in its warm-up; say it \
                 (`LRScheduler::set_position`)",
            ));
        };
        to(scheduler, groups, position.saturating_add(1), metric)
    }

    /// Within the warm-up: what comes later depends on metrics.
    fn step_to(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: f64) -> Result<()> {
        let warmup_t = scheduler.attributes.int("warmup_t")?;
        if epoch.fract() != 0.0 || !(0.0..=real(warmup_t)).contains(&epoch) {
            return Err(invalid(format!("PlateauLRScheduler cannot be stepped to {epoch} without its metrics")));
        }
        #[allow(clippy::cast_possible_truncation)]
        to(scheduler, groups, epoch as i64, None)
    }
}
