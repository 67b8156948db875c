//! Rotary embedding as transformers' `modeling_rope_utils` computes it: how its frequencies are scaled, and the cosines and sines of places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{DType, Device};

use crate::functional::Array;
use crate::init::refused;
use crate::registry::settings::Settings;
use crate::{ModelError, Result};

/// How the frequencies of rotary embedding are scaled (`rope_parameters`, once `rope_scaling`). A length that is left out
/// (`original_max_position_embeddings`) is `max_position_embeddings`.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: all are divided by this.
    Linear(f64),
    /// `proportional`: only this part of them turns (`partial_rotary_factor`), divided by this (`factor`).
    Proportional {
        /// What they are divided by.
        factor: f64,
        /// The part of a head that turns.
        partial_rotary_factor: f64,
    },
    /// `dynamic`: of a sequence longer than `max_position_embeddings` the base grows. As in transformers a network keeps the frequencies
    /// of the longest sequence, until one comes that is shorter than `max_position_embeddings`.
    Dynamic {
        /// By how much the base grows with the length.
        factor: f64,
    },
    /// `llama3`: slow ones are divided by `factor`, fast ones stay, those between are blended.
    Llama3 {
        /// What slow ones are divided by.
        factor: f64,
        /// Up to how many turns over the original length one is slow.
        low_freq_factor: f64,
        /// From how many turns over the original length one is fast.
        high_freq_factor: f64,
        /// The length that the network was trained with first.
        original_max_position_embeddings: Option<f64>,
    },
    /// `yarn`: slow ones are divided by `factor`, fast ones stay, those between are blended along a ramp; cosines and sines have a factor.
    Yarn(Yarn),
    /// `longrope`: each is divided by a factor of its own, another where a sequence is longer than the original length; cosines and sines
    /// have a factor.
    LongRope(LongRope),
}

/// The numbers of [`RopeScaling::Yarn`].
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// What slow frequencies are divided by. `None`: `max_position_embeddings` over the original length.
    pub factor: Option<f64>,
    /// The length that the network was trained with first.
    pub original_max_position_embeddings: Option<f64>,
    /// The factor of cosines and sines. `None`: by `factor`, `mscale` and `mscale_all_dim`.
    pub attention_factor: Option<f64>,
    /// From how many turns over the original length one is fast. Default 32.
    pub beta_fast: f64,
    /// Up to how many turns over the original length one is slow. Default 1.
    pub beta_slow: f64,
    /// With `mscale_all_dim` what the factor of cosines and sines goes by.
    pub mscale: Option<f64>,
    /// With `mscale` what it goes by.
    pub mscale_all_dim: Option<f64>,
    /// Whether the ramp begins and ends at whole dimensions. Default true.
    pub truncate: bool,
}

impl Default for Yarn {
    fn default() -> Self {
        Yarn {
            factor: None,
            original_max_position_embeddings: None,
            attention_factor: None,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        }
    }
}

/// The numbers of [`RopeScaling::LongRope`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LongRope {
    /// What each frequency is divided by, up to the original length: as many as half a head has elements.
    pub short_factor: Vec<f64>,
    /// The same of longer sequences.
    pub long_factor: Vec<f64>,
    /// What the factor of cosines and sines goes by. `None`: `max_position_embeddings` over the original length.
    pub factor: Option<f64>,
    /// The factor of cosines and sines. `None`: by `factor`.
    pub attention_factor: Option<f64>,
    /// The length that the network was trained with first.
    pub original_max_position_embeddings: Option<f64>,
}

/// The kinds by their names: `rope_type`.
const KINDS: &[(&str, Kind)] = &[
    ("default", Kind::Default),
    ("linear", Kind::Linear),
    ("proportional", Kind::Proportional),
    ("dynamic", Kind::Dynamic),
    ("llama3", Kind::Llama3),
    ("yarn", Kind::Yarn),
    ("longrope", Kind::LongRope),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Default,
    Linear,
    Proportional,
    Dynamic,
    Llama3,
    Yarn,
    LongRope,
}

