//! Schedulers that are stepped to parts of epochs, `scheduler.step(epoch + batch / batches)`: from where one stands to where the
//! next batch brings it, to the last bit.

use rekindle_recorder::{Result, Value};

use super::formula::real;
use super::scheduler::LRScheduler;
use crate::attributes::invalid;
use crate::optim::{Optimizer, ParamGroup};

/// How PyTorch's users compute the epoch after so many batches in all: the two are not always the same number.
const WAYS: [fn(i64, i64) -> f64; 2] =
    [|batches, of| real(batches / of) + real(batches % of) / real(of), |batches, of| real(batches) / real(of)];

impl LRScheduler {
    /// Whether it can be stepped to parts of epochs: a `CosineAnnealingWarmRestarts`.
    #[must_use]
    pub fn takes_parts(&self) -> bool {
        self.attributes.contains("T_cur")
    }

    /// `scheduler.step(epoch + batch / per_epoch)`, for the batch after the one that it was stepped with last.
    ///
    /// ```
    /// # use rekindle_train::lr_scheduler::{CosineAnnealingWarmRestarts, LRScheduler};
    /// # use rekindle_train::optim::{Optimizer, SgdOptions};
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&burn::tensor::Device::flex().autodiff());
    /// # let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.1))?;
    /// let mut scheduler = LRScheduler::new(CosineAnnealingWarmRestarts::new(2), &mut optimizer)?;
    /// scheduler.step_to(1.0 + 2.0 / 8.0, &mut optimizer)?;
    /// scheduler.step_part(8, &mut optimizer)?;
    /// assert_eq!(scheduler.fraction(), Some(1.0 + 3.0 / 8.0));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`step_to`](Self::step_to), and when it stands between two batches.
    pub fn step_part(&mut self, per_epoch: i64, optimizer: &mut Optimizer) -> Result<()> {
        let (epoch, way) = self.next_part(per_epoch, optimizer.param_groups())?;
        self.way = way;
        self.step_to(epoch, optimizer)
    }

    /// Whether [`step_part`](Self::step_part) can be made; nothing is changed.
    ///
    /// # Errors
    /// As [`step_part`](Self::step_part).
    pub fn check_part(&self, per_epoch: i64, groups: &[ParamGroup]) -> Result<()> {
        self.next_part(per_epoch, groups).map(drop)
    }

    /// The epoch that comes next, and which of the ways it is computed in, where that is told by now.
    fn next_part(&self, per_epoch: i64, groups: &[ParamGroup]) -> Result<(f64, Option<usize>)> {
        let Some(within) = self.attributes.get("T_cur").and_then(Value::as_f64) else {
            return Err(self.no_epochs());
        };
        let at = self.attributes.float("last_epoch")? + within.rem_euclid(1.0);
        let batches = (at * real(per_epoch)).round();
        if per_epoch < 1 || (at * real(per_epoch) - batches).abs() > 1e-6 {
            return Err(invalid(format!(
                "{} stands at epoch {at}, which is between two steps where an epoch has {per_epoch} of them; say how many it \
                 had (`Run::steps_per_epoch`)",
                self.class.name
            )));
        }
        #[allow(clippy::cast_possible_truncation)] // it is whole, and far below 2^53
        let batches = batches as i64;
        let lands = |way: &fn(i64, i64) -> f64| {
            let (mut there, mut groups) = (self.clone(), groups.to_vec());
            let stepped = there.class.rule.step_to(&mut there, &mut groups, way(batches, per_epoch));
            stepped.is_ok() && there.attributes.get("T_cur").and_then(Value::as_f64) == Some(within)
        };
        let told = || {
            if let [true, false] | [false, true] = WAYS.each_ref().map(lands) {
                WAYS.iter().position(lands)
            } else {
                None
            }
        };
        let way = self.way.or_else(told);
        Ok((WAYS[way.unwrap_or(0)](batches.saturating_add(1), per_epoch), way))
    }
}
