//! The layouts of checkpoints: which way of training wrote one, told by its keys, and where each part of the run is in it.
//!
//! - `table.rs`: `Layout`, a row each.
//! - `paths.rs`: where the parts are.
//! - `progress.rs`: where a run is, in every place that counts.
//! - `files.rs`: a folder with a file for each part.
//! - `trainer_args.rs`: how a run of transformers' Trainer was made.
//! - `torchtitan.rs`: a run whose optimizer is flattened by names.
//! - `flat.rs`: weights at the root, beside the parts.
//! - `sequence.rs`: a tuple or list of parts.
//! - `tutorial.rs`: a dict of state dicts and numbers.
//! - `plain.rs`: a model by itself.
//! - `frameworks.rs`: training programs whose checkpoints are dicts of parts.
//! - `counts.rs`, `lightning.rs`: where these keep the epoch and the step besides.

mod counts;
mod files;
mod flat;
mod frameworks;
mod lightning;
mod paths;
mod plain;
mod progress;
mod sequence;
mod table;
mod torchtitan;
mod trainer_args;
mod tutorial;

pub use table::Layout;

pub(super) use flat::{unview, view};
pub(super) use paths::Paths;
pub(super) use progress::Progress;
pub(super) use sequence::is_open_count;
pub(super) use table::find;
