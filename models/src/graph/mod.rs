//! Networks that PyTorch wrote down: the programs of `torch.export.save` (`.pt2`), read, checked, run forward and backward.
//!
//! A [`Program`] is opened once: every operation must be known, every name defined, and what writes in place is made functional.
//! Then it is a Burn module like any other: its state dict has PyTorch's names, optimizers and averages take it, and it runs on
//! every device.
//!
//! Supported are the programs as they are exported (`torch.export.export`) and after `run_decompositions()`, with branches, loops and
//! regions of `torch.no_grad()` and of the CPU's `torch.autocast`; custom operators and complex numbers are refused by name when a
//! program is opened.

mod autocast;
mod cast;
mod expression;
mod flow;
mod inputs;
mod item;
mod leaf;
mod modes;
mod old;
mod ops;
mod outline;
mod place;
mod plan;
mod program;
mod read;
mod regions;
mod run;
mod samples;
mod schema;
mod steps;

pub use expression::Expression;
pub use inputs::{Input, Length};
pub use ops::{markdown as operations_table, names as operations};
pub use outline::{Outline, OutlineInput, OutlineLayer, OutlineNode, OutlineValue, OutlineWeight};
pub use program::{Program, exported, exported_all};
