//! `Decay`: decays that grow with the number of updates, by the rules of the packages that have them.

use std::fmt;
use std::str::FromStr;

use rekindle_recorder::{Dict, Error, Result, Value};

use crate::attributes::invalid;

/// How much of an average stays at each update, where that changes. `Display` writes it as `FromStr` reads it:
/// `yolo(decay=0.9999, tau=2000)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decay {
    /// `torch_ema`'s: the decay, or `(1 + n) / (10 + n)` where that is less and updates are counted.
    TorchEma {
        /// The largest.
        decay: f64,
        /// Whether it begins with less: `use_num_updates`.
        use_num_updates: bool,
    },
    /// That of diffusers' `EMAModel`.
    Diffusers {
        /// The largest.
        decay: f64,
        /// The least.
        min_decay: f64,
        /// Until then the weights are copied.
        update_after_step: i64,
        /// `inv_gamma` and `power` of `use_ema_warmup`; without it `(1 + n) / (10 + n)`.
        warmup: Option<(f64, f64)>,
    },
    /// That of timm's `ModelEmaV3`. The first update, and those until `update_after_step`, copy the weights.
    Timm {
        /// The largest.
        decay: f64,
        /// The least.
        min_decay: f64,
        /// Until then the weights are copied.
        update_after_step: i64,
        /// `warmup_gamma` and `warmup_power` of `use_warmup`; without it the decay is the same at all updates.
        warmup: Option<(f64, f64)>,
    },
    /// That of mmengine's averaged models: `1 - momentum`, or `1 - gamma / (gamma + n)` of its `MomentumAnnealingEMA` where that is
    /// less.
    MmEngine {
        /// How much of the new value is taken in, at least.
        momentum: f64,
        /// `gamma` of `MomentumAnnealingEMA`; 0 is without it.
        gamma: f64,
        /// At how many steps there is an update.
        interval: i64,
    },
    /// That of ignite's `EMAHandler`: `1 - momentum`, which its `EMAWarmUp` begins with another one.
    Ignite {
        /// How much of the new value is taken in, in the end.
        momentum: f64,
        /// `momentum_warmup` and `warmup_iters`: how much is taken in at first, and in how many updates that changes.
        warmup: Option<(f64, i64)>,
    },
    /// That of yolov5 and ultralytics: `decay * (1 - exp(-n / tau))`. Whole numbers stay as they are.
    Yolo {
        /// The largest.
        decay: f64,
        /// In how many updates it grows.
        tau: f64,
    },
    /// That of latent diffusion's `LitEma`: the decay, or `(1 + n) / (10 + n)` where that is less and updates are counted, in single
    /// precision.
    LitEma {
        /// The largest.
        decay: f64,
        /// Whether it begins with less: `use_num_upates`.
        use_num_updates: bool,
    },
    /// That of `ema_pytorch`.
    EmaPytorch {
        /// The largest.
        beta: f64,
        /// Until then the weights are copied.
        update_after_step: i64,
        /// At how many steps there is an update.
        update_every: i64,
        /// How fast it grows.
        inv_gamma: f64,
        /// How fast it grows.
        power: f64,
        /// The least.
        min_value: f64,
    },
}

/// The names of the rules, their settings, and what those are by default.
const RULES: [(&str, &[(&str, f64)]); 8] = [
    ("torch_ema", &[("decay", 0.995), ("use_num_updates", 1.0)]),
    ("lit_ema", &[("decay", 0.9999), ("use_num_updates", 1.0)]),
    (
        "diffusers",
        &[
            ("decay", 0.9999),
            ("min_decay", 0.0),
            ("update_after_step", 0.0),
            ("use_ema_warmup", 0.0),
            ("inv_gamma", 1.0),
            ("power", 2.0 / 3.0),
        ],
    ),
    (
        "timm",
        &[
            ("decay", 0.9999),
            ("min_decay", 0.0),
            ("update_after_step", 0.0),
            ("use_warmup", 0.0),
            ("warmup_gamma", 1.0),
            ("warmup_power", 2.0 / 3.0),
        ],
    ),
    ("mmengine", &[("momentum", 0.0002), ("gamma", 0.0), ("interval", 1.0)]),
    ("ignite", &[("momentum", 0.0002), ("momentum_warmup", 0.0), ("warmup_iters", 0.0)]),
    ("yolo", &[("decay", 0.9999), ("tau", 2000.0)]),
    (
        "ema_pytorch",
        &[
            ("beta", 0.9999),
            ("update_after_step", 100.0),
            ("update_every", 10.0),
            ("inv_gamma", 1.0),
            ("power", 2.0 / 3.0),
            ("min_value", 0.0),
        ],
    ),
];

