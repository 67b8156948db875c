//! What settings a network has, where each is told, and how its file reads them.

use rekindle_recorder::StateDict;

use super::config::Config;
use crate::{ModelError, Result};

/// A setting of a network.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: the library's.
    pub name: &'static str,
    /// The library's default.
    pub default: &'static str,
    /// Where it is told, if the caller does not say it.
    pub told: Told,
}

/// Where a setting is told, beside by the caller and by a config.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Told {
    /// In the state dict.
    Weights(fn(&Weights<'_>) -> Option<String>),
    /// In some state dicts; where it is not, it is asked for.
    WeightsOrNowhere(fn(&Weights<'_>) -> Option<String>),
    /// Nowhere, and what the network computes goes by it: it is asked for.
    Nowhere,
    /// Nowhere, and training goes by it, as by dropout: it is asked for before a run goes on.
    NowhereInTraining,
    /// Nowhere, and hardly anyone changes it: it is the default.
    Default,
    /// It cannot be changed here: a config that says something else is refused.
    Fixed,
}

impl Setting {
    /// A setting that the state dict tells.
    pub(crate) const fn shown(
        name: &'static str,
        default: &'static str,
        of: fn(&Weights<'_>) -> Option<String>,
    ) -> Self {
        Setting { name, default, told: Told::Weights(of) }
    }

    /// One that some state dicts tell, and that is asked for else.
    pub(crate) const fn shown_or_asked(
        name: &'static str,
        default: &'static str,
        of: fn(&Weights<'_>) -> Option<String>,
    ) -> Self {
        Setting { name, default, told: Told::WeightsOrNowhere(of) }
    }

    /// One that is asked for.
    pub(crate) const fn asked(name: &'static str, default: &'static str) -> Self {
        Setting { name, default, told: Told::Nowhere }
    }

    /// One that is asked for before training.
    pub(crate) const fn trained(name: &'static str, default: &'static str) -> Self {
        Setting { name, default, told: Told::NowhereInTraining }
    }

    /// One that is as the library has it, where nothing says otherwise.
    pub(crate) const fn plain(name: &'static str, default: &'static str) -> Self {
        Setting { name, default, told: Told::Default }
    }

    /// One that cannot be changed.
    pub(crate) const fn fixed(name: &'static str, default: &'static str) -> Self {
        Setting { name, default, told: Told::Fixed }
    }

    /// Whether a caller may set it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !matches!(self.told, Told::Fixed)
    }
}

/// The shapes in a state dict: names may have something before them there.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a>(&'a StateDict);

impl Weights<'_> {
    fn key(&self, name: &str) -> Option<&str> {
        if self.0.get(name).is_some() {
            return self.0.keys().find(|key| *key == name);
        }
        self.0.keys().find(|key| key.strip_suffix(name).is_some_and(|before| before.ends_with('.')))
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.key(name).is_some()
    }

    /// A length of the tensor of this name.
    #[must_use]
    pub fn length(&self, name: &str, dim: usize) -> Option<String> {
        self.dim(name, dim).map(|length| length.to_string())
    }

    /// The same as a number.
    #[must_use]
    pub fn dim(&self, name: &str, dim: usize) -> Option<usize> {
        self.0.get(self.key(name)?)?.shape().get(dim).copied()
    }

    /// How many there are: names with numbers from 0 on in the place of `{}`.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<String> {
        let there = |number: &usize| self.has(&name.replace("{}", &number.to_string()));
        let count = (0..self.0.len()).take_while(there).count();
        (count > 0).then(|| count.to_string())
    }

    /// Whether two names are one tensor: the second also is where it is left out. `None` where the first is not there.
    #[must_use]
    pub fn tied(&self, first: &str, second: &str) -> Option<String> {
        let first = self.0.get(self.key(first)?)?;
        let second = self.key(second).and_then(|key| self.0.get(key));
        Some(second.is_none_or(|second| second.view() == first.view()).to_string())
    }
}

/// What a network is made of: all its settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(super) settings: &'static [Setting],
    pub(super) config: &'a Config,
}

impl Settings<'_> {
    /// What it is, or the default.
    pub(crate) fn text(&self, key: &str) -> &str {
        let default = self.settings.iter().find(|known| known.name == key).map_or("", |setting| setting.default);
        self.config.get(key).unwrap_or(default).trim()
    }

    fn read<T>(&self, key: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        read(self.text(key)).ok_or_else(|| ModelError::InvalidSetting {
            key: key.to_owned(),
            value: self.config.get(key).unwrap_or_default().to_owned(),
            expected: expected.to_owned(),
        })
    }

    /// A number, at least 1.
    pub(crate) fn number(&self, key: &str) -> Result<usize> {
        self.read(key, "a number of 1 or more", at_least_one)
    }

    /// The same, or none.
    pub(crate) fn maybe(&self, key: &str) -> Result<Option<usize>> {
        self.read(key, "a number of 1 or more, or none", |text| {
            if is_none(text) { Some(None) } else { at_least_one(text).map(Some) }
        })
    }

    /// The number of one of so many rows, from 0, or from the last one, -1; or none.
    pub(crate) fn row(&self, key: &str, rows: usize) -> Result<Option<usize>> {
        self.read(key, "the number of a row, or none", |text| match text.strip_prefix('-') {
            _ if is_none(text) => Some(None),
            Some(behind) => rows.checked_sub(at_least_one(behind)?).map(Some),
            None => text.parse().ok().map(Some),
        })
    }

    /// A number that may have a part behind the point.
    pub(crate) fn float(&self, key: &str) -> Result<f64> {
        self.read(key, "a number", |text| text.parse().ok().filter(|number: &f64| number.is_finite()))
    }

    /// The same, or none.
    pub(crate) fn maybe_float(&self, key: &str) -> Result<Option<f64>> {
        if is_none(self.text(key)) { Ok(None) } else { self.float(key).map(Some) }
    }

    /// Numbers with commas between them; none of them where there are none.
    pub(crate) fn floats(&self, key: &str) -> Result<Vec<f64>> {
        self.read(key, "numbers such as 1.0,1.5, or none", |text| {
            let numbers = text.trim_matches(['[', ']']).split(',').filter(|_| !is_none(text));
            numbers.map(|number| number.trim().parse().ok().filter(|number: &f64| number.is_finite())).collect()
        })
    }

    /// A probability to be dropped.
    pub(crate) fn dropout(&self, key: &str) -> Result<f64> {
        self.read(key, "a number from 0 to 1", |text| text.parse().ok().filter(|p| (0.0..=1.0).contains(p)))
    }

    /// Yes or no.
    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        self.read(key, "true or false", truth)
    }

    /// The same so many times; none of them is no everywhere.
    pub(crate) fn flags<const N: usize>(&self, key: &str) -> Result<[bool; N]> {
        self.read(key, &format!("true or false {N} times, with commas between"), |text| {
            if is_none(text) {
                return Some([false; N]);
            }
            text.split(',').map(|word| truth(word.trim())).collect::<Option<Vec<_>>>()?.try_into().ok()
        })
    }

    /// Which of these it is.
    pub(crate) fn one_of<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Result<T> {
        let names = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        self.read(key, &format!("one of {names}"), |text| {
            known.iter().find(|(name, _)| *name == text).map(|(_, what)| *what)
        })
    }

    /// Two or more numbers with commas between them, each at least 1.
    pub(crate) fn sizes(&self, key: &str) -> Result<Vec<usize>> {
        self.read(key, "two or more sizes such as 20,32,10", |text| {
            let sizes: Option<Vec<usize>> = text.split(',').map(|size| at_least_one(size.trim())).collect();
            sizes.filter(|sizes| sizes.len() > 1)
        })
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "1" => Some(true),
        "false" | "False" | "0" => Some(false),
        _ => None,
    }
}

