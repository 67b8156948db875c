//! `torch.optim.lr_scheduler`: one file a scheduler, with a state dict that PyTorch reads and writes.
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
//! let mut optimizer = Optimizer::sgd(&model, SgdOptions { lr: 0.1, ..Default::default() })?;
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

mod cosine_annealing_lr;
mod scheduler;
mod step_lr;

pub use cosine_annealing_lr::CosineAnnealingLR;
pub use scheduler::{LRScheduler, Schedule, SchedulerKind};
pub use step_lr::StepLR;
