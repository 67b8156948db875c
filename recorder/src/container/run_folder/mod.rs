//! Folders that a training program leaves with a file for each part of a run: transformers' `checkpoint-500/` (weights,
//! `optimizer.pt`, `scheduler.pt`, `rng_state.pth`, `trainer_state.json`, ...), accelerate's `save_state` (weights,
//! `optimizer.bin`, `scheduler.bin`, `random_states_0.pkl`, ...).
//!
//! **Value.** A dict with a value for each file under its name, in the order of the names: what it holds where it is a
//! checkpoint of any format, or a short text of JSON (`trainer_state.json` of any length); of shards what they hold together,
//! under the name of their index. Any other file is a tensor of its bytes, and a folder inside a dict of its files. Nothing in
//! them is run.
//!
//! **Writing.** A folder with the same files. One whose value is as it was read is copied byte for byte, from what was
//! opened then: the old folder may be gone by now. The others are written in the formats and the styles that they had. The new
//! folder appears whole or not at all.

mod json;
mod names;
pub(crate) mod origin;
mod read;
mod write;

pub(crate) use read::{detect, read};
pub(crate) use write::write;
