//! `torch.optim.lr_scheduler`, and the schedulers of [`timm`], [`mmengine`], [`ignite`], detectron2 and others: one file a scheduler, with a
//! state dict that PyTorch reads and writes.
//!
//! A scheduler changes the learning rates in an optimizer's groups. What it remembers are the attributes that PyTorch's object
//! has, and its state dict is all of them.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//! use rekindle_train::lr_scheduler::{CosineAnnealingLR, LRScheduler};
//! use rekindle_train::optim::{Optimizer, SgdOptions};
//!
//! let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
//! let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.1))?;
//! let mut scheduler = LRScheduler::new(CosineAnnealingLR::new(10), &mut optimizer)?;
//! scheduler.step(&mut optimizer)?;
//! assert_eq!(optimizer.lr()?, [0.09755282581475769]);
//!
//! // Continuing: what was saved says how to go on, and no learning rate changes until the next step.
//! let saved = scheduler.state_dict();
//! let scheduler = LRScheduler::from_state_dict(&saved, &optimizer)?;
//! assert_eq!(optimizer.lr()?, [0.09755282581475769]);
//! # Ok::<(), rekindle_recorder::Error>(())
//! ```

mod anneal;
mod arguments;
mod base;
mod basicsr;
mod chained_scheduler;
mod constant_lr;
mod cosine_annealing_lr;
mod cosine_annealing_warm_restarts;
mod cosine_annealing_warmup;
mod cyclic_lr;
mod detectron2;
mod differs;
mod exponential_lr;
mod formula;
mod gradual_warmup;
mod greedy;
pub mod ignite;
mod kind;
mod lambda_lr;
mod linear_lr;
pub mod mmengine;
mod momentum;
mod multi_step_lr;
mod nano_gpt;
mod one_cycle_lr;
mod options;
mod param_scheduler;
mod parse;
mod parts;
mod polynomial_lr;
mod position;
mod prelude;
mod recognition;
mod reduce_lr_on_plateau;
mod restore;
mod schedule;
mod scheduler;
mod sequential_lr;
mod step_lr;
mod swa_lr;
pub mod timm;
pub mod torchtitan;
pub mod transformers;
mod whole;
mod within;
pub mod yolo;

use crate::number;

pub use anneal::AnnealStrategy;
pub use basicsr::{CosineAnnealingRestartLR, MultiStepRestartLR};
pub use chained_scheduler::ChainedScheduler;
pub use constant_lr::ConstantLR;
pub use cosine_annealing_lr::CosineAnnealingLR;
pub use cosine_annealing_warm_restarts::CosineAnnealingWarmRestarts;
pub use cosine_annealing_warmup::CosineAnnealingWarmupRestarts;
pub use cyclic_lr::{CyclicLR, CyclicScale};
pub use detectron2::{LRMultiplier, WarmupCosineLR, WarmupMultiStepLR};
pub use exponential_lr::ExponentialLR;
pub use gradual_warmup::GradualWarmupScheduler;
pub use greedy::GreedyLR;
pub use kind::SchedulerKind;
pub use lambda_lr::{LambdaLR, MultiplicativeLR};
pub use linear_lr::LinearLR;
pub use multi_step_lr::MultiStepLR;
pub use nano_gpt::NanoGpt;
pub use one_cycle_lr::OneCycleLR;
pub use options::{Function, PerGroup, SteppedBy};
pub use param_scheduler::{ParamScheduler, Part};
pub use polynomial_lr::PolynomialLR;
pub use recognition::Recognition;
pub use reduce_lr_on_plateau::{PlateauMode, ReduceLROnPlateau, ThresholdMode};
pub use schedule::Schedule;
pub use scheduler::LRScheduler;
pub use sequential_lr::SequentialLR;
pub use step_lr::StepLR;
pub use swa_lr::SWALR;