impl RopeScaling {
    /// The scaling of these settings.
    pub(super) fn of(settings: &Settings<'_>) -> Result<Self> {
        let kind = settings.one_of("rope_type", KINDS)?;
        let original_max_position_embeddings = settings.maybe_float("original_max_position_embeddings")?;
        let factor = settings.maybe_float("factor")?;
        let needed = || {
            let kind = settings.text("rope_type");
            let expected = format!("a number (rope_type={kind} needs it)");
            factor.ok_or(ModelError::InvalidSetting { key: "factor".to_owned(), value: "none".to_owned(), expected })
        };
        let partial_rotary_factor = settings.float("partial_rotary_factor")?;
        let whole = (partial_rotary_factor - 1.0).abs() < f64::EPSILON;
        if kind != Kind::Proportional && !whole {
            let value = settings.text("partial_rotary_factor").to_owned();
            let expected = format!("of rope_type={} only 1.0", settings.text("rope_type"));
            return Err(ModelError::InvalidSetting { key: "partial_rotary_factor".to_owned(), value, expected });
        }
        // A number that is 0 counts as left out, as in Python.
        let some = |key: &str| Ok::<_, ModelError>(settings.maybe_float(key)?.filter(|number| *number != 0.0));
        Ok(match kind {
            Kind::Default => RopeScaling::None,
            Kind::Linear => RopeScaling::Linear(needed()?),
            Kind::Proportional => RopeScaling::Proportional { factor: factor.unwrap_or(1.0), partial_rotary_factor },
            Kind::Dynamic => RopeScaling::Dynamic { factor: needed()? },
            Kind::Llama3 => RopeScaling::Llama3 {
                factor: needed()?,
                low_freq_factor: settings.float("low_freq_factor")?,
                high_freq_factor: settings.float("high_freq_factor")?,
                original_max_position_embeddings,
            },
            Kind::Yarn => RopeScaling::Yarn(Yarn {
                factor,
                original_max_position_embeddings,
                attention_factor: settings.maybe_float("attention_factor")?,
                beta_fast: some("beta_fast")?.unwrap_or(32.0),
                beta_slow: some("beta_slow")?.unwrap_or(1.0),
                mscale: some("mscale")?,
                mscale_all_dim: some("mscale_all_dim")?,
                truncate: settings.flag("truncate")?,
            }),
            Kind::LongRope => RopeScaling::LongRope(LongRope {
                short_factor: settings.floats("short_factor")?,
                long_factor: settings.floats("long_factor")?,
                factor,
                attention_factor: settings.maybe_float("attention_factor")?,
                original_max_position_embeddings,
            }),
        })
    }
}

/// Rotary embedding of heads.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    base: f64,
    /// How long a head's vector is.
    width: usize,
    /// `max_position_embeddings`.
    places: usize,
    scaling: RopeScaling,
    /// Of `dynamic`: the length whose frequencies it has.
    longest: Arc<AtomicUsize>,
}

impl Rotary {
    /// # Errors
    /// When the numbers do not fit a head of this width.
    pub(super) fn new(base: f64, width: usize, places: usize, scaling: RopeScaling) -> Result<Self> {
        let wrong = |reason: String| Err(refused("rotary embedding", reason));
        match &scaling {
            RopeScaling::Dynamic { .. } if width <= 2 => {
                return wrong("dynamic frequencies need heads of more than 2 elements".to_owned());
            }
            RopeScaling::LongRope(LongRope { short_factor, long_factor, .. })
                if [short_factor, long_factor].iter().any(|factors| factors.len() != width / 2) =>
            {
                let found = [short_factor.len(), long_factor.len()];
                return wrong(format!(
                    "{found:?} factors (short_factor, long_factor) are not the {} of half a head",
                    width / 2
                ));
            }
            _ => {}
        }
        Ok(Rotary { base, width, places, scaling, longest: Arc::new(AtomicUsize::new(places)) })
    }

    /// The cosines and sines of all places, `[length, width]`: computed in `float32`, as in transformers.
    #[allow(clippy::cast_precision_loss)] // places
    pub(super) fn turns(&self, length: usize, dtype: DType, device: &Device) -> Result<[Array; 2]> {
        let (frequencies, factor) = self.frequencies(length);
        let (width, half) = (self.width, self.width / 2);
        let table = |of: fn(f32) -> f32| {
            let turn = |at: usize| of((at / width) as f32 * frequencies[at % width % half]) * factor;
            let numbers: Vec<f64> = (0..length * width).map(|at| f64::from(turn(at))).collect();
            Array::from_floats(&numbers, &[length, width], dtype, device)
        };
        Ok([table(f32::cos)?, table(f32::sin)?])
    }

