//! `timm.scheduler`: schedulers that are told the epoch or the update, and set the rates of that.
//!
//! Their state dict has every option and no position: whoever goes on says the epoch
//! ([`set_position`](super::LRScheduler::set_position), or [`at`](super::LRScheduler::at), which sets the rates, too, as timm's
//! own script does). [`step`](super::LRScheduler::step) goes on to the next epoch or update, whichever `t_in_epochs` says, and
//! [`step_to`](super::LRScheduler::step_to) to any. [`PlateauLRScheduler`] goes by a metric besides.

mod base;
mod cosine;
mod cycles;
mod multi_step;
mod plateau;
mod poly;
mod step;
mod tanh;
mod wsd;

pub(super) use base::{KEYS, timm};
pub(super) use cosine::Cosine;
pub use cosine::CosineLRScheduler;
pub use multi_step::MultiStepLRScheduler;
pub(super) use multi_step::MultiStepT;
pub use plateau::PlateauLRScheduler;
pub(super) use plateau::TimmPlateau;
pub(super) use poly::Poly;
pub use poly::PolyLRScheduler;
pub(super) use step::Step;
pub use step::StepLRScheduler;
pub(super) use tanh::Tanh;
pub use tanh::TanhLRScheduler;
pub use wsd::WSDLRScheduler;
pub(super) use wsd::Wsd;