impl Decay {
    /// The rule of this name with these settings, the others as they are by default.
    ///
    /// # Errors
    /// When there is no such rule or setting.
    pub fn named(name: &str, settings: &[(&str, f64)]) -> Result<Decay> {
        let Some((_, known)) = RULES.iter().find(|(rule, _)| *rule == name) else {
            let names: Vec<_> = RULES.iter().map(|(rule, _)| *rule).collect();
            return Err(invalid(format!("there is no rule of averages '{name}'; there are swa, {}", names.join(", "))));
        };
        if let Some((key, _)) = settings.iter().find(|(key, _)| !known.iter().any(|(known, _)| known == key)) {
            let names: Vec<_> = known.iter().map(|(key, _)| *key).collect();
            return Err(invalid(format!("{name} has no '{key}'; there are {}", names.join(", "))));
        }
        let get = |key: &str| {
            let said = settings.iter().chain(*known).find(|(known, _)| *known == key);
            said.map_or(0.0, |(_, value)| *value)
        };
        #[allow(clippy::cast_possible_truncation)]
        let count = |key: &str| get(key) as i64;
        Ok(match name {
            "torch_ema" => Decay::TorchEma { decay: get("decay"), use_num_updates: get("use_num_updates") > 0.0 },
            "lit_ema" => Decay::LitEma { decay: get("decay"), use_num_updates: get("use_num_updates") > 0.0 },
            "diffusers" => Decay::Diffusers {
                decay: get("decay"),
                min_decay: get("min_decay"),
                update_after_step: count("update_after_step"),
                warmup: (get("use_ema_warmup") > 0.0).then(|| (get("inv_gamma"), get("power"))),
            },
            "timm" => Decay::Timm {
                decay: get("decay"),
                min_decay: get("min_decay"),
                update_after_step: count("update_after_step"),
                warmup: (get("use_warmup") > 0.0).then(|| (get("warmup_gamma"), get("warmup_power"))),
            },
            "mmengine" => {
                Decay::MmEngine { momentum: get("momentum"), gamma: get("gamma"), interval: count("interval").max(1) }
            }
            "ignite" => Decay::Ignite {
                momentum: get("momentum"),
                warmup: (count("warmup_iters") > 0).then(|| (get("momentum_warmup"), count("warmup_iters"))),
            },
            "yolo" => Decay::Yolo { decay: get("decay"), tau: get("tau") },
            _ => Decay::EmaPytorch {
                beta: get("beta"),
                update_after_step: count("update_after_step"),
                update_every: count("update_every").max(1),
                inv_gamma: get("inv_gamma"),
                power: get("power"),
                min_value: get("min_value"),
            },
        })
    }

    /// The rule that is in the file of an average, as `torch_ema` and diffusers keep theirs.
    #[must_use]
    pub fn told(average: &Value) -> Option<Decay> {
        let dict: &Dict = average.as_dict().filter(|dict| dict.get("shadow_params").is_some())?;
        let get = |key: &str| dict.get(key).and_then(|value| value.as_f64());
        if dict.get("optimization_step").is_some() {
            let keys = ["decay", "min_decay", "update_after_step", "use_ema_warmup", "inv_gamma", "power"];
            let settings: Vec<_> = keys.iter().filter_map(|key| Some((*key, get(key)?))).collect();
            return Decay::named("diffusers", &settings).ok();
        }
        let counted = dict.get("num_updates").is_some_and(|count| count.as_i64().is_some());
        Some(Decay::TorchEma { decay: get("decay")?, use_num_updates: counted })
    }