    /// The frequencies of half a head for a sequence of this length, and what cosines and sines are multiplied by.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // they are float32 there
    fn frequencies(&self, length: usize) -> (Vec<f32>, f32) {
        let (base, width, places) = (self.base as f32, self.width, self.places as f64);
        let exponent = |at: usize| (2 * at) as f32 / width as f32;
        let plain = |base: f32| -> Vec<f32> { (0..width / 2).map(|at| 1.0 / base.powf(exponent(at))).collect() };
        match &self.scaling {
            RopeScaling::None => (plain(base), 1.0),
            RopeScaling::Linear(factor) => (plain(base).into_iter().map(|own| own / *factor as f32).collect(), 1.0),
            RopeScaling::Proportional { factor, partial_rotary_factor } => {
                let turning = (partial_rotary_factor * width as f64 / 2.0).floor() as usize;
                let own = plain(base).into_iter().enumerate();
                (own.map(|(at, own)| if at < turning { own / *factor as f32 } else { 0.0 }).collect(), 1.0)
            }
            RopeScaling::Dynamic { factor } => {
                let length = self.kept(length);
                if length <= self.places {
                    return (plain(base), 1.0);
                }
                let grown = (*factor as f32 * length as f32) / self.places as f32 - (factor - 1.0) as f32;
                let power = (width as f64 / (width as f64 - 2.0)) as f32;
                (plain(base * grown.powf(power)), 1.0)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => {
                let length = length.unwrap_or(places);
                let scaled = |own: f32| {
                    let wave = std::f64::consts::TAU / f64::from(own);
                    if wave > length / low {
                        return own / *factor as f32;
                    }
                    if wave < length / high {
                        return own;
                    }
                    let smooth = ((length / wave - low) / (high - low)) as f32;
                    (1.0 - smooth) * (own / *factor as f32) + smooth * own
                };
                (plain(base).into_iter().map(scaled).collect(), 1.0)
            }
            RopeScaling::Yarn(yarn) => (yarn.frequencies(self.base, width, places), yarn.scale(places) as f32),
            RopeScaling::LongRope(long) => {
                let original = long.original_max_position_embeddings.unwrap_or(places);
                let factors = if length as f64 > original { &long.long_factor } else { &long.short_factor };
                let own =
                    factors.iter().enumerate().map(|(at, factor)| 1.0 / (*factor as f32 * base.powf(exponent(at))));
                (own.collect(), long.scale(places, original) as f32)
            }
        }
    }

    /// The length whose frequencies `dynamic` has for a sequence of this one.
    fn kept(&self, length: usize) -> usize {
        let mut longest = self.longest.load(Ordering::Relaxed).max(length);
        if length < self.places {
            longest = self.places;
        }
        self.longest.store(longest, Ordering::Relaxed);
        longest
    }
}

impl Yarn {
    fn factor(&self, places: f64) -> f64 {
        self.factor.unwrap_or_else(|| places / self.original_max_position_embeddings.unwrap_or(places))
    }

    /// `attention_factor`.
    fn scale(&self, places: f64) -> f64 {
        let factor = self.factor(places);
        let of = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        self.attention_factor.unwrap_or_else(|| match (self.mscale, self.mscale_all_dim) {
            (Some(mscale), Some(all)) => of(mscale) / of(all),
            _ => of(1.0),
        })
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // they are float32 there
    fn frequencies(&self, base: f64, width: usize, places: f64) -> Vec<f32> {
        let (dim, factor) = (width as f64, self.factor(places) as f32);
        let original = self.original_max_position_embeddings.unwrap_or(places);
        // At which dimension there are so many turns over the original length.
        let at = |turns: f64| dim * (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * base.ln());
        let (low, high) = (at(self.beta_fast), at(self.beta_slow));
        let (low, high) = if self.truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
        #[allow(clippy::float_cmp)] // as in Python
        if low == high {
            high += 0.001;
        }
        let blended = |at: usize| {
            let ramp = ((at as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            let turns = (base as f32).powf((2 * at) as f32 / width as f32);
            1.0 / (factor * turns) * (1.0 - kept) + 1.0 / turns * kept
        };
        (0..width / 2).map(blended).collect()
    }
}

impl LongRope {
    /// `attention_factor`.
    fn scale(&self, places: f64, original: f64) -> f64 {
        let factor = self.factor.unwrap_or(places / original);
        let own = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        self.attention_factor.unwrap_or(own)
    }
}
