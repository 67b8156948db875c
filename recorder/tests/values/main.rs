//! What is in a checkpoint, whatever container it came in: values, state dicts, runs, and the tools that look at them.

mod checkpoint;
mod common;
mod convert;
mod graphs;
mod inspect_large;
mod layout;
mod scan;
mod serde;
mod state_dict;
mod ties;
mod verify;
