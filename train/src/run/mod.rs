//! `Run`: the parts of a training run that must survive it, and the verbs of the loop. The loop itself is the user's.
//!
//! - `options.rs`: what a run that is resumed has to be told.
//! - `average.rs`: the average of the weights, where a run has one.
//! - `average_when.rs`: when it takes them in.
//! - `batches.rs`: how many batches make so many steps.
//! - `between.rs`: what it has between two turns of the loop.
//! - `epochs.rs`: whether epochs of a data set are the checkpoint's.
//! - `evaluate.rs`: its model on other samples.
//! - `freeze.rs`: parameters that are not trained.
//! - `lit.rs`: an average inside the model.
//! - `members.rs`: a model that is a member of what was saved.
//! - `place.rs`: the place in the data.
//! - `plan.rs`: what going on would do, and what is open.
//! - `names.rs`: the checkpoint's names of the model's tensors.
//! - `norms.rs`: batch norms that are kept in evaluation.
//! - `notes.rs`, `tell.rs`: what a program keeps with its run.
//! - `parts.rs`: the run and what it is made of.
//! - `schedule.rs`: when schedulers are stepped.
//! - `several.rs`: runs of several models.
//! - `share.rs`: what a loss has of a step of several batches.
//! - `steps.rs`: the loop's verbs.
//! - `save.rs`: the run as a checkpoint, and whether it will be one.
//! - `resume.rs`: the run that a checkpoint is of.
//! - `whole.rs`: all of a run, with what no layout has a place for.
//! - `ties.rs`: parameters that are one in the checkpoint.
//! - `turns.rs`: the turns of the loop, and checkpoints between them.

mod average;
mod average_when;
mod batches;
mod between;
mod epochs;
mod evaluate;
mod freeze;
mod lit;
mod members;
mod names;
mod norms;
mod notes;
mod options;
mod parts;
mod place;
mod plan;
mod resume;
mod save;
mod schedule;
mod several;
mod share;
mod steps;
mod tell;
mod ties;
mod turns;
mod whole;

pub use epochs::EpochOf;
pub use norms::BatchNorms;
pub use options::{ResumeOptions, SchedulePer, Unexpected};
pub use parts::Run;
pub use plan::{GroupPlan, OptimizerPlan, Plan, SchedulerPlan};
pub use several::{AnyRun, checkpoint_of, save_parts, save_parts_with};
pub use share::Share;
pub use steps::step_together;
pub use whole::{restore_parts, whole_checkpoint_of};
