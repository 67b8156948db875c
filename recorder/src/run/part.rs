//! `RunPart`: a part of a run of several models, as the places in its checkpoint.

use std::ops::Range;

/// A part of a run: one of its models, and what trains it. All are places in the checkpoint, such as `netG`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunPart {
    /// What its keys have in common, such as `G`; the model's key where that is nothing, or several words.
    pub name: String,
    /// The model.
    pub model: String,
    /// Its optimizers.
    pub optimizers: Vec<String>,
    /// Its schedulers.
    pub schedulers: Vec<String>,
    /// The average of its weights.
    pub average: Option<String>,
    /// The scaler of gradients: its own, or that of all parts.
    pub scaler: Option<String>,
    /// The optimizers of which nothing tells whose they are, and which may be this model's.
    pub open_optimizers: Vec<String>,
    /// Which parameters of its only optimizer are this model's, where that trains several models at once: from which place to
    /// which, counted over all groups. `None` where it has the optimizer to itself.
    pub share: Option<Range<usize>>,
    /// The optimizers that train several models at once, where nothing tells which of their parameters are whose.
    pub shared_optimizers: Vec<String>,
    /// The schedulers of which nothing tells whose they are.
    pub open_schedulers: Vec<String>,
}
