//! The files and folders that hold checkpoints. Each format is a module with `detect`, `read` and `write`, and a row of the
//! table in `table.rs`; what a file is is told by its content, never by its extension.

mod appended;
pub mod burn_record;
pub mod burnpack;
pub(crate) mod content;
pub mod dcp;
pub mod export;
mod folder;
mod gzip;
pub mod hf;
pub(crate) mod keeps;
pub mod legacy;
pub(crate) mod named;
pub mod numpy;
pub mod package;
mod packed;
pub mod pickle;
mod ranks;
pub(crate) mod run_folder;
pub mod safetensors;
mod stream;
pub(crate) mod table;
pub mod tar;
mod template;
pub mod torchscript;
mod transfer;
mod values;
mod weights_only;
pub mod zip;

pub use crate::format::{Format, Opened};
pub use table::{open, read, save};
pub use values::BESIDE;
