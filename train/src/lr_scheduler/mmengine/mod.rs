//! `mmengine.optim.scheduler`: schedulers of any number in the groups, each from `begin` to `end`, several of which work on one
//! optimizer. mmengine's `LinearLR` and `LinearMomentum` are its `LinearParamScheduler` for `lr` and `momentum`, and so on.

mod annealing;
mod base;
mod factors;
mod one_cycle;
mod plateau;

pub use annealing::{CosineAnnealingParamScheduler, CosineRestartParamScheduler, PolyParamScheduler};
pub(super) use annealing::{CosineRestart, MmCosine};
pub(super) use base::mmengine;
pub use factors::{
    ConstantParamScheduler, ExponentialParamScheduler, LinearParamScheduler, MultiStepParamScheduler,
    StepParamScheduler,
};
pub(super) use factors::{MmConstant, MmLinear, MmMultiStep};
pub(super) use one_cycle::OneCycleParam;
pub use one_cycle::OneCycleParamScheduler;
pub(super) use plateau::MmPlateau;
pub use plateau::ReduceOnPlateauParamScheduler;
