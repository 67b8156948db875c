//! `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`: half a cosine wave down, and down again from the top, each time as
//! long as before or longer.

use super::prelude::*;

options! {
    /// `CosineAnnealingWarmRestarts(optimizer, T_0, T_mult, eta_min)`: down to `eta_min` in `t_0` epochs, then from the top in
    /// `t_mult` times as many, and so on.
    #[derive(Copy, PartialEq)]
    pub struct CosineAnnealingWarmRestarts;

    /// Down to 0 every `t_0` epochs.
    pub fn new(
        /// Epochs until the first restart: `T_0`.
        t_0: i64,
    );

    /// How many times as long each period is than the one before: `T_mult`. Default 1.
    t_mult: i64 = 1,
    /// The lowest learning rate. Default 0.
    eta_min: f64 = 0.0,
}

impl Options for CosineAnnealingWarmRestarts {
    fn attributes(&self, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<Entries> {
        Ok(vec![
            ("T_0", self.t_0.into()),
            ("T_i", self.t_0.into()),
            ("T_mult", self.t_mult.into()),
            ("eta_min", self.eta_min.into()),
            ("T_cur", last_epoch.into()),
        ])
    }
}

/// Rates as `T_cur` and `T_i` say; the first is a fraction after a step to one.
pub(super) struct WarmRestarts {
    t_cur: f64,
    t_i: f64,
    eta_min: f64,
}

impl Formula for WarmRestarts {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        for name in ["T_0", "T_i", "T_mult"] {
            let number = attributes.float(name)?;
            if !(number >= 1.0 && number.is_finite()) {
                let class = "CosineAnnealingWarmRestarts";
                return Err(invalid(format!("{class}'s {name} must be at least 1, and is {number}")).into());
            }
        }
        let (t_cur, t_i) = (attributes.float("T_cur")?, attributes.float("T_i")?);
        Ok(WarmRestarts { t_cur, t_i, eta_min: attributes.float("eta_min")? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let WarmRestarts { t_cur, t_i, eta_min } = *self;
        Ok(eta_min + (now.base()? - eta_min) * (1.0 + divide(PI * t_cur, t_i)?.cos()) / 2.0)
    }

    /// Leaves `_step_count` alone.
    fn count(attributes: &mut Attributes) -> Result<i64> {
        let number = |name: &str| attributes.get(name).cloned().unwrap_or(Value::None);
        let last = attributes.int("last_epoch")?;
        if last < 0 {
            let t_0 = number("T_0");
            attributes.set("T_i", t_0);
            attributes.set("T_cur", 0);
            return Ok(0);
        }
        let (t_cur, t_i, t_mult) = (number("T_cur"), number("T_i"), number("T_mult"));
        let next = arithmetic(&t_cur, &Value::Int(1), i64::checked_add, |a, b| a + b)?;
        if next.as_f64() >= t_i.as_f64() {
            // Neither is negative, so Python's remainder is Rust's.
            attributes.set("T_cur", arithmetic(&next, &t_i, i64::checked_rem, |a, b| a % b)?);
            attributes.set("T_i", arithmetic(&t_i, &t_mult, i64::checked_mul, |a, b| a * b)?);
        } else {
            attributes.set("T_cur", next);
        }
        Ok(last.saturating_add(1))
    }

    fn count_to(attributes: &mut Attributes, epoch: f64) -> Result<Option<i64>> {
        if !(0.0..1e15).contains(&epoch) {
            return Err(invalid(format!("CosineAnnealingWarmRestarts cannot be stepped to epoch {epoch}")));
        }
        let (t_0, t_mult) = (attributes.int("T_0")?, attributes.int("T_mult")?);
        let (first, longer) = (real(t_0), real(t_mult));
        if epoch < first {
            attributes.set("T_i", t_0);
            attributes.set("T_cur", epoch);
        } else if t_mult == 1 {
            attributes.set("T_cur", epoch % first);
        } else {
            // How many periods are over: their lengths are a geometric series.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let over = ((epoch / first * (longer - 1.0) + 1.0).ln() / longer.ln()) as u32;
            let grown = t_mult.checked_pow(over).ok_or_else(too_large)?;
            let before = t_0.checked_mul(grown - 1).ok_or_else(too_large)?;
            attributes.set("T_cur", epoch - real(before) / (longer - 1.0));
            attributes.set("T_i", t_0.checked_mul(grown).ok_or_else(too_large)?);
        }
        #[allow(clippy::cast_possible_truncation)]
        Ok(Some(epoch.floor() as i64))
    }
}

/// Two numbers by one of two operations: of `int`s where both are, else of `float`s.
fn arithmetic(a: &Value, b: &Value, ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Result<Value> {
    let result = match (a, b) {
        (Value::Int(a), Value::Int(b)) => ints(*a, *b).map(Value::Int),
        (a, b) => a.as_f64().zip(b.as_f64()).map(|(a, b)| Value::Float(floats(a, b))),
    };
    result.ok_or_else(too_large)
}

fn too_large() -> Error {
    invalid("CosineAnnealingWarmRestarts counts beyond 64 bits")
}