    /// The same rule with another largest decay.
    #[must_use]
    pub(crate) fn with_decay(mut self, largest: f64) -> Decay {
        match &mut self {
            Decay::TorchEma { decay, .. }
            | Decay::LitEma { decay, .. }
            | Decay::Diffusers { decay, .. }
            | Decay::Timm { decay, .. }
            | Decay::Yolo { decay, .. } => *decay = largest,
            Decay::MmEngine { momentum, .. } | Decay::Ignite { momentum, .. } => *momentum = 1.0 - largest,
            Decay::EmaPytorch { beta, .. } => *beta = largest,
        }
        self
    }

    /// The largest.
    pub(crate) fn largest(&self) -> f64 {
        match self {
            Decay::TorchEma { decay, .. }
            | Decay::LitEma { decay, .. }
            | Decay::Diffusers { decay, .. }
            | Decay::Timm { decay, .. }
            | Decay::Yolo { decay, .. } => *decay,
            Decay::MmEngine { momentum, .. } | Decay::Ignite { momentum, .. } => 1.0 - momentum,
            Decay::EmaPytorch { beta, .. } => *beta,
        }
    }

    /// Whether the decay depends on how many updates there were, so that their number has to be known.
    pub(crate) fn counts(&self) -> bool {
        match self {
            Decay::TorchEma { use_num_updates, .. } | Decay::LitEma { use_num_updates, .. } => *use_num_updates,
            Decay::Timm { update_after_step, warmup, .. } => warmup.is_some() || *update_after_step > 0,
            Decay::Ignite { warmup, .. } => warmup.is_some(),
            Decay::Diffusers { .. } | Decay::MmEngine { .. } | Decay::Yolo { .. } | Decay::EmaPytorch { .. } => true,
        }
    }

