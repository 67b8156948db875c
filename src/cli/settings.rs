//! `rekindle.toml`: the settings of a run, beside its checkpoint. Flags win over it; its paths start at its own folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use serde::Deserialize;

use super::answer::usage;
use super::schedule::Metric;
use super::task::Loss;

/// The keys of `rekindle.toml`, named as the flags of `rekindle resume` are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(default, deserialize_with = "one_or_several")]
    pub(super) model: Vec<String>,
    #[serde(default)]
    pub(super) config: BTreeMap<String, toml::Value>,
    pub(super) batches: Option<PathBuf>,
    pub(super) data: Option<PathBuf>,
    pub(super) input_shape: Option<Vec<usize>>,
    pub(super) divide_by: Option<f32>,
    pub(super) held_back: Option<usize>,
    pub(super) batch_size: Option<usize>,
    pub(super) steps: Option<u64>,
    pub(super) loss: Option<String>,
    pub(super) optimizer: Option<String>,
    pub(super) scheduler: Option<String>,
    #[serde(default, deserialize_with = "one_or_several")]
    pub(super) schedule_per: Vec<String>,
    pub(super) schedule_at: Option<i64>,
    pub(super) metric: Option<String>,
    pub(super) steps_per_epoch: Option<i64>,
    #[serde(default)]
    pub(super) group: Vec<String>,
    #[serde(default)]
    pub(super) freeze: Vec<String>,
    #[serde(default)]
    pub(super) unfreeze: Vec<String>,
    pub(super) rng: Option<String>,
    pub(super) member: Option<String>,
    pub(super) seed: Option<u64>,
    pub(super) ema: Option<toml::Value>,
    pub(super) ema_per: Option<String>,
    pub(super) ema_at: Option<String>,
    pub(super) optimizer_at: Option<String>,
    pub(super) scheduler_at: Option<String>,
    pub(super) device: Option<String>,
    pub(super) save: Option<PathBuf>,
    pub(super) log: Option<PathBuf>,
    pub(super) expect: Option<PathBuf>,
}

impl Settings {
    /// The settings beside this checkpoint; empty where there is no `rekindle.toml`.
    pub(super) fn beside(checkpoint: &Path) -> Result<Settings, Box<dyn std::error::Error>> {
        let folder = if checkpoint.is_dir() { checkpoint } else { checkpoint.parent().unwrap_or(Path::new("")) };
        let path = folder.join("rekindle.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
            Err(error) => return Err(usage(format!("{}: cannot read the settings: {error}", path.display()))),
        };
        let mut settings: Settings = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            usage(format!("{}: line {line}: {}", path.display(), error.message()))
        })?;
        for file in [&mut settings.batches, &mut settings.data, &mut settings.log, &mut settings.expect] {
            *file = file.take().map(|file| folder.join(file));
        }
        Ok(settings)
    }

    /// The metric of this name.
    pub(super) fn metric_named(&self) -> Result<Option<Metric>, Box<dyn std::error::Error>> {
        let parse = |name: &String| {
            Metric::from_str(name, false).map_err(|_| usage(format!("rekindle.toml: there is no metric '{name}'")))
        };
        self.metric.as_ref().map(parse).transpose()
    }

    /// The loss of this name.
    pub(super) fn loss_named(&self) -> Result<Option<Loss>, Box<dyn std::error::Error>> {
        let parse = |name: &String| {
            Loss::from_str(name, false).map_err(|_| usage(format!("rekindle.toml: there is no loss '{name}'")))
        };
        self.loss.as_ref().map(parse).transpose()
    }
}

/// A text, or a list of them.
fn one_or_several<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(one) => vec![one],
        Given::Several(several) => several,
    })
}
