//! An optimizer of a run with its schedulers: from a checkpoint, or new.

use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::LayerRows;
use rekindle_recorder::run::{Question, RunState};
use rekindle_recorder::{Checkpoint, Result, Value};

use super::optimizer::Optimized;
use super::scheduler::{Making, Scheduling};
use crate::run::freeze::Trained;
use crate::run::options::ResumeOptions;

/// An optimizer that goes on or begins, and its schedulers.
pub(super) struct Trainer {
    pub(super) optimized: Optimized,
    pub(super) scheduling: Scheduling,
    /// What nothing tells of which parameters are trained.
    pub(super) untold: Vec<String>,
}

/// What a trainer is made of.
pub(super) struct Of<'a, M> {
    pub(super) saved: Option<&'a Value>,
    /// The optimizer's class, where it was pickled whole.
    pub(super) class: Option<&'a str>,
    pub(super) state: &'a RunState,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) model: &'a M,
    pub(super) rows: &'a Arc<LayerRows>,
    pub(super) trained: &'a Trained,
    /// The number of its first group among all, where other optimizers have the rest of the model's parameters.
    pub(super) share: Option<usize>,
    /// How many batches were passed through, where several make a step.
    pub(super) batches: Option<i64>,
}

impl Trainer {
    /// The optimizer, and then its schedulers.
    ///
    /// # Errors
    /// As those of each.
    pub(super) fn make<M: Module>(
        of: &Of<'_, M>,
        options: &mut ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Trainer> {
        let mut optimized = Optimized::make(of.saved, of.class, of.model, options, of.rows, of.share, questions)?;
        let Optimized { optimizer, groups, steps, changes, before, .. } = &mut optimized;
        let frozen = of.trained.open(before.as_ref().unwrap_or(optimizer), of.checkpoint);
        questions.extend(frozen.questions);
        // A new run has nothing to be told.
        let untold = if of.saved.is_some() && !options.weights_only { frozen.untold } else { Vec::new() };
        let making = Making {
            state: of.state,
            checkpoint: of.checkpoint,
            step: of.state.step.or(*steps),
            batches: of.batches,
            optimizer,
            changes,
            options,
            questions,
        };
        let scheduling = Scheduling::make(making)?;
        if !scheduling.said.is_empty() {
            // A new schedule sets the rates that it begins with.
            for (plan, group) in groups.iter_mut().zip(optimizer.param_groups()) {
                plan.lr = group.lr()?;
            }
        }
        Ok(Trainer { optimized, scheduling, untold })
    }
}