    /// The decay of the update after so many; `None` where there is no update.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub(super) fn after(&self, updates: i64) -> Option<f64> {
        let number = |n: i64| n.max(0) as f64;
        let grown = |n: f64| (1.0 + n) / (10.0 + n);
        match *self {
            Decay::TorchEma { decay, use_num_updates } => {
                let grown = grown(number(updates.saturating_add(1)));
                Some(if use_num_updates { decay.min(grown) } else { decay })
            }
            Decay::LitEma { decay, use_num_updates } => {
                let n = number(updates.saturating_add(1)) as f32;
                let grown = (1.0 + n) / (10.0 + n);
                Some(f64::from(if use_num_updates { (decay as f32).min(grown) } else { decay as f32 }))
            }
            Decay::Diffusers { decay, min_decay, update_after_step, warmup } => {
                let step = number(updates.saturating_sub(update_after_step));
                if step <= 0.0 {
                    return Some(0.0);
                }
                let now = warmup
                    .map_or_else(|| grown(step), |(inv_gamma, power)| 1.0 - (1.0 + step / inv_gamma).powf(-power));
                Some(now.min(decay).max(min_decay))
            }
            Decay::Timm { decay, min_decay, update_after_step, warmup } => {
                let step = number(updates.saturating_sub(update_after_step));
                if step <= 0.0 {
                    return Some(0.0);
                }
                let Some((gamma, power)) = warmup else { return Some(decay) };
                Some((1.0 - (1.0 + step / gamma).powf(-power)).min(decay).max(min_decay))
            }
            Decay::MmEngine { momentum, gamma, interval } => {
                if updates == 0 {
                    return Some(0.0);
                }
                let grown = if gamma > 0.0 { gamma / (gamma + number(updates)) } else { momentum };
                (updates % interval.max(1) == 0).then(|| 1.0 - momentum.max(grown))
            }
            Decay::Ignite { momentum, warmup } => {
                let Some((first, iters)) = warmup else { return Some(1.0 - momentum) };
                let now = first + (momentum - first) * number(updates) / number(iters.saturating_sub(1).max(1));
                Some(1.0 - if momentum >= first { momentum.min(now) } else { momentum.max(now) })
            }
            Decay::Yolo { decay, tau } => Some(decay * (1.0 - (-number(updates.saturating_add(1)) / tau).exp())),
            Decay::EmaPytorch { beta, update_after_step, update_every, inv_gamma, power, min_value } => {
                if updates % update_every.max(1) != 0 {
                    return None;
                }
                // There it is computed in single precision.
                let epoch = number(updates.saturating_sub(update_after_step)) as f32;
                if epoch <= 0.0 {
                    return Some(0.0);
                }
                let now = 1.0 - (1.0 + epoch / inv_gamma as f32).powf(-power as f32);
                Some(f64::from(now.clamp(min_value as f32, (beta as f32).max(min_value as f32))))
            }
        }
    }

    /// Its name and settings.
    fn settings(&self) -> (&'static str, Vec<f64>) {
        #[allow(clippy::cast_precision_loss)]
        let number = |n: i64| n as f64;
        match *self {
            Decay::TorchEma { decay, use_num_updates } => {
                ("torch_ema", vec![decay, f64::from(u8::from(use_num_updates))])
            }
            Decay::LitEma { decay, use_num_updates } => ("lit_ema", vec![decay, f64::from(u8::from(use_num_updates))]),
            Decay::Diffusers { decay, min_decay, update_after_step, warmup } => {
                let (inv_gamma, power) = warmup.unwrap_or((1.0, 2.0 / 3.0));
                let warm = f64::from(u8::from(warmup.is_some()));
                ("diffusers", vec![decay, min_decay, number(update_after_step), warm, inv_gamma, power])
            }
            Decay::Timm { decay, min_decay, update_after_step, warmup } => {
                let (gamma, power) = warmup.unwrap_or((1.0, 2.0 / 3.0));
                let warm = f64::from(u8::from(warmup.is_some()));
                ("timm", vec![decay, min_decay, number(update_after_step), warm, gamma, power])
            }
            Decay::MmEngine { momentum, gamma, interval } => ("mmengine", vec![momentum, gamma, number(interval)]),
            Decay::Ignite { momentum, warmup } => {
                let (first, iters) = warmup.unwrap_or((0.0, 0));
                ("ignite", vec![momentum, first, number(iters)])
            }
            Decay::Yolo { decay, tau } => ("yolo", vec![decay, tau]),
            Decay::EmaPytorch { beta, update_after_step, update_every, inv_gamma, power, min_value } => (
                "ema_pytorch",
                vec![beta, number(update_after_step), number(update_every), inv_gamma, power, min_value],
            ),
        }
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, values) = self.settings();
        let keys = RULES.iter().find(|(rule, _)| *rule == name).map_or(&[][..], |(_, keys)| keys);
        let said: Vec<_> = keys.iter().zip(values).map(|((key, _), value)| format!("{key}={value}")).collect();
        write!(f, "{name}({})", said.join(", "))
    }
}

impl FromStr for Decay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Decay> {
        let (name, rest) = text.split_once('(').unwrap_or((text, ")"));
        let inside = rest.strip_suffix(')').ok_or_else(|| invalid(format!("'{text}' has no closing bracket")))?;
        let pairs = inside.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let setting = |pair: &'_ str| -> Result<(String, f64)> {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| invalid(format!("'{pair}' in '{text}' is not KEY=VALUE")))?;
            let number = match value.trim() {
                "True" | "true" => Ok(1.0),
                "False" | "false" => Ok(0.0),
                number => number.parse(),
            };
            let number = number.map_err(|_| invalid(format!("'{pair}' in '{text}' has no number")))?;
            Ok((key.trim().to_owned(), number))
        };
        let settings = pairs.map(setting).collect::<Result<Vec<_>>>()?;
        let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        Decay::named(name.trim(), &settings)
    }
}