fn at_least_one(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&number| number > 0)
}

/// Whether two values are one: 1 is 1.0.
fn same(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    one == other || matches!((number(one), number(other)), (Some(one), Some(other)) if one.total_cmp(&other).is_eq())
}

fn is_none(text: &str) -> bool {
    matches!(text, "none" | "None" | "null")
}

/// All settings of a network: what the caller told, what a config says, what the weights show, and the defaults.
///
/// # Errors
/// When one is open, or a config says what cannot be.
pub(super) fn settled(
    network: &'static str,
    settings: &'static [Setting],
    told: &Config,
    said: Option<&Config>,
    weights: Option<&StateDict>,
    training: bool,
) -> Result<Config> {
    let mut config = Config::new();
    let mut open = Vec::new();
    for setting in settings {
        let of_config = said.and_then(|said| said.get(setting.name));
        if let (Told::Fixed, Some(value)) = (setting.told, of_config.filter(|value| !same(value, setting.default))) {
            let (key, value) = (setting.name.to_owned(), value.to_owned());
            let expected = format!("of '{network}' only {}={}", setting.name, setting.default);
            return Err(ModelError::InvalidSetting { key, value, expected });
        }
        if !setting.is_free() {
            continue;
        }
        let shown = match (setting.told, weights) {
            (Told::Weights(of) | Told::WeightsOrNowhere(of), Some(weights)) => of(&Weights(weights)),
            _ => None,
        };
        if let Some(value) = told.get(setting.name).or(of_config) {
            config.set(setting.name, value);
        } else if let Some(value) = shown {
            config.set(setting.name, value);
        } else if said.is_none() && weights.is_some() && asks(setting.told, training) {
            open.push((setting.name.to_owned(), setting.default.to_owned()));
        }
    }
    if open.is_empty() { Ok(config) } else { Err(ModelError::OpenSettings { network: network.to_owned(), open }) }
}

fn asks(told: Told, training: bool) -> bool {
    matches!(told, Told::Nowhere | Told::WeightsOrNowhere(_)) || training && matches!(told, Told::NowhereInTraining)
}
