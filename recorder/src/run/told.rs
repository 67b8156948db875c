//! `Told`: what a checkpoint says of how its run was made, beside the run's parts.

/// How a run was made, as its checkpoint says. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Told {
    /// The file or the key that says so, such as `training_args.bin`.
    pub by: String,
    /// The schedule that the scheduler was made with, in words: `transformers.cosine(num_warmup_steps=100, ...)`.
    pub schedule: Option<String>,
    /// Whether the program steps its schedulers before each step of the optimizer, and not after it.
    pub stepped_before: bool,
    /// Whether there was a scheduler, so that one is missed where there is none.
    pub scheduled: bool,
    /// A learning rate that a setting speaks of.
    pub rate: Option<ToldBy>,
    /// A setting that speaks of a schedule of the learning rates, and what it is.
    pub scheduling: Option<(String, String)>,
    /// The norm that the program clips gradients to by default, where the checkpoint lacks what it was told of that.
    pub clips_by_default: Option<f64>,
    /// The norm that a setting says gradients are clipped to, where the layout does not tell whether they were.
    pub clipped: Option<ToldBy>,
    /// What a setting says each element of the gradients is clipped to.
    pub clipped_values: Option<ToldBy>,
    /// How much a setting says that labels were smoothed, from 0 to 1.
    pub smoothed: Option<ToldBy>,
    /// A setting that says that steps were computed by autocast, and what it is.
    pub autocast: Option<(String, String)>,
    /// Where the state of a CUDA generator is, if there is one.
    pub cuda_generator: Option<String>,
    /// How the average of the weights is updated.
    pub average: Option<ToldAverage>,
    /// What stands beside the average and may say how it goes on.
    pub decay: Option<ToldDecay>,
    /// How many batches make a step.
    pub accumulated: Option<i64>,
    /// The setting that says so, where it is not what says all else.
    pub accumulated_by: Option<String>,
    /// What is told of that where the number is not: how many samples a step is of, nominally.
    pub nominal: Option<i64>,
    /// What becomes of batches that make no whole step, at an epoch's end and at the checkpoint.
    pub leftover: Leftover,
    /// The warm-up that the program makes by hand.
    pub warm_up: Option<ToldWarmUp>,
    /// How many batches an epoch has.
    pub batches_per_epoch: Option<i64>,
    /// What else of it does not go on by itself, a clause each.
    pub not_continued: Vec<String>,
    /// The key of the optimizer's state, for a checkpoint that lacks it; and what is known of where it is.
    pub optimizer: Option<(&'static str, String)>,
}

/// What becomes of batches that are fewer than a step takes, when an epoch ends. Where they make no step of their own the program begins
/// with a step on one batch when it resumes, for it counts the batches since a step that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// They make a step.
    #[default]
    Stepped,
    /// Their gradients go into the next epoch's first step, as in ultralytics.
    Carried,
    /// Their gradients are dropped, as in `YOLOv5`, and the next epoch begins with a step on one batch.
    Dropped,
}

/// A warm-up that a program makes by hand: of the learning rates, of the momentum, and of how many batches make a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ToldWarmUp {
    /// Of how many epochs it is, if that is told.
    pub epochs: Option<f64>,
    /// Of how many batches it is at least.
    pub least: i64,
    /// What the momentum is after it, if that is told.
    pub momentum: Option<f64>,
}

/// A number in a checkpoint, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldBy {
    /// Where it is, such as `args.label_smoothing`.
    pub place: String,
    /// The number.
    pub number: f64,
}

/// How a program's settings say that its average of the weights is updated.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldAverage {
    /// The rule in words: a decay, or `timm(decay=0.9998, use_warmup=1)`.
    pub rule: String,
    /// At every how many steps of an epoch, the first one of them.
    pub every: i64,
    /// In how many epochs, from the beginning of the run, it is a copy of the weights.
    pub copied: i64,
}

/// What stands beside an average of the weights, in its own dict or under a key that is called after it, and may say how it goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToldDecay {
    /// Numbers that are called its decay.
    pub numbers: Vec<ToldBy>,
    /// What else is there: where, and what it is.
    pub others: Vec<(String, String)>,
    /// Where none of these is a setting that speaks of a decay.
    pub setting: Option<ToldBy>,
}
