//! A real PyTorch goes on from what was trained and saved here. `REKINDLE_TORCH` names a Python that has torch; without it each
//! test says that it was skipped.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "learner")]
#[path = "../digits_run/mod.rs"]
mod digits_run;
#[cfg(feature = "learner")]
mod learner;
#[cfg(feature = "learner")]
#[path = "../learning/mod.rs"]
mod learning;
mod loaders;
#[path = "../loading/mod.rs"]
mod loading;
mod optim;
#[path = "../tied_gpt/mod.rs"]
mod tied_gpt;
mod ties;
mod training_state;
