//! The cycles of timm's cosine, polynomial and tanh schedules: where in which an epoch or update is.

use crate::lr_scheduler::prelude::*;

/// `t_initial`, `lr_min`, `cycle_mul`, `cycle_decay` and `cycle_limit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycles {
    t_initial: f64,
    pub(super) lr_min: f64,
    cycle_mul: f64,
    cycle_decay: f64,
    cycle_limit: f64,
}

/// Where an epoch or update is: so far into a cycle of such a length, that begins with such a part of the first rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) t: f64,
    pub(super) length: f64,
    pub(super) height: f64,
}

impl Cycles {
    pub(super) fn read(attributes: &Attributes) -> Computed<Self> {
        let cycles = Cycles {
            t_initial: attributes.float("t_initial")?,
            lr_min: attributes.float("lr_min")?,
            cycle_mul: attributes.float("cycle_mul")?,
            cycle_decay: attributes.float("cycle_decay")?,
            cycle_limit: attributes.float("cycle_limit")?,
        };
        if cycles.t_initial > 0.0 && cycles.lr_min >= 0.0 {
            return Ok(cycles);
        }
        let Cycles { t_initial, lr_min, .. } = cycles;
        Err(invalid(format!("t_initial must be above 0 and lr_min not below 0, and they are {t_initial} and {lr_min}"))
            .into())
    }

    /// `None` once all cycles are over, where the rate is `lr_min`.
    #[allow(clippy::float_cmp)]
    pub(super) fn place(&self, t: i64) -> Computed<Option<Place>> {
        let (t, first, factor) = (real(t), self.t_initial, self.cycle_mul);
        let (cycle, length, within) = if factor == 1.0 {
            let cycle = (t / first).floor();
            (cycle, first, t - first * cycle)
        } else {
            let cycle = divide((1.0 - t / first * (1.0 - factor)).ln(), factor.ln())?.floor();
            let grown = power(factor, cycle)?;
            (cycle, grown * first, t - divide(1.0 - grown, 1.0 - factor)? * first)
        };
        let height = power(self.cycle_decay, cycle)?;
        Ok((cycle < self.cycle_limit).then_some(Place { t: within, length, height }))
    }

    /// Each group's rate: `lr_min`, and what is left of its way down from the cycle's height, as `left` says.
    pub(super) fn rates(
        &self,
        t: i64,
        bases: &[f64],
        left: impl Fn(&Place, f64) -> Computed<f64>,
    ) -> Computed<Vec<f64>> {
        let Some(place) = self.place(t)? else { return Ok(vec![self.lr_min; bases.len()]) };
        bases.iter().map(|base| Ok(self.lr_min + left(&place, base * place.height - self.lr_min)?)).collect()
    }
}

/// Options of a schedule of cycles: the class, what comes before the cycles' own options, and what after.
macro_rules! cycle_options {
    ($(#[$about:meta])* pub struct $name:ident; [$($before:tt)*] [$($after:tt)*]) => {
        $crate::lr_scheduler::timm::base::timm_options! {
            $(#[$about])*
            pub struct $name;

            /// One cycle of `t_initial` epochs or updates.
            pub fn new(
                /// The length of the first cycle.
                t_initial: i64,
            );

            $($before)*
            /// The lowest learning rate. Default 0.
            lr_min: f64 = 0.0,
            /// How many times as long each cycle is than the one before. Default 1.
            cycle_mul: f64 = 1.0,
            /// Which part of its height each cycle has of the one before. Default 1.
            cycle_decay: f64 = 1.0,
            /// How many cycles there are; `lr_min` follows. Default 1.
            cycle_limit: i64 = 1,
            /// Epochs or updates until the whole learning rate. Default 0.
            warmup_t: i64 = 0,
            /// The learning rate that it begins with, if there is a warm-up. Default 0.
            warmup_lr_init: f64 = 0.0,
            /// Whether the rest begins to count after the warm-up. Default false.
            warmup_prefix: bool = false,
            $($after)*
        }
    };
}
pub(super) use cycle_options;
