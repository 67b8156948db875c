//! `Told`: what a checkpoint says of how its run was made, beside the run's parts.

/// How a run was made, as its checkpoint says. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Told {
    /// The file or the key that says so, such as `training_args.bin`.
    pub by: String,
    /// The schedule that the scheduler was made with, in words: `transformers.cosine(num_warmup_steps=100, ...)`.
    pub schedule: Option<String>,
    /// Whether there was a scheduler, so that one is missed where there is none.
    pub scheduled: bool,
    /// The norm that the program clips gradients to by default, where the checkpoint lacks what it was told of that.
    pub clips_by_default: Option<f64>,
    /// How many batches make a step.
    pub accumulated: Option<i64>,
    /// How many batches an epoch has.
    pub batches_per_epoch: Option<i64>,
    /// What else of it does not go on by itself, a clause each.
    pub not_continued: Vec<String>,
    /// The key of the optimizer's state, for a checkpoint that lacks it; and what is known of where it is.
    pub optimizer: Option<(&'static str, String)>,
}
