//! The training parts against PyTorch's own numbers and state dicts.

mod amp;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod data_files;
mod data_sets;
mod digits;
#[path = "../digits_run/mod.rs"]
mod digits_run;
mod ema;
#[cfg(feature = "learner")]
mod learner;
#[cfg(feature = "learner")]
mod learner_training;
#[cfg(feature = "learner")]
#[path = "../learning/mod.rs"]
mod learning;
mod loader;
mod loaders;
#[path = "../loading/mod.rs"]
mod loading;
mod log;
mod losses;
mod optim_half;
mod optim_members;
mod optim_models;
mod optim_recognition;
mod optim_rules;
mod optim_runs;
mod optim_state_dicts;
mod optim_tensors;
mod optim_threads;
mod optim_updates;
mod optimizer_record;
mod resuming;
mod run;
mod run_averages;
mod run_faults;
mod run_parts;
mod run_rows;
mod samplers;
mod schedulers;
mod schedulers_by_event;
mod schedulers_more;
mod state_dicts;
mod stateful_loader;
mod stream_loader;
mod tensorboard;
#[path = "../tied_gpt/mod.rs"]
mod tied_gpt;
mod ties;
mod whole_optimizers;
mod whole_state_dicts;
