//! mmengine's schedulers that multiply the value that is there: `StepParamScheduler`, `MultiStepParamScheduler`,
//! `ExponentialParamScheduler`, `ConstantParamScheduler` and `LinearParamScheduler`.

use super::base::{Here, Values, common, mmengine_options};
use crate::lr_scheduler::multi_step_lr::{count, counter};
use crate::lr_scheduler::prelude::*;

mmengine_options! {
    /// `StepParamScheduler(optimizer, param_name, step_size, gamma, ...)`: times `gamma` every `step_size` steps.
    #[derive(PartialEq)]
    pub struct StepParamScheduler;

    /// Every `step_size` steps, times 0.1.
    pub fn new(
        /// Steps from one change to the next.
        step_size: i64,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
}

mmengine_options! {
    /// `MultiStepParamScheduler(optimizer, param_name, milestones, gamma, ...)`: times `gamma` at each of the milestones.
    #[derive(PartialEq)]
    pub struct MultiStepParamScheduler;

    /// At each of the milestones, times 0.1.
    pub fn new(
        /// Steps, counted from `begin`.
        milestones(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
}

mmengine_options! {
    /// `ExponentialParamScheduler(optimizer, param_name, gamma, ...)`: times `gamma` every step.
    #[derive(PartialEq)]
    pub struct ExponentialParamScheduler;

    /// Every step times `gamma`.
    pub fn new(
        /// The factor.
        gamma: f64,
    );
}

mmengine_options! {
    /// `ConstantParamScheduler(optimizer, param_name, factor, ...)`: times `factor` until the last step before `end`.
    #[derive(PartialEq)]
    pub struct ConstantParamScheduler;

    /// From 0 to 1. Default 1/3.
    factor: f64 = 1.0 / 3.0,
}

mmengine_options! {
    /// `LinearParamScheduler(optimizer, param_name, start_factor, end_factor, ...)`: from the one to the other part of the value
    /// in equal steps.
    #[derive(PartialEq)]
    pub struct LinearParamScheduler;

    /// From 0 to 1. Default 1/3.
    start_factor: f64 = 1.0 / 3.0,
    /// From 0 to 1. Default 1.
    end_factor: f64 = 1.0,
}

impl Options for StepParamScheduler {}

impl Values for StepParamScheduler {
    fn read(attributes: &Attributes) -> Computed<Self> {
        match attributes.int("step_size")? {
            0 => Err(invalid("StepParamScheduler's step_size must not be 0").into()),
            step_size => Ok(StepParamScheduler::new(step_size).gamma(attributes.float("gamma")?)),
        }
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        let waits = now.step == 0 || now.step.wrapping_rem(self.step_size) != 0;
        Ok((!waits).then_some(now.value * self.gamma))
    }
}

impl Options for MultiStepParamScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(with(self.entries(), [("milestones", counter(&self.milestones))]))
    }
}

/// With the milestones as the state dict has them.
pub(in crate::lr_scheduler) struct MmMultiStep {
    milestones: Value,
    gamma: f64,
}

impl Values for MmMultiStep {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let milestones = attributes.get("milestones").cloned().unwrap_or(Value::None);
        if count(&milestones, 0).is_none() {
            return Err(invalid("MultiStepParamScheduler's milestones are no Counter of ints").into());
        }
        Ok(MmMultiStep { milestones, gamma: attributes.float("gamma")? })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        match count(&self.milestones, now.step) {
            None | Some(0) => Ok(None),
            Some(times) => Ok(Some(now.value * power(self.gamma, real(times))?)),
        }
    }
}

impl Options for ExponentialParamScheduler {}

impl Values for ExponentialParamScheduler {
    fn read(attributes: &Attributes) -> Computed<Self> {
        Ok(ExponentialParamScheduler::new(attributes.float("gamma")?))
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        Ok((now.step != 0).then_some(now.value * self.gamma))
    }
}

/// `total_iters` of those that have it.
fn total_iters(begin: i64, end: i64) -> Value {
    end.saturating_sub(begin).saturating_sub(1).into()
}

impl Options for ConstantParamScheduler {
    fn check(&self) -> Result<()> {
        from_0_to_1("ConstantParamScheduler's factor", self.factor)
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let own = [("factor", self.factor.into()), ("total_iters", total_iters(self.begin, self.end))];
        Ok(own.into_iter().chain(common(self)).collect())
    }
}

pub(in crate::lr_scheduler) struct MmConstant {
    factor: f64,
    total_iters: i64,
}

impl Values for MmConstant {
    fn read(attributes: &Attributes) -> Computed<Self> {
        Ok(MmConstant { factor: attributes.float("factor")?, total_iters: attributes.int("total_iters")? })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        if now.step == 0 {
            Ok(Some(now.value * self.factor))
        } else if now.step == self.total_iters {
            Ok(Some(now.value * divide(1.0, self.factor)?))
        } else {
            Ok(None)
        }
    }
}

impl Options for LinearParamScheduler {
    fn check(&self) -> Result<()> {
        from_0_to_1("LinearParamScheduler's start_factor", self.start_factor)?;
        from_0_to_1("LinearParamScheduler's end_factor", self.end_factor)
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let own = [
            ("start_factor", self.start_factor.into()),
            ("end_factor", self.end_factor.into()),
            ("total_iters", total_iters(self.begin, self.end)),
        ];
        Ok(own.into_iter().chain(common(self)).collect())
    }
}

pub(in crate::lr_scheduler) struct MmLinear {
    start: f64,
    end: f64,
    total_iters: f64,
}

impl Values for MmLinear {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let (start, end) = (attributes.float("start_factor")?, attributes.float("end_factor")?);
        Ok(MmLinear { start, end, total_iters: attributes.float("total_iters")? })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        if now.step == 0 {
            return Ok(Some(now.value * self.start));
        }
        let grown = self.end - self.start;
        let before = self.total_iters * self.start + real(now.step.saturating_sub(1)) * grown;
        Ok(Some(now.value * (1.0 + divide(grown, before)?)))
    }
}
