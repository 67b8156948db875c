//! What is in a checkpoint, whatever container it came in: values, state dicts, runs, and the tools that look at them.

mod checkpoint;
mod common;
mod convert;
mod dict_keys;
mod files;
mod forms;
mod graphs;
mod handles;
mod hanging;
mod inspect_large;
mod layout;
mod load_options;
mod memory;
mod names;
mod old_classes;
mod pickles;
mod report;
mod run_account;
mod run_parts;
mod scan;
mod serde;
mod state_dict;
mod storage_ids;
mod ties;
mod verify;
mod views;
