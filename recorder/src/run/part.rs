//! `RunPart`: a part of a run of several models, as the places in its checkpoint.

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
    /// The optimizers that train several models at once.
    pub shared_optimizers: Vec<String>,
    /// The schedulers of which nothing tells whose they are.
    pub open_schedulers: Vec<String>,
}
