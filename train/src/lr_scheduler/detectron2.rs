//! `detectron2.solver`: `WarmupMultiStepLR`, which maskrcnn-benchmark has as well, `WarmupCosineLR`, and `LRMultiplier`, which
//! goes by one of fvcore's schedulers.

use super::param_scheduler::ParamScheduler;
use super::prelude::*;

options! {
    /// `WarmupMultiStepLR(optimizer, milestones, gamma, warmup_factor, warmup_iters, warmup_method)`: a warm-up, and times
    /// `gamma` at each of the milestones. maskrcnn-benchmark's default for `warmup_factor` is 1/3, and for `warmup_iters` 500.
    #[derive(PartialEq)]
    pub struct WarmupMultiStepLR;

    /// At each of the milestones, times 0.1.
    pub fn new(
        /// Steps, in ascending order.
        milestones(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
    /// The part of the learning rate that it begins with. Default 0.001.
    warmup_factor: f64 = 0.001,
    /// Steps until the whole. Default 1000.
    warmup_iters: i64 = 1000,
    /// `"linear"` or `"constant"`. Default: linear.
    warmup_method(impl Into<String>): String = "linear".to_owned(),
}

options! {
    /// `WarmupCosineLR(optimizer, max_iters, warmup_factor, warmup_iters, warmup_method)`: half a cosine wave down to 0, times
    /// a warm-up.
    #[derive(PartialEq)]
    pub struct WarmupCosineLR;

    /// Down to 0 in `max_iters` steps.
    pub fn new(
        /// Steps to 0.
        max_iters: i64,
    );

    /// The part of the learning rate that it begins with. Default 0.001.
    warmup_factor: f64 = 0.001,
    /// Steps until the whole. Default 1000.
    warmup_iters: i64 = 1000,
    /// `"linear"` or `"constant"`. Default: linear.
    warmup_method(impl Into<String>): String = "linear".to_owned(),
}

/// `LRMultiplier(optimizer, multiplier, max_iter)`: the initial learning rate times what one of fvcore's schedulers says of
/// the part of `max_iter` steps that is done. Its state dict has neither: a run that goes on needs them again.
#[derive(Clone, Debug)]
pub struct LRMultiplier {
    multiplier: ParamScheduler,
    max_iter: i64,
}

impl LRMultiplier {
    /// By this scheduler of fvcore's, in so many steps.
    #[must_use]
    pub fn new(multiplier: ParamScheduler, max_iter: i64) -> Self {
        LRMultiplier { multiplier, max_iter }
    }
}

/// detectron2's `SOLVER.WARMUP_FACTOR`, `SOLVER.WARMUP_ITERS`, ...: the warm-up before any of its schedules.
#[derive(Clone, Copy, Debug)]
pub(super) struct SolverWarmup {
    pub(super) factor: f64,
    pub(super) iters: i64,
    /// Or constant.
    pub(super) linear: bool,
    pub(super) rescale_interval: bool,
}

impl SolverWarmup {
    /// `build_lr_scheduler(cfg, optimizer)` for a schedule of so many steps.
    fn before(self, scheduler: ParamScheduler, max_iter: i64) -> Result<LRMultiplier> {
        let length = (real(self.iters) / real(max_iter)).min(1.0);
        let whole = ParamScheduler::warmup(scheduler, self.factor, length, self.linear, self.rescale_interval);
        let refused = || invalid("detectron2's schedule has no learning rate where its warm-up ends");
        whole.filter(|_| max_iter > 0).map(|multiplier| LRMultiplier::new(multiplier, max_iter)).ok_or_else(refused)
    }

    /// `SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"`.
    pub(super) fn multi_step(self, steps: Vec<i64>, max_iter: i64, gamma: f64) -> Result<LRMultiplier> {
        let milestones: Vec<i64> = steps.into_iter().filter(|&step| step <= max_iter).collect();
        let powers = (0_i64..).take(milestones.len() + 1).map(|k| power(gamma, real(k)));
        let values = powers.collect::<Computed<_>>().map_err(|_| invalid("gamma has no such powers"))?;
        self.before(ParamScheduler::MultiStep { values, num_updates: max_iter, milestones }, max_iter)
    }

    /// `SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"`, down to this part of the learning rate.
    pub(super) fn cosine(self, max_iter: i64, end_value: f64) -> Result<LRMultiplier> {
        self.before(ParamScheduler::Cosine { start_value: 1.0, end_value }, max_iter)
    }
}

impl Options for WarmupMultiStepLR {
    fn check(&self) -> Result<()> {
        if self.milestones.is_sorted() { Ok(()) } else { Err(invalid("WarmupMultiStepLR's milestones must ascend")) }
    }
}

impl Options for WarmupCosineLR {}

impl Fields for LRMultiplier {}

impl InWords for LRMultiplier {}

impl Options for LRMultiplier {
    fn check(&self) -> Result<()> {
        if self.max_iter == 0 { Err(invalid("LRMultiplier's max_iter must not be 0")) } else { Ok(()) }
    }

    fn functions(&self, _groups: usize) -> Result<Vec<Function>> {
        let LRMultiplier { multiplier, max_iter } = self.clone();
        Ok(vec![Function::new(move |epoch| multiplier.at(real(epoch) / real(max_iter)).unwrap_or(f64::NAN))])
    }
}

/// `_get_warmup_factor_at_iter()`.
struct Warmup {
    linear: bool,
    factor: f64,
    iters: i64,
}

impl Warmup {
    fn read(attributes: &Attributes) -> Result<Self> {
        let linear = match &*attributes.text("warmup_method")? {
            "linear" => true,
            "constant" => false,
            other => {
                return Err(invalid(format!("the warm-up is '{other}', where 'linear' or 'constant' is expected")));
            }
        };
        let (factor, iters) = (attributes.float("warmup_factor")?, attributes.int("warmup_iters")?);
        Ok(Warmup { linear, factor, iters })
    }

    fn factor(&self, epoch: i64) -> Computed<f64> {
        if epoch >= self.iters {
            return Ok(1.0);
        }
        if !self.linear {
            return Ok(self.factor);
        }
        let alpha = divide(real(epoch), real(self.iters))?;
        Ok(self.factor * (1.0 - alpha) + alpha)
    }
}

pub(super) struct WarmupMultiStep {
    milestones: Vec<i64>,
    gamma: f64,
    warmup: Warmup,
}

impl Formula for WarmupMultiStep {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        let (milestones, gamma) = (attributes.ints("milestones")?, attributes.float("gamma")?);
        Ok(WarmupMultiStep { milestones, gamma, warmup: Warmup::read(attributes)? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let passed = self.milestones.partition_point(|milestone| *milestone <= now.epoch);
        let decayed = power(self.gamma, real(i64::try_from(passed).unwrap_or(i64::MAX)))?;
        Ok(now.base()? * self.warmup.factor(now.epoch)? * decayed)
    }

    const STEPPED_BY: Option<SteppedBy> = Some(SteppedBy::Step);
}

pub(super) struct WarmupCosine {
    max_iters: i64,
    warmup: Warmup,
}

impl Formula for WarmupCosine {
    fn read(given: &Given) -> Computed<Self> {
        let max_iters = given.attributes.int("max_iters")?;
        Ok(WarmupCosine { max_iters, warmup: Warmup::read(given.attributes)? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let part = divide(PI * real(now.epoch), real(self.max_iters))?;
        Ok(now.base()? * self.warmup.factor(now.epoch)? * 0.5 * (1.0 + part.cos()))
    }

    const STEPPED_BY: Option<SteppedBy> = Some(SteppedBy::Step);
}

/// With the function that fvcore's scheduler is.
pub(super) struct Multiplier(Function);

impl Formula for Multiplier {
    fn read(given: &Given) -> Computed<Self> {
        given.functions.first().cloned().map(Multiplier).ok_or_else(|| {
            Failure::Refused(invalid(
                "LRMultiplier goes by one of fvcore's schedulers, which no file holds: detectron2's are made of \
                 SOLVER.LR_SCHEDULER_NAME and what belongs to it, here detectron2.multi_step(STEPS, MAX_ITER, ..) and \
                 detectron2.cosine(MAX_ITER, ..)",
            ))
        })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let factor = self.0.call(now.epoch);
        if factor.is_nan() {
            return Err(Failure::NoNumber("fvcore's scheduler has come to its end".to_owned()));
        }
        Ok(now.base()? * factor)
    }

    const STEPPED_BY: Option<SteppedBy> = Some(SteppedBy::Step);

    fn complete(attributes: &mut Attributes) {
        let steps = attributes.int("last_epoch").unwrap_or_default().saturating_add(1);
        attributes.set_default("_step_count", steps);
        attributes.set_default("_is_initial", false);
    }

    const KEPT: Option<&'static [&'static str]> = Some(&["base_lrs", "last_epoch"]);
}
